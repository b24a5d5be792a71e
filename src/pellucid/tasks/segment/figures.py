# SPDX-License-Identifier: Apache-2.0
"""Masks drawn: over their images, and for a report the truth beside the answer and its mistakes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from pellucid.data.targets import VOID, Mask
from pellucid.tasks._figures import show
from pellucid.tasks.segment import metrics
from pellucid.tasks.segment.forms import overlay, palette
from pellucid.tasks.segment.objects import Seen

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

__all__ = ["figure", "objects_figure"]

_LISTED = 16  # classes in a legend
_WRONG = "#c0392b"


def figure(
    input: Tensor,
    answer: Mask,
    truth: Mask | None,
    names: Sequence[str],
    classes: Sequence[str],
    colours: Sequence[int] = (),
) -> Figure:
    """One row per image: the image, the true classes and the answer's over it in grey, and the pixels that are wrong."""
    from matplotlib.figure import Figure
    from matplotlib.patches import Patch

    images = input.detach().float().clamp(0, 1).cpu()
    found = answer.classes.cpu()
    known = None if truth is None else truth.classes.cpu()
    titles = ["image", "answer"] if known is None else ["image", "truth", "answer", "mistakes"]
    shape = images.shape[2] / images.shape[3]
    shown = sorted({*found.unique().tolist(), *([] if known is None else known.unique().tolist())} - {VOID})
    wide, legend = 1.7, 0.2 * -(-min(len(shown), _LISTED) // 4) + 0.1
    tall = (wide - 0.12) * min(2.0, shape)
    drawing = Figure(
        figsize=(wide * len(titles) + 0.1, (tall + 0.2) * len(names) + legend + 0.2), dpi=150, layout="constrained"
    )
    grid = drawing.subplots(len(names), len(titles), squeeze=False)
    for r, name in enumerate(names):
        image, mask = images[r].numpy(), found[r].numpy()
        grey = image.mean(0, keepdims=True)  # under colours, only those of the classes are seen
        pictures = {"image": images[r], "answer": _planes(overlay(grey, mask, classes, colours))}
        if known is not None:
            pictures["truth"] = _planes(overlay(grey, known[r].numpy(), classes, colours))
            pictures["mistakes"] = _planes(_mistakes(image, mask, known[r].numpy()))
        for c, title in enumerate(titles):
            show(grid[r, c], pictures[title])
            if r == 0:
                grid[r, c].set_title(title, fontsize=8, pad=3)
        words = _shortened(name)
        if known is not None:
            cells = metrics.confusions(found[r : r + 1], known[r : r + 1], len(classes))
            grid[r, -1].set_xlabel(
                f"IoU {float(metrics.ranking({'confusion': cells})[0]):.2f}", fontsize=6.5, color="0.4", labelpad=2
            )
        grid[r, 0].set_xlabel(words, fontsize=6.5, color="0.4", labelpad=2, parse_math=False)
    inks = palette(classes, colours) / 255
    patches = [Patch(facecolor=inks[i], edgecolor="0.5", linewidth=0.4, label=classes[i]) for i in shown[:_LISTED]]
    if known is not None:
        patches.append(Patch(facecolor=_WRONG, label="wrong"))
    if patches:
        made = drawing.legend(
            handles=patches, loc="outside lower center", ncols=min(5, len(patches)), fontsize=6.5, frameon=False
        )
        for text in made.get_texts():
            text.set_parse_math(False)
    return drawing


def objects_figure(seen: Sequence[Seen], classes: Sequence[str], colours: Sequence[int] = ()) -> Figure:
    """Two cells per image: the outlines of the true objects, and those of the objects that were found, with their numbers."""
    from matplotlib.figure import Figure

    pairs = min(2, len(seen))
    rows = -(-len(seen) // pairs)
    shape = max(own.image.shape[1] / own.image.shape[2] for own in seen)
    wide = 2.6
    drawing = Figure(
        figsize=(2 * wide * pairs + 0.1, (wide * min(1.6, shape) + 0.3) * rows + 0.1), dpi=150, layout="constrained"
    )
    grid = drawing.subplots(rows, 2 * pairs, squeeze=False)
    for axes in grid.flat:
        axes.set_axis_off()
    shown = palette(classes, colours) / 255
    for place, own in enumerate(seen):
        left, right = grid[place // pairs, 2 * (place % pairs)], grid[place // pairs, 2 * (place % pairs) + 1]
        for axes in (left, right):
            axes.set_axis_on()
            show(axes, torch.from_numpy(own.image))
        for inside, kind in zip(own.true, own.classes, strict=True):
            _outline(left, inside, shown[kind])
        for number, kind in enumerate(own.found.classes, 1):
            inside = own.found.labels == number
            _outline(right, inside, shown[kind])
            down, across = np.nonzero(inside)
            right.text(
                across.mean(), down.mean(), str(number), fontsize=6, color="white", ha="center", va="center",
                bbox={"boxstyle": "round,pad=0.15", "facecolor": "black", "alpha": 0.6, "linewidth": 0},
            )  # fmt: skip
        left.set_title(f"true: {len(own.true)}", fontsize=8, pad=3)
        right.set_title(f"found: {len(own.found)}", fontsize=8, pad=3)
    return drawing


def _outline(axes: Axes, inside: NDArray[np.bool_], colour: NDArray[np.float64]) -> None:
    """A region's border, on a dark line that is seen on any ground."""
    padded = np.pad(inside, 1).astype(float)
    for ink, width in (("black", 2.2), (tuple(colour), 1.2)):
        axes.contour(
            np.arange(-1, inside.shape[1] + 1), np.arange(-1, inside.shape[0] + 1), padded, levels=[0.5],
            colors=[ink], linewidths=width,
        )  # fmt: skip


def _planes(picture: NDArray[np.float32]) -> Tensor:
    return torch.from_numpy(np.ascontiguousarray(picture.transpose(2, 0, 1)))


def _mistakes(image: NDArray[np.float32], answer: NDArray[np.uint8], truth: NDArray[np.uint8]) -> NDArray[np.float32]:
    """The image in pale grey, with wrong pixels in red and void ones in grey."""
    grey = np.repeat(1 - 0.35 * (1 - image.mean(0))[..., None], 3, 2).astype(np.float32)
    grey[(answer != truth) & (truth != VOID)] = [int(_WRONG[i : i + 2], 16) / 255 for i in (1, 3, 5)]
    grey[truth == VOID] = 0.6
    return grey


def _shortened(name: str, length: int = 26) -> str:
    return name if len(name) <= length else "…" + name[1 - length :]
