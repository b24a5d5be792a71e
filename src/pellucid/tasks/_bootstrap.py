# SPDX-License-Identifier: Apache-2.0
"""95 % intervals by the percentile bootstrap over images (Efron & Tibshirani 1993, ch. 13), in whole arrays."""

from __future__ import annotations

from dataclasses import dataclass
from typing import final

import numpy as np
from numpy.typing import NDArray

__all__ = ["RESAMPLES", "Tallies", "bounds", "of_mean", "resampled"]

RESAMPLES = 1000
_AT_ONCE = 2_000_000  # drawn numbers held in memory
_DRAWN_APART = 20_000  # images up to which every image is drawn; above, the normal limit is exact to three digits

Floats = NDArray[np.float64]


def of_mean(values: NDArray[np.floating], seed: int = 0) -> tuple[float, float, float]:
    """Mean of per-image values and its interval.

    Of more than 20,000 images the interval is the mean ± 1.96 standard errors, to which the bootstrap tends.

    >>> value, low, high = of_mean(np.arange(100.0))
    >>> value, 40 < low < value < high < 60
    (49.5, True)
    """
    values = np.asarray(values, np.float64)
    mean = float(values.mean())
    if len(values) > _DRAWN_APART:
        reach = 1.959964 * float(values.std()) / float(np.sqrt(len(values)))
        return mean, mean - reach, mean + reach
    rng = np.random.default_rng(seed)
    rows = max(1, _AT_ONCE // len(values))
    means = [
        values[rng.integers(0, len(values), (min(rows, RESAMPLES - start), len(values)), np.int32)].mean(1)
        for start in range(0, RESAMPLES, rows)
    ]
    return mean, *bounds(np.concatenate(means))


def bounds(drawn: NDArray[np.floating]) -> tuple[float, float]:
    """The 2.5th and the 97.5th percentile of resampled values (R,)."""
    low, high = np.percentile(drawn, [2.5, 97.5])
    return float(low), float(high)


def resampled(counts: NDArray[np.integer], seed: int = 0) -> NDArray[np.int64]:
    """Tables of counts (cells,) as they are after drawing all images anew: (1000, cells).

    Drawing n images with replacement changes the counts of the cells in which they lie as a multinomial draw does, so
    that no image is touched.

    >>> tables = resampled(np.array([3, 0, 7]))
    >>> tables.shape, set(tables.sum(1).tolist()), int(tables[:, 1].max())
    ((1000, 3), {10}, 0)
    """
    total = int(counts.sum())
    tables: NDArray[np.int64] = np.random.default_rng(seed).multinomial(total, counts / total, RESAMPLES)
    return tables


@final
@dataclass(frozen=True)
class Tallies:
    """What precision and recall are made of, per class: row 0 as measured, rows 1 to 1000 resampled.

    >>> tallies = Tallies.of(np.array([[3, 1], [0, 4]]))
    >>> tallies.recall[0].tolist(), tallies.precision[0].tolist(), float(tallies.accuracy[0])
    ([0.75, 1.0], [1.0, 0.8], 0.875)
    """

    right: Floats  # (1001, K)
    true: Floats
    predicted: Floats

    @classmethod
    def of(cls, confusion: NDArray[np.integer], seed: int = 0) -> Tallies:
        """From counts (K, K): a row a true class, a column a predicted one.

        Only cells that hold images are drawn: a thousand classes have a million cells, but no more filled ones than images.
        """
        from scipy.sparse import csr_array

        rows, columns = np.nonzero(confusion)
        counts = confusion[rows, columns]
        tables = np.concatenate([counts[None], resampled(counts, seed)])  # (1001, cells)
        cells, classes = np.arange(len(rows)), len(confusion)

        def summed(keep: NDArray[np.bool_], onto: NDArray[np.int64]) -> Floats:
            shape = (len(cells), classes)
            gather = csr_array((np.ones(int(keep.sum())), (cells[keep], onto[keep])), shape=shape)
            return np.asarray((gather.T @ tables.T).T, np.float64)

        everywhere = np.ones(len(cells), bool)
        return cls(summed(rows == columns, rows), summed(everywhere, rows), summed(everywhere, columns))

    @property
    def accuracy(self) -> Floats:
        """(1001,)."""
        return np.asarray(self.right.sum(1) / self.true.sum(1), np.float64)

    @property
    def precision(self) -> Floats:
        """(1001, K); 0 for a class that is never predicted, NaN for one that does not occur at all."""
        return self._share(self.predicted)

    @property
    def recall(self) -> Floats:
        """(1001, K); 0 for a class that is predicted but never true, NaN for one that does not occur at all."""
        return self._share(self.true)

    @property
    def f1(self) -> Floats:
        """(1001, K), the harmonic mean of precision and recall."""
        return self._share((self.true + self.predicted) / 2)

    def _share(self, of: Floats) -> Floats:
        shares = self.right / np.maximum(of, 0.5)
        return np.where(self.true + self.predicted > 0, shares, np.nan)
