# SPDX-License-Identifier: Apache-2.0
"""95 % intervals by the percentile bootstrap over images (Efron & Tibshirani 1993, ch. 13), in whole arrays."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

__all__ = ["RESAMPLES", "bounds", "of_counts", "of_mean"]

RESAMPLES = 1000
_AT_ONCE = 2_000_000  # drawn positions held in memory


def of_mean(values: NDArray[np.floating], seed: int = 0) -> tuple[float, float, float]:
    """Mean of per-image values and its interval; values that are not finite (a perfect image's PSNR) are left out.

    >>> value, low, high = of_mean(np.arange(100.0))
    >>> value, 40 < low < value < high < 60
    (49.5, True)
    """
    finite = np.asarray(values, np.float64)[np.isfinite(values)]
    if not len(finite):
        return float("nan"), float("nan"), float("nan")
    rng = np.random.default_rng(seed)
    means: list[NDArray[np.float64]] = []
    rows = max(1, _AT_ONCE // len(finite))
    for start in range(0, RESAMPLES, rows):
        drawn = rng.integers(0, len(finite), (min(rows, RESAMPLES - start), len(finite)))
        means.append(finite[drawn].mean(1))
    return float(finite.mean()), *bounds(np.concatenate(means))


def of_counts(
    counts: NDArray[np.integer], measure: Callable[[NDArray[np.floating]], NDArray[np.floating]], seed: int = 0
) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
    """A measure of a table of counts, and its interval.

    Drawing n images with replacement changes a table of counts as a multinomial draw does, so that no image is touched.

    Args:
        counts: any shape; images per cell.
        measure: tables (R, *shape) to values (R, …).
        seed: of the draws.

    Returns:
        Value, low and high, each of the shape of one value.
    """
    rng = np.random.default_rng(seed)
    total = counts.sum()
    tables = rng.multinomial(total, counts.ravel() / total, RESAMPLES).reshape(RESAMPLES, *counts.shape)
    with np.errstate(invalid="ignore", divide="ignore"):
        value = np.asarray(measure(counts[None].astype(np.float64))[0], np.float64)
        drawn = np.asarray(measure(tables.astype(np.float64)), np.float64)
    low, high = np.nanpercentile(np.nan_to_num(drawn, nan=0.0), [2.5, 97.5], axis=0)
    return value, low, high


def bounds(drawn: NDArray[np.floating]) -> tuple[float, float]:
    """The 2.5th and the 97.5th percentile."""
    low, high = np.percentile(drawn, [2.5, 97.5])
    return float(low), float(high)
