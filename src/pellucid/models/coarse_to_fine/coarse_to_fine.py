# SPDX-License-Identifier: Apache-2.0
"""Two stages: a coarse answer, and one that is refined with patches from elsewhere in the picture (Yu et al. 2018)."""

from __future__ import annotations

from itertools import pairwise
from typing import ClassVar, final

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from pellucid.errors import UsageError
from pellucid.models._contract import OutputKind
from pellucid.models._convolutional import padded
from pellucid.models._gated import GatedConv
from pellucid.models._layers import Normalize, check_widths
from pellucid.models._surroundings import relative
from pellucid.models.coarse_to_fine.attention import RATE, filled

__all__ = ["CoarseToFine"]

_DILATIONS = (2, 4, 8, 16)


@final
class CoarseToFine(nn.Module):
    """A coarse network fills the holes, and a second one refines them: one of its branches copies known patches into them.

    Both halve the resolution down to the coarsest scale, where four dilated convolutions look far, and double it again without
    skip connections; all convolutions are gated (Yu et al. 2019). The second network sees the picture with the coarse fill, and
    has a second branch with contextual attention: the features of the missing places become a weighted mean of known patches.
    If no patch of the features is wholly known, as with scattered pixels, that branch gives nothing, and the other one decides.
    Without a mask, every place takes from all others.

    Any image size works: images are padded by their edges, and the output is cropped.

    >>> model = CoarseToFine(2, 1, (64, 64), widths=(4, 8))
    >>> model(torch.zeros(2, 2, 33, 50)).shape, len(model(torch.zeros(2, 2, 33, 50), stages=True))
    (torch.Size([2, 1, 33, 50]), 2)

    Args:
        channels: channels of the input: 1 or 3 of the image, and one more for a mask of missing pixels (1 = missing).
        outputs: channels of the output.
        size: (H, W) of the training images in px.
        widths: channels at each scale of both networks, from the finest to the coarsest.
        fold: side in px of the blocks whose pixels become channels before the first layer, and channels pixels after the last
            (Shi et al. 2016, section 3).
        residual: add the network's output to the image if it has as many channels; with a mask, in units of the contrast
            around the holes.

    Raises:
        UsageError: no width or one below 1, or no fold.
    """

    output: ClassVar[OutputKind] = "map"
    fixed_size: ClassVar[None] = None
    refines: ClassVar[bool] = True

    def __init__(
        self,
        channels: int,
        outputs: int,
        size: tuple[int, int],
        widths: tuple[int, ...] = (16, 32, 64),
        fold: int = 1,
        residual: bool = True,
    ) -> None:
        super().__init__()
        check_widths("widths", widths)
        if fold < 1:
            raise UsageError(f"fold={fold}: is the side of a block in px; give 1 or more, e.g. 2.")
        self.masked = channels % 2 == 0  # images have 1 or 3 channels: an even number includes a mask, as the last
        self.pictured = channels - self.masked  # channels of the image itself
        self.residual = residual and self.pictured == outputs
        self.fold, self.scale = fold, fold * 2 ** (len(widths) - 1)
        self.normalize = Normalize(channels)
        # a picture that is answered takes the image's place, other answers stand beside it
        inner = channels if self.residual else channels + outputs
        self.coarse = nn.Sequential(
            *_down(channels * fold**2, widths), *_far(widths[-1]), *_up(widths[-1], widths, outputs * fold**2)
        )
        self.far = nn.Sequential(*_down(inner * fold**2, widths), *_far(widths[-1]))
        self.copying = nn.Sequential(*_down(inner * fold**2, widths))
        self.copied = GatedConv(widths[-1], widths[-1])
        self.fine = nn.Sequential(*_up(2 * widths[-1], widths, outputs * fold**2))
        if self.residual:  # the untrained network returns its input
            for network in (self.coarse, self.fine):
                for value in network[-1].parameters():
                    nn.init.zeros_(value)

    def forward(self, images: Tensor, stages: bool = False) -> Tensor | tuple[Tensor, ...]:
        """Images (B, C, H, W) to pictures (B, outputs, H, W); with `stages` the coarse and the refined ones."""
        height, width = images.shape[2:]
        whole = padded(images, self.scale * RATE)
        features, unit = self.normalize(whole), None
        mask = whole[:, -1:] if self.masked else None
        if mask is not None and self.residual:
            features, unit = relative(features, mask, self.normalize.std)
        # (B, 1, H/scale, W/scale): places with any missing pixel
        missing = None if mask is None else F.max_pool2d(mask, self.scale)
        rough = self._painted(self.coarse, features)  # (B, outputs, ⌈H⌉, ⌈W⌉)
        if self.residual:
            if mask is not None:  # known pixels need no coarse answer
                rough = rough * mask
            seen = torch.cat([features[:, : self.pictured] + rough, features[:, self.pictured :]], dim=1)
        else:
            seen = torch.cat([features, torch.tanh(rough)], dim=1)  # scores have no bounds, and gates multiply
        folded = F.pixel_unshuffle(seen, self.fold)
        copied = self.copied(filled(self.copying(folded), missing))
        refined = F.pixel_shuffle(self.fine(torch.cat([self.far(folded), copied], dim=1)), self.fold)
        answers = (rough, rough + refined) if self.residual else (rough, refined)
        given = tuple(self._in_place(images, answer[:, :, :height, :width], unit) for answer in answers)
        return given if stages else given[-1]

    def _painted(self, network: nn.Module, features: Tensor) -> Tensor:
        return F.pixel_shuffle(network(F.pixel_unshuffle(features, self.fold)), self.fold)

    def _in_place(self, images: Tensor, answer: Tensor, unit: Tensor | None) -> Tensor:
        """What is added, in the units of the image, and added to it."""
        if unit is not None:
            answer = answer * unit
        return images[:, : self.pictured] + answer if self.residual else answer


@final
class _Dilated(nn.Module):
    """x + a dilated gated convolution of it; it starts as the identity (Bachlechner et al. 2021, ReZero)."""

    def __init__(self, width: int, dilation: int) -> None:
        super().__init__()
        self.layer = GatedConv(width, width, dilation=dilation)
        self.scale = nn.Parameter(torch.zeros(()))

    def forward(self, features: Tensor) -> Tensor:  # (B, width, H, W), twice
        added: Tensor = self.layer(features)
        return features + self.scale * added


def _far(width: int) -> list[nn.Module]:
    return [_Dilated(width, dilation) for dilation in _DILATIONS]


def _down(channels: int, widths: tuple[int, ...]) -> list[nn.Module]:
    """5×5 px at first; each further scale halves the resolution."""
    layers: list[nn.Module] = [GatedConv(channels, widths[0], 5)]
    for inner, wider in pairwise(widths):
        layers += [GatedConv(inner, wider, stride=2), GatedConv(wider, wider)]
    return layers


def _up(inner: int, widths: tuple[int, ...], outputs: int) -> list[nn.Module]:
    layers: list[nn.Module] = [GatedConv(inner, widths[-1])]
    for narrower, wider in zip(widths[-2::-1], widths[:0:-1], strict=True):
        # the convolution at the coarser scale, then interpolation: a quarter of the work of the other order
        layers += [GatedConv(wider, narrower), nn.Upsample(scale_factor=2.0, mode="bilinear")]
    return [*layers, nn.Conv2d(widths[0], outputs, 3, padding=1)]
