# SPDX-License-Identifier: Apache-2.0
"""The figure of a sweep: the deciding measure against the swept number, a line for everything else that was tried."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from pellucid.comparison.table import COLOURS, LINES, text
from pellucid.sweeping.points import Point

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

__all__ = ["caption", "draw"]

_DECADE = 10  # a swept number that spans this factor is drawn on a logarithmic axis
_GREY = "#8a8a8a"
_LEGEND = 14  # lines at most that a legend names


def draw(points: Sequence[Point], axis: str | None, words: str) -> Figure:
    """Lines of the mean over the seeds with a band of its interval, and a dot for each seed; a row of dots without a swept number.

    Args:
        points: what `points` gives, at least one.
        axis: the swept number.
        words: the caption.
    """
    from matplotlib.figure import Figure

    lines = [*dict.fromkeys(point.line for point in points)]
    height = 4.6 if axis else 1.4 + 0.34 * len(lines)
    figure = Figure(figsize=(8.4, height + 0.5), dpi=150)
    figure.set_layout_engine("constrained", h_pad=0.08, w_pad=0.08)
    axes = figure.subplots()
    styles = _styles(points, lines)
    for place, line in enumerate(lines):
        own = [point for point in points if point.line == line]
        (_curve if axis else _dots)(axes, own, styles[line], len(lines) - 1 - place)
    measure = points[0].measure
    title = (measure.title or "measure") + (f", {measure.unit}" if measure.unit else "") + " on the test images"
    if axis:
        _number_axis(axes, sorted({float(point.place) for point in points}), axis)
        axes.set_ylabel(title, fontsize=9)
        if len(lines) <= _LEGEND:
            axes.legend(frameon=False, fontsize=8, loc="center left", bbox_to_anchor=(1.01, 0.5))
    else:
        axes.set_yticks(range(len(lines)), lines[::-1], fontsize=8)
        axes.set_xlabel(title, fontsize=9)
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(alpha=0.25, lw=0.6)
    axes.tick_params(labelsize=8)
    figure.supxlabel(_wrapped(words), fontsize=7.5, x=0.01, ha="left", color="#444444")
    return figure


def caption(points: Sequence[Point], data: str, axis: str | None) -> str:
    """What the figure shows, in words.

    Args:
        points: what `points` gives, at least one.
        data: the name of the data.
        axis: the swept number.
    """
    seeds = sorted({seed for point in points for seed in point.values})
    several = f"mean over the seeds {', '.join(map(str, seeds))}" if len(seeds) > 1 else f"seed {seeds[0]}"
    dots = " Small dots are single seeds." if len(seeds) > 1 else ""
    against = f" against {axis.replace('_', ' ')}" if axis else ""
    shade = "Bands are" if axis else "Bars are"
    rivals = " Dashed grey lines are simpler methods on the same training images." if _grey(points) and axis else ""
    return (
        f"{data}: {points[0].measure.title}{against}, {several}, on {points[0].n:,} test images. {shade} 95 % intervals over "
        f"the test images.{dots}{rivals}"
    )


def _grey(points: Sequence[Point]) -> bool:
    return any(point.baseline for point in points)


def _styles(points: Sequence[Point], lines: Sequence[str]) -> dict[str, dict[str, Any]]:
    """Colours for what was trained, shades of grey with dashes for simpler methods."""
    simple = {point.line for point in points if point.baseline}
    styles: dict[str, dict[str, Any]] = {}
    for line in lines:
        if line in simple:
            place = sum(other in simple for other in styles)
            styles[line] = {"color": _GREY, "ls": ("--", ":", "-.", (0, (6, 1.5)), (0, (1, 3)))[place % 5], "lw": 1.2}
        else:
            place = len(styles)
            styles[line] = {
                "color": COLOURS[place % len(COLOURS)],
                "ls": LINES[place // len(COLOURS) % len(LINES)],
                "lw": 1.8,
            }
    return styles


def _curve(axes: Axes, own: Sequence[Point], style: dict[str, Any], row: int) -> None:
    own = [point for point in own if math.isfinite(point.measure.value)]
    places = [float(point.place) for point in own]
    axes.plot(
        places, [point.measure.value for point in own], marker="o", ms=4, label=own[0].line if own else "", **style
    )
    if own and not own[0].baseline:
        low, high = [point.measure.low for point in own], [point.measure.high for point in own]
        axes.fill_between(places, low, high, color=style["color"], alpha=0.13, lw=0)
        for point in own:
            if len(point.values) > 1:
                seen = [*point.values.values()]
                axes.plot([float(point.place)] * len(seen), seen, "o", ms=2.2, color=style["color"], alpha=0.6)


def _dots(axes: Axes, own: Sequence[Point], style: dict[str, Any], row: int) -> None:
    for point in own:
        axes.plot([point.measure.low, point.measure.high], [row, row], color=style["color"], lw=5, alpha=0.3,
                  solid_capstyle="butt")  # fmt: skip
        axes.plot([*point.values.values()], [row] * len(point.values), "o", ms=2.5, color=style["color"], alpha=0.6)
        axes.plot(point.measure.value, row, "o", ms=5, color=style["color"])


def _number_axis(axes: Axes, places: Sequence[float], axis: str) -> None:
    """The swept values as ticks, on a logarithmic axis where they span a decade."""
    if places[0] > 0 and places[-1] / places[0] >= _DECADE:
        axes.set_xscale("log")
    axes.set_xticks(places, [text(int(place) if place.is_integer() else place) for place in places])
    axes.set_xticks([], minor=True)
    axes.set_xlabel(axis.replace("_", " "), fontsize=9)


def _wrapped(words: str) -> str:
    import textwrap

    return "\n".join(textwrap.wrap(words, 125))
