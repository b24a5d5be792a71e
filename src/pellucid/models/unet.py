# SPDX-License-Identifier: Apache-2.0
"""The U-Net: an encoder and a decoder with a shortcut at every scale (Ronneberger, Fischer & Brox 2015)."""

from __future__ import annotations

from typing import ClassVar, final

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from pellucid.models._layers import Normalize, check_widths

__all__ = ["Unet"]


@final
class Unet(nn.Module):
    """Two 3×3 convolutions at every scale, max-pooling down, transposed convolutions up, and shortcuts between.

    Any image size works: images are padded by their edge to a multiple of the coarsest scale, and the answer is cropped.

    >>> Unet(1, 1, (64, 64), widths=(8, 16))(torch.zeros(2, 1, 33, 50)).shape
    torch.Size([2, 1, 33, 50])

    Args:
        channels: of the images, 1 or 3.
        outputs: channels of the map.
        size: (H, W) of the training images in px.
        widths: channels at each scale, from the finest to the coarsest.
        residual: answer with the image plus the network's output (Zhang et al. 2017, DnCNN) where channels = outputs.
        batch_norm: normalise over the batch after each convolution; off: pictures differ in
            contrast, and the answer to one should not depend on those beside it (Zhang et al. 2021, DRUNet, has none).

    Raises:
        UsageError: no width, or one below 1.
    """

    output: ClassVar[str] = "map"
    fixed_size: ClassVar[None] = None

    def __init__(
        self,
        channels: int,
        outputs: int,
        size: tuple[int, int],
        widths: tuple[int, ...] = (32, 64, 128, 256),
        residual: bool = True,
        batch_norm: bool = False,
    ) -> None:
        super().__init__()
        check_widths("widths", widths)
        self.normalize = Normalize(channels)
        self.residual = residual and channels == outputs
        self.multiple = 2 ** (len(widths) - 1)
        inner = channels
        self.down = nn.ModuleList()
        for width in widths:
            self.down.append(_block(inner, width, batch_norm))
            inner = width
        self.up, self.merge = nn.ModuleList(), nn.ModuleList()
        for width in reversed(widths[:-1]):
            self.up.append(nn.ConvTranspose2d(inner, width, 2, stride=2))
            self.merge.append(_block(2 * width, width, batch_norm))
            inner = width
        self.head = nn.Conv2d(inner, outputs, 3, padding=1)
        if self.residual:  # the untrained network answers with its input
            nn.init.zeros_(self.head.weight)
            assert self.head.bias is not None
            nn.init.zeros_(self.head.bias)

    def forward(self, images: Tensor) -> Tensor:  # (B, C, H, W) -> (B, outputs, H, W)
        height, width = images.shape[2:]
        padded = F.pad(images, (0, -width % self.multiple, 0, -height % self.multiple), mode="replicate")
        features, kept = self.normalize(padded), []
        for scale, block in enumerate(self.down):
            features = block(F.max_pool2d(features, 2) if scale else features)
            kept.append(features)
        kept.pop()
        for up, merge in zip(self.up, self.merge, strict=True):
            features = merge(torch.cat([up(features), kept.pop()], dim=1))
        answer: Tensor = self.head(features)[:, :, :height, :width]
        return images + answer if self.residual else answer


def _block(channels: int, width: int, batch_norm: bool) -> nn.Sequential:
    layers: list[nn.Module] = []
    for inner in (channels, width):
        convolution = nn.Conv2d(inner, width, 3, padding=1)
        nn.init.kaiming_normal_(convolution.weight, nonlinearity="relu")  # He et al. 2015, eq. 10
        assert convolution.bias is not None
        nn.init.zeros_(convolution.bias)
        layers += [convolution, *([nn.BatchNorm2d(width)] if batch_norm else []), nn.ReLU(inplace=True)]
    return nn.Sequential(*layers)
