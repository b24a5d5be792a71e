# SPDX-License-Identifier: Apache-2.0
"""Differentiation with one named rule per step, also for indexed names: ∂z_j/∂z_l = δ_jl, and sums run over an index."""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction

from pellucid.errors import UsageError
from pellucid.worked.derivation.indexed import delta, indices_of, rename_index
from pellucid.worked.derivation.terms import ONE, TWO, ZERO, add, divide, multiply, negate, power
from pellucid.worked.derivation.text import bracketed_text, factor_text, indexed, to_text
from pellucid.worked.expressions.expression import Add, Call, Const, Div, Expr, Mul, Name, Neg, Pow, walk
from pellucid.worked.expressions.functions import FUNCTIONS

__all__ = ["Step", "differentiate"]

_NAMES = {"exp": "exponential rule", "log": "logarithm rule", "sqrt": "power rule with exponent ½"}


@dataclass(frozen=True)
class Step:
    """One application of a rule.

    Args:
        rule: its name.
        left: the derivative to find, as text.
        right: what the rule turns it into, as text.
        node: the expression that is differentiated.
        result: its derivative in full.
    """

    rule: str
    left: str
    right: str
    node: Expr
    result: Expr


def differentiate(node: Expr, by: str) -> tuple[Expr, list[Step]]:
    """The derivative of an expression with respect to a name, and the rules that lead to it, the outermost first.

    >>> from pellucid.worked.notation.notation import parse_expression
    >>> result, steps = differentiate(parse_expression("x^2*exp(x)"), "x")
    >>> [step.rule for step in steps]
    ['product rule', 'power rule', 'exponential rule']
    >>> to_text(result)
    '2·x·exp(x) + exp(x)·x^2'

    Raises:
        UsageError: a function whose derivative depends on a branch, such as relu.
    """
    steps: list[Step | None] = []
    result = _Differentiation(by, steps).of(node)
    return result, [step for step in steps if step is not None]


