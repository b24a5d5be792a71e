# SPDX-License-Identifier: Apache-2.0
"""Runs that answer with the mean over several views of each image, and their measures, which are kept apart from the plain ones."""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from typing import Any, TypeAlias

from pellucid import measures
from pellucid._digits import interval_digits
from pellucid.recorded import Unreadable
from pellucid.run import Run
from pellucid.tasks import AnswersViews, Metric, Records, differences, in_views

__all__ = ["ONE", "Asked", "described", "entries", "found", "said", "viewed"]

Asked: TypeAlias = Sequence[str | float] | str | float
ONE = "one view"
"""The name of the plain answers beside those of several views."""
_RESAMPLES = 4000


def viewed(run: Run, asked: Asked) -> Run:
    """A run whose answers are the mean over these views of each image; the run itself without any.

    Raises:
        UsageError: its task does not have such views.
    """
    task = in_views(run.info["task"]["name"], run.task, asked)
    if task is run.task:
        return run
    other = copy.copy(run)
    other.__dict__["task"] = task  # where a `cached_property` keeps its value
    return other


def described(run: Run) -> dict[str, Any] | None:
    """The views whose mean a run answers, as metrics have them; None where it sees each image once."""
    task = run.task
    if not isinstance(task, AnswersViews) or len(task.views) == 1:
        return None
    return {"asked": task.views.named, "count": len(task.views), "words": task.views.words}


def entries(run: Run, metric: Metric, several: Records, one: Records, seed: int) -> dict[str, Any]:
    """What metrics say of the views, and how much the deciding measure gains by them, over the same images.

    Args:
        run: as `viewed` gives it.
        metric: the deciding measure.
        several: the records of the mean over the views.
        one: those of the images as they are.
        seed: of the bootstrap.
    """
    [(value, low, high)] = differences(metric, [several], one, _RESAMPLES, 0.95, seed)
    return {"views": described(run), "gap": {"value": value, "low": low, "high": high}}


def said(metrics: Mapping[str, Any]) -> str:
    """The deciding measure of several views, and what they gain, in words.

    >>> accuracy = {"title": "accuracy", "value": 0.9, "low": 0.85, "high": 0.95}
    >>> print(said({"main": "accuracy", "model": {"accuracy": accuracy}, "split": "test", "weights": "best",
    ...             "views": {"asked": ["flip"], "count": 2}, "gap": {"value": 0.01, "low": -0.002, "high": 0.022}}))
    as the mean of 2 views (flip), accuracy on test images is 0.90 (0.85 to 0.95), +0.010 (-0.002 to +0.022) against one view

    Args:
        metrics: the content of views.json.
    """
    main, gap, views = metrics["model"][metrics["main"]], metrics["gap"], metrics["views"]
    digits = 3 if main["low"] is None else interval_digits(main["low"], main["high"])
    value, low, high = ("–" if main[end] is None else f"{main[end]:.{digits}f}" for end in ("value", "low", "high"))
    digits = interval_digits(gap["low"], gap["high"])
    more, least, most = (f"{gap[end]:+.{digits}f}" for end in ("value", "low", "high"))
    last = " by the last weights" if metrics["weights"] == "last" else ""
    last += f" with noise of level {metrics['level']:g}" if metrics.get("level") is not None else ""
    return (
        f"as the mean of {views['count']} views ({' '.join(views['asked'])}), {main['title']} on {metrics['split']} images{last} is "
        f"{value} ({low} to {high}), {more} ({least} to {most}) against one view"
    )


def found(run: Run) -> Mapping[str, Any] | None:
    """What `evaluate` measured of several views of each image; None where nothing was, or with other weights than the present ones."""
    try:
        metrics, doubt = measures.belonging(run.path, run.info, measures.VIEWS)
    except Unreadable:
        return None
    return None if doubt else metrics
