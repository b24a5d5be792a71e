# SPDX-License-Identifier: Apache-2.0
"""Counts of confused classes from an evaluation's records, an order that puts confusable classes together, and pairs."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, final

import numpy as np
from numpy.typing import NDArray

from pellucid.errors import UsageError

__all__ = ["Counts", "Pair", "counts", "may_tell", "natural_order", "pairs", "shares", "similarity_order", "tells"]

_AT_A_GLANCE = 12  # classes
_MOST_ORDERED = 400  # classes whose leaves are ordered optimally; of more the tree's own order is taken


@final
@dataclass(frozen=True)
class Counts:
    """How often each true class (row) was predicted as each class (column), in all and by image."""

    matrix: NDArray[np.int64]  # (K, K)
    unit: str  # "images", "pixels" or "objects"
    cell: NDArray[np.int64] | None  # (N,) true · K + predicted, where an image has one class
    parts: NDArray[Any] | None  # (N, K, K) a matrix for each image, where its pixels or objects have classes

    def members(self, true: int, predicted: int) -> NDArray[np.int64]:
        """Positions of the images in a cell: in their own order, or those with most such pixels first."""
        if self.cell is not None:
            return np.flatnonzero(self.cell == true * len(self.matrix) + predicted)
        assert self.parts is not None
        amount = self.parts[:, true, predicted].astype(np.int64)
        order = np.argsort(-amount, kind="stable")
        return order[: np.count_nonzero(amount)]


@final
@dataclass(frozen=True)
class Pair:
    """Two classes that are confused."""

    first: int
    second: int
    forth: int  # how often the first is predicted as the second
    back: int  # how often the second is predicted as the first


def counts(records: Mapping[str, Any], classes: int) -> Counts:
    """The counts of an evaluation's records: of a class for each image, a matrix for each image, or classes of its objects.

    >>> counts({"true": np.array([0, 1]), "predicted": np.array([1, 1])}, 2).matrix.tolist()
    [[0, 1], [0, 1]]
    >>> counts({"confusion": np.array([[90, 10, 0, 0], [0, 5, 5, 90]])}, 2).matrix.tolist()
    [[90, 15], [5, 90]]

    Of objects, the last class is none: an object that was missed, or an answer where there is nothing.

    Raises:
        UsageError: the records hold no classes.
    """
    if "confused" in records:
        pairs = records["confused"]  # ragged, (objects, 2): true and predicted, −1 for none
        cells = (pairs.owners * classes + pairs.values[:, 0] % classes) * classes + pairs.values[:, 1] % classes
        parts = np.bincount(cells, minlength=len(pairs) * classes**2).reshape(len(pairs), classes, classes)
        return Counts(parts.sum(0, dtype=np.int64), "objects", None, parts.astype(np.int32))
    if "confusion" in records:
        stored = np.asarray(records["confusion"])  # (N, K, K) or flat, (N, K·K)
        n = stored.shape[1] if stored.ndim == 3 else math.isqrt(stored.shape[1])
        parts = stored.reshape(len(stored), n, n)
        return Counts(parts.sum(0, dtype=np.int64), "pixels", None, parts)
    if not {"true", "predicted"} <= set(records) or not classes:
        raise UsageError(
            "lens='confusion': needs the true and the predicted class of each image, pixel or object; evaluate a classifier first."
        )
    cell = records["true"].astype(np.int64) * classes + records["predicted"].astype(np.int64)
    matrix = np.bincount(cell, minlength=classes * classes).reshape(classes, classes).astype(np.int64)
    return Counts(matrix, "images", cell, None)


def shares(matrix: NDArray[np.int64]) -> NDArray[np.float64]:
    """(K, K): each row as shares of its true class; 0 in the row of a class that does not occur."""
    rows: NDArray[np.float64] = matrix / np.maximum(1, matrix.sum(1, keepdims=True))
    return rows


def natural_order(names: Sequence[str]) -> NDArray[np.int64]:
    """(K,): the classes in the data's order, or by their value where all are numbers.

    >>> natural_order(["10", "9", "2"]).tolist(), natural_order(["cat", "10", "2"]).tolist()
    ([2, 1, 0], [0, 1, 2])
    """
    try:
        values = [float(name) for name in names]
    except ValueError:
        return np.arange(len(names))
    return np.argsort(values, kind="stable").astype(np.int64) if np.isfinite(values).all() else np.arange(len(names))


def may_tell(matrix: NDArray[np.int64]) -> bool:
    """Whether another order of the classes is worth looking for.

    Up to twelve classes are seen at a glance; of fewer mistakes than classes, an order would follow chance.
    """
    return len(matrix) > _AT_A_GLANCE and bool(matrix.sum() - np.trace(matrix) >= len(matrix))


def tells(matrix: NDArray[np.int64], order: NDArray[np.int64], natural: NDArray[np.int64]) -> bool:
    """Whether another order of many classes brings most mistakes to the diagonal: at most half as far from it on average."""
    if not may_tell(matrix):
        return False
    wrong = matrix - np.diag(np.diag(matrix))
    far = [(wrong * np.abs(np.subtract.outer(place, place))).sum() for place in map(np.argsort, (order, natural))]
    return bool(2 * far[0] <= far[1])


def similarity_order(matrix: NDArray[np.int64]) -> NDArray[np.int64]:
    """(K,): the classes in an order that puts confused ones side by side.

    The similarity of two classes is their share of mistakes, averaged over both directions. Classes are joined by average linkage,
    and the tree's leaves ordered so that neighbours are as similar as possible (Bar-Joseph, Gifford & Jaakkola 2001). Of the two
    ends, the class that comes first in the data is first.

    >>> similarity_order(np.array([[9, 0, 1, 0], [0, 8, 0, 2], [2, 0, 8, 0], [0, 1, 0, 9]])).tolist()
    [0, 2, 3, 1]
    """
    from scipy.cluster.hierarchy import leaves_list, linkage
    from scipy.spatial.distance import squareform

    n = len(matrix)
    similarity = shares(matrix)
    similarity = (similarity + similarity.T) / 2
    np.fill_diagonal(similarity, 0)
    if n < 3 or not similarity.any():
        return np.arange(n)
    distance = 1 - similarity / similarity.max()
    np.fill_diagonal(distance, 0)
    tree = linkage(squareform(distance, checks=False), "average", optimal_ordering=n <= _MOST_ORDERED)
    order: NDArray[np.int64] = leaves_list(tree).astype(np.int64)
    return order if order[0] < order[-1] else order[::-1]


def pairs(matrix: NDArray[np.int64], most: int) -> list[Pair]:
    """The pairs of classes with most mistakes between them, both directions together.

    >>> pairs(np.array([[5, 2, 0], [1, 5, 0], [0, 1, 5]]), 2)
    [Pair(first=0, second=1, forth=2, back=1), Pair(first=2, second=1, forth=1, back=0)]
    """
    both = np.triu(matrix + matrix.T, 1)
    rows, columns = np.nonzero(both)
    chosen = np.argsort(-both[rows, columns], kind="stable")[:most]
    confused = []
    for a, b in zip(rows[chosen].tolist(), columns[chosen].tolist(), strict=True):
        forth, back = int(matrix[a, b]), int(matrix[b, a])
        confused.append(Pair(a, b, forth, back) if forth >= back else Pair(b, a, back, forth))
    return confused
