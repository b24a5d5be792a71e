# SPDX-License-Identifier: Apache-2.0
"""curves: how the losses and measures went, and in plain words what that says."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, final

import numpy as np
from numpy.typing import NDArray

from pellucid.errors import UsageError
from pellucid.lenses._contract import Lens, Sight, View

if TYPE_CHECKING:
    from matplotlib.axes import Axes

__all__ = ["Curves"]

Rows = Sequence[Mapping[str, Any]]

TRAIN, VAL, GAP = "#4a6fa5", "#d1662b", "#f3d9c9"
_PLACE = ("step", "epoch", "split", "learning_rate", "seconds", "loss")


@final
@dataclass(frozen=True)
class Curves(Lens):
    """Losses of training and validation, the measure, and a verdict.

    >>> rows = [{"step": i, "epoch": i, "split": s, "loss": 1 / i, "learning_rate": 0.1, "seconds": i}
    ...         for i in range(1, 9) for s in ("train", "val")]
    >>> Curves().look(Sight(history=rows)).words
    'Stopped too early: the validation loss was still falling, by 25 % over the last quarter; train for more epochs.'
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
        figure = Figure(figsize=(8.2 if measure else 4.6, 3.1), dpi=150, layout="constrained")
        grid = figure.subplots(1, 2 if measure else 1, squeeze=False)[0]
        self._losses(grid[0], train, val)
        if measure is not None:
            grid[1].plot(_column(val, "epoch"), _column(val, measure), color=VAL, marker="o", ms=2.5, lw=1.4)
            grid[1].set(xlabel="epoch", title=f"validation {measure}")
            _plain(grid[1])
        numbers = {
            f"{split}/{name}": _column(rows, name)
            for split, rows in (("train", train), ("val", val))
            for name in (rows or [{}])[0]
            if name != "split"
        }
        return View(figure, numbers, verdict(sight.history))

    def _losses(self, axes: Axes, train: Rows, val: Rows) -> None:
        x, y = _column(train, "epoch"), _column(train, "loss")
        axes.plot(x, y, color=TRAIN, lw=1.4, label="training")
        if val:
            u, v = _column(val, "epoch"), _column(val, "loss")
            axes.plot(u, v, color=VAL, lw=1.4, marker="o", ms=2.5, label="validation")
            near = np.interp(u, x, y)
            axes.fill_between(u, near, v, where=v > near, color=GAP, lw=0, label="generalisation gap")
        if (
            self.log
            and min(_column(sight_rows, "loss").min(initial=1.0) for sight_rows in (train, val) if sight_rows) > 0
        ):
            axes.set_yscale("log")
            axes.yaxis.set_minor_formatter("{x:.2g}" if _narrow(train, val) else "")
            axes.yaxis.set_major_formatter("{x:.3g}")
        axes.set(xlabel="epoch", title="loss")
        axes.legend(frameon=False, fontsize=8)
        _plain(axes)


