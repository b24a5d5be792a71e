# SPDX-License-Identifier: Apache-2.0
"""curves: how the losses and measures of one or more trainings went, and in plain words what that says."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, final

import numpy as np
from numpy.typing import NDArray

from pellucid.errors import UsageError
from pellucid.lenses._contract import Lens, Subject, View
from pellucid.lenses.curves import figure as _curves_figure
from pellucid.lenses.curves import players as _players
from pellucid.lenses.curves import several
from pellucid.lenses.curves.figure import of_split
from pellucid.lenses.curves.regions import gap, regions
from pellucid.lenses.curves.verdict import Rows, column, verdict

__all__ = ["Curves"]

_PLACE = ("step", "epoch", "split", "learning_rate", "seconds", "loss")


@final
@dataclass(frozen=True)
class Curves(Lens):
    """Losses of training and validation, the measure, and what they say: under- or overfitting, the learning rate, an early end.

    The epochs that under- and overfit are shaded, and the generalisation gap between the two losses is. Of several runs there
    is a colour each; where they were trained on several numbers of images and were evaluated, the learning curve is drawn too.
    In the numbers `region` (first and last epoch) and `region_kind` are what is shaded, `gap` is the gap after each epoch; of
    several runs each run's columns have its name before them.

    >>> rows = [{"step": i, "epoch": i, "split": s, "loss": 1 / i, "learning_rate": 0.1, "seconds": i}
    ...         for i in range(1, 9) for s in ("train", "val")]
    >>> view = Curves().look(Subject(history=rows))
    >>> view.words
    'Stopped too early: the validation loss was still falling, by 25 % over the last quarter; train for more than 8 epochs.'
    >>> view["region_kind"].tolist(), view["region"].tolist()
    (['underfitting'], [[1.0, 7.0]])
    """

    runs: tuple[str, ...] = ()
    """folders of further runs, which are drawn beside the first"""
    log: bool = True
    """draw losses on a logarithmic axis"""

    def look(self, subject: Subject) -> View:
        if not subject.history:
            raise UsageError("history=[]: holds nothing to draw; train for at least one epoch.")
        if not self.runs:
            return self._alone(subject)
        if subject.runs is None:
            raise UsageError(f"runs={list(self.runs)}: stand beside a run; look at a run's folder.")
        found = [run for run in subject.runs(self.runs) if run.history]
        return self._alone(subject) if len(found) == 1 else self._together(found)

    def _alone(self, subject: Subject) -> View:
        train, val = of_split(subject.history, "train"), of_split(subject.history, "val")
        players = _players.parts(subject.history)
        numbers = _numbers(subject.history, judged=not players)
        if players:  # no rule about one loss holds for a game
            return View(_players.drawn(train, players), numbers, _players.words(train, players))
        said, found = verdict(subject.history), regions(subject.history)
        figure = _curves_figure.figure(subject.history, _measure(train, val), said, found, self.log)
        return View(figure, numbers, said.words, {"region": ("region", "first and last epoch"), "gap": ("epoch",)})

    def _together(self, runs: Sequence[Subject]) -> View:
        games = [run.title for run in runs if _players.parts(run.history)]
        if games:
            raise UsageError(f"runs={games}: have several players, whose losses measure none; look at each alone.")
        measures = [_measure(of_split(run.history, "train"), of_split(run.history, "val")) for run in runs]
        shared = measures[0] if len(set(measures)) == 1 else None
        numbers = {f"{run.title}/{name}": values for run in runs for name, values in _numbers(run.history).items()}
        curve = several.learning_curve(runs)
        axes: dict[str, tuple[str, ...]] = {}
        if curve:
            numbers["learning_curve"] = np.array([(images, *rest) for images, _, *rest in curve], np.float64)
            numbers["learning_curve_run"] = np.array([runs[place].title for _, place, *_ in curve], np.str_)
            axes = {"learning_curve": ("run", "training images, measure, low, high"), "learning_curve_run": ("run",)}
        return View(several.figure(runs, shared, self.log), numbers, several.words(runs), axes)


def _measure(train: Rows, val: Rows) -> str | None:
    """What validation measured beside the loss and its parts."""
    known = {*_PLACE, *(train or [{}])[0]}
    return next((name for row in val for name in row if name not in known), None)


def _numbers(history: Rows, judged: bool = True) -> dict[str, NDArray[Any]]:
    """The columns of the history, and of a training with a single player its regions and its gap."""
    found: dict[str, NDArray[Any]] = {
        f"{split}/{name}": column(rows, name)
        for split in ("train", "val")
        for rows in [of_split(history, split)]
        for name in (rows or [{}])[0]
        if name != "split"
    }
    if judged:
        shaded = regions(history)
        found["region"] = np.array([(each.first, each.last) for each in shaded], np.float64).reshape(-1, 2)
        found["region_kind"] = np.array([each.kind for each in shaded], np.str_)
        found["gap"] = gap(history)
    return found
