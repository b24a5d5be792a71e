# SPDX-License-Identifier: Apache-2.0
"""Figures of a few images with truth and answer side by side, and what a task does that draws its measures for a report."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from pellucid.data.targets import Label
from pellucid.tasks._contract import NamedFigure
from pellucid.tasks._fidelity import psnr
from pellucid.tasks._records import Records

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

__all__ = ["DrawsForReport", "answers", "pictures"]

RIGHT, WRONG, NEUTRAL = "#2a7f4f", "#c0392b", "#4a6fa5"
_TOP = 3  # classes shown beside an image


@runtime_checkable
class DrawsForReport(Protocol):
    """The measures of all images are drawn when a report asks for it, so that `evaluate` need not wait."""

    def report_figures(
        self, records: Records, baselines: Mapping[str, Records], classes: Sequence[str]
    ) -> Sequence[NamedFigure]:
        """Figures from the records of the model and of the baselines by name."""


def pictures(
    columns: Mapping[str, Tensor], truth: Tensor | None, names: Sequence[str], where: Tensor | None = None
) -> Figure:
    """One row per image: the columns' pictures, with their PSNR where the truth is known, and the truth.

    Args:
        columns: title -> (B, C, H, W) in [0, 1].
        truth: (B, C, H, W), or None.
        names: of the images.
        where: (B, 1, H, W), 1 where the PSNR is computed; by default everywhere.
    """
    from matplotlib.figure import Figure

    titles = [*columns, *(["truth"] if truth is not None else [])]
    rows = len(names)
    height, width = next(iter(columns.values())).shape[2:]
    wide = 1.9
    tall = min(3.0, wide * height / width)
    figure = Figure(figsize=(wide * len(titles) + 0.1, (tall + 0.2) * rows + 0.25), dpi=150, layout="constrained")
    grid = figure.subplots(rows, len(titles), squeeze=False)
    for r in range(rows):
        for c, title in enumerate(titles):
            axes, picture = grid[r, c], truth if title == "truth" else columns[title]
            assert picture is not None
            show(axes, picture[r])
            if r == 0:
                axes.set_title(title, fontsize=10)
            if (
                truth is not None and title != "truth" and (where is None or c)
            ):  # with `where`, the first column is the input
                parts = [part[r : r + 1] for part in (picture.clamp(0, 1), truth)]
                if where is not None:
                    parts = [part[..., where[r, 0] > 0][:, :, None] for part in parts]
                value = float(psnr(*parts)[0])
                axes.set_xlabel(f"{value:.1f} dB", fontsize=8, labelpad=2)
            elif c == len(titles) - 1:
                axes.set_xlabel(_shortened(names[r]), fontsize=7, color="0.4", labelpad=2)
    return figure


def answers(
    input: Tensor, prediction: Label, truth: Label | None, names: Sequence[str], classes: Sequence[str]
) -> Figure:
    """One cell per image: the image, and bars of its three most probable classes; green for the true class, red for a wrong answer."""
    from matplotlib.figure import Figure

    assert prediction.probabilities is not None
    columns = min(4, len(names))
    rows = -(-len(names) // columns)
    figure = Figure(figsize=(2.6 * columns, 1.4 * rows), dpi=150, layout="constrained")
    grid = figure.subplots(rows, 2 * columns, squeeze=False, width_ratios=[1, 1.15] * columns)
    for axes in grid.flat:
        axes.set_axis_off()
    for i, shares in enumerate(prediction.probabilities.cpu().numpy()):
        left, right = grid[i // columns, 2 * (i % columns)], grid[i // columns, 2 * (i % columns) + 1]
        left.set_axis_on()
        show(left, input[i])
        left.set_xlabel(_shortened(names[i], 22), fontsize=6, color="0.4", labelpad=2)
        true = None if truth is None else int(truth.index[i])
        _bars(right, shares, true, classes)
    return figure


def _bars(axes: Axes, shares: NDArray[Any], true: int | None, classes: Sequence[str]) -> None:
    order = np.argsort(-shares)[:_TOP]
    # the true class is always shown
    if true is not None and true not in order:
        order = np.append(order[: _TOP - 1], true)
    places = np.arange(len(order))[::-1]
    colours = [NEUTRAL if true is None else RIGHT if k == true else WRONG if k == order[0] else "0.75" for k in order]
    axes.barh(places, shares[order], color=colours, height=0.62)
    for place, k in zip(places, order, strict=True):
        mark = " (true)" if k == true != order[0] else ""  # not by colour alone
        name = _shortened(classes[k], 16 - len(mark)) + mark
        text = f"{name}  {100 * shares[k]:.0f} %"
        axes.text(0.02, place + 0.33, text, fontsize=6.5, va="bottom", weight="bold" if k == true else "normal")
    axes.set(xlim=(0, 1), ylim=(-0.6, _TOP - 0.1))
    axes.xaxis.set_visible(False)  # ticks that are only switched off are measured all the same
    axes.yaxis.set_visible(False)


def show(axes: Axes, image: Tensor) -> None:
    """An image (C, H, W) in [0, 1], without ticks; small images are shown with sharp pixels."""
    array = image.detach().float().clamp(0, 1).cpu().numpy()
    few = max(array.shape[1:]) <= 96
    shape = "nearest" if few else "antialiased"
    flat = array[0] if array.shape[0] == 1 else array.transpose(1, 2, 0)
    axes.imshow(flat, cmap="gray", vmin=0, vmax=1, interpolation=shape)
    axes.set(xticks=[], yticks=[])
    for side in axes.spines.values():
        side.set_visible(False)


def _shortened(name: str, length: int = 28) -> str:
    """The end of a long file name, which differs from its neighbours', or the beginning of a long class name."""
    if len(name) <= length:
        return name
    return "…" + name[1 - length :] if "." in name else name[: length - 1] + "…"
