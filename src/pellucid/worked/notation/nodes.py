# SPDX-License-Identifier: Apache-2.0
"""From the arguments of a call to its node: functions that are short for an expression, products, matrices of zeros and ones."""

from __future__ import annotations

from fractions import Fraction

from pellucid.errors import UsageError
from pellucid.worked.expressions.expression import At, Call, Const, Expr, Pow
from pellucid.worked.expressions.position import position
from pellucid.worked.notation.calls import SHORT
from pellucid.worked.notation.statements import ArrayLiteral, MatrixProduct, Transpose

__all__ = ["built"]


def built(name: str, args: list[Expr], at: At) -> Expr:
    """The node of a call whose arguments are complete.

    >>> built("square", [Const(Fraction(3))], (1, 1))
    Pow(base=Const(value=Fraction(3, 1)), exponent=Const(value=Fraction(2, 1)))

    Raises:
        UsageError: sizes of a matrix that are no whole numbers.
    """
    match name:
        case "array":
            return args[0]
        case "transpose":
            return Transpose(args[0], at)
        case "power":
            return Pow(args[0], args[1], at)
        case "dot":
            return MatrixProduct(args[0], args[1], at)
        case "eye" | "zeros" | "ones":
            return _filled(name, args, at)
    return SHORT[name](args[0]) if name in SHORT else Call(name, tuple(args), 0, at)


def _filled(name: str, args: list[Expr], at: At) -> Expr:
    """eye(2), zeros(3), ones(2, 3): vectors and matrices of zeros and ones."""
    sizes = [arg.value for arg in args if isinstance(arg, Const) and isinstance(arg.value, Fraction)]
    if len(sizes) < len(args) or not all(size.denominator == 1 and 1 <= size <= 100 for size in sizes):
        raise UsageError(f"{position(at)}{name}: its sizes are whole numbers from 1 to 100, as in {name}(2).")
    if name == "eye":
        sizes *= 2
    ones = name == "ones"
    if len(sizes) == 1:
        return ArrayLiteral((Const(Fraction(ones)),) * int(sizes[0]), at)
    rows = [
        ArrayLiteral(tuple(Const(Fraction(ones or (name == "eye" and i == j))) for j in range(int(sizes[1]))), at)
        for i in range(int(sizes[0]))
    ]
    return ArrayLiteral(tuple(rows), at)
