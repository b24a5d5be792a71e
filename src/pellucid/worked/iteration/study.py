# SPDX-License-Identifier: Apache-2.0
"""The study of an iterated function, as a page of text and as a cobweb plot."""

from __future__ import annotations

import html
import textwrap
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from pellucid.files import write_atomically
from pellucid.worked.iteration.basins import Basin
from pellucid.worked.iteration.escape import Escape
from pellucid.worked.iteration.function import Function, number_text
from pellucid.worked.iteration.points import Cycle, FixedPoint

__all__ = ["Study", "draw", "page"]

_COLOURS = ("#2a6fbb", "#d1701f", "#3a8f4d", "#8c4fa8", "#b03a48", "#6b6b2a")


@dataclass(frozen=True)
class Study:
    """The results for a function applied n times; printed, it is a page of text.

    Args:
        function: the function.
        times: n.
        fixed: its isolated fixed points.
        cycles: its attracting cycles.
        basins: the intervals of starting points with one limit, in order.
        exceptions: points with another limit than their neighbours, with a remark.
        escapes: how near to a repelling point a start may be to escape.
        all_fixed: intervals of fixed points.
    """

    function: Function
    times: int
    fixed: tuple[FixedPoint, ...]
    cycles: tuple[Cycle, ...]
    basins: tuple[Basin, ...]
    exceptions: tuple[tuple[float, str], ...]
    escapes: tuple[Escape, ...]
    all_fixed: tuple[tuple[float, float], ...] = ()

    def _repr_html_(self) -> str:
        return f"<pre>{html.escape(page(self))}</pre>"

    def __str__(self) -> str:
        return page(self)

    def draw(self, path: Path | str, starts: list[float] | None = None) -> Path:
        """Write the cobweb as a PNG."""
        return draw(self, Path(path), starts)


def page(study: Study, width: int = 80) -> str:
    """The study as lines of text, at most `width` columns wide.

    >>> from pellucid.worked.iteration.iteration import study
    >>> print(page(study("x/2 + 1", 10)).splitlines()[3])
      x = 2   slope 0.5, |slope| < 1: attracts
    """
    f = study.function
    lines = [f"f({f.variable}) = {f.text}, applied {study.times:,} times", "", "fixed points, f(x) = x"]
    lines += [f"  {_point(point)}" for point in study.fixed]
    lines += [f"  every x from {number_text(low)} to {number_text(high)}" for low, high in study.all_fixed]
    if not study.fixed and not study.all_fixed:
        lines.append("  none between −10⁹ and 10⁹")
    lines += ["", "attracting cycles"]
    for cycle in study.cycles:
        words = " → ".join(number_text(p) for p in cycle.points[:8]) + (" → …" if len(cycle.points) > 8 else "")
        lines.append(
            f"  period {len(cycle.points)}: {words}   slope of the round trip {number_text(cycle.multiplier)}, |slope| < 1"
        )
    if not study.cycles:
        lines.append("  none with at most 64 points")
    lines += ["", f"every x, and f applied {study.times:,} times"]
    rows = [(_interval(basin), basin.limit, _after(basin)) for basin in study.basins]
    wide = [max(len(row[k]) for row in rows) for k in range(2)]
    lines += [f"  {a:{wide[0]}}  {b:{wide[1]}}  {c}".rstrip() for a, b, c in rows]
    if study.exceptions:
        lines += ["", "exceptions: single points with another limit, and all points that lead to them"]
        lines += [f"  x = {number_text(x)} {words}" for x, words in study.exceptions]
    if study.escapes:
        lines += ["", f"escape: how near to a repelling point a start may be to get away in {study.times:,} steps"]
        for escape in study.escapes:
            where = f"{'above' if escape.side > 0 else 'below'} {number_text(float(escape.x))}"
            float64 = "at no distance" if escape.float64 is None else f"from a distance of {escape.float64:.2g}"
            exact = f"in exact arithmetic from a distance of {escape.exact:.1e}"
            lines += [f"  {where}: {exact};", f"    in float64, with the formula as written, {float64}"]
    return "\n".join(piece for line in lines for piece in _wrapped(line, width))


def _wrapped(line: str, width: int) -> list[str]:
    """A line in so many columns; what goes on is set further in."""
    inside = len(line) - len(line.lstrip())
    return textwrap.wrap(line, width, subsequent_indent=" " * (inside + 4), break_long_words=False) or [line]


