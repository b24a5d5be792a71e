# SPDX-License-Identifier: Apache-2.0
"""The derivative of one equation as a number, node by node, so that one node can be given a wrong rule."""

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

__all__ = ["LocalDerivatives", "Rule"]

# takes a node, the equation that it belongs to and the name differentiated by; None stands for the correct rule
Rule: TypeAlias = Callable[[Expr, "LocalDerivatives", str], "Value | None"]


@final
class LocalDerivatives:
    """Derivatives of one equation at some numbers; `rule` may give a node another derivative.

    >>> from pellucid.worked.notation.notation import parse_expression
    >>> local = LocalDerivatives({"a": Fraction(3)}, "L", parse_expression("(2*a)^2"))
    >>> print(local.derivative(local.root, "a"))
    24
    >>> wrong = LocalDerivatives(local.numbers, "L", local.root, lambda node, here, by: Fraction(1) if type(node) is Pow else None)
    >>> print(wrong.derivative(wrong.root, "a"))
    1

    Args:
        numbers: of every name.
        name: of the equation.
        root: its right side.
        rule: tried first at every node.
    """

    def __init__(self, numbers: Mapping[str, Value], name: str, root: Expr, rule: Rule | None = None) -> None:
        self.numbers, self.name, self.root, self.rule = numbers, name, root, rule

    def value(self, node: Expr) -> Value:
        """The number of a part; that of the whole right side is the quantity's own, which may be a wrong one."""
        if node is self.root and self.name in self.numbers:
            return self.numbers[self.name]
        return evaluate(node, self.numbers)

    def derivative(self, node: Expr, by: str) -> Value:
        """The derivative of a part by a name, by the rule that is tried, else by the correct one."""
        if self.rule is not None and (wrong := self.rule(node, self, by)) is not None:
            return wrong
        return self.correct(node, by)

    def correct(self, node: Expr, by: str) -> Value:
        """The derivative by the correct rule at this node, whatever the rules below it."""
        total: Value = Fraction(0)
        match node:
            case Name(name=name):
                return Fraction(int(name == by))
            case Const():
                return total
            case Add(terms=terms) | Sum(terms=terms):
                for term in terms:
                    total = plus(total, self.derivative(term, by))
                return total
            case Neg(term=term):
                return -self.derivative(term, by)
            case Piecewise(branches=branches, otherwise=otherwise):
                chosen = branch_of(node, self.numbers)[0]
                return self.derivative(otherwise if chosen == len(branches) else branches[chosen][0], by)
        # the chain rule over the arguments of a product, quotient, power or function
        for place, part in enumerate(self.parts(node)):
            inner = self.derivative(part, by)
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
        """The outer derivative: of a product, quotient, power or function by one of its arguments."""
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
                mark = "·"  # cannot be a name in a worksheet
                power = Pow(Name(mark), exponent) if place == 0 else Pow(base, Name(mark))
                numbers = {**self.numbers, mark: evaluate((base, exponent)[place], self.numbers)}
                return evaluate(differentiate(power, mark, numbers), numbers)
            case Call(function=function, args=args):
                rule = FUNCTIONS[function]
                if rule.branch_slope is not None:
                    outer = rule.branch_slope(args, place, branch_of(node, self.numbers)[0])
                else:
                    assert rule.slope is not None, function
                    outer = rule.slope(args, place, node)
                # σ′ = a·(1 − a) takes a as it was answered, also where that is wrong
                if node is self.root and self.name in self.numbers:
                    outer = replace(outer, {node: Name(self.name)})
                return evaluate(outer, self.numbers)
        raise TypeError(f"{type(node).__name__} has no arguments")
