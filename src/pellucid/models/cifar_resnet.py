# SPDX-License-Identifier: Apache-2.0
"""Residual networks of 6n + 2 layers for small images (He et al. 2016, section 4.2), and plain ones with the same layers."""

from __future__ import annotations

from typing import ClassVar, Literal, final

from torch import Tensor, nn
from torch.nn import functional as F

from pellucid.errors import UsageError
from pellucid.models._contract import OutputKind
from pellucid.models._layers import Normalize, activation_layer, check_share, check_widths, initialise

__all__ = ["CifarResnet"]


@final
class CifarResnet(nn.Module):
    """Three stages of blocks of two 3×3 convolutions, each at half the resolution of the last, then global average pooling.

    >>> import torch
    >>> model = CifarResnet(1, 10, (8, 8), depth=20).eval()
    >>> model(torch.zeros(2, 1, 8, 8)).shape
    torch.Size([2, 10])

    The shortcut around each block has no weights: where a stage begins, it takes every other pixel and sets new channels to
    zero (option A). Residual and plain networks therefore have the same weights. For colour images of 32 px and ten classes,
    20 layers have 269,722 of them (published: 0.27 million).

    Args:
        channels: of the images, 1 or 3.
        outputs: classes.
        size: (H, W) of the training images in px; any size works.
        depth: number of layers with weights, 6n + 2: 8, 14, 20, 32, 44, 56, 110, …
        plain: omit the shortcuts.
        widths: channels of the three stages.
        activation: function after each convolution; after the second of a block, the shortcut is added first.
        initialisation: how the weights start; biases start at zero.
        batch_norm: normalise over the batch after each convolution.
        dropout: share of the pooled features dropped in training.

    Raises:
        UsageError: a depth that is not 6n + 2, or an option out of range.
    """

    output: ClassVar[OutputKind] = "vector"
    fixed_size: ClassVar[None] = None

    def __init__(
        self,
        channels: int,
        outputs: int,
        size: tuple[int, int],
        depth: int = 20,
        plain: bool = False,
        widths: tuple[int, ...] = (16, 32, 64),
        activation: Literal["relu", "sigmoid", "tanh", "leaky_relu"] = "relu",
        initialisation: Literal["he", "xavier", "uniform", "zero"] = "he",
        batch_norm: bool = True,
        dropout: float = 0.0,
    ) -> None:
        super().__init__()
        if depth < 8 or (depth - 2) % 6:
            raise UsageError(f"depth={depth!r}: must be 6n + 2; give e.g. 8, 14, 20, 32, 44, 56 or 110.")
        check_widths("widths", widths)
        if len(widths) != 3 or list(widths) != sorted(widths):
            raise UsageError(f"widths={widths}: must be three numbers in ascending order; give e.g. 16 32 64.")
        check_share("dropout", dropout)
        self.normalize = Normalize(channels)
        self.stem = nn.Sequential(*_convolution(channels, widths[0], 1, batch_norm), activation_layer(activation))
        blocks: list[nn.Module] = []
        entering = widths[0]
        for stage, width in enumerate(widths):
            for place in range((depth - 2) // 6):
                stride = 2 if stage and not place else 1  # the first block of a stage halves the resolution
                blocks.append(_Block(entering, width, stride, plain, activation, batch_norm))
                entering = width
        self.blocks = nn.Sequential(*blocks)
        self.dropout = nn.Dropout(dropout)
        self.head = nn.Linear(entering, outputs)
        initialise(self, initialisation)

    def forward(self, images: Tensor) -> Tensor:  # (B, C, H, W) -> (B, outputs)
        features = self.blocks(self.stem(self.normalize(images)))  # (B, widths[2], H/4, W/4)
        logits: Tensor = self.head(self.dropout(features.mean((2, 3))))  # (B, widths[2]) -> (B, outputs)
        return logits


@final
class _Block(nn.Module):
    """Two convolutions, whose input is added to their output unless the block is plain."""

    def __init__(self, entering: int, width: int, stride: int, plain: bool, activation: str, batch_norm: bool) -> None:
        super().__init__()
        self.plain, self.stride, self.more = plain, stride, width - entering
        self.first = nn.Sequential(*_convolution(entering, width, stride, batch_norm), activation_layer(activation))
        self.second = nn.Sequential(*_convolution(width, width, 1, batch_norm))
        self.activation = activation_layer(activation)

    def forward(self, x: Tensor) -> Tensor:  # (B, entering, H, W) -> (B, width, H/stride, W/stride)
        added = self.second(self.first(x))
        if not self.plain:  # where a stage begins, every other pixel, and zeros in the new channels (their option A)
            added = added + F.pad(x[:, :, :: self.stride, :: self.stride], (0, 0, 0, 0, 0, self.more))
        features: Tensor = self.activation(added)
        return features


def _convolution(entering: int, width: int, stride: int, batch_norm: bool) -> list[nn.Module]:
    # batch norm has a bias of its own
    made: list[nn.Module] = [nn.Conv2d(entering, width, 3, stride, padding=1, bias=not batch_norm)]
    return [*made, nn.BatchNorm2d(width)] if batch_norm else made
