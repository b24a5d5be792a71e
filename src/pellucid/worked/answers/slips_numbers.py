# SPDX-License-Identifier: Apache-2.0
"""Slips in the number itself: its sign, its digits, its decimal point, or another quantity's number.

Each function takes the number given, the true one, and the worksheet's other numbers; it returns words, or None where the slip
does not explain the number.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Mapping
from fractions import Fraction
from typing import TypeAlias

from pellucid.worked.answers.entry import LEAST, Number, Target, agrees
from pellucid.worked.expressions.arithmetic import times
from pellucid.worked.expressions.expression import Const, Expr, Name, Value
from pellucid.worked.showing.lines import Words

__all__ = ["NumberSlip"]

NumberSlip: TypeAlias = Callable[[Number, Value, Target, Mapping[Expr, Value]], "Words | None"]


def too_few_digits(given: Number, truth: Value, target: Target, others: Mapping[Expr, Value]) -> Words | None:
    """0.9 for 0.923: rounded to fewer digits than can be checked."""
    # right to the digits that were written, but these are too few to tell it from a slip
    rule = given.tolerance
    least = int(rule.size)
    if isinstance(truth, Fraction) and truth.denominator == 1 and given.unit >= 1:
        return None  # nobody rounds a whole number of pixels or of parameters
    if rule.kind == "s" and 0 < given.digits < least and abs(Fraction(given.value) - Fraction(truth)) < given.unit / 2:
        digits = f"{given.digits} significant digit" + "s" * (given.digits != 1)
        return (f"the number is right but rounded to {digits}; give at least {least}",)
    return None


def sign_turned(given: Number, truth: Value, target: Target, others: Mapping[Expr, Value]) -> Words | None:
    """−g for g."""
    if truth and agrees(given, -truth):
        return ("the sign of the gradient is wrong" if target.of and not target.update else "the sign is wrong",)
    return None


def factor_two(given: Number, truth: Value, target: Target, others: Mapping[Expr, Value]) -> Words | None:
    """Half of the number, or twice it."""
    # ½ and 2: the factor of a square, of a mean of two, of a loss
    if agrees(given, truth / 2):
        return ("a factor 2 is missing: the number is half of the right one",)
    return ("there is a factor 2 too many",) if agrees(given, truth * 2) else None


def point_moved(given: Number, truth: Value, target: Target, others: Mapping[Expr, Value]) -> Words | None:
    """0.3187 for 3.187."""
    for power in (-3, -2, -1, 1, 2, 3):
        if truth and agrees(given, times(truth, Fraction(10) ** power)):
            places = f"{abs(power)} place" + "s" * (abs(power) > 1)
            return (f"the decimal point is {places} too far to the {'right' if power > 0 else 'left'}",)
    return None


def digits_exchanged(given: Number, truth: Value, target: Target, others: Mapping[Expr, Value]) -> Words | None:
    """0.381 for 0.318."""
    if not given.unit or given.digits < 2:
        return None
    count = Fraction(given.value) / given.unit
    text = str(abs(count.numerator))
    for n, (one, two) in enumerate(itertools.pairwise(text)):
        turned = text[:n] + two + one + text[n + 2 :]
        # the digits as a whole number of units of the last place
        value = int(turned) * given.unit * (1 if given.value > 0 else -1)
        if one != two and agrees(Number(value, given.unit, max(given.digits, LEAST), given.tolerance), truth):
            return (f"two digits are swapped, {one}{two} for {two}{one}",)
    return None


def another_number(given: Number, truth: Value, target: Target, others: Mapping[Expr, Value]) -> Words | None:
    """The number of another quantity, of another derivative."""
    for other, value in others.items():
        # 0 and 1 are the numbers of too many quantities to say anything
        if other != target.symbol and value != 0 and abs(value) != 1 and agrees(given, value):
            return ("this is the number of ", other)
    return None


def nearly(given: Number, truth: Value, target: Target, others: Mapping[Expr, Value]) -> Words | None:
    """Within a hundredth of the true number."""
    away = abs(Fraction(given.value) - Fraction(truth))
    if truth and away <= abs(Fraction(truth)) / 100:
        share = float(100 * away / abs(Fraction(truth)))
        return (f"it is off by {share:.2g} %: it was rounded on the way, or a digit was miscopied",)
    return None


def copied(given: Number, truth: Value, target: Target, others: Mapping[Expr, Value]) -> Words:
    """A number that the worksheet gives, copied wrongly."""
    return ("the worksheet gives ", Name(target.name), " = ", Const(truth))
