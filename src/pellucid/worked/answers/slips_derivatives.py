# SPDX-License-Identifier: Apache-2.0
"""Slips in a derivative: each function gives one node of an equation a wrong derivative.

A function takes the node, the `LocalDerivatives` of its equation, and the name differentiated by; it returns None where the
slip cannot be made. Missing paths and links of the chain rule are slips of the whole graph (`slips_graph`).
"""

from __future__ import annotations

from fractions import Fraction
from typing import Final

from pellucid.worked.answers.local_derivatives import LocalDerivatives
from pellucid.worked.answers.slips_values import ACTIVATIONS
from pellucid.worked.expressions.arithmetic import over, plus, times
from pellucid.worked.expressions.evaluation import evaluate
from pellucid.worked.expressions.expression import Add, Call, Const, Div, Expr, Mul, Name, Neg, Pow, Sum, Value, names

__all__ = ["WORDS"]

ONE, TWO = Fraction(1), Fraction(2)


def factor_of_the_power(node: Expr, local: LocalDerivatives, by: str) -> Value | None:
    """(u²)′ taken as u·u′: the factor 2 is missing."""
    if isinstance(node, Pow) and isinstance(node.exponent, Const) and node.exponent.value not in (0, 1):
        return over(local.correct(node, by), node.exponent.value)
    # u·u is a square as well
    if isinstance(node, Mul) and len(node.factors) == 2 and node.factors[0] == node.factors[1]:
        return over(local.correct(node, by), TWO)
    return None


def derivative_of_the_function(node: Expr, local: LocalDerivatives, by: str) -> Value | None:
    """σ′(z) taken as 1 instead of σ(z)·(1 − σ(z))."""
    if isinstance(node, Call) and node.function in (*ACTIVATIONS, "exp", "log", "sqrt") and node.function != "softmax":
        return local.derivative(node.args[0], by)
    return None


def inner_derivative(node: Expr, local: LocalDerivatives, by: str) -> Value | None:
    """f(u)′ taken as f′(u), without u′."""
    if not (isinstance(node, Call) or (isinstance(node, Pow) and isinstance(node.exponent, Const))):
        return None
    if isinstance(node, Call) and node.function == "softmax":
        return None
    # of a name alone the inner derivative is 1, and leaving it out changes nothing
    argument = local.parts(node)[0] if local.parts(node) else node
    if isinstance(argument, Name) or by not in names(argument):
        return None
    return local.outer(node, 0)


def softmax_diagonal(node: Expr, local: LocalDerivatives, by: str) -> Value | None:
    """∂p_i/∂z_j taken as 0 for i ≠ j: only the diagonal of the softmax's Jacobian."""
    if isinstance(node, Call) and node.function == "softmax":
        return times(local.outer(node, node.index - 1), local.derivative(node.args[node.index - 1], by))
    return None


def softmax_off_diagonal(node: Expr, local: LocalDerivatives, by: str) -> Value | None:
    """∂p_i/∂z_j taken as +p_i·p_j for i ≠ j."""
    if not isinstance(node, Call) or node.function != "softmax":
        return None
    total: Value = Fraction(0)
    for place, arg in enumerate(node.args):
        # only off the diagonal: there −p_i·p_j becomes +p_i·p_j
        sign = 1 if place == node.index - 1 else -1
        total = plus(total, times(Fraction(sign), times(local.outer(node, place), local.derivative(arg, by))))
    return total


def place_of_the_derivative(node: Expr, local: LocalDerivatives, by: str) -> Value | None:
    """σ′ taken as z·(1 − z), 1 − z² for tanh: with the argument instead of the value."""
    if not isinstance(node, Call) or node.function not in ("sigmoid", "tanh"):
        return None
    z = evaluate(node.args[0], local.numbers)
    outer = times(z, plus(ONE, -z)) if node.function == "sigmoid" else plus(ONE, -times(z, z))
    return times(outer, local.derivative(node.args[0], by))


def function_twice(node: Expr, local: LocalDerivatives, by: str) -> Value | None:
    """σ(a)·(1 − σ(a)) with a = σ(z): the function is applied twice."""
    if not isinstance(node, Call) or node.function not in ("sigmoid", "tanh"):
        return None
    # σ(σ(z)), where σ(z) belongs
    again = evaluate(Call(node.function, (Const(local.value(node)),)), local.numbers)
    outer = times(again, plus(ONE, -again)) if node.function == "sigmoid" else plus(ONE, -times(again, again))
    return times(outer, local.derivative(node.args[0], by))


def half_of_the_derivative(node: Expr, local: LocalDerivatives, by: str) -> Value | None:
    """σ′ taken as σ(z), and tanh′ as 1 − tanh z: the second half of the formula is forgotten."""
    if not isinstance(node, Call) or node.function not in ("sigmoid", "tanh"):
        return None
    a = local.value(node)
    return times(a if node.function == "sigmoid" else plus(ONE, -a), local.derivative(node.args[0], by))


