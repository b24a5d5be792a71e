# SPDX-License-Identifier: Apache-2.0
"""The pictures in the page on segment: how touching objects are parted, and answers of a run.

python docs/segment_pictures.py [RUN]
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.figure import Figure

PICTURES = Path(__file__).parent / "pictures"
_SIZE = (44, 84)  # px of the image with the two discs
_DISCS = ((22, 27, 18), (22, 58, 15))  # row, column, radius


def objects() -> Figure:
    """Two discs that overlap: the mask, the distance to its border with its maxima, and the parts."""
    from scipy.ndimage import distance_transform_edt

    from pellucid.tasks.segment.objects import parted

    rows, columns = np.mgrid[: _SIZE[0], : _SIZE[1]]
    region = np.zeros(_SIZE, bool)
    for y, x, radius in _DISCS:
        region |= np.hypot(rows - y, columns - x) <= radius
    distance = distance_transform_edt(region)
    parts = parted(region, region.astype(float))
    figure = Figure(figsize=(10, 2.2), dpi=150, layout="constrained")
    first, second, third = figure.subplots(1, 3)
    first.imshow(region, cmap="gray_r", vmax=2, interpolation="nearest")
    first.set_title("pixels of one class", fontsize=10)
    shown = second.imshow(np.where(region, distance, np.nan), cmap="viridis", interpolation="nearest")
    second.set_title("distance to the border, px", fontsize=10)
    figure.colorbar(shown, ax=second, shrink=0.85)
    neck = _neck(second, distance)
    third.imshow(np.where(parts > 0, parts, np.nan), cmap="Set2", vmin=1, vmax=8, interpolation="nearest")
    third.set_title(f"parted: {neck:.2f} of the narrower one's width", fontsize=10)
    for axes in (first, second, third):
        axes.set(xticks=[], yticks=[])
    return figure


def _neck(axes: Any, distance: Any) -> float:
    """Draw the line between the two maxima with its lowest point; the neck's width over the narrower disc's."""
    (y, one, _), (_, other, _) = _DISCS
    ends = [distance[y, one], distance[y, other]]
    between = distance[y, one : other + 1]
    lowest = int(between.argmin())
    axes.plot([one, other], [y, y], color="white", lw=0.8)
    for x, value in ((one, ends[0]), (other, ends[1]), (one + lowest, between[lowest])):
        axes.plot(x, y, "o", color="white", ms=3)
        axes.annotate(
            f"{value:.1f}", (x, y), (0, 5), textcoords="offset points", color="white", fontsize=7, ha="center"
        )
    return float(between[lowest] / min(ends))


def answers(folder: str) -> Figure:
    """Four test images of a run, evenly spread, with truth and answer."""
    import torch

    import pellucid
    from pellucid._spread import evenly_spread
    from pellucid.inference import examples

    run = pellucid.load(folder)
    test = run.data()["test"]
    [(input, answer, truth, names)] = examples(run, test, evenly_spread(4, len(test)), torch.device("cpu"))
    figure: Figure = run.task.draw(input, answer, truth, names, run.classes)
    return figure


if __name__ == "__main__":
    objects().savefig(PICTURES / "segment_objects.png", facecolor="white")
    if len(sys.argv) > 1:
        answers(sys.argv[1]).savefig(PICTURES / "segment.png", facecolor="white")
