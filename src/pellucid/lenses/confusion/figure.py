# SPDX-License-Identifier: Apache-2.0
"""The picture of a confusion matrix in shares and counts, with images of the most confused pairs beside it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, final

import numpy as np
from numpy.typing import NDArray

from pellucid.lenses._wording import clipped, percent

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure, SubFigure

__all__ = ["Row", "figure", "room", "short"]

_MOST_LABELS, _LONGEST = 100, 24  # class names along an axis, and letters in one
_MOST_FIGURES, _MOST_LINES = 40, 16  # classes up to which a cell shows one number, and two
_CELL, _LABEL, _GAP = 0.56, 1.35, 0.14  # inches: an image, the text of a row, between two pairs


@final
@dataclass(frozen=True)
class Row:
    """Images of one class that were predicted as another."""

    true: str
    predicted: str
    count: str  # with its share, in words
    images: Sequence[NDArray[np.float32]]  # each (H, W) or (H, W, 3) in [0, 1]
    begins: bool  # the first row of a pair; the next one may hold its other direction


def figure(
    matrix: NDArray[np.int64], shares: NDArray[np.float64], names: Sequence[str], written: str, rows: Sequence[Row]
) -> Figure:
    """The matrix, the figure's first axes with cells of one unit, and the rows of images to its right.

    Args:
        matrix: (K, K) counts, in the order in which they are drawn.
        shares: (K, K) of the rows.
        names: (K,) of the classes.
        written: what a cell shows: "both", "counts", "shares" or "none".
        rows: of images; without any the matrix stands alone.
    """
    from matplotlib.figure import Figure

    side = side_of(len(names))
    most = max((len(row.images) for row in rows), default=0)
    wide = _LABEL + most * _CELL + 0.1 if rows else 0.0
    high = sum(_CELL + _GAP * row.begins for row in rows) + 0.45
    tall = max(side, high) if rows else side
    drawing = Figure(figsize=(side + (0.3 if rows else 0.6) + wide, tall), dpi=130, layout="constrained")
    if not rows:
        _matrix(drawing, matrix, shares, names, written)
        return drawing
    parts: Any = drawing.subfigures(1, 2, width_ratios=[side + 0.3, wide])
    _matrix(parts[0], matrix, shares, names, written)
    _rows(parts[1].add_axes((0, 0, 1, 1)), rows, wide, tall, high)
    return drawing


def _matrix(
    drawing: Figure | SubFigure,
    matrix: NDArray[np.int64],
    shares: NDArray[np.float64],
    names: Sequence[str],
    written: str,
) -> None:
    n = len(names)
    every = -(-n // _MOST_LABELS)
    shown = [clipped(name, _LONGEST) for name in names[::every]]
    axes = drawing.subplots()
    # by the square root one wrong image in a hundred shows beside the diagonal
    picture = axes.imshow(np.sqrt(shares), cmap="Blues", vmin=0, vmax=1)
    style: dict[str, Any] = {"fontsize": 8 if n <= 40 else 5, "parse_math": False}
    long = max(map(len, shown), default=0) > 3
    axes.set_xticks(range(0, n, every), shown, rotation=90 if long else 0, **style)
    axes.set_yticks(range(0, n, every), shown, **style)
    axes.set(xlabel="predicted", ylabel="true")
    if written != "none" and n <= _MOST_FIGURES:
        for i, j in np.argwhere(matrix):
            colour = "white" if shares[i, j] > 0.24 else "0.15" if i == j else "#8f1d10"
            parts = [short(int(matrix[i, j]))] if written != "shares" else []
            if written == "shares" or (written == "both" and n <= _MOST_LINES):
                parts.append(percent(shares[i, j], bare=n > _MOST_LINES))
            size = 7 if n <= 12 else 5 if len(parts) > 1 else 6
            axes.text(j, i, "\n".join(parts), ha="center", va="center", fontsize=size, color=colour, linespacing=1.05)
    bar = drawing.colorbar(picture, ax=axes, shrink=0.7, ticks=np.sqrt([0, 0.01, 0.05, 0.2, 0.5, 1]))
    bar.ax.set_yticklabels(["0", "1 %", "5 %", "20 %", "50 %", "100 %"], fontsize=7)
    bar.set_label("share of the true class", fontsize=8)


def _rows(axes: Axes, rows: Sequence[Row], wide: float, tall: float, high: float) -> None:
    """All in one axes whose unit is an inch: an axes for each image takes seconds to draw."""
    from matplotlib.patches import Rectangle

    y = max(0.1, (tall - high) / 2)
    axes.text(_LABEL, y + 0.1, "most confused", fontsize=8, va="bottom", ha="left", color="0.3")
    y += 0.15
    for row in rows:
        y += _GAP * row.begins
        direction = f"{clipped(row.true, 18)} → {clipped(row.predicted, 18)}"
        if len(direction) > 22:
            direction = f"{clipped(row.true, 18)} →\n{clipped(row.predicted, 18)}"
        axes.text(_LABEL - 0.1, y + _CELL / 2, f"{direction}\n{row.count}", fontsize=6.5, va="center", ha="right",
                  parse_math=False, linespacing=1.25)  # fmt: skip
        for place, image in enumerate(row.images):
            x, inside = _LABEL + place * _CELL, _CELL - 0.05
            high_px, wide_px = image.shape[:2]
            scale = inside / max(high_px, wide_px)
            left, top = x + (inside - wide_px * scale) / 2, y + (inside - high_px * scale) / 2
            extent = (left, left + wide_px * scale, top + high_px * scale, top)
            axes.imshow(image, cmap="gray", vmin=0, vmax=1, extent=extent, aspect="auto",
                        interpolation="nearest" if max(high_px, wide_px) <= 64 else None)  # fmt: skip
            axes.add_patch(
                Rectangle((left, top), wide_px * scale, high_px * scale, fill=False, edgecolor="0.6", lw=0.5)
            )
        y += _CELL
    axes.set(xlim=(0, wide), ylim=(tall, 0))
    axes.set_axis_off()


def side_of(classes: int) -> float:
    """The height of the matrix, inches."""
    return min(11.0, 1.9 + 0.42 * classes)


def room(classes: int) -> int:
    """How many pairs fit beside the matrix, each in both directions.

    >>> room(2), room(10), room(36)
    (4, 4, 8)
    """
    return max(4, int((side_of(classes) - 0.45) / (2 * _CELL + _GAP)))


def short(count: int) -> str:
    """A count in at most five characters.

    >>> [short(n) for n in (0, 1234, 12_345, 1_234_567, 250_000_000)]
    ['0', '1,234', '12k', '1.2M', '250M']
    """
    if count < 10_000:
        return f"{count:,}"
    if count < 1_000_000:
        return f"{count / 1000:.0f}k"
    return f"{count / 1e6:.1f}M" if count < 10_000_000 else f"{count / 1e6:.0f}M"
