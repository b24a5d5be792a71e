# SPDX-License-Identifier: Apache-2.0
"""What generative adversarial networks share: two players in one model, each a module with its own optimiser."""

from __future__ import annotations

from typing import ClassVar, final

import torch
from torch import Tensor, nn

from pellucid.models._contract import OutputKind
from pellucid.models._layers import Normalize

__all__ = ["Adversaries", "Discriminator"]


@final
class Discriminator(nn.Module):
    """Images (B, C, H, W) in [0, 1] to one score each, (B, 1): the higher, the more real."""

    def __init__(self, channels: int, layers: nn.Module) -> None:
        super().__init__()
        self.normalize = Normalize(channels)
        self.layers = layers

    def forward(self, images: Tensor) -> Tensor:  # (B, C, H, W) -> (B, 1)
        score: Tensor = self.layers(self.normalize(images))
        return score


class Adversaries(nn.Module):
    """A generator and a discriminator (Goodfellow et al. 2014); called on images, the model is its discriminator.

    Args:
        generator: (B, latent) standard normal numbers -> (B, C, H, W) in [0, 1].
        discriminator: (B, C, H, W) -> (B, 1).
        latent: how many numbers a picture is generated from.
    """

    output: ClassVar[OutputKind] = "adversarial"

    def __init__(self, generator: nn.Module, discriminator: Discriminator, latent: int) -> None:
        super().__init__()
        self.generator, self.discriminator, self.latent = generator, discriminator, latent

    @property
    def normalize(self) -> Normalize:
        """The first layer of the discriminator; the generator's pictures are in [0, 1] already."""
        return self.discriminator.normalize

    def forward(self, images: Tensor, codes: Tensor | None = None) -> Tensor:
        """D(x), (B, 1), for images (B, C, H, W), or D(G(z)) if there are codes z (B, latent)."""
        score: Tensor = self.discriminator(images if codes is None else self.generator(codes))
        return score

    def through(self, images: Tensor) -> tuple[Tensor]:
        """Further arguments with which `forward` passes through both players: codes."""
        return (torch.zeros(len(images), self.latent, device=images.device),)
