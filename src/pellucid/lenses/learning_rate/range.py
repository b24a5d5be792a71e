# SPDX-License-Identifier: Apache-2.0
"""Reading a learning-rate range test: its losses smoothed, and the rates between which training goes well."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, final

import numpy as np
from numpy.typing import NDArray

__all__ = ["RangeTest", "Running", "both_ways", "limit", "read"]

_BEGUN = 0.2  # share of the whole fall after which the loss counts as falling
_FIRST = 5  # losses at the lowest rates: their median is where the loss starts
_SURE = 3.0  # a fall of fewer standard errors of the smoothed loss may be chance

Floats = NDArray[np.float64]


@final
class Running:
    """A running mean with decaying weights that sum to one from the first value on (Kingma & Ba 2015, section 3).

    >>> mean = Running(0.5)
    >>> [round(mean.add(value), 3) for value in (4.0, 4.0, 1.0)]
    [4.0, 4.0, 2.286]
    """

    def __init__(self, decay: float) -> None:
        self._decay, self._mean, self._weight = decay, 0.0, 0.0

    def add(self, value: float) -> float:
        """Add a value; the mean so far."""
        self._mean = self._decay * self._mean + (1 - self._decay) * value
        self._weight = self._decay * self._weight + 1 - self._decay
        return self._mean / self._weight


@final
@dataclass(frozen=True)
class RangeTest:
    """The curve of a range test and what is read from it; a rate is NaN where there is none."""

    rates: Floats  # (T,) of each step
    losses: Floats  # (T,) after it
    smoothed: Floats  # (T,) never above the start
    slopes: Floats  # (T,) of the smoothed loss for a tenfold rate
    start: float  # the loss before anything is learned
    begins: float  # rate from which the loss falls
    steepest: float  # at which it falls most steeply: the suggestion
    lowest: float  # at which it is lowest: beyond, it rises again
    diverged: float  # at which the loss had risen too far, or was not finite

    @property
    def falls(self) -> bool:
        """Whether any rate lowered the loss by more than chance does."""
        return not math.isnan(self.steepest)


def limit(best: float, start: float, factor: float) -> float:
    """The smoothed loss above which a test has diverged: `factor` times the lowest, but not below where it started.

    >>> limit(1.0, 2.0, 4.0), limit(0.1, 2.0, 4.0), limit(-1.0, 0.5, 4.0)
    (4.0, 2.0, 2.0)
    """
    return max(best + (factor - 1) * abs(best), start)


def both_ways(values: Floats, decay: float) -> Floats:
    """(T,) running means with weights that decay to both sides, which do not shift a curve to later steps.

    >>> both_ways(np.array([0.0, 0.0, 7.0, 0.0, 0.0]), 0.5).round(2).tolist()
    [0.9, 1.47, 2.8, 1.47, 0.9]
    """
    apart = np.abs(np.subtract.outer(np.arange(len(values)), np.arange(len(values))))
    weights = np.where(apart == 0, 1.0, decay**apart)
    means: Floats = weights @ values / weights.sum(1)
    return means


def read(rates: Any, losses: Any, before: float, averaging: float, diverged: bool) -> RangeTest:
    """Read the losses after steps of growing rates.

    Losses above the start (and its noise) count as the start in the running mean. A single leap would otherwise lift the means
    long before it, and how high it leaps says nothing about where the loss falls.

    >>> curve = read(np.logspace(-4, 0, 9), [9, 9, 9, 8.5, 4, 2, 3, 7, 40], 9.0, 0.0, diverged=True)
    >>> [round(rate, 4) for rate in (curve.begins, curve.steepest, curve.lowest, curve.diverged)]
    [0.01, 0.01, 0.0316, 1.0]

    Args:
        rates: (T,) of each step.
        losses: (T,) after it.
        before: the loss without a step.
        averaging: share of the running mean that each step keeps.
        diverged: whether the test ended because the loss diverged.
    """
    steps, after = np.asarray(rates, np.float64), np.asarray(losses, np.float64)
    places, finite = np.log10(steps), np.where(np.isfinite(after), after, np.finfo(np.float64).max)
    start = float(np.median([before, *finite[: _FIRST - 1]]))
    # differences of consecutive losses hold their noise without the trend; 1.4826 · median |x| estimates σ robustly
    bounded = np.minimum(finite, start + abs(start) + 1.0)
    noise = 1.4826 * float(np.median(np.abs(np.diff(bounded)))) / math.sqrt(2) if len(steps) > 1 else 0.0
    smoothed = both_ways(np.minimum(finite, start + _SURE * noise), averaging)
    slopes = np.gradient(smoothed, places) if len(steps) > 1 else np.zeros(len(steps))
    begins = steepest = lowest = math.nan
    least = int(smoothed.argmin())
    fall = start - float(smoothed[least])
    # the standard error of a mean with weights that decay by `averaging` is this share of σ
    if fall > max(_SURE * noise * math.sqrt((1 - averaging) / (1 + averaging)), 1e-6 * abs(start)):
        above = np.flatnonzero(smoothed[:least] > start - _BEGUN * fall)
        begins = float(steps[above[-1] + 1 if len(above) else 0])
        steepest = float(steps[int(slopes[: least + 1].argmin())])
        lowest = float(steps[least])
    return RangeTest(
        steps, after, smoothed, slopes, start, begins, steepest, lowest, float(steps[-1]) if diverged else math.nan
    )
