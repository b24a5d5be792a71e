# SPDX-License-Identifier: Apache-2.0
"""Hierarchical grouping of an image's segments (Uijlings et al. 2013, algorithm 1): the two that are most alike, again and again.

Histograms of a merged region are the sums of its parts', so that no pixel is looked at twice. Likeness is computed for touching
regions only, and waits in a heap.
"""

from __future__ import annotations

import heapq
from dataclasses import dataclass
from typing import Any, TypeAlias, final

import numpy as np
from numpy.typing import NDArray

__all__ = ["Described", "Floats", "described", "grouped"]

Floats: TypeAlias = NDArray[np.float64]

COLOURS = 25  # bins of a plane
DIRECTIONS, SLOPES = 8, 10  # of a plane's Gaussian derivative, and bins of each
SIGMA = 1.0  # px, of that derivative


@final
@dataclass(frozen=True)
class Described:
    """The n segments of an image."""

    area: int  # px of the image
    sizes: Floats  # (n,) px
    boxes: Floats  # (n, 4) x0, y0, x1, y1
    colours: Floats  # (n, planes · 25) px in each bin
    textures: Floats  # (n, planes · 8 · 10) px in each bin
    pairs: NDArray[np.int64]  # (m, 2) segments that touch, the smaller number first


def described(planes: Floats, labels: NDArray[Any]) -> Described:
    """What grouping needs of segments.

    >>> described(np.zeros((2, 4, 3)), np.array([[0, 0, 1, 1]] * 2)).pairs.tolist()
    [[0, 1]]

    Args:
        planes: (H, W, P) in [0, 1].
        labels: (H, W) whole numbers from 0, each segment's in one connected part.
    """
    from scipy import ndimage

    count = int(labels.max()) + 1
    flat = labels.astype(np.int64).ravel()
    parts = ndimage.find_objects(labels + 1)
    boxes = np.array([[across.start, down.start, across.stop, down.stop] for down, across in parts], np.float64)
    return Described(
        labels.size,
        np.bincount(flat, minlength=count).astype(np.float64),
        boxes,
        _histograms(_bins(planes, COLOURS), COLOURS, flat, count),
        _histograms(_slopes(planes), SLOPES, flat, count),
        _touching(labels.astype(np.int64), count),
    )


def grouped(segments: Described, measures: str = "ctsf") -> Floats:
    """(2n − 1, 4): the boxes of the segments and of all merged regions, in the order in which they came about.

    The likeness of two regions is the sum of the chosen measures (eq. 1–6), each in [0, 1]: the intersections of their
    (c)olour and (t)exture histograms, small (s)ize, and how well they (f)ill their common box. Of equally similar pairs the
    one with the lowest numbers is merged.
    """
    first = len(segments.sizes)
    total = 2 * first - 1
    chosen = [own for letter, own in (("c", segments.colours), ("t", segments.textures)) if letter in measures]
    counts = np.zeros((total, sum(own.shape[1] for own in chosen)))
    counts[:first] = np.concatenate([np.zeros((first, 0)), *chosen], 1)
    # pixels are in a histogram as often as it has planes and directions: both intersections end at 1
    per_pixel = np.concatenate(
        [np.zeros(0), *(np.full(own.shape[1], own[0].sum() / segments.sizes[0]) for own in chosen)]
    )
    sizes, boxes = np.zeros(total), np.zeros((total, 4))
    sizes[:first], boxes[:first] = segments.sizes, segments.boxes
    shares = counts / per_pixel
    shares[:first] /= sizes[:first, None]

    def alike(one: Any, others: Any) -> Floats:
        value = np.minimum(shares[one], shares[others]).sum(-1)
        together = sizes[one] + sizes[others]
        if "s" in measures:
            value = value + 1 - together / segments.area
        if "f" in measures:
            low = np.minimum(boxes[one, ..., :2], boxes[others, ..., :2])
            high = np.maximum(boxes[one, ..., 2:], boxes[others, ..., 2:])
            value = value + 1 - ((high - low).prod(-1) - together) / segments.area
        return np.asarray(value)

    left, right = segments.pairs.T
    heap = list(zip((-alike(left, right)).tolist(), left.tolist(), right.tolist(), strict=True))
    heapq.heapify(heap)
    beside: list[set[int]] = [set() for _ in range(total)]
    for one, other in segments.pairs.tolist():
        beside[one].add(other)
        beside[other].add(one)
    gone = bytearray(total)
    for made in range(first, total):
        _, one, other = heapq.heappop(heap)
        while gone[one] or gone[other]:  # a pair of which a part has been merged since
            _, one, other = heapq.heappop(heap)
        gone[one] = gone[other] = 1
        sizes[made] = sizes[one] + sizes[other]
        boxes[made, :2] = np.minimum(boxes[one, :2], boxes[other, :2])
        boxes[made, 2:] = np.maximum(boxes[one, 2:], boxes[other, 2:])
        counts[made] = counts[one] + counts[other]
        shares[made] = counts[made] / (per_pixel * sizes[made])
        around = (beside[one] | beside[other]) - {one, other}
        for near in around:
            beside[near] -= {one, other}
            beside[near].add(made)
        beside[made] = around
        if around:
            places = sorted(around)
            for value, near in zip((-alike(made, np.array(places))).tolist(), places, strict=True):
                heapq.heappush(heap, (value, near, made))
    return boxes


def _bins(values: Floats, bins: int) -> NDArray[np.int64]:
    """Which of equally wide bins over [0, 1] each value is in."""
    return np.clip((values * bins).astype(np.int64), 0, bins - 1)


def _slopes(planes: Floats) -> NDArray[np.int64]:
    """(H, W, P · 8): the bin of each plane's Gaussian derivative in eight directions; falling counts as flat.

    A plane's steepest slope is the end of its bins, so that contrast does not matter.
    """
    from scipy import ndimage

    angles = np.arange(DIRECTIONS) * 2 * np.pi / DIRECTIONS
    bins = []
    for plane in np.moveaxis(planes, 2, 0):
        down, across = (
            ndimage.gaussian_filter(plane, SIGMA, order=order, mode="nearest") for order in ((1, 0), (0, 1))
        )
        steepest = float(np.hypot(down, across).max()) or 1.0
        rising = np.cos(angles) * across[..., None] + np.sin(angles) * down[..., None]  # (H, W, 8)
        bins.append(_bins(rising / steepest, SLOPES))
    return np.concatenate(bins, 2)


def _histograms(bins: NDArray[np.int64], of: int, flat: NDArray[np.int64], count: int) -> Floats:
    """(count, K · of): for each segment the pixels in each of `of` bins, for each of the K values of a pixel (H, W, K)."""
    columns = bins.reshape(len(flat), -1)
    parts = [np.bincount(flat * of + column, minlength=count * of).reshape(count, of) for column in columns.T]
    return np.concatenate(parts, 1).astype(np.float64)


def _touching(labels: NDArray[np.int64], count: int) -> NDArray[np.int64]:
    """(m, 2): the pairs of segments with pixels side by side or corner to corner."""
    sides = (
        (labels[:, :-1], labels[:, 1:]),
        (labels[:-1], labels[1:]),
        (labels[:-1, :-1], labels[1:, 1:]),
        (labels[:-1, 1:], labels[1:, :-1]),
    )
    numbers = np.concatenate([(np.minimum(a, b) * count + np.maximum(a, b))[a != b] for a, b in sides])
    return np.stack(np.divmod(np.unique(numbers), count), 1)
