# SPDX-License-Identifier: Apache-2.0
"""Named slips, and the search for the one that leads to a wrong number.

A slip is one function in one of four modules: `slips_values` (what is written in an equation), `slips_slopes` (the rule of
a derivative), this one (the chain rule, updates, rounding), `slips_numbers` (the number itself). `SLIPS` lists them. The
search makes each at every place where it can be made, works the sheet with it, and keeps those that come to the number.
"""

from __future__ import annotations

from collections.abc import Callable, Container, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from fractions import Fraction
from typing import Any, Final, final

from pellucid.errors import UsageError
from pellucid.worked import slips_numbers, slips_slopes, slips_values
from pellucid.worked.answers_reading import Number, Target, agrees
from pellucid.worked.answers_world import Exhausted, Local, World
from pellucid.worked.evaluation import put_in
from pellucid.worked.expression import Const, Expr, Name, Partial, Value, walk
from pellucid.worked.lines import Words
from pellucid.worked.numerals import numeral
from pellucid.worked.slips_values import Facts, Writing
from pellucid.worked.sloping import Rule, Sloping

__all__ = ["SLIPS", "Found", "Slip", "likely"]

_DERIVATIVE: Final = "in the derivative "


@final
@dataclass(frozen=True, slots=True)
class Slip:
    """A named slip.

    Args:
        name: in words.
        kind: value, slope, chain, update, rounding or number.
        rank: from 1, what happens often, to 4, what is said when nothing else fits.
        function: that makes it.
        word: what it is called inside its module.
    """

    name: str
    kind: str
    rank: float
    function: Callable[..., Any]

    @property
    def word(self) -> str:
        """The function's name."""
        return self.function.__name__


@final
@dataclass(frozen=True)
class Found:
    """A slip that was made somewhere: what is said about it, and the world in which it was made."""

    slip: Slip
    words: Words
    world: World | None
    away: int = 0  # how many equations lie between it and what was answered
    score: float = field(default=0.0, compare=False)


def likely(
    worlds: Sequence[World], target: Target, given: Number, truth: Value, known: Container[str] = ()
) -> list[Found]:
    """The slips that lead to a number, the likeliest first.

    >>> from pellucid.worked.worksheet import Worksheet
    >>> from pellucid.worked.answers_reading import literal
    >>> solved = Worksheet("W = 2; x = 3; b = 0.5; z = W*x + b; L = z^2; ? L").solve().solved
    >>> [each.slip.name for each in likely([World(solved)], Target("z"), literal("6"), Fraction(13, 2))]
    ['bias left out']
    >>> likely([World(solved)], Target("W", "L"), literal("19.5"), Fraction(39))[0].slip.name
    'missing factor of the power'

    Args:
        worlds: the worksheet, and the worksheet with earlier wrong numbers.
        target: what was answered.
        given: the number.
        truth: the right number.
        known: quantities that were answered rightly: no slip was made in their equations.
    """
    found: list[Found] = []
    same: list[object] = []  # one change of an equation may be two slips
    spent = False
    for world in worlds:
        try:
            for each in _made(world, target, truth, given, known):
                try:
                    fits = each.world is None or agrees(given, each.world.answer(target))
                except (UsageError, ArithmeticError, ValueError, KeyError):
                    continue  # with this slip there is no number
                mark = (each.world.rights, sorted(each.world.edges)) if each.world and each.world.rights else each.words
                if fits and mark not in same:
                    same.append(mark)
                    words = each.words if each.world is None else (*each.words, *_shown(each, target))
                    # of a derivative, a slip of its own rules is likelier than one in an equation
                    score = (
                        each.slip.rank + 0.45 * min(each.away, 4) + 0.5 * bool(target.of and each.slip.kind == "value")
                    )
                    found.append(Found(each.slip, words, each.world, each.away, score))
        except Exhausted:
            spent = True
        if found or spent:
            break
    best = sorted(found, key=lambda each: each.score)
    firsts: dict[str, Found] = {}
    for each in best:
        if each.slip.rank < 4 or not firsts:
            firsts.setdefault(each.slip.name, each)
    return list(firsts.values())


