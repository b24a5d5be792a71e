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

__all__ = ["CHART", "DrawsForReport", "answers", "below", "pictures"]

CHART = 3.6
"""Inches: how wide a chart is, so that a page of 390 px shows it whole, with letters of at least 9 px from 7.5 points on."""

RIGHT, WRONG, NEUTRAL = "#2a7f4f", "#c0392b", "#4a6fa5"
_TOP = 3  # classes shown beside an image
_CELL, _IMAGE, _GAP = (
    (2.6, 1.4),
    (1.16, 1.16),
    0.03,
)  # inches: an image with its bars, the image alone, what is left free


@runtime_checkable
class DrawsForReport(Protocol):
    """The measures of all images are drawn when a report asks for it, so that `evaluate` need not wait."""

    def report_figures(
        self, records: Records, baselines: Mapping[str, Records], classes: Sequence[str]
    ) -> Sequence[NamedFigure]:
        """Figures from the records of the model and of the baselines by name."""


def below(figure: Figure, axes: Axes, points: float = 7.5) -> None:
    """The legend of a chart below it, in two columns where they fit; the figure becomes as much taller."""
    handles, names = axes.get_legend_handles_labels()
    if not names:
        return
    half = -(-len(names) // 2)
    letters = [max(map(len, part), default=0) for part in (names[:half], names[half:])]
    wide, tall = figure.get_size_inches()
    columns = 2 if len(names) > 3 and (sum(letters) * 0.6 + 10) * points / 72 < wide else 1
    figure.set_size_inches(wide, tall + 1.55 * points / 72 * (len(names) if columns == 1 else half))
    legend = figure.legend(
        handles, names, fontsize=points, frameon=False, loc="outside lower left", ncols=columns, handlelength=1.4, columnspacing=1.0,
        labelspacing=0.3,
    )  # fmt: skip
    for text in legend.get_texts():  # names of classes and of methods are the user's
        text.set_parse_math(False)


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
    # one pair of axes, in inches from the top left corner: two for each image took most of a small report's time
    figure = Figure(figsize=(_CELL[0] * columns, _CELL[1] * rows), dpi=150)
    axes = figure.add_axes((0.0, 0.0, 1.0, 1.0))
    axes.set_axis_off()
    for i, shares in enumerate(prediction.probabilities.cpu().numpy()):
        left, top = _CELL[0] * (i % columns), _CELL[1] * (i // columns)
        height, width = input[i].shape[1:]
        scale = min(_IMAGE[0] / width, _IMAGE[1] / height)  # inches for a pixel
        x, y = left + (_IMAGE[0] - scale * width) / 2 + _GAP, top + (_IMAGE[1] - scale * height) / 2 + _GAP
        place(axes, input[i], (x, x + scale * width, y + scale * height, y))
        middle, below = left + _GAP + _IMAGE[0] / 2, y + scale * height + _GAP
        axes.text(middle, below, _shortened(names[i], 22), fontsize=6, color="0.4", ha="center", va="top")
        true = None if truth is None else int(truth.index[i])
        _bars(axes, (left + _IMAGE[0] + 3 * _GAP, top + _GAP), shares, true, classes)
    axes.set(xlim=(0, _CELL[0] * columns), ylim=(_CELL[1] * rows, 0))
    return figure


def _bars(
    axes: Axes, corner: tuple[float, float], shares: NDArray[Any], true: int | None, classes: Sequence[str]
) -> None:
    """Bars of the most probable classes, the upper left corner of which is at `corner`."""
    order = np.argsort(-shares)[:_TOP]
    # the true class is always shown
    if true is not None and true not in order:
        order = np.append(order[: _TOP - 1], true)
    left, top = corner
    long, step = _CELL[0] - _IMAGE[0] - 5 * _GAP, _IMAGE[1] / _TOP
    places = top + step * (np.arange(len(order)) + 0.72)
    colours = [NEUTRAL if true is None else RIGHT if k == true else WRONG if k == order[0] else "0.75" for k in order]
    axes.barh(places, long * shares[order], color=colours, height=0.5 * step, left=left)
    for y, k in zip(places, order, strict=True):
        mark = " (true)" if k == true != order[0] else ""  # not by colour alone
        name = _shortened(classes[k], 16 - len(mark)) + mark
        text = f"{name}  {100 * shares[k]:.0f} %"
        weight = "bold" if k == true else "normal"
        axes.text(left + 0.02, y - 0.27 * step, text, fontsize=6.5, va="bottom", weight=weight)


def show(axes: Axes, image: Tensor) -> None:
    """An image (C, H, W) in [0, 1], without ticks; small images are shown with sharp pixels."""
    place(axes, image)
    axes.set(xticks=[], yticks=[])
    for side in axes.spines.values():
        side.set_visible(False)


def place(axes: Axes, image: Tensor, extent: tuple[float, float, float, float] | None = None) -> None:
    """An image (C, H, W) in [0, 1] on axes, over all of them or from left to right and bottom to top of `extent`."""
    array = image.detach().float().clamp(0, 1).cpu().numpy()
    few = max(array.shape[1:]) <= 96
    shape = "nearest" if few else "antialiased"
    flat = array[0] if array.shape[0] == 1 else array.transpose(1, 2, 0)
    aspect: Any = None if extent is None else "auto"
    axes.imshow(flat, cmap="gray", vmin=0, vmax=1, interpolation=shape, extent=extent, aspect=aspect)


def _shortened(name: str, length: int = 28) -> str:
    """The end of a long file name, which differs from its neighbours', or the beginning of a long class name."""
    if len(name) <= length:
        return name
    return "…" + name[1 - length :] if "." in name else name[: length - 1] + "…"
