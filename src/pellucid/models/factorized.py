# SPDX-License-Identifier: Apache-2.0
"""The convolutional codec with a factorised prior (Ballé, Laparra & Simoncelli 2017; Ballé et al. 2018)."""

from __future__ import annotations

from typing import final

from pellucid.models._blockwise import SCALE, Blockwise, checked
from pellucid.models._prior import Prior
from pellucid.models._quantised import trade_offs

__all__ = ["Factorized"]


@final
class Factorized(Blockwise):
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
        codes = checked(channels, outputs, width, blocks, code)
        super().__init__(channels, width, blocks, codes)
        self.prior = Prior(codes, trade_offs(lowest, highest, qualities), self.spread, scale=1 / SCALE)
