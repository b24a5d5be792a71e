# SPDX-License-Identifier: Apache-2.0
"""The U-Net: an encoder and a decoder with a skip connection at every scale (Ronneberger, Fischer & Brox 2015)."""

from __future__ import annotations

from typing import ClassVar, Literal, final

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from pellucid.errors import UsageError, check_choice
from pellucid.models._backbones import named
from pellucid.models._contract import OutputKind
from pellucid.models._convolutional import padded
from pellucid.models._gated import GatedBlock
from pellucid.models._layers import Normalize, check_widths
from pellucid.models._pretrained import as_colour
from pellucid.models._surroundings import relative
from pellucid.models.unet.decoder import Decoder, decoder_widths
from pellucid.models.unet.encoder import Body, Encoder, body
from pellucid.models.unet.masked import PartialBlock

__all__ = ["Unet"]


@final
class Unet(nn.Module):
    """Two 3×3 convolutions at every scale, max pooling down, transposed convolutions up, and skip connections between.

    With another encoder, the body of a classifier leads down, on request with its ImageNet weights, and interpolation with
    convolutions leads up to its finest scale, from which the output is interpolated.

    Any image size works: images are padded by their edges to a multiple of the coarsest scale, and the output is cropped.

    >>> Unet(1, 1, (64, 64), widths=(8, 16))(torch.zeros(2, 1, 33, 50)).shape
    torch.Size([2, 1, 33, 50])
    >>> Unet(3, 11, (64, 64), encoder="mobilenet_v2", pretrained=False)(torch.zeros(2, 3, 33, 50)).shape
    torch.Size([2, 11, 33, 50])

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
        encoder: own: the convolutions above; or efficientnet_lite0, mobilenet_v2, resnet18 to resnet152, or timm's name of a
            convolutional model, which have no use for widths, residual, batch_norm and convolution.
        pretrained: start another encoder from its ImageNet weights; grey images are repeated to three channels.
        frozen: leave another encoder as it is, batch-norm statistics included, and train the decoder only.
        frozen_stages: how many of another encoder's stages, from the image on, stay fixed, batch-norm statistics included.
        decoder_widths: channels of the decoder behind another encoder, at each of its scales but the coarsest, from the finest
            on; by default 32 at half the resolution, then 48, 64 and 96.

    Raises:
        UsageError: no width or one below 1, a convolution that needs a mask without one, an unknown encoder, one whose weights
            are unavailable, or an option that has no effect on this encoder.
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
        encoder: str = "own",
        pretrained: bool = True,
        frozen: bool = False,
        frozen_stages: int = 0,
        decoder_widths: tuple[int, ...] | None = None,
        fetch: bool = True,
    ) -> None:
        super().__init__()
        check_widths("widths", widths)
        check_choice("convolution", convolution, ("plain", "partial", "gated"))
        self.convolution = convolution
        self.masked = channels % 2 == 0  # images have 1 or 3 channels: an even number includes a mask, as the last
        if convolution != "plain" and not self.masked:
            raise UsageError(
                f"convolution={convolution!r}: needs a mask beside the image, which this task does not have; choose plain."
            )
        self.pictured = channels - self.masked  # channels of the image itself
        self.backbone: Encoder | None = None
        self.residual = residual and self.pictured == outputs and encoder == "own"
        if encoder == "own":
            given = {"frozen": frozen, "frozen_stages": frozen_stages, "decoder_widths": decoder_widths}
            if asked := next((f"{name}={value!r}" for name, value in given.items() if value), None):
                raise UsageError(f"{asked}: has no effect on encoder='own'; leave it out, or choose another encoder.")
            self._draw_up(channels, outputs, widths, batch_norm)
        else:
            if self.masked:
                raise UsageError(f"encoder={encoder!r}: takes images without a mask; leave it out.")
            self._set_upon(body(encoder, channels, pretrained, fetch), outputs, frozen, frozen_stages, decoder_widths)

    def _draw_up(self, channels: int, outputs: int, widths: tuple[int, ...], batch_norm: bool) -> None:
        """The layers of the U-Net's own encoder and of its decoder."""
        self.normalize = Normalize(channels)
        self.multiple = 2 ** (len(widths) - 1)
        inner = channels
        self.down = nn.ModuleList()
        for width in widths:
            self.down.append(_block([inner], width, batch_norm, self.convolution))
            inner = width
        self.up, self.merge = nn.ModuleList(), nn.ModuleList()
        for width in reversed(widths[:-1]):
            self.up.append(nn.ConvTranspose2d(inner, width, 2, stride=2))  # doubles; its output meets the encoder's
            self.merge.append(_block([width, width], width, batch_norm, self.convolution))
            inner = width
        self.head = nn.Conv2d(inner, outputs, 3, padding=1)
        if self.residual:  # the untrained network returns its input
            nn.init.zeros_(self.head.weight)
            assert self.head.bias is not None
            nn.init.zeros_(self.head.bias)

    def _set_upon(
        self, given: Body, outputs: int, frozen: bool, frozen_stages: int, widths: tuple[int, ...] | None
    ) -> None:
        """The layers of a decoder behind a classifier's body."""
        self.normalize, self._names = given.normalize, given.names
        self.backbone = Encoder(given, frozen, frozen_stages)
        scales = len(self.backbone.strides)
        chosen = decoder_widths(scales) if widths is None else widths
        check_widths("decoder_widths", chosen)
        if len(chosen) != scales - 1:
            raise UsageError(
                f"decoder_widths={chosen}: must have {scales - 1} entries for this encoder; give {scales - 1}."
            )
        self.multiple = self.backbone.strides[-1]
        self.decoder = Decoder(self.backbone.widths, self.backbone.strides, chosen)
        self.head = nn.Conv2d(chosen[0], outputs, 3, padding=1)
        self.enlarge = nn.Upsample(scale_factor=float(self.backbone.strides[0]), mode="bilinear", align_corners=False)

    @property
    def published(self) -> list[dict[str, str]]:
        """Its names in torchvision and timm; see `models._contract.Published`."""
        return [] if self.backbone is None else [named(self, self._names)]

    def forward(self, images: Tensor) -> Tensor:  # (B, C, H, W) -> (B, outputs, H, W)
        height, width = images.shape[2:]
        whole = padded(images, self.multiple)
        if self.backbone is not None:
            maps = self.backbone(self.normalize(as_colour(whole, self.normalize)))
            scores: Tensor = self.enlarge(self.head(self.decoder(maps)))  # (B, outputs, ⌈H⌉, ⌈W⌉)
            return scores[:, :, :height, :width]
        features, unit = self.normalize(whole), None
        if self.masked and self.residual:
            features, unit = relative(features, whole[:, -1:], self.normalize.std)
        features = (
            self._partial(features, 1 - whole[:, -1:]) if self.convolution == "partial" else self._plain(features)
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