def _made(world: World, target: Target, truth: Value, given: Number, known: Container[str]) -> Iterator[Found]:
    """Every slip at every place, the nearest first."""
    for slip in SLIPS:
        if slip.kind == "number":
            continue
        if slip.kind == "update":
            if target.update:
                yield from slip.function(slip, world, target)
        elif slip.kind == "rounding":
            yield from slip.function(slip, world, target, truth, given)
        elif slip.kind == "chain":
            if target.of:
                yield from slip.function(slip, world, target)
        elif slip.kind == "slope":
            if target.of:
                yield from _slopes(slip, world, target)
        else:
            yield from _values(slip, world, target, known)
    if not target.update:
        equations = world.solved.equations
        worked = {name: value for name, value in world.solved.values.items() if not equations[name].given}
        others: dict[Expr, Value] = {Name(name): value for name, value in worked.items()}
        if target.of:
            back = world.graph.back(target.of)
            others = {**{Partial(target.of, name): value for name, value in back.items()}, **others}
        here = world.answer(target)
        for slip in SLIPS:
            if slip.kind == "number" and (words := slip.function(given, here, target, others)):
                yield Found(slip, words, None)
    else:
        few = next(slip for slip in SLIPS if slip.function is slips_numbers.too_few_digits)
        for slip in (few, *(each for each in SLIPS if each.function is slips_numbers.nearly)):
            if words := slip.function(given, truth, target, {}):
                yield Found(slip, words, None)


def _sites(world: World, of: str) -> list[str]:
    """The equations that lead to a quantity and are not answered themselves, the nearest first."""
    below = world.graph.below(of)
    names = [name for name in world.solved.order if name in below and not world.solved.equations[name].given]
    return [name for name in reversed(names) if name not in world.held]


def _values(slip: Slip, world: World, target: Target, known: Container[str]) -> Iterator[Found]:
    """An equation written otherwise: in the values, and for a derivative in the derivative alone as well."""
    sites = _sites(world, target.of or target.name)
    writing: Writing = slip.function
    everywhere: dict[str, Expr] = {}
    everywhere_words: Words = ()
    for away, name in enumerate(sites):
        root = world.right(name)
        facts = Facts(world.solved, name, root)
        for changed, words in _written(root, writing, facts):
            if name not in everywhere and name not in known:
                everywhere[name], everywhere_words = changed, everywhere_words or words
            if target.of and slip.word not in ("square_left_out", "activation_left_out"):  # slips of their own there
                uses = world.graph.uses[name]
                edges = {(name, by): _local(name, changed, by) for by in uses}
                yield Found(slip, (_DERIVATIVE, *words), world.changed(edges=edges), away)
            if name not in known:
                yield Found(slip, words, world.changed(rights={name: changed}), away)
    if len(everywhere) > 1:
        yield Found(slip, (*everywhere_words, ", and so in every such equation"), world.changed(rights=everywhere), 1)


def _written(root: Expr, writing: Writing, facts: Facts) -> Iterator[tuple[Expr, Words]]:
    """The right side with a slip at one of its nodes."""
    for node in walk(root):
        for other, words in writing(node, facts):
            if other != node:
                yield _put(root, node, other), words


def _put(root: Expr, node: Expr, other: Expr) -> Expr:
    """The tree with one node, this one and no equal one, replaced."""
    from pellucid.worked.expression import replace

    done: list[Expr] = []

    def change(each: Expr) -> Expr | None:
        if each is node and not done:
            done.append(each)
            return other
        return None

    return replace(root, change)


def _local(name: str, root: Expr, by: str, rule: Rule | None = None) -> Local:
    return lambda numbers: Sloping(numbers, name, root, rule).slope(root, by)


def _slopes(slip: Slip, world: World, target: Target) -> Iterator[Found]:
    """A rule of differentiation put to use wrongly, at one node, or at every node of the way."""
    route = [name for name in reversed(world.graph.between(target.name, target.of)) if name != target.name]
    rule: Rule = slip.function
    everywhere: dict[tuple[str, str], Local] = {}
    for away, name in enumerate(route):
        root = world.right(name)
        view = world.sloping(target.of, name)
        for node in walk(root):
            if not _differs(rule, node, view, world.graph.uses[name]):
                continue

            def here(each: Expr, view: Sloping, by: str, node: Expr = node) -> Value | None:
                return rule(each, view, by) if each is node else None

            edges = {(name, by): _local(name, root, by, here) for by in world.graph.uses[name]}
            yield Found(slip, (_said(slip, node),), world.changed(edges=edges), away)
            everywhere |= {(name, by): _local(name, root, by, rule) for by in world.graph.uses[name]}
    if len({name for name, _ in everywhere}) > 1:
        yield Found(slip, (slips_slopes.WORDS[slip.word], ", everywhere"), world.changed(edges=everywhere), 1)


