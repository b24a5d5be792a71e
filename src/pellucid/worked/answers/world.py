# SPDX-License-Identifier: Apache-2.0
"""A worksheet worked with something changed: an equation, a number, a local derivative, a rule of an update.

The worksheet itself stays as it is; a `World` works out only what its changes reach. This is how the number is found
that a slip leads to, and the number that follows from an earlier wrong one.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from fractions import Fraction
from functools import cached_property
from typing import Final, TypeAlias, final

from pellucid.worked.answers.reading import Target
from pellucid.worked.answers.sloping import Sloping
from pellucid.worked.expressions.arithmetic import over, plus, power, root, times
from pellucid.worked.expressions.evaluation import evaluate
from pellucid.worked.expressions.expression import Expr, Value
from pellucid.worked.notation.questions import Question
from pellucid.worked.worksheet.checked_numbers import CheckedNumbers

__all__ = ["TWISTS", "Exhausted", "Local", "Work", "World"]

Local: TypeAlias = Callable[[Mapping[str, Value]], Value]  # a local derivative from the numbers of a world
Edge: TypeAlias = tuple[str, str]  # a quantity, and a name in its equation

TWISTS: Final = (
    "added", "rate", "step", "velocity", "correction", "ahead", "forgotten", "root", "inside", "one by one", "fewer", "more",
)  # fmt: skip
"""What may be changed in an update; `pellucid.worked.slips_updates` says what each is."""


class Exhausted(Exception):
    """No work is left for trying further slips."""


@final
class Work:
    """How many equations and derivatives may still be worked out."""

    def __init__(self, left: int) -> None:
        self.left = left

    def spend(self, count: int = 1) -> None:
        """Count work; raises Exhausted when there is none left."""
        self.left -= count
        if self.left < 0:
            raise Exhausted


@final
class World:
    """Values, derivatives and updates of a worksheet with changes.

    >>> from pellucid.worked.worksheet.worksheet import Worksheet
    >>> world = World(Worksheet("W = 2; h = 3*W; L = h^2; ? L").solve().numbers)
    >>> print(world.answer(Target("L")), world.changed(held={"h": Fraction(5)}).answer(Target("W", "L")))
    36 30

    Args:
        solved: the worksheet as it is.
        rights: right sides that are changed.
        held: numbers in the place of what an equation gives.
        edges: local derivatives that are changed.
        slopes: derivatives of one quantity by another in the place of what the chain rule gives.
        results: numbers in the place of whole answers.
        twist: what is changed in updates, one of `TWISTS`.
        rounding: what is done to every number on the way.
        work: the limit.
    """

    def __init__(
        self,
        solved: CheckedNumbers,
        rights: Mapping[str, Expr] | None = None,
        held: Mapping[str, Value] | None = None,
        edges: Mapping[Edge, Local] | None = None,
        slopes: Mapping[Edge, Value] | None = None,
        results: Mapping[str, Value] | None = None,
        twist: str = "",
        rounding: Callable[[Value], Value] | None = None,
        work: Work | None = None,
    ) -> None:
        self.solved, self.graph = solved, solved.graph
        self.rights, self.held = dict(rights or {}), dict(held or {})
        self.edges, self.slopes, self.results = dict(edges or {}), dict(slopes or {}), dict(results or {})
        self.twist, self.rounding = twist, rounding
        self.work = work or Work(10**9)
        self._values: dict[str, dict[str, Value]] = {}

    def changed(
        self,
        rights: Mapping[str, Expr] | None = None,
        held: Mapping[str, Value] | None = None,
        edges: Mapping[Edge, Local] | None = None,
        slopes: Mapping[Edge, Value] | None = None,
        results: Mapping[str, Value] | None = None,
        twist: str = "",
        rounding: Callable[[Value], Value] | None = None,
    ) -> World:
        """This world with further changes."""
        return World(
            self.solved,
            {**self.rights, **(rights or {})},
            # an equation that is changed is worked out again
            {name: each for name, each in self.held.items() if name not in (rights or {})} | dict(held or {}),
            {**self.edges, **(edges or {})},
            {**self.slopes, **(slopes or {})},
            {**self.results, **(results or {})},
            twist or self.twist,
            rounding or self.rounding,
            self.work,
        )

    def with_answer(self, target: Target, value: Value) -> World:
        """This world with a number in the place of an answer."""
        if target.update:
            return self.changed(results={target.key: value})
        if target.of:
            return self.changed(slopes={(target.of, target.name): value})
        return self.changed(held={target.name: value})

    def answer(self, target: Target) -> Value:
        """What this world answers."""
        if target.key in self.results:
            return self.results[target.key]
        if target.update:
            return self.updated(target.update)[target.name]
        if target.of:
            found = self.slopes.get((target.of, target.name))
            return self.derivative(target.of, target.name) if found is None else found
        return self.values(target.name)[target.name]

    @cached_property
    def dirty(self) -> set[str]:
        """What the changes reach; a rounding reaches all that is worked out."""
        if self.rounding:
            return {name for name in self.solved.order if self.graph.uses[name] or name in self.held}
        return set().union(*(self.graph.dependents(name) for name in (*self.rights, *self.held)), set())

    def values(self, of: str) -> Mapping[str, Value]:
        """The numbers of all that a quantity depends on, and of what the changes do not reach."""
        if not self.dirty:
            return self.solved.values
        if of not in self._values:
            found = dict(self.solved.values)
            # softmax's other components stand in its derivative
            wanted = self.dirty & self.graph.dependencies(of)
            for name in sorted(wanted, key=self.graph.position.__getitem__):
                if name in self.held:
                    found[name] = self.held[name]
                    continue
                self.work.spend()
                value = evaluate(self.right(name), found, name)
                found[name] = self.rounding(value) if self.rounding and name != of else value
            for name in self.dirty - wanted:
                del found[name]
            self._values[of] = found
        return self._values[of]

    def right(self, name: str) -> Expr:
        """The right side of an equation."""
        return self.rights.get(name) or self.solved.equations[name].right

    def sloping(self, of: str, above: str) -> Sloping:
        """Differentiation at this world's numbers of an equation on the way to `of`."""
        return Sloping(self.values(of), above, self.right(above))

    def local(self, of: str, above: str, name: str) -> Value:
        """The derivative of an equation by a name in it, at the numbers that lead to `of`."""
        if (above, name) in self.edges:
            self.work.spend()
            return self.edges[above, name](self.values(of))
        if above not in self.rights and self.dirty.isdisjoint((above, *self.graph.uses[above])):
            return self.graph.local_derivative(above, name)[1]
        self.work.spend(2)
        return self.sloping(of, above).slope(self.right(above), name)

    def derivative(self, of: str, by: str) -> Value:
        """The chain rule backwards; numbers of `slopes` are taken on the way, not at the end."""
        if of == by:
            return Fraction(1)
        route = self.graph.route(by, of)
        found: dict[str, Value] = {of: Fraction(1)}
        for name in reversed(route[:-1]):
            if name != by and (of, name) in self.slopes:
                found[name] = self.slopes[of, name]
                continue
            total: Value = Fraction(0)
            for above in self.graph.used_by[name]:
                if above in found:
                    # ∂c/∂q that was answered is taken where it is the edge itself, no sum over paths
                    own = (
                        self.slopes.get((above, name))
                        if above != of and self.graph.path_count(name, above) == 1
                        else None
                    )
                    edge = self.local(of, above, name) if own is None else own
                    total = plus(total, times(found[above], self.rounding(edge) if self.rounding else edge))
            found[name] = self.rounding(total) if self.rounding and name != by else total
        return found.get(by, Fraction(0))

    def updated(self, question: Question) -> dict[str, Value]:
        """The parameters after the steps of an optimiser, with the twist.

        The rules stand in `pellucid.worked.worksheet.updating`; this is the same without the lines.
        """
        options: dict[str, Value] = dict(question.options)
        rate, rule, twist = options["lr"], question.rule, self.twist
        if twist == "rate":
            rate = Fraction(1)
        if twist == "added":
            rate = -rate
        start = {name: self.values(name)[name] for name in question.names}
        now = dict(start)
        first: dict[str, Value] = dict.fromkeys(now, Fraction(0))
        second: dict[str, Value] = dict.fromkeys(now, Fraction(0))
        moved: dict[str, Value] = {}
        for step in range(1, question.steps + {"fewer": -1, "more": 1}.get(twist, 0) + 1):
            there = dict(now)
            if rule == "nesterov" and twist != "ahead":
                there = {name: plus(now[name], times(options["rho"], first[name])) for name in now}
            gradient: dict[str, Value] = {}
            for name in question.names:
                if twist == "one by one":
                    there = dict(now)
                if name not in gradient or twist == "one by one":
                    gradient[name] = self._slope(question.of, name, start, there)
                if rule == "adam":
                    moved[name] = self._adam(name, step, gradient[name], first, second, options, rate)
                else:
                    rho = options.get("rho", Fraction(0)) if twist != "forgotten" else Fraction(0)
                    kept = times(rho, first[name]) if rule != "sgd" else Fraction(0)
                    first[name] = moved[name] = plus(kept, -times(rate, gradient[name]))
                if twist == "one by one":
                    now[name] = plus(now[name], moved[name])
            if twist != "one by one":
                now = {name: plus(now[name], moved[name]) for name in now}
        if twist == "step":
            return {name: -each for name, each in moved.items()}
        return moved if twist == "velocity" else now

    def _slope(self, of: str, name: str, start: Mapping[str, Value], there: Mapping[str, Value]) -> Value:
        if all(there[each] == start[each] for each in there):
            return self.answer(Target(name, of))
        self.work.spend(len(self.graph.dependencies(of)))
        elsewhere = World(self.solved, self.rights, {**self.held, **there}, self.edges, work=self.work)
        for each in [each for each in elsewhere.held if self.graph.uses[each]]:
            del elsewhere.held[each]  # what was worked out once follows from the new numbers
        return elsewhere.derivative(of, name)

    def _adam(
        self,
        name: str,
        step: int,
        slope: Value,
        first: dict[str, Value],
        second: dict[str, Value],
        options: Mapping[str, Value],
        rate: Value,
    ) -> Value:
        one, time, twist = Fraction(1), Fraction(step), self.twist
        beta1, beta2, eps = options["beta1"], options["beta2"], options["eps"]
        first[name] = plus(times(beta1, first[name]), times(plus(one, -beta1), slope))
        second[name] = plus(times(beta2, second[name]), times(plus(one, -beta2), power(slope, Fraction(2))))
        above, below = first[name], second[name]
        if twist != "correction":
            above = over(above, plus(one, -power(beta1, time)))
            below = over(below, plus(one, -power(beta2, time)))
        if twist == "root":
            bottom = plus(below, eps)
        elif twist == "inside":
            bottom = root(plus(below, eps))
        else:
            bottom = plus(root(below), eps)
        return -times(rate, over(above, bottom))
