# SPDX-License-Identifier: Apache-2.0
"""Differentiation with one named rule per step, also for indexed names: ∂z_j/∂z_l = δ_jl, and sums run over an index."""

from __future__ import annotations

from dataclasses import dataclass, field
from fractions import Fraction

from pellucid.errors import UsageError
from pellucid.worked.derivation.branches import branched
from pellucid.worked.derivation.indexed import delta, indices_of, rename_index
from pellucid.worked.derivation.parts import Parts
from pellucid.worked.derivation.sums import without_delta
from pellucid.worked.derivation.terms import ONE, TWO, ZERO, add, divide, multiply, negate, power
from pellucid.worked.derivation.text import pending, to_text
from pellucid.worked.expressions.expression import Add, Call, Const, Div, Expr, Mul, Name, Neg, Piecewise, Pow, walk
from pellucid.worked.expressions.functions import FUNCTIONS

__all__ = ["Step", "differentiate"]

_NAMES = {
    "exp": "exponential rule",
    "log": "logarithm rule",
    "sqrt": "power rule with exponent ½",
    "relu": "derivative of ReLU",
    "leaky_relu": "derivative of leaky ReLU",
    "abs": "derivative of |u|",
}


@dataclass(frozen=True)
class Step:
    """One application of a rule: the derivative of `node` is each of `forms`, and in full `result`.

    Args:
        rule: its name.
        node: the expression that is differentiated.
        by: the variable.
        forms: what the rule turns the derivative into; derivatives of parts are not carried out yet.
        result: the derivative in full.
    """

    rule: str
    node: Expr
    by: str
    forms: tuple[Expr, ...]
    result: Expr

    @property
    def left(self) -> str:
        """The derivative to find, as text."""
        return to_text(pending(self.node, self.by))

    @property
    def right(self) -> str:
        """What the rule turns it into, as text."""
        return " = ".join(map(to_text, self.forms))


def differentiate(node: Expr, by: str, parts: Parts | None = None) -> tuple[Expr, list[Step]]:
    """The derivative of an expression with respect to a name, and the rules that lead to it, the outermost first.

    >>> from pellucid.worked.notation.notation import parse_expression
    >>> result, steps = differentiate(parse_expression("x^2*exp(x)"), "x")
    >>> [step.rule for step in steps]
    ['product rule', 'power rule', 'exponential rule']
    >>> to_text(result)
    '2·x·exp(x) + exp(x)·x^2'

    Args:
        node: the expression.
        by: the variable.
        parts: the parts of the expression that have names of their own.

    Raises:
        UsageError: a function without a rule.
    """
    work = _Differentiation(by, parts or Parts())
    result = work.of(node)
    return result, [step for step in work.steps if step is not None]