def _point(point: FixedPoint) -> str:
    left, right = float(point.left), float(point.right)
    if abs(left - right) <= 1e-9 * max(1.0, abs(left)):
        size = abs(right)
        near_one = abs(size - 1) < 1e-12  # the slope does not decide there
        why = "|slope| = 1, decided step by step" if near_one else f"|slope| {'<' if size < 1 else '>'} 1"
        slopes = f"slope {number_text(round(right, 12) + 0.0)}, {why}"
    else:
        sides = [
            "no value" if np.isnan(side) else f"slope {number_text(round(side, 12) + 0.0)}" for side in (left, right)
        ]
        slopes = f"{sides[0]} on the left, {sides[1].removeprefix('slope ')} on the right"
    if point.jump and not np.isnan(left + right):
        slopes += f", f jumps {point.jump}"
    return f"x = {number_text(float(point.x))}   {slopes}: {point.stability}"


def _interval(basin: Basin) -> str:
    low, high = (number_text(0.0 if abs(end) < 1e-300 else float(f"{end:.12g}")) for end in (basin.low, basin.high))
    signs = ["≤" if closed else "<" for closed in basin.closed]
    return f"{low} {signs[0]} x {signs[1]} {high}" if np.isfinite([basin.low, basin.high]).any() else "every x"


def _after(basin: Basin) -> str:
    low, high = basin.after
    if np.isnan(low) or not np.isfinite([low, high]).all():
        return ""
    least, most = number_text(low), number_text(high)
    return f"now at {least}" if least == most else f"now between {least} and {most}"


def draw(study: Study, path: Path, starts: list[float] | None = None) -> Path:
    """Write the cobweb plot as a PNG: the function, the diagonal, the steps from some starts, the fixed points.

    Args:
        study: the results to draw.
        path: the PNG file.
        starts: where the steps begin; by default one in each of the first basins, near its end.
    """
    from matplotlib.figure import Figure

    f = study.function
    # the range shows every fixed point, cycle, near edge of a basin and start, with a margin
    marks = [float(point.x) for point in study.fixed] + [p for cycle in study.cycles for p in cycle.points]
    marks += [
        edge for basin in study.basins for edge in (basin.low, basin.high) if np.isfinite(edge) and abs(edge) < 1e3
    ]
    marks += starts or []
    low, high = (min(marks), max(marks)) if marks else (-1.0, 1.0)
    margin = 0.35 * (high - low) or 1.0
    low, high = low - margin, high + margin
    chosen = starts or _starts(study, low, high)
    figure = Figure(figsize=(6.4, 6.4), layout="constrained", dpi=130)
    axes = figure.subplots()
    x = np.linspace(low, high, 2001)
    y = f.values(x)
    y[1:][np.abs(np.diff(y)) > 0.25 * (high - low)] = np.nan  # no line across a jump
    axes.plot(x, x, color="#999999", lw=1, label=f"y = {f.variable}")
    axes.plot(x, y, color="black", lw=1.8, label=f"f({f.variable})")
    for number, start in enumerate(chosen):
        # vertically to the curve, (x, f(x)), then horizontally to the diagonal, (f(x), f(x))
        across, up, at = [start], [start], start
        for _ in range(min(study.times, 60)):
            value = float(f.values(np.array([at]))[0])
            if not np.isfinite(value) or abs(value) > 10 * (abs(low) + abs(high)):
                break
            across += [at, value]
            up += [value, value]
            at = value
        colour = _COLOURS[number % len(_COLOURS)]
        axes.plot(across, up, color=colour, lw=1, alpha=0.85)
        axes.plot([start], [start], "o", ms=4, color=colour, label=f"from {start:.3g}".replace("-", "−"))
    for point in study.fixed:
        filled = point.stability.startswith("attracts")
        axes.plot(
            [float(point.x)], [float(point.x)], "o", ms=8, mec="black", mfc="black" if filled else "white", zorder=5
        )
    axes.plot([], [], "o", ms=8, mec="black", mfc="black", ls="", label="attracts")
    axes.plot([], [], "o", ms=8, mec="black", mfc="white", ls="", label="repels")
    axes.set(xlim=(low, high), ylim=(low, high), xlabel=f.variable, ylabel=f"f({f.variable})", aspect="equal")
    axes.set_title(f.text if len(f.text) < 70 else f.text[:67] + "…", fontsize=9)
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(frameon=False, fontsize=8, loc="upper left")
    with write_atomically(path) as draft:
        figure.savefig(draft)
    return path


def _starts(study: Study, low: float, high: float) -> list[float]:
    """One start in each of the first six basins, near the end closer to 0, where there are most steps to see."""
    starts = []
    for basin in study.basins:
        a, b = max(basin.low, low), min(basin.high, high)
        if a < b:
            near_low = basin.high > high or abs(a) < abs(b)
            starts.append(a + (0.08 if near_low else 0.92) * (b - a))
    return starts[:6]
