# SPDX-License-Identifier: Apache-2.0
"""Critics: of each patch of a picture (Isola et al. 2017), or of the whole and of the part around a hole (Iizuka et al. 2017)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import final

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.utils.parametrizations import spectral_norm

__all__ = ["GlobalLocal", "around", "patches"]

_SIDE = 64  # px of the part around the hole, and of the whole picture when it is judged


def patches(channels: int, widths: Sequence[int]) -> nn.Sequential:
    """A critic with one score for each patch: (B, channels, H, W) -> (B, 1, H/2ᵏ, W/2ᵏ) with k widths."""
    return nn.Sequential(*_tower(channels, widths), spectral_norm(nn.Conv2d(widths[-1], 1, 3, padding=1)))


@final
class GlobalLocal(nn.Module):
    """A critic with one score for a picture, from the whole at 64×64 px and from the part around the hole at its own resolution.

    >>> GlobalLocal(4, 1, (8, 16))(torch.zeros(2, 4, 96, 128)).shape
    torch.Size([2, 1])

    Args:
        channels: of what it sees.
        mask: which of them is the mask of missing pixels.
        widths: channels of both towers; each layer halves the resolution.
    """

    def __init__(self, channels: int, mask: int, widths: Sequence[int]) -> None:
        super().__init__()
        self.mask = mask
        self.whole, self.part = (nn.Sequential(*_tower(channels, widths)) for _ in range(2))
        self.head = spectral_norm(nn.Linear(2 * widths[-1], 1))

    def forward(self, pictures: Tensor) -> Tensor:  # (B, channels, H, W) -> (B, 1)
        small = F.interpolate(pictures, (_SIDE, _SIDE), mode="bilinear", antialias=True)
        part = around(pictures, pictures[:, self.mask], _SIDE)
        seen = [tower(view).mean((2, 3)) for tower, view in ((self.whole, small), (self.part, part))]
        score: Tensor = self.head(torch.cat(seen, dim=1))
        return score


def around(pictures: Tensor, mask: Tensor, side: int) -> Tensor:
    """The part of each picture around the centre of its missing pixels, (B, C, side, side), or smaller where the picture is.

    >>> mask = torch.zeros(1, 8, 8); mask[:, 5:, 6:] = 1
    >>> around(torch.arange(64.0).view(1, 1, 8, 8), mask, 2)[0, 0].tolist()
    [[54.0, 55.0], [62.0, 63.0]]

    Args:
        pictures: (B, C, H, W).
        mask: (B, H, W), 1 = missing.
        side: in px.
    """
    index = []
    for axis in (1, 2):
        length = mask.shape[axis]
        places = torch.arange(length, device=mask.device) + 0.5
        share = mask.sum(3 - axis)  # (B, length)
        centre = (share * places).sum(1) / share.sum(1).clamp_min(1)
        own = min(side, length)
        start = (centre - own / 2).round().long().clamp(0, length - own)
        index.append(start[:, None] + torch.arange(own, device=mask.device))  # (B, own)
    rows, columns = index
    batch = torch.arange(len(pictures), device=mask.device)[:, None, None]
    return pictures[batch, :, rows[:, :, None], columns[:, None, :]].permute(0, 3, 1, 2)


def _tower(channels: int, widths: Sequence[int]) -> list[nn.Module]:
    layers: list[nn.Module] = []
    for width in widths:  # spectral norm bounds the critic's Lipschitz constant (Miyato et al. 2018)
        layers += [spectral_norm(nn.Conv2d(channels, width, 4, stride=2, padding=1)), nn.LeakyReLU(0.2)]
        channels = width
    return layers
