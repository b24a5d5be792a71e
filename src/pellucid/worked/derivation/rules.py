# SPDX-License-Identifier: Apache-2.0
"""Differentiation one named rule at a time, of expressions with indexed names: ∂z_j/∂z_l is δ_jl, sums run over an index."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

from pellucid.errors import UsageError
from pellucid.worked.expressions.expression import Add, Call, Const, Div, Expr, Mul, Name, Neg, Pow, walk
from pellucid.worked.expressions.functions import FUNCTIONS
from pellucid.worked.expressions.numeric import numpy_value

__all__ = ["Step", "differentiate", "evaluate_at", "index_of", "rename_index", "to_text"]

INDICES = frozenset("ijklmnpqrst")  # letters behind an underscore that count as an index; in W_h and W_x they do not
ZERO, ONE, TWO = (Const(Fraction(n)) for n in (0, 1, 2))
_NAMES = {"exp": "exponential rule", "log": "logarithm rule", "sqrt": "power rule with exponent ½"}


@dataclass(frozen=True)
class Step:
    """One rule put to use.

    Args:
        rule: its name.
        left: what is differentiated, in print.
        right: what the rule makes of it, in print.
        node: what is differentiated.
        result: its derivative in full.
    """

    rule: str
    left: str
    right: str
    node: Expr
    result: Expr


def index_of(name: str) -> tuple[str, str]:
    """A name's stem and its index, which is empty where it has none.

    >>> index_of("z_j"), index_of("W_h")
    (('z', 'j'), ('W_h', ''))
    """
    stem, _, last = name.rpartition("_")
    return (stem, last) if stem and last in INDICES else (name, "")


def differentiate(node: Expr, by: str) -> tuple[Expr, list[Step]]:
    """The derivative of an expression by a name, and the rules that lead to it, the outermost first.

    >>> from pellucid.worked.notation.notation import parse_expression
    >>> result, steps = differentiate(parse_expression("x^2*exp(x)"), "x")
    >>> [step.rule for step in steps]
    ['product rule', 'power rule', 'exponential rule']
    >>> to_text(result)
    '2·x·exp(x) + exp(x)·x^2'

    Raises:
        UsageError: a function that has no derivative of one formula, such as relu.
    """
    steps: list[Step | None] = []
    result = _Rules(by, steps).of(node)
    return result, [step for step in steps if step is not None]


class _Rules:
    def __init__(self, by: str, steps: list[Step | None]) -> None:
        self.by, self.steps = by, steps
        self.done: dict[Expr, Expr] = {}

    def of(self, node: Expr) -> Expr:
        if not self.contains(node):
            return ZERO
        if isinstance(node, Name) and node.name == self.by:
            return ONE
        if node in self.done:
            return self.done[node]
        place = len(self.steps)
        self.steps.append(None)  # this rule's line stands above those of its parts
        rule, right, result = self.rule(node)
        self.steps[place] = Step(rule, f"∂/∂{self.by} {_bracketed(node)}", right, node, result)
        self.done[node] = result
        return result

    def contains(self, node: Expr) -> bool:
        stem, index = index_of(self.by)
        found = (each.name for each in walk(node) if isinstance(each, Name))
        return any(
            name == self.by or (index != "" and index_of(name)[1] != "" and index_of(name)[0] == stem) for name in found
        )

    def mark(self, node: Expr) -> str:
        """The derivative of a part, before it is worked out."""
        if not self.contains(node):
            return "0"
        return "1" if isinstance(node, Name) and node.name == self.by else f"∂/∂{self.by} {_bracketed(node)}"

    def chained(self, outer: Expr, inner: Expr) -> tuple[str, Expr]:
        """f′(u)·∂u, the factor left out where u is the variable itself."""
        slope = self.of(inner)
        if slope == ONE:
            return to_text(outer), outer
        before = f"({to_text(outer)})" if isinstance(outer, Div) else _factor(outer)
        return f"{before}·{self.mark(inner)}", _mul(outer, slope)

    def rule(self, node: Expr) -> tuple[str, str, Expr]:
        match node:
            case Name(name=name):
                first, second = index_of(name)[1], index_of(self.by)[1]
                delta = Name(f"δ_{first}{second}")
                return f"index rule: 1 if {first} = {second}, else 0", to_text(delta), delta
            case Neg(term=term):
                return "constant factor", f"−{self.mark(term)}", _neg(self.of(term))
            case Add(terms=terms):
                active = [term for term in terms if self.contains(term)]
                words = " + ".join(self.mark(term) for term in active)
                return "sum rule", words, _add([self.of(term) for term in active])
            case Mul(factors=factors):
                places = [k for k, factor in enumerate(factors) if self.contains(factor)]
                rest = [[other for m, other in enumerate(factors) if m != k] for k in places]
                words = " + ".join(
                    "·".join([*map(_factor, others), self.mark(factors[k])])
                    for k, others in zip(places, rest, strict=True)
                )
                total = _add([_mul(self.of(factors[k]), *others) for k, others in zip(places, rest, strict=True)])
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
            f"{to_text(node)}: there is no one rule for it; write it with + − · / ^ and functions that have one formula."
        )

    def quotient(self, top: Expr, bottom: Expr) -> tuple[str, str, Expr]:
        if not self.contains(bottom):
            return "constant factor", f"({self.mark(top)})/{_factor(bottom)}", _div(self.of(top), bottom)
        if not self.contains(top):
            words = f"−{'' if top == ONE else _factor(top) + '·'}({self.mark(bottom)})/{to_text(Pow(bottom, TWO))}"
            return "reciprocal rule", words, _div(_neg(_mul(top, self.of(bottom))), _pow(bottom, TWO))
        words = (
            f"(({self.mark(top)})·{_factor(bottom)} − {_factor(top)}·{self.mark(bottom)})/{to_text(Pow(bottom, TWO))}"
        )
        above = _add([_mul(self.of(top), bottom), _neg(_mul(top, self.of(bottom)))])
        return "quotient rule", words, _div(above, _pow(bottom, TWO))

    def power(self, base: Expr, exponent: Expr) -> tuple[str, str, Expr]:
        if not self.contains(exponent):
            lower = Const(exponent.value - 1) if isinstance(exponent, Const) else Add((exponent, Const(Fraction(-1))))
            words, result = self.chained(_mul(exponent, _pow(base, lower)), base)
            return _with_chain("power rule", self.of(base)), words, result
        if not self.contains(base):
            words, result = self.chained(_mul(Pow(base, exponent), Call("log", (base,))), exponent)
            return _with_chain("exponential rule", self.of(exponent)), words, result
        log = Call("log", (base,))
        inner = _add([_mul(self.of(exponent), log), _div(_mul(exponent, self.of(base)), base)])
        brackets = f"{self.mark(exponent)}·{to_text(log)} + {_factor(exponent)}·{self.mark(base)}/{_factor(base)}"
        words = f"{to_text(Pow(base, exponent))}·({brackets})"
        return "power rule u^v = exp(v·log u)", words, _mul(Pow(base, exponent), inner)

    def call(self, node: Call) -> tuple[str, str, Expr]:
        rule = FUNCTIONS.get(node.function)
        if rule is None or rule.slope is None or len(node.args) != 1:
            raise UsageError(
                f"{node.function}: its derivative depends on a branch or on several arguments; work it in a worksheet."
            )
        outer = rule.slope(node.args, 0, node)
        words, result = self.chained(outer, node.args[0])
        return (
            _with_chain(_NAMES.get(node.function, f"derivative of {node.function}"), self.of(node.args[0])),
            words,
            result,
        )

    def sum(self, body: Expr, index: str) -> tuple[str, str, Expr]:
        wanted = index_of(self.by)[1]
        inner = self.of(body)
        delta = Name(f"δ_{index}{wanted}")
        if wanted and any(each == delta for each in walk(inner)):
            # every term of the sum has the factor δ: only the one with k = l is left
            kept = rename_index(inner, index, wanted, {delta: ONE})
            return (
                f"sum rule, and of the sum only {index} = {wanted} is left",
                f"Σ_{index} {_factor(inner)} = {to_text(kept)}",
                kept,
            )
        return "sum rule, term by term", f"Σ_{index} {self.mark(body)}", Call("sum", (inner, Name(index)))


def rename_index(node: Expr, index: str, to: str, also: Mapping[Expr, Expr] | None = None) -> Expr:
    """The expression with one index in place of another, δ of two like indices being 1.

    >>> to_text(rename_index(Name("z_k"), "k", "l"))
    'z_l'
    """
    from pellucid.worked.expressions.expression import replace

    def change(each: Expr) -> Expr | None:
        if also and each in also:
            return also[each]
        if not isinstance(each, Name):
            return None
        if each.name == index:
            return Name(to)
        stem, last = index_of(each.name)
        if each.name.startswith("δ_"):
            first, second = (to if letter == index else letter for letter in each.name[2:])
            return ONE if first == second else Name(f"δ_{first}{second}")
        return Name(f"{stem}_{to}") if last == index else None

    return _tidied(replace(node, change))


def evaluate_at(node: Expr, numbers: Mapping[str, Any], places: Mapping[str, int]) -> float:
    """The value where names with an index stand for components of vectors.

    >>> from pellucid.worked.notation.notation import parse_expression
    >>> evaluate_at(parse_expression("sum(z_k^2, k) + z_j"), {"z": [1.0, 2.0]}, {"j": 1})
    7.0

    Args:
        node: the expression.
        numbers: by stem a vector for names with an index, a number for those without.
        places: the component that each index stands for, from 0.
    """
    from pellucid.worked.expressions.expression import replace

    def change(each: Expr) -> Expr | None:
        match each:
            case Call(function="sum", args=(body, Name(name=index))):
                stems = {
                    index_of(n.name)[0] for n in walk(body) if isinstance(n, Name) and index_of(n.name)[1] == index
                }
                count = next((len(numbers[stem]) for stem in stems if stem in numbers), 1)
                return Const(Fraction(sum(evaluate_at(body, numbers, {**places, index: k}) for k in range(count))))
            case Name(name=name) if name.startswith("δ_"):
                return ONE if places[name[2]] == places[name[3]] else ZERO
            case Name(name=name):
                stem, index = index_of(name)
                return Const(Fraction(float(numbers[stem][places[index]]) if index else float(numbers[stem])))
        return None

    return float(numpy_value(replace(node, change), {}))


def to_text(node: Expr) -> str:
    """An expression in one line.

    >>> from pellucid.worked.notation.notation import parse_expression
    >>> to_text(parse_expression("exp(z_j)/sum(exp(z_k), k) - 1"))
    'exp(z_j)/Σ_k exp(z_k) − 1'
    """
    match node:
        case Const(value=number):
            return str(number).replace("-", "−")
        case Name(name=name):
            return name
        case Neg(term=term):
            return f"−{_factor(term)}"
        case Add(terms=terms):
            words = to_text(terms[0])
            for term in terms[1:]:
                inner = to_text(term)
                words += f" − {inner[1:]}" if inner.startswith("−") else f" + {inner}"
            return words
        case Mul(factors=factors):
            return "·".join(f"({to_text(each)})" if isinstance(each, Div) else _factor(each) for each in factors)
        case Div(top=top, bottom=bottom):
            below = f"({to_text(bottom)})" if isinstance(bottom, (Mul, Div)) else _factor(bottom)
            return f"{_factor(top)}/{below}"
        case Pow(base=base, exponent=exponent):
            inner = to_text(exponent)
            up = inner if isinstance(exponent, (Const, Name)) and "/" not in inner else f"({inner})"
            under = (
                f"({to_text(base)})" if isinstance(base, (Pow, Div, Mul, Add, Neg)) or _is_sum(base) else to_text(base)
            )
            return f"{under}^{up}"
        case Call(function="sum", args=(body, Name(name=index))):
            return f"Σ_{index} {_factor(body)}"
        case Call(function=function, args=args):
            return f"{function}({', '.join(map(to_text, args))})"
    return str(node)


def _is_sum(node: Expr) -> bool:
    return isinstance(node, Call) and node.function == "sum"


def _factor(node: Expr) -> str:
    closed = not isinstance(node, (Add, Neg)) and not (isinstance(node, Const) and node.value < 0)
    return to_text(node) if closed else f"({to_text(node)})"


def _bracketed(node: Expr) -> str:
    return to_text(node) if isinstance(node, (Name, Call)) else f"[{to_text(node)}]"


def _with_chain(rule: str, inner: Expr) -> str:
    return rule if inner == ONE else f"{rule} with the chain rule"


def _add(terms: list[Expr]) -> Expr:
    kept = [term for term in terms if term != ZERO]
    return ZERO if not kept else kept[0] if len(kept) == 1 else Add(tuple(kept))


def _mul(*factors: Expr) -> Expr:
    flat = [inner for each in factors for inner in (each.factors if isinstance(each, Mul) else (each,))]
    kept = [each for each in flat if each != ONE]
    if ZERO in kept:
        return ZERO
    return ONE if not kept else kept[0] if len(kept) == 1 else Mul(tuple(kept))


def _neg(node: Expr) -> Expr:
    return (
        ZERO
        if node == ZERO
        else node.term
        if isinstance(node, Neg)
        else Const(-node.value)
        if isinstance(node, Const)
        else Neg(node)
    )


def _div(top: Expr, bottom: Expr) -> Expr:
    return top if top == ZERO or bottom == ONE else Div(top, bottom)


def _pow(base: Expr, exponent: Expr) -> Expr:
    return ONE if exponent == ZERO else base if exponent == ONE else Pow(base, exponent)


def _tidied(node: Expr) -> Expr:
    """Factors of 1 and terms of 0 left out."""
    from pellucid.worked.expressions.expression import rebuild

    inner = rebuild(node, _tidied)
    match inner:
        case Add(terms=terms):
            return _add([*terms])
        case Mul(factors=factors):
            return _mul(*factors)
    return inner
