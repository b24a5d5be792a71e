# SPDX-License-Identifier: Apache-2.0
"""The ways back up: what doubles a map, from its maxima's places, by interpolation, or by a transposed convolution."""

from __future__ import annotations

from typing import Literal, TypeAlias, final

from torch import Tensor, nn

from pellucid.models._convolutional import Unpool

__all__ = ["Up", "Way", "convolved"]

Way: TypeAlias = Literal["unpool", "interpolate", "transpose", "dilated"]


@final
class Up(nn.Module):
    """From `inner` channels to `width` at twice the height and width, in one of the ways.

    >>> import torch
    >>> Up("transpose", 8, 4, batch_norm=True)(torch.zeros(2, 8, 3, 5), None).shape
    torch.Size([2, 4, 6, 10])

    Args:
        way: unpool, interpolate or transpose.
        inner: channels that come in.
        width: channels that go out.
        batch_norm: normalise over the batch after the convolution.
    """

    def __init__(self, way: Way, inner: int, width: int, batch_norm: bool) -> None:
        super().__init__()
        self.way = way
        if way == "transpose":
            # the kernel is twice the stride: each output is a sum of as many products (Odena et al. 2016)
            layer: nn.Module = nn.ConvTranspose2d(inner, width, 4, stride=2, padding=1, bias=not batch_norm)
            self.convolution = nn.Sequential(layer, *_after(width, batch_norm))
        else:
            self.convolution = convolved(inner, width, batch_norm)
            self.enlarge: nn.Module = (
                Unpool() if way == "unpool" else nn.Upsample(scale_factor=2.0, mode="bilinear", align_corners=False)
            )

    def forward(self, features: Tensor, places: Tensor | None) -> Tensor:  # (B, inner, H, W) -> (B, width, 2H, 2W)
        if self.way == "unpool":  # the places are those of a map with `width` channels
            answer: Tensor = self.enlarge(self.convolution(features), places)
            return answer
        answer = self.convolution(features if self.way == "transpose" else self.enlarge(features))
        return answer


def convolved(inner: int, width: int, batch_norm: bool, dilation: int = 1) -> nn.Sequential:
    """A 3×3 convolution with a ReLU, on request with batch norm between."""
    layer = nn.Conv2d(inner, width, 3, padding=dilation, dilation=dilation, bias=not batch_norm)
    return nn.Sequential(layer, *_after(width, batch_norm))


def _after(width: int, batch_norm: bool) -> list[nn.Module]:
    return [*([nn.BatchNorm2d(width)] if batch_norm else []), nn.ReLU(inplace=True)]
