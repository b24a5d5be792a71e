# SPDX-License-Identifier: Apache-2.0
"""Slips in an equation: each function takes one node of a right side and yields what was written instead, with words.

The search makes the same change in the value, or in the derivative alone: σ(z) taken as z, σ′(z) taken as 1.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from fractions import Fraction
from typing import Final, TypeAlias, final

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
    replace,
    walk,
)
from pellucid.worked.showing.lines import Words
from pellucid.worked.worksheet.checked_numbers import CheckedNumbers

__all__ = ["ACTIVATIONS", "Site", "ValueSlip"]

ACTIVATIONS: Final = ("sigmoid", "tanh", "relu", "leaky_relu", "softmax", "clip", "abs")
DEVIATIONS: Final = ("sigma", "std", "sd", "s")  # usual names of a standard deviation
ONE, TWO = Const(Fraction(1)), Const(Fraction(2))


@final
@dataclass(frozen=True)
class Site:
    """Where a slip is made: the worksheet, the equation's name, and its whole right side."""

    solved: CheckedNumbers
    name: str
    root: Expr

    def given(self, node: Expr) -> bool:
        """Whether a node is the name of a number that is given."""
        return isinstance(node, Name) and self.solved.equations[node.name].given

    def earlier(self, name: str) -> bool:
        """Whether a quantity can be known when this equation is worked out."""
        place = self.solved.graph.position
        return name in place and place[name] < place[self.name]


ValueSlip: TypeAlias = Callable[[Expr, Site], Iterator[tuple[Expr, Words]]]


def bias_left_out(node: Expr, site: Site) -> Iterator[tuple[Expr, Words]]:
    """W·x + b taken as W·x."""
    if isinstance(node, Add) and any(not site.given(_size(term)) for term in node.terms):
        for place, term in enumerate(node.terms):
            # a bias is a given number that is added to something worked out
            if site.given(term) and len(node.terms) > 1:
                yield _without(node, place), ("the bias ", term, " is left out")


def term_left_out(node: Expr, site: Site) -> Iterator[tuple[Expr, Words]]:
    """a + b + c taken as a + c."""
    if isinstance(node, (Add, Sum)) and len(terms := node.terms) > 1:
        for place, term in enumerate(terms):
            yield _without(Add(terms), place), ("the term ", term, " is left out")


def sign_of_a_term(node: Expr, site: Site) -> Iterator[tuple[Expr, Words]]:
    """a − b taken as a + b; −a taken as a."""
    if isinstance(node, (Add, Sum)):
        for place, term in enumerate(node.terms):
            turned = term.term if isinstance(term, Neg) else Neg(term)
            yield (
                Add((*node.terms[:place], turned, *node.terms[place + 1 :])),
                ("the sign of the term ", _size(term), " is wrong"),
            )
    elif isinstance(node, Neg) and node is site.root:
        yield node.term, ("the minus sign in front is left out",)


def activation_left_out(node: Expr, site: Site) -> Iterator[tuple[Expr, Words]]:
    """σ(z) taken as z."""
    if isinstance(node, Call) and node.function in ACTIVATIONS:
        # softmax has an argument for each component; its own is at the index
        argument = node.args[node.index - 1 if node.index else 0]
        yield argument, ("the function ", _titled(node), " is left out")


def another_activation(node: Expr, site: Site) -> Iterator[tuple[Expr, Words]]:
    """Tanh instead of the sigmoid, ReLU instead of leaky ReLU, and the other way round."""
    others = {
        "sigmoid": "tanh",
        "tanh": "sigmoid",
        "leaky_relu": "relu",
        "relu": "leaky_relu",
        "max": "min",
        "min": "max",
    }
    if isinstance(node, Call) and node.function in others:
        other = others[node.function]
        # leaky ReLU has its slope as second argument, which no other function takes
        args = node.args if other in ("max", "min") else node.args[:1]
        yield Call(other, args), (f"{other} is used instead of {node.function}",)


