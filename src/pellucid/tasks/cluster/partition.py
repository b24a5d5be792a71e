# SPDX-License-Identifier: Apache-2.0
"""Measures of a partition without a model: agreement with labels or another partition, silhouette, cluster sizes."""

from __future__ import annotations

import itertools
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

__all__ = [
    "accuracies",
    "adjusted_mutual_information",
    "adjusted_rand",
    "by_chance",
    "commonest",
    "contingency",
    "describe_sizes",
    "matching",
    "mutual_information",
    "purities",
    "silhouette",
    "stability",
]

Counts = NDArray[np.int64]
Floats = NDArray[np.float64]

_SHUFFLES = 50
_SAMPLE = 2000  # images of the silhouette, whose cost grows with their square


def contingency(clusters: NDArray[np.integer], labels: NDArray[np.integer], k: int, classes: int) -> Counts:
    """(k, classes) counts: one row per cluster, one column per class.

    >>> contingency(np.array([0, 0, 1]), np.array([1, 1, 0]), 2, 2).tolist()
    [[0, 2], [1, 0]]
    """
    cells = clusters.astype(np.int64) * classes + labels
    return np.bincount(cells, minlength=k * classes).reshape(k, classes)


def matching(table: Counts) -> NDArray[np.int64]:
    """(k,): the class of each cluster, −1 for none, in the one-to-one matching with the most correct images.

    SciPy's `linear_sum_assignment` solves the assignment problem; with more clusters than classes, some have none.

    >>> matching(np.array([[0, 5], [4, 6], [1, 0]])).tolist()
    [1, 0, -1]
    """
    from scipy.optimize import linear_sum_assignment

    rows, columns = linear_sum_assignment(table, maximize=True)
    match = np.full(len(table), -1, np.int64)
    match[rows] = columns
    return match


def accuracies(tables: Counts) -> Floats:
    """(R,): the share of images in the class of their cluster, of tables (R, k, classes).

    The matching of the first table is used for all: resampled tables show how the share varies, not the matching.
    """
    match = matching(tables[0])
    known = np.flatnonzero(match >= 0)
    right = tables[:, known, match[known]].sum(1)  # (R,)
    return np.asarray(right / tables.sum((1, 2)), np.float64)


def commonest(table: Counts) -> NDArray[np.int64]:
    """(k,): the most common class of each cluster, −1 for an empty one.

    >>> commonest(np.array([[3, 1], [0, 0]])).tolist()
    [0, -1]
    """
    return np.where(table.sum(1) > 0, table.argmax(1), -1)


def purities(tables: Counts) -> Floats:
    """(R,): the share of images in the most common class of their cluster; it rises with k on its own.

    >>> purities(np.array([[[3, 1], [0, 4]]])).tolist()
    [0.875]
    """
    return np.asarray(tables.max(2).sum(1) / tables.sum((1, 2)), np.float64)


def mutual_information(tables: Counts) -> Floats:
    """(R,): I(clusters; classes) over the mean of the two entropies, from 0 to 1; 1 where both have a single group.

    >>> mutual_information(np.array([[[3, 0], [0, 4]], [[2, 2], [2, 2]]])).round(6).tolist()
    [1.0, 0.0]
    """
    mutual, mean = _information(tables)
    return np.asarray(np.where(mean > 0, np.clip(mutual, 0, None) / np.where(mean > 0, mean, 1), 1.0), np.float64)


def adjusted_mutual_information(tables: Counts | Floats, everyone: Counts | Floats) -> Floats:
    """(R,): the same, less what random clusters of these sizes reach (Vinh, Epps & Bailey 2010): 0 by chance, at most 1.

    What chance reaches is scikit-learn's value for the table (k, classes) of all images; in resamples it is taken to fall
    with the number of images.

    >>> table = np.array([[2, 1], [1, 3]])
    >>> from sklearn.metrics import adjusted_mutual_info_score
    >>> peer = adjusted_mutual_info_score([0, 0, 0, 1, 1, 1, 1], [0, 0, 1, 0, 1, 1, 1])
    >>> bool(np.isclose(adjusted_mutual_information(table[None], table)[0], peer))
    True
    """
    mutual, mean = _information(tables)
    total = tables.sum((1, 2))
    chance = _chance_information(everyone) * everyone.sum() / np.maximum(total, 1)  # (R,)
    same = mean - chance < 1e-12
    return np.asarray(np.where(same, 1.0, (mutual - chance) / np.where(same, 1, mean - chance)), np.float64)


def _chance_information(table: Counts | Floats) -> float:
    """The mutual information, in nats, that is expected of random clusters with these sizes."""
    from sklearn.metrics.cluster import expected_mutual_information

    counts = np.ascontiguousarray(table[table.sum(1) > 0][:, table.sum(0) > 0], np.int64)
    return float(expected_mutual_information(counts, int(counts.sum()))) if counts.size else 0.0