def root_without_half(node: Expr, local: LocalDerivatives, by: str) -> Value | None:
    """(√u)′ taken as 1/√u."""
    if isinstance(node, Call) and node.function == "sqrt":
        return times(TWO, local.correct(node, by))
    return None


def the_other_factor(node: Expr, local: LocalDerivatives, by: str) -> Value | None:
    """∂(W·h)/∂W taken as W instead of h."""
    if not isinstance(node, Mul) or len(node.factors) < 2:
        return None
    # one factor alone depends on the name, and is the name itself
    own = [factor for factor in node.factors if by in names(factor)]
    return evaluate(own[0], local.numbers) if len(own) == 1 and isinstance(own[0], Name) else None


def half_of_the_product_rule(node: Expr, local: LocalDerivatives, by: str) -> Value | None:
    """(u·v)′ taken as u′·v."""
    if isinstance(node, Mul) and sum(by in names(factor) for factor in node.factors) > 1:
        place = next(n for n, factor in enumerate(node.factors) if by in names(factor))
        return times(local.outer(node, place), local.derivative(node.factors[place], by))
    return None


def quotient_rule(node: Expr, local: LocalDerivatives, by: str) -> Value | None:
    """(1/u)′ taken as +u′/u²: the minus sign of the quotient rule is forgotten."""
    if isinstance(node, Div) and by in names(node.bottom):
        top = times(local.outer(node, 0), local.derivative(node.top, by))
        return plus(top, -times(local.outer(node, 1), local.derivative(node.bottom, by)))
    return None


def square_below(node: Expr, local: LocalDerivatives, by: str) -> Value | None:
    """(1/u)′ taken as −u′/u: the divisor is not squared."""
    if isinstance(node, Div) and by in names(node.bottom):
        return times(local.correct(node, by), evaluate(node.bottom, local.numbers))
    return None


def minus_inside(node: Expr, local: LocalDerivatives, by: str) -> Value | None:
    """∂(y − ŷ)/∂ŷ taken as +1."""
    if isinstance(node, Neg) and by in names(node.term):
        return local.derivative(node.term, by)
    return None


def kept_exponent(node: Expr, local: LocalDerivatives, by: str) -> Value | None:
    """(u²)′ taken as 2·u²·u′: the exponent is not lowered."""
    if isinstance(node, Pow) and isinstance(node.exponent, Const):
        # n·uⁿ⁻¹ becomes n·uⁿ by a factor of uⁿ/uⁿ⁻¹, which keeps u′
        lowered = evaluate(Pow(node.base, Const(node.exponent.value - 1)), local.numbers)
        if lowered:
            own = evaluate(node, local.numbers)
            return times(over(local.correct(node, by), lowered), own)
    return None


def constant_kept(node: Expr, local: LocalDerivatives, by: str) -> Value | None:
    """∂(W·x + b)/∂W taken as x + b: the derivative of a constant is not taken as 0."""
    if isinstance(node, (Add, Sum)) and node is local.root:
        # terms without the name have the derivative 0
        kept = [term for term in node.terms if not names(term).keys() & {by}]
        if kept and len(kept) < len(node.terms):
            return plus(
                local.correct(node, by), evaluate(kept[0] if len(kept) == 1 else Add(tuple(kept)), local.numbers)
            )
    return None


WORDS: Final = {
    "factor_of_the_power": "the factor of the power rule is missing, like the 2 in (u²)′ = 2·u·u′",
    "derivative_of_the_function": "the derivative of the function is left out, as if it were 1",
    "inner_derivative": "the inner derivative is left out",
    "softmax_diagonal": "only the diagonal of the softmax's Jacobian is used, ∂p_i/∂z_j = 0 for i ≠ j",
    "softmax_off_diagonal": "the softmax's Jacobian has the wrong sign off the diagonal: it is −p_i·p_j",
    "place_of_the_derivative": "the derivative has the argument z where the value belongs, as in z·(1 − z)",
    "function_twice": "the derivative is taken at the value of the function, which applies the function twice",
    "half_of_the_derivative": "half of the derivative's formula is forgotten",
    "root_without_half": "the ½ of (√u)′ = u′/(2·√u) is missing",
    "the_other_factor": "the derivative of a product by one of its factors is the other factor, not the factor itself",
    "half_of_the_product_rule": "only the first half of the product rule is used",
    "quotient_rule": "the minus sign of the quotient rule is missing",
    "square_below": "the divisor in the quotient rule is not squared",
    "minus_inside": "the minus sign inside the brackets is forgotten: the inner derivative is −1",
    "kept_exponent": "the exponent is not lowered by 1",
    "constant_kept": "a constant term is kept, although its derivative is 0",
}
"""Function -> the sentence about it."""
