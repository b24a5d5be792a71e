# SPDX-License-Identifier: Apache-2.0
"""How many digits of a number its interval leaves meaningful."""

from __future__ import annotations

import math

__all__ = ["interval_digits"]

_MOST = 6  # decimals, however narrow the interval
_POINT = 4  # decimals, where the interval is a single point


def interval_digits(low: float, high: float) -> int:
    """The decimals to print of a number with this interval: up to the second significant digit of the interval's width.

    >>> interval_digits(0.978, 0.997), interval_digits(24.9, 25.3), interval_digits(100, 350)
    (3, 2, 0)
    """
    width = high - low
    if not 0 < width < math.inf:
        return _POINT
    return min(max(1 - math.floor(math.log10(width)), 0), _MOST)
