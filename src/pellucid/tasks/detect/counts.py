# SPDX-License-Identifier: Apache-2.0
"""How many objects were found in an image against how many there are: what people who count cells or pedestrians ask."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pellucid.tasks._metrics import Floats, Metric, Weights
from pellucid.tasks._records import Records, rows_of
from pellucid.tasks.detect.precision import answered

__all__ = ["by_class", "numbers", "off", "share_found", "share_off"]


def numbers(records: Records, label: int | None = None) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """(N,) each: the answers in each image, and the objects; of one class, or of all.

    Crowds count as no objects, and answers that lie in them as no answers.
    """
    own, true = records["label"], records["true_label"]
    chosen = answered(records)
    there = np.ones(len(true.values), bool)
    if label is not None:
        chosen, there = chosen & (own.values == label), true.values == label
    n = rows_of(records)
    return np.bincount(own.owners[chosen], minlength=n), np.bincount(true.owners[there], minlength=n)


def off(records: Records, label: int | None = None) -> NDArray[np.int64]:
    """(N,): how many objects too many or too few were found, all classes added up, or of one class."""
    if label is not None:
        found, true = numbers(records, label)
        return np.asarray(np.abs(found - true), np.int64)
    classes = 1 + max((int(records[name].values.max(initial=-1)) for name in ("label", "true_label")), default=-1)
    each = [off(records, one) for one in range(classes)]
    return np.asarray(np.sum(each, 0)) if each else np.zeros(rows_of(records), np.int64)


def share_off(label: int | None) -> Callable[[Records, Weights], Floats]:
    """The rule of the median, over the images with objects of a class, of |found − true| / true."""

    def over(records: Records, weights: Weights) -> Floats:
        found, true = numbers(records, label)
        some = true > 0
        return median(np.abs(found - true)[some] / true[some], weights[:, some])

    return over


def share_found(label: int | None) -> Callable[[Records, Weights], Floats]:
    """The rule of the median, over the images with objects of a class, of found / true: below 1 where objects are overlooked."""

    def over(records: Records, weights: Weights) -> Floats:
        found, true = numbers(records, label)
        some = true > 0
        return median(found[some] / true[some], weights[:, some])

    return over


def median(values: Floats, weights: Weights) -> Floats:
    """(R,): the medians of values (N,) that occur as often as weights (R, N) say; NaN where none occurs.

    >>> median(np.array([1.0, 5.0, 2.0]), np.array([[1.0, 1, 1], [0, 3, 1], [1, 0, 1], [0, 0, 0]]))
    array([2. , 5. , 1.5, nan])
    """
    if not len(values):
        return np.full(len(weights), np.nan)
    order = np.argsort(values, kind="stable")
    total = weights[:, order].cumsum(1)  # (R, N)
    half = total[:, -1:] / 2
    lower, upper = (total >= half).argmax(1), (total > half).argmax(1)  # the two in the middle of an even number
    middle = (values[order][lower] + values[order][upper]) / 2
    return np.where(half[:, 0] > 0, middle, np.nan)


def by_class(label: int) -> list[Metric]:
    """The measures of the counts of one class."""

    def mean(records: Records) -> Any:
        return off(records, label)

    return [
        Metric("off", "absolute count error", "", "lower", each=mean, limits=(0, np.inf)),
        Metric("share_off", "median relative count error", "", "lower", over=share_off(label), limits=(0, np.inf)),
        Metric("share_found", "median found ÷ true", "", "neither", over=share_found(label), limits=(0, np.inf)),
    ]
