# SPDX-License-Identifier: Apache-2.0
"""A few out of many, evenly spread."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

__all__ = ["evenly_spread"]


def evenly_spread(count: int, of: int, *, floor: bool = False) -> NDArray[np.int64]:
    """Positions of `count` out of `of` items, evenly spread from the first to the last; all of them where there are no more.

    >>> evenly_spread(4, 10).tolist(), evenly_spread(5, 3).tolist()
    ([0, 3, 6, 9], [0, 1, 2])

    Args:
        count: how many to choose.
        of: how many there are.
        floor: round positions down instead of to the nearest whole number.

    Returns:
        (min(count, of),) ascending, no two equal.
    """
    places = np.linspace(0, of - 1, min(count, of))
    return (np.floor(places) if floor else np.round(places)).astype(np.int64)