def verdict(history: Rows) -> str:
    """One sentence on what the curves say, by the first rule that holds.

    1. Learning rate too high: a loss that is not finite, or a training loss that ends above twice its lowest.
    2. Overfitting: the validation loss ends more than 10 % above its lowest while the training loss still fell.
    3. Learning rate too low: the training loss lost less than 10 % in all, and still falls steadily.
    4. Underfitting: the training loss lost less than half, and has stopped falling.
    5. Stopped too early: the validation loss fell by more than 5 % over the last quarter, and its end is its lowest.
    6. Else healthy, with the gap of validation over training loss.
    """
    train, val = _of(history, "train"), _of(history, "val")
    losses, checks = _column(train, "loss"), _column(val, "loss")
    if len(losses) < 4 and len(checks) < 3:
        return "Too short to judge: fewer than three epochs are no curve; train for more."
    for rule in (_too_high, _overfitting, _too_low, _underfitting, _too_early):
        found = rule(losses, checks)
        if found is not None:
            return found
    last = float(losses[-max(1, len(losses) // 10) :].mean())
    if not len(checks):
        return f"Healthy as far as can be told: the training loss fell to {last:.3g}; there is no validation split to see the gap by."
    gap = 100 * (checks[-1] - last) / max(abs(last), 1e-12)
    side = f"{gap:.0f} % above" if gap > 0 else f"{-gap:.0f} % below"
    return f"Healthy: training and validation loss have levelled off, and validation ends {side} training."


def _too_high(train: NDArray[np.float64], val: NDArray[np.float64]) -> str | None:
    if not np.isfinite(train).all():
        return "Learning rate too high: the loss left the finite numbers; take a tenth of it."
    low, end = train.min(), train[-max(1, len(train) // 10) :].mean()
    if end > 2 * low and train.argmin() < 0.8 * len(train):
        return f"Learning rate too high: the training loss rose from {low:.3g} to {end:.3g}; take a third of it, or clip gradients."
    return None


def _overfitting(train: NDArray[np.float64], val: NDArray[np.float64]) -> str | None:
    if len(val) < 3:
        return None
    best = int(val.argmin())
    rise = val[-1] / val[best] - 1
    part = train[int(len(train) * (best + 1) / len(val)) - 1 :]
    if best < len(val) - 1 and rise > 0.1 and part[-1] < part[0]:
        return (
            f"Overfitting: the validation loss was lowest after epoch {best + 1} of {len(val)} and ended {100 * rise:.0f} % above that "
            "while the training loss went on falling; stop there (patience), regularise or augment."
        )
    return None


def _too_low(train: NDArray[np.float64], val: NDArray[np.float64]) -> str | None:
    quarter = max(1, len(train) // 4)
    lost = 1 - train[-quarter:].mean() / train[0]
    falling = np.diff(train) < 0
    if len(train) >= 4 and 0 <= lost < 0.1 and falling.mean() > 0.9:
        return f"Learning rate too low: the training loss fell steadily, and by {100 * lost:.1f} % only; take ten times the rate."
    return None


def _underfitting(train: NDArray[np.float64], val: NDArray[np.float64]) -> str | None:
    third = max(1, len(train) // 3)
    lost = 1 - train[-third:].mean() / train[0]
    late = 1 - train[-third:].mean() / train[-2 * third : -third].mean() if len(train) >= 2 * third else 1.0
    if lost < 0.5 and late < 0.02 and (not len(val) or val[-1] < 1.1 * train[-third:].mean()):
        return (
            f"Underfitting: the training loss lost {100 * lost:.0f} % and then stayed, with validation beside it; "
            "take a larger model, train longer at a higher rate, or regularise less."
        )
    return None


def _too_early(train: NDArray[np.float64], val: NDArray[np.float64]) -> str | None:
    if len(val) < 4:
        return None
    back = max(1, len(val) // 4)
    drop = 1 - val[-1] / val[-1 - back]
    if drop > 0.05 and val.argmin() == len(val) - 1:
        return f"Stopped too early: the validation loss was still falling, by {100 * drop:.0f} % over the last quarter; train for more epochs."
    return None


def _of(history: Rows, split: str) -> Rows:
    return [row for row in history if row["split"] == split]


def _column(rows: Rows, name: str) -> NDArray[np.float64]:
    return np.array([np.nan if row.get(name) is None else row[name] for row in rows], np.float64)


def _narrow(train: Rows, val: Rows) -> bool:
    """Whether the losses span less than a decade, where a logarithmic axis would have a single label."""
    values = np.concatenate([_column(train, "loss"), _column(val, "loss")])
    return bool(values.max() < 10 * values.min())


def _plain(axes: Axes) -> None:
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(alpha=0.25, lw=0.6)
    axes.title.set_fontsize(10)
    axes.tick_params(labelsize=8, which="both")