@dataclass
class _Differentiation:
    """Differentiates with respect to one name and records each rule; a part that occurs twice is done once."""

    by: str
    parts: Parts
    steps: list[Step | None] = field(default_factory=list)
    done: dict[Expr, Expr] = field(default_factory=dict)

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
        rule, forms, result = self.rule(node)
        self.steps[place] = Step(rule, node, self.by, forms, result)
        self.done[node] = result
        return result

    def later(self, rule: str, node: Expr, forms: tuple[Expr, ...]) -> None:
        """A line below those of the parts, which brings them together."""
        self.steps.append(Step(rule, node, self.by, forms, forms[-1]))

    def contains(self, node: Expr) -> bool:
        """Whether a node depends on the variable: z_j and z_k may both be z_l."""
        stem, indices = indices_of(self.by)
        for part in walk(node):
            if not isinstance(part, Name):
                continue
            other, theirs = indices_of(part.name)
            if part.name == self.by or (indices and other == stem and len(theirs) == len(indices)):
                return True
            definition = self.parts.definition(part)
            if definition is not None and self.contains(definition):
                return True
        return False

    def mark(self, node: Expr) -> Expr:
        """The derivative of a part, not carried out yet: ∂/∂x [u]."""
        if not self.contains(node):
            return ZERO
        return ONE if isinstance(node, Name) and node.name == self.by else pending(node, self.by)

    def chained(self, outer: Expr, inner: Expr) -> tuple[tuple[Expr, ...], Expr]:
        """f′(u)·∂u, without the factor ∂u if u is the variable itself."""
        slope = self.of(inner)
        if self.itself(inner):  # no chain rule to mention
            return (outer,), outer
        return (multiply(outer, self.mark(inner)),), multiply(outer, slope)

    def itself(self, node: Expr) -> bool:
        """Whether a node is the variable."""
        return isinstance(node, Name) and node.name == self.by

    def with_chain(self, rule: str, inner: Expr) -> str:
        """The rule's name, and that of the chain rule, unless the variable itself is inside."""
        return rule if self.itself(inner) else f"{rule} with the chain rule"

    def rule(self, node: Expr) -> tuple[str, tuple[Expr, ...], Expr]:
        """The name of the rule for a node, what it gives, and the derivative in full."""
        match node:
            case Name() if (definition := self.parts.definition(node)) is not None:
                result = self.parts.in_own_terms(node, self.of(definition), self.by)
                if result != self.of(definition):
                    self.later(f"written with {to_text(node)}", node, (result,))
                return f"definition of {to_text(node)}", (pending(definition, self.by),), result
            case Name(name=name):
                # z_j against z_l: whether they are one and the same depends on the indices
                pairs = [*zip(indices_of(name)[1], indices_of(self.by)[1], strict=True)]
                deltas = delta(pairs)
                if not deltas:
                    return "index rule", (ONE,), ONE
                equal = " and ".join(f"{first} = {second}" for first, second in pairs if first != second)
                product = deltas[0] if len(deltas) == 1 else Mul(tuple(deltas))
                return f"index rule: 1 if {equal}, else 0", (product,), product
            case Neg(term=term):  # the factor −1
                return "constant factor", (negate(self.mark(term)),), negate(self.of(term))
            case Add(terms=terms):  # a person does not write the derivative of a constant
                active = [term for term in terms if self.contains(term)]
                return "sum rule", (add([*map(self.mark, active)]),), add([*map(self.of, active)])
            case Mul(factors=factors):  # (u·v·w)′ = v·w·u′ + u·w·v′ + u·v·w′, without the constant factors' terms
                places = [k for k, factor in enumerate(factors) if self.contains(factor)]
                rest = [[other for m, other in enumerate(factors) if m != k] for k in places]
                pairs_of = [*zip(places, rest, strict=True)]
                shown = add([multiply(*others, self.mark(factors[k])) for k, others in pairs_of])
                total = add([multiply(self.of(factors[k]), *others) for k, others in pairs_of])
                return ("product rule" if len(places) > 1 else "constant factor"), (shown,), total
            case Div(top=top, bottom=bottom):
                return self.quotient(top, bottom)
            case Pow(base=base, exponent=exponent):
                return self.power(base, exponent)
            case Call(function="sum", args=(body, Name(name=index))):
                return self.sum(node, body, index)
            case Call():
                return self.call(node)
            case Piecewise(branches=branches, otherwise=otherwise):
                shown = Piecewise(tuple((self.mark(value), test) for value, test in branches), self.mark(otherwise))
                total = Piecewise(tuple((self.of(value), test) for value, test in branches), self.of(otherwise))
                return "each branch separately", (shown,), total
        raise UsageError(f"{to_text(node)}: has no differentiation rule; write it with + − · / ^ and functions.")

    def quotient(self, top: Expr, bottom: Expr) -> tuple[str, tuple[Expr, ...], Expr]:
        """u′/c, −c·v′/v² or (u′v − uv′)/v²."""
        if not self.contains(bottom):
            return "constant factor", (divide(self.mark(top), bottom),), divide(self.of(top), bottom)
        square = power(bottom, TWO)
        if not self.contains(top):  # shorter than the quotient rule with u′ = 0
            shown = negate(Div(multiply(top, self.mark(bottom)), square))
            return "reciprocal rule", (shown,), divide(negate(multiply(top, self.of(bottom))), square)
        shown = Div(add([multiply(self.mark(top), bottom), negate(multiply(top, self.mark(bottom)))]), square)
        above = add([multiply(self.of(top), bottom), negate(multiply(top, self.of(bottom)))])
        return "quotient rule", (shown,), divide(above, square)

    def power(self, base: Expr, exponent: Expr) -> tuple[str, tuple[Expr, ...], Expr]:
        """n·u^(n−1)·u′, a^v·log(a)·v′ or u^v·(v′·log(u) + v·u′/u)."""
        if not self.contains(exponent):
            lower = Const(exponent.value - 1) if isinstance(exponent, Const) else Add((exponent, Const(Fraction(-1))))
            forms, result = self.chained(multiply(exponent, power(base, lower)), base)
            return self.with_chain("power rule", base), forms, result
        if not self.contains(base):
            forms, result = self.chained(multiply(Pow(base, exponent), Call("log", (base,))), exponent)
            return self.with_chain("exponential rule", exponent), forms, result
        # both depend on the variable: differentiate exp(v·log u)
        log = Call("log", (base,))
        inner = add([multiply(self.of(exponent), log), divide(multiply(exponent, self.of(base)), base)])
        shown = add([multiply(self.mark(exponent), log), divide(multiply(exponent, self.mark(base)), base)])
        whole = Pow(base, exponent)
        return "power rule u^v = exp(v·log u)", (multiply(whole, shown),), multiply(whole, inner)

    def call(self, node: Call) -> tuple[str, tuple[Expr, ...], Expr]:
        """f′(u)·u′ with the derivative that the worksheet's function declares, or one case for each branch."""
        rule = FUNCTIONS.get(node.function)
        if rule is not None and node.function in ("max", "min", "clip"):
            shown, total = (branched(node, change) for change in (self.mark, self.of))
            return f"derivative of {node.function}, one case for each argument", (shown,), total
        if rule is None or len(node.args) - (node.function == "leaky_relu" and len(node.args) == 2) != 1:
            raise UsageError(
                f"{node.function}: depends on several numbers; write it with exp and a sum, as in exp(z_j)/sum(exp(z_k), k)."
            )
        outer = branched(node) if rule.slope is None else rule.slope(node.args, 0, node)
        forms, result = self.chained(outer, node.args[0])
        name = _NAMES.get(node.function, f"derivative of {node.function}")
        return self.with_chain(name, node.args[0]), forms, result

    def sum(self, node: Call, body: Expr, index: str) -> tuple[str, tuple[Expr, ...], Expr]:
        """Σ_k of the terms' derivatives; of a part with the factor δ_kl, only the term with k = l is left."""
        inner = self.of(body)
        for wanted in indices_of(self.by)[1]:
            same = Name(f"δ_{index}{wanted}")
            if not any(part == same for part in walk(inner)):
                continue
            # every term has the factor δ_kl, which is 0 but for k = l
            if without_delta(inner, same) == ZERO:
                kept = rename_index(inner, index, wanted, {same: ONE})
                forms = (Call("sum", (inner, Name(index))), kept)
                return f"sum rule, only the term {index} = {wanted} remains", forms, kept
            split, result = self.parts.summed(inner, index, wanted)
            forms = (Call("sum", (split, Name(index))), result)
            self.later(f"of δ_{index}{wanted} only the term {index} = {wanted} remains", node, forms)
            return "sum rule, term by term", (Call("sum", (self.mark(body), Name(index))),), result
        total = Call("sum", (inner, Name(index)))
        return "sum rule, term by term", (Call("sum", (self.mark(body), Name(index))),), total
