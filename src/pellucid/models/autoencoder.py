# SPDX-License-Identifier: Apache-2.0
"""The dense autoencoder: an image through a narrow (or wide) layer and back."""

from __future__ import annotations

from typing import ClassVar, Literal, final

import torch
from torch import Tensor, nn

from pellucid.models._layers import Normalize, activation_layer, check_one_of, check_widths, initialise

__all__ = ["Autoencoder"]


@final
class Autoencoder(nn.Module):
    """Dense layers down to a code and back up to the image; under-complete if the code is shorter than the image.

    >>> import torch
    >>> model = Autoencoder(1, 1, (28, 28), encoder=(128,))
    >>> model(torch.zeros(2, 1, 28, 28)).shape, model.encode(torch.zeros(2, 1, 28, 28)).shape
    (torch.Size([2, 1, 28, 28]), torch.Size([2, 128]))

    Args:
        channels: of the images, 1 or 3.
        outputs: channels of the answer.
        size: (H, W) of the images in px; it is bound to it, and larger images are answered tile by tile.
        encoder: units of each layer of the encoder; the last is the code.
        decoder: units of each hidden layer of the decoder; by default the encoder's, in reverse.
        activation: between the layers; the code has it too.
        output_activation: sigmoid keeps the answer within [0, 1], linear does not.

    Raises:
        UsageError: a value that an option cannot have.
    """

    output: ClassVar[str] = "map"

    def __init__(
        self,
        channels: int,
        outputs: int,
        size: tuple[int, int],
        encoder: tuple[int, ...] = (128,),
        decoder: tuple[int, ...] | None = None,
        activation: Literal["relu", "sigmoid", "tanh", "leaky_relu"] = "relu",
        output_activation: Literal["linear", "sigmoid"] = "linear",
    ) -> None:
        super().__init__()
        check_widths("encoder", encoder)
        check_widths("decoder", decoder or (), least=0)
        check_one_of("output_activation", output_activation, ("linear", "sigmoid"))
        self.fixed_size, self.outputs = size, outputs
        self.normalize = Normalize(channels)
        units = channels * size[0] * size[1]
        down: list[nn.Module] = [nn.Flatten()]
        for width in encoder:
            down += [nn.Linear(units, width), activation_layer(activation)]
            units = width
        up: list[nn.Module] = []
        for width in decoder if decoder is not None else tuple(reversed(encoder[:-1])):
            up += [nn.Linear(units, width), activation_layer(activation)]
            units = width
        last = nn.Linear(units, outputs * size[0] * size[1])
        up.append(last)
        if output_activation == "sigmoid":
            up.append(nn.Sigmoid())
        self.encoder, self.decoder = nn.Sequential(*down), nn.Sequential(*up)
        initialise(self.encoder, "he")
        initialise(self.decoder, "he")
        with torch.no_grad():  # start near a flat answer: an error of many times the image would kill the code's ReLUs
            last.weight.mul_(0.1)

    def encode(self, images: Tensor) -> Tensor:
        """The codes of images (B, C, H, W): (B, encoder[-1])."""
        return self.encoder(self.normalize(images))  # type: ignore[no-any-return]

    def forward(self, images: Tensor) -> Tensor:  # (B, C, H, W) -> (B, outputs, H, W)
        return self.decoder(self.encode(images)).reshape(-1, self.outputs, *self.fixed_size)  # type: ignore[no-any-return]
