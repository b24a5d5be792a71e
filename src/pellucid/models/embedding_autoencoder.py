# SPDX-License-Identifier: Apache-2.0
"""The convolutional autoencoder with an embedding: convolutions to a short vector and back, for clustering and comparison."""

from __future__ import annotations

from typing import Any, ClassVar, Literal, Self, final

import torch
from torch import Tensor, nn

from pellucid.errors import UsageError, check_choice
from pellucid.models._contract import OutputKind
from pellucid.models._kept import Kept
from pellucid.models._layers import Normalize, activation_layer, check_widths, initialise
from pellucid.models._merging import Groups, joined, rebuilt

__all__ = ["EmbeddingAutoencoder"]


@final
class EmbeddingAutoencoder(nn.Module):
    """Strided convolutions and a dense layer to a few numbers, and back (Guo et al. 2017, fig. 1).

    >>> model = EmbeddingAutoencoder(1, 1, (28, 28), widths=(8, 16), latent=10)
    >>> model.encode(torch.zeros(2, 1, 28, 28)).shape, model(torch.zeros(2, 1, 28, 28)).shape
    (torch.Size([2, 10]), torch.Size([2, 1, 28, 28]))

    Args:
        channels: of the images, 1 or 3.
        outputs: channels of the output.
        size: (H, W) of the images in px, which is the only size it takes.
        widths: channels after each halving; the first convolution is 5×5, the others are 3×3.
        latent: dimensions of the code, which has no activation.
        decoder_widths: channels before each doubling; by default the widths in reverse.
        activation: function between the layers.
        output_activation: sigmoid keeps the output within [0, 1], linear does not.

    Raises:
        UsageError: an option out of range, or a code larger than the image.
    """

    output: ClassVar[OutputKind] = "reconstruction"
    description: dict[str, Any]  # set by `build`

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
        check_choice("output_activation", output_activation, ("linear", "sigmoid"))
        back = tuple(reversed(widths)) if decoder_widths is None else decoder_widths
        check_widths("decoder_widths", back)
        if len(back) != len(widths):
            raise UsageError(
                f"decoder_widths={back!r}: must have as many entries as widths={widths!r}; give {len(widths)}."
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
            inner, height, width = wide, -(-height // 2), -(-width // 2)  # halved, rounded up
        self.encoder = nn.Sequential(*down, nn.Flatten(), nn.Linear(inner * height * width, latent))
        first = back[0]
        up: list[nn.Module] = [
            nn.Linear(latent, first * height * width),
            activation_layer(activation),
            nn.Unflatten(1, (first, height, width)),
        ]
        for inner, wide in zip(back, (*back[1:], outputs), strict=True):
            # the stride divides the kernel, so that no checkerboard arises (Odena et al. 2016)
            up += [nn.ConvTranspose2d(inner, wide, 4, stride=2, padding=1), activation_layer(activation)]
        last = up[-2]  # the convolution before the last activation, which the output's replaces
        up[-1:] = [nn.Sigmoid()] if output_activation == "sigmoid" else []
        self.decoder = nn.Sequential(*up)
        initialise(self.encoder, "he")
        initialise(self.decoder, "he")
        assert isinstance(last, nn.ConvTranspose2d)
        with torch.no_grad():
            last.weight.mul_(0.1)  # start near a flat image

    def encode(self, images: Tensor) -> Tensor:
        """The codes of images (B, C, H, W): (B, latent)."""
        codes: Tensor = self.encoder(self.normalize(images))
        return codes

    def forward(self, images: Tensor) -> Tensor:  # (B, C, H, W) -> (B, outputs, H, W)
        height, width = self.fixed_size
        padded: Tensor = self.decoder(self.encode(images))  # the halvings rounded sizes up: crop
        return padded[:, :, :height, :width]

    def filters(self) -> dict[str, Tensor]:
        """The kernels of each convolution of the encoder, (filters, inputs, height, width), by the layer's name."""
        return {
            f"encoder.{place}": layer.weight for place, layer in enumerate(self.encoder) if isinstance(layer, nn.Conv2d)
        }

    def merged(self, groups: Groups) -> Self:
        """A smaller model in which each group of filters is replaced by its mean."""
        options = dict(self.description["options"])
        widths = [len(groups.get(name, range(len(kernels)))) for name, kernels in self.filters().items()]
        options |= {"widths": tuple(widths), "decoder_widths": tuple(self._back())}
        return rebuilt(self, options, joined(self.encoder, groups, "encoder"))

    def _back(self) -> list[int]:
        return [layer.in_channels for layer in self.decoder if isinstance(layer, nn.ConvTranspose2d)]
