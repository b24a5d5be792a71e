# SPDX-License-Identifier: Apache-2.0
"""Residual networks for small images, of 6n + 2 layers (He et al. 2016, section 4.2), and plain ones of the same layers."""

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
    """Three stages of blocks of two 3×3 convolutions, each stage of half the resolution, then the mean over the map.

    >>> import torch
    >>> model = CifarResnet(1, 10, (8, 8), depth=20).eval()
    >>> model(torch.zeros(2, 1, 8, 8)).shape
    torch.Size([2, 10])

    A shortcut goes around each block; it has no weights: where a stage begins, every other pixel is taken and the new channels
    are zero (their option A). Residual and plain networks so have the same weights. As published, for colour images of
    32 px and ten classes, 20 layers have 269,722 of them (theirs: 0.27 million).

    Args:
        channels: of the images, 1 or 3.
        outputs: classes.
        size: (H, W) of the training images in px; any size works.
        depth: layers with weights, 6n + 2: 8, 14, 20, 32, 44, 56, 110, …
        plain: leave the shortcuts out.
        widths: channels of the three stages.
        activation: after each convolution, in the second of a block after the shortcut is added.
        initialisation: of the weights; biases start at zero.
        batch_norm: normalise over the batch after each convolution.
        dropout: share of the pooled features that is dropped in training.

    Raises:
        UsageError: a depth that is not 6n + 2, or a value that an option cannot have.
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
            raise UsageError(f"widths={widths}: must be three numbers that do not fall; give e.g. 16 32 64.")
        check_share("dropout", dropout)
        self.normalize = Normalize(channels)
        self.stem = nn.Sequential(*_convolution(channels, widths[0], 1, batch_norm), activation_layer(activation))
        blocks: list[nn.Module] = []
        entering = widths[0]
        for stage, width in enumerate(widths):
            for place in range((depth - 2) // 6):
                stride = 2 if stage and not place else 1
                blocks.append(_Block(entering, width, stride, plain, activation, batch_norm))
                entering = width
        self.blocks = nn.Sequential(*blocks)
        self.dropout = nn.Dropout(dropout)
        self.head = nn.Linear(entering, outputs)
        initialise(self, initialisation)

    def forward(self, images: Tensor) -> Tensor:  # (B, C, H, W) -> (B, outputs)
        features = self.blocks(self.stem(self.normalize(images)))  # (B, widths[2], H/4, W/4)
        return self.head(self.dropout(features.mean((2, 3))))  # type: ignore[no-any-return]


@final
class _Block(nn.Module):
    """Two convolutions, and what enters added to what they answer, unless the block is plain."""

    def __init__(self, entering: int, width: int, stride: int, plain: bool, activation: str, batch_norm: bool) -> None:
        super().__init__()
        self.plain, self.stride, self.more = plain, stride, width - entering
        self.first = nn.Sequential(*_convolution(entering, width, stride, batch_norm), activation_layer(activation))
        self.second = nn.Sequential(*_convolution(width, width, 1, batch_norm))
        self.activation = activation_layer(activation)

    def forward(self, x: Tensor) -> Tensor:  # (B, entering, H, W) -> (B, width, H/stride, W/stride)
        answer = self.second(self.first(x))
        if self.plain:
            return self.activation(answer)  # type: ignore[no-any-return]
        kept = F.pad(x[:, :, :: self.stride, :: self.stride], (0, 0, 0, 0, 0, self.more))
        return self.activation(answer + kept)  # type: ignore[no-any-return]


def _convolution(entering: int, width: int, stride: int, batch_norm: bool) -> list[nn.Module]:
    made: list[nn.Module] = [nn.Conv2d(entering, width, 3, stride, padding=1, bias=not batch_norm)]
    return [*made, nn.BatchNorm2d(width)] if batch_norm else made
