# SPDX-License-Identifier: Apache-2.0
"""The convolutional autoencoder: strided convolutions to a small map of codes, and back."""

from __future__ import annotations

from typing import Any, ClassVar, Literal, Self, final

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from pellucid.errors import UsageError, check_choice
from pellucid.models._contract import OutputKind
from pellucid.models._kept import Kept
from pellucid.models._layers import Normalize, activation_layer, check_widths, initialise
from pellucid.models._merging import Groups, joined, rebuilt

__all__ = ["ConvAutoencoder"]


@final
class ConvAutoencoder(nn.Module):
    """Convolutions that halve the image down to a code, and convolutions that double it back.

    Unlike a U-Net it has no skip connections: everything passes through the code, which has `code` numbers for each 2ⁿ×2ⁿ
    pixels, where n is the number of widths. Any image size works: images are padded by their edges, and outputs cropped.

    >>> model = ConvAutoencoder(1, 1, (28, 28), widths=(16, 32), code=4)
    >>> model.encode(torch.zeros(2, 1, 28, 28)).shape, model(torch.zeros(2, 1, 27, 30)).shape
    (torch.Size([2, 4, 7, 7]), torch.Size([2, 1, 27, 30]))

    Args:
        channels: of the images, 1 or 3.
        outputs: channels of the output.
        size: (H, W) of the training images in px; any size works.
        widths: channels after each halving.
        code: channels of the code.
        activation: function between the layers; the code has none.
        output_activation: sigmoid keeps the output within [0, 1], linear does not.
        inner_widths: channels before each halving; by default as many as after it.
        decoder_widths: channels before the first doubling and after each; by default the widths in reverse, the last one twice.

    Raises:
        UsageError: an option out of range.
    """

    output: ClassVar[OutputKind] = "reconstruction"
    fixed_size: ClassVar[None] = None
    description: dict[str, Any]  # set by `build`

    def __init__(
        self,
        channels: int,
        outputs: int,
        size: tuple[int, int],
        widths: tuple[int, ...] = (32, 64),
        code: int = 16,
        activation: Literal["relu", "sigmoid", "tanh", "leaky_relu"] = "relu",
        output_activation: Literal["linear", "sigmoid"] = "linear",
        inner_widths: tuple[int, ...] | None = None,
        decoder_widths: tuple[int, ...] | None = None,
    ) -> None:
        super().__init__()
        check_widths("widths", widths)
        check_widths("code", (code,))
        before = widths if inner_widths is None else inner_widths
        back = (widths[-1], *reversed(widths)) if decoder_widths is None else decoder_widths
        for name, own, count in (("inner_widths", before, len(widths)), ("decoder_widths", back, len(widths) + 1)):
            check_widths(name, own)
            if len(own) != count:
                raise UsageError(f"{name}={own!r}: must have {count} entries for widths={widths!r}; give {count}.")
        check_choice("output_activation", output_activation, ("linear", "sigmoid"))
        self.normalize = Normalize(channels)
        self.kept = Kept()
        self.multiple = 2 ** len(widths)
        down: list[nn.Module] = []
        inner = channels
        for first, width in zip(before, widths, strict=True):
            down += [nn.Conv2d(inner, first, 3, padding=1), activation_layer(activation)]
            # (B, first, H, W) -> (B, width, H/2, W/2)
            down += [nn.Conv2d(first, width, 3, stride=2, padding=1), activation_layer(activation)]
            inner = width
        inner = back[0]
        up: list[nn.Module] = [nn.Conv2d(code, inner, 3, padding=1), activation_layer(activation)]
        for width in back[1:]:
            # upsampling and a convolution: strided transposed convolutions leave a checkerboard (Odena et al. 2016)
            up += [nn.Upsample(scale_factor=2), nn.Conv2d(inner, width, 3, padding=1), activation_layer(activation)]
            inner = width
        last = nn.Conv2d(inner, outputs, 3, padding=1)
        self.encoder = nn.Sequential(*down, nn.Conv2d(widths[-1], code, 3, padding=1))
        self.decoder = nn.Sequential(*up, last, *([nn.Sigmoid()] if output_activation == "sigmoid" else []))
        initialise(self.encoder, "he")
        initialise(self.decoder, "he")
        with torch.no_grad():
            last.weight.mul_(0.1)  # start near a flat image, not with a huge error

    def encode(self, images: Tensor) -> Tensor:
        """The codes of images (B, C, H, W): (B, code, ⌈H/2ⁿ⌉, ⌈W/2ⁿ⌉)."""
        height, width = images.shape[2:]
        padding = (0, -width % self.multiple, 0, -height % self.multiple)  # left, right, top, bottom
        codes: Tensor = self.encoder(self.normalize(F.pad(images, padding, mode="replicate")))
        return codes

    def filters(self) -> dict[str, Tensor]:
        """The kernels of each convolution of the encoder but the code's, (filters, inputs, 3, 3), by the layer's name."""
        layers = [(place, layer) for place, layer in enumerate(self.encoder) if isinstance(layer, nn.Conv2d)]
        return {f"encoder.{place}": layer.weight for place, layer in layers[:-1]}

    def merged(self, groups: Groups) -> Self:
        """A smaller model in which each group of filters is replaced by its mean."""
        widths = [len(groups.get(name, range(len(kernels)))) for name, kernels in self.filters().items()]
        back = [layer.out_channels for layer in self.decoder if isinstance(layer, nn.Conv2d)][:-1]
        options = dict(self.description["options"])
        options |= {"inner_widths": tuple(widths[::2]), "widths": tuple(widths[1::2]), "decoder_widths": tuple(back)}
        return rebuilt(self, options, joined(self.encoder, groups, "encoder"))

    def forward(self, images: Tensor) -> Tensor:  # (B, C, H, W) -> (B, outputs, H, W)
        height, width = images.shape[2:]
        padded: Tensor = self.decoder(self.encode(images))  # (B, outputs, 2ⁿ·⌈H/2ⁿ⌉, 2ⁿ·⌈W/2ⁿ⌉)
        return padded[:, :, :height, :width]
