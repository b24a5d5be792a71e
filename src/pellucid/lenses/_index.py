# SPDX-License-Identifier: Apache-2.0
"""Nearest neighbours of codes: exact up to 50,000 images, by an inverted file of faiss beyond."""

from __future__ import annotations

import warnings
from typing import Any, final

import numpy as np
import torch
from numpy.typing import NDArray

from pellucid._spread import evenly_spread
from pellucid.errors import UsageError

__all__ = ["EXACT", "Index", "distinct"]

EXACT = 50_000
"""Images up to which every distance is computed."""

_SPARE = 8  # candidates beyond k whose distances are computed again in float64
_BLOCK = 1 << 20  # bytes of differences at a time: they stay in the processor's cache
_PROBES = 32  # cells of the inverted file that are searched


@final
class Index:
    """Codes (N, D) that are searched for nearest neighbours by Euclidean distance.

    Up to `EXACT` codes the search is exact. Beyond, the codes are sorted into cells around k-means centres, and only the cells
    nearest to the query are searched (Jégou, Douze & Schmid 2011, section IV): `recall` measures how often that finds the nearest.
    Either way the distances are computed as float64 differences, so that copies are at exactly 0.

    >>> index = Index(np.array([[0.0], [1.0], [3.0]]))
    >>> where, distance = index.search(np.array([[0.9]]), 2)
    >>> where.tolist(), distance.round(1).tolist()
    ([[1, 0]], [[0.1, 0.9]])

    Raises:
        UsageError: there are more than `EXACT` codes, and faiss is not installed.
    """

    def __init__(self, codes: NDArray[Any], memory: int = 1 << 30) -> None:
        self.codes = np.ascontiguousarray(codes, np.float32)
        self._memory = memory
        # distances do not change when all codes are shifted, and small numbers cancel less
        self._centre = self.codes.mean(0, dtype=np.float64).astype(np.float32)
        self._shifted = self.codes - self._centre
        self._cells = _cells(self._shifted) if len(codes) > EXACT else None

    def __len__(self) -> int:
        return len(self.codes)

    @property
    def kind(self) -> str:
        """How neighbours are searched for, in a few words."""
        return "every distance computed" if self._cells is None else f"faiss inverted file, {self._cells.nlist} cells"

    def search(
        self, queries: NDArray[Any], k: int, own: NDArray[np.int64] | None = None
    ) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
        """Positions and distances (Q, k) of the nearest codes, the nearest first; ties in the order of the codes.

        Args:
            queries: (Q, D).
            k: number of neighbours; fewer come back if there are no more codes.
            own: (Q,) the position of each query among the codes, which is left out; -1 for none.
        """
        k = min(k, len(self) - (own is not None))
        wanted = min(len(self), k + (own is not None) + _SPARE)
        queries = np.ascontiguousarray(queries, np.float32)
        neighbours = [np.zeros((0, k), np.int64)]
        lengths = [np.zeros((0, k))]
        step = int(max(1, min(4096, self._memory / (12 * len(self)))))  # a query needs a row of distances
        for start in range(0, len(queries), step):
            rows = queries[start : start + step]
            near = self._candidates(rows - self._centre, wanted)  # (q, wanted)
            distance = self._exact(rows, near)
            if own is not None:
                distance[near == own[start : start + step, None]] = np.inf
            order = np.lexsort((near, distance), axis=1)[:, :k]
            neighbours.append(np.take_along_axis(near, order, 1))
            lengths.append(np.take_along_axis(distance, order, 1))
        return np.concatenate(neighbours), np.concatenate(lengths)

    def _exact(self, rows: NDArray[np.float32], near: NDArray[np.int64]) -> NDArray[np.float64]:
        """(q, wanted) distances of queries (q, D) to their candidates, by float64 differences."""
        distance = np.empty(near.shape)
        step = max(1, _BLOCK // (8 * max(1, near.shape[1] * rows.shape[1])))
        for start in range(0, len(rows), step):
            part = slice(start, start + step)
            gap = np.subtract(self.codes[near[part]], rows[part, None], dtype=np.float64)  # (q, wanted, D)
            distance[part] = np.sqrt(np.einsum("qwd,qwd->qw", gap, gap))
        return distance

    def recall(self, k: int, sample: int = 100) -> float:
        """The share of the true k nearest that the search finds, measured on some of the codes; 1 if it is exact."""
        if self._cells is None:
            return 1.0
        rows = evenly_spread(sample, len(self), floor=True)
        neighbours, _ = self.search(self.codes[rows], k, rows)
        true = np.array([list(row) for row in self._every(self._shifted[rows], k + 1)])
        hits = [
            len({*near} & {*[i for i in row if i != own][:k]})
            for near, row, own in zip(neighbours.tolist(), true.tolist(), rows.tolist(), strict=True)
        ]
        return float(np.mean(hits)) / k

    def _candidates(self, shifted: NDArray[np.float32], wanted: int) -> NDArray[np.int64]:
        """(q, wanted) positions of the nearest codes as float32 sees them, in no order."""
        if self._cells is None:
            return self._every(shifted, wanted)
        _, positions = self._cells.search(shifted, wanted)
        near: NDArray[np.int64] = positions.astype(np.int64)
        lacking = (near < 0).any(1)  # the searched cells hold too few
        if lacking.any():
            near[lacking] = self._every(shifted[lacking], wanted)
        return near

    def _every(self, shifted: NDArray[np.float32], wanted: int) -> NDArray[np.int64]:
        codes, rows = torch.from_numpy(self._shifted), torch.from_numpy(shifted)
        # |q - c|² without |q|², which is the same for all c
        far = torch.addmm((codes**2).sum(1)[None], rows, codes.T, alpha=-2)
        return far.topk(wanted, largest=False).indices.numpy()


def distinct(codes: NDArray[Any]) -> int:
    """How many different codes there are among (N, D).

    >>> distinct(np.array([[0.0, 1.0], [0.0, 1.0], [0.0, 2.0]]))
    2
    """
    return len({row.tobytes() for row in np.ascontiguousarray(codes) + 0.0})  # -0.0 + 0.0 is 0.0


def _cells(codes: NDArray[np.float32]) -> Any:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # its bindings use what Python has deprecated
            import faiss
    except ImportError:
        raise UsageError(
            f"images={len(codes):,}: neighbours among more than {EXACT:,} need faiss-cpu; "
            "install it (pip install 'pellucid[index]'), or give a lower --limit."
        ) from None
    cells = int(4 * np.sqrt(len(codes)))
    made = faiss.IndexIVFFlat(faiss.IndexFlatL2(codes.shape[1]), codes.shape[1], cells)
    made.train(codes)  # k-means with a seed of its own
    made.add(codes)
    made.nprobe = _PROBES
    return made
