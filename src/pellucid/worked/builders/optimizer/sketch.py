# SPDX-License-Identifier: Apache-2.0
"""A picture of a step: where the velocity leads, the gradient at the point where it is taken, and the sum of both."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any, Final, Self, final

import numpy as np
from numpy.typing import NDArray

from pellucid.errors import UsageError
from pellucid.files import check_file, write_atomically
from pellucid.worked.builders.optimizer.table import Steps
from pellucid.worked.expressions.expression import Name, Partial, Value
from pellucid.worked.expressions.numeric import numpy_value
from pellucid.worked.notation.questions import Question
from pellucid.worked.showing.lines import Answer
from pellucid.worked.worksheet.solution import Solution

__all__ = ["Step", "check_sketch", "draw_sketch", "last_steps"]

_RULES: Final = ("momentum", "nesterov")
_BLUE, _ORANGE, _BLACK, _GREY = "#2a6fbb", "#d1701f", "#222222", "#999999"

Points = NDArray[np.float64]


def check_sketch(path: Path, parameters: int, rules: tuple[str, ...]) -> None:
    """Refuse a sketch that cannot be drawn, before anything is worked out.

    Raises:
        UsageError: another ending than .png, more than two parameters, or no rule with a velocity.
    """
    if path.suffix.lower() != ".png":
        raise UsageError(f"sketch={str(path)!r}: is a picture; end the name with .png.")
    if parameters > 2:
        raise UsageError(
            f"sketch={str(path)!r}: shows one or two parameters, and there are {parameters}; leave it out."
        )
    if not set(rules) & {*_RULES}:
        raise UsageError(f"sketch={str(path)!r}: shows the velocity of momentum or nesterov; put one into --rules.")
    check_file(path)


def draw_sketch(solution: Solution, path: Path) -> Path:
    """Write a PNG of the last step of momentum and of Nesterov's, as far as the solution has them.

    Args:
        solution: of a worksheet of one or two parameters.
        path: the PNG file.
    """
    from matplotlib.figure import Figure

    chosen = last_steps(solution)
    figure = Figure(figsize=(5.6 * len(chosen), 5.0), layout="constrained", dpi=130)
    panels = figure.subplots(1, len(chosen), squeeze=False)[0]
    for axes, step in zip(panels, chosen, strict=True):
        (_on_a_line if len(step.names) == 1 else _on_a_plane)(axes, solution, step)
        axes.set_title(f"{step.rule}, step {step.number}", fontsize=10)
        axes.spines[["top", "right"]].set_visible(False)
        axes.legend(frameon=False, fontsize=8, loc="upper center", bbox_to_anchor=(0.5, -0.14), ncols=3)
    with write_atomically(path) as draft:
        figure.savefig(draft, format="png")
    return path


def last_steps(solution: Solution) -> list[Step]:
    """The last step of momentum and of Nesterov's in a solution."""
    pairs = zip(solution.questions, solution.answers, strict=True)
    return [Step.last(solution, question, answer) for question, answer in pairs if question.rule in _RULES]


@final
@dataclass(frozen=True)
class Step:
    """One step as points and vectors, (parameters,) each."""

    rule: str
    number: int
    of: str
    names: Sequence[str]
    before: Points
    carried: Points  # ρ·v, with the velocity before the step
    where: Points  # the gradient is taken here
    slope: Points
    after: Points

    @classmethod
    def last(cls, solution: Solution, question: Question, answer: Answer) -> Self:
        """The last step in an answer."""
        steps = Steps.of(solution, question, answer)
        names, row = steps.names, steps.rows[-1]

        def of(values: Sequence[Value]) -> Points:
            return np.array([float(value) for value in values])

        earlier = steps.rows[-2] if len(steps.rows) > 1 else None
        options = dict(question.options)
        velocity = of(
            [options.get("v", Fraction(0))] * len(names) if earlier is None else [earlier[v] for v in steps.state]
        )
        before = of([steps.start[name] if earlier is None else earlier[Name(name)] for name in names])
        carried = float(options["rho"]) * velocity
        where = before + carried if question.rule == "nesterov" else before
        slope = of([row[Partial(question.of, name)] for name in names])
        after = of([row[Name(name)] for name in names])
        return cls(question.rule, len(steps.rows), question.of, names, before, carried, where, slope, after)

    @property
    def point(self) -> str:
        """Where the gradient is taken, in words."""
        return "look-ahead point" if self.rule == "nesterov" else "w"


