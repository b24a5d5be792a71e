# SPDX-License-Identifier: Apache-2.0
"""The number of a derivative, node by node, so that the rule of one node can be another than the right one."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from fractions import Fraction
from typing import TypeAlias, final

from pellucid.worked.expressions.arithmetic import plus, times
from pellucid.worked.expressions.differentiation import differentiate
from pellucid.worked.expressions.evaluation import branch_of, evaluate
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
    replace,
)
from pellucid.worked.expressions.functions import FUNCTIONS

__all__ = ["Rule", "Sloping"]

Rule: TypeAlias = Callable[[Expr, "Sloping", str], "Value | None"]  # a node, where, by which name; None: the right rule


@final
class Sloping:
    """Derivatives of one equation at some numbers; `rule` may give a node another derivative.

    >>> from pellucid.worked.notation.notation import parse_expression
    >>> view = Sloping({"a": Fraction(3)}, "L", parse_expression("(2*a)^2"))
    >>> print(view.slope(view.root, "a"))
    24
    >>> view = Sloping(view.numbers, "L", view.root, lambda node, here, by: Fraction(1) if type(node) is Pow else None)
    >>> print(view.slope(view.root, "a"))
    1

    Args:
        numbers: of every name.
        name: of the equation.
        root: its right side.
        rule: what is tried first at every node.
    """

    def __init__(self, numbers: Mapping[str, Value], name: str, root: Expr, rule: Rule | None = None) -> None:
        self.numbers, self.name, self.root, self.rule = numbers, name, root, rule

    def value(self, node: Expr) -> Value:
        """The number of a part; that of the whole right side is the quantity's own, which may be a wrong one."""
        if node is self.root and self.name in self.numbers:
            return self.numbers[self.name]
        return evaluate(node, self.numbers)

    def slope(self, node: Expr, by: str) -> Value:
        """The derivative of a part by a name."""
        if self.rule is not None and (found := self.rule(node, self, by)) is not None:
            return found
        return self.right(node, by)

    def right(self, node: Expr, by: str) -> Value:
        """The derivative by the right rule at this node, whatever the parts have."""
        total: Value = Fraction(0)
        match node:
            case Name(name=name):
                return Fraction(int(name == by))
            case Const():
                return total
            case Add(terms=terms) | Sum(terms=terms):
                for term in terms:
                    total = plus(total, self.slope(term, by))
                return total
            case Neg(term=term):
                return -self.slope(term, by)
            case Piecewise(branches=branches, otherwise=otherwise):
                chosen = branch_of(node, self.numbers)[0]
                return self.slope(otherwise if chosen == len(branches) else branches[chosen][0], by)
        for place, part in enumerate(self.parts(node)):
            inner = self.slope(part, by)
            if inner:
                total = plus(total, times(self.outer(node, place), inner))
        return total

    def parts(self, node: Expr) -> tuple[Expr, ...]:
        """The arguments of a product, quotient, power or function."""
        match node:
            case Mul(factors=parts) | Call(args=parts):
                return parts
            case Div(top=one, bottom=two) | Pow(base=one, exponent=two):
                return (one, two)
        return ()

    def outer(self, node: Expr, place: int) -> Value:
        """The derivative of a product, quotient, power or function by its argument, times nothing."""
        match node:
            case Mul(factors=factors):
                product: Value = Fraction(1)
                for other, factor in enumerate(factors):
                    if other != place:
                        product = times(product, evaluate(factor, self.numbers))
                return product
            case Div(top=top, bottom=bottom):
                one = Const(Fraction(1))
                return evaluate(one / bottom if place == 0 else Neg(top / bottom ** Const(Fraction(2))), self.numbers)
            case Pow(base=base, exponent=exponent):
                mark = "·"  # no name of a worksheet
                there = Pow(Name(mark), exponent) if place == 0 else Pow(base, Name(mark))
                numbers = {**self.numbers, mark: evaluate((base, exponent)[place], self.numbers)}
                return evaluate(differentiate(there, mark, numbers), numbers)
            case Call(function=function, args=args):
                rule = FUNCTIONS[function]
                if rule.branch_slope is not None:
                    found = rule.branch_slope(args, place, branch_of(node, self.numbers)[0])
                else:
                    assert rule.slope is not None, function
                    found = rule.slope(args, place, node)
                if node is self.root and self.name in self.numbers:
                    found = replace(found, {node: Name(self.name)})
                return evaluate(found, self.numbers)
        raise TypeError(f"{type(node).__name__} has no arguments")
