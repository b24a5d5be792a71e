# SPDX-License-Identifier: Apache-2.0
"""Remarks about functions with branches: which branch is taken and why, a dead ReLU, the convention at a kink."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from fractions import Fraction

from pellucid.worked.expressions.evaluation import branch_of, evaluate
from pellucid.worked.expressions.expression import Call, Condition, Const, Expr, Piecewise, Value, names, walk
from pellucid.worked.expressions.functions import FUNCTIONS
from pellucid.worked.showing.lines import Words

__all__ = ["branch_remarks"]


def branch_remarks(right: Expr, by: str | None, values: Mapping[str, Value]) -> Iterator[Words]:
    """A remark on every branch in an expression; with `by`, on its derivative with respect to that name.

    >>> from fractions import Fraction
    >>> from pellucid.worked.expressions.expression import Name
    >>> next(branch_remarks(Call("relu", (Name("z"),)), None, {"z": Fraction(2)}))[-1]
    ' > 0: ReLU passes it through.'
    """
    for node in walk(right):
        branching = isinstance(node, Piecewise) or (isinstance(node, Call) and FUNCTIONS[node.function].branch)
        if branching and (by is None or by in names(node)):
            assert isinstance(node, (Piecewise, Call))
            yield _remark(node, by, values)


def _remark(node: Call | Piecewise, by: str | None, values: Mapping[str, Value]) -> Words:
    chosen, edge = branch_of(node, values)
    if isinstance(node, Piecewise):
        return _piecewise(node, chosen, edge, by, values)
    rule = FUNCTIONS[node.function]
    argument = node.args[0]
    shown = _equal(argument, values)
    kink: Words = (f" At a kink: {rule.convention}.",) if edge and by is not None else ()
    match node.function:
        case "relu" if chosen:
            return (*shown, " > 0: ReLU passes it through" + (", derivative 1." if by else "."))
        case "relu" if edge:
            return (*shown, ": ReLU gives 0.", *kink)
        case "relu":
            dead = ", derivative 0: a dead ReLU, no gradient flows back." if by else "."
            return (*shown, " < 0: ReLU gives 0" + dead)
        case "leaky_relu":
            side = " > 0: the right branch, slope 1." if chosen else " < 0: the left branch, slope "
            side = ": at 0 both branches give 0." if edge else side
            leak = node.args[1] if len(node.args) > 1 else Const(Fraction(1, 100))
            slope: Words = () if chosen or edge else (leak, ".")
            return (*shown, side, *slope, *kink)
        case "abs":
            side = " > 0: the absolute value is the number itself."
            side = " < 0: the absolute value flips its sign." if chosen < 0 else side
            side = ": the absolute value is 0." if edge else side
            derivative = f" Derivative {chosen}.".replace("-", "−") if by and not edge else ""
            return (*shown, side + derivative, *kink)
        case "floor" | "ceil":
            way = "down" if node.function == "floor" else "up"
            whole = "is a whole number" if edge else f"is rounded {way} to {chosen}".replace("-", "−")
            constant = " The derivative is 0 between whole numbers." if by and not edge else ""
            return (*shown, f" {whole}." + constant, *kink)
        case "clip":
            sides = (
                " is within the limits: clip passes it through.",
                " is below the lower limit: clip gives the limit.",
                " is above the upper limit: clip gives the limit.",
            )
            if edge:
                return (*shown, " is at a limit.", *kink)
            derivative = ("", " The derivative is 0.")[bool(chosen)] if by else ""
            return (*shown, sides[chosen] + derivative, *kink)
    # max and min
    word = "largest" if node.function == "max" else "smallest"
    flows = " The derivative is 1 for it and 0 for the others." if by else ""
    return (*_equal(node.args[chosen], values), f" is the {word}." + flows, *kink)


def _piecewise(node: Piecewise, chosen: int, edge: bool, by: str | None, values: Mapping[str, Value]) -> Words:
    tests = [test for _, test in node.branches]
    why: list[str | Expr | tuple[str, ...]] = (
        [*_compared(tests[chosen], values), " holds"] if chosen < len(tests) else ["no condition holds"]
    )
    value = node.otherwise if chosen == len(tests) else node.branches[chosen][0]
    kink = " On the border of two branches the derivative is that of the branch taken." if edge and by else ""
    return (*why, ": the branch ", value, " is taken." + kink)


def _compared(test: Condition, values: Mapping[str, Value]) -> Words:
    sign = {"<=": "≤", ">=": "≥"}.get(test.sign, test.sign)
    return (*_equal(test.left, values), f" {sign} ", *_equal(test.right, values))


def _equal(node: Expr, values: Mapping[str, Value]) -> Words:
    """`z = −0.2`; a constant stands alone."""
    return (node,) if isinstance(node, Const) else (node, " = ", Const(evaluate(node, values)))