class _Differentiation:
    """Differentiates with respect to one name and records each rule; a part that occurs twice is done once."""

    def __init__(self, by: str, steps: list[Step | None]) -> None:
        self.by, self.steps = by, steps
        self.done: dict[Expr, Expr] = {}

    def of(self, node: Expr) -> Expr:
        """The derivative of a node."""
        if not self.contains(node):
            return ZERO
        if isinstance(node, Name) and node.name == self.by:
            return ONE
        if node in self.done:  # exp(z_k) may occur above and below: one line is enough
            return self.done[node]
        place = len(self.steps)
        self.steps.append(None)  # reserve the line above those of its parts
        rule, right, result = self.rule(node)
        self.steps[place] = Step(rule, f"∂/∂{indexed(self.by)} {bracketed_text(node)}", right, node, result)
        self.done[node] = result
        return result

    def contains(self, node: Expr) -> bool:
        """Whether a node depends on the variable: z_j and z_k may both be z_l."""
        stem, indices = indices_of(self.by)
        used = (part.name for part in walk(node) if isinstance(part, Name))
        found = ((name, *indices_of(name)) for name in used)
        return any(
            name == self.by or (indices and other == stem and len(theirs) == len(indices))
            for name, other, theirs in found
        )

    def mark(self, node: Expr) -> str:
        """The derivative of a part, not carried out yet: ∂/∂x [u]."""
        if not self.contains(node):
            return "0"
        return (
            "1" if isinstance(node, Name) and node.name == self.by else f"∂/∂{indexed(self.by)} {bracketed_text(node)}"
        )

    def chained(self, outer: Expr, inner: Expr) -> tuple[str, Expr]:
        """f′(u)·∂u, without the factor ∂u if u is the variable itself."""
        slope = self.of(inner)
        if slope == ONE:  # the variable itself: no chain rule to mention
            return to_text(outer), outer
        before = f"({to_text(outer)})" if isinstance(outer, Div) else factor_text(outer)
        return f"{before}·{self.mark(inner)}", multiply(outer, slope)

    def rule(self, node: Expr) -> tuple[str, str, Expr]:
        """The name of the rule for a node, what it gives as text, and the derivative in full."""
        match node:
            case Name(name=name):
                # z_j against z_l: whether they are one and the same depends on the indices
                pairs = [*zip(indices_of(name)[1], indices_of(self.by)[1], strict=True)]
                deltas = delta(pairs)
                if not deltas:
                    return "index rule", "1", ONE
                equal = " and ".join(f"{first} = {second}" for first, second in pairs if first != second)
                product = deltas[0] if len(deltas) == 1 else Mul(tuple(deltas))
                return f"index rule: 1 if {equal}, else 0", to_text(product), product
            case Neg(term=term):  # the factor −1
                return "constant factor", f"−{self.mark(term)}", negate(self.of(term))
            case Add(terms=terms):  # a person does not write the derivative of a constant
                active = [term for term in terms if self.contains(term)]
                words = " + ".join(self.mark(term) for term in active)
                return "sum rule", words, add([self.of(term) for term in active])
            case Mul(factors=factors):  # (u·v·w)′ = v·w·u′ + u·w·v′ + u·v·w′, without the constant factors' terms
                places = [k for k, factor in enumerate(factors) if self.contains(factor)]
                rest = [[other for m, other in enumerate(factors) if m != k] for k in places]
                words = " + ".join(
                    "·".join([*map(factor_text, others), self.mark(factors[k])])
                    for k, others in zip(places, rest, strict=True)
                )
                total = add([multiply(self.of(factors[k]), *others) for k, others in zip(places, rest, strict=True)])
                return ("product rule" if len(places) > 1 else "constant factor"), words, total
            case Div(top=top, bottom=bottom):
                return self.quotient(top, bottom)
            case Pow(base=base, exponent=exponent):
                return self.power(base, exponent)
            case Call(function="sum", args=(body, Name(name=index))):
                return self.sum(body, index)
            case Call():
                return self.call(node)
        raise UsageError(
            f"{to_text(node)}: has no differentiation rule; write it with + − · / ^ and functions without branches."
        )

    def quotient(self, top: Expr, bottom: Expr) -> tuple[str, str, Expr]:
        """u′/c, −c·v′/v² or (u′v − uv′)/v²."""
        if not self.contains(bottom):
            return "constant factor", f"({self.mark(top)})/{factor_text(bottom)}", divide(self.of(top), bottom)
        if not self.contains(top):  # shorter than the quotient rule with u′ = 0
            words = f"−{'' if top == ONE else factor_text(top) + '·'}({self.mark(bottom)})/{to_text(Pow(bottom, TWO))}"
            return "reciprocal rule", words, divide(negate(multiply(top, self.of(bottom))), power(bottom, TWO))
        words = f"(({self.mark(top)})·{factor_text(bottom)} − {factor_text(top)}·{self.mark(bottom)})/{to_text(Pow(bottom, TWO))}"
        above = add([multiply(self.of(top), bottom), negate(multiply(top, self.of(bottom)))])
        return "quotient rule", words, divide(above, power(bottom, TWO))

    def power(self, base: Expr, exponent: Expr) -> tuple[str, str, Expr]:
        """n·u^(n−1)·u′, a^v·log(a)·v′ or u^v·(v′·log(u) + v·u′/u)."""
        if not self.contains(exponent):
            lower = Const(exponent.value - 1) if isinstance(exponent, Const) else Add((exponent, Const(Fraction(-1))))
            words, result = self.chained(multiply(exponent, power(base, lower)), base)
            return _with_chain("power rule", self.of(base)), words, result
        if not self.contains(base):
            words, result = self.chained(multiply(Pow(base, exponent), Call("log", (base,))), exponent)
            return _with_chain("exponential rule", self.of(exponent)), words, result
        # both depend on the variable: differentiate exp(v·log u)
        log = Call("log", (base,))
        inner = add([multiply(self.of(exponent), log), divide(multiply(exponent, self.of(base)), base)])
        brackets = (
            f"{self.mark(exponent)}·{to_text(log)} + {factor_text(exponent)}·{self.mark(base)}/{factor_text(base)}"
        )
        words = f"{to_text(Pow(base, exponent))}·({brackets})"
        return "power rule u^v = exp(v·log u)", words, multiply(Pow(base, exponent), inner)

    def call(self, node: Call) -> tuple[str, str, Expr]:
        """f′(u)·u′ with the derivative that the worksheet's function declares."""
        rule = FUNCTIONS.get(node.function)
        if rule is None or rule.slope is None or len(node.args) != 1:
            raise UsageError(
                f"{node.function}: its derivative depends on a branch or on several arguments; use a worksheet."
            )
        outer = rule.slope(node.args, 0, node)
        words, result = self.chained(outer, node.args[0])
        return (
            _with_chain(_NAMES.get(node.function, f"derivative of {node.function}"), self.of(node.args[0])),
            words,
            result,
        )

    def sum(self, body: Expr, index: str) -> tuple[str, str, Expr]:
        """Σ_k of the terms' derivatives; if these are δ_kl·…, only the term with k = l."""
        inner = self.of(body)
        for wanted in indices_of(self.by)[1]:
            same = Name(f"δ_{index}{wanted}")
            if any(part == same for part in walk(inner)):
                # every term has the factor δ_kl, which is 0 but for k = l
                kept = rename_index(inner, index, wanted, {same: ONE})
                return (
                    f"sum rule, only the term {index} = {wanted} remains",
                    f"Σ_{index} {factor_text(inner)} = {to_text(kept)}",
                    kept,
                )
        return "sum rule, term by term", f"Σ_{index} {self.mark(body)}", Call("sum", (inner, Name(index)))


def _with_chain(rule: str, inner: Expr) -> str:
    return rule if inner == ONE else f"{rule} with the chain rule"
