# SPDX-License-Identifier: Apache-2.0
"""What people write by hand, on a calculator, in Python and in LaTeX: read with the number that Python gives, or refused in words."""

from __future__ import annotations

import contextlib
import math
import random
import warnings
from pathlib import Path

import pytest
from mutations import mutated, with_other_numbers

from pellucid.errors import PellucidError
from pellucid.worked import Worksheet, check_answers

FILE = Path(__file__).parent / "ways_of_writing.txt"
WAYS = [
    (text.strip(), wanted.strip())
    for line in FILE.read_text(encoding="utf-8").splitlines()
    if line and not line.startswith("#")
    for text, _, wanted in [line.partition("==>")]
]
READ = [(text, wanted) for text, wanted in WAYS if not wanted.startswith("!")]
REFUSED = [(text, wanted.lstrip("! ")) for text, wanted in WAYS if wanted.startswith("!")]


def test_there_are_enough_of_them() -> None:
    assert len(WAYS) >= 150
    assert len(READ) >= 140
    assert len({text for text, _ in WAYS}) == len(WAYS)


@pytest.mark.parametrize(("text", "wanted"), READ, ids=[text[:60] for text, _ in READ])
def test_it_is_read_and_means_what_python_says(text: str, wanted: str) -> None:
    solution = Worksheet(text).solve()
    found = solution.answers[-1].results[0][1] if solution.questions else solution.value("q")
    assert float(found) == pytest.approx(eval(wanted, vars(math)), rel=1e-9)
    assert solution.show("latex") and solution.show("html")


@pytest.mark.parametrize(("text", "sentence"), REFUSED, ids=[text[:60] for text, _ in REFUSED])
def test_what_cannot_be_read_is_answered_in_a_sentence(text: str, sentence: str) -> None:
    with pytest.raises(PellucidError) as caught:
        Worksheet(text).solve().show()
    said = str(caught.value)
    assert sentence in said and said.startswith("line 1, column ") and "\n" not in said


SHEETS = [text for text, _ in WAYS] + [
    file.read_text(encoding="utf-8")
    for file in sorted((Path(__file__).parents[2] / "examples" / "worked").glob("*.work"))
]


def test_mutated_sheets_are_solved_or_refused_in_a_sentence() -> None:
    """No fault and no warning: two thirds with mutated text, a third with mutated numbers."""
    rng = random.Random(150)
    for n in range(150):
        sheet = rng.choice(SHEETS)
        sheet = with_other_numbers(sheet, rng) if n % 3 == 2 else mutated(sheet, rng)
        with warnings.catch_warnings(), contextlib.suppress(PellucidError):
            warnings.simplefilter("error")
            Worksheet(sheet).solve().show("latex")
        with warnings.catch_warnings(), contextlib.suppress(PellucidError):
            warnings.simplefilter("error")
            check_answers(Worksheet("w = 3; y = 1; L = (w - y)^2; x = [1, 2]; z = 2*x"), sheet)