def another_branch(node: Expr, site: Site) -> Iterator[tuple[Expr, Words]]:
    """The wrong branch of a piecewise function."""
    if isinstance(node, Piecewise):
        for value in (*(value for value, _ in node.branches), node.otherwise):
            yield value, ("the branch ", value, " is used, whose condition does not hold")


def square_left_out(node: Expr, site: Site) -> Iterator[tuple[Expr, Words]]:
    """(a − b)² taken as a − b."""
    # σ instead of σ² is a slip of its own
    if isinstance(node, Pow) and isinstance(node.exponent, Const) and not _is_deviation(node.base):
        yield node.base, ("the power is left out: ", node, " is taken as ", node.base)


def distance_for_its_square(node: Expr, site: Site) -> Iterator[tuple[Expr, Words]]:
    """|a − b| instead of |a − b|²: the root of a sum of squares."""
    if (
        node is site.root
        and isinstance(node, Add)
        and all(isinstance(t, Pow) and t.exponent == TWO for t in node.terms)
    ):
        yield Call("sqrt", (node,)), ("the distance is used instead of its square",)


def square_of_each(node: Expr, site: Site) -> Iterator[tuple[Expr, Words]]:
    """(a − b)² taken as a² − b²."""
    if isinstance(node, Pow) and isinstance(node.base, Add):
        # a term −b becomes −b², as learners write it
        powers = [
            Neg(Pow(t.term, node.exponent)) if isinstance(t, Neg) else Pow(t, node.exponent) for t in node.base.terms
        ]
        yield Add(tuple(powers)), ("each term of ", node.base, " is raised to the power separately")


def factor_left_out(node: Expr, site: Site) -> Iterator[tuple[Expr, Words]]:
    """½·a or a/n taken as a: a mean taken as a sum."""
    # 1/n of a mean, ½ of a loss, 1/√d of a score or 1/ln 2 of bits, but not a quotient of two quantities
    if isinstance(node, Div) and _is_constant(node.bottom, site):
        yield node.top, ("the division by ", node.bottom, " is left out")
    if isinstance(node, Mul):
        for place, factor in enumerate(node.factors):
            if isinstance(factor, Const) or (isinstance(factor, Div) and isinstance(factor.bottom, Const)):
                yield _without(node, place), ("the factor ", factor, " is left out")


def variance_for_deviation(node: Expr, site: Site) -> Iterator[tuple[Expr, Words]]:
    """σ² instead of σ, v instead of √v; and σ instead of σ²."""
    if isinstance(node, Call) and node.function == "sqrt":
        if _is_constant(node.args[0], site):
            yield node.args[0], ("the root is left out: ", node, " is taken as ", node.args[0])
        else:
            yield node.args[0], ("the variance ", node.args[0], " is used instead of the standard deviation ", node)
    if _is_deviation(node):
        yield Pow(node, TWO), ("the variance ", Pow(node, TWO), " is used instead of the standard deviation ", node)
    if isinstance(node, Pow) and node.exponent == TWO and _is_deviation(node.base):
        yield node.base, ("the standard deviation ", node.base, " is used instead of the variance ", node)


def sample_variance(node: Expr, site: Site) -> Iterator[tuple[Expr, Words]]:
    """Division by n − 1 where the worksheet divides by n, and the other way round."""
    if isinstance(node, Div) and isinstance(node.bottom, Const) and node.bottom.value.as_integer_ratio()[1] == 1:
        for shift in (-1, 1):
            if (other := Fraction(node.bottom.value) + shift) > 1 or (other == 1 and node.bottom.value != 1):
                yield Div(node.top, Const(other)), ("it is divided by ", Const(other), " instead of ", node.bottom)


