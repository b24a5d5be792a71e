# SPDX-License-Identifier: Apache-2.0
"""The dense variational autoencoder: an image to a Gaussian over codes, and a code to a distribution of images."""

from __future__ import annotations

from itertools import pairwise
from typing import Literal, final

from torch import nn

from pellucid.models._layers import activation_layer, check_widths, initialise
from pellucid.models._variational import Variational, check_latent

__all__ = ["Vae"]


@final
class Vae(Variational):
    """Dense layers to the mean and log-variance of a code, and dense layers back to the picture.

    >>> import torch
    >>> model = Vae(1, 1, (28, 28), encoder=(200,), latent=8)
    >>> [part.shape for part in model.encode(torch.zeros(2, 1, 28, 28))], model.decode(torch.zeros(3, 8)).shape
    ([torch.Size([2, 8]), torch.Size([2, 8])], torch.Size([3, 1, 28, 28]))

    Args:
        channels: of the images, 1 or 3.
        outputs: channels of the decoder's output; those beyond the images' own are constants, such as a shared log-variance.
        size: (H, W) of the images in px, which is the only size it takes.
        encoder: units of each hidden layer of the encoder.
        decoder: units of each hidden layer of the decoder; by default the encoder's in reverse.
        latent: dimensions of the code.
        activation: function between the layers.
        batch_norm: normalise over the batch before each of these functions (Sønderby et al. 2016, sec. 3): fewer epochs reach the same.

    Raises:
        UsageError: an option out of range.
    """

    def __init__(
        self,
        channels: int,
        outputs: int,
        size: tuple[int, int],
        encoder: tuple[int, ...] = (500, 500),
        decoder: tuple[int, ...] | None = None,
        latent: int = 50,
        activation: Literal["relu", "sigmoid", "tanh", "leaky_relu"] = "leaky_relu",
        batch_norm: bool = False,
    ) -> None:
        check_widths("encoder", encoder)
        check_widths("decoder", decoder or (), least=0)
        check_latent(latent, channels, size)
        pixels = channels * size[0] * size[1]
        back = decoder if decoder is not None else tuple(reversed(encoder))
        # (B, C, H, W) -> (B, 2·latent): mean and log-variance
        into = nn.Sequential(nn.Flatten(), *_layers((pixels, *encoder, 2 * latent), activation, batch_norm))
        # (B, latent) -> (B, C, H, W)
        layers = _layers((latent, *back, pixels), activation, batch_norm)
        out = nn.Sequential(*layers, nn.Unflatten(1, (channels, *size)))
        super().__init__(channels, outputs, into, out, latent)
        self.fixed_size = size


def _layers(units: tuple[int, ...], activation: str, batch_norm: bool) -> list[nn.Module]:
    """Dense layers with the activation between them; the last layer is linear and gets Xavier's initialisation."""
    layers: list[nn.Module] = []
    for inner, width in pairwise(units[:-1]):
        norm = [nn.BatchNorm1d(width)] if batch_norm else []
        layers += [nn.Linear(inner, width), *norm, activation_layer(activation)]
    made = nn.Sequential(*layers, nn.Linear(units[-2], units[-1]))
    initialise(made, "he" if "relu" in activation else "xavier")
    initialise(made[-1], "xavier")
    return list(made)
