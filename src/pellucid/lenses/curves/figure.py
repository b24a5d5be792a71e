# SPDX-License-Identifier: Apache-2.0
"""The picture of one training: losses with the generalisation gap, the measure, and where it under- and overfits."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from pellucid._colours import MODEL, TRAINING
from pellucid.lenses._axes import plain
from pellucid.lenses.curves.regions import Region
from pellucid.lenses.curves.verdict import Rows, Verdict, column

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

__all__ = ["SHADES", "TRAIN", "VAL", "figure", "finished", "of_split", "scaled", "smoothed", "title"]

TRAIN, VAL, GAP = TRAINING, MODEL, "#f3d9c9"
SHADES = {"underfitting": ("#dfe9f5", "#3f618f"), "overfitting": ("#f9dcdc", "#a8322f")}
"""The colours of a region and of its name."""
_MANY = 40  # rows up to which each is drawn
_NAMES = {"psnr": "PSNR", "ssim": "SSIM"}


def figure(
    history: Rows,
    measure: str | None,
    judgement: Verdict,
    shaded: Sequence[Region],
    log: bool,
    without: Sequence[str] = (),
) -> Figure:
    """The losses, `without` some parts, and beside them the measure of validation, if there is one."""
    from matplotlib.figure import Figure

    train, val = of_split(history, "train"), of_split(history, "val")
    drawing = Figure(figsize=(8.2 if measure else 4.6, 3.2), dpi=150, layout="constrained")
    grid = drawing.subplots(1, 2 if measure else 1, squeeze=False)[0]
    _losses(grid[0], train, val, judgement, log)
    if without:
        grid[0].set_title(f"loss without {', '.join(without)}")
    if measure is not None:
        grid[1].plot(column(val, "epoch"), column(val, measure), color=VAL, marker="o", ms=2.5, lw=1.4)
        grid[1].set(xlabel="epoch", title=title(measure))
        finished(grid[1])
        grid[1].set_xlim(grid[0].get_xlim())
    for axes in grid:
        _shade(axes, shaded, column(val, "epoch"))
    return drawing


def _shade(axes: Axes, shaded: Sequence[Region], epochs: NDArray[np.float64]) -> None:
    """Each region as a band behind the curves, with its name above."""
    if not shaded:
        return
    left, right = axes.get_xlim()
    half = float(np.diff(epochs).min()) / 2
    for region in shaded:
        band, ink = SHADES[region.kind]
        start, end = max(left, region.first - half), min(right, region.last + half)
        if region.first == epochs[0]:
            start = left
        if region.last == epochs[-1]:
            end = right
        axes.axvspan(start, end, color=band, lw=0, zorder=0)
        # from its outer end inwards, so that the name of a narrow region stays inside the picture
        early = region.kind == "underfitting"
        axes.text(start if early else end, 1.01, region.kind, transform=axes.get_xaxis_transform(), fontsize=7.5,
                  color=ink, ha="left" if early else "right", va="bottom")  # fmt: skip
    axes.set_title(axes.get_title(), fontsize=10, pad=16)
    axes.set_xlim(left, right)


def _losses(axes: Axes, train: Rows, val: Rows, judgement: Verdict, log: bool) -> None:
    x, y = column(train, "epoch"), column(train, "loss")
    if len(x) > _MANY:  # the noise of single steps, pale, behind its own mean
        axes.plot(x, y, color=TRAIN, lw=0.7, alpha=0.3)
        x, y = smoothed(x), smoothed(y)
    axes.plot(x, y, color=TRAIN, lw=1.6, label="training")
    if val:
        u, v = column(val, "epoch"), column(val, "loss")
        axes.plot(u, v, color=VAL, lw=1.6, marker="o", ms=2.5, label="validation")
        near = np.interp(u, x, y)
        if len(u) > 1 and (v > near).any():
            axes.fill_between(u, near, v, where=v > near, color=GAP, lw=0, label="generalisation gap")
        if judgement.kind == "overfitting":
            _mark(axes, u, v, float(near[-1]), log)
    scaled(axes, np.concatenate([column(train, "loss"), column(val, "loss")]), log)
    axes.set(xlabel="epoch", title="loss")
    axes.legend(frameon=False, fontsize=8)
    finished(axes)


def _mark(axes: Axes, epochs: NDArray[np.float64], losses: NDArray[np.float64], train: float, log: bool) -> None:
    """Mark where validation was best, and the gap at the end."""
    best = int(losses.argmin())
    axes.axvline(epochs[best], color="0.45", lw=0.8, ls=":")
    axes.annotate("lowest", (epochs[best], 1), (2, -2), xycoords=("data", "axes fraction"), va="top", fontsize=7,
                  textcoords="offset points", color="0.35")  # fmt: skip
    ends = {"arrowstyle": "<->", "color": "0.25", "lw": 0.9, "shrinkA": 0, "shrinkB": 0}
    axes.annotate("", (epochs[-1], losses[-1]), (epochs[-1], train), arrowprops=ends)
    middle = np.sqrt(losses[-1] * train) if log and train > 0 else (losses[-1] + train) / 2
    axes.annotate(f"gap {losses[-1] - train:.2g}", (epochs[-1], middle), (-4, 0), ha="right", va="center", fontsize=7.5,
                  textcoords="offset points", color="0.2", bbox={"facecolor": "white", "alpha": 0.7, "lw": 0, "pad": 1})  # fmt: skip


def of_split(history: Rows, split: str) -> Rows:
    """The rows of training or of validation."""
    return [row for row in history if row["split"] == split]


def smoothed(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Means of consecutive rows, forty in all; forty rows or fewer as they are."""
    return values if len(values) <= _MANY else np.array([part.mean() for part in np.array_split(values, _MANY)])


def scaled(axes: Axes, losses: NDArray[np.float64], log: bool) -> None:
    """A logarithmic axis with readable labels, if it is asked for and all losses are above zero."""
    if not log or not losses.min(initial=np.inf) > 0:
        return
    axes.set_yscale("log")
    # within a decade a logarithmic axis would have a single label
    axes.yaxis.set_minor_formatter("{x:.2g}" if losses.max() < 10 * losses.min() else "")
    axes.yaxis.set_major_formatter("{x:.3g}")


def title(measure: str) -> str:
    """A measure of validation as a heading."""
    return f"validation {_NAMES.get(measure, measure.replace('_', ' '))}"


def finished(axes: Axes, epochs: bool = True) -> None:
    """The look of every panel; `epochs`: whole numbers below."""
    if epochs:
        axes.locator_params(axis="x", integer=True, min_n_ticks=1)
    plain(axes)
    axes.title.set_fontsize(10)
    axes.xaxis.label.set_fontsize(9)
