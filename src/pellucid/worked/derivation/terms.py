# SPDX-License-Identifier: Apache-2.0
"""Sums, products, quotients and powers built without factors of 1 and terms of 0."""

from __future__ import annotations

from fractions import Fraction

from pellucid.worked.expressions.expression import Add, Const, Div, Expr, Mul, Neg, Pow, rebuild

__all__ = ["ONE", "TWO", "ZERO", "add", "divide", "multiply", "negate", "power", "tidied"]

ZERO, ONE, TWO = (Const(Fraction(n)) for n in (0, 1, 2))


def add(terms: list[Expr]) -> Expr:
    """The sum of some terms.

    >>> add([ZERO, ONE])
    Const(value=Fraction(1, 1))
    """
    kept = [term for term in terms if term != ZERO]
    if len(kept) < 2:
        return kept[0] if kept else ZERO
    return Add(tuple(kept))


def multiply(*factors: Expr) -> Expr:
    """The product of some factors; a product among them is merged."""
    flat = [inner for factor in factors for inner in (factor.factors if isinstance(factor, Mul) else (factor,))]
    if ZERO in flat:
        return ZERO
    kept = [factor for factor in flat if factor != ONE]
    if len(kept) < 2:
        return kept[0] if kept else ONE
    return Mul(tuple(kept))


def negate(node: Expr) -> Expr:
    """The negative; −(−u) is u."""
    if node == ZERO:
        return ZERO
    if isinstance(node, Neg):
        return node.term
    return Const(-node.value) if isinstance(node, Const) else Neg(node)


def divide(top: Expr, bottom: Expr) -> Expr:
    """The quotient; 0/v is 0 and u/1 is u."""
    return top if top == ZERO or bottom == ONE else Div(top, bottom)


def power(base: Expr, exponent: Expr) -> Expr:
    """The power; u^0 is 1 and u^1 is u."""
    if exponent == ZERO:
        return ONE
    return base if exponent == ONE else Pow(base, exponent)


def tidied(node: Expr) -> Expr:
    """The expression without factors of 1 and terms of 0."""
    inner = rebuild(node, tidied)
    match inner:
        case Add(terms=terms):
            return add([*terms])
        case Mul(factors=factors):
            return multiply(*factors)
    return inner
