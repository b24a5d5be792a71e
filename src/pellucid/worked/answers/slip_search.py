# SPDX-License-Identifier: Apache-2.0
"""The search for the slip that leads to a wrong number: each is made wherever it can be, and the sheet worked with it."""

from __future__ import annotations

from collections.abc import Container, Iterator, Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Final, final

from pellucid.errors import UsageError
from pellucid.worked.answers import slips_slopes
from pellucid.worked.answers.reading import Number, Target, agrees
from pellucid.worked.answers.slips import SLIPS, Slip
from pellucid.worked.answers.slips_values import Facts, Writing
from pellucid.worked.answers.sloping import Rule, Sloping
from pellucid.worked.answers.world import Exhausted, Local, World
from pellucid.worked.expressions.evaluation import substitute
from pellucid.worked.expressions.expression import Const, Expr, Name, Partial, Value, replace, walk
from pellucid.worked.showing.lines import Words
from pellucid.worked.showing.numerals import numeral

__all__ = ["Found", "likely"]

_DERIVATIVE: Final = "in the derivative "


@final
@dataclass(frozen=True)
class Found:
    """A slip that was made somewhere: what is said about it, and the world in which it was made."""

    slip: Slip
    words: Words
    world: World | None
    away: int = 0  # how many equations lie between it and what was answered
    score: float = field(default=0.0, compare=False)


def likely(worlds: Sequence[World], target: Target, given: Number, known: Container[str] = ()) -> list[Found]:
    """The slips that lead to a number, the likeliest first.

    >>> from pellucid.worked.worksheet.worksheet import Worksheet
    >>> from pellucid.worked.answers.reading import literal
    >>> solved = Worksheet("W = 2; x = 3; b = 0.5; z = W*x + b; L = z^2; ? L").solve().numbers
    >>> [each.slip.name for each in likely([World(solved)], Target("z"), literal("6"))]
    ['bias left out']
    >>> likely([World(solved)], Target("W", "L"), literal("19.5"))[0].slip.name
    'missing factor of the power'

    Args:
        worlds: the worksheet, and the worksheet with earlier wrong numbers.
        target: what was answered.
        given: the number.
        known: quantities that were answered rightly: no slip was made in their equations.
    """
    found: list[Found] = []
    same: list[object] = []  # one change of an equation may be two slips
    spent = False
    for world in worlds:
        try:
            if (here := _answer(world, target)) is None:
                continue  # from the earlier wrong numbers there is no way on
            for each in _made(world, target, here, given, known):
                value = None if each.world is None else _answer(each.world, target)
                if each.world is not None and (value is None or not agrees(given, value)):
                    continue
                mark = (each.world.rights, sorted(each.world.edges)) if each.world and each.world.rights else each.words
                if mark not in same:
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


def _answer(world: World, target: Target) -> Value | None:
    """What a world answers, None where it has no number: a logarithm of a negative one, say."""
    try:
        return world.answer(target)
    except (UsageError, ArithmeticError, ValueError, KeyError):
        return None


def _made(world: World, target: Target, here: Value, given: Number, known: Container[str]) -> Iterator[Found]:
    """Every slip at every place, the nearest first."""
    for slip in SLIPS:
        if slip.kind == "number":
            continue
        if slip.kind == "update" or slip.kind == "chain":
            if target.update or (target.of and slip.kind == "chain"):
                yield from (Found(slip, *made) for made in slip.function(world, target))
        elif slip.kind == "rounding":
            yield from (Found(slip, *made) for made in slip.function(world, target, here, given))
        elif slip.kind == "slope":
            if target.of:
                yield from _slopes(slip, world, target)
        else:
            yield from _values(slip, world, target, known)
    equations = world.solved.equations
    others: dict[Expr, Value] = {}
    if not target.update:
        if target.of:
            others = {Partial(target.of, name): value for name, value in world.graph.backward(target.of).items()}
        worked = {name: value for name, value in world.solved.values.items() if not equations[name].given}
        others |= {Name(name): value for name, value in worked.items()}
    for slip in SLIPS:
        if slip.kind == "number" and (words := slip.function(given, here, target, others)):
            yield Found(slip, words, None)


def _sites(world: World, of: str) -> list[str]:
    """The equations that lead to a quantity and are not answered themselves, the nearest first."""
    below = world.graph.dependencies(of)
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
    route = [name for name in reversed(world.graph.route(target.name, target.of)) if name != target.name]
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
    put = substitute(right, numbers)
    middle: Words = (" = ", put) if put != right and put != Const(value) else ()
    return (": ", Name(name), " = ", right, *middle, sign, Const(value))
