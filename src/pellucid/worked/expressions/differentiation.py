# SPDX-License-Identifier: Apache-2.0
"""The derivative of one expression with respect to one name, written as a person would write it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from fractions import Fraction
from typing import TypeAlias

from pellucid.worked.expressions.evaluation import branch_of
from pellucid.worked.expressions.expression import (
    Add,
    Call,
    Const,
    Div,
    Expr,
    Mul,
    Name,
    Neg,
    Piecewise,
    Pow,
    Sum,
    Value,
)
from pellucid.worked.expressions.functions import FUNCTIONS

__all__ = ["Branching", "differentiate", "tidy"]

Branching: TypeAlias = Callable[[Call | Piecewise], int]  # a node -> the branch it is on
ZERO, ONE = Const(Fraction(0)), Const(Fraction(1))


def differentiate(node: Expr, by: str, numbers: Mapping[str, Value]) -> Expr:
    """The derivative of an expression with respect to a name, lightly simplified, on the branches that the numbers take.

    >>> differentiate((Name("a") - 5) ** 2, "a", {"a": Fraction(4)})
    Mul(factors=(Const(value=Fraction(2, 1)), Add(terms=(Name(name='a'), Neg(term=Const(value=Fraction(5, 1)))))))

    Args:
        node: the expression.
        by: the name; all other names are constants.
        numbers: the value of every name, which decides the branch of a piecewise function.
    """
    return _slope(node, by, lambda inner: branch_of(inner, numbers)[0])


def _slope(node: Expr, by: str, branch: Branching) -> Expr:
    match node:
        case Name(name=name):
            return ONE if name == by else ZERO
        case Add(terms=terms) | Sum(terms=terms):
            return _sum([_slope(term, by, branch) for term in terms])
        case Neg(term=term):
            return _negative(_slope(term, by, branch))
        case Mul(factors=factors):
            parts = []  # product rule: each factor's derivative in its own place, so that the order stays
            for n, factor in enumerate(factors):
                inner = _slope(factor, by, branch)
                if inner != ZERO:
                    parts.append(_product([*factors[:n], inner, *factors[n + 1 :]]))
            return _sum(parts)
        case Div(top=top, bottom=bottom):
            upper, lower = _slope(top, by, branch), _slope(bottom, by, branch)
            if lower is ZERO:  # a constant divisor: u′/v rather than the quotient rule
                return _quotient(upper, bottom)
            # quotient rule, (u′v − uv′)/v²
            return _quotient(
                _sum([_product([upper, bottom]), _negative(_product([top, lower]))]), Pow(bottom, Const(Fraction(2)))
            )
        case Pow(base=base, exponent=exponent):
            # (u^v)′ = v·u^(v−1)·u′ + u^v·log(u)·v′, of which usually one term is 0
            inner, outer = _slope(base, by, branch), _slope(exponent, by, branch)
            parts = []
            if inner != ZERO:
                parts.append(_product([exponent, _power(base, _sum([exponent, Const(Fraction(-1))])), inner]))
            if outer != ZERO:
                parts.append(_product([node, Call("log", (base,)), outer]))
            return _sum(parts)
        case Call(function=name, args=args):
            # chain rule: Σ over the arguments of ∂f/∂arg · arg′
            rule, parts = FUNCTIONS[name], []
            for n, arg in enumerate(args):
                inner = _slope(arg, by, branch)
                if inner == ZERO:
                    continue
                if rule.branch_slope is not None:
                    outer = rule.branch_slope(args, n, branch(node))
                else:
                    assert rule.slope is not None, name
                    outer = rule.slope(args, n, node)
                parts.append(_product([outer, inner]))
            return _sum(parts)
        case Piecewise(branches=branches, otherwise=otherwise):
            chosen = branch(node)
            return _slope(otherwise if chosen == len(branches) else branches[chosen][0], by, branch)
    return ZERO


def tidy(node: Expr) -> Expr:
    """The expression without factors of 1, terms of 0 and double signs."""
    match node:
        case Add(terms=terms):
            return _sum([tidy(term) for term in terms])
        case Mul(factors=factors):
            return _product([tidy(factor) for factor in factors])
        case Neg(term=term):
            return _negative(tidy(term))
    return node


def _sum(terms: list[Expr]) -> Expr:
    """A flat sum whose numbers are added up into one, at the end."""
    flat: list[Expr] = []
    number = Fraction(0)
    for outer in terms:
        for term in outer.terms if isinstance(outer, Add) else (outer,):
            inner = term.term if isinstance(term, Neg) else term
            if isinstance(inner, Const) and isinstance(inner.value, Fraction):
                number += inner.value if inner is term else -inner.value
            else:
                flat.append(term)
    if number:
        # a − 5 rather than a + (−5)
        flat.append(Const(number) if number > 0 or not flat else Neg(Const(-number)))
    return Add(tuple(flat)) if len(flat) > 1 else flat[0] if flat else ZERO


def _product(factors: list[Expr]) -> Expr:
    """A product with one sign and one number in front and one fraction line; whole numbers are reduced."""
    number, below = Fraction(1), Fraction(1)  # the numbers above and below the fraction line
    above: list[Expr] = []
    divisors: list[Expr] = []
    pending = list(factors)
    while pending:  # nested products, signs and quotients are taken apart in place
        factor = pending.pop(0)
        match factor:
            case Const(value=Fraction() as value):
                number *= value
            case Neg(term=term):
                number, pending = -number, [term, *pending]
            case Mul(factors=inner):
                pending = [*inner, *pending]
            case Div(top=top, bottom=Const(value=Fraction() as value)):
                below, pending = below * value, [top, *pending]
            case Div(top=top, bottom=bottom):
                divisors, pending = [*divisors, bottom], [top, *pending]
            case _:
                above.append(factor)
    if number == 0:
        return ZERO
    # 4/2 becomes 2 and 4/6 becomes 2/3, but 0.5/3 stays: 0.1666… would not end
    if (number / below).denominator == 1 or number.denominator == below.denominator == 1:
        number, below = Fraction((number / below).numerator), Fraction((number / below).denominator)
    if below < 0:
        number, below = -number, -below
    if below != 1:
        divisors.insert(0, Const(below))
    if abs(number) != 1 or not above:
        above.insert(0, Const(abs(number)))
    product = above[0] if len(above) == 1 else Mul(tuple(above))
    if divisors:
        product = Div(product, divisors[0] if len(divisors) == 1 else Mul(tuple(divisors)))
    if number > 0:
        return product
    return Const(-product.value) if isinstance(product, Const) else Neg(product)


def _negative(node: Expr) -> Expr:
    match node:
        case Neg(term=term):
            return term
        case Const(value=value):
            return Const(-value)
    return Neg(node)


def _quotient(top: Expr, bottom: Expr) -> Expr:
    return ZERO if top == ZERO else _product([top, Div(ONE, bottom)])


def _power(base: Expr, exponent: Expr) -> Expr:
    if exponent == ZERO:
        return ONE
    return base if exponent == ONE else Pow(base, exponent)
