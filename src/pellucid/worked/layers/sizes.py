# SPDX-License-Identifier: Apache-2.0
"""Whole numbers and symbols in layer tables: read from text, printed with thousands marked, and the sizes of what windows give."""

from __future__ import annotations

import re
from typing import Any

import sympy

from pellucid.errors import UsageError

__all__ = ["Size", "output_size", "output_size_text", "product_text", "read_product", "text", "transposed_size"]

Size = Any
"""A SymPy expression of whole numbers and symbols."""

_FACTOR = re.compile(r"[0-9][0-9,_]*|[A-Za-z]\w*")


def read_product(word: str) -> Size:
    """A whole number, a symbol, or a product of these.

    >>> read_product("60*100"), read_product("2·N_2")
    (6000, 2*N_2)

    Raises:
        UsageError: it is none of these.
    """
    value: Size = sympy.Integer(1)
    for factor in re.split(r"[*·]", word):
        if not _FACTOR.fullmatch(factor) or len(factor) > 30:
            raise UsageError(
                f"size={word!r}: a size is a whole number, a name such as N_2, or a product of these; write it so."
            )
        digits = factor.replace(",", "").replace("_", "")
        value *= sympy.Integer(digits) if factor[0].isdigit() else sympy.Symbol(factor, integer=True, positive=True)
    return value


def output_size(n: Size, kernel: Size, stride: Size, padding: Size, dilation: Size) -> Size:
    """⌊(n + 2p − d(f − 1) − 1)/s⌋ + 1: how many positions a window of f has along n, p zeros at either end.

    >>> output_size(300, 3, 1, 0, 1), output_size(224, 7, 2, 3, 1)
    (298, 112)
    """
    reach = sympy.sympify(n + 2 * padding - dilation * (kernel - 1) - 1)
    return sympy.floor(reach / stride) + 1


def output_size_text(n: Size, kernel: Size, stride: Size, padding: Size, dilation: Size, ceil: bool = False) -> str:
    """The same with the numbers put in.

    >>> output_size_text(300, 3, 1, 0, 1)
    '⌊(300 + 2·0 − 1·(3 − 1) − 1)/1⌋ + 1 = 298'
    """
    result = output_size(n, kernel, stride, padding, dilation)
    open_, close = ("⌈", "⌉") if ceil else ("⌊", "⌋")
    inner = f"({text(n)} + 2·{text(padding)} − {text(dilation)}·({text(kernel)} − 1) − 1)/{text(stride)}"
    if ceil:
        result = sympy.ceiling(sympy.sympify(n + 2 * padding - dilation * (kernel - 1) - 1) / stride) + 1
    return f"{open_}{inner}{close} + 1 = {text(result)}"


def transposed_size(n: Size, kernel: Size, stride: Size, padding: Size, dilation: Size, extra: Size = 0) -> Size:
    """(n − 1)s − 2p + d(f − 1) + 1 + e: what a transposed convolution gives, e being its output padding.

    >>> transposed_size(16, 2, 2, 0, 1)
    32
    """
    return sympy.sympify((n - 1) * stride - 2 * padding + dilation * (kernel - 1) + 1 + extra)


def product_text(factors: list[Size]) -> str:
    """Factors with dots between, sums in brackets.

    >>> product_text([3, 3, 2])
    '3·3·2'
    """
    return "·".join(f"({text(each)})" if sympy.sympify(each).is_Add else text(each) for each in factors)


def text(value: Size) -> str:
    """A size in print: thousands marked, products with dots, the symbols kept.

    >>> text(sympy.Integer(1216)), text(read_product("6000*N_2") + 6000)
    ('1,216', '6,000·N_2 + 6,000')
    """
    expression = sympy.sympify(value)
    if expression.is_Integer:
        return f"{int(expression):,}"
    if expression.is_Rational:
        return f"{text(expression.p)}/{text(expression.q)}"
    if expression.is_Symbol:
        return str(expression)
    if isinstance(expression, (sympy.floor, sympy.ceiling)):
        inner = text(sympy.together(expression.args[0]))
        return f"⌊{inner}⌋" if isinstance(expression, sympy.floor) else f"⌈{inner}⌉"
    if expression.is_Pow:
        base, exponent = expression.args
        if exponent == -1:
            return f"1/{_bracketed(base)}"
        return f"{_bracketed(base)}^{text(exponent)}"
    if expression.is_Add:
        words = ""
        for term in sympy.expand(expression).as_ordered_terms():
            negative = term.could_extract_minus_sign()
            written = text(-term if negative else term)
            words += (" − " if negative else " + ") + written if words else ("−" if negative else "") + written
        return words
    if expression.is_Mul:
        above, below = expression.as_numer_denom()
        if below != 1 and not expression.could_extract_minus_sign():
            return f"{_bracketed(above)}/{_bracketed(below)}"
        number, rest = expression.as_coeff_mul()
        if number < 0:
            return f"−{text(-expression)}"
        factors = ([text(number)] if number != 1 else []) + [_bracketed(each) for each in sorted(rest, key=str)]
        return "·".join(factors)
    return str(expression)


def _bracketed(expression: Size) -> str:
    written = text(expression)
    return f"({written})" if sympy.sympify(expression).is_Add else written
