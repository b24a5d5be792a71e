# SPDX-License-Identifier: Apache-2.0
"""One answer of a text, the number in it, and whether a number is right by the `Tolerance`.

By default a number is right if it differs from the true one by less than one unit of its last digit, and agrees with it to at
least three significant digits. Digits behind the twelfth are those of a computer's rounding, as in 0.30000000000000004. A formula
without rounded numbers is right if its value is within 10⁻⁹ of the true one, relative to it. Wherever an answer is judged, `allowed`
says how far it may be off.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from decimal import Decimal
from fractions import Fraction
from typing import Final, final

from pellucid.errors import UsageError
from pellucid.worked.expressions.expression import At, Expr, Name, Partial, Value
from pellucid.worked.notation.questions import Question

__all__ = [
    "DEFAULT",
    "LEAST",
    "BadLine",
    "Entry",
    "Link",
    "Number",
    "Target",
    "Tolerance",
    "agrees",
    "allowed",
    "literal",
    "unit_of",
]

LEAST: Final = 3  # significant digits that an answer needs, unless the number has fewer
_PRINTED: Final = 12  # significant digits of a printed float that rounding on the way leaves as they are


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
class Tolerance:
    """How near a number must be: `3s` to 3 significant digits, `2d` to 2 decimals, `1%` of the true number.

    >>> Tolerance.parse("2d").sentence
    'A number is right within one unit of its second decimal.'

    Args:
        kind: s, d, % or ±, which belongs to one answer alone.
        size: digits, decimals, per cent, or the error that was given.
    """

    kind: str = "s"
    size: Fraction = Fraction(LEAST)

    @staticmethod
    def parse(text: str) -> Tolerance:
        """A tolerance as it is written.

        Raises:
            UsageError: neither digits nor decimals nor per cent.
        """
        match = re.fullmatch(r"(\d{1,2})([sd])|(\d{1,2}(?:\.\d{1,4})?)%", text.strip())
        if match is None or (match[2] == "s" and int(match[1]) < 1) or (match[3] and not Fraction(match[3])):
            raise UsageError(
                f"tolerance={text!r}: must be significant digits, decimals or per cent; write 3s, 2d or 1%."
            )
        return Tolerance("%", Fraction(match[3])) if match[3] else Tolerance(match[2], Fraction(match[1]))

    @property
    def sentence(self) -> str:
        """The rule in words."""
        if self.kind == "%":
            return f"A number is right within {float(self.size):g} % of the true one."
        count = int(self.size)
        if self.kind == "d":
            which = _ORDINALS.get(count, f"{count}th")
            what = f"its {which} decimal" if count else "a whole number"
            return f"A number is right within one unit of {what}."
        digits = "digit" if count == 1 else "digits"
        return f"A number is right within one unit of its last digit, and to at least {count} significant {digits}."


DEFAULT: Final = Tolerance()
_ORDINALS: Final = {1: "first", 2: "second", 3: "third"}


@final
@dataclass(frozen=True, slots=True)
class Number:
    """A number as it was written: its value and its digits.

    Args:
        value: exactly what is written.
        unit: of the last digit; 0 for a formula.
        digits: significant digits; of a formula those of its shortest rounded number, 0 if it has none.
        tolerance: by which it is judged.
    """

    value: Value
    unit: Fraction
    digits: int
    tolerance: Tolerance = DEFAULT


@final
@dataclass(frozen=True, slots=True)
class Link:
    """One link of a chain of equalities, as an answer of its own."""

    text: str
    number: Number | None
    formula: Expr
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
    links: tuple[Link, ...] = ()  # of a chain, L = (3 − 1)² = 4, those before the last


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
    >>> [agrees(literal(text), truth) for text in ("0.6667", "0.666", "0.668", "0.67", "0.6666666666666663")]
    [True, True, False, False, True]
    """
    if isinstance(truth, Decimal) and abs(truth) < Decimal("1e-20") and given.value == 0:
        return True  # terms that cancel leave a rest of the working precision
    true = Fraction(truth)
    error = abs(Fraction(given.value) - true)
    if error <= abs(true) / 10**20:
        return True
    room = allowed(given, truth)
    return error <= room if given.tolerance.kind in "%±" else error < room


def allowed(given: Number, truth: Value) -> Fraction:
    """How far a number may be from the true one.

    >>> allowed(literal("0.727"), Fraction(7271, 10000)), allowed(literal("0.73", Tolerance.parse("2d")), Fraction(3, 4))
    (Fraction(1, 1000), Fraction(1, 100))
    """
    true, rule = Fraction(truth), given.tolerance
    if not given.unit and not given.digits:
        return abs(true) / 10**9  # a formula
    if rule.kind == "%":
        return abs(true) * rule.size / Fraction(100)
    if rule.kind == "±":
        return rule.size
    if rule.kind == "d":
        return Fraction(1, 10 ** int(rule.size))
    if not true:
        return Fraction(0)
    least: Fraction = _power(true) / 10 ** (int(rule.size) - 1)  # one unit of the third significant digit
    own: Fraction = given.unit or _power(true) / 10 ** (given.digits - 1)
    finest: Fraction = _power(true) / 10 ** (_PRINTED - 1)
    return min(least, max(own, finest))


def literal(text: str, tolerance: Tolerance = DEFAULT) -> Number:
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
    return Number(Fraction(text), unit, len(figures), tolerance)


def unit_of(value: Value) -> Fraction:
    """The unit of the last decimal of a number that looks rounded: one with at least three significant digits.

    >>> unit_of(Fraction("1.333")), unit_of(Fraction("0.5")), unit_of(Fraction(1, 3))
    (Fraction(1, 1000), Fraction(0, 1), Fraction(0, 1))
    """
    number = Fraction(value)
    for places in range(1, 13):
        if number.denominator == 1:
            break
        if (number * 10**places).denominator == 1:
            return Fraction(1, 10**places) if abs(number) * 10**places >= 10 ** (LEAST - 1) else Fraction(0)
    return Fraction(0)


def _power(value: Fraction) -> Fraction:
    """The power of ten of the first significant digit."""
    size = abs(value)
    places = len(str(int(size))) - 1 if size >= 1 else -len(str(int(1 / size)))
    power: Fraction = Fraction(10) ** places
    # the estimate from the number of digits may be off by one
    return power * 10 if power * 10 <= size else power if power <= size else power / 10
