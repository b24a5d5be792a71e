# SPDX-License-Identifier: Apache-2.0
"""The convolutional codec with a factorised prior (Ballé, Laparra & Simoncelli 2017; Ballé et al. 2018)."""

from __future__ import annotations

from typing import ClassVar, final

from torch import Tensor, nn

from pellucid.models._blockwise import SCALE, SIDE, analysed, checked, synthesised, transforms
from pellucid.models._contract import Compressed, OutputKind
from pellucid.models._layers import Normalize
from pellucid.models._prior import Prior
from pellucid.models._quantised import trade_offs

__all__ = ["Factorized"]


@final
class Factorized(nn.Module):
    """Strided convolutions with residual blocks to `code` numbers for each 8×8 px, quantised, and back.

    A linear path runs in parallel: an 8×8 block transform that starts as the cosine transform and is learned too, so that
    training begins at the level of JPEG and the network learns to do better. Any image size works: images are padded by
    their edges, and outputs cropped.

    >>> import torch
    >>> model = Factorized(1, 1, (64, 64), width=8, blocks=1).eval()
    >>> images = torch.rand(2, 1, 30, 44)
    >>> model.analyse(images).shape, model(images).shape
    (torch.Size([2, 64, 4, 6]), torch.Size([2, 1, 30, 44]))

    Args:
        channels: of the images, 1 or 3.
        outputs: channels of the output, the same number.
        size: (H, W) of the training images in px; any size works.
        width: channels at a quarter of the image's resolution; twice as many at an eighth.
        blocks: residual blocks at each of the two scales, in the encoder and in the decoder.
        code: channels of the code; by default 64 per channel of the image.
        qualities: number of rates that the model learns.
        lowest: λ of the lowest quality, the bits per pixel that a squared error of one grey level (of 255) is worth.
        highest: λ of the highest quality.

    Raises:
        UsageError: an option out of range.
    """

    output: ClassVar[OutputKind] = "code"
    fixed_size: ClassVar[None] = None
    stride: ClassVar[tuple[int, int]] = (SIDE, SIDE)

    def __init__(
        self,
        channels: int,
        outputs: int,
        size: tuple[int, int],
        width: int = 64,
        blocks: int = 1,
        code: int | None = None,
        qualities: int = 8,
        lowest: float = 0.0008,
        highest: float = 0.15,
    ) -> None:
        super().__init__()
        codes = checked(channels, outputs, width, blocks, code)
        self.normalize = Normalize(channels)
        self.encoder, self.decoder, self.down, self.up, spread = transforms(channels, width, blocks, codes)
        self.prior = Prior(codes, trade_offs(lowest, highest, qualities), spread, scale=1 / SCALE)

    def analyse(self, images: Tensor) -> Tensor:
        """The codes of images (B, C, H, W) in [0, 1] before quantisation: (B, code, ⌈H/8⌉, ⌈W/8⌉) float32."""
        return analysed(self, images)

    def synthesise(self, codes: Tensor, size: tuple[int, int]) -> Tensor:
        """The images of codes (B, code, h, w): (B, C, *size) float32, not yet clipped to [0, 1]."""
        return synthesised(self, codes, size)

    def forward(self, images: Tensor, quality: Tensor | None = None) -> Tensor | Compressed:
        """Images coded and decoded, (B, C, H, W), at the middle quality.

        With qualities (B,), also the bits (B,) of each image under the learned density, in training those of noisy codes.
        """
        restored: Tensor | Compressed = self.prior(self, images, quality)
        return restored
