# SPDX-License-Identifier: Apache-2.0
"""Which detections are hits: matched with the truth, image by image and class by class, by the rules of COCO.

Detections are matched from the most to the least certain. Each takes the true box of its class that it fits best and that is
still free; where none fits, a region that counts for nothing: a crowd, whose overlap is the share of the detection that lies
in it and which any number of detections can take, or, in a measure of one range of areas, an object of another area. Then the
detection counts for nothing either, and neither does one outside of the range that fits nothing (Lin et al. 2014; the rules
are those of `COCOeval.evaluateImg`).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

__all__ = [
    "HIT",
    "IGNORED",
    "IOUS",
    "MISS",
    "RANGES",
    "Matches",
    "Padded",
    "first_fitting",
    "match",
    "overlaps",
    "padded",
]

IOUS = np.linspace(0.5, 0.95, 10)
RANGES = (("all", 0.0, 1e10), ("small", 0.0, 32.0**2), ("medium", 32.0**2, 96.0**2), ("large", 96.0**2, 1e10))
"""Names and areas in px²; both ends belong to a range."""
HIT, MISS, IGNORED = 1, 0, -1

Floats = NDArray[np.float64]


class Padded(NamedTuple):
    """Boxes of several images in one array; where an image has fewer, the label is −1 and the box empty."""

    corners: Floats  # (B, n, 4)
    labels: NDArray[np.int64]  # (B, n)


class Matches(NamedTuple):
    """What became of each detection, and which true box it took."""

    state: NDArray[np.int8]  # (B, D, ranges, IoUs): HIT, MISS or IGNORED
    taken: NDArray[np.int64]  # (B, D): the true box that it took at the lowest IoU in the range of all areas, or −1


def padded(corners: Sequence[NDArray[np.float32]], labels: Sequence[NDArray[np.int64]]) -> Padded:
    """Boxes (n_i, 4) and labels (n_i,) of B images, in arrays of one size.

    >>> padded([np.ones((2, 4)), np.ones((0, 4))], [np.array([3, 4]), np.array([], int)]).labels.tolist()
    [[3, 4], [-1, -1]]
    """
    most = max(map(len, labels), default=0)
    boxes, own = np.zeros((len(labels), most, 4)), np.full((len(labels), most), -1, np.int64)
    for i, (box, label) in enumerate(zip(corners, labels, strict=True)):
        boxes[i, : len(label)], own[i, : len(label)] = box, label
    return Padded(boxes, own)


def overlaps(ours: Floats, theirs: Floats, crowd: NDArray[np.bool_] | None = None) -> Floats:
    """(B, D, T): the intersection over the union of boxes (B, D, 4) and (B, T, 4); for crowds (B, T), over our box's area.

    >>> overlaps(np.array([[[0.0, 0, 2, 2]]]), np.array([[[1.0, 0, 3, 2], [0, 0, 8, 8]]]), np.array([[False, True]])).round(3)
    array([[[0.333, 1.   ]]])
    """
    low = np.maximum(ours[:, :, None, :2], theirs[:, None, :, :2])
    shared = (np.minimum(ours[:, :, None, 2:], theirs[:, None, :, 2:]) - low).clip(min=0).prod(3)  # (B, D, T)
    own, other = areas(ours)[:, :, None], areas(theirs)[:, None]
    union = own + other - shared
    if crowd is not None:
        union = np.where(crowd[:, None], own, union)
    return np.asarray(np.divide(shared, union, out=np.zeros_like(shared), where=union > 0))


def areas(boxes: Floats) -> Floats:
    """(…,): the areas of boxes (…, 4), px²."""
    return np.asarray((boxes[..., 2:] - boxes[..., :2]).clip(min=0).prod(-1))


def match(ours: Padded, theirs: Padded, crowd: NDArray[np.bool_], overlap: Floats) -> Matches:
    """Match the detections of B images, which come with falling scores, with the true boxes.

    Args:
        ours: the detections.
        theirs: the true boxes, crowds among them.
        crowd: (B, T) which of them are crowds.
        overlap: (B, D, T) of `overlaps`.
    """
    images, detections = ours.labels.shape
    low, high = (np.array([limits[end] for limits in RANGES])[None, :, None] for end in (1, 2))  # (1, ranges, 1)
    area, true_area = areas(ours.corners)[:, None], areas(theirs.corners)[:, None]
    outside = ((area < low) | (area > high)).swapaxes(1, 2)  # (B, D, ranges)
    ignored = crowd[:, None] | (true_area < low) | (true_area > high)  # (B, ranges, T)
    # those that fit nothing are never matched; the others move to the front, in their order
    fits = np.where(ours.labels[:, :, None] == theirs.labels[:, None], overlap, 0.0)
    fits[ours.labels < 0] = 0.0
    able = (fits >= _least(IOUS[0])).any(2)  # (B, D)
    front = np.argsort(~able, 1, kind="stable")[:, : int(able.sum(1).max(initial=0))]
    state = np.zeros((images, detections, len(RANGES), len(IOUS)), np.int8)
    taken = np.full((images, detections), -1, np.int64)
    free = np.ones((*ignored.shape[:2], len(IOUS), ignored.shape[2]), bool)  # (B, ranges, IoUs, T)
    every = np.arange(images)
    for places in front.T:  # the next detection of each image
        fit = fits[every, places][:, None, None]  # (B, 1, 1, T)
        possible = (fit >= _least(IOUS)[:, None]) & free
        # an object that counts comes before any that does not; of equal overlaps, the last one, as in COCO
        worth = np.where(possible, fit + 2.0 * ~ignored[:, :, None], -1.0)
        best = worth.shape[3] - 1 - worth[..., ::-1].argmax(3, keepdims=True)  # (B, ranges, IoUs, 1)
        value = np.take_along_axis(worth, best, 3)[..., 0]
        state[every, places] = np.where(value >= 2, HIT, np.where(value > 0, IGNORED, MISS))
        used = (value[..., None] > 0) & ~np.take_along_axis(crowd[:, None, None] & free, best, 3)
        np.put_along_axis(free, best, np.take_along_axis(free, best, 3) & ~used, 3)
        taken[every, places] = np.where(value[:, 0, 0] >= 2, best[:, 0, 0, 0], taken[every, places])
    state[(state == MISS) & outside[..., None]] = IGNORED
    return Matches(state, taken)


def _least(iou: Floats) -> Floats:
    """The overlap from which boxes fit: a little less for 1, as rounding may cost."""
    return np.minimum(iou, 1 - 1e-10)


def first_fitting(proposals: Floats, theirs: Floats, levels: Sequence[float]) -> NDArray[np.int64]:
    """(B, T, levels): the rank, from 1, of the first proposal (B, P, 4) that overlaps each true box so far; 2³¹ − 1 for none.

    >>> first_fitting(np.array([[[0.0, 0, 9, 9], [0, 0, 2, 2]]]), np.array([[[0.0, 0, 2, 2]]]), [0.5, 0.7]).tolist()
    [[[2, 2]]]
    """
    overlap = overlaps(proposals, theirs).swapaxes(1, 2)  # (B, T, P)
    if not overlap.shape[2]:
        return np.full((*overlap.shape[:2], len(levels)), _NEVER)
    enough = np.stack([overlap >= level for level in levels], 2)  # (B, T, levels, P)
    return np.where(enough.any(3), 1 + enough.argmax(3), _NEVER)


_NEVER = np.int64(2**31 - 1)
