# SPDX-License-Identifier: Apache-2.0
"""Simple distributions of whole images with an exact likelihood: what a generative model has to beat."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

__all__ = ["bernoullis", "chow_liu", "gaussians", "principal"]

_ROUNDS = 25  # of expectation–maximisation
_EDGE = 1e-6  # probabilities stay this far from 0 and 1
_NARROWEST = (1 / 255) ** 2 / 12  # least variance of a pixel: that of rounding to 8 bits

Floats = NDArray[np.float64]
Rows = NDArray[np.float32]


def bernoullis(train: Rows, test: Rows, k: int, seed: int) -> Floats:
    """(N,): log p of binary rows under a mixture of k products of Bernoullis, fitted to `train` (M, D) by EM.

    >>> rows = np.array([[0, 1], [0, 1], [1, 1], [0, 1]], np.float32)
    >>> np.exp(bernoullis(rows, rows[:1], k=1, seed=0)).round(2)  # smoothed: (4/6)·(5/6)
    array([0.56])
    """
    rng = np.random.default_rng(seed)
    shares = np.full(k, 1 / k)
    own = _responsibilities(len(train), k, rng)  # (M, k)
    for _ in range(_ROUNDS if k > 1 else 1):
        counts = own.sum(0).astype(np.float64)
        shares = counts / counts.sum()
        # Laplace's rule: one imagined black and one imagined white pixel
        means = ((own.T @ train + 1) / (counts[:, None] + 2)).clip(_EDGE, 1 - _EDGE)  # (k, D)
        if k > 1:  # Bayes' rule: the components' posterior probabilities
            joint = _binary(train, means) + np.log(shares.clip(1e-300))
            own = np.exp(joint - _logsumexp(joint)[:, None]).astype(np.float32)
    return _logsumexp(_binary(test, means) + np.log(shares.clip(1e-300)))


def gaussians(train: Rows, test: Rows, k: int, seed: int) -> Floats:
    """(N,): log-density of rows (N, D) under a mixture of k Gaussians with diagonal covariances, fitted to `train` by EM."""
    rng = np.random.default_rng(seed)
    shares = np.full(k, 1 / k)
    own = _responsibilities(len(train), k, rng)  # (M, k)
    squares = train**2
    widest = train.var(0).astype(np.float64)
    for _ in range(_ROUNDS if k > 1 else 1):
        counts = own.sum(0).astype(np.float64) + 1e-6
        shares = counts / counts.sum()
        means = own.T @ train / counts[:, None]  # (k, D)
        variances = own.T @ squares / counts[:, None] - means**2
        # the overall variance counts like ten more images, so that no component shrinks to a single one
        variances = ((variances.clip(0) * counts[:, None] + 10 * widest) / (counts[:, None] + 10)).clip(_NARROWEST)
        if k > 1:
            joint = _normal(train, means, variances) + np.log(shares)
            own = np.exp(joint - _logsumexp(joint)[:, None]).astype(np.float32)
    return _logsumexp(_normal(test, means, variances) + np.log(shares))


def principal(train: Rows, test: Rows, q: int) -> Floats:
    """(N,): log-density of rows under probabilistic PCA with q components (Tipping & Bishop 1999, eqs. 7–8)."""
    mean = train.mean(0, dtype=np.float64)
    centred = train.astype(np.float64) - mean
    values, vectors = np.linalg.eigh(centred.T @ centred / len(train))  # (D,), (D, D)
    values, vectors = values[::-1], vectors[:, ::-1]  # largest first
    q = max(1, min(q, len(values) - 1))
    noise = max(float(values[q:].mean()), _NARROWEST)  # eq. 8: σ² is the mean of the discarded eigenvalues
    kept = values[:q].clip(noise)
    rest = test.astype(np.float64) - mean
    codes = rest @ vectors[:, :q]  # (N, q)
    # the Mahalanobis distance, within the components' subspace and orthogonal to it
    inside = (codes**2 / kept).sum(1)
    outside = ((rest**2).sum(1) - (codes**2).sum(1)) / noise
    log_det = np.log(kept).sum() + (len(values) - q) * math.log(noise)
    return np.asarray(-0.5 * (inside + outside + log_det + len(values) * math.log(2 * math.pi)))


def chow_liu(train: Rows, test: Rows) -> Floats:
    """(N,): log p of binary rows (N, D) under the best tree of pixels (Chow & Liu 1968).

    Each pixel depends on one other pixel; the tree maximises the sum of mutual informations. Counts are smoothed by one image.
    """
    from scipy.sparse.csgraph import breadth_first_order, minimum_spanning_tree

    count, width = len(train) + 1.0, train.shape[1]
    both = (train.T @ train).astype(np.float64) + 0.25  # (D, D): how often both pixels are white
    ones = train.sum(0, dtype=np.float64) + 0.5
    # the other three cells of each pair's 2×2 table follow from the margins
    cells = {(1, 1): both, (1, 0): ones[:, None] - both, (0, 1): ones[None] - both}
    cells[0, 0] = count - cells[1, 1] - cells[1, 0] - cells[0, 1]
    single = {1: ones / count, 0: 1 - ones / count}
    information = np.zeros((width, width))
    for (a, b), cell in cells.items():
        joint = (cell / count).clip(1e-12)
        information += joint * (np.log(joint) - np.log(single[a])[:, None] - np.log(single[b])[None])
    # the maximum spanning tree; SciPy reads zeros as missing edges, hence the 1e-9
    tree = minimum_spanning_tree(-(information - np.diag(np.diag(information)) + 1e-9 * (1 - np.eye(width))))
    order, parents = breadth_first_order(tree + tree.T, 0, directed=False)
    log_p = _by_bit(test[:, 0], np.log(single[1][0]), np.log(single[0][0]))  # the root
    for child in order[1:]:
        parent = parents[child]
        white = [np.log(cells[1, p][child, parent] / (count * single[p][parent])) for p in (0, 1)]  # log p(1 | parent)
        black = [np.log(cells[0, p][child, parent] / (count * single[p][parent])) for p in (0, 1)]
        log_p += np.where(
            test[:, parent] > 0.5,
            _by_bit(test[:, child], white[1], black[1]),
            _by_bit(test[:, child], white[0], black[0]),
        )
    return log_p


def _by_bit(bits: Rows, one: float, zero: float) -> Floats:
    """(N,): one value where the bit is 1, the other where it is 0."""
    return np.asarray(np.where(bits > 0.5, one, zero), np.float64)


def _responsibilities(rows: int, k: int, rng: np.random.Generator) -> Rows:
    """A random start (rows, k): each row belongs mostly to one component."""
    own = np.full((rows, k), 0.1 / k, np.float32)
    own[np.arange(rows), rng.integers(0, k, rows)] += 0.9
    return own


def _binary(rows: Rows, means: NDArray[np.floating]) -> Floats:
    """(N, k): log p of rows under each product of Bernoullis."""
    # x·log p + (1 − x)·log(1 − p), as one product of matrices
    odds = (np.log(means) - np.log1p(-means)).astype(np.float32)
    log_p: Floats = np.asarray(rows @ odds.T, np.float64) + np.log1p(-means).sum(1)
    return log_p


def _normal(rows: Rows, means: NDArray[np.floating], variances: NDArray[np.floating]) -> Floats:
    """(N, k): log-density of rows under each diagonal Gaussian."""
    # (x − μ)²/σ² as x² − 2xμ + μ²: differences of large numbers, hence float64
    precision, x = 1 / variances, rows.astype(np.float64)
    squares = x**2 @ precision.T - 2 * x @ (means * precision).T + (means**2 * precision).sum(1)
    return np.asarray(-0.5 * (squares + np.log(2 * math.pi * variances).sum(1)))


def _logsumexp(rows: Floats) -> Floats:
    largest = rows.max(1)  # taken out, so that exp neither overflows nor vanishes for all
    return np.asarray(largest + np.log(np.exp(rows - largest[:, None]).sum(1)))
