# SPDX-License-Identifier: Apache-2.0
"""A function of one variable: its values in float64 and with 60 digits, its one-sided slopes, its orbits."""

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
"""Decimal digits of the precise computations."""
GRID = np.unique(np.concatenate([np.linspace(-8, 8, 3201), *(s * np.logspace(-9, 9, 400) for s in (-1, 1)), [0.0]]))
"""The starting points: dense in ±8, and logarithmic towards 0 and out to ±10⁹."""
LONGEST_CYCLE = 64
"""The longest cycle that is searched for."""
_H = Decimal("1e-24")  # step of a one-sided slope, whose error is about step · curvature


class Function:
    """A function of one variable, read from text, in float64 and with 60 digits.

    >>> f = Function("2*tanh(x)")
    >>> print(f.values(np.array([0.0, 100.0])), round(f.slope(Decimal(0), 1), 6))
    [0. 2.] 2.000000

    Args:
        text: an expression in the notation of worksheets.

    Raises:
        UsageError: not an expression, or one without exactly one variable.
    """

    def __init__(self, text: str) -> None:
        self.text = text
        self.node: Expr = parse_expression(text)
        used = [*names(self.node)]
        if len(used) != 1:
            variables = ", ".join(used) or "none"
            raise UsageError(
                f"function={text!r}: must have one variable, such as x, not {variables}; replace the others by numbers."
            )
        self.variable = used[0]

    def values(self, x: NDArray[np.float64]) -> NDArray[np.float64]:
        """f(x) in float64; NaN where it has no value."""
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
            # between two points next to x, so that a jump at x itself does not count as a slope
            near, far = x + side * _H, x + 2 * side * _H
            return (self.exact(far) - self.exact(near)) / (side * _H)


def orbit(f: Function, x: NDArray[np.float64], times: int) -> NDArray[np.float64]:
    """f applied `times` times to every start; it stops early once all orbits repeat."""
    before = x
    for n in range(times):
        x = f.values(x)
        if n % LONGEST_CYCLE == LONGEST_CYCLE - 1:
            # all values are those of 64 steps ago: whole rounds of 64 more change nothing
            if np.array_equal(x, before, equal_nan=True) and (times - n - 1) % LONGEST_CYCLE == 0:
                break
            before = x
    return x


def number_text(value: float) -> str:
    """A number as text, with up to 7 significant digits.

    >>> number_text(0.6875), number_text(1.9150080481545)
    ('0.6875', '1.915008')
    """
    return f"{value:.7g}".replace("-", "−").replace("inf", "∞")
