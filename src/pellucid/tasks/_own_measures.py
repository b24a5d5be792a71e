# SPDX-License-Identifier: Apache-2.0
"""Measures of the user's own: functions of the records, one number an image or one for all of them."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeAlias

import numpy as np

from pellucid.errors import UsageError, brief
from pellucid.tasks._metrics import Measure, Metric, summarise
from pellucid.tasks._records import Records, rows_of

__all__ = ["OwnMeasure", "check_measures", "own_values", "summarised"]

OwnMeasure: TypeAlias = Callable[[Records], Any]
"""Records, columns with a row an image, to (N,) numbers of which the measure is the mean, or to one number."""

_COLUMN = "of the measure"
_TAKEN = {"step", "epoch", "split", "learning_rate", "seconds", "loss"}  # entries of a history's row


def check_measures(measures: Mapping[str, OwnMeasure], declared: Sequence[Metric]) -> None:
    """Refuse measures that cannot be kept beside those of a task.

    Raises:
        UsageError: no functions by name, or a name that is taken.
    """
    if not isinstance(measures, Mapping) or not all(isinstance(name, str) and name.isidentifier() for name in measures):
        raise UsageError(f"measures={measures!r}: must be functions by name; write e.g. measures={{'errors': errors}}.")
    for name, function in measures.items():
        if not callable(function):
            raise UsageError(
                f"measures={{{name!r}: {function!r}}}: is no function; give one of the records of the images."
            )
        if name in _TAKEN or name in {metric.key for metric in declared}:
            raise UsageError(f"measures={{{name!r}: …}}: the training has an entry of this name; give it another name.")


def own_values(measures: Mapping[str, OwnMeasure], records: Records) -> dict[str, float | None]:
    """The value of each measure; None where it is not finite.

    >>> own_values({"wrong": lambda rows: rows["true"] != rows["predicted"]},
    ...            {"true": np.array([0, 1, 1, 0]), "predicted": np.array([0, 0, 1, 0])})
    {'wrong': 0.25}
    """
    values = {name: float(np.mean(_value(name, function, records))) for name, function in measures.items()}
    return {name: value if math.isfinite(value) else None for name, value in values.items()}


def summarised(measures: Mapping[str, OwnMeasure], records: Records, seed: int = 0) -> dict[str, Measure]:
    """Each measure: with its 95 % interval where it has a number for each image, without one where it is a single number."""
    found: dict[str, Measure] = {}
    for name, function in measures.items():
        value = _value(name, function, records)
        if value.ndim:
            column = {**records, _COLUMN: value}
            metric = Metric(name, name.replace("_", " "), better="neither", each=lambda rows: rows[_COLUMN])
            found |= summarise([metric], column, seed)
        else:
            found[name] = Measure(float(value), math.nan, math.nan, better="neither", title=name.replace("_", " "))
    return found


def _value(name: str, function: OwnMeasure, records: Records) -> Any:
    """What a function gives: one number, or one for each image."""
    count = rows_of(records)
    try:
        value = np.asarray(function(dict(records)))
        value = value if value.dtype == bool else value.astype(np.float64)
    except Exception as fault:
        raise UsageError(
            f"measures={{{name!r}: …}}: cannot be computed from the records ({type(fault).__name__}: {brief(fault)}); their columns "
            f"are {', '.join(records)}."
        ) from fault
    if value.shape not in ((), (count,)):
        raise UsageError(
            f"measures={{{name!r}: …}}: gives the shape {value.shape} for {count} images; return one number, or one for each image."
        )
    return value
