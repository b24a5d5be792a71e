# SPDX-License-Identifier: Apache-2.0
"""The level of noise at which a run is measured, where `evaluate` is asked for one, and what a number at it means."""

from __future__ import annotations

import copy
import math

from pellucid.errors import UsageError
from pellucid.run import Run
from pellucid.tasks import AnswersLevels

__all__ = ["at", "said"]


def at(run: Run, level: float | None) -> Run:
    """A run whose images are measured at this level alone; the run itself where none is asked for.

    Raises:
        UsageError: its task has no levels, or not this one.
    """
    if level is None:
        return run
    if not isinstance(run.task, AnswersLevels):
        raise UsageError(f"level={level!r}: {run.info['task']['name']} adds no noise to its images; leave it out.")
    if isinstance(level, bool) or not isinstance(level, (int, float)) or not math.isfinite(level):
        raise UsageError(f"level={level!r}: must be a number; give one, such as {run.task.levels[1]:.3g}.")
    other = copy.copy(run)
    other.__dict__["task"] = run.task.at_level(float(level))  # where a `cached_property` keeps its value
    return other


def said(run: Run, level: float | None) -> list[str]:
    """What a number measured on this run's images should not be read without: which levels it belongs to; [] without levels."""
    if not isinstance(run.task, AnswersLevels):
        return []
    least, most = run.task.levels
    trained = f"{least:.4g}" if least == most else f"{least:.4g} to {most:.4g}"
    if level is None:
        mixed = f"Every image has a level of its own between {least:.4g} and {most:.4g}; --level measures one alone."
        return [mixed] if least != most else []
    beyond = "" if least <= level <= most else " and never saw such noise"
    return [f"Measured with noise of level {level:.4g}; the model was trained for {trained}{beyond}."]
