# SPDX-License-Identifier: Apache-2.0
"""How well a map preserves the neighbours that images have in feature space."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

__all__ = ["kept", "trustworthiness"]

_AT_ONCE = 1 << 24  # distances


def kept(near: NDArray[np.int64], drawn: NDArray[np.int64]) -> NDArray[np.float64]:
    """(Q,) share of the k nearest neighbours in feature space, (Q, k), that are among the k nearest on the map, (Q, k).

    >>> kept(np.array([[1, 2], [3, 4]]), np.array([[2, 9], [4, 3]])).tolist()
    [0.5, 1.0]
    """
    # (Q, k, k): whether neighbour i there is neighbour j here
    share: NDArray[np.float64] = (near[:, :, None] == drawn[:, None]).any(2).mean(1)
    return share


def trustworthiness(
    codes: NDArray[Any], queries: NDArray[Any], drawn: NDArray[np.int64], own: NDArray[np.int64] | None = None
) -> NDArray[np.float64]:
    """(Q,) 1 where the k nearest on the map are the k nearest in feature space, 0 where they are the farthest.

    Venna & Kaski 2001, equation 1, for each query by itself: a neighbour on the map costs as many ranks as it is beyond the k-th
    in feature space.

    >>> codes = np.arange(5.0)[:, None]
    >>> trustworthiness(codes, np.array([[0.0]]), np.array([[0, 1]])), trustworthiness(codes, np.array([[0.0]]), np.array([[3, 4]]))
    (array([1.]), array([0.]))

    Args:
        codes: (N, D) of the map's images.
        queries: (Q, D).
        drawn: (Q, k) the nearest of the map's images on the map.
        own: (Q,) the place of each query among the map's images, if they are the queries.
    """
    k = drawn.shape[1]
    n = len(codes) - (own is not None)
    # the largest possible cost, by which the measure is normalised
    worst = k * (n - k) if 2 * k > n else k * (2 * n - 3 * k + 1) / 2
    if worst <= 0:
        return np.ones(len(queries))
    base = torch.from_numpy(np.ascontiguousarray(codes, np.float64))
    trust: list[NDArray[np.float64]] = []
    step = max(1, _AT_ONCE // len(codes))
    for start in range(0, len(queries), step):
        rows = torch.from_numpy(np.ascontiguousarray(queries[start : start + step], np.float64))
        far = torch.cdist(rows, base)  # (q, N)
        if own is not None:
            far[torch.arange(len(rows)), torch.from_numpy(own[start : start + step])] = -1.0  # the query itself: rank 0
        at = far.gather(1, torch.from_numpy(drawn[start : start + step]))  # (q, k)
        # a neighbour's rank is how many images are nearer; sorting once finds all ranks
        rank = torch.searchsorted(far.sort(1).values, at) + (0 if own is not None else 1)
        cost = (rank - k).clamp(min=0).sum(1).double()
        trust.append(1 - cost.numpy() / worst)
    return np.concatenate(trust)
