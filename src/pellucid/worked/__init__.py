# SPDX-License-Identifier: Apache-2.0
"""Small neural networks worked by hand: values, derivatives and updates, every line shown and checked.

    Worksheet(text)              a worksheet from its text; `pellucid.worked.notation.notation` explains the notation
    Worksheet()                  an empty one: w.h_1 = w.W_h * w.h_0 + 1; w.x = [1, 2]; w.ask("dL/dW_h")
    .solve(exact=, digits=)      a `Solution`: .value("L"), .derivative("L", "W_h"), .gradient("L", [...])
    .show(form, verify=)         "terminal", "markdown", "latex", "html", "json"; print(w) shows it as well
    check_answers(sheet, text)   which answers are right, the first wrong one, and its likely cause
    Array                        a vector or matrix of expressions: + − * / ** @, x[1], W[1, 2]
    exp log sqrt sigmoid tanh relu leaky_relu softmax maximum minimum absolute clip piecewise total

The rooms, each importing only from those before it: `expressions` -> `notation`, `showing` -> `worksheet` -> `answers` -> `forms` ->
`builders`; beside this flow `derivation`, `iteration`, `layers` and `network`, which only builders import.

>>> w = Worksheet("x = 3; W = 2; L = (W*x - 10)^2; ? dL/dW")
>>> str(w.solve().derivative("L", "W"))
'-24'
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pellucid.worked.answers.answers import check_answers
    from pellucid.worked.expressions.expression import Expr, Name
    from pellucid.worked.notation.arrays import Array
    from pellucid.worked.notation.operations import (
        absolute,
        clip,
        exp,
        leaky_relu,
        log,
        maximum,
        minimum,
        piecewise,
        relu,
        sigmoid,
        softmax,
        sqrt,
        tanh,
        total,
    )
    from pellucid.worked.showing.lines import CheckError
    from pellucid.worked.worksheet.solution import Solution
    from pellucid.worked.worksheet.worksheet import Worksheet

__all__ = [
    "Array",
    "CheckError",
    "Expr",
    "Name",
    "Solution",
    "Worksheet",
    "absolute",
    "check_answers",
    "clip",
    "exp",
    "leaky_relu",
    "log",
    "maximum",
    "minimum",
    "piecewise",
    "relu",
    "sigmoid",
    "softmax",
    "sqrt",
    "tanh",
    "total",
]

_HOME = {
    "Array": "notation.arrays",
    "CheckError": "showing.lines",
    "check_answers": "answers.answers",
    "Expr": "expressions.expression",
    "Name": "expressions.expression",
    "Solution": "worksheet.solution",
    "Worksheet": "worksheet.worksheet",
}


def __getattr__(name: str) -> Any:
    if name in __all__:
        module = importlib.import_module(f"pellucid.worked.{_HOME.get(name, 'notation.operations')}")
        value = getattr(module, name)
        globals()[name] = value  # the next access is a plain attribute
        return value
    raise AttributeError(f"module 'pellucid.worked' has no attribute {name!r}")


def __dir__() -> list[str]:
    return list(__all__)
