# SPDX-License-Identifier: Apache-2.0
"""The value of an expression, exact or to the working precision; without a value, an error that says where and why."""

from __future__ import annotations

import decimal
from collections.abc import Mapping, Sequence
from fractions import Fraction

from pellucid.errors import UsageError
from pellucid.worked.expressions.arithmetic import over, plus, power, times
from pellucid.worked.expressions.expression import (
    Add,
    At,
    Call,
    Condition,
    Const,
    Div,
    Expr,
    Mul,
    Name,
    Neg,
    Partial,
    Piecewise,
    Pow,
    Sum,
    Value,
    first_position,
    replace,
)
from pellucid.worked.expressions.functions import FUNCTIONS
from pellucid.worked.expressions.position import position

__all__ = ["branch_of", "evaluate", "holds", "substitute"]


def evaluate(node: Expr, numbers: Mapping[str, Value], where: str = "") -> Value:
    """The value of an expression.

    >>> evaluate(Name("a") / 3, {"a": Fraction(1)})
    Fraction(1, 3)

    Args:
        node: an expression with its loops written out, so without `Index`.
        numbers: the value of every name in it.
        where: the equation's name, for errors in an expression that was not read from a text.

    Raises:
        UsageError: division by zero, a logarithm or root of a negative number, a number beyond the range of float64.
    """
    try:
        value = _value(node, numbers, where)
        if isinstance(value, decimal.Decimal) and not value.is_finite():
            raise OverflowError
        return value
    except (OverflowError, decimal.Overflow):
        raise UsageError(
            f"{position(first_position(node), where)}the number is beyond 10^308, where float64 ends; use smaller numbers."
        ) from None


def _value(node: Expr, numbers: Mapping[str, Value], where: str) -> Value:
    match node:
        case Const(value=value):
            return value
        case Name(name=key) | Partial(key=key):  # a derivative that is already known is a name like any other
            return numbers[key]
        case Add(terms=terms) | Sum(terms=terms):
            total: Value = Fraction(0)
            for term in terms:
                total = plus(total, _value(term, numbers, where))
            return total
        case Mul(factors=factors):
            product: Value = Fraction(1)
            for factor in factors:
                product = times(product, _value(factor, numbers, where))
            return product
        case Neg(term=term):
            return -_value(term, numbers, where)
        case Div(top=top, bottom=bottom, at=at):
            left, right = _value(top, numbers, where), _value(bottom, numbers, where)
            try:
                return over(left, right)
            except ZeroDivisionError:
                raise UsageError(
                    f"{position(at or first_position(node), where)}the divisor is 0; change the numbers that lead to it."
                ) from None
        case Pow(base=base, exponent=exponent, at=at):
            return _power(
                _value(base, numbers, where), _value(exponent, numbers, where), at or first_position(node), where
            )
        case Call(function=name, args=args, index=index, at=at):
            values = [_value(arg, numbers, where) for arg in args]
            try:
                return FUNCTIONS[name].exact(values, index)
            except ValueError:  # outside the domain; the function itself knows no position
                raise UsageError(
                    f"{position(at or first_position(node), where)}{name}({float(values[0]):g}): {FUNCTIONS[name].domain}; "
                    "change the numbers that lead to it."
                ) from None
        case Piecewise():
            # only the branch taken is evaluated: piecewise(log(x) if x > 0, 0 otherwise) has a value at −1
            chosen = _chosen(node, numbers, where)
            taken = node.otherwise if chosen == len(node.branches) else node.branches[chosen][0]
            return _value(taken, numbers, where)
    raise TypeError(f"{type(node).__name__} has no value")  # an Index outside of a loop


def _power(base: Value, exponent: Value, at: At | None, where: str) -> Value:
    # OverflowError passes through, to `evaluate`
    try:
        return power(base, exponent)
    except ZeroDivisionError:
        raise UsageError(
            f"{position(at, where)}0 to a negative power is a division by 0; change the numbers."
        ) from None
    except ValueError:
        raise UsageError(
            f"{position(at, where)}({float(base):g})^{float(exponent):g}: a negative number takes only whole exponents; "
            "change the numbers."
        ) from None


def holds(test: Condition, numbers: Mapping[str, Value], where: str = "") -> bool:
    """Whether a comparison is true.

    >>> holds(Name("x") < 1, {"x": Fraction(1)})
    False
    """
    left, right = _value(test.left, numbers, where), _value(test.right, numbers, where)
    return {"<": left < right, "<=": left <= right, ">": left > right, ">=": left >= right}[test.sign]


def branch_of(node: Call | Piecewise, numbers: Mapping[str, Value], where: str = "") -> tuple[int, bool]:
    """The branch that a piecewise function takes, and whether the point is on the border of two.

    >>> branch_of(Call("relu", (Name("z"),)), {"z": Fraction(0)})
    (0, True)
    """
    if isinstance(node, Call):
        rule = FUNCTIONS[node.function].branch
        assert rule is not None, node.function
        return rule([_value(arg, numbers, where) for arg in node.args])
    # on the border if the two sides of a condition are equal: exact numbers can tell
    edges = [_value(test.left, numbers, where) == _value(test.right, numbers, where) for _, test in node.branches]
    chosen = _chosen(node, numbers, where)
    return chosen, any(edges[: chosen + 1])  # conditions after the one that holds were never asked


def _chosen(node: Piecewise, numbers: Mapping[str, Value], where: str) -> int:
    tests: Sequence[Condition] = [test for _, test in node.branches]
    return next((n for n, test in enumerate(tests) if holds(test, numbers, where)), len(tests))


def substitute(node: Expr, values: Mapping[str, Value]) -> Expr:
    """The expression with numbers in place of its names.

    >>> substitute(Name("a") * 2, {"a": Fraction(3)})
    Mul(factors=(Const(value=Fraction(3, 1)), Const(value=Fraction(2, 1))))
    """

    def number(inner: Expr) -> Expr | None:
        key = inner.name if isinstance(inner, Name) else inner.key if isinstance(inner, Partial) else None
        return None if key is None else Const(values[key])

    return replace(node, number)
