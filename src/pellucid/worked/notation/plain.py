# SPDX-License-Identifier: Apache-2.0
"""Expressions as they are read, in the nodes that mathematics has: products for factors side by side, names for their indices."""

from __future__ import annotations

from fractions import Fraction

from pellucid.errors import UsageError
from pellucid.worked.expressions.expression import Call, Const, Expr, Index, Mul, Name, Pow, Sum, rebuild
from pellucid.worked.expressions.position import position
from pellucid.worked.notation.calls import combined, loss_of
from pellucid.worked.notation.statements import (
    Adjacent,
    ArrayLiteral,
    Bars,
    MatrixProduct,
    OverAxis,
    OverIndex,
    Subscript,
    Transpose,
)

__all__ = ["in_symbols", "shown"]


def shown(node: Expr) -> Expr:
    """The body of a sum for its Σ, with products in place of factors side by side.

    >>> shown(Adjacent(Name("w_k"), Name("x_k")))
    Mul(factors=(Name(name='w_k'), Name(name='x_k')))
    """
    match node:
        case Adjacent(left=left, right=right):
            one, two = shown(left), shown(right)
            factors = [factor for part in (one, two) for factor in (part.factors if isinstance(part, Mul) else (part,))]
            return Mul(tuple(factors))
        case Bars(of=of, at=at):
            return Call("abs", (shown(of),), 0, at)
        case Index(base=base, places=places) if all(isinstance(place, Name) for place in places):
            return Name("_".join([base, *(place.name for place in places if isinstance(place, Name))]), node.at)
        case Pow(base=Name(name="e"), exponent=exponent, at=at):
            return Call("exp", (shown(exponent),), 0, at)
    return rebuild(node, shown)


def in_symbols(node: Expr) -> Expr:
    """An expression without a worksheet: every name is a symbol, e^x is exp(x), and a mean is written out.

    >>> in_symbols(Pow(Name("e"), Name("x")))
    Call(function='exp', args=(Name(name='x'),), index=0)

    Raises:
        UsageError: a vector or matrix.
    """
    match node:
        case ArrayLiteral(at=at) | MatrixProduct(at=at) | Transpose(at=at) | Subscript(at=at) | OverAxis(at=at):
            raise UsageError(
                f"{position(at)}vectors and matrices need a worksheet; write one number, or names with an index."
            )
        case Bars(of=of, at=at):
            return Call("abs", (in_symbols(of),), 0, at)
        case Name(name="pi"):
            return Call("pi", ())
        case Name(name="e"):
            return Call("exp", (Const(Fraction(1)),))
        case Call(function="mean" | "var" | "std" | "norm" as function, args=args):
            return combined(function, [in_symbols(arg) for arg in args])
        case Call(function="bce" | "mse" as function, args=(one, two)):
            return loss_of(function, [in_symbols(one)], [in_symbols(two)])
        case Pow(exponent=Name(name="T"), at=at):  # x^T W x is no power
            raise UsageError(
                f"{position(at)}vectors and matrices need a worksheet; write one number, or names with an index."
            )
        case OverIndex(index=index, at=at) | Sum(index=index, at=at):
            raise UsageError(
                f"{position(at)}a sum over some {index}, or a product, needs a worksheet; write sum(x_{index}, {index})."
            )
        case Index(base=base, places=places, at=at) if not all(isinstance(place, Name) for place in places):
            numbers = [place.value for place in places if isinstance(place, Const)]
            if len(numbers) == len(places) and all(number == int(number) for number in numbers):
                return Name("_".join([base, *(str(int(number)) for number in numbers)]), at)
            raise UsageError(
                f"{position(at)}{base}[…]: has a computed index; write a letter or a number, as in {base}_t or {base}_1."
            )
    flat = shown(node) if isinstance(node, (Adjacent, Index, Pow)) else node
    if isinstance(flat, Mul):  # factors side by side among the others
        parts = [in_symbols(factor) for factor in flat.factors]
        nested = any(isinstance(factor, Adjacent) for factor in flat.factors)
        factors = [
            factor for part in parts for factor in (part.factors if nested and isinstance(part, Mul) else (part,))
        ]
        return Mul(tuple(factors))
    return rebuild(flat, in_symbols)
