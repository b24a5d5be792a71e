# SPDX-License-Identifier: Apache-2.0
"""Counts of images by true and by predicted class, for any weights of the images: the basis of precision, recall and F1."""

from __future__ import annotations

from dataclasses import dataclass
from typing import final

import numpy as np
from numpy.typing import NDArray

from pellucid.tasks._metrics import Floats, Weights

__all__ = ["Tallies"]


@final
@dataclass(frozen=True)
class Tallies:
    """For each class the weight of images that are correct, that truly belong to it, and that are predicted as it; one row per resample.

    >>> true, predicted = np.array([0, 0, 0, 1]), np.array([0, 0, 1, 1])
    >>> tallies = Tallies.of(true, predicted, 2, np.ones((1, 4)))
    >>> tallies.recall[0].round(3).tolist(), tallies.precision[0].tolist()
    ([0.667, 1.0], [1.0, 0.5])
    """

    right: Floats  # (R, K)
    true: Floats
    predicted: Floats

    @classmethod
    def of(cls, true: NDArray[np.integer], predicted: NDArray[np.integer], classes: int, weights: Weights) -> Tallies:
        """From the classes (N,) of each image and the weights (R, N) of the images."""
        from scipy.sparse import csr_array

        def summed(keep: NDArray[np.bool_], onto: NDArray[np.integer]) -> Floats:
            # weights (R, N) times a one-hot matrix (N, K), sparse: a thousand classes cost no more than ten
            images = np.flatnonzero(keep)
            onehot = csr_array((np.ones(len(images)), (onto[images], images)), shape=(classes, len(keep)))
            return np.asarray((onehot @ weights.T).T, np.float64)

        everywhere = np.ones(len(true), bool)
        return cls(summed(true == predicted, true), summed(everywhere, true), summed(everywhere, predicted))

    @property
    def precision(self) -> Floats:
        """(R, K); 0 for a class that is never predicted, NaN for one that does not occur at all."""
        return self._share(self.predicted)

    @property
    def recall(self) -> Floats:
        """(R, K); 0 for a class that is predicted but never true, NaN for one that does not occur at all."""
        return self._share(self.true)

    @property
    def hit_rate(self) -> Floats:
        """(R, K): recall of the classes that are true somewhere, NaN for the others; balanced accuracy is its mean."""
        return np.where(self.true > 0, self.right / np.maximum(self.true, 0.5), np.nan)

    @property
    def matthews(self) -> Floats:
        """(R,): Matthews' correlation of the true and the predicted classes (Gorodkin 2004, eq. 8); 0 where either is one class alone."""
        right, total = self.right.sum(1), self.true.sum(1)
        both = right * total - (self.true * self.predicted).sum(1)
        spread = (total**2 - (self.true**2).sum(1)) * (total**2 - (self.predicted**2).sum(1))
        return np.asarray(np.where(spread > 0, both / np.sqrt(np.maximum(spread, 1)), 0.0), np.float64)

    @property
    def f1(self) -> Floats:
        """(R, K), the harmonic mean of precision and recall."""
        return self._share((self.true + self.predicted) / 2)

    def _share(self, of: Floats) -> Floats:
        shares = self.right / np.maximum(of, 0.5)  # weights are whole numbers: a class with none has 0 here
        return np.where(self.true + self.predicted > 0, shares, np.nan)
