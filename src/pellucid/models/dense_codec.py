# SPDX-License-Identifier: Apache-2.0
"""The dense codec: the dense autoencoder with a quantised code."""

from __future__ import annotations

from typing import ClassVar, Literal, final

from torch import Tensor, nn
from torch.nn import functional as F

from pellucid.errors import UsageError
from pellucid.models._contract import Compressed, OutputKind
from pellucid.models._layers import Normalize
from pellucid.models._prior import Prior
from pellucid.models._quantised import trade_offs
from pellucid.models.autoencoder import Autoencoder

__all__ = ["DenseCodec"]

_SPREAD = 2.0  # standard deviation of an untrained encoder's codes
_CONTRAST = 64.0  # grey levels: a typical standard deviation of pixels


@final
class DenseCodec(nn.Module):
    """The dense autoencoder (Hinton & Salakhutdinov 2006) whose code is quantised and has a learned density.

    The layers are those of `autoencoder`, with a linear code, so that its sign carries information too. Larger images than
    those of training are coded in tiles, smaller ones are padded by their edges.

    >>> import torch
    >>> model = DenseCodec(1, 1, (32, 32), encoder=(32, 32)).eval()
    >>> images = torch.rand(2, 1, 40, 32)
    >>> model.analyse(images).shape, model(images).shape
    (torch.Size([2, 32, 2, 1]), torch.Size([2, 1, 40, 32]))

    Args:
        channels: of the images, 1 or 3.
        outputs: channels of the output, the same number.
        size: (H, W) of a tile in px, the size of the training images.
        encoder: units of each layer of the encoder; the last layer is the code.
        decoder: units of each hidden layer of the decoder; by default the encoder's in reverse.
        activation: function between the layers; the code has none.
        qualities: number of rates that the model learns.
        lowest: λ of the lowest quality, the bits per pixel that a squared error of one grey level (of 255) is worth.
        highest: λ of the highest quality.

    Raises:
        UsageError: an option out of range, or a code that is larger than the image.
    """

    output: ClassVar[OutputKind] = "code"
    fixed_size: ClassVar[None] = None

    def __init__(
        self,
        channels: int,
        outputs: int,
        size: tuple[int, int],
        encoder: tuple[int, ...] = (32, 32),
        decoder: tuple[int, ...] | None = None,
        activation: Literal["relu", "sigmoid", "tanh", "leaky_relu"] = "relu",
        qualities: int = 4,
        lowest: float = 0.0003,
        highest: float = 0.03,
    ) -> None:
        super().__init__()
        if outputs != channels:
            raise UsageError(
                f"outputs={outputs}: must equal the image's {channels} channels; choose a task that restores its input."
            )
        pixels = channels * size[0] * size[1]
        if encoder and isinstance(encoder[-1], int) and encoder[-1] > pixels:
            raise UsageError(
                f"encoder={tuple(encoder)}: its code is larger than the image's {pixels} numbers; give a smaller last layer."
            )
        self.normalize = Normalize(channels)
        whole = Autoencoder(channels, outputs, size, encoder, decoder, activation)
        self.encoder, self.decoder = whole.encoder[:-1], whole.decoder
        self.stride = size
        # the step at which rounding a code adds as much to the error as it saves in rate
        scale = _SPREAD * (encoder[-1] / pixels) ** 0.5 / _CONTRAST
        self.prior = Prior(encoder[-1], trade_offs(lowest, highest, qualities), [_SPREAD] * encoder[-1], scale)

    def analyse(self, images: Tensor) -> Tensor:
        """The codes of images (B, C, H, W) in [0, 1] before quantisation: (B, code, rows, columns) of tiles, float32."""
        batch, channels, height, width = images.shape
        tall, wide = self.stride
        padded = F.pad(images, (0, -width % wide, 0, -height % tall), mode="replicate")
        rows, columns = padded.shape[2] // tall, padded.shape[3] // wide
        # (B, C, rows·tall, columns·wide) -> (B, rows, columns, C, tall, wide)
        tiles = padded.reshape(batch, channels, rows, tall, columns, wide).permute(0, 2, 4, 1, 3, 5)
        codes: Tensor = self.encoder(
            self.normalize(tiles.reshape(-1, channels, tall, wide))
        ).float()  # (B·rows·columns, code)
        return codes.reshape(batch, rows, columns, -1).permute(0, 3, 1, 2)

    def synthesise(self, codes: Tensor, size: tuple[int, int]) -> Tensor:
        """The images of codes (B, code, rows, columns): (B, C, *size) float32, not yet clipped to [0, 1]."""
        batch, _, rows, columns = codes.shape
        tall, wide = self.stride
        flat = codes.permute(0, 2, 3, 1).reshape(batch * rows * columns, -1)
        tiles: Tensor = self.decoder(flat).float().reshape(batch, rows, columns, -1, tall, wide)
        # (B, rows, columns, C, tall, wide) -> (B, C, rows·tall, columns·wide)
        images = tiles.permute(0, 3, 1, 4, 2, 5).reshape(batch, -1, rows * tall, columns * wide)
        return (images * self.normalize.std + self.normalize.mean)[:, :, : size[0], : size[1]]

    def forward(self, images: Tensor, quality: Tensor | None = None) -> Tensor | Compressed:
        """Images coded and decoded, (B, C, H, W), at the middle quality.

        With qualities (B,), also the bits (B,) of each image under the learned density, in training those of noisy codes.
        """
        restored: Tensor | Compressed = self.prior(self, images, quality)
        return restored
