# SPDX-License-Identifier: Apache-2.0
"""What the network sees of a letter: its ink, bright on black, at one size; the one way for crops of pages and training images."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

__all__ = ["SHARE", "prepared"]

SHARE = 0.78  # of the picture's side that the longer side of a letter takes
_FAINT, _FULL = 0.3, 0.75  # of the strongest ink: fainter is paper, and more is full, as thin strokes are pale
_STRONGEST = 0.03  # share of the pixels that show the full ink


def prepared(images: Tensor, size: tuple[int, int]) -> Tensor:
    """Letters (B, C, H, W) in [0, 1], dark on light or light on dark, as ink (B, C, *size) in [0, 1], bright on black.

    The paper is what the picture's border shows, with a slope of its light; the letter's box is brought to the middle, its longer
    side to `SHARE` of the picture, without changing its shape.

    >>> page = torch.ones(1, 1, 20, 20)
    >>> page[:, :, 4:10, 2:5] = 0.2
    >>> seen = prepared(page, (32, 32))
    >>> seen.shape, int((seen[0, 0, 16] > 0.6).sum()), int((seen[0, 0, :, 16] > 0.6).sum())
    (torch.Size([1, 1, 32, 32]), 12, 24)
    """
    channels = images.shape[1]
    grey = images.float().mean(1, keepdim=True)  # (B, 1, H, W)
    longest = max(grey.shape[2:])
    if longest > 2 * max(size):  # less than half is left of each side: average before anything else
        scale = 2 * max(size) / longest
        small = [max(1, round(side * scale)) for side in grey.shape[2:]]
        grey = F.interpolate(grey, small, mode="area")
    ink = _ink(grey)
    moved = F.grid_sample(ink, _grid(ink, size), mode="bilinear", padding_mode="zeros", align_corners=False)
    strongest = _top(moved)  # a thin stroke of a large letter has grown faint
    return (moved / strongest.clamp_min(0.2)).clamp(0, 1).expand(-1, channels, -1, -1)


def _ink(grey: Tensor) -> Tensor:
    """How much ink each pixel (B, 1, H, W) has, in [0, 1]."""
    rise = _paper(grey) - grey  # above 0 where darker than paper
    dark, light = _top(rise), _top(-rise)
    found = torch.where(dark >= light, rise / dark.clamp_min(0.02), -rise / light.clamp_min(0.02))
    return ((found - _FAINT) / (_FULL - _FAINT)).clamp(0, 1)


def _paper(grey: Tensor) -> Tensor:
    """The paper's light (B, 1, H, W): the median of the border, with the slope of the medians of opposite sides."""
    height, width = grey.shape[2:]
    edge = max(1, min(height, width) // 16)
    sides = [grey[:, 0, :edge], grey[:, 0, -edge:], grey[:, 0, :, :edge], grey[:, 0, :, -edge:]]
    top, bottom, left, right = (side.flatten(1).median(1).values for side in sides)  # (B,) each
    whole = torch.cat([side.flatten(1) for side in sides], 1).median(1).values
    down, along = torch.linspace(-0.5, 0.5, height), torch.linspace(-0.5, 0.5, width)
    limit = 0.1  # light changes little over a letter: a larger difference is ink at the border
    fall = (bottom - top).clamp(-limit, limit)[:, None, None] * down.to(grey)[:, None]
    across = (right - left).clamp(-limit, limit)[:, None, None] * along.to(grey)
    return (whole[:, None, None] + fall + across)[:, None]


def _top(values: Tensor) -> Tensor:
    """(B, 1, 1, 1): the mean of the highest values of each picture."""
    flat = values.flatten(1)
    most = max(1, round(flat.shape[1] * _STRONGEST))
    return flat.topk(most, 1).values.mean(1)[:, None, None, None]


def _grid(ink: Tensor, size: tuple[int, int]) -> Tensor:
    """Where each pixel (B, *size, 2) of the prepared letters comes from, in grid_sample's coordinates."""
    batch, _, height, width = ink.shape
    strong = (ink[:, 0] > 0.5).float()
    x0, x1 = _extent(strong.sum(1))  # (B,) px
    y0, y1 = _extent(strong.sum(2))
    longer = torch.maximum(x1 - x0, y1 - y0)
    scale = longer / (SHARE * min(size))  # px of the source for one of the prepared letter
    back = ink.new_zeros(batch, 2, 3)
    back[:, 0, 0], back[:, 1, 1] = scale * size[1] / width, scale * size[0] / height
    back[:, 0, 2], back[:, 1, 2] = (x0 + x1) / width - 1, (y0 + y1) / height - 1
    return F.affine_grid(back, [batch, 1, *size], align_corners=False)


def _extent(profile: Tensor) -> tuple[Tensor, Tensor]:
    """The first and the last place (B,) with ink in profiles (B, n); the whole where there is none."""
    there = profile > 0.5
    length = profile.shape[1]
    place = torch.arange(length, device=profile.device, dtype=profile.dtype)
    first = torch.where(there, place, float(length)).amin(1)
    last = torch.where(there, place + 1, 0.0).amax(1)
    none = ~there.any(1)
    return first.masked_fill(none, 0.0), last.masked_fill(none, float(length))
