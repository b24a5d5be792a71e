# SPDX-License-Identifier: Apache-2.0
"""The dense autoencoder: an image through a narrow (or wide) code and back."""

from __future__ import annotations

from typing import Any, ClassVar, Literal, Self, final

import torch
from torch import Tensor, nn

from pellucid._processes import averaged
from pellucid.errors import UsageError, check_choice
from pellucid.models._contract import OutputKind
from pellucid.models._kept import Kept
from pellucid.models._layers import Normalize, activation_layer, check_widths, initialise
from pellucid.models._merging import Groups, joined, rebuilt

__all__ = ["Autoencoder"]


@final
class Autoencoder(nn.Module):
    """Dense layers to a code and back to the image; undercomplete if the code is smaller than the image.

    >>> import torch
    >>> model = Autoencoder(1, 1, (28, 28), encoder=(128,))
    >>> model(torch.zeros(2, 1, 28, 28)).shape, model.encode(torch.zeros(2, 1, 28, 28)).shape
    (torch.Size([2, 1, 28, 28]), torch.Size([2, 128]))

    Args:
        channels: of the images, 1 or 3.
        outputs: channels of the output.
        size: (H, W) of the images in px, which is the only size it takes; larger images are processed in tiles.
        encoder: units of each layer of the encoder; the last layer is the code.
        decoder: units of each hidden layer of the decoder; by default the encoder's in reverse.
        activation: function between the layers.
        code_activation: "same" applies the activation to the code too, "linear" does not.
        sparsity: weight of the KL divergence of each code unit's mean activation from `active`; for sigmoid codes only.
        active: target of the mean activation of a sparse code's units, in (0, 1).
        output_activation: sigmoid keeps the output within [0, 1], linear does not.

    Raises:
        UsageError: an option out of range.
    """

    output: ClassVar[OutputKind] = "reconstruction"
    description: dict[str, Any]  # set by `build`

    def __init__(
        self,
        channels: int,
        outputs: int,
        size: tuple[int, int],
        encoder: tuple[int, ...] = (128,),
        decoder: tuple[int, ...] | None = None,
        activation: Literal["relu", "sigmoid", "tanh", "leaky_relu"] = "relu",
        output_activation: Literal["linear", "sigmoid"] = "linear",
        code_activation: Literal["same", "linear"] = "same",
        sparsity: float = 0.0,
        active: float = 0.05,
    ) -> None:
        super().__init__()
        check_widths("encoder", encoder)
        check_widths("decoder", decoder or (), least=0)
        check_choice("output_activation", output_activation, ("linear", "sigmoid"))
        check_choice("code_activation", code_activation, ("same", "linear"))
        if sparsity < 0:
            raise UsageError(f"sparsity={sparsity!r}: is a weight; give 0 or more.")
        if not 0 < active < 1:
            raise UsageError(f"active={active!r}: is a mean activation; give a number between 0 and 1.")
        if sparsity and (activation != "sigmoid" or code_activation != "same"):
            raise UsageError(f"sparsity={sparsity!r}: needs a code between 0 and 1; give --activation sigmoid.")
        self.sparsity, self.active = sparsity, active
        self.fixed_size, self.outputs = size, outputs
        self.normalize = Normalize(channels)
        self.kept = Kept()
        units = channels * size[0] * size[1]
        down: list[nn.Module] = [nn.Flatten()]  # (B, C, H, W) -> (B, C·H·W)
        for width in encoder:
            down += [nn.Linear(units, width), activation_layer(activation)]
            units = width
        if code_activation == "linear":
            down.pop()  # the last activation
        up: list[nn.Module] = []
        # the encoder's widths in reverse, without the code itself, mirror it
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
        with torch.no_grad():  # start near a flat image: a huge error at the start would kill the code's ReLUs
            last.weight.mul_(0.1)

    def encode(self, images: Tensor) -> Tensor:
        """The codes of images (B, C, H, W): (B, encoder[-1])."""
        codes: Tensor = self.encoder(self.normalize(images))
        return codes

    def penalty(self, code: Tensor) -> Tensor:
        """The weighted KL(active ‖ mean activation), summed over the units of a sparse code (B, K) (Ng 2011, p. 15)."""
        mean = averaged(code.mean(0)).clamp(1e-6, 1 - 1e-6)  # (K,); its logarithms must be finite
        goal = self.active
        return self.sparsity * (goal * (goal / mean).log() + (1 - goal) * ((1 - goal) / (1 - mean)).log()).sum()

    def filters(self) -> dict[str, Tensor]:
        """The weights of each encoder layer that has an activation, (units, inputs), by the layer's name."""
        layers = list(self.encoder)
        return {
            f"encoder.{place}": layer.weight
            for place, layer in enumerate(layers)
            if isinstance(layer, nn.Linear) and place + 1 < len(layers)
        }

    def merged(self, groups: Groups) -> Self:
        """A smaller model in which each group of units is replaced by its mean."""
        options = dict(self.description["options"])
        dense = [
            (f"encoder.{place}", layer) for place, layer in enumerate(self.encoder) if isinstance(layer, nn.Linear)
        ]
        options["encoder"] = tuple(len(groups.get(name, range(layer.out_features))) for name, layer in dense)
        # without its last layer, whose units are the image's pixels
        options["decoder"] = tuple(layer.out_features for layer in self.decoder if isinstance(layer, nn.Linear))[:-1]
        weights = joined(self.encoder, groups, "encoder") | joined(self.decoder, groups, "decoder", dense[-1][0])
        return rebuilt(self, options, weights)

    def forward(self, images: Tensor) -> Tensor:  # (B, C, H, W) -> (B, outputs, H, W)
        flat: Tensor = self.decoder(self.encode(images))  # (B, outputs·H·W)
        return flat.reshape(-1, self.outputs, *self.fixed_size)
