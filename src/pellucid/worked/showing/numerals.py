# SPDX-License-Identifier: Apache-2.0
"""How numbers and names are written: exact decimals, fractions, significant digits; Greek letters, accents, subscripts."""

from __future__ import annotations

import decimal
from dataclasses import dataclass
from decimal import Decimal
from fractions import Fraction
from typing import final

from pellucid.worked.expressions.expression import Value
from pellucid.worked.expressions.spelling import ACCENTS, GREEK

__all__ = ["GREEK", "Numeral", "Symbol", "numeral", "symbol"]


@final
@dataclass(frozen=True, slots=True)
class Numeral:
    """A number as it is written: a sign and digits, with a power of ten or a denominator if needed."""

    negative: bool
    digits: str
    power: int = 0  # of ten
    denominator: str = ""
    exact: bool = True


@final
@dataclass(frozen=True, slots=True)
class Symbol:
    """A name as it is written: its base (a Greek letter as a word), an accent, subscripts, a raised index."""

    base: str
    accent: str
    subscripts: tuple[str, ...]
    raised: str = ""  # the 1 of a^{(1)}, without its brackets


def numeral(value: Value, digits: int = 6, exact: bool = False) -> Numeral:
    """A number as it is written.

    >>> numeral(Fraction(1, 8)).digits, numeral(Fraction(1, 3)).digits, numeral(Fraction(1, 3)).exact
    ('0.125', '0.333333', False)
    >>> numeral(Fraction(-1, 3), exact=True)
    Numeral(negative=True, digits='1', power=0, denominator='3', exact=True)

    Args:
        value: the number.
        digits: significant digits if it must be rounded.
        exact: write fractions as fractions, and decimals with up to 15 digits.
    """
    negative = value < 0
    size: Value = -value if negative else value
    if size == 0:
        return Numeral(False, "0", exact=isinstance(value, Fraction))
    if isinstance(size, Fraction):
        # in this order: a short decimal, an integer of any digits, a fraction if asked for, else rounded
        terminating = _terminating(size, max(digits, 15) if exact else digits)
        if terminating is not None:
            return Numeral(negative, *terminating)
        if size.denominator == 1 and size < 10**12:
            return Numeral(negative, str(size))
        if exact and len(str(size.numerator)) + len(str(size.denominator)) <= 24:
            return Numeral(negative, str(size.numerator), denominator=str(size.denominator))
    # 30 guard digits for the quotient, so that it is rounded once
    context = decimal.Context(prec=digits, rounding=decimal.ROUND_HALF_UP, Emax=9999, Emin=-9999)
    long = decimal.Context(prec=digits + 30, Emax=9999, Emin=-9999)
    whole = size if isinstance(size, Decimal) else long.divide(Decimal(size.numerator), Decimal(size.denominator))
    rounded = context.plus(whole)
    rounded = rounded.quantize(Decimal(1).scaleb(rounded.adjusted() - digits + 1), context=context)
    # 1.23457·10⁶ rather than 1234570, whose last 0 would look significant
    return Numeral(negative, *_placed(rounded, digits - 1), exact=False)


def symbol(name: str) -> Symbol:
    """The parts of a name.

    >>> symbol("yhat_1").accent, symbol("W_1_2").subscripts, symbol("a__1_2").raised
    ('hat', ('1', '2'), '1')
    """
    base, *below = name.split("_")
    if not base:
        return Symbol(name, "", ())
    # a__1_2 is a^{(1)} with the subscript 2
    raised = below[1] if len(below) > 1 and not below[0] else ""
    below = below[2:] if raised else below
    accent = next((suffix for suffix in ACCENTS.values() if base.endswith(suffix)), "")
    inner = base.removesuffix(accent)
    # yhat and sigmahat have a hat, but what and crossbar are words
    if not accent or not (len(inner) == 1 or inner in GREEK):
        inner, accent = base, ""
    return Symbol(inner, accent, tuple(part for part in below if part), raised)


def _terminating(size: Fraction, digits: int) -> tuple[str, int] | None:
    """A decimal that terminates within so many digits, and its power of ten."""
    rest, twos, fives = size.denominator, 0, 0
    while rest % 2 == 0:
        rest, twos = rest // 2, twos + 1
    while rest % 5 == 0:
        rest, fives = rest // 5, fives + 1
    # a decimal terminates if the denominator is 2^a·5^b, with max(a, b) places
    if rest != 1 or max(twos, fives) > 400:
        return None
    places = max(twos, fives)
    whole = size.numerator * 10**places // size.denominator
    if whole.bit_length() > 1100:  # beyond float64 anyway
        return None
    number = Decimal(whole).scaleb(-places, decimal.Context(prec=400, Emax=9999, Emin=-9999))
    number = number.normalize(decimal.Context(prec=400, Emax=9999, Emin=-9999))
    if len(number.as_tuple().digits) > digits:
        return None
    return _placed(number, max(digits - 1, 6))


def _placed(value: Decimal, highest: int) -> tuple[str, int]:
    """Digits in positional notation, or in scientific notation with a power of ten."""
    power = value.adjusted()
    if -5 < power <= highest:
        return f"{value:f}", 0
    return f"{value.scaleb(-power):f}", power
