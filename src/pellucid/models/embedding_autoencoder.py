# SPDX-License-Identifier: Apache-2.0
"""The convolutional autoencoder with an embedding: convolutions to a short vector and back, for clustering and comparing."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar, Literal, Self, final

import torch
from torch import Tensor, nn

from pellucid.errors import UsageError
from pellucid.models._contract import OutputKind
from pellucid.models._kept import Kept
from pellucid.models._layers import Normalize, activation_layer, check_one_of, check_widths, initialise
from pellucid.models._merging import joined, rebuilt

__all__ = ["EmbeddingAutoencoder"]


@final
class EmbeddingAutoencoder(nn.Module):
    """Strided convolutions and a dense layer down to a few numbers, and the way back (Guo et al. 2017, fig. 1).

    >>> model = EmbeddingAutoencoder(1, 1, (28, 28), widths=(8, 16), latent=10)
    >>> model.encode(torch.zeros(2, 1, 28, 28)).shape, model(torch.zeros(2, 1, 28, 28)).shape
    (torch.Size([2, 10]), torch.Size([2, 1, 28, 28]))

    Args:
        channels: of the images, 1 or 3.
        outputs: channels of the answer.
        size: (H, W) of the images in px; it is bound to it.
        widths: channels after each halving; the first convolution is 5×5, the others are 3×3.
        latent: numbers of the code, which has no activation.
        decoder_widths: channels before each doubling; by default the widths in reverse.
        activation: between the layers.
        output_activation: sigmoid keeps the answer within [0, 1], linear does not.

    Raises:
        UsageError: a value that an option cannot have, or a code larger than the image.
    """

    output: ClassVar[OutputKind] = "reconstruction"

    def __init__(
        self,
        channels: int,
        outputs: int,
        size: tuple[int, int],
        widths: tuple[int, ...] = (32, 64),
        latent: int = 10,
        decoder_widths: tuple[int, ...] | None = None,
        activation: Literal["relu", "sigmoid", "tanh", "leaky_relu"] = "relu",
        output_activation: Literal["linear", "sigmoid"] = "linear",
    ) -> None:
        super().__init__()
        check_widths("widths", widths)
        check_widths("latent", (latent,))
        check_one_of("output_activation", output_activation, ("linear", "sigmoid"))
        back = tuple(reversed(widths)) if decoder_widths is None else decoder_widths
        check_widths("decoder_widths", back)
        if len(back) != len(widths):
            raise UsageError(
                f"decoder_widths={back!r}: must be as many as widths={widths!r}; give {len(widths)} of them."
            )
        if latent > channels * size[0] * size[1]:
            raise UsageError(
                f"latent={latent}: is larger than the image, which has {channels * size[0] * size[1]} numbers; give fewer."
            )
        self.fixed_size = size
        self.normalize = Normalize(channels)
        self.kept = Kept()
        down: list[nn.Module] = []
        inner, (height, width) = channels, size
        for place, wide in enumerate(widths):
            kernel = 3 if place else 5
            down += [nn.Conv2d(inner, wide, kernel, stride=2, padding=kernel // 2), activation_layer(activation)]
            inner, height, width = wide, -(-height // 2), -(-width // 2)
        self.encoder = nn.Sequential(*down, nn.Flatten(), nn.Linear(inner * height * width, latent))
        first = back[0]
        up: list[nn.Module] = [
            nn.Linear(latent, first * height * width),
            activation_layer(activation),
            nn.Unflatten(1, (first, height, width)),
        ]
        for inner, wide in zip(back, (*back[1:], outputs), strict=True):
            # a kernel that the stride divides leaves no checkerboard (Odena et al. 2016)
            up += [nn.ConvTranspose2d(inner, wide, 4, stride=2, padding=1), activation_layer(activation)]
        last = up[-2]
        up[-1:] = [nn.Sigmoid()] if output_activation == "sigmoid" else []
        self.decoder = nn.Sequential(*up)
        initialise(self.encoder, "he")
        initialise(self.decoder, "he")
        with torch.no_grad():
            last.weight.mul_(0.1)  # type: ignore[operator]  # start near a flat answer

    def encode(self, images: Tensor) -> Tensor:
        """The codes of images (B, C, H, W): (B, latent)."""
        return self.encoder(self.normalize(images))  # type: ignore[no-any-return]

    def forward(self, images: Tensor) -> Tensor:  # (B, C, H, W) -> (B, outputs, H, W)
        height, width = self.fixed_size
        return self.decoder(self.encode(images))[:, :, :height, :width]  # type: ignore[no-any-return]

    def filters(self) -> dict[str, Tensor]:
        """The kernels of each convolution of the encoder, (filters, inputs, height, width), by the layer's name."""
        return {
            f"encoder.{place}": layer.weight for place, layer in enumerate(self.encoder) if isinstance(layer, nn.Conv2d)
        }

    def merged(self, groups: dict[str, Sequence[Sequence[int]]]) -> Self:
        """A smaller model in which each group of filters is one: their mean, whose answer counts for all of them."""
        options: dict[str, Any] = dict(self.description["options"])  # type: ignore[index]
        widths = [len(groups.get(name, range(len(kernels)))) for name, kernels in self.filters().items()]
        options |= {"widths": tuple(widths), "decoder_widths": tuple(self._back())}
        return rebuilt(self, options, joined(self.encoder, groups, "encoder"))

    def _back(self) -> list[int]:
        return [layer.in_channels for layer in self.decoder if isinstance(layer, nn.ConvTranspose2d)]
