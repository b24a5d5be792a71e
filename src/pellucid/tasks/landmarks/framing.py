# SPDX-License-Identifier: Apache-2.0
"""What of each training image is seen: all of it, or a square around a box or around its points."""

from __future__ import annotations

from dataclasses import replace
from typing import Literal, TypeAlias

import numpy as np
from numpy.typing import NDArray

from pellucid.data.cropping import LEAST, Crops, squares
from pellucid.data.dataset import Split
from pellucid.data.targets import Boxes, Points, target_of

__all__ = ["FRAMES", "Frame", "framed"]

Frame: TypeAlias = Literal["whole", "box", "points"]
FRAMES: tuple[Frame, ...] = ("whole", "box", "points")


def framed(split: Split, frame: Frame, around: float) -> tuple[Split, NDArray[np.bool_]]:
    """The images of a split as they are seen, with their points moved along, and which images these are among the split's.

    An image is left out where it has no box, where its box, or that around its points, is below 2 px, and where the box shows
    nothing of it.

    Args:
        split: each image with a visible point.
        frame: what is seen.
        around: how much is seen around a box, in shares of its longer side.
    """
    points = target_of(split.targets, "points", Points)
    if frame == "whole":
        return split, np.ones(len(split), bool)
    xy = points.xy.double().numpy()
    if frame == "points":
        known = ~np.isnan(xy)
        boxes = np.concatenate(
            [np.min(xy, 1, initial=np.inf, where=known), np.max(xy, 1, initial=-np.inf, where=known)], 1
        )
    else:
        boxes = _around_points(split, xy)
    sizes = split.images.sizes[:, ::-1].astype(np.float64)  # width, height
    with np.errstate(invalid="ignore"):
        wide = (boxes[:, 2:] - boxes[:, :2]).max(1) >= LEAST
        kept = wide & (boxes[:, :2] < sizes).all(1) & (boxes[:, 2:] > 0).all(1)
    corners = squares(boxes[kept], around)
    own = split.select(np.flatnonzero(kept))
    moved = points.xy[kept] - points.xy.new_tensor(corners[:, None, :2])
    targets = {**own.targets, "points": Points(moved, points.mirror)}
    return replace(own, images=Crops(own.images, corners), targets=targets), kept


def _around_points(split: Split, xy: NDArray[np.float64]) -> NDArray[np.float64]:
    """The box (N, 4) of each image that holds most of its points, of equals the smallest; NaN where there is none."""
    target = split.targets.get("boxes")
    found = np.full((len(split), 4), np.nan)
    if not isinstance(target, Boxes):
        return found
    for i, boxes in enumerate(target.corners):
        if not len(boxes):
            continue
        corners = boxes.double().numpy()[:, None]  # (n, 1, 4)
        inside = ((xy[i] >= corners[..., :2]) & (xy[i] <= corners[..., 2:])).all(2).sum(1)  # false for NaN
        area = (corners[:, 0, 2:] - corners[:, 0, :2]).prod(1)
        found[i] = corners[np.lexsort((area, -inside))[0], 0]
    return found
