# SPDX-License-Identifier: Apache-2.0
"""The convolutional variational autoencoder: halving convolutions to a Gaussian over codes, doubling ones back."""

from __future__ import annotations

from functools import partial
from typing import Literal, Protocol, final

from torch import Tensor, nn

from pellucid.errors import UsageError
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
        blocks: residual blocks of two convolutions each, in both halves where the maps are smallest; with any, the decoder's last
            doubling is a convolution to the four pixels that one becomes (Shi et al. 2016, sec. 3.2), which costs a fraction.
        batch_norm: normalise over the batch before each of these functions.

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
        blocks: int = 0,
        batch_norm: bool = False,
    ) -> None:
        check_widths("widths", widths)
        check_widths("hidden", (hidden,))
        check_latent(latent, channels, size)
        if blocks < 0:
            raise UsageError(f"blocks={blocks}: must not be negative; give e.g. 1, or 0 for none.")
        height, width = halvings("conv_vae", size, len(widths))
        smallest, maps = widths[-1], (widths[-1], height, width)
        flat = smallest * height * width
        activated: _Activated = partial(_activated, activation, batch_norm)
        residual = [_Block(smallest, activated) for _ in range(2 * blocks)]
        # (B, channels, H, W) -> (B, widths[-1], H/2ⁿ, W/2ⁿ) -> (B, hidden)
        down: list[nn.Module] = [Pad(2 ** len(widths))]
        for inner, outer in zip((channels, *widths[:-1]), widths[:-1], strict=False):
            down += [nn.Conv2d(inner, outer, 4, stride=2, padding=1), *activated(outer)]
        down += [
            nn.Conv2d((channels, *widths)[-2], smallest, 4, stride=2, padding=1),
            *residual[:blocks],
            *activated(smallest),
        ]
        down += [nn.Flatten(), nn.Linear(flat, hidden), *activated(hidden, flat=True)]
        # (B, latent) -> (B, hidden) -> (B, widths[-1], H/2ⁿ, W/2ⁿ) -> (B, channels, H, W)
        up: list[nn.Module] = [nn.Linear(latent, hidden), *activated(hidden, flat=True), nn.Linear(hidden, flat)]
        up += [nn.Unflatten(1, maps), *residual[blocks:], *activated(smallest)]
        doublings = list(zip(reversed(widths), (*reversed(widths[:-1]), widths[0]), strict=True))
        for inner, outer in doublings[: -1 if blocks else None]:
            # the stride divides the kernel, so that no checkerboard arises (Odena et al. 2016)
            up += [nn.ConvTranspose2d(inner, outer, 4, stride=2, padding=1), *activated(outer)]
        code, last = nn.Linear(hidden, 2 * latent), nn.Conv2d(widths[0], channels * (4 if blocks else 1), 3, padding=1)
        shuffled = [nn.PixelShuffle(2)] if blocks else []
        into, out = nn.Sequential(*down, code), nn.Sequential(*up, last, *shuffled, Crop(size))
        for half in (into, out):
            initialise(half, "he" if "relu" in activation else "xavier")
        for linear in (code, last):
            initialise(linear, "xavier")  # no activation follows
        for block in residual:
            initialise(block.layers[-1], "zero")  # at first a block changes nothing
        super().__init__(channels, outputs, into, out, latent)
        self.fixed_size = size


class _Activated(Protocol):
    """The layers between two convolutions or dense layers."""

    def __call__(self, channels: int, flat: bool = False) -> list[nn.Module]: ...


def _activated(activation: str, batch_norm: bool, channels: int, flat: bool = False) -> list[nn.Module]:
    """The activation after a layer with so many channels or, where flat, units; batch norm before it where it was asked for."""
    norm: list[nn.Module] = [nn.BatchNorm1d(channels) if flat else nn.BatchNorm2d(channels)] if batch_norm else []
    return [*norm, activation_layer(activation)]


class _Block(nn.Module):
    """x + two convolutions of x, each after an activation (He et al. 2016, "Identity mappings in deep residual networks")."""

    def __init__(self, channels: int, activated: _Activated) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        for _ in range(2):
            layers += [*activated(channels), nn.Conv2d(channels, channels, 3, padding=1)]
        self.layers = nn.Sequential(*layers)

    def forward(self, maps: Tensor) -> Tensor:  # (B, C, H, W) -> (B, C, H, W)
        changed: Tensor = maps + self.layers(maps)
        return changed
