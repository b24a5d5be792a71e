# SPDX-License-Identifier: Apache-2.0
"""Exemplar-based inpainting: holes are filled with patches from the known part of the picture (Criminisi, Pérez & Toyama 2004)."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch.nn import functional as F

__all__ = ["exemplar", "patch_radius"]

_RADIUS = 4  # px: patches of 9×9, as in the paper
_SOURCES = 64  # whole patches from which one is chosen, at least, or patches are smaller
_REACH = 256  # px from the patch that is filled to those that are searched, in rows and columns
_FLAT = 0.001  # added to the data term, so that confidence decides where nothing has an edge

Image = NDArray[Any]  # (C, H, W)
Hole = NDArray[np.bool_]  # (H, W)


def exemplar(image: Image, hole: Hole) -> Image:
    """A picture (C, H, W) in [0, 1] with its hole filled patch by patch; every value is a copy of a known one.

    The patch that is filled next has its centre on the hole's front, where confidence times data term (eq. 1) is the largest.
    What it lacks is copied from the whole patch of the known part with the least sum of squared differences at its known
    pixels (eq. 2); of several with the same sum, from the nearest. The paper compares colours in CIE Lab, this in RGB with
    8 bits, whose sums are exact whole numbers. Where fewer than 64 patches of 9×9 px are known, patches are smaller; where
    not even one of 3×3 is, each missing pixel becomes the nearest known one.

    >>> stripes = np.tile(np.array([0.0, 0.2, 1.0], np.float32), (1, 24, 10))
    >>> hole = np.zeros((24, 30), bool); hole[8:17, 7:20] = True
    >>> bool((exemplar(np.where(hole, 0.5, stripes), hole) == stripes).all())
    True
    """
    radius = patch_radius(hole)
    if not radius or not hole.any():
        return _nearest(image, hole)
    return _Filling(image, hole, radius).finish()


def patch_radius(hole: Hole) -> int:
    """The radius in px of the patches for a hole: 4 if at least 64 patches of 9×9 px are whole, else less; 0 where none of 3×3 is.

    >>> hole = np.zeros((40, 40), bool); hole[10:30, 10:30] = True
    >>> patch_radius(hole), patch_radius(np.ones((9, 9), bool))
    (4, 0)
    """
    counts = {radius: int(_whole(hole, radius).sum()) for radius in range(_RADIUS, 0, -1)}
    return next((radius for radius, count in counts.items() if count >= _SOURCES), int(counts[1] > 0))


class _Filling:
    """The state of one picture: what is known by now, how surely, and in what colours."""

    def __init__(self, image: Image, hole: Hole, radius: int) -> None:
        self.radius = radius
        self.image = np.array(image)
        pad = ((radius, radius), (radius, radius))
        # borders around all, so that each pixel has a whole window; what lies there is neither known nor missing
        self.values = np.pad(np.rint(np.clip(np.where(hole, 0, image), 0, 1) * 255).astype(np.float32), ((0, 0), *pad))
        self.missing = np.pad(hole, pad)
        self.known = np.pad(~hole, pad)
        self.inside = np.pad(np.ones(hole.shape, bool), pad)
        self.grey = self.values.mean(0, dtype=np.float64) / 255
        self.gradient = np.zeros((2, *self.known.shape))  # down and to the right
        self.strength = np.zeros(self.known.shape)  # its square
        self.confidence = self.known.astype(np.float64)
        self.surely, self.priority = np.zeros(self.known.shape), np.full(self.known.shape, -1.0)
        self.sources = _whole(hole, radius)  # (H, W): centres of the patches that may be copied, fixed from the start
        side = np.arange(-radius, radius + 1)
        self.offsets = (side[:, None].repeat(len(side), 1).ravel(), side[None].repeat(len(side), 0).ravel())

    def finish(self) -> Image:
        """Fill patch after patch."""
        rows, columns = np.nonzero(self.missing)
        box = (slice(rows.min(), rows.max() + 1), slice(columns.min(), columns.max() + 1))
        self._refresh((0, self.missing.shape[0]), (0, self.missing.shape[1]))
        priorities = self.priority[box]
        for _ in range(len(rows)):
            row, column = np.unravel_index(np.argmax(priorities), priorities.shape)
            if priorities[row, column] < 0:
                break
            row, column = int(row) + box[0].start, int(column) + box[1].start
            self._fill(row, column, float(self.surely[row, column]))
            near = 2 * self.radius + 1  # px from its centre, beyond which a patch that is filled changes no priority
            self._refresh((row - near, row + near + 1), (column - near, column + near + 1))
        return self.image

    def _refresh(self, rows: tuple[int, int], columns: tuple[int, int]) -> None:
        """Gradients and priorities in a part of the bordered arrays, from its first row and column to before its last."""
        height, width = self.missing.shape
        top, bottom = max(rows[0], 1), min(rows[1], height - 1)
        left, right = max(columns[0], 1), min(columns[1], width - 1)
        here = (slice(top, bottom), slice(left, right))
        above, below = (slice(top - 1, bottom - 1), here[1]), (slice(top + 1, bottom + 1), here[1])
        before, behind = (here[0], slice(left - 1, right - 1)), (here[0], slice(left + 1, right + 1))
        grey, known = self.grey, self.known
        # the gradient, where the pixels on both sides are known
        for axis, (one, other) in enumerate(((above, below), (before, behind))):
            self.gradient[axis][here] = np.where(
                known[here] & known[one] & known[other], (grey[other] - grey[one]) / 2, 0
            )
        self.strength[here] = np.round((self.gradient[:, here[0], here[1]] ** 2).sum(0), 12)
        front = self.missing[here] & (known[above] | known[below] | known[before] | known[behind])
        self.priority[here] = -1.0
        if not front.any():
            return
        y, x = np.nonzero(front)
        y, x = y + top, x + left
        places = (
            y[:, None] + self.offsets[0],
            x[:, None] + self.offsets[1],
        )  # (K, side²) each: a patch around each pixel
        surely = (self.confidence[places] * known[places]).sum(1) / self.inside[places].sum(1)
        self.surely[y, x] = surely
        # rounded, so that equal priorities are equal however they were summed
        self.priority[y, x] = np.round(surely * (self._data(y, x, places) + _FLAT), 10)

    def _data(self, y: NDArray[Any], x: NDArray[Any], places: tuple[NDArray[Any], NDArray[Any]]) -> Any:
        """The data term |∇I⊥ · n| (K,): how strong the strongest edge in each patch is, and how straight it meets the front."""
        strongest = self.strength[places].argmax(1)
        down, right = self.gradient[:, places[0][np.arange(len(y)), strongest], places[1][np.arange(len(y)), strongest]]
        # the normal of the front: the gradient of the missing pixels' indicator, by Sobel's filter
        normal = np.zeros((2, len(y)))
        for i in (-1, 0, 1):
            for j in (-1, 0, 1):
                there = self.missing[y + i, x + j]
                normal += np.stack([i * (2 - abs(j)) * there, j * (2 - abs(i)) * there])
        # the isophote is the gradient, turned by a quarter
        return np.abs(-right * normal[0] + down * normal[1]) / np.maximum(np.hypot(*normal), 1e-12)

    def _fill(self, row: int, column: int, confidence: float) -> None:
        """Copy what the patch around a pixel lacks from the most similar whole patch."""
        radius = self.radius
        window = (slice(row - radius, row + radius + 1), slice(column - radius, column + radius + 1))
        weight = self.known[window].astype(np.float32)
        source = self._search(self.values[:, window[0], window[1]] * weight, weight, row - radius, column - radius)
        lacking = self.missing[window]
        # of the arrays without borders
        rows, columns = np.nonzero(lacking)
        here = (rows + row - 2 * radius, columns + column - 2 * radius)
        there = (rows + source[0] - radius, columns + source[1] - radius)
        self.image[:, here[0], here[1]] = self.image[:, there[0], there[1]]
        inner = tuple(place + radius for place in here), tuple(place + radius for place in there)
        self.values[:, inner[0][0], inner[0][1]] = self.values[:, inner[1][0], inner[1][1]]
        self.grey[inner[0]] = self.grey[inner[1]]
        self.confidence[inner[0]] = confidence
        self.missing[inner[0]] = False
        self.known[inner[0]] = True

    def _search(self, patch: Image, weight: NDArray[np.float32], row: int, column: int) -> tuple[int, int]:
        """The centre of the whole patch that differs least from a patch (C, side, side) where its weight is 1.

        The sum of squares is Σw·q² − 2·Σw·p·q + Σw·p²; each sum is a whole number below 2²⁴, which float32 holds exactly.
        """
        radius, (height, width) = self.radius, self.sources.shape
        for reach in (_REACH, max(height, width)):
            top, bottom = max(0, row - reach), min(height, row + reach + 1)
            left, right = max(0, column - reach), min(width, column + reach + 1)
            sources = self.sources[top:bottom, left:right]
            if sources.any():
                break
        part = torch.from_numpy(self.values[:, top : bottom + 2 * radius, left : right + 2 * radius])[None]
        mask = torch.from_numpy(weight)[None, None]
        squares = F.conv2d(part * part, mask.expand(1, len(patch), -1, -1))
        product = F.conv2d(part, torch.from_numpy(patch)[None])
        sums = (squares.double() - 2 * product.double())[0, 0].numpy()
        sums[~sources] = np.inf
        best = np.nonzero(sums == sums.min())
        nearest = np.argmin((best[0] + top - row) ** 2 + (best[1] + left - column) ** 2)
        return int(best[0][nearest]) + top, int(best[1][nearest]) + left


def _whole(hole: Hole, radius: int) -> Hole:
    """The centres (H, W) of patches that lie in the picture and have no missing pixel."""
    side = 2 * radius + 1
    if min(hole.shape) < side:
        return np.zeros(hole.shape, bool)
    sums = np.pad(hole.astype(np.int64), ((1, 0), (1, 0))).cumsum(0).cumsum(1)
    inner = sums[side:, side:] - sums[:-side, side:] - sums[side:, :-side] + sums[:-side, :-side]
    return np.pad(inner == 0, radius)


def _nearest(image: Image, hole: Hole) -> Image:
    """Each missing pixel becomes the nearest known one; nothing changes where none is known."""
    from scipy.ndimage import distance_transform_edt

    if not hole.any() or hole.all():
        return np.array(image)
    rows, columns = distance_transform_edt(hole, return_distances=False, return_indices=True)
    return np.asarray(image[:, rows, columns])
