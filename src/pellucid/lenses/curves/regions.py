# SPDX-License-Identifier: Apache-2.0
"""The epochs in which a training under- and overfits, by rules with stated thresholds."""

from __future__ import annotations

from dataclasses import dataclass
from typing import final

import numpy as np
from numpy.typing import NDArray

from pellucid.lenses.curves.verdict import Losses, Rows, column, nothing_learnt, overfitting, underfitting, wide

__all__ = ["NEAR", "Region", "gap", "regions"]

NEAR = 1.1  # times the lowest validation loss: as good as the lowest
_LEFT = 0.03  # and so is a loss that is so near to it, as a share of what was learnt: ratios of tiny losses mean little
_PERFECT = 0.995  # a measure from here on, such as accuracy, leaves nothing to learn
_FLAT, _WIDE = (
    0.95,
    2.0,
)  # a validation loss that keeps this share of itself is flat; times the training loss, a wide gap


@final
@dataclass(frozen=True)
class Region:
    """Epochs from the first to the last, both included, in which a training under- or overfits."""

    kind: str  # "underfitting" or "overfitting"
    first: float
    last: float


def regions(history: Rows, chance: float | None = None) -> list[Region]:
    """The regions of a training, from its losses after each epoch; none with fewer than three validated epochs.

    Underfitting: the epochs before the validation loss first comes within a tenth of its lowest, or 97 % of the way there, or
    before the validation measure is perfect; or all epochs, where the verdict is underfitting or that nothing was learnt.

    Overfitting, where the verdict is overfitting: the epochs after the validation loss was last within a tenth of its lowest, if
    it ends above that; else the last epochs in which it is far above the training loss and falls by less than a twentieth.

    >>> losses = (2.0, 1.2, 1.0, 1.05, 1.2, 1.3), (2.0, 1.2, 0.9, 0.7, 0.5, 0.4)
    >>> regions([{"epoch": e, "split": s, "loss": row[e - 1], "learning_rate": 0.1}
    ...     for s, row in zip(("val", "train"), losses) for e in range(1, 7)])
    [Region(kind='underfitting', first=1.0, last=2.0), Region(kind='overfitting', first=5.0, last=6.0)]
    """
    losses = Losses.of(history, chance)
    epochs, train, val = _by_epoch(history)
    if len(val) < 3 or not np.isfinite([*train, *val]).all() or min(*train, *val) <= 0:
        return []
    if nothing_learnt(losses) or (underfitting(losses) is not None and overfitting(losses) is None):
        return [Region("underfitting", epochs[0], epochs[-1])]
    shaded = []
    start = max(val[0], chance or val[0])
    near = np.flatnonzero(
        (val <= NEAR * val.min()) | (val - val.min() <= _LEFT * (start - val.min())) | _perfect(history)
    )
    if near[0] > 0:
        shaded.append(Region("underfitting", epochs[0], epochs[near[0] - 1]))
    if overfitting(losses) is not None:
        begin = int(near[-1]) + 1
        if begin == len(val):  # the validation loss is flat and does not rise
            # lowest[e]: the lowest validation loss from epoch e on
            lowest = np.minimum.accumulate(val[::-1])[::-1]
            far = np.array([wide(float(v), float(t), losses.start) for v, t in zip(val, train, strict=True)])
            for apart in (val > _WIDE * train, far):
                falling = np.flatnonzero(~(apart & (lowest > _FLAT * val)))
                begin = int(falling[-1]) + 1 if len(falling) else 0
                if begin < len(val):
                    break
        begin = max(begin, int(near[0]))
        if begin < len(val):
            shaded.append(Region("overfitting", epochs[begin], epochs[-1]))
    return shaded


def gap(history: Rows) -> NDArray[np.float64]:
    """(V,) the generalisation gap after each validated epoch: validation loss minus the epoch's mean training loss."""
    _, train, val = _by_epoch(history)
    return val - train


def _perfect(history: Rows) -> NDArray[np.bool_]:
    """(V,): whether a measure in [0, 1] that rises with the training, as accuracy does, is at its end after an epoch."""
    val = [row for row in history if row["split"] == "val"]
    found = np.zeros(len(val), bool)
    for name in {name for row in val for name in row} - {"step", "epoch", "split", "learning_rate", "seconds", "loss"}:
        values = column(val, name)
        if np.isfinite(values).all() and values.min() >= 0 and values.max() <= 1 and values[-1] >= values[0]:
            found |= values >= _PERFECT
    return found


def _by_epoch(history: Rows) -> tuple[list[float], NDArray[np.float64], NDArray[np.float64]]:
    """The validated epochs, the mean training loss since the one before, and the validation loss."""
    train, val = ([row for row in history if row["split"] == split] for split in ("train", "val"))
    ends, at, losses = column(val, "epoch"), column(train, "epoch"), column(train, "loss")
    means, start = [], -np.inf
    for end in ends:
        inside = losses[(at > start + 1e-9) & (at <= end + 1e-9)]
        means.append(inside.mean() if len(inside) else np.nan)
        start = end
    return ends.tolist(), np.array(means, np.float64), column(val, "loss")
