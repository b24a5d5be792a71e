# SPDX-License-Identifier: Apache-2.0
"""The derivatives of functions with branches, one case for each: 1 if u > 0, else 0, for ReLU."""

from __future__ import annotations

from collections.abc import Callable
from fractions import Fraction

from pellucid.worked.derivation.terms import ONE, ZERO, negate
from pellucid.worked.expressions.expression import Call, Condition, Const, Expr, Piecewise, walk
from pellucid.worked.expressions.functions import FUNCTIONS

__all__ = ["branched", "conventions"]


def branched(node: Call, change: Callable[[Expr], Expr] = lambda part: part) -> Expr:
    """The derivative on each branch: of relu, leaky_relu and abs by their argument, else `change` of the argument that counts.

    >>> from pellucid.worked.derivation.text import to_text
    >>> from pellucid.worked.expressions.expression import Name
    >>> to_text(branched(Call("relu", (Name("z"),))))
    '{1 if z > 0, 0 otherwise}'

    Args:
        node: a call of relu, leaky_relu, abs, max, min or clip.
        change: what to make of the arguments of max, min and clip.
    """
    first, *rest = node.args
    match node.function:
        case "relu":
            return Piecewise(((ONE, first > ZERO),), ZERO)
        case "leaky_relu":
            return Piecewise(((ONE, first > ZERO),), rest[0] if rest else Const(Fraction(1, 100)))
        case "abs":
            return Piecewise(((ONE, first > ZERO), (negate(ONE), first < ZERO)), ZERO)
        case "clip":
            return Piecewise(((ZERO, first <= rest[0]), (ZERO, first >= rest[1])), change(first))
    # max and min: the first argument counts that no other one passes
    sign = ">=" if node.function == "max" else "<="
    if not rest:
        return change(first)
    branches = []
    for place, arg in enumerate(node.args[:-1]):
        others = tuple(other for n, other in enumerate(node.args) if n != place)
        best = others[0] if len(others) == 1 else Call(node.function, others)
        branches.append((change(arg), Condition(arg, sign, best)))
    return Piecewise(tuple(branches), change(node.args[-1]))


def conventions(node: Expr) -> tuple[str, ...]:
    """What the derivatives of the functions in an expression are taken as at their kinks.

    >>> from pellucid.worked.expressions.expression import Name
    >>> conventions(Call("relu", (Name("z"),)))
    ('at 0 the derivative of ReLU is taken as 0',)
    """
    called = dict.fromkeys(
        part.function for part in walk(node) if isinstance(part, Call) and part.function in FUNCTIONS
    )
    return tuple(FUNCTIONS[name].convention for name in called if FUNCTIONS[name].convention)