def brackets_ignored(node: Expr, site: Site) -> Iterator[tuple[Expr, Words]]:
    """(a + b)·c taken as a + b·c."""
    if isinstance(node, Mul):
        for place, factor in enumerate(node.factors):
            if isinstance(factor, Add):
                rest = node.factors[:place] + node.factors[place + 1 :]
                # the factor goes to the term beside it: the last where it stands behind, the first where it stands in front
                before, after = (0, -1) if place < len(node.factors) - 1 else (1, 0)
                near = factor.terms[after]
                product = Neg(Mul((near.term, *rest))) if isinstance(near, Neg) else Mul((near, *rest))
                terms = (*factor.terms[:-1], product) if before == 0 else (product, *factor.terms[1:])
                yield Add(terms), ("the brackets around ", factor, " are ignored")
    if isinstance(node, Div) and isinstance(node.top, Add):
        near = node.top.terms[-1]
        yield Add((*node.top.terms[:-1], Div(near, node.bottom))), ("the brackets around ", node.top, " are ignored")


def other_logarithm(node: Expr, site: Site) -> Iterator[tuple[Expr, Words]]:
    """The logarithm to base 10 or 2 instead of the natural one."""
    if isinstance(node, Call) and node.function == "log":
        for base in (10, 2):
            bottom = Call("log", (Const(Fraction(base)),))
            yield Div(node, bottom), (f"the logarithm to base {base} is used instead of the natural one",)


def softmax_not_normalised(node: Expr, site: Site) -> Iterator[tuple[Expr, Words]]:
    """The exponential without the division by the sum, or the shares without the exponential."""
    if isinstance(node, Call) and node.function == "softmax":
        own = node.args[node.index - 1]
        yield Call("exp", (own,)), ("the exponentials are not divided by their sum",)
        yield Div(own, Add(node.args)), ("the shares are worked out without the exponentials",)


def index_off_by_one(node: Expr, site: Site) -> Iterator[tuple[Expr, Words]]:
    """h_1 instead of h_2, or x_2 instead of x_1."""
    if isinstance(node, Name):
        base, _, last = node.name.rpartition("_")
        if base and last.isdigit():
            for shift in (-1, 1):
                other = f"{base}_{int(last) + shift}"  # the last index: of a step, or of a column
                if site.earlier(other):
                    yield Name(other), (Name(other), " is used instead of ", node)


def transposed(node: Expr, site: Site) -> Iterator[tuple[Expr, Words]]:
    """W_2_1 instead of W_1_2: the matrix is transposed."""
    if node is not site.root:
        return

    def turned(inner: Expr) -> Expr | None:
        parts = inner.name.rsplit("_", 2) if isinstance(inner, Name) else []
        if len(parts) != 3 or not (parts[1].isdigit() and parts[2].isdigit()):
            return None
        other = f"{parts[0]}_{parts[2]}_{parts[1]}"
        return Name(other) if site.earlier(other) else None

    changed = replace(node, turned)
    if changed != node:
        bases = sorted({n.name.rsplit("_", 2)[0] for n in walk(node) if turned(n) and isinstance(n, Name)})
        yield changed, ("the matrix ", Name(bases[0]), " is transposed")


def _without(node: Add | Mul, place: int) -> Expr:
    parts = node.terms if isinstance(node, Add) else node.factors
    rest = parts[:place] + parts[place + 1 :]
    return rest[0] if len(rest) == 1 else Add(rest) if isinstance(node, Add) else Mul(rest)


def _size(node: Expr) -> Expr:
    return node.term if isinstance(node, Neg) else node


def _is_constant(node: Expr, site: Site) -> bool:
    """A number, one that is given, or its root or logarithm."""
    inner = node.args[0] if isinstance(node, Call) and node.function in ("sqrt", "log") else node
    return isinstance(inner, Const) or site.given(inner)


def _is_deviation(node: Expr) -> bool:
    return isinstance(node, Name) and node.name.partition("_")[0] in DEVIATIONS


def _titled(node: Call) -> str:
    return {"relu": "ReLU", "leaky_relu": "leaky ReLU"}.get(node.function, node.function)
