# SPDX-License-Identifier: Apache-2.0
"""A network for large holes: residual blocks that see all of a picture, at an eighth of its resolution (Suvorov et al. 2022)."""

from __future__ import annotations

from itertools import pairwise
from typing import ClassVar, Literal, final

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from pellucid.errors import UsageError, check_choice
from pellucid.models._contract import OutputKind
from pellucid.models._convolutional import padded
from pellucid.models._layers import Normalize, check_share, check_widths
from pellucid.models._surroundings import relative
from pellucid.models.lama.fourier import FourierBlock

__all__ = ["Lama"]

_DILATIONS = (1, 2, 4, 8)  # of the dilated blocks, again and again


@final
class Lama(nn.Module):
    """Convolutions that halve the resolution, residual blocks at the coarsest scale, and interpolation with convolutions up again.

    The blocks have Fourier convolutions, each value of which depends on the whole picture from the first block on, or dilated
    ones (Iizuka et al. 2017), whose view grows by 19 places of the coarse map to each side with every four blocks. There are no skip
    connections: what lies beside a hole reaches it through the blocks.

    Any image size works: images are padded by their edges to a multiple of the coarsest scale, and the output is cropped.

    >>> Lama(2, 1, (64, 64), widths=(4, 8), blocks=2)(torch.zeros(2, 2, 33, 50)).shape
    torch.Size([2, 1, 33, 50])

    Args:
        channels: channels of the input: 1 or 3 of the image, and one more for a mask of missing pixels (1 = missing).
        outputs: channels of the output.
        size: (H, W) of the training images in px.
        widths: channels at each scale, from the finest to the coarsest.
        blocks: residual blocks at the coarsest scale.
        mixing: convolutions of the blocks: fourier or dilated.
        global_share: share of the coarsest scale's channels that belong to the Fourier convolutions' global branch.
        fold: side in px of the blocks whose pixels become channels before the first layer, and channels pixels after the last
            (Shi et al. 2016, section 3); 4 takes about a quarter of the time of 1.
        residual: add the network's output to the image if it has as many channels; with a mask, in units of the contrast
            around the holes.

    Raises:
        UsageError: no width or one below 1, no block, or a share outside of (0, 1).
    """

    output: ClassVar[OutputKind] = "map"
    fixed_size: ClassVar[None] = None

    def __init__(
        self,
        channels: int,
        outputs: int,
        size: tuple[int, int],
        widths: tuple[int, ...] = (16, 32, 64, 128),
        blocks: int = 6,
        mixing: Literal["fourier", "dilated"] = "fourier",
        global_share: float = 0.75,
        fold: int = 1,
        residual: bool = True,
    ) -> None:
        super().__init__()
        check_widths("widths", widths)
        check_choice("mixing", mixing, ("fourier", "dilated"))
        check_share("global_share", global_share)
        if blocks < 1:
            raise UsageError(f"blocks={blocks}: must be at least 1; give e.g. 6.")
        if fold < 1:
            raise UsageError(f"fold={fold}: is the side of a block in px; give 1 or more, e.g. 4.")
        self.masked = channels % 2 == 0  # images have 1 or 3 channels: an even number includes a mask, as the last
        self.pictured = channels - self.masked  # channels of the image itself
        self.residual = residual and self.pictured == outputs
        self.fold, self.multiple = fold, fold * 2 ** (len(widths) - 1)
        self.normalize = Normalize(channels)
        width = widths[-1]
        overall = min(width, max(1, round(global_share * width)))
        # the way down sees 5×5 px at first, then halves by 3×3 convolutions of stride 2
        self.down = nn.ModuleList([_layer(channels * fold**2, widths[0], 5)])
        for inner, wider in pairwise(widths):
            self.down.append(_layer(inner, wider, 3, stride=2))
        self.blocks = nn.Sequential(
            *(
                FourierBlock(width, overall)
                if mixing == "fourier"
                else DilatedBlock(width, _DILATIONS[place % len(_DILATIONS)])
                for place in range(blocks)
            )
        )
        self.up = nn.ModuleList([_layer(wider, narrower, 3) for narrower, wider in _pairs(widths)])
        self.head = nn.Conv2d(widths[0], outputs * fold**2, 3, padding=1)
        if self.residual:  # the untrained network returns its input
            nn.init.zeros_(self.head.weight)
            assert self.head.bias is not None
            nn.init.zeros_(self.head.bias)

    def forward(self, images: Tensor) -> Tensor:  # (B, C, H, W) -> (B, outputs, H, W)
        height, width = images.shape[2:]
        whole = padded(images, self.multiple)
        features, unit = self.normalize(whole), None
        if self.masked and self.residual:
            features, unit = relative(features, whole[:, -1:], self.normalize.std)
        features = F.pixel_unshuffle(features, self.fold)  # (B, C·fold², H/fold, W/fold)
        for layer in self.down:  # (B, widths[k], H/(fold·2ᵏ), W/(fold·2ᵏ))
            features = F.relu(layer(features))
        features = self.blocks(features)
        for layer in self.up:
            # the convolution at the coarser scale, then interpolation: a quarter of the work of the other order
            features = F.relu(F.interpolate(layer(features), scale_factor=2.0, mode="bilinear"))
        answer: Tensor = F.pixel_shuffle(self.head(features), self.fold)[:, :, :height, :width]
        if unit is not None:
            answer = answer * unit
        return images[:, : self.pictured] + answer if self.residual else answer


@final
class DilatedBlock(nn.Module):
    """x + c₂(ReLU(c₁(x))) with two 3×3 convolutions, the first of them dilated (Yu & Koltun 2016); it starts as the identity.

    >>> DilatedBlock(4, 8)(torch.zeros(2, 4, 5, 7)).shape
    torch.Size([2, 4, 5, 7])
    """

    def __init__(self, width: int, dilation: int) -> None:
        super().__init__()
        self.first, self.second = _layer(width, width, 3, dilation=dilation), _layer(width, width, 3)
        self.scale = nn.Parameter(torch.zeros(()))

    def forward(self, features: Tensor) -> Tensor:
        added: Tensor = self.second(F.relu(self.first(features)))
        return features + self.scale * added


def _pairs(widths: tuple[int, ...]) -> list[tuple[int, int]]:
    """(narrower, wider) from the coarsest scale to the finest."""
    return list(zip(widths[-2::-1], widths[:0:-1], strict=True))


def _layer(channels: int, width: int, side: int, stride: int = 1, dilation: int = 1) -> nn.Conv2d:
    layer = nn.Conv2d(channels, width, side, stride, padding=side // 2 * dilation, dilation=dilation)
    nn.init.kaiming_normal_(layer.weight, nonlinearity="relu")  # He et al. 2015, eq. 10
    assert layer.bias is not None
    nn.init.zeros_(layer.bias)
    return layer
