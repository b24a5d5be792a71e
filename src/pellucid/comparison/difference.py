# SPDX-License-Identifier: Apache-2.0
"""Whether two runs differ by more than the choice of test images explains."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import NormalDist
from typing import Any, final

from pellucid._digits import interval_digits
from pellucid.tasks import Metric, Records, differences

__all__ = ["Difference", "paired", "unpaired"]

RESAMPLES = 4000  # enough for the tails of an interval that is widened for a dozen comparisons


@final
@dataclass(frozen=True)
class Difference:
    """A run's measure minus the reference's, with its interval, and how it was found."""

    value: float
    low: float
    high: float
    paired: bool  # image by image over the same test images, or from the two intervals alone

    @property
    def real(self) -> bool:
        """Whether the interval leaves zero out."""
        return self.low > 0 or self.high < 0

    def __str__(self) -> str:
        digits = interval_digits(self.low, self.high)
        return f"{self.value:+.{digits}f} ({self.low:+.{digits}f} to {self.high:+.{digits}f})"


def paired(
    metric: Metric, owners: Sequence[Records], reference: Records, level: float = 0.95, seed: int = 0
) -> list[Difference]:
    """A measure's differences to a reference over the same images, by the paired bootstrap (Efron & Tibshirani 1993, ch. 16).

    An image that both runs find hard weighs on both alike, so that the pairing finds much smaller differences than two
    separate intervals do. All runs see the same resamples.

    >>> import numpy as np
    >>> right = Metric("accuracy", "accuracy", each=lambda records: records["right"])
    >>> reference = {"right": np.tile([1.0, 0.0], 500)}
    >>> better = {"right": np.where(np.arange(1000) < 20, 1.0, reference["right"])}
    >>> [found] = paired(right, [better], reference)
    >>> round(found.value, 3), found.real
    (0.01, True)

    Args:
        metric: the measure that is compared.
        owners: each run's records of the images.
        reference: the reference's.
        level: of the interval.
        seed: of the resampling.
    """
    found = differences(metric, owners, reference, RESAMPLES, level, seed)
    return [Difference(value, low, high, True) for value, low, high in found]


def unpaired(mine: Mapping[str, Any], reference: Mapping[str, Any], level: float = 0.95) -> Difference:
    """The difference of two measures of separate images, from their 95 % intervals, taken as normal and independent.

    >>> print(unpaired({"value": 0.95, "low": 0.94, "high": 0.96}, {"value": 0.9, "low": 0.89, "high": 0.91}))
    +0.050 (+0.036 to +0.064)
    """
    widths = [float(m["high"]) - float(m["low"]) for m in (mine, reference)]
    error = math.hypot(*widths) / (2 * NormalDist().inv_cdf(0.975))
    reach = NormalDist().inv_cdf(0.5 + level / 2) * error
    value = float(mine["value"]) - float(reference["value"])
    return Difference(value, value - reach, value + reach, False)
