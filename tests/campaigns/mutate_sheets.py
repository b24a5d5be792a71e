# SPDX-License-Identifier: Apache-2.0
"""Solves mutated worksheets and derives mutated expressions, with warnings as errors; prints what happened as JSON, with processor seconds.

python tests/campaigns/mutate_sheets.py SEED TEXTS NUMBERS DERIVATIONS
"""

from __future__ import annotations

import json
import random
import sys
import time
import traceback
import warnings
from collections.abc import Callable
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

from mutations import mutated, with_other_numbers

from pellucid.errors import PellucidError
from pellucid.worked import Worksheet, check_answers
from pellucid.worked.builders.derive import Derive
from pellucid.worked.derivation.presenting import present

HERE = Path(__file__).parents[1]
WAYS = [
    line.partition("==>")[0].strip()
    for line in (HERE / "worked" / "ways_of_writing.txt").read_text(encoding="utf-8").splitlines()
    if line and not line.startswith("#")
]
EXAMPLES = [path.read_text(encoding="utf-8") for path in sorted((HERE.parent / "examples" / "worked").glob("*.work"))]
DERIVED = [
    ("exp(z_j)/sum(exp(z_k), k)", "z_l"), ("x^2*exp(x)", "x"), ("1/(1 + exp(-w*x))", "w"), ("log(x - 3)", "x"), ("relu(2*x - 1)", "x"),
    ("max(x^2, 1 - x)", "x"), ("piecewise(x^2 if x < 1, 2*x - 1 otherwise)", "x"), ("(sum(w_{j,k}*x_k, k) - y_j)^2", "x_l"),
    ("tanh(a*x + b)", "a"), ("|x|^3", "x"), ("x^n", "x"), ("[x*y, x + y]", "x, y"), ("softmax(z_1, z_2)", "z_1, z_2"),
    ("-sum(y_i*log(exp(z_i)/sum(exp(z_k), k)), i)", "z_j"), ("exp(a)/(exp(a) + exp(b))", "b"),
]  # fmt: skip


def solve(text: str) -> None:
    """Solve a sheet, show it, and read it as a list of answers."""
    try:
        Worksheet(text).solve().show("latex", verify=True)
    finally:
        check_answers(Worksheet("w = 3; y = 1; L = (w - y)^2; x = [1, 2]; z = 2*x"), text)


def derive(text: str, by: str, order: int, names: str | None, form: str) -> None:
    """Derive an expression and show it."""
    present(Derive.build(text, by, order, names), form, 80)


def main(seed: int, texts: int, numbers: int, derivations: int) -> None:
    rng = random.Random(seed)
    found: dict[str, int] = {"read": 0, "refused": 0}
    faults: list[str] = []
    slowest = (0.0, "")
    work: list[tuple[str, Callable[[], None]]] = []
    for n in range(texts + numbers):
        sheet = rng.choice(WAYS + EXAMPLES * 8)
        sheet = mutated(sheet, rng) if n < texts else with_other_numbers(sheet, rng)
        work.append((sheet, lambda sheet=sheet: solve(sheet)))
    for n in range(derivations):
        text, by = rng.choice(DERIVED)
        text = mutated(text, rng) if n % 4 else text
        chosen = (text, by, rng.choice([1, 1, 2]), rng.choice([None, None, "f_sm(z_j)", "g, h"]))
        form = rng.choice(["terminal", "latex", "html"])
        work.append((repr(chosen), lambda chosen=chosen, form=form: derive(*chosen, form)))
    for text, run in work:
        start = time.process_time()
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("error")
                run()
            found["read"] += 1
        except PellucidError as error:
            found["refused"] += 1
            if "\n" in str(error):
                faults.append(f"{text!r}: several lines: {error}")
        except Exception:
            faults.append(f"{text!r}: {traceback.format_exc()[-800:]}")
        slowest = max(slowest, (time.process_time() - start, text))
    print(json.dumps({**found, "faults": faults, "slowest": slowest}))


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
