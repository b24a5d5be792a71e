# SPDX-License-Identifier: Apache-2.0
"""Boxes drawn on images, for a report: the true ones dashed, the detections beside them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from torch import Tensor

from pellucid.data.targets import Boxes
from pellucid.tasks._figures import show
from pellucid.tasks.detect.objects import Detected

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

__all__ = ["figure"]

_TRUE, _FOUND = "#ffffff", "#ffb000"


def figure(
    input: Tensor, answer: Detected, truth: Boxes | None, names: Sequence[str], classes: Sequence[str]
) -> Figure:
    """One cell per image: the true boxes dashed, the detections with their classes."""
    from matplotlib.figure import Figure

    columns = min(4, len(names))
    rows = -(-len(names) // columns)
    drawing = Figure(figsize=(2.0 * columns, 2.2 * rows), dpi=150, layout="constrained")
    found = answer.to("cpu").answered
    assert found.scores is not None
    truth = None if truth is None else truth.to("cpu")
    for i, axes in enumerate(drawing.subplots(rows, columns, squeeze=False).flat):
        axes.set_axis_off()
        if i >= len(names):
            continue
        show(axes, input[i])
        if truth is not None:
            _frames(axes, truth.corners[i], _TRUE, "--")
        _frames(axes, found.corners[i], _FOUND, "-")
        for box, label, score in zip(found.corners[i].tolist(), found.labels[i], found.scores[i], strict=True):
            words = f"{classes[int(label)]} {100 * float(score):.0f} %"
            axes.text(box[0], box[1], words, fontsize=5, color=_FOUND, clip_on=True, parse_math=False)
        axes.set_title(names[i], fontsize=6, parse_math=False)
    return drawing


def _frames(axes: Axes, boxes: Tensor, colour: str, style: str) -> None:
    from matplotlib.patches import Rectangle

    for x0, y0, x1, y1 in boxes.tolist():
        place = (x0 - 0.5, y0 - 0.5)  # a pixel's centre is drawn at its number
        axes.add_patch(Rectangle(place, x1 - x0, y1 - y0, fill=False, edgecolor=colour, linestyle=style, linewidth=0.8))
