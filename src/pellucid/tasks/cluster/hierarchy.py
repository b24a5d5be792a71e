# SPDX-License-Identifier: Apache-2.0
"""A tree of codes by agglomerative clustering: its cuts, and where a new code belongs in it."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import final

import numpy as np
from numpy.typing import NDArray

from pellucid.errors import UsageError

__all__ = ["Placement", "Tree"]

Floats = NDArray[np.float64]


@final
@dataclass(frozen=True)
class Placement:
    """Where a new code belongs: its cluster in the cut, the nearest known code of that cluster, and the height at which it joins."""

    cluster: int
    nearest: int
    height: float


@final
class Tree:
    """The agglomerative clustering of codes (N, D) by SciPy; node i < N is a code, node N + j the j-th merger.

    >>> tree = Tree(np.array([[0.0], [1.0], [8.0], [10.0]]), "average")
    >>> tree.heights.tolist(), tree.cut(2).tolist()
    ([1.0, 2.0, 8.5], [0, 0, 1, 1])
    >>> tree.place(np.array([9.2]), tree.cut(2))
    Placement(cluster=1, nearest=3, height=0.8)

    Args:
        codes: (N, D), at least two.
        linkage: the distance between two groups: ward (1963) by the growth of the squared distances to the mean, average
            and complete by the mean and the largest distance between their members.

    Raises:
        UsageError: fewer than two codes.
    """

    def __init__(self, codes: NDArray[np.floating], linkage: str) -> None:
        from scipy.cluster.hierarchy import linkage as agglomerate

        if len(codes) < 2:
            raise UsageError(f"images={len(codes)}: a tree needs at least two; give more.")
        self.codes, self.linkage = np.asarray(codes, np.float64), linkage
        self.links: Floats = agglomerate(self.codes, linkage)  # (N − 1, 4): two nodes, height, members

    def __len__(self) -> int:
        return len(self.codes)

    @property
    def heights(self) -> Floats:
        """(N − 1,): the heights of the mergers, rising."""
        return np.asarray(self.links[:, 2], np.float64)

    def cut(self, clusters: int) -> NDArray[np.int64]:
        """(N,): the cluster of each code when the tree is cut into this many, numbered from the largest.

        Raises:
            UsageError: more clusters than codes.
        """
        from scipy.cluster.hierarchy import fcluster

        if not 1 <= clusters <= len(self):
            raise UsageError(f"cut={clusters}: the tree has {len(self)} images; give a number from 1 to {len(self)}.")
        return _by_size(fcluster(self.links, clusters, "maxclust"))

    def cut_at(self, height: float) -> NDArray[np.int64]:
        """(N,): the cluster of each code when the tree is cut at a height, numbered from the largest."""
        from scipy.cluster.hierarchy import fcluster

        return _by_size(fcluster(self.links, height, "distance"))

    @cached_property
    def members(self) -> list[NDArray[np.int64]]:
        """The codes below each of the 2·N − 1 nodes."""
        members = [np.array([i]) for i in range(len(self))]
        for left, right in self.links[:, :2].astype(np.int64):  # a merger comes after the nodes that it merges
            members.append(np.concatenate([members[left], members[right]]))
        return members

    def medoid(self, node: int) -> int:
        """The code nearest to the mean of those below a node; its picture represents the node."""
        own = self.members[node]
        return int(own[np.square(self.codes[own] - self.codes[own].mean(0)).sum(1).argmin()])

    def place(self, code: NDArray[np.floating], cut: NDArray[np.int64]) -> Placement:
        """Where a new code belongs: the nearest cluster of the cut, and in it the nearer of two branches, from the top down.

        It stops where both branches are farther from it than they are from each other. All distances are the linkage's.
        """
        own = np.asarray(code, np.float64)
        far = np.sqrt(np.square(self.codes - own).sum(1))  # (N,): Euclidean distances from all codes
        groups = [np.flatnonzero(cut == label) for label in range(int(cut.max()) + 1)]
        # chosen before the descent: with complete linkage, the union of its own cluster and another may be farther than a third
        cluster = int(np.argmin([self._distance(own, far, group) for group in groups]))
        node, count = 2 * len(self) - 2, len(self)  # the root
        height = self._distance(own, far, self.members[node])
        while node >= count:
            left, right = (int(child) for child in self.links[node - count, :2])
            inside = [child for child in (left, right) if (cut[self.members[child]] == cluster).any()]
            distances = {child: self._distance(own, far, self.members[child]) for child in inside}
            child = min(inside, key=lambda child: distances[child])
            if len(inside) == 2 and distances[child] >= self.links[node - count, 2]:
                break  # farther from both branches than they are from each other: it joins above them
            node, height = child, distances[child]
        own_cluster = self.members[node][cut[self.members[node]] == cluster]
        nearest = int(own_cluster[far[own_cluster].argmin()])
        return Placement(cluster, nearest, round(float(height), 6))

    def _distance(self, code: Floats, far: Floats, group: NDArray[np.int64]) -> float:
        """The distance of a single code from a group of others, by the linkage."""
        if self.linkage == "complete":
            return float(far[group].max())
        if self.linkage == "average":
            return float(far[group].mean())
        # Ward's distance between groups of n and 1: √(2n/(n + 1))·|mean − code|
        return float(np.sqrt(2 * len(group) / (len(group) + 1) * np.square(self.codes[group].mean(0) - code).sum()))


def _by_size(labels: NDArray[np.integer]) -> NDArray[np.int64]:
    """Labels (N,) renumbered from 0 by falling size; of equal sizes, the one that occurs first is first."""
    values, first, place, counts = np.unique(labels, return_index=True, return_inverse=True, return_counts=True)
    order = np.lexsort((first, -counts))
    rank = np.empty(len(values), np.int64)
    rank[order] = np.arange(len(values))
    return np.asarray(rank[place], np.int64)
