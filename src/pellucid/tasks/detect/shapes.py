# SPDX-License-Identifier: Apache-2.0
"""The sizes and shapes of the grid's boxes that suit the objects of the training images."""

from __future__ import annotations

import math

import numpy as np
import torch
from numpy.typing import NDArray

from pellucid import _boxes
from pellucid.data.dataset import Split
from pellucid.data.fitting import placements
from pellucid.data.targets import Boxes, target_of

__all__ = ["objects_at", "series", "suited"]

_OUTSIDE = 0.02  # share of the objects that may be smaller than the smallest box, and larger than the largest
_SCALES, _ASPECTS = 1.6, 2.0  # from one to the next, at most: an object is then covered by half by some box
_MOST = 6  # scales
_LEAST = 4.0  # px: objects that become smaller are beyond the maps


def objects_at(split: Split, size: tuple[int, int]) -> Boxes:
    """The objects of images that become this size (H, W); no image is decoded."""
    scale, offset = map(torch.from_numpy, placements(split.images.sizes, size, split.fit))
    return target_of(split.targets, "boxes", Boxes).resized(scale, offset, size)


def suited(split: Split, size: tuple[int, int]) -> dict[str, tuple[float, ...]]:
    """The model's options "scales" and "aspects" for the objects of a split whose images become this size (H, W).

    >>> from pellucid.data import open
    >>> suited(open("scenes")["train"], (64, 64))["scales"]
    (8.0, 11.8, 17.3, 25.4, 37.3)
    """
    boxes = objects_at(split, size)
    crowds = boxes.ignored or [torch.zeros_like(own, dtype=torch.bool) for own in boxes.labels]
    corners = torch.cat([_boxes.clip(own[~crowd], size) for own, crowd in zip(boxes.corners, crowds, strict=True)])
    corners = corners[_boxes.areas(corners) > 0].double()
    if not len(corners):
        return {}
    sides = (corners[:, 2:] - corners[:, :2]).numpy()
    return {
        "scales": series(np.sqrt(sides.prod(1)).clip(_LEAST), _SCALES, _MOST),
        "aspects": series(sides[:, 1] / sides[:, 0], _ASPECTS, _MOST // 2),
    }


def series(values: NDArray[np.float64], ratio: float, most: int) -> tuple[float, ...]:
    """A geometric series through nearly all of some values, each number at most `ratio` times the one before if `most` allow.

    >>> series(np.array([10.0, 12, 20, 40]), 2.0, 6), series(np.array([5.0, 5, 5]), 2.0, 6)
    ((10.1, 19.8, 38.8), (5.0,))
    """
    low, high = np.quantile(values, [_OUTSIDE, 1 - _OUTSIDE])
    steps = min(most - 1, math.ceil(math.log(high / low) / math.log(ratio) - 1e-9))
    numbers = [low * (high / low) ** (step / steps) for step in range(steps + 1)] if steps else [math.sqrt(low * high)]
    return tuple(float(f"{number:.3g}") for number in numbers)
