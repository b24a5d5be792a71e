# SPDX-License-Identifier: Apache-2.0
"""Exact arithmetic: fractions where possible, else decimals of a given working precision.

A value stays a `Fraction` while it is exact and not longer than `BITS`. Once a function leaves the rationals, it is a `Decimal`
of the working precision. Both stay within the range of float64, so that NumPy can check every value.
"""

from __future__ import annotations

import decimal
import math
from collections.abc import Iterator
from contextlib import contextmanager
from decimal import Decimal
from fractions import Fraction
from typing import Final

from pellucid.worked.expressions.expression import Value

__all__ = ["BITS", "LARGEST", "decimal_of", "exponential", "logarithm", "plus", "power", "precision", "root", "times"]

BITS: Final = 4096  # a longer fraction becomes a decimal: squaring doubles the length at every step
LARGEST: Final = Fraction(10) ** 308  # just below the largest float64, 1.8e308


@contextmanager
def precision(digits: int) -> Iterator[None]:
    """Compute with decimals of `digits` significant digits in the range of float64; overflow raises `decimal.Overflow`.

    >>> with precision(30):
    ...     print(exponential(Fraction(1)))
    2.71828182845904523536028747135
    """
    context = decimal.Context(prec=digits, Emax=308, Emin=-307, rounding=decimal.ROUND_HALF_EVEN)
    context.traps[decimal.Inexact] = context.traps[decimal.Rounded] = False
    with decimal.localcontext(context):
        yield


def decimal_of(value: Value) -> Decimal:
    """The value as a decimal of the working precision.

    >>> with precision(5):
    ...     print(decimal_of(Fraction(1, 3)))
    0.33333
    """
    if isinstance(value, Decimal):
        return value
    return Decimal(value.numerator) / Decimal(value.denominator)


def short(value: Value) -> Value:
    """The value, turned into a decimal if the fraction is too long; raises OverflowError beyond the range of float64."""
    if isinstance(value, Fraction):
        if abs(value) > LARGEST:
            raise OverflowError
        if value.numerator.bit_length() + value.denominator.bit_length() > BITS:
            return decimal_of(value)
    return value


def plus(left: Value, right: Value) -> Value:
    """The sum, exact if both are. Terms that cancel down to their last digits give 0 rather than a rounding error.

    >>> with precision(10):
    ...     third = decimal_of(Fraction(1, 3))
    ...     print(plus(plus(third, third), plus(third, Fraction(-1))))
    0
    """
    if isinstance(left, Fraction) and isinstance(right, Fraction):
        return short(left + right)
    one, two = decimal_of(left), decimal_of(right)
    total = one + two
    if total and one and two:
        # leading digits that cancelled; with all but four gone, what is left is rounding error
        lost = max(one.adjusted(), two.adjusted()) - total.adjusted()
        if lost > decimal.getcontext().prec - 4:
            return Decimal(0)
    return total


def times(left: Value, right: Value) -> Value:
    """The product, exact if both are or if one is an exact 0."""
    if isinstance(left, Fraction) and isinstance(right, Fraction):
        return short(left * right)
    # an exact 0 stays exact: a dead ReLU contributes 0, not 0.000…
    if (left == 0 and isinstance(left, Fraction)) or (right == 0 and isinstance(right, Fraction)):
        return Fraction(0)
    return decimal_of(left) * decimal_of(right)


def over(left: Value, right: Value) -> Value:
    """The quotient, exact if both are; raises ZeroDivisionError."""
    if right == 0:
        raise ZeroDivisionError
    if isinstance(left, Fraction) and isinstance(right, Fraction):
        return short(left / right)
    if left == 0 and isinstance(left, Fraction):
        return left
    return decimal_of(left) / decimal_of(right)


def power(base: Value, exponent: Value) -> Value:
    """The power, exact for integer exponents and for square roots of squares.

    >>> power(Fraction(2, 3), Fraction(3)), power(Fraction(9, 4), Fraction(1, 2))
    (Fraction(8, 27), Fraction(3, 2))

    Raises:
        ZeroDivisionError: 0 to a negative power.
        ValueError: a negative number to a fractional power.
        OverflowError: a result beyond the range of float64.
    """
    whole = exponent == (rounded := int(exponent.to_integral_value() if isinstance(exponent, Decimal) else exponent))
    if base == 0 and exponent < 0:
        raise ZeroDivisionError
    if base < 0 and not whole:
        raise ValueError
    if isinstance(base, Fraction) and isinstance(exponent, Fraction):
        if base in (0, 1) and exponent:
            return base
        if whole:
            bits = max(base.numerator.bit_length(), base.denominator.bit_length())
            # e^710 is beyond float64: refuse 9^9^9 before computing it
            if base and abs(_log(base)) * abs(rounded) > 710 and _log(base) * rounded > 0:
                raise OverflowError
            if bits * abs(rounded) <= BITS:  # the length of the result
                return Fraction(base**rounded)
        elif exponent == Fraction(1, 2):
            return root(base)
    # decimal raises a negative base only to an integer-valued Decimal
    return decimal_of(base) ** (Decimal(rounded) if whole else decimal_of(exponent))


def root(value: Value) -> Value:
    """The square root, exact if it is a fraction; raises ValueError for a negative number."""
    if value < 0:
        raise ValueError
    if isinstance(value, Fraction):  # in lowest terms, so both parts must be squares
        top, bottom = math.isqrt(value.numerator), math.isqrt(value.denominator)
        if top * top == value.numerator and bottom * bottom == value.denominator:
            return Fraction(top, bottom)
    with decimal.localcontext() as context:
        context.Emin = decimal.MIN_EMIN  # the root of 10⁻⁴⁰⁰ is 10⁻²⁰⁰
        return decimal_of(value).sqrt()


def exponential(value: Value) -> Value:
    """e to this power, exact at 0."""
    return Fraction(1) if value == 0 else decimal_of(value).exp()


def logarithm(value: Value) -> Value:
    """The natural logarithm, exact at 1; raises ValueError unless the number is positive."""
    if value <= 0:
        raise ValueError
    if value == 1:
        return Fraction(0)
    with decimal.localcontext() as context:
        context.Emin = decimal.MIN_EMIN  # a fraction may be below the range of decimals, its logarithm is not
        return decimal_of(value).ln()


def _log(value: Fraction) -> float:
    """log |value| as a float, also of a fraction too large to be one."""
    return math.log(abs(value.numerator)) - math.log(value.denominator)
