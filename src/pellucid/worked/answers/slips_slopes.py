# SPDX-License-Identifier: Apache-2.0
"""Slips in a derivative: each function gives one node of an equation another derivative than its rule does.

A function of this kind takes the node, the `Sloping` it stands in, and the name differentiated by; it answers None where
the slip cannot be made. Paths and links of the chain rule that are left out are slips of the whole graph.
"""

from __future__ import annotations

from fractions import Fraction
from typing import Final

from pellucid.worked.answers.slips_values import ACTIVATIONS
from pellucid.worked.answers.sloping import Sloping
from pellucid.worked.expressions.arithmetic import over, plus, times
from pellucid.worked.expressions.evaluation import evaluate
from pellucid.worked.expressions.expression import Add, Call, Const, Div, Expr, Mul, Name, Neg, Pow, Sum, Value, names

__all__ = ["WORDS"]

ONE, TWO = Fraction(1), Fraction(2)


def factor_of_the_power(node: Expr, view: Sloping, by: str) -> Value | None:
    """(u²)′ taken as u·u′: the factor 2 is missing."""
    if isinstance(node, Pow) and isinstance(node.exponent, Const) and node.exponent.value not in (0, 1):
        return over(view.right(node, by), node.exponent.value)
    if isinstance(node, Mul) and len(node.factors) == 2 and node.factors[0] == node.factors[1]:
        return over(view.right(node, by), TWO)
    return None


def derivative_of_the_function(node: Expr, view: Sloping, by: str) -> Value | None:
    """σ′(z) taken as 1, in the place of σ(z)·(1 − σ(z))."""
    if isinstance(node, Call) and node.function in (*ACTIVATIONS, "exp", "log", "sqrt") and node.function != "softmax":
        return view.slope(node.args[0], by)
    return None


def inner_derivative(node: Expr, view: Sloping, by: str) -> Value | None:
    """f(u)′ taken as f′(u), without u′."""
    if not (isinstance(node, Call) or (isinstance(node, Pow) and isinstance(node.exponent, Const))):
        return None
    if isinstance(node, Call) and node.function == "softmax":
        return None
    argument = view.parts(node)[0] if view.parts(node) else node
    if isinstance(argument, Name) or by not in names(argument):
        return None
    return view.outer(node, 0)


def softmax_diagonal(node: Expr, view: Sloping, by: str) -> Value | None:
    """∂p_i/∂z_j taken as 0 for i ≠ j: only the diagonal of the softmax's Jacobian."""
    if isinstance(node, Call) and node.function == "softmax":
        return times(view.outer(node, node.index - 1), view.slope(node.args[node.index - 1], by))
    return None


def softmax_off_diagonal(node: Expr, view: Sloping, by: str) -> Value | None:
    """∂p_i/∂z_j taken as +p_i·p_j for i ≠ j."""
    if not isinstance(node, Call) or node.function != "softmax":
        return None
    total: Value = Fraction(0)
    for place, arg in enumerate(node.args):
        sign = 1 if place == node.index - 1 else -1
        total = plus(total, times(Fraction(sign), times(view.outer(node, place), view.slope(arg, by))))
    return total


def place_of_the_derivative(node: Expr, view: Sloping, by: str) -> Value | None:
    """σ′ taken as z·(1 − z), 1 − z² for tanh: at the argument in the place of the value."""
    if not isinstance(node, Call) or node.function not in ("sigmoid", "tanh"):
        return None
    z = evaluate(node.args[0], view.numbers)
    outer = times(z, plus(ONE, -z)) if node.function == "sigmoid" else plus(ONE, -times(z, z))
    return times(outer, view.slope(node.args[0], by))


def function_twice(node: Expr, view: Sloping, by: str) -> Value | None:
    """σ(a)·(1 − σ(a)) with a = σ(z): the function is applied once too often."""
    if not isinstance(node, Call) or node.function not in ("sigmoid", "tanh"):
        return None
    again = evaluate(Call(node.function, (Const(view.value(node)),)), view.numbers)
    outer = times(again, plus(ONE, -again)) if node.function == "sigmoid" else plus(ONE, -times(again, again))
    return times(outer, view.slope(node.args[0], by))


def half_of_the_derivative(node: Expr, view: Sloping, by: str) -> Value | None:
    """σ′ taken as σ(z), and tanh′ as 1 − tanh z: the second half of the formula is forgotten."""
    if not isinstance(node, Call) or node.function not in ("sigmoid", "tanh"):
        return None
    a = view.value(node)
    return times(a if node.function == "sigmoid" else plus(ONE, -a), view.slope(node.args[0], by))


