# SPDX-License-Identifier: Apache-2.0
"""Points drawn: on an image at its own size, and for a report the true points beside the answer."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from pellucid.tasks._figures import show
from pellucid.tasks.landmarks.metrics import columns, error, nme
from pellucid.tasks.landmarks.normalisers import Normaliser, title
from pellucid.tasks.landmarks.places import Placed

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

__all__ = ["drawn", "figure"]

_OURS, _TRUE = "#ff2d55", "#34c759"
_FINE = 4  # the canvas of a drawing is this many times as fine, so that lines are smooth


def drawn(image: NDArray[np.uint8], points: NDArray[np.float32], lines: Sequence[tuple[int, int]]) -> NDArray[np.uint8]:
    """An image (3, H, W) with the points (K, 2) of its answer, which are in its px, and the lines that join them."""
    from PIL import Image, ImageDraw

    height, width = image.shape[1:]
    canvas = Image.fromarray(np.ascontiguousarray(image.transpose(1, 2, 0)))
    seen = points[~np.isnan(points).any(1)]
    extent = float(np.ptp(seen, 0).max()) if len(seen) else 0.0
    radius = max(0.8, min(extent, max(height, width)) / 90)  # px
    left, top = np.floor(seen.min(0) - 4 * radius) if len(seen) else (0, 0)
    right, low = np.ceil(seen.max(0) + 4 * radius) if len(seen) else (0, 0)
    x0, y0, x1, y1 = max(0, int(left)), max(0, int(top)), min(width, int(right)), min(height, int(low))
    if x0 >= x1 or y0 >= y1:  # nothing of it is in the image
        return image
    fine = Image.new("RGBA", ((x1 - x0) * _FINE, (y1 - y0) * _FINE), f"{_OURS}00")
    pen = ImageDraw.Draw(fine)
    places = (points - (x0, y0)) * _FINE
    for one, other in lines:
        if not np.isnan(places[[one, other]]).any():
            pen.line(
                [tuple(places[one]), tuple(places[other])], fill="#ffcc00", width=max(1, round(0.7 * radius * _FINE))
            )
    for x, y in places[~np.isnan(places).any(1)].tolist():
        r = radius * _FINE
        pen.ellipse((x - r, y - r, x + r, y + r), fill=_OURS)
    over = fine.resize((x1 - x0, y1 - y0), Image.Resampling.BOX)
    canvas.paste(over, (x0, y0), over)
    return np.ascontiguousarray(np.asarray(canvas).transpose(2, 0, 1))


def figure(
    input: Tensor,
    answer: Placed,
    truth: Placed | None,
    names: Sequence[str],
    by: Normaliser,
    lines: Sequence[tuple[int, int]],
) -> Figure:
    """One cell per image: the answer's points in red, with a line to each true point, which is green."""
    from matplotlib.figure import Figure

    many = min(4, len(names))
    rows = -(-len(names) // many)
    shape = input.shape[2] / input.shape[3]
    drawing = Figure(figsize=(2.0 * many, (2.0 * min(1.6, shape) + 0.3) * rows), dpi=150, layout="constrained")
    grid = drawing.subplots(rows, many, squeeze=False)
    for axes in grid.flat:
        axes.set_axis_off()
    answer = answer.to("cpu")
    records = None if truth is None else columns(answer, truth.to("cpu"), [by])
    for i, axes in enumerate(grid.flat[: len(names)]):
        show(axes, input[i])
        axes.set(xlim=(-0.5, input.shape[3] - 0.5), ylim=(input.shape[2] - 0.5, -0.5))
        _points(axes, answer.xy[i].numpy(), None if truth is None else truth.to("cpu").xy[i].numpy(), lines)
        axes.set_axis_on()
        if records is not None:
            share, px = nme(records, by)[i], error(records)[i]
            words = f"{share:.1f} % of the {title(by)}" if np.isfinite(share) else f"{px:.1f} px"
            axes.set_xlabel(words, fontsize=5.2, color="0.3", labelpad=2)
    return drawing


def _points(
    axes: Axes, ours: NDArray[np.float32], theirs: NDArray[np.float32] | None, lines: Sequence[tuple[int, int]]
) -> None:
    from matplotlib.collections import LineCollection

    ours = ours - 0.5  # matplotlib's pixel j covers [j − ½, j + ½)
    size = 5.0 if len(ours) <= 10 else 2.2
    if theirs is None:
        known = [ours[[a, b]] for a, b in lines if not np.isnan(ours[[a, b]]).any()]
        axes.add_collection(LineCollection(known, colors="#ffcc00", linewidths=0.7))
    else:
        theirs = theirs - 0.5
        gaps = np.stack([ours, theirs], 1)  # (K, 2, 2)
        gaps = gaps[~np.isnan(gaps).any((1, 2))]
        axes.add_collection(LineCollection(list(gaps), colors="white", linewidths=0.8))
        axes.scatter(theirs[:, 0], theirs[:, 1], s=size, color=_TRUE, linewidths=0)
    axes.scatter(ours[:, 0], ours[:, 1], s=size, color=_OURS, linewidths=0)
