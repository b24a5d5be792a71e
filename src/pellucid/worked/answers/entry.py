# SPDX-License-Identifier: Apache-2.0
"""One answer of a text, the number in it, and whether a number is right.

A number is right if it differs from the true one by less than one unit of its last digit, and agrees with it to at least three
significant digits. A formula without rounded numbers is right if its value is within 10⁻⁹ of the true one, relative to it.
"""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Decimal
from fractions import Fraction
from typing import Final, final

from pellucid.worked.expressions.expression import At, Expr, Name, Partial, Value
from pellucid.worked.notation.questions import Question

__all__ = ["LEAST", "BadLine", "Entry", "Number", "Target", "agrees", "literal"]

LEAST: Final = 3  # significant digits that an answer needs, unless the number has fewer


@final
@dataclass(frozen=True, slots=True)
class Target:
    """What one answer is about: a value, a derivative of `of` by `name`, or `name` after an update."""

    name: str
    of: str = ""
    update: Question | None = None

    @property
    def key(self) -> str:
        """The target as it is written in a text.

        >>> Target("W", "L").key
        'dL/dW'
        """
        if self.update:
            return f"{self.name} after {self.update.title.split(' after ', 1)[1]}"
        return f"d{self.of}/d{self.name}" if self.of else self.name

    @property
    def symbol(self) -> Expr:
        """The target as mathematics; of an update the name."""
        return Partial(self.of, self.name) if self.of and not self.update else Name(self.name)


@final
@dataclass(frozen=True, slots=True)
class Number:
    """A number as it was written: its value and its digits.

    Args:
        value: exactly what is written.
        unit: of the last digit; 0 for a formula.
        digits: significant digits; of a formula those of its shortest rounded number, 0 if it has none.
    """

    value: Value
    unit: Fraction
    digits: int


@final
@dataclass(frozen=True, slots=True)
class Entry:
    """One answer: its place in the text, its target, and the number or formula given."""

    at: At
    target: Target
    text: str
    number: Number | None  # None: a formula
    formula: Expr
    digits: int = 0  # of a formula's rounded numbers


@final
@dataclass(frozen=True, slots=True)
class BadLine:
    """A line that could not be read, with the sentence that says why."""

    line: int
    text: str
    sentence: str


def agrees(given: Number, truth: Value) -> bool:
    """Whether a number is the true one, as far as its digits go.

    >>> truth = Fraction(2, 3)
    >>> [agrees(literal(text), truth) for text in ("0.6667", "0.666", "0.668", "0.67")]
    [True, True, False, False]
    """
    if isinstance(truth, Decimal) and abs(truth) < Decimal("1e-20") and given.value == 0:
        return True  # terms that cancel leave a rest of the working precision
    true = Fraction(truth)
    error = abs(Fraction(given.value) - true)
    if error <= abs(true) / 10**20:
        return True
    if not true:
        return False
    third = _power(true) / 10 ** (LEAST - 1)  # one unit of the third significant digit
    if given.unit:
        return bool(error < min(given.unit, third))
    if given.digits:
        return bool(error < min(third, _power(true) / 10 ** (given.digits - 1)))
    return error <= abs(true) / 10**9


def literal(text: str) -> Number:
    """A number from its digits; zeros at the end of a whole number do not count as significant.

    >>> literal("-0.0250").digits, literal("-0.0250").unit, literal("1200").unit
    (3, Fraction(1, 10000), Fraction(100, 1))
    """
    mantissa, _, power = text.strip("+-").lower().partition("e")
    whole, point, part = mantissa.partition(".")
    # leading zeros are not significant
    figures = (whole + part).lstrip("0")
    unit = Fraction(10) ** (int(power or 0) - len(part))
    if not point and figures:
        zeros = len(figures) - len(figures.rstrip("0"))
        unit, figures = unit * 10**zeros, figures.rstrip("0")
    return Number(Fraction(text), unit, len(figures))


def _power(value: Fraction) -> Fraction:
    """The power of ten of the first significant digit."""
    size = abs(value)
    power = Fraction(10) ** (len(str(int(size))) - 1 if size >= 1 else -len(str(int(1 / size))))
    # the estimate from the number of digits may be off by one
    return power * 10 if power * 10 <= size else power if power <= size else power / 10
