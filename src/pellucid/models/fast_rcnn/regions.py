# SPDX-License-Identifier: Apache-2.0
"""Where regions and their bins lie on maps, whose places are rows of channels."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from pellucid import _boxes

__all__ = ["Bins", "Places", "bins_of", "channels_last", "places_of_regions", "rows_of"]


class Places(NamedTuple):
    """Where regions lie; all maps of all images are one list of places, each with a row of channels."""

    base: Tensor  # (n,) int64: the first place of each region's image in its map
    height: Tensor  # (n,) int64, of its map
    width: Tensor  # (n,)
    scale: Tensor  # (n, 1) places a px
    level: Tensor  # (n,) int64: which map


class Bins(NamedTuple):
    """The rows and columns of each region's bins, (n, 2, bins) int64 each (y before x); those beyond the map have none."""

    start: Tensor
    length: Tensor


def places_of_regions(maps: Sequence[Tensor], strides: Sequence[int], corners: Tensor, bins: int) -> Places:
    """Each region belongs to the coarsest map that still has a place for each of its bins (as in Lin et al. 2017, eq. 1)."""
    device, (batch, regions) = corners.device, corners.shape[:2]
    shapes = torch.tensor([list(own.shape[2:]) for own in maps], device=device)  # (L, 2)
    counts = [batch * own.shape[2] * own.shape[3] for own in maps]
    starts = torch.tensor([sum(counts[:i]) for i in range(len(counts))], device=device)
    image = torch.arange(batch, device=device)[:, None].expand(-1, regions).flatten()  # (n,)
    level = torch.zeros_like(image)
    if len(maps) > 1:
        sides = _boxes.areas(corners).flatten().clamp_min(1e-6).sqrt()
        level = (sides / (bins * strides[0])).log2().floor().clamp(0, len(maps) - 1).long()
    height, width = shapes[level].unbind(1)
    scale = 1 / torch.tensor(strides, dtype=torch.float32, device=device)[level][:, None]
    return Places(starts[level] + image * height * width, height, width, scale, level)


def rows_of(maps: Sequence[Tensor]) -> Tensor:
    """(places, C): the channels at each place, map after map, image after image."""
    rows = [channels_last(own).flatten(0, 2) for own in maps]
    return rows[0] if len(rows) == 1 else torch.cat(rows)


def channels_last(own: Tensor) -> Tensor:
    """(B, H, W, C), without gaps: a permutation alone leaves the channels of a place far apart, or copies them slowly."""
    return own.contiguous(memory_format=torch.channels_last).permute(0, 2, 3, 1)


def bins_of(corners: Tensor, places: Places, bins: int) -> Bins:
    """The bins of regions (n, 4), by Girshick's rule."""
    scaled = corners * places.scale
    ends = scaled.sign() * (scaled.abs() + 0.5).floor()  # halves are rounded away from 0, as in C
    first, last = ends[:, [1, 0]], ends[:, [3, 2]]  # (n, 2) y, x; the last place belongs to the region
    step = ((last - first + 1).clamp_min(1) / bins)[:, :, None]
    edges = torch.arange(bins + 1, dtype=torch.float32, device=corners.device)
    limit = torch.stack([places.height, places.width], 1)[:, :, None]
    start = (edges[:-1] * step).floor() + first[:, :, None]
    end = (edges[1:] * step).ceil() + first[:, :, None]
    low, high = (torch.minimum(side.long().clamp_min(0), limit) for side in (start, end))
    return Bins(low, (high - low).clamp_min(0))
