# SPDX-License-Identifier: Apache-2.0
"""Measures: their names, how they are computed, and their intervals by resampling the images.

All intervals and all significances of differences come from one bootstrap over images (Efron & Tibshirani 1993, ch. 13 and
16): `resamples` gives how often each image is drawn, and a measure is a function of these weights. So a measure need not be a
mean over images: accuracy, F1, mutual information, mean average precision and the IoU of classes get their intervals in the
same way, and two runs on the same images are compared under the same resamples. `_intervals` makes intervals of them.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Literal, TypeAlias, final

import numpy as np
from numpy.typing import NDArray

from pellucid._digits import interval_digits
from pellucid.tasks._intervals import around, bounds, collapsed, deviation, left_out, told_apart
from pellucid.tasks._records import Records, rows_of

__all__ = [
    "RESAMPLES",
    "Better",
    "Measure",
    "Metric",
    "Weights",
    "averaged",
    "bounds",
    "differences",
    "gaps",
    "mean",
    "resamples",
    "summarise",
]

RESAMPLES = 1000
_AT_ONCE = 2_000_000  # weights in memory
_GROUPS = 20_000  # more images than this are drawn in this many groups

Weights: TypeAlias = NDArray[np.float64]
"""(R, N): how often each of N images was drawn, in each of R resamples."""
Floats: TypeAlias = NDArray[np.float64]
Better: TypeAlias = Literal["higher", "lower", "neither"]


@final
@dataclass(frozen=True)
class Measure:
    """A number with its 95 % interval over the images, its unit, its direction and its title.

    As text it is rounded to the digits that its interval leaves meaningful.

    >>> str(Measure(0.98901, 0.97802, 0.99725)), str(Measure(25.1234, 24.9, 25.3, "dB"))
    ('0.989 (0.978–0.997)', '25.12 (24.90–25.30)')
    """

    value: float
    low: float
    high: float
    unit: str = ""  # "", "dB", "%"
    better: str = "higher"  # one of `Better`
    title: str = ""

    def __str__(self) -> str:
        value, low, high = (math.nan if x is None else x for x in (self.value, self.low, self.high))  # JSON has no NaN
        if not math.isfinite(value):
            return "–"
        if not math.isfinite(high - low):
            return f"{value:.4g}"
        digits = interval_digits(low, high)
        shown = [f"{x:.{digits}f}" for x in (value, low, high)]
        return f"{shown[0]} ({shown[1]}–{shown[2]})"


@final
@dataclass(frozen=True)
class Metric:
    """The declaration of a measure: its key in metrics.json, its title, its unit and direction, and its rule.

    Either `each` gives one number per image, and the measure is its mean over all images, or those `among` them; or `over`
    computes the measure of any resample of the images from their weights.

    >>> right = Metric("accuracy", "accuracy", each=lambda records: records["true"] == records["predicted"])
    >>> right.value({"true": np.array([0, 1, 1]), "predicted": np.array([0, 1, 0])})
    0.6666666666666666
    >>> def largest(records, weights):  # the largest error among the images that were drawn: no mean
    ...     return np.where(weights > 0, records["error"], 0).max(1)
    >>> Metric("worst", "largest error", "px", "lower", over=largest).value({"error": np.array([1.0, 5.0])})
    5.0
    """

    key: str
    title: str
    unit: str = ""
    better: Better = "higher"
    each: Callable[[Records], NDArray[Any]] | None = None  # records of N images -> (N,)
    among: Callable[[Records], NDArray[np.bool_]] | None = (
        None  # (N,): the images over which `each` is averaged; None: all
    )
    over: Callable[[Records, Weights], Floats] | None = None  # and weights (R, N) -> (R,)
    needs: tuple[str, ...] = ()  # columns that it is computed from; records without them do not have this measure
    limits: tuple[float, float] = (-math.inf, math.inf)  # the lowest and the highest value there can be
    # the value without what choosing and measuring on the same images adds; the interval reaches to it
    corrected: Callable[[Records], float] | None = None
    # the value of few images during a training, where `value` would depend on their number
    live: Callable[[Records], float] | None = None

    def __post_init__(self) -> None:
        assert (self.each is None) != (self.over is None), f"{self.key}: give either each or over"
        assert self.among is None or self.each is not None, f"{self.key}: among belongs to each"

    def values(self, records: Records, weights: Weights) -> Floats:
        """(R,): the measure for each row of the weights (R, N)."""
        if self.each is not None:
            values, counted = np.asarray(self.each(records), np.float64), self.counted(records)
            if not counted.all():
                values, weights = np.where(counted, values, 0.0), weights * counted
            with np.errstate(invalid="ignore"):  # NaN where none of the images that count was drawn
                return np.asarray(weights @ values / weights.sum(1))
        assert self.over is not None
        return np.asarray(self.over(records, weights), np.float64)

    def counted(self, records: Records) -> NDArray[np.bool_]:
        """(N,): the images that the measure is of."""
        return np.ones(rows_of(records), bool) if self.among is None else np.asarray(self.among(records), bool)

    def value(self, records: Records) -> float:
        """The measure with every image counted once."""
        return float(self.values(records, np.ones((1, rows_of(records))))[0])

    def limits_of(self, records: Records) -> tuple[float, float]:
        """The lowest and the highest value there can be: 0 and 1 where each image has one of the two."""
        if self.each is not None and not any(map(math.isfinite, self.limits)):
            values = np.asarray(self.each(records))
            if values.dtype == bool or bool(np.isin(values, (0, 1)).all()):
                return 0.0, 1.0
        return self.limits

    @property
    def sign(self) -> int:
        """1 where higher is better, −1 where lower is."""
        return -1 if self.better == "lower" else 1


def mean(key: str, title: str, unit: str = "", better: Better = "higher", column: str = "") -> Metric:
    """The mean of a column of the records, by default the column named like the measure's key.

    >>> mean("psnr", "PSNR", "dB").value({"psnr": np.array([20.0, 30.0])})
    25.0
    """
    name = column or key
    return Metric(key, title, unit, better, each=lambda records: records[name], needs=(name,))


def resamples(n: int, count: int = RESAMPLES, seed: int = 0) -> Iterator[Weights]:
    """`count` bootstrap resamples of n images as weights (R, n), some rows at a time; the same for all measures and runs.

    More than 20,000 images are drawn in 20,000 random groups, which bounds the cost and keeps the variance of a mean.

    >>> weights = np.concatenate([*resamples(50, 100)])
    >>> weights.shape, set(weights.sum(1).tolist())
    ((100, 50), {50.0})
    """
    member, drawn = _drawn(n, count, seed)
    rows = max(1, _AT_ONCE // n)
    for start in range(0, count, rows):
        weights = drawn[start : start + rows].astype(np.float64)
        yield weights if member is None else weights[:, member]


@lru_cache(maxsize=1)  # the model and its baselines are measured on the same images: at most 40 MB
def _drawn(n: int, count: int, seed: int) -> tuple[NDArray[np.int64] | None, NDArray[np.uint16]]:
    """The group of each of n images, None where each is one of its own, and how often each group is drawn (count, groups)."""
    rng = np.random.default_rng(seed)
    groups = min(n, _GROUPS)
    member = rng.permutation(n) % groups if n > groups else None
    rows = max(1, _AT_ONCE // n)
    found = np.empty((count, groups), np.uint16)
    for start in range(0, count, rows):
        r = min(rows, count - start)
        # row i draws from its own range of numbers, so that one count serves all rows
        drawn = rng.integers(0, groups, (r, groups), np.int32) + np.arange(r, dtype=np.int64)[:, None] * groups
        found[start : start + r] = np.bincount(drawn.ravel(), minlength=r * groups).reshape(r, groups)
    return member, found


def summarise(metrics: Sequence[Metric], records: Records, seed: int = 0) -> dict[str, Measure]:
    """Each measure whose columns exist, with its 95 % interval over one set of resamples.

    The interval of a mean is the percentile interval; that of any other measure is moved by the bias of the resamples, so
    that it contains its value. A rate of 0 or 1 has Wilson's interval: no resample of right images has a wrong one.

    >>> psnr = summarise([mean("psnr", "PSNR", "dB")], {"psnr": np.arange(100.0)})["psnr"]
    >>> psnr.value, 40 < psnr.low < 49.5 < psnr.high < 60
    (49.5, True)
    >>> print(summarise([Metric("accuracy", "accuracy", each=lambda rows: rows["right"])], {"right": np.ones(37, bool)})["accuracy"])
    1.000 (0.906–1.000)
    """
    known = [metric for metric in metrics if all(name in records for name in metric.needs)]
    drawn: dict[str, list[Floats]] = {metric.key: [] for metric in known}
    for weights in resamples(rows_of(records), RESAMPLES, seed):
        for metric in known:
            drawn[metric.key].append(metric.values(records, weights))
    found = {}
    every = np.ones((1, rows_of(records)))  # one array for all measures, which may share what they compute from it
    without = left_out(rows_of(records), seed) if rows_of(records) <= _GROUPS else every
    exact = {metric.key: float(metric.values(records, every)[0]) for metric in known}
    for metric in known:
        value, values = exact[metric.key], np.concatenate(drawn[metric.key])
        low, high = bounds(values)
        limits = metric.limits_of(records)
        if low == high == value and all(map(math.isfinite, limits)):
            low, high = collapsed(value, int(metric.counted(records).sum()), limits)
        elif metric.over is not None:
            corrected = None if metric.corrected is None else metric.corrected(records)
            spread = _deviation(metric, records, seed, without=without)
            low, high = around(value, values, corrected, metric.limits, spread=spread)
        found[metric.key] = Measure(value, low, high, metric.unit, metric.better, metric.title)
    return found


def averaged(metric: Metric, owners: Sequence[Records], seed: int = 0) -> Measure:
    """The mean of a measure over several models on the same images, with its 95 % interval over these images.

    All models see the same resamples, so that the interval is that of the mean, and of one model the one that it has alone.

    >>> right = Metric("accuracy", "accuracy", each=lambda rows: rows["right"])
    >>> print(averaged(right, [{"right": np.arange(100) < 60}, {"right": np.arange(100) < 80}]))
    0.70 (0.62–0.78)
    """
    value, n = float(np.mean([metric.value(records) for records in owners])), rows_of(owners[0])
    drawn = [
        np.mean([metric.values(records, weights) for records in owners], 0) for weights in resamples(n, RESAMPLES, seed)
    ]
    low, high = bounds(np.concatenate(drawn))
    limits = metric.limits_of(owners[0])
    if low == high == value and all(map(math.isfinite, limits)):
        low, high = collapsed(value, int(metric.counted(owners[0]).sum()), limits)
    elif metric.over is not None:
        rule = metric.corrected
        corrected = None if rule is None else float(np.mean([rule(records) for records in owners]))
        spread = float(np.mean([_deviation(metric, records, seed) for records in owners]))
        low, high = around(value, np.concatenate(drawn), corrected, metric.limits, spread=spread)
    return Measure(value, low, high, metric.unit, metric.better, metric.title)


def differences(
    metric: Metric, owners: Sequence[Records], reference: Records, count: int, level: float = 0.95, seed: int = 0
) -> list[tuple[float, float, float]]:
    """Each owner's difference of a measure from a reference on the same images, with its interval.

    Where two models are right on the same images, no resample tells them apart; that their rates differ by up to Wilson's
    limit is still possible.

    >>> both = {"right": np.ones(37, bool)}
    >>> [found] = differences(Metric("accuracy", "accuracy", each=lambda rows: rows["right"]), [both], both, 100)
    >>> [round(number, 3) for number in found]
    [0.0, -0.094, 0.094]
    """
    values, drawn = gaps(metric, owners, reference, count, seed)  # (K,), (count, K)
    known, found = metric.limits_of(reference), []
    base = None if metric.corrected is None else metric.corrected(reference)
    for place, (value, records) in enumerate(zip(values.tolist(), owners, strict=True)):
        # rates on either side, or a number that happens to be 0 or 1 on one of them
        span = known if metric.limits_of(records) == known else (-math.inf, math.inf)
        limits = span[0] - span[1], span[1] - span[0]
        low, high = bounds(drawn[:, place], level)
        if low == high == value and math.isfinite(limits[1]):
            low, high = collapsed(value, int(metric.counted(reference).sum()), limits, level)
        elif metric.over is not None:
            own = None if base is None or metric.corrected is None else metric.corrected(records) - base
            low, high = around(value, drawn[:, place], own, limits, level, _deviation(metric, records, seed, reference))
        elif metric.each is not None and span == (0.0, 1.0):
            counted = metric.counted(reference)
            right = [np.asarray(metric.each(table))[counted] for table in (records, reference)]
            low, high = told_apart(right[0], right[1], low, high, level)
        found.append((value, low, high))
    return found


def _deviation(
    metric: Metric, records: Records, seed: int, reference: Records | None = None, without: Weights | None = None
) -> float:
    """The standard deviation of a measure, or of its difference from a reference, by the jackknife; 0 for very many images,
    whose resamples tell it as well."""
    if rows_of(records) > _GROUPS:
        return 0.0
    without = left_out(rows_of(records), seed) if without is None else without
    values = metric.values(records, without)
    return deviation(values if reference is None else values - metric.values(reference, without))


def gaps(
    metric: Metric, owners: Sequence[Records], reference: Records, count: int, seed: int = 0
) -> tuple[Floats, Floats]:
    """Differences of a measure from a reference on the same images: over all images (K,), and over shared resamples (count, K).

    A hard image is hard for all, so paired differences vary much less than two separate intervals suggest.

    >>> one, other = ({"psnr": np.arange(50.0) + shift} for shift in (0.0, 0.1))
    >>> differences, drawn = gaps(mean("psnr", "PSNR"), [other], one, 100)
    >>> differences.round(6).tolist(), bool(np.allclose(drawn, 0.1))
    ([0.1], True)
    """
    value = metric.value(reference)
    measured = np.array([metric.value(records) - value for records in owners])
    drawn = []
    for weights in resamples(rows_of(reference), count, seed):
        base = metric.values(reference, weights)
        drawn.append(np.stack([metric.values(records, weights) - base for records in owners], 1))
    return measured, np.concatenate(drawn)
