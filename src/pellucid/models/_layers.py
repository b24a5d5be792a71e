# SPDX-License-Identifier: Apache-2.0
"""The blocks that models share, written once."""

from __future__ import annotations

from typing import Self, final

import torch
from torch import Tensor, nn

__all__ = ["Frozen", "Normalize"]


@final
class Normalize(nn.Module):
    """(x − mean) / std per channel: every model's own first layer, saved with its weights.

    >>> Normalize(1)(torch.ones(1, 1, 2, 2)).shape
    torch.Size([1, 1, 2, 2])
    """

    mean: Tensor
    std: Tensor

    def __init__(self, channels: int, mean: tuple[float, ...] | None = None, std: tuple[float, ...] | None = None) -> None:
        super().__init__()
        self.pretrained = mean is not None  # the statistics belong to the weights: not to be fitted again
        self.register_buffer("mean", torch.tensor(mean or [0.0] * channels).view(1, -1, 1, 1))
        self.register_buffer("std", torch.tensor(std or [1.0] * channels).view(1, -1, 1, 1))

    def fit(self, mean: Tensor, std: Tensor) -> None:
        """Take the training images' statistics, (C,) each in [0, 1] units; does nothing to pretrained ones."""
        if not self.pretrained:
            self.mean.copy_(mean.view_as(self.mean))
            self.std.copy_(std.clamp_min(1e-3).view_as(self.std))

    def forward(self, images: Tensor) -> Tensor:  # (B, C, H, W) -> (B, C, H, W)
        return (images - self.mean) / self.std


@final
class Frozen(nn.Module):
    """A backbone whose every tensor stays as it is: no gradients, and batch norm keeps to its stored statistics."""

    def __init__(self, body: nn.Module) -> None:
        super().__init__()
        self.body = body.eval().requires_grad_(False)

    def train(self, mode: bool = True) -> Self:
        super().train(mode)
        self.body.eval()
        return self

    def forward(self, images: Tensor) -> Tensor:
        return self.body(images)  # type: ignore[no-any-return]