def by_chance(
    clusters: NDArray[np.integer], labels: NDArray[np.integer], k: int, classes: int, seed: int = 0
) -> dict[str, float]:
    """The mean accuracy, NMI and purity over shuffled labels: what clusters of these sizes reach without any likeness.

    >>> alike = by_chance(np.arange(20) % 10, np.arange(20) // 2, 10, 10)  # two images a cluster leave much to chance
    >>> sorted(alike), 0.3 < alike["accuracy"] < 0.6
    (['accuracy', 'nmi', 'purity'], True)
    """
    rng = np.random.default_rng(seed)
    tables = np.stack([contingency(clusters, rng.permutation(labels), k, classes) for _ in range(_SHUFFLES)])
    right = [accuracies(table[None])[0] for table in tables]
    return {
        "accuracy": float(np.mean(right)),
        "nmi": float(mutual_information(tables).mean()),
        "purity": float(purities(tables).mean()),
    }


def _information(tables: Counts | Floats) -> tuple[Floats, Floats]:
    """(R,) each, in nats: the mutual information of clusters and classes, and the mean of their two entropies."""
    joint = tables / tables.sum((1, 2), keepdims=True)  # (R, k, classes) of sum 1
    rows, columns = joint.sum(2), joint.sum(1)
    # I(X; Y) = H(X) + H(Y) − H(X, Y)
    mutual = _entropy(rows) + _entropy(columns) - _entropy(joint.reshape(len(joint), -1))
    return mutual, (_entropy(rows) + _entropy(columns)) / 2


def _entropy(shares: Floats) -> Floats:
    """(R,) in nats, of rows of shares (R, n)."""
    return np.asarray(-(shares * np.log(np.where(shares > 0, shares, 1))).sum(1), np.float64)


def adjusted_rand(tables: Counts) -> Floats:
    """(R,): agreement on which pairs belong together, corrected for chance (Hubert & Arabie 1985, eq. 5); 1 for equal partitions.

    >>> adjusted_rand(np.array([[[3, 0], [0, 4]]])).tolist()
    [1.0]
    """

    def pairs(counts: Counts) -> Floats:
        wide = counts.astype(np.float64)
        return wide * (wide - 1) / 2

    both = pairs(tables).sum((1, 2))
    rows, columns = pairs(tables.sum(2)).sum(1), pairs(tables.sum(1)).sum(1)
    # the pairs that random partitions with these sizes would have in common, and the most possible
    chance = rows * columns / np.maximum(pairs(tables.sum((1, 2))), 1)
    most = (rows + columns) / 2
    same = most == chance  # one group in both, or every image alone in both
    return np.asarray(np.where(same, 1.0, (both - chance) / np.where(same, 1, most - chance)), np.float64)


def silhouette(codes: NDArray[np.floating], clusters: NDArray[np.integer], seed: int = 0) -> float:
    """Mean silhouette (Rousseeuw 1987) of codes (N, D), over at most 2,000 random ones; NaN with a single cluster.

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
    """The adjusted Rand index of each pair of partitions (N,) of the same images, (pairs,).

    >>> stability([np.array([0, 0, 1]), np.array([1, 1, 0]), np.array([0, 1, 1])]).round(2).tolist()
    [1.0, -0.5, -0.5]
    """
    tables = [
        contingency(one, other, int(one.max()) + 1, int(other.max()) + 1)
        for one, other in itertools.combinations(partitions, 2)
    ]
    return np.array([float(adjusted_rand(table[None])[0]) for table in tables], np.float64)


def describe_sizes(sizes: NDArray[np.integer]) -> str:
    """The sizes (k,) of clusters in words: which are empty, which are tiny, whether one contains nearly everything.

    >>> describe_sizes(np.array([50, 0, 50]))
    'Cluster 1 is empty.'
    >>> describe_sizes(np.array([50, 49, 51]))
    'All 3 clusters contain images, from 49 to 51 each.'
    """
    total, k = int(sizes.sum()), len(sizes)
    faults = []
    empty = np.flatnonzero(sizes == 0)
    tiny = np.flatnonzero((sizes > 0) & (sizes * k * 20 < total))  # below a twentieth of an equal share
    if len(empty):
        faults.append(f"{_listed(empty)} {'is' if len(empty) == 1 else 'are'} empty.")
    if len(tiny):
        most = f"{int(sizes[tiny].max())} images" if sizes[tiny].max() > 1 else "1 image"
        faults.append(f"{_listed(tiny)} {'is' if len(tiny) == 1 else 'are'} nearly empty: at most {most} of {total:,}.")
    if k > 1 and sizes.max() > 0.9 * total:
        faults.append(
            f"The clusters have collapsed: cluster {int(sizes.argmax())} contains {100 * sizes.max() / total:.0f} % of the images."
        )
    return (
        " ".join(faults) or f"All {k} clusters contain images, from {int(sizes.min()):,} to {int(sizes.max()):,} each."
    )


def _listed(places: NDArray[np.integer]) -> str:
    names = [str(int(i)) for i in places]
    if len(names) == 1:
        return f"Cluster {names[0]}"
    return f"Clusters {', '.join(names[:-1])} and {names[-1]}"
