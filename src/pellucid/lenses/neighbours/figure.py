# SPDX-License-Identifier: Apache-2.0
"""The picture of neighbours: a row for each image with its nearest, and the near-duplicates in pairs below."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, final

import numpy as np
from numpy.typing import NDArray

from pellucid.lenses._codes import Coded
from pellucid.lenses._parts import Network
from pellucid.lenses._wording import clipped_start

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

__all__ = ["Pair", "figure"]

_MOST_ROWS, _MOST_NEAR, _MOST_PAIRS = 10, 8, 8  # drawn; the numbers hold all
_INCHES, _CELL = 0.92, 1.3  # the width of a cell, and its height in widths: two lines and an image
_ASKED, _PLAIN, _SAME, _OTHER, _DUPLICATE = "#222222", "#b0b0b0", "#59a14f", "#e15759", "#d01c1c"
_SHORT = {"train": "train", "val": "val", "test": "test", "given": ""}


@final
@dataclass(frozen=True)
class Pair:
    """Two near-duplicates among the searched images."""

    first: int
    second: int
    distance: float  # in feature space
    pixels: float  # mean difference, [0, 1]


def figure(
    network: Network,
    queries: Coded,
    searched: Coded,
    near: NDArray[np.int64],
    distance: NDArray[np.float64],
    pairs: list[Pair],
) -> Figure:
    """A row for each query: its nearest, with split, class and distance; below them pairs of near-duplicates."""
    from matplotlib.figure import Figure

    rows, k = min(len(queries), _MOST_ROWS), min(near.shape[1], _MOST_NEAR)
    shown = pairs[:_MOST_PAIRS]
    columns = max(k + 1, min(8, 2 * len(shown)))
    tall = rows * _CELL + bool(shown) * 0.3 - (-len(shown) // 4) * _CELL
    # all in one axes whose unit is a cell's width: an axes for each image takes seconds to draw
    drawing = Figure(figsize=(columns * _INCHES, tall * _INCHES), dpi=150)
    axes = drawing.add_axes((0, 0, 1, 1))
    for i in range(rows):
        label = int(queries.labels[i])
        title = clipped_start(str(queries.names[i]), 16) + (f"\n→ {network.label(label, 14)}" if label >= 0 else "")
        _image(axes, 0, i * _CELL, queries.thumbs[i], title, _ASKED)
        for j in range(k):
            other = int(near[i, j])
            unknown = not searched.truth or label < 0  # two answers of the model may differ without a mistake
            agreed = _PLAIN if unknown else _SAME if searched.labels[other] == label else _OTHER
            title = f"{_about(network, searched, other)}\n{distance[i, j]:.3g}"
            _image(axes, j + 1, i * _CELL, searched.thumbs[other], title, agreed)
    if shown:
        across = "across splits" if len(np.unique(searched.splits)) > 1 else "among them"
        axes.text(0.04, rows * _CELL + 0.28, f"near-duplicates {across}, with their distance and mean difference of pixels",
                  fontsize=7, va="bottom")  # fmt: skip
    for place, pair in enumerate(shown):
        row, column = divmod(2 * place, 8)
        y = rows * _CELL + 0.3 + row * _CELL
        lines = f"{pair.distance:.2g}, {100 * pair.pixels:.1f} %", clipped_start(str(searched.names[pair.second]), 16)
        for x, other, line in zip((column, column + 1), (pair.first, pair.second), lines, strict=True):
            _image(axes, x, y, searched.thumbs[other], f"{_about(network, searched, other)}\n{line}", _DUPLICATE)
    axes.set(xlim=(0, columns), ylim=(tall, 0))
    axes.set_axis_off()
    return drawing


def _image(axes: Axes, x: float, y: float, thumb: NDArray[np.uint8], title: str, colour: str) -> None:
    """An image in its cell, with two lines above it."""
    from matplotlib.patches import Rectangle

    left, right, top, bottom = x + 0.04, x + 0.96, y + _CELL - 0.96, y + _CELL - 0.04
    axes.imshow(thumb if thumb.shape[2] == 3 else thumb[:, :, 0], cmap="gray", vmin=0, vmax=255, aspect="auto",
                interpolation="nearest" if len(thumb) <= 64 else None, extent=(left, right, bottom, top))  # fmt: skip
    axes.add_patch(Rectangle((left, top), right - left, bottom - top, fill=False, edgecolor=colour, lw=1.4))
    axes.text((left + right) / 2, top - 0.03, title, fontsize=5.5, ha="center", va="bottom", parse_math=False,
              linespacing=1.1)  # fmt: skip


def _about(network: Network, searched: Coded, place: int) -> str:
    """A searched image's split and class, or its name."""
    label = int(searched.labels[place])
    words = [_SHORT.get(str(searched.splits[place]), ""), network.label(label, 14) if label >= 0 else ""]
    return " ".join(filter(None, words)) or clipped_start(str(searched.names[place]), 16)
