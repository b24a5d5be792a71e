# SPDX-License-Identifier: Apache-2.0
"""The threshold that a user gives for a run's answers, as a number or as the one that its training chose."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, Literal

from pellucid.errors import UsageError
from pellucid.run import Run
from pellucid.tasks import ChoosesThreshold

__all__ = ["CHOSEN", "chosen", "given", "resolved"]

CHOSEN = "chosen"


def chosen(run: Run, which: Literal["best", "last"] = "best") -> float | None:
    """The threshold that the training chose for these weights; None where it kept none."""
    return run.threshold.value if run.threshold is not None and which == "best" else None


def given(run: Run, threshold: float | str | None, which: Literal["best", "last"] = "best") -> float | None:
    """The number that is meant; None without a threshold.

    Raises:
        UsageError: it is no score, the task has none, or none was chosen for these weights.
    """
    if threshold is None:
        return None
    if not isinstance(run.task, ChoosesThreshold):
        raise UsageError(f"threshold={threshold!r}: the answers of {run.info['task']['name']} have none; leave it out.")
    if threshold == CHOSEN:
        own = chosen(run, which)
        if own is None:
            why = "the last weights have none" if which == "last" else "this training chose none"
            raise UsageError(f"threshold={threshold!r}: {why}; give a number from 0 to 1.")
        return own
    number = isinstance(threshold, (int, float)) and not isinstance(threshold, bool)
    if not number or not (math.isfinite(float(threshold)) and 0 <= float(threshold) <= 1):
        raise UsageError(f"threshold={threshold!r}: is a score; give a number from 0 to 1, or {CHOSEN!r}.")
    return float(threshold)


def resolved(run: Run, options: Mapping[str, Any]) -> dict[str, Any]:
    """Options of `predict` in which a chosen threshold is a number."""
    asked = options.get("threshold")
    return {**options, "threshold": given(run, asked)} if isinstance(asked, str) else dict(options)
