# SPDX-License-Identifier: Apache-2.0
"""The way up behind a classifier's body: at each scale the coarser map, doubled, meets the encoder's map."""

from __future__ import annotations

from collections.abc import Sequence
from typing import final

from torch import Tensor, nn

__all__ = ["Decoder", "decoder_widths"]

_WIDTHS = (32, 48, 64, 96)  # of the decoder, from the finest scale on


@final
class Decoder(nn.Module):
    """From maps at every scale (B, Cᵢ, H/sᵢ, W/sᵢ) to features at the finest of these scales (B, widths[0], H/s₀, W/s₀).

    A 1×1 convolution of the doubled map and the encoder's map side by side is the sum of one of each, and that of the coarser
    map commutes with interpolation: computed before it, it costs a quarter.

    >>> import torch
    >>> maps = [torch.zeros(2, 8, 16, 24), torch.zeros(2, 12, 8, 12), torch.zeros(2, 20, 4, 6)]
    >>> Decoder((8, 12, 20), (2, 4, 8), (16, 24))(maps).shape
    torch.Size([2, 16, 16, 24])

    Args:
        inner: channels of the maps, from the finest scale on.
        strides: the scales: px of the image for each of a map's.
        widths: channels of the decoder at each scale but the coarsest.
    """

    def __init__(self, inner: Sequence[int], strides: Sequence[int], widths: Sequence[int]) -> None:
        super().__init__()
        self.before, self.across = nn.ModuleList(), nn.ModuleList()
        self.enlarge, self.norm, self.merge = nn.ModuleList(), nn.ModuleList(), nn.ModuleList()
        below = inner[-1]
        for scale in reversed(range(len(widths))):
            width = widths[scale]
            self.before.append(nn.Conv2d(below, width, 1, bias=False))
            self.across.append(nn.Conv2d(inner[scale], width, 1, bias=False))
            factor = strides[scale + 1] / strides[scale]
            self.enlarge.append(nn.Upsample(scale_factor=factor, mode="bilinear", align_corners=False))
            self.norm.append(nn.Sequential(nn.BatchNorm2d(width), nn.ReLU(inplace=True)))
            convolution = nn.Conv2d(width, width, 3, padding=1, bias=False)
            self.merge.append(nn.Sequential(convolution, nn.BatchNorm2d(width), nn.ReLU(inplace=True)))
            below = width
        for layer in self.modules():
            if isinstance(layer, nn.Conv2d):
                nn.init.kaiming_normal_(layer.weight, nonlinearity="relu")  # He et al. 2015, eq. 10

    @property
    def normed_sums(self) -> Sequence[tuple[Sequence[str], str]]:
        """Convolutions whose sum a batch norm takes, and that batch norm: interpolation between them changes no constant."""
        return [((f"before.{k}", f"across.{k}"), f"norm.{k}.0") for k in range(len(self.norm))]

    def forward(self, maps: list[Tensor]) -> Tensor:
        features, fine = maps[-1], reversed(maps[:-1])
        scales = zip(self.before, self.enlarge, self.across, self.norm, self.merge, fine, strict=True)
        for before, enlarge, across, norm, merge, kept in scales:
            features = merge(norm(enlarge(before(features)) + across(kept)))
        return features


def decoder_widths(scales: int) -> tuple[int, ...]:
    """The decoder's channels at each scale but the coarsest, from the finest on, where none are given.

    >>> decoder_widths(5), decoder_widths(4)
    ((32, 48, 64, 96), (48, 64, 96))
    """
    return _WIDTHS[max(len(_WIDTHS) - scales + 1, 0) :] + (_WIDTHS[-1],) * max(scales - 1 - len(_WIDTHS), 0)