def _differs(rule: Rule, node: Expr, view: Sloping, by: Sequence[str]) -> bool:
    try:
        return any((found := rule(node, view, name)) is not None and found != view.right(node, name) for name in by)
    except (UsageError, ArithmeticError, ValueError, KeyError, IndexError):
        return False


def _said(slip: Slip, node: Expr) -> str:
    function = getattr(node, "function", "")
    if slip.word == "derivative_of_the_function" and function in ("relu", "leaky_relu", "clip", "abs"):
        words = {"relu": "ReLU", "leaky_relu": "leaky ReLU", "clip": "clipping", "abs": "the absolute value"}[function]
        return f"the branch of {words} is not minded: the derivative is taken as 1"
    if slip.word == "derivative_of_the_function":
        return f"the derivative of {function} is left out, taken as 1"
    return slips_slopes.WORDS[slip.word]


def path_left_out(slip: Slip, world: World, target: Target) -> Iterator[Found]:
    """A sum over paths without one of them: a shared weight counted at one time step only."""
    graph = world.graph
    route = graph.between(target.name, target.of)
    there = set(route)
    for away, name in enumerate(route[:-1]):
        above = [each for each in graph.used_by[name] if each in there]
        if len(above) < 2:
            continue
        for each in above:
            lost: dict[tuple[str, str], Local] = {(each, name): _constant(0)}
            words: Words = ("the way from ", Name(name), " over ", Name(each), " is left out of the sum")
            yield Found(slip, words, world.changed(edges=lost), away)
            kept = {(other, name): _constant(0) for other in above if other != each}
            only: Words = ("only the way from ", Name(name), " over ", Name(each), " is counted, of ")
            if len(kept) > 1:
                yield Found(slip, (*only, f"{len(above)}"), world.changed(edges=kept), away)


def link_left_out(slip: Slip, world: World, target: Target) -> Iterator[Found]:
    """The chain rule without one of its factors."""
    graph = world.graph
    route = graph.between(target.name, target.of)
    there = set(route)
    away = 0
    for above in reversed(route):
        for name in graph.uses[above]:
            if name in there:
                words: Words = ("the factor ", Partial(above, name), " of the chain rule is left out")
                yield Found(slip, words, world.changed(edges={(above, name): _constant(1)}), away)
                away += 1


def _constant(number: int) -> Local:
    return lambda numbers: Fraction(number)


_TWISTS: Final[Mapping[str, str]] = {
    "added": "the step is added in the place of subtracted: it goes up the gradient",
    "rate": "the learning rate is left out",
    "step": "this is the step that is to be subtracted, not the new number",
    "velocity": "this is the step alone, not the new number",
    "correction": "the moments are not corrected for their beginning at 0",
    "ahead": "the gradient is taken at the parameter and not at the look-ahead point",
    "forgotten": "the velocity is forgotten between the steps, as in plain descent",
    "root": "the second moment is taken for its square root (the variance for the standard deviation)",
    "inside": "ε stands inside the square root",
    "one by one": "later gradients are taken at parameters that are updated already",
    "fewer": "one step too few is taken",
    "more": "one step too many is taken",
}


def update_twisted(slip: Slip, world: World, target: Target) -> Iterator[Found]:
    """The rule of an update written otherwise."""
    assert target.update is not None
    apt = {
        "correction": "adam", "root": "adam", "inside": "adam", "ahead": "nesterov", "forgotten": "momentum nesterov",
    }  # fmt: skip
    for twist, words in _TWISTS.items():
        if target.update.rule in apt.get(twist, target.update.rule) and slip.name == _named(twist):
            yield Found(slip, (words,), world.changed(twist=twist))


def _named(twist: str) -> str:
    names = {"added": "update added", "rate": "learning rate left out", "step": "step for the new number"}
    names |= {"velocity": "step for the new number", "root": "variance for standard deviation in the update"}
    return names.get(twist, "rule of the update")


def rounded_on_the_way(slip: Slip, world: World, target: Target, truth: Value, given: Number) -> Iterator[Found]:
    """Every number on the way rounded to so many decimals, or significant digits."""
    if abs(Fraction(given.value) - Fraction(truth)) > abs(Fraction(truth)) / 10:
        return
    for count in (4, 3, 2, 1):
        for what in ("decimals", "significant digits"):
            words = f"the numbers on the way are rounded to {count} {what if count > 1 else what[:-1]}; keep more"
            yield Found(slip, (words,), world.changed(rounding=_rounding(count, what == "decimals")))


