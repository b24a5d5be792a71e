# SPDX-License-Identifier: Apache-2.0
"""The U-Net: an encoder and a decoder with a skip connection at every scale (Ronneberger, Fischer & Brox 2015)."""

from __future__ import annotations

from typing import ClassVar, Literal, final

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from pellucid.errors import UsageError, check_choice
from pellucid.models._contract import OutputKind
from pellucid.models._layers import Normalize, check_widths
from pellucid.models.unet.masked import GatedBlock, PartialBlock, surroundings

__all__ = ["Unet"]


@final
class Unet(nn.Module):
    """Two 3×3 convolutions at every scale, max pooling down, transposed convolutions up, and skip connections between.

    Any image size works: images are padded by their edges to a multiple of the coarsest scale, and the output is cropped.

    >>> Unet(1, 1, (64, 64), widths=(8, 16))(torch.zeros(2, 1, 33, 50)).shape
    torch.Size([2, 1, 33, 50])

    Args:
        channels: channels of the input: 1 or 3 of the image, and one more for a mask of missing pixels (1 = missing).
        outputs: channels of the output.
        size: (H, W) of the training images in px.
        widths: channels at each scale, from the finest to the coarsest.
        residual: add the network's output to the image (Zhang et al. 2017, DnCNN) if it has as many channels; with a mask,
            in units of the contrast around the holes.
        batch_norm: normalise over the batch after each convolution; without it, the output for a picture does not depend on
            the contrast of others (Zhang et al. 2021, DRUNet, has none).
        convolution: plain; partial: of known pixels only, scaled by their share (Liu et al. 2018); gated: multiplied by a
            learned sigmoid (Yu et al. 2019). Partial and gated convolutions need a mask.

    Raises:
        UsageError: no width or one below 1, or a convolution that needs a mask without one.
    """

    output: ClassVar[OutputKind] = "map"
    fixed_size: ClassVar[None] = None

    def __init__(
        self,
        channels: int,
        outputs: int,
        size: tuple[int, int],
        widths: tuple[int, ...] = (32, 64, 128, 256),
        residual: bool = True,
        batch_norm: bool = False,
        convolution: Literal["plain", "partial", "gated"] = "plain",
    ) -> None:
        super().__init__()
        check_widths("widths", widths)
        check_choice("convolution", convolution, ("plain", "partial", "gated"))
        self.masked = channels % 2 == 0  # images have 1 or 3 channels: an even number includes a mask, as the last
        if convolution != "plain" and not self.masked:
            raise UsageError(
                f"convolution={convolution!r}: needs a mask beside the image, which this task does not have; choose plain."
            )
        self.normalize = Normalize(channels)
        self.convolution = convolution
        self.pictured = channels - self.masked  # channels of the image itself
        self.residual = residual and self.pictured == outputs
        self.multiple = 2 ** (len(widths) - 1)
        inner = channels
        self.down = nn.ModuleList()
        for width in widths:
            self.down.append(_block([inner], width, batch_norm, convolution))
            inner = width
        self.up, self.merge = nn.ModuleList(), nn.ModuleList()
        for width in reversed(widths[:-1]):
            self.up.append(nn.ConvTranspose2d(inner, width, 2, stride=2))  # doubles; its output meets the encoder's
            self.merge.append(_block([width, width], width, batch_norm, convolution))
            inner = width
        self.head = nn.Conv2d(inner, outputs, 3, padding=1)
        if self.residual:  # the untrained network returns its input
            nn.init.zeros_(self.head.weight)
            assert self.head.bias is not None
            nn.init.zeros_(self.head.bias)

    def forward(self, images: Tensor) -> Tensor:  # (B, C, H, W) -> (B, outputs, H, W)
        height, width = images.shape[2:]
        padded = F.pad(images, (0, -width % self.multiple, 0, -height % self.multiple), mode="replicate")
        features, unit = self.normalize(padded), None
        if self.masked and self.residual:
            mean, deviation = surroundings(features[:, :-1], padded[:, -1:])
            features = torch.cat([(features[:, :-1] - mean) / deviation, features[:, -1:]], dim=1)
            unit = deviation * self.normalize.std[:, :-1]  # (B, C, 1, 1) in the image's units
        features = (
            self._partial(features, 1 - padded[:, -1:]) if self.convolution == "partial" else self._plain(features)
        )
        answer: Tensor = self.head(features)[:, :, :height, :width]
        if unit is not None:  # smooth surroundings need small corrections: without this, smooth pictures get grainy
            answer = answer * unit
        return images[:, : self.pictured] + answer if self.residual else answer

    def _plain(self, features: Tensor) -> Tensor:
        kept = []
        for scale, block in enumerate(self.down):  # (B, widths[scale], H/2ˢ, W/2ˢ)
            features = block(F.max_pool2d(features, 2) if scale else features)
            kept.append(features)
        kept.pop()  # the coarsest is where the way up begins
        for up, merge in zip(self.up, self.merge, strict=True):
            features = merge(torch.cat([up(features), kept.pop()], dim=1))
        return features

    def _partial(self, features: Tensor, known: Tensor) -> Tensor:
        """The same with partial convolutions, which also take the mask (B, 1, H, W), 1 = known."""
        kept = []
        for scale, block in enumerate(self.down):
            if scale:
                features, known = F.max_pool2d(features, 2), F.max_pool2d(known, 2)
            features, known = block(features, known)
            kept.append((features, known))
        kept.pop()
        for up, merge in zip(self.up, self.merge, strict=True):
            across, across_known = kept.pop()
            known = torch.cat([F.interpolate(known, scale_factor=2.0, mode="nearest"), across_known], dim=1)
            features, known = merge(torch.cat([up(features), across], dim=1), known)
        return features


def _block(groups: list[int], width: int, batch_norm: bool, convolution: str) -> nn.Module:
    if convolution == "gated":
        return GatedBlock(sum(groups), width, batch_norm)
    if convolution == "partial":
        return PartialBlock(groups, width, batch_norm)
    layers: list[nn.Module] = []
    for inner in (sum(groups), width):
        layer = nn.Conv2d(inner, width, 3, padding=1)
        nn.init.kaiming_normal_(layer.weight, nonlinearity="relu")  # He et al. 2015, eq. 10
        assert layer.bias is not None
        nn.init.zeros_(layer.bias)
        layers += [layer, *([nn.BatchNorm2d(width)] if batch_norm else []), nn.ReLU(inplace=True)]
    return nn.Sequential(*layers)
