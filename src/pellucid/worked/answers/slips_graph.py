# SPDX-License-Identifier: Apache-2.0
"""Slips of the whole computation: paths and links of the chain rule, the rule of an update, rounding on the way.

Each function takes the world as it is and what is asked, and yields words, the world with the slip, and how far away
from what was asked it was made.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from fractions import Fraction
from typing import TypeAlias

from pellucid.worked.answers.reading import Number, Target
from pellucid.worked.answers.world import Local, World
from pellucid.worked.expressions.expression import Name, Partial, Value
from pellucid.worked.showing.lines import Words
from pellucid.worked.showing.numerals import numeral

__all__ = ["Made"]

Made: TypeAlias = tuple[Words, World, int]


def path_left_out(world: World, target: Target) -> Iterator[Made]:
    """A sum over paths without one of them: a shared weight counted at one time step only."""
    graph = world.graph
    route = graph.route(target.name, target.of)
    there = set(route)
    for away, name in enumerate(route[:-1]):
        above = [each for each in graph.used_by[name] if each in there]
        if len(above) < 2:
            continue
        for each in above:
            lost: dict[tuple[str, str], Local] = {(each, name): _constant(0)}
            words: Words = ("the way from ", Name(name), " over ", Name(each), " is left out of the sum")
            yield words, world.changed(edges=lost), away
            kept = {(other, name): _constant(0) for other in above if other != each}
            only: Words = ("only the way from ", Name(name), " over ", Name(each), " is counted, of ")
            if len(kept) > 1:
                yield (*only, f"{len(above)}"), world.changed(edges=kept), away


def link_left_out(world: World, target: Target) -> Iterator[Made]:
    """The chain rule without one of its factors."""
    graph = world.graph
    route = graph.route(target.name, target.of)
    there = set(route)
    away = 0
    for above in reversed(route):
        for name in graph.uses[above]:
            if name in there:
                words: Words = ("the factor ", Partial(above, name), " of the chain rule is left out")
                yield words, world.changed(edges={(above, name): _constant(1)}), away
                away += 1


def update_added(world: World, target: Target) -> Iterator[Made]:
    """w + λ·g in the place of w − λ·g."""
    words = "the step is added in the place of subtracted: it goes up the gradient"
    yield (words,), world.changed(twist="added"), 0


def rate_left_out(world: World, target: Target) -> Iterator[Made]:
    """w − g in the place of w − λ·g."""
    yield ("the learning rate is left out",), world.changed(twist="rate"), 0


def step_for_the_number(world: World, target: Target) -> Iterator[Made]:
    """λ·g or −λ·g in the place of w − λ·g."""
    yield ("this is the step that is to be subtracted, not the new number",), world.changed(twist="step"), 0
    yield ("this is the step alone, not the new number",), world.changed(twist="velocity"), 0


def root_left_out(world: World, target: Target) -> Iterator[Made]:
    """Adam's v̂ in the place of √v̂."""
    if target.update and target.update.rule == "adam":
        words = "the second moment is taken for its square root (the variance for the standard deviation)"
        yield (words,), world.changed(twist="root"), 0


def another_rule(world: World, target: Target) -> Iterator[Made]:
    """What else is forgotten in an optimiser."""
    assert target.update is not None
    rule = target.update.rule
    twists = [
        ("correction", "adam", "the moments are not corrected for their beginning at 0"),
        ("inside", "adam", "ε stands inside the square root"),
        ("ahead", "nesterov", "the gradient is taken at the parameter and not at the look-ahead point"),
        ("forgotten", "momentum nesterov", "the velocity is forgotten between the steps, as in plain descent"),
        ("one by one", rule, "later gradients are taken at parameters that are updated already"),
        ("fewer", rule, "one step too few is taken"),
        ("more", rule, "one step too many is taken"),
    ]
    for twist, rules, words in twists:
        if rule in rules.split():
            yield (words,), world.changed(twist=twist), 0


def rounded_on_the_way(world: World, target: Target, truth: Value, given: Number) -> Iterator[Made]:
    """Every number on the way rounded to so many decimals, or significant digits."""
    if abs(Fraction(given.value) - Fraction(truth)) > abs(Fraction(truth)) / 10:
        return  # rounding does not lead that far
    for count in (4, 3, 2, 1):
        for what in ("decimals", "significant digits"):
            words = f"the numbers on the way are rounded to {count} {what if count > 1 else what[:-1]}; keep more"
            yield (words,), world.changed(rounding=_rounding(count, what == "decimals")), 0


def _constant(number: int) -> Local:
    return lambda numbers: Fraction(number)


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
