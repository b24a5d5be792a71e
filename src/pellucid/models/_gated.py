# SPDX-License-Identifier: Apache-2.0
"""Gated convolutions, which learn for each pixel and channel how much of it counts (Yu et al. 2019)."""

from __future__ import annotations

from typing import final

import torch
from torch import Tensor, nn
from torch.nn import functional as F

__all__ = ["GatedBlock", "GatedConv"]


@final
class GatedConv(nn.Module):
    """A gated convolution, ReLU(W·x) ⊙ σ(V·x) (Yu et al. 2019, eq. 3), which may halve the resolution or be dilated.

    >>> GatedConv(3, 8, stride=2)(torch.zeros(2, 3, 5, 6)).shape, GatedConv(3, 8, dilation=4)(torch.zeros(2, 3, 5, 6)).shape
    (torch.Size([2, 8, 3, 3]), torch.Size([2, 8, 5, 6]))
    """

    def __init__(self, channels: int, width: int, side: int = 3, stride: int = 1, dilation: int = 1) -> None:
        super().__init__()
        self.convolution = _layer(channels, width, side, stride, dilation)

    def forward(self, features: Tensor) -> Tensor:  # (B, C, H, W) -> (B, width, ⌈H/stride⌉, ⌈W/stride⌉)
        answer, gate = self.convolution(features).chunk(2, dim=1)
        return F.relu(answer) * torch.sigmoid(gate)


@final
class GatedBlock(nn.Module):
    """Two 3×3 gated convolutions, with optional batch norm before the ReLU.

    >>> GatedBlock(3, 8)(torch.zeros(2, 3, 5, 6)).shape
    torch.Size([2, 8, 5, 6])
    """

    def __init__(self, channels: int, width: int, batch_norm: bool = False) -> None:
        super().__init__()
        self.convolutions = nn.ModuleList([_layer(inner, width) for inner in (channels, width)])
        self.norms = nn.ModuleList([nn.BatchNorm2d(width) if batch_norm else nn.Identity() for _ in range(2)])

    def forward(self, features: Tensor) -> Tensor:  # (B, C, H, W) -> (B, width, H, W)
        for convolution, norm in zip(self.convolutions, self.norms, strict=True):
            answer, gate = convolution(features).chunk(2, dim=1)
            features = F.relu(norm(answer)) * torch.sigmoid(gate)
        return features


def _layer(channels: int, width: int, side: int = 3, stride: int = 1, dilation: int = 1) -> nn.Conv2d:
    """Features and gates in one product, (B, 2·width, H, W)."""
    layer = nn.Conv2d(channels, 2 * width, side, stride, padding=side // 2 * dilation, dilation=dilation)
    nn.init.kaiming_normal_(layer.weight, nonlinearity="relu")  # He et al. 2015, eq. 10
    with torch.no_grad():
        layer.weight[:width] *= 2  # the gates start at a half
    assert layer.bias is not None
    nn.init.zeros_(layer.bias)
    return layer
