# SPDX-License-Identifier: Apache-2.0
"""The convolutional variational autoencoder: halving convolutions to a Gaussian over codes, doubling ones back."""

from __future__ import annotations

from typing import Literal, final

from torch import nn

from pellucid.models._convolutional import Crop, Pad, halvings
from pellucid.models._layers import activation_layer, check_widths, initialise
from pellucid.models._variational import Variational, check_latent

__all__ = ["ConvVae"]


@final
class ConvVae(Variational):
    """Convolutions that halve the image, a dense layer to the mean and log-variance of a code, and the same back.

    >>> import torch
    >>> model = ConvVae(1, 1, (28, 28), widths=(8, 16), hidden=32, latent=8)
    >>> model.encode(torch.zeros(2, 1, 28, 28))[0].shape, model(torch.zeros(2, 1, 28, 28)).shape
    (torch.Size([2, 8]), torch.Size([2, 1, 28, 28]))

    Args:
        channels: of the images, 1 or 3.
        outputs: channels of the decoder's output; those beyond the images' own are constants, such as a shared log-variance.
        size: (H, W) of the images in px, which is the only size it takes.
        widths: channels after each halving.
        hidden: units of the dense layer between the convolutions and the code.
        latent: dimensions of the code.
        activation: function between the layers.

    Raises:
        UsageError: an option out of range, or more halvings than the image allows.
    """

    def __init__(
        self,
        channels: int,
        outputs: int,
        size: tuple[int, int],
        widths: tuple[int, ...] = (32, 64),
        hidden: int = 256,
        latent: int = 50,
        activation: Literal["relu", "sigmoid", "tanh", "leaky_relu"] = "leaky_relu",
    ) -> None:
        check_widths("widths", widths)
        check_widths("hidden", (hidden,))
        check_latent(latent, channels, size)
        height, width = halvings("conv_vae", size, len(widths))
        maps = (widths[-1], height, width)
        # (B, channels, H, W) -> (B, widths[-1], H/2ⁿ, W/2ⁿ) -> (B, hidden)
        down: list[nn.Module] = [Pad(2 ** len(widths))]
        for inner, outer in zip((channels, *widths), widths, strict=False):
            down += [nn.Conv2d(inner, outer, 4, stride=2, padding=1), activation_layer(activation)]
        down += [nn.Flatten(), nn.Linear(widths[-1] * height * width, hidden), activation_layer(activation)]
        # (B, latent) -> (B, hidden) -> (B, widths[-1], H/2ⁿ, W/2ⁿ) -> (B, channels, H, W)
        up: list[nn.Module] = [nn.Linear(latent, hidden), activation_layer(activation)]
        up += [nn.Linear(hidden, widths[-1] * height * width), activation_layer(activation), nn.Unflatten(1, maps)]
        narrower = (*reversed(widths[:-1]), widths[0])
        for inner, outer in zip(reversed(widths), narrower, strict=True):
            # the stride divides the kernel, so that no checkerboard arises (Odena et al. 2016)
            up += [nn.ConvTranspose2d(inner, outer, 4, stride=2, padding=1), activation_layer(activation)]
        code, last = nn.Linear(hidden, 2 * latent), nn.Conv2d(widths[0], channels, 3, padding=1)
        into, out = nn.Sequential(*down, code), nn.Sequential(*up, last, Crop(size))
        for half in (into, out):
            initialise(half, "he" if "relu" in activation else "xavier")
        for linear in (code, last):
            initialise(linear, "xavier")  # no activation follows
        super().__init__(channels, outputs, into, out, latent)
        self.fixed_size = size
