# SPDX-License-Identifier: Apache-2.0
"""Partial convolutions for images with holes, which use known pixels only (Liu et al. 2018)."""

from __future__ import annotations

from typing import final

import torch
from torch import Tensor, nn
from torch.nn import functional as F

__all__ = ["PartialBlock", "PartialConv"]


@final
class PartialConv(nn.Module):
    """A 3×3 convolution of known pixels, scaled by the share of known pixels in its window (Liu et al. 2018, eqs. 1 and 2).

    The input may have several groups of channels with a mask each, as where a decoder meets a skip connection.

    >>> layer = PartialConv([1], 1)
    >>> image, known = torch.ones(1, 1, 4, 4), torch.zeros(1, 1, 4, 4)
    >>> known[..., :2] = 1
    >>> answer, grown = layer(image, known)
    >>> grown[0, 0, 0].tolist()
    [1.0, 1.0, 1.0, 0.0]

    Args:
        groups: channels of each group.
        width: channels of the output.
    """

    def __init__(self, groups: list[int], width: int) -> None:
        super().__init__()
        self.groups = groups
        self.convolution = nn.Conv2d(sum(groups), width, 3, padding=1)
        nn.init.kaiming_normal_(self.convolution.weight, nonlinearity="relu")
        assert self.convolution.bias is not None
        nn.init.zeros_(self.convolution.bias)

    def forward(self, features: Tensor, known: Tensor) -> tuple[Tensor, Tensor]:
        """Features (B, ΣC, H, W) and the groups' masks (B, groups, H, W), 1 = known, to features and their single mask."""
        weights = known.new_tensor(self.groups).view(1, -1, 1, 1) / sum(self.groups)
        if len(self.groups) == 1:
            whole = known
        else:
            whole = torch.cat([known[:, i : i + 1].expand(-1, n, -1, -1) for i, n in enumerate(self.groups)], dim=1)
        # avg_pool2d counts padding as unknown; this is sum(M) / sum(1) of eq. 1 over the window's nine pixels
        share = F.avg_pool2d((known * weights).sum(1, keepdim=True), 3, stride=1, padding=1)  # (B, 1, H, W)
        grown = (share > 0).to(features.dtype)
        bias = self.convolution.bias
        product = F.conv2d(features * whole, self.convolution.weight, padding=1)
        assert bias is not None
        return (product / share.clamp_min(1e-6) + bias.view(1, -1, 1, 1)) * grown, grown


@final
class PartialBlock(nn.Module):
    """Two partial convolutions with ReLUs; the mask of known pixels grows by two pixels per block.

    >>> block = PartialBlock([3], 8)
    >>> block(torch.zeros(2, 3, 5, 6), torch.ones(2, 1, 5, 6))[0].shape
    torch.Size([2, 8, 5, 6])
    """

    def __init__(self, groups: list[int], width: int, batch_norm: bool = False) -> None:
        super().__init__()
        self.convolutions = nn.ModuleList([PartialConv(groups, width), PartialConv([width], width)])
        self.norms = nn.ModuleList([nn.BatchNorm2d(width) if batch_norm else nn.Identity() for _ in range(2)])

    def forward(self, features: Tensor, known: Tensor) -> tuple[Tensor, Tensor]:
        for convolution, norm in zip(self.convolutions, self.norms, strict=True):
            features, known = convolution(features, known)
            features = F.relu(norm(features))
        return features, known
