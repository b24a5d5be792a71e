# SPDX-License-Identifier: Apache-2.0
"""The convolutional codec with a hyperprior (Ballé et al. 2018; Minnen et al. 2018)."""

from __future__ import annotations

from typing import final

from pellucid.errors import UsageError
from pellucid.models._blockwise import SCALE, Blockwise, checked
from pellucid.models._conditional import Conditional
from pellucid.models._quantised import trade_offs

__all__ = ["Hyperprior"]


@final
class Hyperprior(Blockwise):
    """The transforms of `factorized`, whose codes are described by side information and by the codes before them.

    A second, smaller code, one place for 32×32 px, says where the first is large and what it is about; scales and means of the
    first follow from it and from what is decoded already, channels in four groups and places in two or three phases. Training
    sees this density; a file's symbols depend on whole numbers only. Any image size works: images are padded by their edges,
    and outputs cropped.

    >>> import torch
    >>> model = Hyperprior(1, 1, (64, 64), width=8, blocks=1).eval()
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
        side: channels of the second code.
        hidden: units of the network that reads the second code and the codes before.
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
        side: int = 12,
        hidden: int = 48,
        qualities: int = 8,
        lowest: float = 0.0008,
        highest: float = 0.15,
    ) -> None:
        codes = checked(channels, outputs, width, blocks, code)
        super().__init__(channels, width, blocks, codes)
        for name, value in (("side", side), ("hidden", hidden)):
            if not isinstance(value, int) or value < 1:
                raise UsageError(f"{name}={value!r}: must be a whole number of at least 1; give e.g. --{name} 12.")
        self.prior = Conditional(codes, trade_offs(lowest, highest, qualities), self.spread, 1 / SCALE, side, hidden)
