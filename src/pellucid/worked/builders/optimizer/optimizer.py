# SPDX-License-Identifier: Apache-2.0
"""optimizer: steps of SGD, momentum, Nesterov's momentum and Adam on a function.

The rules are in `pellucid.worked.worksheet.updating`: v ← ρv − λ∂w, w ← w + v; Nesterov takes the gradient at w + ρv.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import KW_ONLY, dataclass, replace
from fractions import Fraction
from pathlib import Path
from random import Random
from typing import Final, Literal, final

from pellucid.errors import UnknownNameError, UsageError
from pellucid.worked.builders._quantities import exact
from pellucid.worked.builders.optimizer.sketch import check_sketch, draw_sketch
from pellucid.worked.builders.optimizer.table import steps_tables
from pellucid.worked.expressions.expression import Operand, as_expr
from pellucid.worked.forms.contract import Builder
from pellucid.worked.forms.exercise import by_hand
from pellucid.worked.forms.numbers import read_vector
from pellucid.worked.notation.questions import MAX_STEPS, OPTIMISERS
from pellucid.worked.showing.grids import Grid
from pellucid.worked.worksheet.solution import Solution
from pellucid.worked.worksheet.worksheet import Worksheet

__all__ = ["Optimizer"]

_OPTIONS: Final = ("lr", "rho", "beta1", "beta2", "eps")
_LARGEST: Final = 50


@final
@dataclass(frozen=True)
class Optimizer(Builder):
    """Work the steps of optimisers by hand: a table of each, and every line of it."""

    topic = "optimisers"
    question = "What are the first steps of SGD, momentum, Nesterov, Adam and others, and how far do they get?"
    keeps = ("rules", "steps", "sketch")

    loss: str = "(w - 3)^2/2"
    """the loss, as in "(w - 3)^2/2" or "(a + b)^2; b = 2\""""
    _: KW_ONLY
    start: str = "w = 1"
    """initial number of each parameter, as in "w = 1, b = 0.5\""""
    rules: tuple[Literal["sgd", "momentum", "nesterov", "adam", "adamw", "rmsprop", "adagrad"], ...] = (
        "sgd",
        "momentum",
        "nesterov",
        "adam",
    )
    """one or several of these rules, each from the same start"""
    steps: int = 3
    """number of steps, 1 to 1000"""
    lr: float = 0.1
    """learning rate λ"""
    rho: float = 0.9
    """momentum ρ, from 0 to below 1"""
    beta1: float = 0.9
    """Adam's decay of the mean of gradients"""
    beta2: float = 0.999
    """Adam's decay of the mean of their squares"""
    eps: float = 1e-8
    """Adam's ε, which keeps the divisor from being 0"""
    sketch: Path | None = None
    """PNG file for a sketch of the last step of momentum and nesterov: velocity, look-ahead point, gradient there"""

    @staticmethod
    def build(
        loss: str,
        start: Mapping[str, Operand],
        *,
        rules: Sequence[str] = ("sgd",),
        steps: int = 3,
        **options: float | Fraction,
    ) -> Worksheet:
        """The worksheet of an optimiser's steps on a function.

        >>> sheet = Optimizer.build("(w - 3)^2/2", {"w": 1}, rules=["momentum"], steps=2, lr=0.1, rho=0.9)
        >>> print(sheet.solve().answers[0].results[0][1])
        39/25

        Args:
            loss: an expression of the names in `start`, in the notation of worksheets.
            start: the initial number of each parameter.
            rules: sgd, momentum, nesterov, adam, adamw, rmsprop, adagrad: one or several, each from the same start.
            steps: 1 to 1,000.
            options: lr, and rho, beta1, beta2, eps for those rules that have them; by default those of `OPTIMISERS`.

        Raises:
            UsageError: no parameter, or a number out of its range.
            UnknownNameError: a rule or an option that does not exist.
        """
        if not start:
            raise UsageError("start={}: has no parameter; give one a number, as in w = 1.")
        if not 1 <= steps <= MAX_STEPS:
            raise UsageError(f"steps={steps}: must be from 1 to {MAX_STEPS}; choose such a number.")
        for rule in rules:
            if rule not in OPTIMISERS:
                raise UnknownNameError("rule", rule, OPTIMISERS)
        for name, option in options.items():
            if name not in _OPTIONS:
                raise UnknownNameError("option", name, _OPTIONS)
            # decays and momentum are shares; at 1 nothing would ever be forgotten
            if float(option) <= 0 if name in ("lr", "eps") else not 0 <= float(option) < 1:
                wanted = "above 0" if name in ("lr", "eps") else "from 0 to below 1"
                raise UsageError(f"{name}={float(option):g}: must be {wanted}; choose such a number.")
        # the loss is parsed as a worksheet of its own, so it may define further names after a ;
        sheet = Worksheet(f"L = {loss}")
        for name, number in start.items():
            sheet[name] = as_expr(number)
        for rule in rules:
            # an option goes to the rules that have it: rho is none of Adam's
            own = dict(OPTIMISERS[rule]) | {
                name: exact(number) for name, number in options.items() if name in OPTIMISERS[rule]
            }
            written = ", ".join(f"{name}={_decimal(number)}" for name, number in own.items())
            sheet.ask(f"{', '.join(start)} after {steps} {rule}({written}) on L")
        return sheet

    def worksheet(self) -> Worksheet:
        """The worksheet of the options."""
        options = {name: getattr(self, name) for name in _OPTIONS}
        starts = _starts(self.start)
        if self.sketch is not None:
            check_sketch(self.sketch, len(starts), self.rules)
        return self.build(self.loss, starts, rules=self.rules, steps=self.steps, **options)

    def pictures(self, solution: Solution) -> Sequence[Path]:
        """The sketch, if a file for it is named."""
        return [] if self.sketch is None else [draw_sketch(solution, self.sketch)]

    def grids(self, solution: Solution) -> Sequence[Grid]:
        """A table of each optimiser's steps."""
        return steps_tables(solution)

    def draw(self, random: Random) -> Optimizer:
        """A parabola with a whole minimum, a start beside it, and a round learning rate."""

        def draw() -> Optimizer:
            # the first gradient is not 0, and the numbers stay whole at the start
            minimum, away = (random.choice([-4, -3, -2, -1, 1, 2, 3, 4]) for _ in range(2))
            sign, size = "-" if minimum > 0 else "+", abs(minimum)
            loss = random.choice([f"(w {sign} {size})^2/2", f"(w {sign} {size})^2"])
            # small enough that plain descent does not overshoot
            lr, rho = random.choice([0.1, 0.2, 0.3]), random.choice([0.5, 0.9])
            return replace(self, loss=loss, start=f"w = {minimum + away}", lr=lr, rho=rho)

        def stays_small(solution: Solution) -> bool:
            results = (float(value) for answer in solution.answers for _, value in answer.results)
            return all(abs(value) <= _LARGEST for value in results)

        return by_hand(draw, stays_small)


def _decimal(number: Fraction) -> str:
    """A number as a decimal that a worksheet reads; a fraction that does not end is cut at 30 digits."""
    places = 0
    # decimals without an exponent, which a question reads
    while places < 30 and (number * 10**places).denominator != 1:
        places += 1
    whole = round(number * 10**places)
    text = f"{whole:0{places + 1}d}"
    return f"{text[: len(text) - places]}.{text[len(text) - places :]}" if places else text


def _starts(text: str) -> dict[str, Operand]:
    """`w = 1, b = 0.5` as a mapping."""
    starts: dict[str, Operand] = {}
    for part in (part for part in text.replace(";", ",").split(",") if part.strip()):
        name, equals, number = (word.strip() for word in part.partition("="))
        if not equals or not name.isidentifier() or name in starts:
            raise UsageError(
                f"start={part.strip()!r}: must be a name and its number, each once, as in w = 1; correct it."
            )
        values = read_vector(number, "start")
        if len(values) != 1:
            raise UsageError(f"start={part.strip()!r}: gives {name} {len(values)} numbers; give it one.")
        starts[name] = values[0]
    return starts
