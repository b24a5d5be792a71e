# SPDX-License-Identifier: Apache-2.0
"""An encoder of convolutions and max pooling, and a decoder that leads back to the image's size in one of four ways."""

from __future__ import annotations

from typing import ClassVar, final

from torch import Tensor, nn

from pellucid.errors import check_choice
from pellucid.models._contract import OutputKind
from pellucid.models._convolutional import padded
from pellucid.models._layers import Normalize, check_widths, initialise
from pellucid.models.encoder_decoder.ways import Up, Way, convolved

__all__ = ["EncoderDecoder"]


@final
class EncoderDecoder(nn.Module):
    """Two 3×3 convolutions at every scale and max pooling down, and one of four ways up; no skip connections.

    unpool: each value goes back to the place of the maximum from which it came, and convolutions fill the gaps (SegNet,
    Badrinarayanan et al. 2017). interpolate: bilinear interpolation, then a convolution (Odena et al. 2016). transpose: a
    transposed convolution of 4×4 with stride 2 (Long et al. 2015). dilated: half of the poolings are left out, and the
    convolutions behind them are dilated instead, so that they see as far (Yu & Koltun 2016); the output is interpolated.

    Any image size works: images are padded by their edges to a multiple of the coarsest scale, and the output is cropped.

    >>> import torch
    >>> EncoderDecoder(3, 11, (64, 64), widths=(8, 16, 32))(torch.zeros(2, 3, 33, 50)).shape
    torch.Size([2, 11, 33, 50])

    Args:
        channels: channels of the input: 1 or 3 of the image, and one more for a mask of missing pixels (1 = missing).
        outputs: channels of the output.
        size: (H, W) of the training images in px; any size works.
        widths: channels at each scale, from the finest to the coarsest.
        upsample: the way up: unpool, interpolate, transpose or dilated.
        residual: add the network's output to the image if it has as many channels, for tasks that restore pictures.
        batch_norm: normalise over the batch after each convolution.

    Raises:
        UsageError: an unknown way up, no width, or one below 1.
    """

    output: ClassVar[OutputKind] = "map"
    fixed_size: ClassVar[None] = None

    def __init__(
        self,
        channels: int,
        outputs: int,
        size: tuple[int, int],
        widths: tuple[int, ...] = (16, 32, 64, 128, 128),
        upsample: Way = "interpolate",
        residual: bool = False,
        batch_norm: bool = True,
    ) -> None:
        super().__init__()
        check_widths("widths", widths)
        check_choice("upsample", upsample, ("unpool", "interpolate", "transpose", "dilated"))
        self.normalize = Normalize(channels)
        self.pictured = channels - (channels % 2 == 0)  # an even number of channels includes a mask, as the last
        self.residual = residual and self.pictured == outputs
        poolings = len(widths) - 1
        if upsample == "dilated":
            poolings -= poolings // 2
        self.multiple = 2**poolings
        self.down, inner = nn.ModuleList(), channels
        for scale, width in enumerate(widths):
            dilation = 2 ** max(scale - poolings, 0)  # a pooling that is left out would have doubled the distances
            first = convolved(inner, width, batch_norm, dilation)
            self.down.append(nn.Sequential(*first, *convolved(width, width, batch_norm, dilation)))
            inner = width
        places = upsample == "unpool"
        self.pool = nn.ModuleList(nn.MaxPool2d(2, return_indices=places) for _ in range(poolings))
        self.up, self.merge = nn.ModuleList(), nn.ModuleList()
        self.enlarge: nn.Module | None = None
        if upsample == "dilated":
            self.enlarge = nn.Upsample(scale_factor=float(self.multiple), mode="bilinear", align_corners=False)
        else:
            for width in reversed(widths[:-1]):
                self.up.append(Up(upsample, inner, width, batch_norm))
                self.merge.append(convolved(width, width, batch_norm))
                inner = width
        self.head = nn.Conv2d(inner, outputs, 3, padding=1)
        initialise(self, "he")
        if self.residual:  # the untrained network returns its input
            nn.init.zeros_(self.head.weight)

    def forward(self, images: Tensor) -> Tensor:  # (B, C, H, W) -> (B, outputs, H, W)
        height, width = images.shape[2:]
        features = self.normalize(padded(images, self.multiple))
        places: list[Tensor | None] = []
        for scale, block in enumerate(self.down):  # (B, widths[scale], H/2ˢ, W/2ˢ)
            if 0 < scale <= len(self.pool):
                pooled = self.pool[scale - 1](features)
                features, where = (pooled, None) if isinstance(pooled, Tensor) else pooled
                places.append(where)
            features = block(features)
        for up, merge in zip(self.up, self.merge, strict=True):
            features = merge(up(features, places.pop()))
        answer: Tensor = self.head(features)
        if self.enlarge is not None:
            answer = self.enlarge(answer)
        answer = answer[:, :, :height, :width]
        return images[:, : self.pictured] + answer if self.residual else answer