def root_without_half(node: Expr, view: Sloping, by: str) -> Value | None:
    """(√u)′ taken as 1/√u."""
    if isinstance(node, Call) and node.function == "sqrt":
        return times(TWO, view.right(node, by))
    return None


def the_other_factor(node: Expr, view: Sloping, by: str) -> Value | None:
    """∂(W·h)/∂W taken as W in the place of h."""
    if not isinstance(node, Mul) or len(node.factors) < 2:
        return None
    own = [factor for factor in node.factors if by in names(factor)]
    return evaluate(own[0], view.numbers) if len(own) == 1 and isinstance(own[0], Name) else None


def half_of_the_product_rule(node: Expr, view: Sloping, by: str) -> Value | None:
    """(u·v)′ taken as u′·v."""
    if isinstance(node, Mul) and sum(by in names(factor) for factor in node.factors) > 1:
        place = next(n for n, factor in enumerate(node.factors) if by in names(factor))
        return times(view.outer(node, place), view.slope(node.factors[place], by))
    return None


def quotient_rule(node: Expr, view: Sloping, by: str) -> Value | None:
    """(1/u)′ taken as +u′/u²: the minus of the quotient rule is forgotten."""
    if isinstance(node, Div) and by in names(node.bottom):
        top = times(view.outer(node, 0), view.slope(node.top, by))
        return plus(top, -times(view.outer(node, 1), view.slope(node.bottom, by)))
    return None


def square_below(node: Expr, view: Sloping, by: str) -> Value | None:
    """(1/u)′ taken as −u′/u: the divisor is not squared."""
    if isinstance(node, Div) and by in names(node.bottom):
        return times(view.right(node, by), evaluate(node.bottom, view.numbers))
    return None


def minus_inside(node: Expr, view: Sloping, by: str) -> Value | None:
    """∂(y − ŷ)/∂ŷ taken as +1."""
    if isinstance(node, Neg) and by in names(node.term):
        return view.slope(node.term, by)
    return None


def kept_exponent(node: Expr, view: Sloping, by: str) -> Value | None:
    """(u²)′ taken as 2·u²·u′: the exponent is not lowered."""
    if isinstance(node, Pow) and isinstance(node.exponent, Const):
        lowered = evaluate(Pow(node.base, Const(node.exponent.value - 1)), view.numbers)
        if lowered:
            own = evaluate(node, view.numbers)
            return times(over(view.right(node, by), lowered), own)
    return None


def constant_kept(node: Expr, view: Sloping, by: str) -> Value | None:
    """∂(W·x + b)/∂W taken as x + b: the derivative of a constant is not taken as 0."""
    if isinstance(node, (Add, Sum)) and node is view.root:
        kept = [term for term in node.terms if not names(term).keys() & {by}]
        if kept and len(kept) < len(node.terms):
            return plus(view.right(node, by), evaluate(kept[0] if len(kept) == 1 else Add(tuple(kept)), view.numbers))
    return None


WORDS: Final = {
    "factor_of_the_power": "the factor from the power is missing, as the 2 of (u²)′ = 2·u·u′",
    "derivative_of_the_function": "the derivative of the function is left out, taken as 1",
    "inner_derivative": "the inner derivative is left out",
    "softmax_diagonal": "only the diagonal of the softmax's Jacobian is taken, ∂p_i/∂z_j = 0 for i ≠ j",
    "softmax_off_diagonal": "off the diagonal the softmax's Jacobian has the wrong sign: it is −p_i·p_j",
    "place_of_the_derivative": "the derivative is taken with the argument z where the value belongs, as z·(1 − z)",
    "function_twice": "the derivative is taken at the value: the function is applied once too often",
    "half_of_the_derivative": "half of the formula of the derivative is forgotten",
    "root_without_half": "the ½ of (√u)′ = u′/(2·√u) is missing",
    "the_other_factor": "the derivative of a product is taken as the factor differentiated by, not as the other one",
    "half_of_the_product_rule": "only the first half of the product rule is taken",
    "quotient_rule": "the minus of the quotient rule is missing",
    "square_below": "the divisor of the quotient rule is not squared",
    "minus_inside": "the minus inside the brackets is forgotten: the inner derivative is −1",
    "kept_exponent": "the exponent is not lowered by 1",
    "constant_kept": "the term that is constant is kept, its derivative is 0",
}
"""Function -> what is said about it."""
