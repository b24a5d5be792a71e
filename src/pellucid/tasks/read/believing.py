# SPDX-License-Identifier: Apache-2.0
"""Whether what looks like letters is text: texture, edges and blots look like a letter here and there on any photograph."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from pellucid.tasks.read.ink import Inked
from pellucid.tasks.read.parting import Found

__all__ = ["is_text"]

_SURE = 0.8  # geometric mean of the probabilities of the two likeliest classes; rightly read pages have 0.9 and more
_FAT = 1.46  # how wide strokes are at their widest for their usual width; a pen's strokes are about as wide everywhere
_UNLIKE = 0.12  # how far the width of a letter's strokes is from the others', as a share, in the median
_SAFE, _SHADED = 0.965, 0.2  # where the network has no doubt, the paper may be in a deep shadow
_PLAIN = (
    0.09,
    0.12,
    0.16,
    0.4,
)  # contrast beside the ink, of that of the strokes: around one letter, two, three, and more


def is_text(page: Inked, letters: Sequence[Found]) -> bool:
    """Whether the letters found on a page are some: the network is sure of them, strokes are even, and the paper is plain.

    Look-alikes, as 0 and O, count together.
    """
    likeliest = np.sort(np.stack([letter.shares[:-1] for letter in letters]), 1)[:, -2:].sum(1)  # (n,)
    sure = np.exp(np.log(np.maximum(likeliest, 1e-4)).mean())
    if sure < _SURE:
        return False
    widths, greatest = _strokes(page, letters)
    usual = np.median(widths)
    if np.median(greatest / widths) > _FAT or np.median(np.abs(widths - usual)) > _UNLIKE * usual:
        return False
    plain = _PLAIN[min(len(letters), len(_PLAIN)) - 1]
    return _beside(page, letters) <= (max(plain, _SHADED) if sure > _SAFE else plain)


def _strokes(page: Inked, letters: Sequence[Found]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """How wide each letter's strokes (n,) are on average and at their widest, in px, by the distance to the ink's edge."""
    import cv2

    height, width = page.mask.shape
    usual, greatest = [], []
    for letter in letters:
        x0, y0, x1, y1 = (round(side) for side in letter.box)
        own = page.mask[max(0, y0) : min(height, y1), max(0, x0) : min(width, x1)]
        depth = cv2.distanceTransform(
            np.pad(own.astype(np.uint8), 1), cv2.DIST_L2, 5
        )  # what goes on beyond the box ends there
        inside = depth[depth > 0]
        # across a stroke of width w the mean distance is w / 4 + 1 / 2, and the greatest w / 2
        usual.append(max(1.0, 4 * float(inside.mean()) - 2) if len(inside) else 1.0)
        greatest.append(2 * float(np.quantile(inside, 0.98)) if len(inside) else np.inf)
    return np.array(usual), np.array(greatest)


def _beside(page: Inked, letters: Sequence[Found]) -> float:
    """The contrast that 95 % of what is around the letters' ink stays below."""
    import cv2

    height, width = page.mask.shape
    near = np.zeros(page.mask.shape, np.uint8)
    for letter in letters:
        x0, y0, x1, y1 = letter.box
        around = y1 - y0
        near[
            max(0, round(y0 - around)) : min(height, round(y1 + around)),
            max(0, round(x0 - around)) : min(width, round(x1 + around)),
        ] = 1
    edge = 2 * round(max(2.0, 0.5 * page.pen)) + 3  # strokes are softer than the mask
    ink = cv2.dilate(page.mask.astype(np.uint8), np.ones((edge, edge), np.uint8))
    paper = page.contrast[(near > 0) & (ink == 0)]
    return float(np.quantile(paper, 0.95)) if len(paper) else np.inf
