# SPDX-License-Identifier: Apache-2.0
"""Slips of the whole computation: paths and links of the chain rule, the rule of an update, rounding on the way.

Each function takes the worksheet and the target of the answer, and yields words, the worksheet's variant with the slip, and
how many equations away from the target the slip is.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from fractions import Fraction
from typing import TypeAlias

from pellucid.worked.answers.entry import Number, Target
from pellucid.worked.answers.variant import EdgeDerivative, Variant
from pellucid.worked.expressions.expression import Name, Partial, Value
from pellucid.worked.showing.lines import Words
from pellucid.worked.showing.numerals import numeral

__all__ = ["Attempt"]

Attempt: TypeAlias = tuple[Words, Variant, int]


def path_left_out(sheet: Variant, target: Target) -> Iterator[Attempt]:
    """A sum over paths without one of them: a shared weight counted at one time step only."""
    graph = sheet.graph
    route = graph.route(target.name, target.of)
    on_route = set(route)
    for away, name in enumerate(route[:-1]):
        users = [user for user in graph.used_by[name] if user in on_route]
        # with one path there is no sum from which it could be missing
        if len(users) < 2:
            continue
        for user in users:
            without: dict[tuple[str, str], EdgeDerivative] = {(user, name): _constant(0)}
            words: Words = ("the path from ", Name(name), " through ", Name(user), " is left out of the sum")
            yield words, sheet.changed(edges=without), away
            others = {(other, name): _constant(0) for other in users if other != user}
            only: Words = ("only the path from ", Name(name), " through ", Name(user), " is counted, of ")
            if len(others) > 1:
                yield (*only, f"{len(users)}"), sheet.changed(edges=others), away


def link_left_out(sheet: Variant, target: Target) -> Iterator[Attempt]:
    """The chain rule without one of its factors."""
    graph = sheet.graph
    route = graph.route(target.name, target.of)
    on_route = set(route)
    away = 0  # counted from the target inwards
    for above in reversed(route):
        for name in graph.uses[above]:
            if name in on_route:
                words: Words = ("the factor ", Partial(above, name), " of the chain rule is left out")
                yield words, sheet.changed(edges={(above, name): _constant(1)}), away
                away += 1


def update_added(sheet: Variant, target: Target) -> Iterator[Attempt]:
    """w + λ·g instead of w − λ·g."""
    words = "the step is added instead of subtracted: it goes up the gradient"
    yield (words,), sheet.changed(twist="added"), 0


def rate_left_out(sheet: Variant, target: Target) -> Iterator[Attempt]:
    """w − g instead of w − λ·g."""
    yield ("the learning rate is left out",), sheet.changed(twist="rate"), 0


def step_for_the_number(sheet: Variant, target: Target) -> Iterator[Attempt]:
    """λ·g or −λ·g instead of w − λ·g."""
    yield ("this is the step to subtract, not the new number",), sheet.changed(twist="step"), 0
    yield ("this is the step alone, not the new number",), sheet.changed(twist="velocity"), 0


def root_left_out(sheet: Variant, target: Target) -> Iterator[Attempt]:
    """Adam's v̂ instead of √v̂."""
    if target.update and target.update.rule in ("adam", "rmsprop", "adagrad"):
        words = "the second moment is used instead of its square root (the variance instead of the standard deviation)"
        yield (words,), sheet.changed(twist="root"), 0


def another_rule(sheet: Variant, target: Target) -> Iterator[Attempt]:
    """Other mistakes in the rule of an optimiser."""
    assert target.update is not None
    rule = target.update.rule
    twists = [
        ("correction", "adam", "the moments are not bias-corrected for their start at 0"),
        ("inside", "adam rmsprop adagrad", "ε is inside the square root"),
        ("ahead", "nesterov", "the gradient is taken at the parameter instead of the look-ahead point"),
        ("forgotten", "momentum nesterov", "the velocity is forgotten between the steps, as in plain gradient descent"),
        ("forgotten", "rmsprop adagrad", "the squares of earlier gradients are forgotten"),
        ("one by one", rule, "later gradients are taken at parameters that are already updated"),
        ("fewer", rule, "one step too few is taken"),
        ("more", rule, "one step too many is taken"),
    ]
    for twist, rules, words in twists:
        if rule in rules.split():
            yield (words,), sheet.changed(twist=twist), 0


def rounded_on_the_way(sheet: Variant, target: Target, truth: Value, given: Number) -> Iterator[Attempt]:
    """Every number on the way rounded to a few decimals, or significant digits."""
    if abs(Fraction(given.value) - Fraction(truth)) > abs(Fraction(truth)) / 10:
        return  # rounding on the way hardly ever moves a result that far
    for count in (4, 3, 2, 1):
        for what in ("decimals", "significant digits"):
            words = f"the numbers on the way are rounded to {count} {what if count > 1 else what[:-1]}; keep more"
            yield (words,), sheet.changed(rounding=_rounding(count, what == "decimals")), 0


def _constant(number: int) -> EdgeDerivative:
    return lambda numbers: Fraction(number)


def _rounding(count: int, decimals: bool) -> Callable[[Value], Value]:
    def round_off(value: Value) -> Value:
        if not value:
            return value
        if decimals:
            return Fraction(round(Fraction(value), count))
        rounded = numeral(value, count)
        # exactly the number that a person would write down
        size = Fraction(rounded.digits) * Fraction(10) ** rounded.power
        return -size if rounded.negative else size

    return round_off
