# SPDX-License-Identifier: Apache-2.0
"""The gradient of t-SNE summed over all pairs, in loops that numba compiles: exact, and for thousands of points faster than a tree.

A tree (Barnes & Hut 1986) saves pairs, at the cost of a walk through memory for every point. Sums over all pairs read two short arrays
from their beginning to their end, sixteen points at a time.
"""

from __future__ import annotations

import functools
import importlib.util
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["MOST", "available", "objective"]

MOST = 20_000
"""Points up to which sums over all pairs take less time than a tree, also on processors with AVX2 alone."""

_PARTS = 4  # of the rows a thread, so that none waits long for another

Objective = Callable[..., tuple[float, NDArray[np.float64]]]


def available() -> bool:
    """Whether numba is installed."""
    return importlib.util.find_spec("numba") is not None


@contextmanager
def objective(threads: int) -> Iterator[Objective]:
    """The loss and gradient of t-SNE as openTSNE's optimiser asks for them, on so many threads, whose number changes no bit.

    The gradient is 4·Σⱼ (pᵢⱼ − qᵢⱼ)·wᵢⱼ·(yᵢ − yⱼ) with wᵢⱼ = 1/(1 + |yᵢ − yⱼ|²) and qᵢⱼ = wᵢⱼ/Z, where Z sums all wᵢⱼ (van der Maaten &
    Hinton 2008, equation 5), without the factor 4, as openTSNE has it. Places are float32 in the sums, which is exact to 7 digits.
    """
    forces = _compiled()
    with ThreadPoolExecutor(threads) as pool:

        def asked(
            embedding: Any, P: Any, dof: float, should_eval_error: bool = False, **others: Any
        ) -> tuple[float, NDArray[np.float64]]:
            places = np.asarray(embedding, np.float64)  # (N, 2)
            x, y = (np.ascontiguousarray(places[:, axis], np.float32) for axis in (0, 1))
            sums = np.empty((len(places), 5))  # of pushes and pulls along both axes, and of w
            cuts = np.linspace(0, len(places), _PARTS * threads + 1).astype(np.int64)

            def part(k: int) -> None:
                forces(x, y, P.indptr, P.indices, P.data, sums, cuts[k], cuts[k + 1])

            list(pool.map(part, range(len(cuts) - 1)))
            total = sums[:, 4].sum()
            gradient = np.ascontiguousarray(sums[:, 2:4] - sums[:, :2] / total)
            return _divergence(places, P, total) if should_eval_error else 0.0, gradient

        yield asked


def _divergence(places: NDArray[np.float64], P: Any, total: float) -> float:
    """Kullback and Leibler's divergence of the map's affinities from those of the codes."""
    rows = np.repeat(np.arange(len(places)), np.diff(P.indptr))
    distances = ((places[rows] - places[P.indices]) ** 2).sum(1)
    shown = P.data > 0
    return float((P.data[shown] * (np.log(P.data[shown]) + np.log1p(distances[shown]) + np.log(total))).sum())


@functools.cache
def _compiled() -> Callable[..., None]:
    import numba

    # without numba's NumPy model a division may raise an error, which keeps its loop from being vectorised
    make: Any = numba.njit(fastmath=True, error_model="numpy", nogil=True)
    compiled: Callable[..., None] = make(_forces)
    return compiled


def _forces(
    x: Any, y: Any, starts: Any, neighbours: Any, weights: Any, sums: Any, first: int, last: int
) -> None:  # pragma: no cover  (compiled)
    """Sum the forces on points `first` to `last`: pushes by all others, pulls by neighbours with a weight in P."""
    one = np.float32(1)
    for i in range(first, last):
        a, b = x[i], y[i]
        total = push_x = push_y = np.float32(0)
        for j in range(len(x)):
            dx = a - x[j]
            dy = b - y[j]
            w = one / (one + dx * dx + dy * dy)
            total += w
            square = w * w
            push_x += square * dx
            push_y += square * dy
        pull_x = pull_y = 0.0
        for k in range(starts[i], starts[i + 1]):
            j = neighbours[k]
            dx = a - x[j]
            dy = b - y[j]
            pull = weights[k] / (one + dx * dx + dy * dy)
            pull_x += pull * dx
            pull_y += pull * dy
        sums[i, 0] = push_x
        sums[i, 1] = push_y
        sums[i, 2] = pull_x
        sums[i, 3] = pull_y
        sums[i, 4] = total - one  # a point does not push itself
