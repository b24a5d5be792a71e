# SPDX-License-Identifier: Apache-2.0
"""Sums, products, quotients and powers built without factors of 1 and terms of 0."""

from __future__ import annotations

from fractions import Fraction

from pellucid.worked.expressions.expression import Add, Call, Const, Div, Expr, Mul, Neg, Piecewise, Pow, rebuild

__all__ = ["ONE", "TWO", "ZERO", "add", "divide", "multiply", "negate", "power", "signs_first", "tidied"]

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
        case Neg(term=term):
            return negate(term)
        case Div(top=top, bottom=bottom):
            return divide(top, bottom)
        case Piecewise(branches=branches, otherwise=otherwise) if all(value == otherwise for value, _ in branches):
            return otherwise
        case Call(function="sum", args=(body, _)) if body == ZERO:
            return ZERO
    return inner


def signs_first(node: Expr) -> Expr:
    """The expression with the sign and the numbers of every product in front of it.

    >>> from pellucid.worked.expressions.expression import Name
    >>> signs_first(Mul((Name("x"), Const(Fraction(-1)), Const(Fraction(2)))))
    Neg(term=Mul(factors=(Const(value=Fraction(2, 1)), Name(name='x'))))
    """
    inner = rebuild(node, signs_first)
    if not isinstance(inner, Mul):
        return inner
    number, others = Fraction(1), list[Expr]()
    for factor in inner.factors:
        while isinstance(factor, Neg):
            number, factor = -number, factor.term
        match factor:
            case Const(value=Fraction() as value):
                number *= value
            case _:
                others.append(factor)
    whole = multiply(Const(abs(number)), *others)
    return negate(whole) if number < 0 else whole