def _loss(solution: Solution, step: Step, *places: Points) -> Points:
    """The loss at other numbers of the parameters, which may be arrays of any shape."""
    numbers: dict[str, Any] = dict(zip(step.names, places, strict=True))
    for name in solution.numbers.order:
        if name not in numbers:
            numbers[name] = numpy_value(solution.numbers.equations[name].right, numbers)
    found: Points = numbers[step.of] + np.zeros_like(places[0])
    return found


def _on_a_line(axes: Any, solution: Solution, step: Step) -> None:
    """The loss over the parameter, the tangent where the gradient is taken, and the step as arrows below it."""
    before, ahead, after, where = (
        float(p[0]) for p in (step.before, step.before + step.carried, step.after, step.where)
    )
    low, high = min(before, ahead, after), max(before, ahead, after)
    reach = high - low or 1.0
    x = np.linspace(low - 0.9 * reach, high + 0.9 * reach, 400)
    y = _loss(solution, step, x)
    axes.plot(x, y, color=_BLACK, lw=1.6, label=step.of)
    height = float(_loss(solution, step, np.array([where]))[0])
    span = np.array([where - reach, where + reach])
    tangent = f"gradient at the {step.point}" if step.rule == "nesterov" else "gradient at w"
    axes.plot(span, height + float(step.slope[0]) * (span - where), color=_ORANGE, lw=1.4, ls="--", label=tangent)
    axes.plot([where], [height], "o", color=_ORANGE, ms=6)
    axes.plot([before], _loss(solution, step, np.array([before])), "o", color=_GREY, ms=6, label="before")
    axes.plot([after], _loss(solution, step, np.array([after])), "o", color=_BLACK, ms=6, label="after")
    low, high = float(np.nanmin(y)), float(np.nanmax(y))
    rows = [low - share * (high - low) for share in (0.12, 0.24, 0.36)]
    _arrow(axes, (before, rows[0]), (ahead, rows[0]), _BLUE, "velocity ρ·v")
    _arrow(axes, (ahead, rows[1]), (after, rows[1]), _ORANGE, "−λ·gradient")
    _arrow(axes, (before, rows[2]), (after, rows[2]), _BLACK, "the step")
    axes.set(xlabel=step.names[0], ylabel=step.of, ylim=(low - 0.46 * (high - low), high))


def _on_a_plane(axes: Any, solution: Solution, step: Step) -> None:
    """Contours of the loss, with the step as arrows."""
    ahead = step.before + step.carried
    marks = np.stack([step.before, ahead, step.after])
    middle, reach = (marks.min(0) + marks.max(0)) / 2, float((marks.max(0) - marks.min(0)).max()) or 1.0
    ranges = [np.linspace(m - 1.2 * reach, m + 1.2 * reach, 120) for m in middle]
    across, up = np.meshgrid(*ranges)
    axes.contour(across, up, _loss(solution, step, across, up), levels=14, colors=_GREY, linewidths=0.7)
    _arrow(axes, step.before, ahead, _BLUE, "velocity ρ·v")
    _arrow(axes, ahead, step.after, _ORANGE, "−λ·gradient")
    _arrow(axes, step.before, step.after, _BLACK, "the step")
    label = f"gradient at the {step.point}" if step.rule == "nesterov" else "gradient at w"
    axes.plot(*step.where, "o", color=_ORANGE, ms=6, ls="", label=label)
    axes.plot(*step.before, "o", color=_GREY, ms=6, ls="", label="before")
    axes.plot(*step.after, "o", color=_BLACK, ms=6, ls="", label="after")
    axes.set(xlabel=step.names[0], ylabel=step.names[1], aspect="equal")


def _arrow(axes: Any, start: Any, end: Any, colour: str, label: str) -> None:
    """An arrow with an entry in the legend; one without a length is left out."""
    if np.allclose(start, end, atol=1e-12):
        return
    look = {"arrowstyle": "-|>", "color": colour, "lw": 1.8, "shrinkA": 0, "shrinkB": 0}
    axes.annotate("", xy=tuple(end), xytext=tuple(start), arrowprops=look)
    axes.plot([], [], color=colour, lw=1.8, label=label)
