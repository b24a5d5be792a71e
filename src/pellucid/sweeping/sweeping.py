# SPDX-License-Identifier: Apache-2.0
"""`sweep`: train every combination of lists of options, and see what came of them."""

from __future__ import annotations

import statistics
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, final

from pellucid.comparison.comparison import compare
from pellucid.data.dataset import Dataset
from pellucid.errors import TrainingError
from pellucid.files import check_space, remove_drafts
from pellucid.inference import evaluate
from pellucid.own.parts import take
from pellucid.run import Run
from pellucid.sweeping import curve
from pellucid.sweeping.grid import axis_of, checked, default_folder, grid
from pellucid.sweeping.points import points
from pellucid.sweeping.result import Sweep, write
from pellucid.tasks import AnyTask, TaskFamily
from pellucid.training.training import train

__all__ = ["Planned", "planned", "sweep"]


@final
@dataclass(frozen=True)
class Planned:
    """A run that a sweep would make, or has made."""

    name: str
    command: str  # that trains it alone
    status: str  # "new", or the status of the run that is there
    steps: int  # optimiser steps of the whole training
    seconds: float | None  # taken so far, or a guess of those to come; None where nothing is known


def sweep(
    task: str | AnyTask | TaskFamily = "classify",
    data: str | Path | Dataset | None = None,
    model: Any = None,
    out: str | Path | None = None,
    *,
    cases: Mapping[str, Mapping[str, Any]] | None = None,
    baselines: bool = False,
    progress: bool = True,
    **options: Any,
) -> Sweep:
    """Train the same task over lists of options, every combination, measure the runs, and compare them.

    A list or tuple holds values to try, anything else is one value for all; the values of an option that is itself a
    sequence are sequences: hidden=[(64,), (64, 32)]. An option is given to those models that have it. Everything is checked
    before the first training. A training that fails (a loss that is not finite) is a finding, and the others go on; the same
    call resumes a sweep. Runs that differ in their seed alone are one point: the mean, with its interval and spread.

    >>> import tempfile
    >>> folder = tempfile.TemporaryDirectory()
    >>> found = sweep("classify", "digits", "mlp", folder.name, lr=[1e-5, 1e-2], hidden=[(8,)], epochs=3, progress=False)
    >>> [(row.name, row.verdict) for row in found.rows]
    [('mlp,lr=1e-05', 'real'), ('mlp,lr=0.01', 'best')]
    >>> found.axis, [point.place for point in found.points]
    ('lr', [1e-05, 0.01])
    >>> folder.cleanup()

    Args:
        task: a name in the catalogue, or a task with its options.
        data: what `train` takes; by default the task's embedded example.
        model: what `train` takes, or several; by default the task's own.
        out: the folder for the runs and comparison/; by default one under `runs/`, named for what was asked.
        cases: options that go together, by the name of the case: {"frozen": {"frozen": True}, "all": {"lr": 3e-4}}.
        baselines: measure the task's baselines too, on the training images of each run.
        progress: show each training's progress.
        options: fields of the task, options of the models, and fields of `Recipe`, flat, each a value or a list of values.

    Raises:
        UsageError: something asked for cannot be, in any of the combinations, or there is only one; nothing was written.
        RunError: a folder holds another run.
        KeyboardInterrupt: a training was stopped.
    """
    trainings = grid(task, _several(model), options, cases or {})
    folder = Path(out) if out is not None else default_folder(task, data, trainings)
    checked(task, data, trainings, folder)
    runs = []
    for place, training in enumerate(trainings, 1):
        if progress:
            print(f"{place} of {len(trainings)}  {training.name}", file=sys.stderr)
        path = folder / training.name
        try:
            run = train(task, data, training.model, path, progress=progress, **training.options)
        except TrainingError:
            run = Run(path)  # its record says what happened
        if run.status == "stopped":
            raise KeyboardInterrupt
        measured: dict[str, Any] = run.metrics or {}
        if baselines and run.status == "finished" and not measured.get("baselines"):
            evaluate(run)
        runs.append(run)
    comparison = compare(runs, folder / "comparison")
    axis = axis_of(trainings)
    found = points(trainings, comparison.rows, axis)
    if not found:
        return Sweep(comparison, (), axis, "", None)
    words = curve.caption(found, str(comparison.rows[0].run.info["data"]["what"]), axis)
    figure = curve.draw(found, axis, words)
    remove_drafts(folder / "comparison", "sweep.*")
    check_space(folder / "comparison" / "sweep.png")
    written = write(found, axis, words, figure, folder / "comparison")
    return Sweep(comparison, tuple(found), axis, words, figure, written)


def planned(
    task: str | AnyTask | TaskFamily = "classify",
    data: str | Path | Dataset | None = None,
    model: Any = None,
    out: str | Path | None = None,
    *,
    cases: Mapping[str, Mapping[str, Any]] | None = None,
    **options: Any,
) -> list[Planned]:
    """The runs that `sweep` would make with the same arguments, checked, but not trained.

    The time of a run that has not finished is guessed from finished runs of the same line of the sweep, by their steps.

    >>> [(run.name, run.status, run.steps) for run in planned("classify", "digits", "mlp", lr=[0.1, 0.01], epochs=3)]
    [('mlp,lr=0.1', 'new', 30), ('mlp,lr=0.01', 'new', 30)]

    Args:
        task: a name in the catalogue, or a task with its options.
        data: what `train` takes; by default the task's embedded example.
        model: what `train` takes, or several; by default the task's own.
        out: the folder for the runs; by default that of `sweep`.
        cases: options that go together, by the name of the case.
        options: as those of `sweep`.

    Raises:
        UsageError: something asked for cannot be, in any of the combinations, or there is only one.
        RunError: a folder holds another run.
    """
    trainings = grid(task, _several(model), options, cases or {})
    folder = Path(out) if out is not None else default_folder(task, data, trainings)
    axis = axis_of(trainings)
    plans = checked(task, data, trainings, folder)
    made = {t.name: Run(folder / t.name) for t in trainings if (folder / t.name / "run.json").exists()}
    paces: dict[str, list[float]] = {}  # seconds a step of finished runs, by line
    for training, plan in plans:
        run = made.get(training.name)
        if run is not None and run.status == "finished":
            paces.setdefault(training.line(axis), []).append(float(run.info["seconds"]) / max(1, plan.steps))
    found = []
    for training, plan in plans:
        run, pace = made.get(training.name), paces.get(training.line(axis))
        guess = None if pace is None else statistics.median(pace) * plan.steps
        seconds = float(run.info["seconds"]) if run is not None and run.status == "finished" else guess
        command = plan.settings.command(plan.dataset.name, str(folder / training.name))
        status = "new" if run is None else run.status
        found.append(Planned(training.name, command, status, plan.steps, seconds))
    return found


def _several(model: Any) -> list[str]:
    given = [*model] if isinstance(model, (list, tuple)) else [] if model is None else [model]
    return [str(take("models", one).name) for one in given]
