# SPDX-License-Identifier: Apache-2.0
"""An image cut into regions by a threshold, a distance transform and a watershed, and what is in each of them."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

__all__ = ["PLANES", "Described", "Size", "Way", "boxes_of", "described", "planes", "regions"]

PLANES = ("lightness", "green to red", "blue to yellow", "saturation", "difference")
_SMOOTH = 1.0  # px, of the Gaussian before the threshold

Floats = NDArray[np.float64]


class Way(NamedTuple):
    """How an image is cut into regions."""

    plane: int  # of `planes`
    high: bool  # objects are above the threshold, else below
    parted: bool  # touching objects are parted by a watershed on the distance transform


class Size(NamedTuple):
    """What is known of the objects of the training images."""

    least: float  # px², below which a region is no object
    apart: float  # px, between the middles of two objects, at least


def planes(image: NDArray[np.uint8]) -> Floats:
    """(P, H, W): lightness, the two colour axes of CIELAB, the saturation, and the difference from the most of the image.

    Images in grey have the first and the last alone. All are smoothed. The difference is the distance from the median colour,
    in units of the median distance of each axis.
    """
    from scipy.ndimage import gaussian_filter
    from skimage.color import rgb2lab

    own = rgb2lab(image.transpose(1, 2, 0)).transpose(2, 0, 1) if len(image) == 3 else image[:1].astype(np.float64)
    away = np.abs(own - np.median(own, (1, 2), keepdims=True))
    spread = np.median(away, (1, 2), keepdims=True) + 1.0  # a unit of CIELAB is hardly seen
    difference = np.sqrt(((away / spread) ** 2).sum(0, keepdims=True))
    saturation = [np.hypot(own[1], own[2])[None]] if len(own) == 3 else []
    own = np.concatenate([own, *saturation, difference])
    return np.stack([gaussian_filter(plane, _SMOOTH) for plane in own])


def regions(values: Floats, way: Way, size: Size) -> NDArray[np.int32]:
    """(H, W): the number of each pixel's region, from 1; 0 for the background.

    >>> values = np.zeros((1, 12, 24))
    >>> values[0, 3:9, 3:9] = values[0, 3:9, 14:20] = 1
    >>> np.unique(regions(values, Way(0, True, True), Size(4, 3))).tolist()
    [0, 1, 2]

    Args:
        values: of `planes`.
        way: how it is cut.
        size: of the objects that are sought.
    """
    from scipy.ndimage import binary_fill_holes, distance_transform_edt, gaussian_filter, label
    from skimage.feature import peak_local_max
    from skimage.filters import threshold_otsu
    from skimage.segmentation import watershed

    plane = values[way.plane] if way.high else -values[way.plane]
    inside = binary_fill_holes(plane > threshold_otsu(plane))
    parts, count = label(inside)
    if way.parted and count:
        depth = gaussian_filter(distance_transform_edt(np.pad(inside, 1))[1:-1, 1:-1], _SMOOTH)
        tops = peak_local_max(depth, min_distance=max(1, round(size.apart)), labels=parts, exclude_border=False)
        marks = np.zeros(inside.shape, np.int32)
        marks[tuple(tops.T)] = np.arange(1, 1 + len(tops))
        parts = watershed(-depth, marks, mask=inside)
    large = np.bincount(parts.ravel()) >= size.least
    large[0] = False
    return np.asarray(np.where(large[parts], parts, 0), np.int32)


class Described(NamedTuple):
    """The regions of an image."""

    boxes: Floats  # (n, 4) px
    features: Floats  # (n, F): sides and area, how full the box is, sides of the image that it touches, and each plane's values


def described(values: Floats, parts: NDArray[np.int32]) -> Described:
    """The boxes of regions, and what is in them."""
    from scipy.ndimage import find_objects

    boxes, rows = [], []
    whole = values.mean((1, 2))
    for number, found in enumerate(find_objects(parts), 1):
        if found is None:
            continue
        own = parts[found] == number
        inside = values[:, *found][:, own]  # (P, pixels)
        (top, bottom), (left, right) = ((part.start, part.stop) for part in found)
        touches = sum((top == 0, left == 0, bottom == parts.shape[0], right == parts.shape[1]))
        boxes.append((left, top, right, bottom))
        sides = np.log([bottom - top, right - left])
        rows.append(
            [*sides, own.mean(), np.log(own.sum()), touches, *inside.mean(1), *inside.std(1), *(inside.mean(1) - whole)]
        )
    features = np.array(rows, np.float64).reshape(len(rows), 5 + 3 * len(values))
    return Described(np.array(boxes, np.float64).reshape(-1, 4), features)


def boxes_of(parts: NDArray[np.int32]) -> Floats:
    """(n, 4): the boxes of regions."""
    from scipy.ndimage import find_objects

    found = [part for part in find_objects(parts) if part is not None]
    rows = [(columns.start, rows.start, columns.stop, rows.stop) for rows, columns in found]
    return np.array(rows, np.float64).reshape(-1, 4)
