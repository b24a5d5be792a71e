# SPDX-License-Identifier: Apache-2.0
"""ROC AUC and average precision of each class against the rest, for any number of resamples at once, and their curves.

Images are ranked by a class's probability. Only images of the class raise the recall, so a ranking is cut at their scores, and
the weights of the other images are summed between two cuts and at each: for all resamples one product of a sparse matrix with
the weights. Images of equal probability are taken together, so that their order in the data changes nothing.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, NamedTuple, final

import numpy as np
from numpy.typing import NDArray

from pellucid.tasks._metrics import RESAMPLES, Floats, Weights

__all__ = ["Curve", "Rankings", "curve", "macro"]

_AT_ONCE = 64  # resamples, whose weights fit into a processor's cache
_MOST = 2_000_000_000  # probabilities × resamples that take about a second; beyond it, fewer resamples are measured,
_LEAST = 0.2  # but never less than this share of them
_DIGITS = 12  # after the point, of a measure

Places = NDArray[np.int64]
Scores = NDArray[np.floating]


class _Table(NamedTuple):
    """The images of all classes' rankings by what is summed of them, as the rows of a sparse matrix in one class's rows."""

    images: NDArray[np.int32]  # (N,) by falling score: those of other classes, then those of the class
    starts: Places  # (3 G + 2,): other images above each cut and at it, in turn, below all cuts; then the class's own at each
    cuts: int  # G, the different scores of the class's images


@final
class Rankings:
    """The rankings of N images by the probability of each class that can be measured: some images have it, and some do not.

    >>> rankings = Rankings.of(np.array([0, 0, 1, 1]), np.array([[0.9, 0.1], [0.6, 0.4], [0.7, 0.3], [0.2, 0.8]]), [1])
    >>> auc, precision = rankings.measures(np.ones((1, 4)))
    >>> auc.round(3).tolist(), precision.round(3).tolist()
    ([[0.75]], [[0.833]])
    """

    def __init__(self, tables: list[_Table], images: int) -> None:
        self._tables, self._images = tables, images

    @classmethod
    def of(cls, true: NDArray[np.integer], probabilities: Scores, classes: Any) -> Rankings:
        """From the classes (N,) of the images and their probabilities (N, K); `classes` are those to rank by."""
        counts = np.bincount(true, minlength=probabilities.shape[1])
        known = [k for k in classes if 0 < counts[k] < len(true)]
        return cls([_table(true == k, probabilities[:, k]) for k in known], len(true))

    def measures(self, weights: Weights) -> tuple[Floats, Floats]:
        """ROC AUC and average precision (R, classes) for weights (R, N); NaN where a resample cannot tell.

        Of very many probabilities only some resamples are measured, and the others are NaN.
        """
        share = _MOST / max(1, len(self._tables) * self._images * RESAMPLES)
        rows = max(1, round(len(weights) * min(1.0, max(_LEAST, share))))
        found = np.full((2, len(weights), len(self._tables)), np.nan)
        for start in range(0, rows, _AT_ONCE):
            part = slice(start, min(start + _AT_ONCE, rows))
            # whole numbers up to 2²⁴ are exact in float32
            drawn = np.ascontiguousarray(weights[part].T, np.float32)  # (N, r)
            for k, table in enumerate(self._tables):
                found[:, part, k] = _measured(table, drawn)
        return found[0], found[1]


def _table(own: NDArray[np.bool_], score: Scores) -> _Table:
    order = np.argsort(-score, kind="stable")
    ranked, mine = score[order], own[order]
    step = np.concatenate([[0], (ranked[1:] != ranked[:-1]).cumsum()])  # (N,): the place of each score
    cuts, at = np.unique(step[mine], return_inverse=True)
    others = step[~mine]
    after = np.searchsorted(cuts, others)  # cuts above the score
    tied = cuts[np.minimum(after, len(cuts) - 1)] == others
    place = np.concatenate([2 * after + (tied & (after < len(cuts))), 2 * len(cuts) + 1 + at])
    images = np.concatenate([order[~mine], order[mine]]).astype(np.int32)
    starts = np.concatenate([[0], np.bincount(place, minlength=3 * len(cuts) + 1).cumsum()])
    return _Table(images, starts, len(cuts))


def _measured(table: _Table, drawn: NDArray[np.float32]) -> tuple[Floats, Floats]:
    """(r,) each: ROC AUC (Hanley & McNeil 1982) and average precision, without interpolation, for weights (N, r)."""
    from scipy.sparse import csr_array

    shape = (len(table.starts) - 1, len(drawn))
    ones = np.ones(len(table.images), np.float32)
    sums = csr_array((ones, table.images, table.starts), shape=shape) @ drawn  # (3 G + 1, r)
    tied, own = sums[1 : 2 * table.cuts : 2], sums[2 * table.cuts + 1 :]  # (G, r) each
    passed = (sums[0 : 2 * table.cuts : 2] + tied).cumsum(0)  # others at or above a cut
    hits = own.cumsum(0)
    total, rest = hits[-1].astype(np.float64), (passed[-1] + sums[2 * table.cuts]).astype(np.float64)
    precision = np.divide(hits, np.maximum(hits + passed, 1), dtype=np.float64)
    with np.errstate(divide="ignore", invalid="ignore"):
        wrong = np.einsum("gr,gr->r", own, passed - tied / 2, dtype=np.float64)
        auc = 1 - wrong / (total * rest)
        mean = np.einsum("gr,gr->r", own, precision, dtype=np.float64) / total
    return _rounded(np.where(total * rest > 0, auc, np.nan)), _rounded(np.where(total > 0, mean, np.nan))


def _rounded(numbers: NDArray[np.floating]) -> Floats:
    """Without what rounding alone tells apart: a ranking by nothing has one value in all resamples."""
    return np.asarray(numbers, np.float64).round(_DIGITS)


def macro(each: Floats) -> Floats:
    """(R,): the mean over the classes (R, K) that a resample can tell of; NaN without any.

    >>> macro(np.array([[0.5, np.nan, 0.7], [np.nan] * 3])).round(3).tolist()
    [0.6, nan]
    """
    there = ~np.isnan(each)
    with np.errstate(invalid="ignore"):
        return _rounded(np.where(there, each, 0.0).sum(1) / there.sum(1))


@final
@dataclass(frozen=True)
class Curve:
    """The shares of images of a class and of others that are answered from each score on, from the highest one down.

    >>> one = curve(np.array([True, False, True]), np.array([0.9, 0.5, 0.5]))
    >>> one.recall.tolist(), one.false_alarms.tolist(), one.precision.round(3).tolist()
    ([0.0, 0.5, 1.0], [0.0, 0.0, 1.0], [1.0, 1.0, 0.667])
    """

    scores: Floats  # (S + 1,): each different one, falling, after infinity
    recall: Floats  # (S + 1,) also called true positive rate, or sensitivity
    false_alarms: Floats  # (S + 1,) false positive rate: 1 − specificity
    precision: Floats  # (S + 1,); 1 where nothing is answered


def curve(own: NDArray[np.bool_], score: Scores) -> Curve:
    """The curve of one class, from which images (N,) belong to it and from their scores; both kinds must be there."""
    order = np.argsort(-score, kind="stable")
    ranked = score[order].astype(np.float64)
    ends = np.flatnonzero(np.diff(ranked, append=-np.inf) != 0)  # images of equal scores are answered together
    hits, answered = np.concatenate([[0], own[order].cumsum()[ends]]), np.concatenate([[0], ends + 1])
    total = int(own.sum())
    return Curve(
        np.concatenate([[np.inf], ranked[ends]]),
        hits / total,
        (answered - hits) / (len(own) - total),
        np.where(answered > 0, hits / np.maximum(answered, 1), 1.0),
    )
