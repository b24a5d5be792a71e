# SPDX-License-Identifier: Apache-2.0
"""How photographed letters differ from those of the training, and pictures that show no letter."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from pellucid.data.draws import Draws

__all__ = ["strange", "varied"]


def varied(ink: Tensor, draws: Draws, slant: float, pen: float, rotate: float, stretch: float, blur: float) -> Tensor:
    """Letters (B, C, H, W) as ink, with other slants, widths of stroke, turns, shapes and blur.

    Args:
        ink: bright on black, in [0, 1].
        draws: all random numbers.
        slant: px aside for every px up, at most.
        pen: how far strokes grow or shrink, in px, at most.
        rotate: degrees, at most.
        stretch: share by which width and height change, at most.
        blur: standard deviation in px, at most.
    """
    batch = len(ink)
    lean = draws.uniform(low=-slant, high=slant)
    turn = draws.uniform(low=-rotate, high=rotate) * (torch.pi / 180)
    wide, tall = 1 + draws.uniform(low=-stretch, high=stretch), 1 + draws.uniform(low=-stretch, high=stretch)
    cos, sin = turn.cos(), turn.sin()
    back = ink.new_zeros(batch, 2, 3)
    back[:, 0, 0], back[:, 0, 1] = (cos - lean * sin) / wide, (sin + lean * cos) / wide
    back[:, 1, 0], back[:, 1, 1] = -sin / tall, cos / tall
    grid = F.affine_grid(back, list(ink.shape), align_corners=False)
    grid = grid + _waves(draws, ink)
    moved = F.grid_sample(ink, grid, mode="bilinear", padding_mode="zeros", align_corners=False)
    grown = F.max_pool2d(moved, 3, 1, 1)
    shrunk = -F.max_pool2d(-moved, 3, 1, 1)
    amount = draws.uniform(1, 1, 1, low=-pen * 0.5, high=pen)  # below 0 strokes shrink
    moved = torch.where(amount > 0, torch.lerp(moved, grown, amount.clamp(0, 1)), torch.lerp(moved, shrunk, (-amount).clamp(0, 1)))
    soft = F.avg_pool2d(F.avg_pool2d(moved, 3, 1, 1), 3, 1, 1)
    moved = torch.lerp(moved, soft, draws.uniform(1, 1, 1, high=min(1.0, blur)))
    gain = draws.uniform(1, 1, 1, low=0.7, high=1.3)
    return (moved * gain + 0.06 * draws.uniform(1, 1, 1) * draws.normal(*ink.shape[1:])).clamp(0, 1)


def _waves(draws: Draws, ink: Tensor) -> Tensor:
    """Small bends (B, H, W, 2) of the grid, smooth over a third of the picture."""
    coarse = 0.035 * draws.normal(2, 4, 4)
    return F.interpolate(coarse, ink.shape[2:], mode="bicubic", align_corners=True).permute(0, 2, 3, 1)


def strange(ink: Tensor, draws: Draws) -> Tensor:
    """Pictures (B, C, H, W) without one letter in them: two side by side, parts of one, and blots, in about equal shares.

    Args:
        ink: letters, bright on black.
        draws: all random numbers.
    """
    width = ink.shape[3]
    kind = draws.uniform()  # (B,)
    other = ink.roll(1, 0)
    # two letters, each squeezed into half of the width and a little more
    gap = 0.5
    left = _squeezed(ink, -gap, draws.uniform(low=0.42, high=0.62))
    right = _squeezed(other, gap, draws.uniform(low=0.42, high=0.62))
    both = torch.maximum(left, right)
    # blots: where smooth noise is high
    fields = draws.normal(1, 9, 9)
    coarse, fine = fields[:, :, :5, :5], fields
    smooth = F.interpolate(coarse, ink.shape[2:], mode="bicubic") + 0.7 * F.interpolate(fine, ink.shape[2:], mode="bicubic")
    level = draws.uniform(1, 1, 1, low=-0.3, high=1.0)
    blots = ((smooth - level) * 3).clamp(0, 1).expand_as(ink)
    # three letters, as a piece of a word
    middle = _squeezed(ink.roll(2, 0), 0.0, ink.new_full((len(ink),), 0.33))
    three = torch.maximum(torch.maximum(_squeezed(ink, -0.64, ink.new_full((len(ink),), 0.33)), middle), _squeezed(other, 0.64, ink.new_full((len(ink),), 0.33)))
    # lines: contours of the same noise, as edges of things are
    edges = (1 - (smooth - level).abs() * draws.uniform(1, 1, 1, low=3, high=9)).clamp(0, 1).expand_as(ink)
    pick = kind[:, None, None, None]
    del width
    return torch.where(pick < 0.4, both, torch.where(pick < 0.5, three, torch.where(pick < 0.75, blots, edges)))


def _squeezed(ink: Tensor, aside: float, share: Tensor) -> Tensor:
    """Letters narrowed to a share (B,) of the width, their middles moved aside; −1 and 1 are the picture's edges."""
    back = ink.new_zeros(len(ink), 2, 3)
    back[:, 0, 0], back[:, 1, 1] = 1 / share, 1.0
    back[:, 0, 2] = -aside / share
    grid = F.affine_grid(back, list(ink.shape), align_corners=False)
    return F.grid_sample(ink, grid, mode="bilinear", padding_mode="zeros", align_corners=False)
