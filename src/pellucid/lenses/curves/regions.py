# SPDX-License-Identifier: Apache-2.0
"""The epochs of a training in which it under- and overfits, by rules with their thresholds stated."""

from __future__ import annotations

from dataclasses import dataclass
from typing import final

import numpy as np
from numpy.typing import NDArray

from pellucid.lenses.curves.verdict import Course, Rows, column, overfitting, underfitting

__all__ = ["NEAR", "Region", "gap", "regions"]

NEAR = 1.1  # a validation loss within a tenth of its lowest is as good as that
_FALLS, _WIDE = 0.95, 2.0  # of a validation loss that stands, above a training loss that is this much lower


@final
@dataclass(frozen=True)
class Region:
    """Epochs, the first and the last of them included, in which a training under- or overfits."""

    kind: str  # "underfitting" or "overfitting"
    first: float
    last: float


def regions(history: Rows) -> list[Region]:
    """The regions of a training, from its losses after each epoch; none where fewer than three were validated.

    Underfitting: the epochs before the validation loss first comes within a tenth of its lowest; or all of them, where the
    rule of underfitting holds: the training loss lost less than half and has stopped falling.

    Overfitting, where the rule of overfitting holds: the epochs after the validation loss was last within a tenth of its
    lowest, if it ends above that; else the epochs from which on it stands above twice the training loss and falls by less than
    a twentieth.

    >>> losses = (2.0, 1.2, 1.0, 1.05, 1.2, 1.3), (2.0, 1.2, 0.9, 0.7, 0.5, 0.4)
    >>> regions([{"epoch": e, "split": s, "loss": row[e - 1], "learning_rate": 0.1}
    ...     for s, row in zip(("val", "train"), losses) for e in range(1, 7)])
    [Region(kind='underfitting', first=1.0, last=2.0), Region(kind='overfitting', first=5.0, last=6.0)]
    """
    course = Course.of(history)
    epochs, train, val = _by_epoch(history)
    if len(val) < 3 or not np.isfinite([*train, *val]).all() or min(*train, *val) <= 0:
        return []
    if underfitting(course) is not None and overfitting(course) is None:
        return [Region("underfitting", epochs[0], epochs[-1])]
    found = []
    near = np.flatnonzero(val <= NEAR * val.min())
    if near[0] > 0:
        found.append(Region("underfitting", epochs[0], epochs[near[0] - 1]))
    if overfitting(course) is not None:
        begin = int(near[-1]) + 1
        if begin == len(val):  # it stands, and does not rise
            standing = (val > _WIDE * train) & (np.minimum.accumulate(val[::-1])[::-1] > _FALLS * val)
            below = np.flatnonzero(~standing)
            begin = int(below[-1]) + 1 if len(below) else 0
        begin = max(begin, int(near[0]))
        if begin < len(val):
            found.append(Region("overfitting", epochs[begin], epochs[-1]))
    return found


def gap(history: Rows) -> NDArray[np.float64]:
    """(V,) the generalisation gap after each validated epoch: its validation loss minus the epoch's mean training loss."""
    _, train, val = _by_epoch(history)
    return val - train


def _by_epoch(history: Rows) -> tuple[list[float], NDArray[np.float64], NDArray[np.float64]]:
    """The validated epochs, the mean training loss of what led to each, and the validation loss."""
    train, val = ([row for row in history if row["split"] == split] for split in ("train", "val"))
    ends, at, losses = column(val, "epoch"), column(train, "epoch"), column(train, "loss")
    means, start = [], -np.inf
    for end in ends:
        inside = losses[(at > start + 1e-9) & (at <= end + 1e-9)]
        means.append(inside.mean() if len(inside) else np.nan)
        start = end
    return ends.tolist(), np.array(means, np.float64), column(val, "loss")
