# SPDX-License-Identifier: Apache-2.0
"""A small convolutional network: blocks of two 3×3 convolutions, then adaptive average pooling and one linear layer."""

from __future__ import annotations

from typing import ClassVar, Literal, final

from torch import Tensor, nn

from pellucid.errors import UsageError
from pellucid.models._contract import OutputKind
from pellucid.models._layers import (
    AdaptivePool,
    AttentionPool,
    Normalize,
    activation_layer,
    check_heads,
    check_share,
    check_size,
    check_widths,
    initialise,
)

__all__ = ["Convnet"]


@final
class Convnet(nn.Module):
    """Blocks of conv 3×3 (no padding) → ReLU → conv 3×3 (padding 1) → ReLU, pooled to 3×3, and one linear layer.

    A stride makes it faster and lets it see more of the image at once. A grid of 3×3 knows little of where something is; the
    heads of `AttentionPool` know the place as exactly as its features do.

    >>> from pellucid.models._building import parameter_count
    >>> parameter_count(Convnet(3, 10, (32, 32)))
    271690

    Args:
        channels: of the images, 1 or 3.
        outputs: classes.
        size: (H, W) of the images in px; each block removes 2 px, and at least 3 must remain.
        widths: channels of each block.
        dropout: share of the pooled features dropped in training.
        activation: function after each convolution.
        initialisation: how the convolutions' weights start; he keeps the variance through ReLU layers (He et al. 2015, eq. 10).
        batch_norm: normalise over the batch after each convolution (Ioffe & Szegedy 2015).
        stride: step of the first convolution of each block, px.
        heads: attention maps by which the features are pooled, each with its place; 0 pools to 3×3 instead.

    Raises:
        UsageError: the images are too small, or an option is out of range.
    """

    output: ClassVar[OutputKind] = "vector"
    fixed_size: ClassVar[None] = None

    def __init__(
        self,
        channels: int,
        outputs: int,
        size: tuple[int, int],
        widths: tuple[int, ...] = (64, 128),
        dropout: float = 0.0,
        activation: Literal["relu", "sigmoid", "tanh", "leaky_relu"] = "relu",
        initialisation: Literal["he", "xavier", "uniform", "zero"] = "he",
        batch_norm: bool = False,
        stride: int = 1,
        heads: int = 0,
    ) -> None:
        super().__init__()
        check_widths("widths", widths)
        check_share("dropout", dropout)
        check_heads(heads)
        if stride < 1:
            raise UsageError(f"stride={stride}: must be at least 1 px; give a larger number.")
        least = 3
        for _ in widths:
            least = (least - 1) * stride + 3  # a 3×3 convolution without padding
        check_size("convnet", size, least)
        self.normalize = Normalize(channels)
        layers: list[nn.Module] = []
        for width in widths:
            # (B, channels, H, W) -> (B, width, H - 2, W - 2), or with a stride s (B, width, ⌊(H - 3)/s⌋ + 1, …)
            for convolution in (nn.Conv2d(channels, width, 3, stride), nn.Conv2d(width, width, 3, padding=1)):
                norm = [nn.BatchNorm2d(width)] if batch_norm else []
                layers += [
                    convolution,
                    *norm,
                    nn.ReLU(inplace=True) if activation == "relu" else activation_layer(activation),
                ]
            channels = width
        self.features = nn.Sequential(*layers)
        self.pool: AdaptivePool | AttentionPool = AttentionPool(channels, heads) if heads else AdaptivePool(3)
        self.dropout = nn.Dropout(dropout)
        self.head = nn.Linear(heads * (channels + 2) if heads else 9 * channels, outputs)
        initialise(self.features, initialisation)

    def forward(self, images: Tensor) -> Tensor:  # (B, C, H, W) -> (B, outputs)
        features = self.features(self.normalize(images))  # (B, widths[-1], H - 2n, W - 2n) where the stride is 1
        logits: Tensor = self.head(self.dropout(self.pool(features).flatten(1)))  # pooled to (B, 9·widths[-1])
        return logits
