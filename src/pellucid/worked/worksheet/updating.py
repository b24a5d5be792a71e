# SPDX-License-Identifier: Apache-2.0
"""Parameters after steps of an optimiser: SGD, momentum, Nesterov, Adam, every line shown.

sgd        w ← w − λ·g
momentum   v ← ρ·v − λ·g,  w ← w + v                          Polyak 1964, as in Sutskever et al. 2013, eq. 1
nesterov   the same with g taken at w + ρ·v                   Sutskever et al. 2013, eq. 3
adam       m ← β₁m + (1 − β₁)g,  v ← β₂v + (1 − β₂)g²,
           w ← w − λ·m̂/(√v̂ + ε) with m̂ = m/(1 − β₁ᵗ), v̂ = v/(1 − β₂ᵗ)    Kingma and Ba 2015, algorithm 1
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from fractions import Fraction
from typing import final

from pellucid.worked.expressions.evaluation import evaluate, put_in
from pellucid.worked.expressions.expression import Call, Const, Div, Expr, Mul, Name, Partial, Value
from pellucid.worked.notation.questions import Question
from pellucid.worked.showing.lines import Block, Heading, Line, Remark
from pellucid.worked.worksheet.chain import Graph
from pellucid.worked.worksheet.equation import Equation
from pellucid.worked.worksheet.solved import Solved
from pellucid.worked.worksheet.verifying import check_derivatives, check_value, floats

__all__ = ["Stepping"]


@final
class Stepping:
    """The state of an optimiser: the numbers of the parameters, their velocities or moments."""

    def __init__(self, solved: Solved, question: Question, worked: Callable[[str, str], list[Block]]) -> None:
        self.solved, self.question, self.worked = solved, question, worked
        self.options: dict[str, Value] = dict(question.options)
        self.values = dict(self.solved.values)
        self.state: dict[str, Value] = {}
        # v alone where there is one parameter, and no quantity of the worksheet bears such a name
        plain = {"m", "v", "mhat", "vhat"}.isdisjoint(self.values) and len(question.names) == 1
        self.suffix = {name: "" if plain else f"_{name}" for name in question.names}
        while not plain and any(
            each + end in self.values for each in ("m", "v", "mhat", "vhat") for end in self.suffix.values()
        ):
            self.suffix = {name: f"_opt{end}" for name, end in self.suffix.items()}

    def step(self, step: int) -> list[Block]:
        """One step for all parameters: the derivatives at the present numbers, then each rule's lines."""
        rule, of = self.question.rule, self.question.of
        blocks: list[Block] = [Heading((f"step {step}",))] if self.question.steps > 1 else []
        if rule == "nesterov" and step > 1:
            blocks += self._ahead()
        blocks += self._gradient(step)
        for name in self.question.names:
            blocks += getattr(self, f"_{rule}")(name, step)
        for name in self.question.names:
            self.state.pop(f"ahead {name}", None)
            self.state.pop(Partial(of, name).key, None)
        return blocks

    def outcome(self) -> list[Block]:
        """The value of what was to become small, before and after."""
        of = self.question.of
        graph = self._graph(self.values)
        check = check_value(of, graph.equations[of].right, graph.values[of], floats(graph.values))
        before = self.solved.values[of]
        words = ("before: ", Name(of), " = ", Const(before))
        return [Line(Name(of), (), graph.values[of], check, (words,), label=("with the new numbers",))]

    def _gradient(self, step: int) -> list[Block]:
        of, names = self.question.of, self.question.names
        there = {name: self.state.get(f"ahead {name}", self.values[name]) for name in names}
        if all(there[name] == self.solved.values[name] for name in names):
            blocks: list[Block] = []
            for name in names:
                symbol = Partial(of, name)
                self.state[symbol.key] = self.solved.graph.derivative(of, name)
                blocks += self.worked(of, name)
            return blocks
        graph = self._graph(self.values | there)
        numbers = floats(graph.values)
        wanted = {name: graph.derivative(of, name) for name in names}
        below = graph.below(of)
        equations = [(n, graph.equations[n].right) for n in graph.order if n in below and not graph.equations[n].given]
        checks = check_derivatives(equations, numbers, of, wanted)
        point: list[str | Expr] = ["as before, with "]
        for name in names:
            point += [", " if len(point) > 1 else "", Name(name), " = ", Const(there[name])]
        value_check = check_value(of, graph.equations[of].right, graph.values[of], numbers)
        blocks = [
            Remark(tuple(part for part in point if part != "")),
            Line(Name(of), (), graph.values[of], value_check),
        ]
        for name in names:
            self.state[Partial(of, name).key] = wanted[name]
            blocks.append(Line(Partial(of, name), (), wanted[name], checks[name]))
        return blocks

    def _graph(self, values: Mapping[str, Value]) -> Graph:
        """The worksheet's graph with the parameters at other numbers."""
        solved = self.solved
        equations = dict(solved.equations)
        for name in self.question.names:
            equations[name] = Equation(name, Const(values[name]))
        found: dict[str, Value] = {}
        for name in solved.order:
            found[name] = evaluate(equations[name].right, found, name)
        return Graph(equations, solved.order, found)

    def _ahead(self) -> list[Block]:
        blocks: list[Block] = []
        for name in self.question.names:
            node = Name(name) + Mul((Const(self.options["rho"]), Name("v" + self.suffix[name])))
            line = self._line(None, node, f"ahead {name}", ("looking ahead",))
            blocks.append(line)
        return blocks

    def _sgd(self, name: str, step: int) -> list[Block]:
        return [self._line(name, Name(name) - self._scaled(name), name)]

    def _momentum(self, name: str, step: int) -> list[Block]:
        velocity = "v" + self.suffix[name]
        self.state.setdefault(velocity, Fraction(0))
        node = Mul((Const(self.options["rho"]), Name(velocity))) - self._scaled(name)
        return [self._line(velocity, node, velocity), self._line(name, Name(name) + Name(velocity), name)]

    _nesterov = _momentum

    def _adam(self, name: str, step: int) -> list[Block]:
        m, v = "m" + self.suffix[name], "v" + self.suffix[name]
        self.state.setdefault(m, Fraction(0))
        self.state.setdefault(v, Fraction(0))
        one, two = Const(Fraction(1)), Const(Fraction(2))
        beta1, beta2 = Const(self.options["beta1"]), Const(self.options["beta2"])
        slope, time = Partial(self.question.of, name), Const(Fraction(step))
        mhat, vhat = "mhat" + self.suffix[name], "vhat" + self.suffix[name]
        lines: list[Block] = [
            self._line(m, beta1 * Name(m) + (one - beta1) * slope, m),
            self._line(v, beta2 * Name(v) + (one - beta2) * slope**two, v),
            self._line(mhat, Div(Name(m), one - beta1**time), mhat, sign="="),
            self._line(vhat, Div(Name(v), one - beta2**time), vhat, sign="="),
        ]
        bottom = Call("sqrt", (Name(vhat),)) + Const(self.options["eps"])
        node = Name(name) - Mul((Const(self.options["lr"]), Div(Name(mhat), bottom)))
        return [*lines, self._line(name, node, name)]

    def _scaled(self, name: str) -> Expr:
        return Mul((Const(self.options["lr"]), Partial(self.question.of, name)))

    def _line(self, left: str | None, node: Expr, key: str, label: tuple[str, ...] = (), sign: str = "←") -> Line:
        """One line of a rule, its number kept under `key`."""
        known = self.values | self.state
        value = evaluate(node, known, key)
        check = check_value(key, node, value, floats(known))
        if key in self.question.names:
            self.values[key] = value
        else:
            self.state[key] = value
        return Line(Name(left) if left else None, (node, put_in(node, known)), value, check, label=label, sign=sign)
