# SPDX-License-Identifier: Apache-2.0
"""Intervals from resampled values: they contain their own value, and have a width where every image is right.

A measure that is chosen on the images that it is measured on, such as the share of right images under the best matching, is
optimistic, and more so in resamples, whose images repeat. So the shape of an interval comes from the resamples, its width
from them or from the jackknife, whichever is larger (repeated images hide how much mutual information varies), and its place
from the value and from the value without the optimism (`halves`).
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from statistics import NormalDist
from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["around", "bounds", "collapsed", "deviation", "halves", "left_out", "told_apart"]

_HALVINGS = 20
_GROUPS = 100  # of the jackknife
_MOST_STRETCHED = 2.0

Floats = NDArray[np.float64]


def bounds(drawn: Floats, level: float = 0.95) -> tuple[float, float]:
    """The percentile interval of resampled values (R,), without those where the measure is not defined (NaN)."""
    defined = drawn[~np.isnan(drawn)]
    if not len(defined):
        return math.nan, math.nan
    tail = 50 * (1 - level)
    low, high = np.percentile(defined, [tail, 100 - tail])
    return float(low), float(high)


def around(
    value: float,
    drawn: Floats,
    corrected: float | None = None,
    limits: tuple[float, float] = (-math.inf, math.inf),
    level: float = 0.95,
    spread: float = 0.0,
) -> tuple[float, float]:
    """The interval of a measure from its values in resamples (R,), moved by their bias so that it lies around the value.

    It is stretched where the standard deviation is known to be larger than that of the resamples (`spread`). With a corrected
    value it reaches from the lower to the upper end around either: the truth lies between the two.

    >>> drawn = np.linspace(0.4, 0.6, 101)  # resamples of a value of 0.3: all of them higher
    >>> [round(end, 3) for end in around(0.3, drawn)], [round(end, 3) for end in around(0.3, drawn, 0.05, (0.0, 1.0))]
    ([0.205, 0.395], [0.0, 0.395])
    """
    low, high = bounds(drawn, level)
    known = [value] if corrected is None or math.isnan(corrected) else [value, corrected]
    if not math.isfinite(value) or math.isnan(low):
        return low, high
    middle, width = float(np.nanmean(drawn)), float(np.nanstd(drawn))
    stretch = min(_MOST_STRETCHED, spread / width) if spread > width > 0 else 1.0
    ends = min(known) + stretch * (low - middle), max(known) + stretch * (high - middle)
    return max(limits[0], min(value, ends[0])), min(limits[1], max(value, ends[1]))


def collapsed(
    value: float, n: float, limits: tuple[float, float] = (0.0, 1.0), level: float = 0.95
) -> tuple[float, float]:
    """The interval of a rate where all resamples agree, such as 1: as wide as Wilson's (1927) for n images.

    >>> [round(end, 3) for end in collapsed(1.0, 37)], [round(end, 3) for end in collapsed(0.0, 37)]
    ([0.906, 1.0], [0.0, 0.094])
    """
    z = NormalDist().inv_cdf(0.5 + level / 2)
    reach = z**2 / (n + z**2)
    return max(limits[0], value - reach), min(limits[1], value + reach)


def told_apart(
    one: NDArray[Any], other: NDArray[Any], low: float, high: float, level: float = 0.95
) -> tuple[float, float]:
    """The interval of a difference of two rates, extended to 0 where McNemar's exact test (1947) finds none.

    Of four images that one model alone has right, few resamples miss all; that all four fall to one side is chance in one of
    eight cases.

    >>> right = np.ones(37)
    >>> told_apart(right, np.where(np.arange(37) < 4, 0, 1), 0.03, 0.22)
    (0.0, 0.22)
    """
    from scipy.special import bdtr  # importing SciPy's statistics takes half a second

    better, worse = int((one > other).sum()), int((one < other).sum())
    # two-sided: twice the binomial probability of as few as the rarer kind, with a share of one half
    if better + worse and 2 * bdtr(min(better, worse), better + worse, 0.5) < 1 - level:
        return low, high
    return min(low, 0.0), max(high, 0.0)


def left_out(n: int, seed: int = 0) -> Floats:
    """Weights (G, n) of the jackknife: each row leaves one of up to a hundred random groups of images out."""
    groups = min(n, _GROUPS)
    member = np.random.default_rng(seed).permutation(n) % groups
    return np.asarray(member[None] != np.arange(groups)[:, None], np.float64)


def deviation(values: Floats) -> float:
    """The standard deviation of a measure by the jackknife (Efron & Tibshirani 1993, eq. 11.5), from its values without each group.

    >>> numbers = np.array([1.0, 2.0, 6.0])  # of a mean, it is the standard error
    >>> without = (numbers.sum() - numbers) / 2
    >>> bool(np.isclose(deviation(without), numbers.std(ddof=1) / 3**0.5))
    True
    """
    if len(values) < 2 or np.isnan(values).any():
        return 0.0
    return float(np.sqrt((len(values) - 1) / len(values) * ((values - values.mean()) ** 2).sum()))


def halves(n: int, seed: int = 0, count: int = _HALVINGS) -> Iterator[tuple[Floats, Floats]]:
    """Random halves of n images as weights (1, n) each: what is chosen on one half is measured on the other; each twice.

    >>> [(one.sum().item(), other.sum().item(), (one * other).sum().item()) for one, other in halves(5, count=1)]
    [(2.0, 3.0, 0.0), (3.0, 2.0, 0.0)]
    """
    rng = np.random.default_rng(seed)
    for _ in range(count):
        one = np.zeros((1, n))
        one[0, rng.permutation(n)[: n // 2]] = 1
        yield one, 1 - one
        yield 1 - one, one
