# SPDX-License-Identifier: Apache-2.0
"""Regions of pixels as COCO's run lengths and as polygons."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["polygons", "run_lengths"]

Ring = list[list[float]]
"""A closed line: its first point again at its end."""


def run_lengths(region: NDArray[np.bool_]) -> dict[str, Any]:
    """A region (H, W) in COCO's compressed form.

    >>> run_lengths(np.array([[False, True]]))
    {'size': [1, 2], 'counts': '11'}
    """
    from faster_coco_eval import mask

    packed = mask.encode(np.asfortranarray(region.astype(np.uint8)))
    return {"size": [int(side) for side in packed["size"]], "counts": packed["counts"].decode()}


def polygons(region: NDArray[np.bool_]) -> list[list[Ring]]:
    """The connected parts of a region (H, W), each as its outline followed by its holes, as (x, y) in px.

    Lines run half-way between the centres of pixels inside and outside, so that exactly the pixels of the region have their
    centres within. Pixel (i, j) covers [j, j + 1) × [i, i + 1).

    >>> polygons(np.array([[True, True]]))
    [[[[1.5, 1.0], [2.0, 0.5], [1.5, 0.0], [0.5, 0.0], [0.0, 0.5], [0.5, 1.0], [1.5, 1.0]]]]
    """
    from scipy.ndimage import find_objects
    from skimage.measure import find_contours, label

    parts = label(region, connectivity=2)
    found = []
    for number, box in enumerate(find_objects(parts), 1):
        own = np.pad(parts[box] == number, 1).astype(np.float64)
        offset = np.array([box[1].start, box[0].start]) - 0.5  # of the padding, and to the pixel's corner
        rings = [_corners(line[:, ::-1] + offset) for line in find_contours(own, 0.5, fully_connected="high")]
        # holes lie within the outline, which is the ring of the largest area
        rings.sort(key=lambda ring: -abs(_area(ring)))
        # outlines one way round, holes the other (RFC 7946, section 3.1.6, with y downwards)
        turned = [ring if (_area(ring) < 0) == (k == 0) else ring[::-1] for k, ring in enumerate(rings)]
        found.append([ring.tolist() for ring in turned])
    return found


def _corners(line: NDArray[np.float64]) -> NDArray[np.float64]:
    """A closed line without the points at which it goes straight on."""
    ring = line[:-1]
    before, after = ring - np.roll(ring, 1, 0), np.roll(ring, -1, 0) - ring
    turns = before[:, 0] * after[:, 1] != before[:, 1] * after[:, 0]
    kept = ring[turns]
    return np.concatenate([kept, kept[:1]])


def _area(ring: NDArray[np.float64]) -> float:
    """The signed area of a closed line (Meister's shoelace formula)."""
    x, y = ring[:-1].T
    return float(x @ np.roll(y, -1) - y @ np.roll(x, -1)) / 2
