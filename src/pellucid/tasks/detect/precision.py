# SPDX-License-Identifier: Apache-2.0
"""Average precision of any number of resamples at once, and precision, recall and F1 from a score on.

The average precision of a class is COCO's (Lin et al. 2014): the mean, over the recalls 0, 0.01, …, 1, of the highest
precision at that recall or above. It differs from `COCOeval` in one case alone: detections of equal scores are taken together
here, so that the order of the images changes nothing, and one by one there.

Only detections that are hits raise the recall, so that a curve has as many points as there are hits, not detections; the
sums between two of them, for all resamples, are one product of a sparse matrix with the weights.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from pellucid.tasks._metrics import Floats, Weights
from pellucid.tasks._records import Records, rows_of
from pellucid.tasks.detect.matching import HIT, IGNORED, RANGES

__all__ = ["answered", "best_threshold", "curve", "mean_precision", "precision_of", "ratio"]

_RECALLS = np.linspace(0.0, 1.0, 101)
_AT_ONCE = 1 << 20  # numbers in an array, which fit into a processor's cache

Places = NDArray[np.int64]


class _Sums(NamedTuple):
    """Detections of one class by falling score, cut into segments that end where the score of a hit ends."""

    segment: Places  # (n,) of each detection; those after the last segment are left out
    owner: Places  # (n,) its image
    state: NDArray[np.int8]  # (n, IoUs)
    segments: int
    last: Floats  # (segments,) the score at which a segment ends


def mean_precision(
    levels: Sequence[int], size: int = 0, label: int | None = None
) -> Callable[[Records, Weights], Floats]:
    """The rule of a measure: the mean of the average precision over IoUs and classes, for weights (R, N) → (R,).

    A class that none of the images has is left out of the mean; without any it is NaN.

    Args:
        levels: positions in `IOUS`.
        size: position in `RANGES`.
        label: one class alone.
    """

    def over(records: Records, weights: Weights) -> Floats:
        known = np.unique(records["true_label"].values) if label is None else [label]
        each = np.stack(
            [precision_of(records, weights, int(one), levels, size) for one in known] or [_nothing(weights)]
        )
        there = ~np.isnan(each)  # (K, R)
        with np.errstate(invalid="ignore"):
            return np.asarray(np.where(there, each, 0.0).sum(0) / there.sum(0))

    return over


def _nothing(weights: Weights) -> Floats:
    return np.full(len(weights), np.nan)


def precision_of(records: Records, weights: Weights, label: int, levels: Sequence[int], size: int = 0) -> Floats:
    """(R,): the average precision of a class, as a mean over IoUs; NaN in resamples that have none of its objects."""
    objects = _objects(records, label, size)  # (N,)
    sums = _segments(records, label, levels, size)
    found = np.full(len(weights), np.nan)
    rows = max(1, _AT_ONCE // max(1, sums.segments))
    for start in range(0, len(weights), rows):
        part = slice(start, start + rows)
        found[part] = _averaged(sums, np.ascontiguousarray(weights[part].T), objects)
    return found


def _objects(records: Records, label: int, size: int) -> Floats:
    """(N,): the objects of a class and range in each image."""
    low, high = RANGES[size][1:]
    area, own = records["true_area"].values, records["true_label"]
    counted = (own.values == label) & (area >= low) & (area <= high)
    return np.bincount(own.owners[counted], minlength=len(own)).astype(np.float64)


def _segments(records: Records, label: int, levels: Sequence[int], size: int) -> _Sums:
    score, state = records["score"], records["state"].values
    own = np.flatnonzero(records["label"].values == label)
    own = own[np.argsort(-score.values[own], kind="stable")]
    scores, mine = score.values[own], state[own][:, size][:, list(levels)]  # (n,), (n, IoUs)
    step = np.concatenate([[0], (scores[1:] != scores[:-1]).cumsum()]) if len(own) else np.zeros(0, np.int64)
    ends = np.unique(step[(mine == HIT).any(1)])
    kept = int(np.searchsorted(step, ends[-1], "right")) if len(ends) else 0
    segment = np.searchsorted(ends, step[:kept])
    last = scores[np.searchsorted(step, ends, "right") - 1] if len(ends) else np.zeros(0)
    return _Sums(segment, score.owners[own[:kept]], mine[:kept], len(ends), last.astype(np.float64))


def _averaged(sums: _Sums, drawn: Floats, objects: Floats) -> Floats:
    """(r,): the mean over the IoUs, for weights drawn (N, r)."""
    total = objects @ drawn  # (r,)
    if not sums.segments:
        return np.where(total > 0, 0.0, np.nan)
    always = (sums.state != IGNORED).all(1)
    base = _added(sums, drawn, always)  # (segments, r)
    mean = np.zeros_like(total)
    with np.errstate(divide="ignore", invalid="ignore"):
        for state in sums.state.T:
            hits = _added(sums, drawn, state == HIT)
            sometimes = (state != IGNORED) & ~always
            seen = base + _added(sums, drawn, sometimes) if sometimes.any() else base
            precision = np.where(seen > 0, hits / seen, 0.0)
            best = np.maximum.accumulate(precision[::-1], 0)[::-1]
            passed = np.diff(
                _reached(hits, total), axis=0, prepend=-1.0
            )  # recalls that a segment is the first to reach
            mean += np.einsum("sr,sr->r", best, passed)
    mean /= len(_RECALLS) * sums.state.shape[1]
    return np.where(total > 0, mean, np.nan)


def _reached(hits: Floats, total: Floats) -> Floats:
    """(segments, r): the last of the recalls 0, 0.01, …, 1 that hits (segments, r) of the objects (r,) reach.

    >>> _reached(np.array([[0.0], [1], [57], [100]]), np.array([100.0])).ravel().tolist()
    [0.0, 1.0, 56.0, 100.0]
    """
    exact = 100 * hits / total
    reached = np.floor(exact)
    # COCO's 0.57 is 0.5700000000000001, which 57 of 100 do not reach; whole numbers alone can be that close
    some = np.nonzero((reached == exact) & (hits > 0))
    below = _RECALLS[reached[some].astype(np.int64)] > (hits / total)[some] if len(some[0]) else 0
    reached[some] -= below
    return reached


def _added(sums: _Sums, drawn: Floats, chosen: NDArray[np.bool_]) -> Floats:
    """(segments, r): the weights of the chosen detections, summed to the end of each segment."""
    from scipy.sparse import csr_array

    rows, columns = sums.segment[chosen], sums.owner[chosen]
    table = csr_array((np.ones(len(rows)), (rows, columns)), shape=(sums.segments, len(drawn)))
    return np.asarray((table @ drawn).cumsum(0))


def curve(records: Records, label: int, level: int = 0) -> tuple[Floats, Floats]:
    """The recalls of a class, rising, and the precision at each, over all images; it has a point for each score of a hit."""
    sums, every = _segments(records, label, [level], 0), np.ones((rows_of(records), 1))
    total = float(_objects(records, label, 0).sum())
    if not sums.segments or not total:
        return np.zeros(0), np.zeros(0)
    hits = _added(sums, every, sums.state[:, 0] == HIT)[:, 0]
    seen = _added(sums, every, sums.state[:, 0] != IGNORED)[:, 0]
    return hits / total, hits / seen


def answered(records: Records) -> NDArray[np.bool_]:
    """(detections,): those that are answered, as their score reaches the threshold, and that count."""
    score = records["score"]
    enough = score.values >= records["threshold"][score.owners]
    return np.asarray(enough & (records["state"].values[:, 0, 0] != IGNORED), bool)


def ratio(above: Callable[[Records], Any], below: Callable[[Records], Any]) -> Callable[[Records, Weights], Floats]:
    """The rule of a ratio of sums over the images: each function gives numbers (N,)."""

    def over(records: Records, weights: Weights) -> Floats:
        with np.errstate(divide="ignore", invalid="ignore"):  # NaN where nothing is counted
            return np.asarray((weights @ above(records)) / (weights @ below(records)))

    return over


def best_threshold(records: Records) -> tuple[float, float]:
    """The score from which the detections of all classes have the highest F1 at an IoU of 0.5, and this F1.

    The threshold lies halfway between that score and the next lower one. Where there is no hit, it is 0.5.
    """
    state, score = records["state"].values[:, 0, 0], records["score"].values.astype(np.float64)
    counted = np.flatnonzero(state != IGNORED)
    order = counted[np.argsort(-score[counted], kind="stable")]
    hits = (state[order] == HIT).cumsum()
    if not len(order) or not hits[-1]:
        return 0.5, 0.0
    f1 = 2 * hits / (np.arange(1, len(order) + 1) + len(records["true_label"].values))
    ends = np.flatnonzero(
        np.diff(score[order], append=-np.inf) != 0
    )  # detections of equal scores are answered together
    best = int(ends[f1[ends].argmax()])
    after = score[order[best + 1]] if best + 1 < len(order) else 0.0
    return float((score[order[best]] + after) / 2), float(f1[best])
