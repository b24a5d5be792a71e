# SPDX-License-Identifier: Apache-2.0
"""The dense generative adversarial network: a generator of pictures, and a discriminator between them and real ones."""

from __future__ import annotations

from typing import final

from torch import nn

from pellucid.models._adversaries import Adversaries, Discriminator
from pellucid.models._layers import check_share, check_widths, initialise

__all__ = ["Gan"]

_SLOPE = 0.2  # of leaky ReLUs below zero (Radford et al. 2016)


@final
class Gan(Adversaries):
    """Dense layers from noise to a picture, and dense layers from a picture to a score: is it real?

    >>> import torch
    >>> model = Gan(1, 1, (8, 8), latent=16)
    >>> model.generator(torch.zeros(3, 16)).shape, model(torch.zeros(2, 1, 8, 8)).shape
    (torch.Size([3, 1, 8, 8]), torch.Size([2, 1]))

    Args:
        channels: of the images, 1 or 3.
        outputs: channels of the pictures.
        size: (H, W) of the images in px, which is the only size it takes.
        generator: units of each hidden layer of the generator.
        discriminator: units of each hidden layer of the discriminator; by default the generator's in reverse.
        latent: standard normal numbers from which a picture is generated.
        dropout: share of the discriminator's hidden units dropped in training.

    Raises:
        UsageError: an option out of range.
    """

    def __init__(
        self,
        channels: int,
        outputs: int,
        size: tuple[int, int],
        generator: tuple[int, ...] = (256, 512),
        discriminator: tuple[int, ...] | None = None,
        latent: int = 64,
        dropout: float = 0.3,
    ) -> None:
        check_widths("generator", generator)
        check_widths("discriminator", discriminator or (), least=0)
        check_widths("latent", (latent,))
        check_share("dropout", dropout)
        pixels = size[0] * size[1]
        up: list[nn.Module] = []  # (B, latent) -> (B, outputs, H, W)
        for inner, width in zip((latent, *generator), generator, strict=False):
            up += [nn.Linear(inner, width), nn.BatchNorm1d(width), nn.LeakyReLU(_SLOPE)]
        up += [nn.Linear(generator[-1], outputs * pixels), nn.Sigmoid(), nn.Unflatten(1, (outputs, *size))]
        hidden = discriminator if discriminator is not None else tuple(reversed(generator))
        down: list[nn.Module] = [nn.Flatten()]  # (B, channels, H, W) -> (B, 1)
        for inner, width in zip((channels * pixels, *hidden), hidden, strict=False):
            down += [nn.Linear(inner, width), nn.LeakyReLU(_SLOPE), *([nn.Dropout(dropout)] if dropout else [])]
        down.append(nn.Linear((channels * pixels, *hidden)[-1], 1))
        pictures, scores = nn.Sequential(*up), nn.Sequential(*down)
        initialise(pictures, "xavier")
        initialise(scores, "xavier")
        super().__init__(pictures, Discriminator(channels, scores), latent)
        self.fixed_size = size
