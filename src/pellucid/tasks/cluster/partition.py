# SPDX-License-Identifier: Apache-2.0
"""How well a partition agrees with labels, with another partition, and with the distances: measures without a model."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

__all__ = [
    "accuracies",
    "adjusted_rand",
    "contingency",
    "matching",
    "mutual_information",
    "purities",
    "silhouette",
    "stability",
    "verdict",
]

Counts = NDArray[np.int64]
Floats = NDArray[np.float64]

_SAMPLE = 2000  # images of the silhouette, whose cost grows with their square


def contingency(clusters: NDArray[np.integer], labels: NDArray[np.integer], k: int, classes: int) -> Counts:
    """(k, classes) counts: a row a cluster, a column a class.

    >>> contingency(np.array([0, 0, 1]), np.array([1, 1, 0]), 2, 2).tolist()
    [[0, 2], [1, 0]]
    """
    cells = clusters.astype(np.int64) * classes + labels
    return np.bincount(cells, minlength=k * classes).reshape(k, classes)


def matching(table: Counts) -> NDArray[np.int64]:
    """(k,): the class that each cluster stands for, −1 for none: the one-to-one matching with the most images right.

    The assignment problem is solved by scipy's `linear_sum_assignment`; clusters beyond the number of classes stand for none.

    >>> matching(np.array([[0, 5], [4, 6], [1, 0]])).tolist()
    [1, 0, -1]
    """
    from scipy.optimize import linear_sum_assignment

    rows, columns = linear_sum_assignment(table, maximize=True)
    found = np.full(len(table), -1, np.int64)
    found[rows] = columns
    return found


def accuracies(tables: Counts) -> Floats:
    """(R,): the share of images in the class that their cluster stands for, of tables (R, k, classes).

    The matching is that of the first table for all of them: resampled tables say how the share varies, not the matching.
    """
    match = matching(tables[0])
    known = np.flatnonzero(match >= 0)
    right = tables[:, known, match[known]].sum(1)
    return np.asarray(right / tables.sum((1, 2)), np.float64)


def purities(tables: Counts) -> Floats:
    """(R,): the share of images in the commonest class of their cluster; it rises with k by itself.

    >>> purities(np.array([[[3, 1], [0, 4]]])).tolist()
    [0.875]
    """
    return np.asarray(tables.max(2).sum(1) / tables.sum((1, 2)), np.float64)


def mutual_information(tables: Counts) -> Floats:
    """(R,): I(clusters; classes) over the mean of the two entropies, from 0 to 1; 1 where both are a single group.

    >>> mutual_information(np.array([[[3, 0], [0, 4]], [[2, 2], [2, 2]]])).round(6).tolist()
    [1.0, 0.0]
    """
    joint = tables / tables.sum((1, 2), keepdims=True)
    rows, columns = joint.sum(2), joint.sum(1)
    mutual = _entropy(rows) + _entropy(columns) - _entropy(joint.reshape(len(joint), -1))
    mean = (_entropy(rows) + _entropy(columns)) / 2
    return np.asarray(np.where(mean > 0, np.clip(mutual, 0, None) / np.where(mean > 0, mean, 1), 1.0), np.float64)


def _entropy(shares: Floats) -> Floats:
    """(R,) in nats, of rows of shares."""
    return np.asarray(-(shares * np.log(np.where(shares > 0, shares, 1))).sum(1), np.float64)


def adjusted_rand(tables: Counts) -> Floats:
    """(R,): the pairs that both partitions keep together, corrected for chance (Hubert & Arabie 1985, eq. 5); 1 is equality.

    >>> adjusted_rand(np.array([[[3, 0], [0, 4]]])).tolist()
    [1.0]
    """

    def pairs(counts: Counts) -> Floats:
        wide = counts.astype(np.float64)
        return wide * (wide - 1) / 2

    both = pairs(tables).sum((1, 2))
    rows, columns = pairs(tables.sum(2)).sum(1), pairs(tables.sum(1)).sum(1)
    chance = rows * columns / np.maximum(pairs(tables.sum((1, 2))), 1)
    most = (rows + columns) / 2
    same = most == chance  # one group in both, or every image alone in both
    return np.asarray(np.where(same, 1.0, (both - chance) / np.where(same, 1, most - chance)), np.float64)


def silhouette(codes: NDArray[np.floating], clusters: NDArray[np.integer], seed: int = 0) -> float:
    """Mean silhouette (Rousseeuw 1987) over at most 2,000 images drawn by seed; NaN where there is but one cluster.

    >>> round(silhouette(np.array([[0.0], [0.1], [9.0], [9.1]]), np.array([0, 0, 1, 1])), 2)
    0.99
    """
    from sklearn.metrics import silhouette_score

    if len(clusters) > _SAMPLE:
        chosen = np.random.default_rng(seed).choice(len(clusters), _SAMPLE, replace=False)
        codes, clusters = codes[chosen], clusters[chosen]
    groups = len(np.unique(clusters))
    return float(silhouette_score(codes, clusters)) if 1 < groups < len(clusters) else float("nan")


def stability(partitions: Sequence[NDArray[np.integer]]) -> Floats:
    """The adjusted Rand index of every pair of partitions of the same images, (pairs,).

    >>> stability([np.array([0, 0, 1]), np.array([1, 1, 0]), np.array([0, 1, 1])]).round(2).tolist()
    [1.0, -0.5, -0.5]
    """
    found = []
    for i, one in enumerate(partitions):
        for other in partitions[i + 1 :]:
            table = contingency(one, other, int(one.max()) + 1, int(other.max()) + 1)
            found.append(float(adjusted_rand(table[None])[0]))
    return np.array(found, np.float64)


def verdict(sizes: NDArray[np.integer]) -> str:
    """What is wrong with the sizes (k,) of clusters, in words: empty ones, tiny ones, one that holds nearly everything.

    >>> verdict(np.array([50, 0, 50]))
    'Cluster 1 is empty.'
    >>> verdict(np.array([50, 49, 51]))
    'All 3 clusters hold images, from 49 to 51.'
    """
    total, k = int(sizes.sum()), len(sizes)
    said = []
    empty = np.flatnonzero(sizes == 0)
    tiny = np.flatnonzero((sizes > 0) & (sizes * k * 20 < total))  # below a twentieth of an equal share
    if len(empty):
        said.append(f"{_listed(empty)} {'is' if len(empty) == 1 else 'are'} empty.")
    if len(tiny):
        held = f"{int(sizes[tiny].max())} images" if sizes[tiny].max() > 1 else "1 image"
        said.append(f"{_listed(tiny)} nearly empty: at most {held} of {total:,}.")
    if k > 1 and sizes.max() > 0.9 * total:
        said.append(
            f"The clusters have collapsed: cluster {int(sizes.argmax())} holds {100 * sizes.max() / total:.0f} % of the images."
        )
    return " ".join(said) or f"All {k} clusters hold images, from {int(sizes.min()):,} to {int(sizes.max()):,}."


def _listed(places: NDArray[np.integer]) -> str:
    names = [str(int(i)) for i in places]
    if len(names) == 1:
        return f"Cluster {names[0]}"
    return f"Clusters {', '.join(names[:-1])} and {names[-1]}"
