# SPDX-License-Identifier: Apache-2.0
"""The picture of a confusion: the matrix in shares and counts, and beside it images of the pairs that are most confused."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, final

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure, SubFigure

__all__ = ["Row", "figure", "percent", "room", "short"]

_MOST_LABELS, _LONGEST = 100, 24  # class names along an axis, and letters of one
_MOST_FIGURES, _MOST_LINES = 40, 16  # classes up to which a cell holds a figure, and two of them
_CELL, _LABEL, _GAP = 0.56, 1.35, 0.14  # inches: an image, what is said of a row, between two pairs


@final
@dataclass(frozen=True)
class Row:
    """Images of one class that were taken for another."""

    true: str
    predicted: str
    count: str  # with its share, in words
    images: Sequence[NDArray[np.float32]]  # each (H, W) or (H, W, 3) in [0, 1]
    begins: bool  # a pair begins here; the next row may hold its other direction


def figure(
    matrix: NDArray[np.int64], shares: NDArray[np.float64], names: Sequence[str], written: str, rows: Sequence[Row]
) -> Figure:
    """The matrix, which is the figure's first axes with a cell a unit, and the rows of images at its right.

    Args:
        matrix: (K, K) counts, in the order in which they are drawn.
        shares: (K, K) of the rows.
        names: (K,) of the classes.
        written: what stands in a cell: "both", "counts", "shares" or "none".
        rows: of images; none leaves the matrix alone.
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
    shown = [name if len(name) <= _LONGEST else f"{name[: _LONGEST - 1]}…" for name in names[::every]]
    axes = drawing.subplots()
    # a root makes one wrong image in a hundred visible beside the diagonal
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
    """All in one pair of axes, of which an inch is a unit: an axes for each image takes seconds."""
    from matplotlib.patches import Rectangle

    y = max(0.1, (tall - high) / 2)
    axes.text(_LABEL, y + 0.1, "most confused", fontsize=8, va="bottom", ha="left", color="0.3")
    y += 0.15
    for row in rows:
        y += _GAP * row.begins
        said = f"{_clip(row.true)} → {_clip(row.predicted)}"
        if len(said) > 22:
            said = f"{_clip(row.true)} →\n{_clip(row.predicted)}"
        axes.text(_LABEL - 0.1, y + _CELL / 2, f"{said}\n{row.count}", fontsize=6.5, va="center", ha="right",
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
    """How many pairs find room beside the matrix, each with both of its directions.

    >>> room(2), room(10), room(36)
    (4, 4, 8)
    """
    return max(4, int((side_of(classes) - 0.45) / (2 * _CELL + _GAP)))


def short(count: int) -> str:
    """A count in at most five letters.

    >>> [short(n) for n in (0, 1234, 12_345, 1_234_567, 250_000_000)]
    ['0', '1,234', '12k', '1.2M', '250M']
    """
    if count < 10_000:
        return f"{count:,}"
    if count < 1_000_000:
        return f"{count / 1000:.0f}k"
    return f"{count / 1e6:.1f}M" if count < 10_000_000 else f"{count / 1e6:.0f}M"


def percent(share: float, bare: bool = False) -> str:
    """A share in per cent.

    >>> percent(0.083), percent(0.5), percent(0.0004), percent(1.0, bare=True)
    ('8.3 %', '50 %', '<0.1 %', '100')
    """
    value = 100 * share
    told = f"{value:.0f}" if value >= 9.95 else f"{value:.1f}" if value >= 0.05 else "<0.1"
    return told if bare else f"{told} %"


def _clip(name: str) -> str:
    return name if len(name) <= 18 else f"{name[:17]}…"
