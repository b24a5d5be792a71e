# SPDX-License-Identifier: Apache-2.0
"""A worksheet worked with something changed: an equation, a number, a local derivative, a rule of an update.

The worksheet itself stays as it is; a `Variant` works out only what its changes reach. It finds the number that a slip leads
to, and the number that follows from an earlier wrong one.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from fractions import Fraction
from functools import cached_property
from typing import Final, TypeAlias, final

from pellucid.worked.answers.entry import Target
from pellucid.worked.answers.local_derivatives import LocalDerivatives
from pellucid.worked.expressions.arithmetic import over, plus, power, root, times
from pellucid.worked.expressions.evaluation import evaluate
from pellucid.worked.expressions.expression import Expr, Value
from pellucid.worked.notation.questions import Question
from pellucid.worked.worksheet.checked_numbers import CheckedNumbers

__all__ = ["TWISTS", "Budget", "EdgeDerivative", "Exhausted", "Variant"]

Edge: TypeAlias = tuple[str, str]  # a quantity, and a name in its equation
EdgeDerivative: TypeAlias = Callable[[Mapping[str, Value]], Value]  # from the numbers of a variant

UNLIMITED: Final = 10**9

TWISTS: Final = (
    "added", "rate", "step", "velocity", "correction", "ahead", "forgotten", "root", "inside", "one by one", "fewer", "more",
)  # fmt: skip
"""What may be changed in an update; `pellucid.worked.answers.slips_graph` says what each is."""


class Exhausted(Exception):
    """Nothing is left of the budget for trying further slips."""


@final
class Budget:
    """How many equations and derivatives may still be worked out."""

    def __init__(self, left: int) -> None:
        self.left = left

    def spend(self, count: int = 1) -> None:
        """Count work; raises Exhausted when nothing is left."""
        self.left -= count
        if self.left < 0:
            raise Exhausted


@final
class Variant:
    """Values, derivatives and updates of a worksheet with changes.

    >>> from pellucid.worked.worksheet.worksheet import Worksheet
    >>> same = Variant(Worksheet("W = 2; h = 3*W; L = h^2; ? L").solve().numbers)
    >>> print(same.answer(Target("L")), same.changed(fixed={"h": Fraction(5)}).answer(Target("W", "L")))
    36 30

    Args:
        solved: the worksheet as it is.
        right_sides: of equations that are changed.
        fixed: numbers that replace what an equation gives.
        edges: local derivatives that are changed.
        derivatives: of one quantity by another, which replace what the chain rule gives.
        results: numbers that replace whole answers.
        twist: what is changed in updates, one of `TWISTS`.
        rounding: applied to every number on the way.
        budget: limits the work.
    """

    def __init__(
        self,
        solved: CheckedNumbers,
        right_sides: Mapping[str, Expr] | None = None,
        fixed: Mapping[str, Value] | None = None,
        edges: Mapping[Edge, EdgeDerivative] | None = None,
        derivatives: Mapping[Edge, Value] | None = None,
        results: Mapping[str, Value] | None = None,
        twist: str = "",
        rounding: Callable[[Value], Value] | None = None,
        budget: Budget | None = None,
    ) -> None:
        self.solved, self.graph = solved, solved.graph
        self.right_sides, self.fixed = dict(right_sides or {}), dict(fixed or {})
        self.edges, self.derivatives, self.results = dict(edges or {}), dict(derivatives or {}), dict(results or {})
        self.twist, self.rounding = twist, rounding
        self.budget = budget or Budget(UNLIMITED)
        self._values: dict[str, dict[str, Value]] = {}

    def changed(
        self,
        right_sides: Mapping[str, Expr] | None = None,
        fixed: Mapping[str, Value] | None = None,
        edges: Mapping[Edge, EdgeDerivative] | None = None,
        derivatives: Mapping[Edge, Value] | None = None,
        results: Mapping[str, Value] | None = None,
        twist: str = "",
        rounding: Callable[[Value], Value] | None = None,
    ) -> Variant:
        """This variant with further changes."""
        return Variant(
            self.solved,
            {**self.right_sides, **(right_sides or {})},
            # an equation that is changed is worked out again
            {name: value for name, value in self.fixed.items() if name not in (right_sides or {})} | dict(fixed or {}),
            {**self.edges, **(edges or {})},
            {**self.derivatives, **(derivatives or {})},
            {**self.results, **(results or {})},
            twist or self.twist,
            rounding or self.rounding,
            self.budget,
        )

    def with_answer(self, target: Target, value: Value) -> Variant:
        """This variant with a number in place of an answer."""
        if target.update:
            return self.changed(results={target.key: value})
        if target.of:
            return self.changed(derivatives={(target.of, target.name): value})
        return self.changed(fixed={target.name: value})

    def answer(self, target: Target) -> Value:
        """The answer of this variant."""
        if target.key in self.results:
            return self.results[target.key]
        if target.update:
            return self.updated(target.update)[target.name]
        if target.of:
            given = self.derivatives.get((target.of, target.name))
            return self.derivative(target.of, target.name) if given is None else given
        return self.values(target.name)[target.name]

    @cached_property
    def reached(self) -> set[str]:
        """The quantities that the changes reach; a rounding reaches all that is worked out."""
        if self.rounding:
            return {name for name in self.solved.order if self.graph.uses[name] or name in self.fixed}
        return set().union(*(self.graph.dependents(name) for name in (*self.right_sides, *self.fixed)), set())

    def values(self, of: str) -> Mapping[str, Value]:
        """The numbers of all that a quantity depends on, and of what the changes do not reach."""
        if not self.reached:
            return self.solved.values
        if of not in self._values:
            numbers = dict(self.solved.values)
            # below, not between: softmax's other components are part of its derivative
            wanted = self.reached & self.graph.dependencies(of)
            for name in sorted(wanted, key=self.graph.position.__getitem__):
                if name in self.fixed:
                    numbers[name] = self.fixed[name]
                    continue
                self.budget.spend()
                value = evaluate(self.right_side(name), numbers, name)
                numbers[name] = self.rounding(value) if self.rounding and name != of else value
            for name in self.reached - wanted:
                # stale: reached by a change, and not needed for this quantity
                del numbers[name]
            self._values[of] = numbers
        return self._values[of]

    def right_side(self, name: str) -> Expr:
        """The right side of an equation."""
        return self.right_sides.get(name) or self.solved.equations[name].right

    def local_derivatives(self, of: str, above: str) -> LocalDerivatives:
        """Derivatives of the equation `above`, at the numbers of this variant that lead to `of`."""
        return LocalDerivatives(self.values(of), above, self.right_side(above))

    def edge(self, of: str, above: str, name: str) -> Value:
        """The local derivative ∂above/∂name, at the numbers that lead to `of`."""
        if (above, name) in self.edges:
            self.budget.spend()
            return self.edges[above, name](self.values(of))
        if above not in self.right_sides and self.reached.isdisjoint((above, *self.graph.uses[above])):
            return self.graph.local_derivative(above, name)[1]
        self.budget.spend(2)
        return self.local_derivatives(of, above).derivative(self.right_side(above), name)

    def derivative(self, of: str, by: str) -> Value:
        """The chain rule backwards; given derivatives are used on the way, but not for ∂of/∂by itself."""
        if of == by:
            return Fraction(1)
        route = self.graph.route(by, of)
        by_name: dict[str, Value] = {of: Fraction(1)}  # ∂of/∂name
        for name in reversed(route[:-1]):
            if name != by and (of, name) in self.derivatives:
                by_name[name] = self.derivatives[of, name]
                continue
            total: Value = Fraction(0)
            for above in self.graph.used_by[name]:
                if above in by_name:
                    # an answered ∂above/∂name is the edge itself where one path alone joins the two
                    alone = above != of and self.graph.path_count(name, above) == 1
                    given = self.derivatives.get((above, name)) if alone else None
                    edge = self.edge(of, above, name) if given is None else given
                    total = plus(total, times(by_name[above], self.rounding(edge) if self.rounding else edge))
            by_name[name] = self.rounding(total) if self.rounding and name != by else total
        return by_name.get(by, Fraction(0))

    def updated(self, question: Question) -> dict[str, Value]:
        """The parameters after the steps of an optimiser, with the twist.

        The rules are in `pellucid.worked.worksheet.updating`; these are the same without the lines.
        """
        options: dict[str, Value] = dict(question.options)
        rate, rule, twist = options["lr"], question.rule, self.twist
        if twist == "rate":
            rate = Fraction(1)
        if twist == "added":
            rate = -rate
        start = {name: self.values(name)[name] for name in question.names}
        now = dict(start)
        begin = options.get("v", Fraction(0)), options.get("m", Fraction(0)), options.get("s", Fraction(0))
        velocity = rule in ("momentum", "nesterov")
        first = dict.fromkeys(now, begin[0] if velocity else begin[1])  # velocity, or Adam's first moment
        second = dict.fromkeys(now, begin[2] if rule == "adagrad" else begin[0])
        moved: dict[str, Value] = {}
        for step in range(1, question.steps + {"fewer": -1, "more": 1}.get(twist, 0) + 1):
            there = dict(now)  # where the gradient is taken
            if rule == "nesterov" and twist != "ahead":
                there = {name: plus(now[name], times(options["rho"], first[name])) for name in now}
            gradient: dict[str, Value] = {}
            for name in question.names:
                if twist == "one by one":
                    there = dict(now)
                if name not in gradient or twist == "one by one":
                    slope = self._gradient(question.of, name, start, there)
                    decay = options.get("weight_decay", Fraction(0))
                    gradient[name] = plus(slope, times(decay, now[name])) if decay else slope
                time = step + int(options.get("step", Fraction(1))) - 1
                if rule == "adam":
                    moved[name] = self._adam(name, time, gradient[name], first, second, options, rate)
                elif rule in ("rmsprop", "adagrad"):
                    square = power(gradient[name], Fraction(2))
                    if rule == "rmsprop":
                        rho = options["rho"] if twist != "forgotten" else Fraction(0)
                        square = plus(times(rho, second[name]), times(plus(Fraction(1), -options["rho"]), square))
                    else:
                        square = plus(second[name] if twist != "forgotten" else Fraction(0), square)
                    second[name] = square
                    if twist == "inside":
                        bottom = root(plus(square, options["eps"]))
                    else:
                        bottom = plus(square if twist == "root" else root(square), options["eps"])
                    moved[name] = -times(rate, over(gradient[name], bottom))
                else:
                    rho = options.get("rho", Fraction(0)) if twist != "forgotten" else Fraction(0)
                    kept = times(rho, first[name]) if rule != "sgd" else Fraction(0)
                    first[name] = moved[name] = plus(kept, -times(rate, gradient[name]))
                if twist == "one by one":
                    now[name] = plus(now[name], moved[name])
            if twist != "one by one":
                now = {name: plus(now[name], moved[name]) for name in now}
        if twist == "step":
            return {name: -move for name, move in moved.items()}
        return moved if twist == "velocity" else now

    def _gradient(self, of: str, name: str, start: Mapping[str, Value], there: Mapping[str, Value]) -> Value:
        if there == start:
            # not `derivative`: a wrong ∂L/∂w that was answered is what the learner goes on with
            return self.answer(Target(name, of))
        self.budget.spend(len(self.graph.dependencies(of)))
        elsewhere = Variant(self.solved, self.right_sides, {**self.fixed, **there}, self.edges, budget=self.budget)
        for other in [other for other in elsewhere.fixed if self.graph.uses[other]]:
            del elsewhere.fixed[other]  # what was answered at the start follows from the new parameters
        return elsewhere.derivative(of, name)

    def _adam(
        self,
        name: str,
        step: int,
        gradient: Value,
        first: dict[str, Value],
        second: dict[str, Value],
        options: Mapping[str, Value],
        rate: Value,
    ) -> Value:
        """One step of one parameter; both moments are updated in place (Kingma and Ba 2015, algorithm 1)."""
        one, time, twist = Fraction(1), Fraction(step), self.twist
        beta1, beta2, eps = options["beta1"], options["beta2"], options["eps"]
        first[name] = plus(times(beta1, first[name]), times(plus(one, -beta1), gradient))
        second[name] = plus(times(beta2, second[name]), times(plus(one, -beta2), power(gradient, Fraction(2))))
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
