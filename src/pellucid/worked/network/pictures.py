# SPDX-License-Identifier: Apache-2.0
"""Plots of a trained dense network: learning curves, the weights of the first layer before and after, the confusion matrix."""

from __future__ import annotations

import math
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from pellucid.errors import UsageError
from pellucid.files import write_atomically
from pellucid.worked.network.activations import Array

if TYPE_CHECKING:
    from pellucid.worked.network.training import History

__all__ = ["draw_confusion", "draw_history", "mosaic"]

_SHOWN = 64  # neurons in a mosaic, at most
_BLUE, _ORANGE = "#2a6fbb", "#d1701f"


def mosaic(W: Array, shape: tuple[int, int] | None = None) -> NDArray[np.floating]:
    """The weights of each neuron as an image, in a grid separated by lines of NaN.

    >>> mosaic(np.arange(8.0).reshape(4, 2)).shape
    (2, 5)

    Args:
        W: weights, (in, out); at most the first 64 neurons are shown.
        shape: height and width of one image; by default a square.

    Raises:
        UsageError: the shape does not have as many pixels as there are inputs.
    """
    inputs, neurons = W.shape[0], min(W.shape[1], _SHOWN)
    side = math.isqrt(inputs)
    height, width = shape or (side, side)
    if height * width != inputs:
        raise UsageError(
            f"shape={(height, width)}: a neuron has {inputs} weights; give a height and width with this product."
        )
    columns = math.ceil(math.sqrt(neurons))
    rows = math.ceil(neurons / columns)
    # one pixel of NaN between the images
    grid = np.full((rows * (height + 1) - 1, columns * (width + 1) - 1), np.nan)
    for n in range(neurons):
        top, left = n // columns * (height + 1), n % columns * (width + 1)
        grid[top : top + height, left : left + width] = W[:, n].reshape(height, width)
    return grid


def draw_history(history: History, path: Path | str, shape: tuple[int, int] | None = None) -> Path:
    """Write a PNG with loss and accuracy per epoch, and the first layer's weights before and after on one colour scale.

    Args:
        history: from `pellucid.worked.network.training.train`.
        path: the PNG file.
        shape: height and width of the images; by default a square.
    """
    from matplotlib.figure import Figure

    figure = Figure(figsize=(10, 8.6), layout="constrained", dpi=120)
    above, below = figure.subfigures(2, 1, height_ratios=(1, 1.75), squeeze=False)[:, 0]
    left, right = above.subplots(1, 2)
    _curves(left, "loss J", history.loss, history.held_out_loss)
    _curves(right, "accuracy", history.accuracy, history.held_out_accuracy)
    panels = below.subplots(1, 2)
    # the 99.5 % quantile: a few large weights would make all others pale
    limit = float(np.quantile(np.abs(history.first_after), 0.995)) or 1.0
    image = None
    for panel, W, when in ((panels[0], history.first_before, "before"), (panels[1], history.first_after, "after")):
        image = panel.imshow(mosaic(W, shape), cmap="RdBu_r", vmin=-limit, vmax=limit, interpolation="nearest")
        shown = min(W.shape[1], _SHOWN)
        panel.set_title(f"weights of the first layer's {shown} neurons, {when}", fontsize=10)
        panel.set_axis_off()
    assert image is not None
    below.colorbar(image, ax=[*panels], shrink=0.8, label="weight", extend="both")
    target = Path(path)
    with write_atomically(target) as draft:
        figure.savefig(draft)
    return target


def _curves(axes: Any, title: str, trained: list[float], held_out: list[float]) -> None:
    for values, colour, label in ((trained, _BLUE, "training images"), (held_out, _ORANGE, "held-out images")):
        if values:
            axes.plot(
                range(1, len(values) + 1), values, color=colour, label=label, marker="o" if len(values) == 1 else ""
            )
    axes.set_title(title, fontsize=10)
    axes.set_xlabel("epoch")
    axes.xaxis.get_major_locator().set_params(integer=True)
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(alpha=0.3)
    if axes.lines:
        axes.legend(frameon=False, fontsize=9)


def draw_confusion(counts: NDArray[np.int64], path: Path | str, names: list[str] | None = None) -> Path:
    """Write a PNG of a confusion matrix: classes in rows, predictions in columns, coloured by the share of the row.

    Args:
        counts: from `pellucid.worked.network.training.confusion`, (classes, classes).
        path: the PNG file.
        names: of the classes; by default their numbers.
    """
    from matplotlib.figure import Figure

    classes = len(counts)
    labels = names or [str(n) for n in range(classes)]
    share = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)  # a class without images has an empty row
    side = min(max(4.0, 1.8 + 0.26 * classes), 16)
    figure = Figure(figsize=(side, side), layout="constrained", dpi=120)
    axes = figure.subplots()
    axes.imshow(share, cmap="Blues", vmin=0, vmax=1)
    axes.set_xticks(range(classes), labels, fontsize=8)
    axes.set_yticks(range(classes), labels, fontsize=8)
    axes.set_xlabel("predicted class")
    axes.set_ylabel("true class")
    axes.set_title(f"{np.trace(counts):,} of {counts.sum():,} correct", fontsize=10)
    for row, column in zip(*np.nonzero(counts), strict=True):
        colour = "white" if share[row, column] > 0.5 else "black"
        axes.text(column, row, str(counts[row, column]), ha="center", va="center", fontsize=7, color=colour)
    target = Path(path)
    with write_atomically(target) as draft:
        figure.savefig(draft)
    return target
