# SPDX-License-Identifier: Apache-2.0
"""Places in an image, (x, y) in px, and where they are once it is moved, resized or cut."""

from __future__ import annotations

import torch
from torch import Tensor

__all__ = ["LEAST_VISIBLE", "boxes_around", "corners_of", "inside", "mirrors", "moved_points", "sources", "visible"]

LEAST_VISIBLE = 0.25
"""The share of a box's area that must stay in the frame: of less, nobody could say what it was."""

_ROUNDING = 1e-3  # px: a point on the edge of the frame is in it, whatever rounding does


def moved_points(matrix: Tensor, points: Tensor) -> Tensor:
    """Points (…, K, 2) under matrices (…, 2, 3): x' = matrix·(x, y, 1).

    >>> moved_points(torch.tensor([[-1.0, 0, 10], [0, 1, 0]]), torch.tensor([[2.0, 3]])).tolist()
    [[8.0, 3.0]]
    """
    return points @ matrix[..., :2].mT + matrix[..., None, :, 2]


def mirrors(matrix: Tensor) -> Tensor:
    """Whether matrices (N, 2, 3) exchange left and right: their determinant is negative. A turn by 180° does not."""
    return matrix[:, 0, 0] * matrix[:, 1, 1] < matrix[:, 0, 1] * matrix[:, 1, 0]  # (N,)


def corners_of(boxes: Tensor) -> Tensor:
    """The four corners (n, 4, 2) of boxes (n, 4)."""
    return boxes[:, [0, 1, 2, 1, 0, 3, 2, 3]].view(-1, 4, 2)


def boxes_around(corners: Tensor) -> Tensor:
    """The smallest upright boxes (n, 4) around four points each (n, 4, 2).

    >>> boxes_around(corners_of(torch.tensor([[1.0, 2, 5, 7]]))).tolist()
    [[1.0, 2.0, 5.0, 7.0]]
    """
    return torch.cat([corners.amin(1), corners.amax(1)], 1)


def visible(boxes: Tensor, size: tuple[int, int], least: float = LEAST_VISIBLE) -> tuple[Tensor, Tensor]:
    """Boxes (n, 4) cut at the frame (H, W), and whether at least this share of each one's area is left, (n,) bool.

    >>> boxes, kept = visible(torch.tensor([[-2.0, 0, 8, 4], [-9, 0, 1, 4]]), (10, 10))
    >>> boxes.tolist(), kept.tolist()
    ([[0.0, 0.0, 8.0, 4.0], [0.0, 0.0, 1.0, 4.0]], [True, False])
    """
    limit = boxes.new_tensor([size[1], size[0]]).repeat(2)
    cut = boxes.clamp(min=0).minimum(limit)
    area, left = ((own[:, 2:] - own[:, :2]).clamp_min(0).prod(1) for own in (boxes, cut))
    return cut, (left > 0) & (left >= least * area)


def inside(points: Tensor, size: tuple[int, int]) -> Tensor:
    """Whether points (…, 2) lie in the frame (H, W), its edge included; a point without a place does not."""
    limit = points.new_tensor([size[1], size[0]])
    return ((points >= -_ROUNDING) & (points <= limit + _ROUNDING)).all(-1)


def sources(scale: Tensor, offset: Tensor, size: tuple[int, int], before: torch.Size) -> tuple[Tensor, Tensor, Tensor]:
    """Where pixels come from when images are resized: x' = scale·x + offset, with `scale`, `offset` (N, 2) as (x, y).

    Returns:
        The nearest source row (N, H') and column (N, W') of each new pixel's centre, and whether it lies in the old frame
        (H, W), as (N, H', W').
    """
    nearest, within = [], []
    for axis, (new, old) in enumerate(zip(size[::-1], reversed(before), strict=True)):  # x, then y
        place = (torch.arange(new) + 0.5 - offset[:, axis, None]) / scale[:, axis, None]
        within.append((place >= 0) & (place < old))
        nearest.append(place.floor().long().clamp_(0, old - 1))
    return nearest[1], nearest[0], within[1][:, :, None] & within[0][:, None, :]
