# SPDX-License-Identifier: Apache-2.0
"""Images of any size through a model of one size: overlapping tiles, blended."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

__all__ = ["tiled", "triangle"]

_AT_ONCE = 256  # tiles


def tiled(model: nn.Module, images: Tensor, tile: tuple[int, int]) -> Tensor:
    """The model's pictures for images of any size, tile by tile.

    Tiles overlap by half, and each counts most at its centre (a triangular window), so that no seam shows.

    >>> tiled(nn.Identity(), torch.ones(1, 1, 30, 21), (8, 8)).unique()
    tensor([1.])

    Args:
        model: takes (n, C, h, w) and gives (n, C', h, w).
        images: (B, C, H, W).
        tile: (h, w), the only size that the model takes.
    """
    batch, _, height, width = images.shape
    steps = [max(1, side // 2) for side in tile]
    padded_size = [  # the smallest size that whole steps cover
        side + max(0, -(-(have - side) // step)) * step
        for side, step, have in zip(tile, steps, (height, width), strict=True)
    ]
    padded = F.pad(images, (0, padded_size[1] - width, 0, padded_size[0] - height), mode="replicate")
    tiles = padded.unfold(2, tile[0], steps[0]).unfold(3, tile[1], steps[1])  # (B, C, rows, columns, h, w)
    rows, columns = tiles.shape[2:4]
    flat = tiles.permute(0, 2, 3, 1, 4, 5).reshape(-1, images.shape[1], *tile)
    answers = torch.cat([model(part).float() for part in flat.split(_AT_ONCE)])
    window = triangle(tile[0], images)[:, None] * triangle(tile[1], images)  # (h, w)
    weighted = (answers * window).reshape(batch, rows * columns, -1).transpose(1, 2)  # (B, C'·h·w, L)
    weights = window.expand(1, answers.shape[1], *tile).reshape(1, -1, 1).expand(1, -1, rows * columns)
    size = (padded_size[0], padded_size[1])
    # `fold` adds up what overlaps: a weighted mean at each pixel
    total = F.fold(weighted, size, tile, stride=tuple(steps)) / F.fold(weights, size, tile, stride=tuple(steps))
    return total[:, :, :height, :width]


def triangle(length: int, like: Tensor) -> Tensor:
    """A triangular window, highest at its centre, (length,), on the device of `like`."""
    place = torch.arange(length, dtype=torch.float32, device=like.device)
    return torch.minimum(place + 1, length - place)
