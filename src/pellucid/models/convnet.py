# SPDX-License-Identifier: Apache-2.0
"""A small convolutional classifier: blocks of two 3×3 convolutions, then adaptive average pooling and one linear layer."""

from __future__ import annotations

from typing import ClassVar, final

from torch import Tensor, nn

from pellucid.models._layers import AdaptivePool, Normalize, check_share, check_size, check_widths

__all__ = ["Convnet"]


@final
class Convnet(nn.Module):
    """Blocks of conv 3×3 (no padding) → ReLU → conv 3×3 (padding 1) → ReLU, pooled to 3×3, and one linear layer.

    >>> from pellucid.models.building import parameter_count
    >>> parameter_count(Convnet(3, 10, (32, 32)))
    271690

    Args:
        channels: of the images, 1 or 3.
        outputs: classes.
        size: (H, W) of the images in px; each block takes 2 px away, and 3 must be left.
        widths: channels of each block.
        dropout: share of the pooled features that is dropped in training.

    Raises:
        UsageError: the images are smaller than that, or a value that an option cannot have.
    """

    output: ClassVar[str] = "vector"
    fixed_size: ClassVar[None] = None

    def __init__(
        self,
        channels: int,
        outputs: int,
        size: tuple[int, int],
        widths: tuple[int, ...] = (64, 128),
        dropout: float = 0.0,
    ) -> None:
        super().__init__()
        check_widths("widths", widths)
        check_share("dropout", dropout)
        check_size("convnet", size, 3 + 2 * len(widths))
        self.normalize = Normalize(channels)
        layers: list[nn.Module] = []
        for width in widths:
            layers += [nn.Conv2d(channels, width, 3), nn.ReLU(inplace=True)]
            layers += [nn.Conv2d(width, width, 3, padding=1), nn.ReLU(inplace=True)]
            channels = width
        self.features = nn.Sequential(*layers)
        self.pool = AdaptivePool(3)
        self.dropout = nn.Dropout(dropout)
        self.head = nn.Linear(9 * channels, outputs)
        # ReLU layers keep their variance with He's initialisation (He et al. 2015, eq. 10)
        for layer in self.features:
            if isinstance(layer, nn.Conv2d):
                nn.init.kaiming_normal_(layer.weight, nonlinearity="relu")
                assert layer.bias is not None
                nn.init.zeros_(layer.bias)

    def forward(self, images: Tensor) -> Tensor:  # (B, C, H, W) -> (B, outputs)
        features = self.features(self.normalize(images))  # (B, widths[-1], H - 2n, W - 2n)
        return self.head(self.dropout(self.pool(features).flatten(1)))  # type: ignore[no-any-return]
