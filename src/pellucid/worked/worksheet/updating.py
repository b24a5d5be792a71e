# SPDX-License-Identifier: Apache-2.0
"""Optimiser steps written out: SGD, momentum, Nesterov and Adam, each line with its check.

sgd        w ← w − λ·g
momentum   v ← ρ·v − λ·g,  w ← w + v                          Polyak 1964, as in Sutskever et al. 2013, eq. 1 and 2
nesterov   the same with g taken at w + ρ·v                   Sutskever et al. 2013, eq. 3 and 4
adam       m ← β₁m + (1 − β₁)g,  v ← β₂v + (1 − β₂)g²,
           w ← w − λ·m̂/(√v̂ + ε) with m̂ = m/(1 − β₁ᵗ), v̂ = v/(1 − β₂ᵗ)    Kingma and Ba 2015, algorithm 1
adamw      adam, and w ← w − λ·δ·w as well                     Loshchilov and Hutter 2019, algorithm 2
rmsprop    v ← ρ·v + (1 − ρ)·g²,  w ← w − λ·g/(√v + ε)        Tieleman and Hinton 2012, lecture 6e
adagrad    s ← s + g²,  w ← w − λ·g/(√s + ε)                   Duchi et al. 2011

With weight decay δ, g is ∂L/∂w + δ·w in all of them but adamw, as in PyTorch.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from fractions import Fraction
from typing import final

from pellucid.worked.expressions.evaluation import evaluate, substitute
from pellucid.worked.expressions.expression import Call, Const, Div, Expr, Mul, Name, Partial, Value
from pellucid.worked.notation.questions import Question
from pellucid.worked.showing.lines import Block, Heading, Line, Remark
from pellucid.worked.worksheet.checked_numbers import CheckedNumbers
from pellucid.worked.worksheet.equation import Equation
from pellucid.worked.worksheet.graph import Graph
from pellucid.worked.worksheet.verifying import check_derivatives, check_value, floats

__all__ = ["OptimiserSteps"]

STATE = ("m", "v", "mhat", "vhat")  # the names of an optimiser's own quantities
ZERO = Fraction(0)


@final
class OptimiserSteps:
    """An optimiser at work: the present values of the parameters, and its velocities or moments.

    Args:
        numbers: of the worksheet, where the first step begins.
        question: the parameters, the rule with its options, the loss.
        worked: writes out a derivative at the worksheet's own numbers.
    """

    def __init__(self, numbers: CheckedNumbers, question: Question, worked: Callable[[str, str], list[Block]]) -> None:
        self.numbers, self.question, self.worked = numbers, question, worked
        self.options: dict[str, Value] = dict(question.options)
        self.values = dict(numbers.values)
        self.state: dict[str, Value] = {}  # velocities and moments by name, slopes by key, points of Nesterov's rule
        own = (
            *STATE,
            *(("g",) if self._decays() else ()),
            *(("s",) if question.rule == "adagrad" else ()),
        )
        # plain v for a single parameter, v_w for several, v_opt_w if the worksheet has a v_w of its own
        plain = set(own).isdisjoint(self.values) and len(question.names) == 1
        self.suffix = {name: "" if plain else f"_{name}" for name in question.names}
        while not plain and any(letter + end in self.values for letter in own for end in self.suffix.values()):
            self.suffix = {name: f"_opt{end}" for name, end in self.suffix.items()}
        for letter in ("v", "m", "s"):  # where they begin, if not at 0
            for end in self.suffix.values():
                if letter in self.options:
                    self.state[letter + end] = self.options[letter]
        self.first = int(self.options.get("step", Fraction(1)))

    def step(self, step: int) -> list[Block]:
        """One step of all parameters: the gradient at the present values, then the lines of the update rule."""
        rule, of = self.question.rule, self.question.of
        blocks: list[Block] = [Heading((f"step {step}",))] if self.question.steps > 1 else []
        # with v = 0, as in the first step, the look-ahead point is w itself
        if rule == "nesterov" and (step > 1 or any(self.state.values())):
            blocks += self._look_ahead()
        blocks += self._gradient()
        for name in self.question.names:
            if self._decays():
                node = Partial(of, name) + Mul((Const(self.options["weight_decay"]), Name(name)))
                blocks.append(self._line("g" + self.suffix[name], node, "g" + self.suffix[name], sign="="))
            blocks += getattr(self, f"_{rule}")(name, step + self.first - 1)
        for name in self.question.names:
            self.state.pop(f"ahead {name}", None)
            self.state.pop(Partial(of, name).key, None)
        return blocks

    def outcome(self) -> list[Block]:
        """The loss before and after the steps."""
        of = self.question.of
        graph = self._graph_at(self.values)
        check = check_value(of, graph.equations[of].right, graph.values[of], floats(graph.values), graph.values)
        words = ("before: ", Name(of), " = ", Const(self.numbers.values[of]))
        return [Line(Name(of), (), graph.values[of], check, (words,), label=("with the new values",))]

    def _gradient(self) -> list[Block]:
        of, names = self.question.of, self.question.names
        point = {name: self.state.get(f"ahead {name}", self.values[name]) for name in names}
        # at the worksheet's own numbers the derivatives are written out in full
        if all(point[name] == self.numbers.values[name] for name in names):
            blocks: list[Block] = []
            for name in names:
                symbol = Partial(of, name)
                self.state[symbol.key] = self.numbers.graph.derivative(of, name)
                blocks += self.worked(of, name)
            return blocks
        # later steps repeat the same equations with other numbers: results alone, checked like all others
        graph = self._graph_at(self.values | point)
        numbers = floats(graph.values)
        slopes = {name: graph.derivative(of, name) for name in names}
        needed = graph.dependencies(of)
        equations = [(n, graph.equations[n].right) for n in graph.order if n in needed and not graph.equations[n].given]
        checks = check_derivatives(equations, numbers, of, slopes, graph.values, self.numbers.working_digits)
        words: list[str | Expr] = ["as above, with "]
        for name in names:
            words += [", " if len(words) > 1 else "", Name(name), " = ", Const(point[name])]
        value_check = check_value(of, graph.equations[of].right, graph.values[of], numbers, graph.values)
        blocks = [
            Remark(tuple(word for word in words if word != "")),
            Line(Name(of), (), graph.values[of], value_check),
        ]
        for name in names:
            self.state[Partial(of, name).key] = slopes[name]
            blocks.append(Line(Partial(of, name), (), slopes[name], checks[name]))
        return blocks

    def _graph_at(self, values: Mapping[str, Value]) -> Graph:
        """The worksheet's graph with other values of the parameters."""
        equations = dict(self.numbers.equations)
        for name in self.question.names:
            equations[name] = Equation(name, Const(values[name]))
        computed: dict[str, Value] = {}
        for name in self.numbers.order:
            computed[name] = evaluate(equations[name].right, computed, name)
        return Graph(equations, self.numbers.order, computed)

    def _look_ahead(self) -> list[Block]:
        blocks: list[Block] = []
        for name in self.question.names:
            node = Name(name) + Mul((Const(self.options["rho"]), Name("v" + self.suffix[name])))
            line = self._line(None, node, f"ahead {name}", ("look-ahead point",))
            blocks.append(line)
        return blocks

    # one method for each rule, found by its name: (parameter, step) -> lines

    def _sgd(self, name: str, step: int) -> list[Block]:
        return [self._line(name, Name(name) - self._scaled(name), name)]

    def _momentum(self, name: str, step: int) -> list[Block]:
        velocity = "v" + self.suffix[name]
        self.state.setdefault(velocity, Fraction(0))
        node = Mul((Const(self.options["rho"]), Name(velocity))) - self._scaled(name)
        return [self._line(velocity, node, velocity), self._line(name, Name(name) + Name(velocity), name)]

    _nesterov = _momentum  # the gradient differs, the lines do not

    def _adam(self, name: str, step: int) -> list[Block]:
        m, v = "m" + self.suffix[name], "v" + self.suffix[name]
        self.state.setdefault(m, Fraction(0))
        self.state.setdefault(v, Fraction(0))
        one, two = Const(Fraction(1)), Const(Fraction(2))
        beta1, beta2 = Const(self.options["beta1"]), Const(self.options["beta2"])
        slope, time = self._slope(name), Const(Fraction(step))
        mhat, vhat = "mhat" + self.suffix[name], "vhat" + self.suffix[name]
        lines: list[Block] = [
            self._line(m, beta1 * Name(m) + (one - beta1) * slope, m),
            self._line(v, beta2 * Name(v) + (one - beta2) * slope**two, v),
            # m and v start at 0: the correction removes their bias towards it
            self._line(mhat, Div(Name(m), one - beta1**time), mhat, sign="="),
            self._line(vhat, Div(Name(v), one - beta2**time), vhat, sign="="),
        ]
        bottom = Call("sqrt", (Name(vhat),)) + Const(self.options["eps"])
        node = Name(name) - Mul((Const(self.options["lr"]), Div(Name(mhat), bottom)))
        if self.question.rule == "adamw":  # the weights decay beside Adam's step, not within the gradient
            node = node - Mul((Const(self.options["lr"]), Const(self.options["weight_decay"]), Name(name)))
        return [*lines, self._line(name, node, name)]

    _adamw = _adam  # but for the decay

    def _rmsprop(self, name: str, step: int) -> list[Block]:
        square, rho = "v" + self.suffix[name], Const(self.options["rho"])
        self.state.setdefault(square, ZERO)
        one, two = Const(Fraction(1)), Const(Fraction(2))
        node = rho * Name(square) + (one - rho) * self._slope(name) ** two
        return [self._line(square, node, square), self._scaled_by_root(name, square)]

    def _adagrad(self, name: str, step: int) -> list[Block]:
        square = "s" + self.suffix[name]
        self.state.setdefault(square, ZERO)
        node = Name(square) + self._slope(name) ** Const(Fraction(2))
        return [self._line(square, node, square), self._scaled_by_root(name, square)]

    def _scaled_by_root(self, name: str, square: str) -> Line:
        """w ← w − λ·g/(√v + ε)."""
        bottom = Call("sqrt", (Name(square),)) + Const(self.options["eps"])
        node = Name(name) - Mul((Const(self.options["lr"]), Div(self._slope(name), bottom)))
        return self._line(name, node, name)

    def _slope(self, name: str) -> Expr:
        """g: the derivative, with the weight decay if there is one."""
        return Name("g" + self.suffix[name]) if self._decays() else Partial(self.question.of, name)

    def _decays(self) -> bool:
        """Whether weight decay is part of the gradient."""
        return self.question.rule != "adamw" and bool(self.options.get("weight_decay"))

    def _scaled(self, name: str) -> Expr:
        """λ·g."""
        return Mul((Const(self.options["lr"]), self._slope(name)))

    def _line(self, left: str | None, node: Expr, key: str, label: tuple[str, ...] = (), sign: str = "←") -> Line:
        """One line of an update rule; its result is kept under `key`."""
        known = self.values | self.state
        value = evaluate(node, known, key)
        check = check_value(key, node, value, floats(known), known)
        if key in self.question.names:
            self.values[key] = value
        else:
            self.state[key] = value
        return Line(Name(left) if left else None, (node, substitute(node, known)), value, check, label=label, sign=sign)
