# SPDX-License-Identifier: Apache-2.0
"""Images of a report with the truth and the answers side by side, the errors in their colours."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from torch import Tensor

from pellucid.data.targets import Boxes
from pellucid.tasks._figures import show
from pellucid.tasks._records import Records
from pellucid.tasks.detect import errors, metrics
from pellucid.tasks.detect.drawing import colour
from pellucid.tasks.detect.matching import areas
from pellucid.tasks.detect.objects import Detected

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

__all__ = ["figure"]

_WRONG, _UNCOUNTED = "#ff3b30", "#bbbbbb"
_SHADES = {errors.RIGHT: "#31c46d", errors.CLASS: "#ffb000", errors.UNCOUNTED: _UNCOUNTED}  # else red
_LABELLED = 14  # boxes of an image up to which each has its name
_ACROSS = 2  # images side by side, each with its truth


def figure(
    input: Tensor, answer: Detected, truth: Boxes | None, names: Sequence[str], classes: Sequence[str]
) -> Figure:
    """Each image twice: the true boxes, and the answers; without a truth, the answers alone.

    Answers are green where they are right, orange where only the class is wrong, and red otherwise; true boxes are coloured
    by their class, and dashed in red where they were missed.
    """
    from matplotlib.figure import Figure

    answer, truth = answer.to("cpu"), None if truth is None else truth.to("cpu")
    each = 1 if truth is None else 2  # pictures of an image
    across = min(_ACROSS, len(names))
    rows = -(-len(names) // across)
    shape = input.shape[2] / input.shape[3]
    wide = 3.9 / each if each * across > 2 else 2.6
    drawing = Figure(
        figsize=(wide * each * across, (wide * min(1.6, shape) + 0.34) * rows), dpi=160, layout="constrained"
    )
    grid = drawing.subplots(rows, each * across, squeeze=False)
    for axes in grid.flat:
        axes.set_axis_off()
    records = None if truth is None else metrics.columns(answer, truth)
    found = answer.answered
    assert found.scores is not None
    for i, name in enumerate(names):
        row, column = divmod(i, across)
        *left, right = grid[row, each * column : each * (column + 1)]
        for axes in (*left, right):
            axes.set_axis_on()
            show(axes, input[i])
        labels, scores = found.labels[i].tolist(), found.scores[i].tolist()  # the surest first, as in the records
        words = [f"{classes[label]} {100 * score:.0f}" for label, score in zip(labels, scores, strict=True)]
        shades, below = [colour(label) for label in labels], f"{len(words)} found"
        if records is not None and truth is not None:
            kinds = records["kind"][i][: len(words)].tolist()
            shades = [_SHADES.get(kind, _WRONG) for kind in kinds]
            _true(left[0], truth, i, records, classes)
            below = f"{kinds.count(errors.RIGHT)} of {len(words)} {'answer' if len(words) == 1 else 'answers'} right"
        _frames(right, found.corners[i], shades, words)
        right.set_xlabel(below, fontsize=6.5, color="0.4", labelpad=2)
        (left or [right])[0].set_title(_end(name), fontsize=6.5, color="0.3", pad=2, parse_math=False, loc="left")
    return drawing


def _true(axes: Axes, truth: Boxes, place: int, records: Records, classes: Sequence[str]) -> None:
    """An image's true boxes: those that were missed in red, crowds in grey."""
    own = truth[[place]]
    crowd = own.ignored[0].tolist() if own.ignored is not None else [False] * len(own.labels[0])
    hit = iter(errors.found(records)[records["true_label"].owners == place].tolist())
    there = [not ignored and area > 0 for ignored, area in zip(crowd, areas(own.corners[0].numpy()), strict=True)]
    found = [next(hit) if counts else True for counts in there]
    labels = own.labels[0].tolist()
    shades = [
        _UNCOUNTED if not counts else colour(label) if ok else _WRONG
        for counts, label, ok in zip(there, labels, found, strict=True)
    ]
    words = ["" if not counts else classes[label] for counts, label in zip(there, labels, strict=True)]
    _frames(axes, own.corners[0], shades, words, [not ok for ok in found])
    count = "1 object" if sum(there) == 1 else f"{sum(there)} objects"
    axes.set_xlabel(f"{count}, {found.count(False)} missed", fontsize=6.5, color="0.4", labelpad=2)


def _frames(
    axes: Axes, boxes: Tensor, shades: Sequence[str], words: Sequence[str], dashed: Sequence[bool] | None = None
) -> None:
    from matplotlib.patches import Rectangle

    for place, (x0, y0, x1, y1) in enumerate(boxes.tolist()):
        start = (x0 - 0.5, y0 - 0.5)  # a pixel's centre is drawn at its number
        style = "--" if dashed is not None and dashed[place] else "-"
        axes.add_patch(
            Rectangle(start, x1 - x0, y1 - y0, fill=False, edgecolor=shades[place], linestyle=style, linewidth=1.1)
        )
        if len(words) <= _LABELLED and words[place]:
            box = {"facecolor": shades[place], "edgecolor": "none", "pad": 0.6, "alpha": 0.85}
            ink = "white" if shades[place] == _WRONG else "black"
            axes.text(*start, words[place], fontsize=5.2, color=ink, va="bottom", ha="left", bbox=box, clip_on=True,
                      parse_math=False)  # fmt: skip


def _end(name: str, longest: int = 40) -> str:
    return name if len(name) <= longest else f"…{name[1 - longest :]}"
