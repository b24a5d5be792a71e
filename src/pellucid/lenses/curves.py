# SPDX-License-Identifier: Apache-2.0
"""curves: how the losses and measures went, and in plain words what that says."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, final

import numpy as np
from numpy.typing import NDArray

from pellucid.errors import UsageError
from pellucid.lenses import _players
from pellucid.lenses._contract import Lens, Sight, View
from pellucid.lenses._verdict import Rows, Verdict, column, verdict

if TYPE_CHECKING:
    from matplotlib.axes import Axes

__all__ = ["Curves"]

TRAIN, VAL, GAP = "#4a6fa5", "#d1662b", "#f3d9c9"
_MANY = 40  # rows of a training that are drawn as they are
_NAMES = {"psnr": "PSNR", "ssim": "SSIM"}
_PLACE = ("step", "epoch", "split", "learning_rate", "seconds", "loss")


@final
@dataclass(frozen=True)
class Curves(Lens):
    """Losses of training and validation, the measure, and what they say: under- or overfitting, the learning rate, an early end.

    >>> rows = [{"step": i, "epoch": i, "split": s, "loss": 1 / i, "learning_rate": 0.1, "seconds": i}
    ...         for i in range(1, 9) for s in ("train", "val")]
    >>> Curves().look(Sight(history=rows)).words
    'Stopped too early: the validation loss was still falling, by 25 % over the last quarter; train for more than 8 epochs.'
    """

    log: bool = True
    """draw losses on a logarithmic axis"""

    def look(self, sight: Sight) -> View:
        from matplotlib.figure import Figure

        if not sight.history:
            raise UsageError("history=[]: holds nothing to draw; train for at least one epoch.")
        train, val = (_of(sight.history, split) for split in ("train", "val"))
        measure = next(
            (name for row in val for name in row if name not in _PLACE and name not in (train or [{}])[0]), None
        )
        players = _players.parts(sight.history)
        if players:  # no rule about one loss holds for a game
            figure, told = _players.drawn(train, players), _players.words(train, players)
        else:
            figure = Figure(figsize=(8.2 if measure else 4.6, 3.1), dpi=150, layout="constrained")
            grid = figure.subplots(1, 2 if measure else 1, squeeze=False)[0]
            said = verdict(sight.history)
            told = said.words
            self._losses(grid[0], train, val, said)
            if measure is not None:
                grid[1].plot(column(val, "epoch"), column(val, measure), color=VAL, marker="o", ms=2.5, lw=1.4)
                grid[1].set(xlabel="epoch", title=f"validation {_NAMES.get(measure, measure.replace('_', ' '))}")
                _plain(grid[1])
                grid[1].set_xlim(grid[0].get_xlim())
        numbers = {
            f"{split}/{name}": column(rows, name)
            for split, rows in (("train", train), ("val", val))
            for name in (rows or [{}])[0]
            if name != "split"
        }
        return View(figure, numbers, told)

    def _losses(self, axes: Axes, train: Rows, val: Rows, said: Verdict) -> None:
        x, y = column(train, "epoch"), column(train, "loss")
        if len(x) > _MANY:  # the noise of single steps stands behind its own running mean
            axes.plot(x, y, color=TRAIN, lw=0.7, alpha=0.3)
            x, y = _running(x), _running(y)
        axes.plot(x, y, color=TRAIN, lw=1.6, label="training")
        if val:
            u, v = column(val, "epoch"), column(val, "loss")
            axes.plot(u, v, color=VAL, lw=1.6, marker="o", ms=2.5, label="validation")
            near = np.interp(u, x, y)
            if len(u) > 1 and (v > near).any():
                axes.fill_between(u, near, v, where=v > near, color=GAP, lw=0, label="generalisation gap")
            if said.kind == "overfitting":
                self._mark(axes, u, v, float(near[-1]))
        losses = np.concatenate([column(train, "loss"), column(val, "loss")])
        if self.log and losses.min(initial=np.inf) > 0:
            axes.set_yscale("log")
            # within a decade a logarithmic axis would have a single label
            axes.yaxis.set_minor_formatter("{x:.2g}" if losses.max() < 10 * losses.min() else "")
            axes.yaxis.set_major_formatter("{x:.3g}")
        axes.set(xlabel="epoch", title="loss")
        axes.legend(frameon=False, fontsize=8)
        _plain(axes)

    def _mark(self, axes: Axes, epochs: NDArray[np.float64], losses: NDArray[np.float64], train: float) -> None:
        """Mark where validation was best, and the gap at the end."""
        best = int(losses.argmin())
        axes.axvline(epochs[best], color="0.45", lw=0.8, ls=":")
        axes.annotate("lowest", (epochs[best], 1), (2, -2), xycoords=("data", "axes fraction"), va="top", fontsize=7,
                      textcoords="offset points", color="0.35")  # fmt: skip
        ends = {"arrowstyle": "<->", "color": "0.25", "lw": 0.9, "shrinkA": 0, "shrinkB": 0}
        axes.annotate("", (epochs[-1], losses[-1]), (epochs[-1], train), arrowprops=ends)
        middle = np.sqrt(losses[-1] * train) if self.log and train > 0 else (losses[-1] + train) / 2
        axes.annotate(f"gap {losses[-1] - train:.2g}", (epochs[-1], middle), (-4, 0), ha="right", va="center", fontsize=7.5,
                      textcoords="offset points", color="0.2")  # fmt: skip


def _of(history: Rows, split: str) -> Rows:
    return [row for row in history if row["split"] == split]


def _running(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Means of consecutive rows, some forty in all."""
    return np.array([part.mean() for part in np.array_split(values, _MANY)])


def _plain(axes: Axes) -> None:
    axes.locator_params(axis="x", integer=True, min_n_ticks=1)
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(alpha=0.25, lw=0.6)
    axes.title.set_fontsize(10)
    axes.xaxis.label.set_fontsize(9)
    axes.tick_params(labelsize=8, which="both")
