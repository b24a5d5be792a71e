# SPDX-License-Identifier: Apache-2.0
"""Sizes in layer tables, whole numbers or symbols: read from text, printed, and the output sizes of sliding windows.

The formulas are those of Dumoulin and Visin 2016, "A guide to convolution arithmetic for deep learning".
"""

from __future__ import annotations

import re
from typing import Any

import sympy

from pellucid.errors import UsageError

__all__ = [
    "Size",
    "output_size",
    "output_size_text",
    "product_text",
    "read_product",
    "show",
    "transposed_size",
    "transposed_size_text",
]

Size = Any
"""A SymPy expression of whole numbers and symbols."""

_FACTOR = re.compile(r"[0-9][0-9,_]*|[A-Za-z]\w*")


def read_product(word: str) -> Size:
    """A whole number, a symbol, or a product of these.

    >>> read_product("60*100"), read_product("2·N_2")
    (6000, 2*N_2)

    Raises:
        UsageError: anything else.
    """
    value: Size = sympy.Integer(1)
    for factor in re.split(r"[*·]", word):
        if not _FACTOR.fullmatch(factor) or len(factor) > 30:
            raise UsageError(
                f"size={word!r}: must be a whole number, a name such as N_2, or a product of these; correct it."
            )
        digits = factor.replace(",", "").replace("_", "")
        # positive integers: without these assumptions SymPy would not simplify ⌊N⌋ to N
        value *= sympy.Integer(digits) if factor[0].isdigit() else sympy.Symbol(factor, integer=True, positive=True)
    return value


def output_size(n: Size, kernel: Size, stride: Size, padding: Size, dilation: Size) -> Size:
    """The output size of a sliding window, ⌊(n + 2p − d(f − 1) − 1)/s⌋ + 1 (relationship 15).

    >>> output_size(300, 3, 1, 0, 1), output_size(224, 7, 2, 3, 1)
    (298, 112)

    Args:
        n: the input's size along the axis.
        kernel: f, the window's size.
        stride: s.
        padding: p, zeros added at either end.
        dilation: d, the distance of the window's values.
    """
    # the last possible start of the window, whose span is d(f − 1) + 1
    reach = sympy.sympify(n + 2 * padding - dilation * (kernel - 1) - 1)
    return sympy.floor(reach / stride) + 1


def output_size_text(n: Size, kernel: Size, stride: Size, padding: Size, dilation: Size, ceil: bool = False) -> str:
    """The same formula with its numbers; with `ceil`, rounded up as in pooling with ceil_mode.

    >>> output_size_text(300, 3, 1, 0, 1)
    '⌊(300 + 2·0 − 1·(3 − 1) − 1)/1⌋ + 1 = 298'
    """
    result = output_size(n, kernel, stride, padding, dilation)
    open_, close = ("⌈", "⌉") if ceil else ("⌊", "⌋")
    inner = f"({show(n)} + 2·{show(padding)} − {show(dilation)}·({show(kernel)} − 1) − 1)/{show(stride)}"
    if ceil:
        result = sympy.ceiling(sympy.sympify(n + 2 * padding - dilation * (kernel - 1) - 1) / stride) + 1
    return f"{open_}{inner}{close} + 1 = {show(result)}"


def transposed_size(n: Size, kernel: Size, stride: Size, padding: Size, dilation: Size, extra: Size = 0) -> Size:
    """The output size of a transposed convolution, (n − 1)s − 2p + d(f − 1) + 1 + e, where e is the output padding.

    >>> transposed_size(16, 2, 2, 0, 1)
    32
    """
    return sympy.sympify((n - 1) * stride - 2 * padding + dilation * (kernel - 1) + 1 + extra)


def transposed_size_text(n: Size, kernel: Size, stride: Size, padding: Size, dilation: Size) -> str:
    """The same formula with its numbers.

    >>> transposed_size_text(16, 2, 2, 0, 1)
    '(16 − 1)·2 − 2·0 + 1·(2 − 1) + 1 = 32'
    """
    result = transposed_size(n, kernel, stride, padding, dilation)
    sliding = f"({show(n)} − 1)·{show(stride)} − 2·{show(padding)}"
    return f"{sliding} + {show(dilation)}·({show(kernel)} − 1) + 1 = {show(result)}"


def product_text(factors: list[Size]) -> str:
    """Factors joined by dots, sums in brackets.

    >>> product_text([3, 3, 2])
    '3·3·2'
    """
    return "·".join(map(_bracketed, factors))


def show(value: Size) -> str:
    """A size as text: thousands separated by commas, products with dots.

    >>> show(sympy.Integer(1216)), show(read_product("6000*N_2") + 6000)
    ('1,216', '6,000·N_2 + 6,000')
    """
    expression = sympy.sympify(value)
    if expression.is_Integer:
        return f"{int(expression):,}"
    if expression.is_Rational:  # 5/2, as in the padding of an even window
        return f"{show(expression.p)}/{show(expression.q)}"
    if expression.is_Symbol:
        return str(expression)
    if isinstance(expression, (sympy.floor, sympy.ceiling)):
        inner = show(sympy.together(expression.args[0]))  # one fraction line: ⌊(5 − P)/2⌋
        return f"⌊{inner}⌋" if isinstance(expression, sympy.floor) else f"⌈{inner}⌉"
    if expression.is_Pow:
        base, exponent = expression.args
        if exponent == -1:
            return f"1/{_bracketed(base)}"
        return f"{_bracketed(base)}^{show(exponent)}"
    if expression.is_Add:  # expanded, with the sign of each term between them
        words = ""
        for term in sympy.expand(expression).as_ordered_terms():
            negative = term.could_extract_minus_sign()
            size = show(-term if negative else term)
            words += (" − " if negative else " + ") + size if words else ("−" if negative else "") + size
        return words
    if expression.is_Mul:  # a fraction, a negative product, or factors
        above, below = expression.as_numer_denom()
        if below != 1 and not expression.could_extract_minus_sign():  # a negative fraction gets its sign first
            return f"{_bracketed(above)}/{_bracketed(below)}"
        number, rest = expression.as_coeff_mul()
        if number < 0:
            return f"−{show(-expression)}"
        factors = ([show(number)] if number != 1 else []) + [_bracketed(factor) for factor in sorted(rest, key=str)]
        return "·".join(factors)
    return str(expression)


def _bracketed(expression: Size) -> str:
    text = show(expression)
    return f"({text})" if sympy.sympify(expression).is_Add else text
