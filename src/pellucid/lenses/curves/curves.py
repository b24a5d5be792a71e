# SPDX-License-Identifier: Apache-2.0
"""curves: losses and measures of one or more trainings, and in plain words what they say."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, final

import numpy as np
from numpy.typing import NDArray

from pellucid.errors import UsageError
from pellucid.lenses._contract import Lens, View
from pellucid.lenses._parts import TrainingLog
from pellucid.lenses.curves import players, several
from pellucid.lenses.curves.comparable import comparable
from pellucid.lenses.curves.figure import figure, of_split
from pellucid.lenses.curves.regions import gap, regions
from pellucid.lenses.curves.verdict import Rows, column, verdict

__all__ = ["Curves"]

_PLACE = ("step", "epoch", "split", "learning_rate", "seconds", "loss")


@final
@dataclass(frozen=True)
class Curves(Lens[TrainingLog]):
    """Training and validation losses with their measure, and a verdict: under- or overfitting, the learning rate, an early stop.

    Epochs that under- and overfit are shaded, and so is the generalisation gap between the two losses. Several runs have a colour
    each; if they were trained on different numbers of images and evaluated, the learning curve is drawn too. In the numbers,
    `region` (first and last epoch) and `region_kind` are what is shaded, `gap` is the gap after each epoch; with several runs
    each column's name begins with its run's.

    >>> rows = [{"step": i, "epoch": i, "split": s, "loss": 1 / i, "learning_rate": 0.1, "seconds": i}
    ...         for i in range(1, 9) for s in ("train", "val")]
    >>> view = Curves().look(TrainingLog(rows))
    >>> view.words
    'Stopped too early: the validation loss was still falling, by 25 % over the last quarter; train for more than 8 epochs.'
    >>> view["region_kind"].tolist(), view["region"].tolist()
    (['underfitting'], [[1.0, 6.0]])
    """

    runs: tuple[str, ...] = ()
    """folders of further runs to compare with"""
    log: bool = True
    """draw losses on a logarithmic axis"""

    def look(self, log: TrainingLog) -> View:
        if not self.runs:
            return self._alone(log)
        if log.beside is None:
            raise UsageError(f"runs={list(self.runs)}: can only be compared with a run; look at a run's folder.")
        logs = [other for other in log.beside(self.runs) if other.history]
        return self._alone(log) if len(logs) == 1 else self._together(logs)

    def _alone(self, log: TrainingLog) -> View:
        train, val = of_split(log.history, "train"), of_split(log.history, "val")
        names = players.parts(log.history)
        numbers = _numbers(log, single=not names)
        if names:  # no rule about one loss applies to a game
            return View(players.figure(train, names), numbers, players.words(train, names))
        alike, without = comparable(log.history)
        judgement, shaded = verdict(alike, log.chance), regions(alike, log.chance)
        drawing = figure(alike, _measure(train, val), judgement, shaded, self.log, without)
        axes = {"region": ("region", "first and last epoch"), "gap": ("epoch",)}
        words = judgement.words
        if without:
            words += f" Losses are without {', '.join(without)}, which only the training has."
        return View(drawing, numbers, words, axes)

    def _together(self, logs: Sequence[TrainingLog]) -> View:
        games = [log.title for log in logs if players.parts(log.history)]
        if games:
            raise UsageError(f"runs={games}: have several players, whose losses do not compare; look at each alone.")
        measures = [_measure(of_split(log.history, "train"), of_split(log.history, "val")) for log in logs]
        shared = measures[0] if len(set(measures)) == 1 else None
        numbers = {f"{log.title}/{name}": values for log in logs for name, values in _numbers(log).items()}
        logs = [replace(log, history=comparable(log.history)[0]) for log in logs]
        curve = several.learning_curve(logs)
        axes: dict[str, tuple[str, ...]] = {}
        if curve:
            numbers["learning_curve"] = np.array([(images, *rest) for images, _, *rest in curve], np.float64)
            numbers["learning_curve_run"] = np.array([logs[place].title for _, place, *_ in curve], np.str_)
            axes = {"learning_curve": ("run", "training images, measure, low, high"), "learning_curve_run": ("run",)}
        return View(several.figure(logs, shared, self.log), numbers, several.words(logs), axes)


def _measure(train: Rows, val: Rows) -> str | None:
    """The column of validation that is neither the loss nor a part of it."""
    known = {*_PLACE, *(train or [{}])[0]}
    return next((name for row in val for name in row if name not in known), None)


def _numbers(log: TrainingLog, single: bool = True) -> dict[str, NDArray[Any]]:
    """The columns of the history and, with a single player, the regions and the gap."""
    history = log.history
    columns: dict[str, NDArray[Any]] = {
        f"{split}/{name}": column(rows, name)
        for split in ("train", "val")
        for rows in [of_split(history, split)]
        for name in (rows or [{}])[0]
        if name != "split"
    }
    if single:
        alike, _ = comparable(history)
        shaded = regions(alike, log.chance)
        columns["region"] = np.array([(region.first, region.last) for region in shaded], np.float64).reshape(-1, 2)
        columns["region_kind"] = np.array([region.kind for region in shaded], np.str_)
        columns["gap"] = gap(alike)
    return columns