def _rounding(count: int, decimals: bool) -> Callable[[Value], Value]:
    def round_off(value: Value) -> Value:
        if not value:
            return value
        if decimals:
            return Fraction(round(Fraction(value), count))
        found = numeral(value, count)
        size = Fraction(found.digits) * Fraction(10) ** found.power
        return -size if found.negative else size

    return round_off


def _shown(found: Found, target: Target) -> Words:
    """The changed line itself, with numbers."""
    world = found.world
    if world is None or len(world.rights) != 1 or found.slip.kind != "value" or found.words[0] == _DERIVATIVE:
        return ()
    (name,) = world.rights
    numbers = world.values(target.of or target.name)
    if name not in numbers:
        return ()
    right = world.rights[name]
    value = numbers[name]
    sign = " = " if numeral(value).exact or not isinstance(value, Decimal) else " ≈ "
    put = put_in(right, numbers)
    middle: Words = (" = ", put) if put != right and put != Const(value) else ()
    return (": ", Name(name), " = ", right, *middle, sign, Const(value))


_V, _S, _N = slips_values, slips_slopes, slips_numbers

SLIPS: Final[tuple[Slip, ...]] = (
    Slip("bias left out", "value", 1, _V.bias_left_out),
    Slip("activation left out", "value", 1, _V.activation_left_out),
    Slip("variance for standard deviation", "value", 1, _V.variance_for_deviation),
    Slip("square left out", "value", 1, _V.square_left_out),
    Slip("sign of a term", "value", 1, _V.sign_of_a_term),
    Slip("factor left out", "value", 1, _V.factor_left_out),
    Slip("term left out", "value", 2, _V.term_left_out),
    Slip("another branch", "value", 1, _V.another_branch),
    Slip("another activation", "value", 2, _V.another_activation),
    Slip("square of each term", "value", 2, _V.square_of_each),
    Slip("softmax not normalised", "value", 1, _V.softmax_not_normalised),
    Slip("brackets ignored", "value", 2, _V.brackets_ignored),
    Slip("index off by one", "value", 2, _V.index_off_by_one),
    Slip("matrix transposed", "value", 1, _V.transposed),
    Slip("another logarithm", "value", 2, _V.other_logarithm),
    Slip("division by n − 1", "value", 2, _V.sample_variance),
    Slip("missing factor of the power", "slope", 1, _S.factor_of_the_power),
    Slip("derivative of the function left out", "slope", 1, _S.derivative_of_the_function),
    Slip("only the diagonal of the softmax Jacobian", "slope", 1, _S.softmax_diagonal),
    Slip("sign off the softmax diagonal", "slope", 1, _S.softmax_off_diagonal),
    Slip("inner derivative left out", "slope", 1, _S.inner_derivative),
    Slip("sign of the inner derivative", "slope", 1.5, _S.minus_inside),
    Slip("derivative at the wrong place", "slope", 1, _S.place_of_the_derivative),
    Slip("function applied twice", "slope", 2, _S.function_twice),
    Slip("half of the derivative's formula", "slope", 2, _S.half_of_the_derivative),
    Slip("missing ½ of the root", "slope", 2, _S.root_without_half),
    Slip("the other factor", "slope", 2, _S.the_other_factor),
    Slip("half of the product rule", "slope", 2, _S.half_of_the_product_rule),
    Slip("minus of the quotient rule", "slope", 1.5, _S.quotient_rule),
    Slip("divisor not squared", "slope", 2, _S.square_below),
    Slip("exponent not lowered", "slope", 2, _S.kept_exponent),
    Slip("constant kept", "slope", 2, _S.constant_kept),
    Slip("path left out", "chain", 1, path_left_out),
    Slip("link of the chain left out", "chain", 2, link_left_out),
    Slip("update added", "update", 1, update_twisted),
    Slip("learning rate left out", "update", 1, update_twisted),
    Slip("step for the new number", "update", 1, update_twisted),
    Slip("variance for standard deviation in the update", "update", 1, update_twisted),
    Slip("rule of the update", "update", 2, update_twisted),
    Slip("rounded too early", "rounding", 1, rounded_on_the_way),
    Slip("too few digits", "number", 0.9, _N.too_few_digits),
    Slip("sign", "number", 1, _N.sign_turned),
    Slip("factor 2", "number", 2, _N.factor_two),
    Slip("decimal point", "number", 2, _N.point_moved),
    Slip("digits exchanged", "number", 2, _N.digits_exchanged),
    Slip("another quantity's number", "number", 3, _N.another_number),
    Slip("nearly", "number", 4, _N.nearly),
)
"""Every slip that is tried. To add one, write its function in its module and a line here."""
