# SPDX-License-Identifier: Apache-2.0
"""A function of one variable that is applied again and again: its values in float64 and with 60 digits, its slopes, its orbits."""

from __future__ import annotations

import decimal
from decimal import Decimal
from fractions import Fraction

import numpy as np
from numpy.typing import NDArray

from pellucid.errors import PellucidError, UsageError
from pellucid.worked.expressions.evaluation import evaluate
from pellucid.worked.expressions.expression import Expr, names
from pellucid.worked.expressions.numeric import numpy_value
from pellucid.worked.notation.notation import parse_expression

__all__ = ["DIGITS", "GRID", "LONGEST_CYCLE", "Function", "number_text", "orbit"]

DIGITS = 60
"""Decimal digits of what is computed slowly."""
GRID = np.unique(np.concatenate([np.linspace(-8, 8, 3201), *(s * np.logspace(-9, 9, 400) for s in (-1, 1)), [0.0]]))
"""Where a function is looked at first: densely up to 8, then and near 0 in equal ratios."""
LONGEST_CYCLE = 64
"""Points that a cycle may have to be found."""
_H = Decimal("1e-24")  # step of a one-sided slope: its error is of this size times the curvature


class Function:
    """A function of one variable, read from text, in float64 and with 60 digits.

    >>> f = Function("2*tanh(x)")
    >>> print(f.values(np.array([0.0, 100.0])), round(f.slope(Decimal(0), 1), 6))
    [0. 2.] 2.000000

    Args:
        text: an expression in the notation of worksheets.

    Raises:
        UsageError: no expression, or one of no or several variables.
    """

    def __init__(self, text: str) -> None:
        self.text = text
        self.node: Expr = parse_expression(text)
        used = [*names(self.node)]
        if len(used) != 1:
            found = ", ".join(used) or "none"
            raise UsageError(
                f"function={text!r}: it has one variable, such as x, and not {found}; put numbers for the others."
            )
        self.variable = used[0]

    def values(self, x: NDArray[np.float64]) -> NDArray[np.float64]:
        """f(x) in float64; where it has no value, NaN."""
        with np.errstate(all="ignore"):
            return np.broadcast_to(np.asarray(numpy_value(self.node, {self.variable: x}), np.float64), x.shape).copy()

    def exact(self, x: Decimal) -> Decimal:
        """f(x) with 60 digits; NaN where it has no value."""
        with decimal.localcontext() as context:
            context.prec = DIGITS
            try:
                value = evaluate(self.node, {self.variable: x})
                return Decimal(value.numerator) / value.denominator if isinstance(value, Fraction) else +value
            except (PellucidError, ArithmeticError):
                return Decimal("NaN")

    def slope(self, x: Decimal, side: int) -> Decimal:
        """The slope on one side of x, −1 for the left and 1 for the right."""
        with decimal.localcontext() as context:
            context.prec = DIGITS
            # the slope at the point nearby, so that a jump at x itself does not count as a slope
            near, far = x + side * _H, x + 2 * side * _H
            return (self.exact(far) - self.exact(near)) / (side * _H)


def orbit(f: Function, x: NDArray[np.float64], times: int) -> NDArray[np.float64]:
    """f applied so often: it stops early where nothing moves any more, or everything comes round."""
    before = x
    for n in range(times):
        x = f.values(x)
        if n % LONGEST_CYCLE == LONGEST_CYCLE - 1:
            # where a multiple of every short period later all is as it was, more steps change nothing
            if np.array_equal(x, before, equal_nan=True) and (times - n - 1) % LONGEST_CYCLE == 0:
                break
            before = x
    return x


def number_text(value: float) -> str:
    """A number in print, a short one in full.

    >>> number_text(0.6875), number_text(1.9150080481545)
    ('0.6875', '1.915008')
    """
    return f"{value:.7g}".replace("-", "−").replace("inf", "∞")
