# SPDX-License-Identifier: Apache-2.0
"""The convolutional generative adversarial network, after DCGAN (Radford et al. 2016)."""

from __future__ import annotations

from typing import Literal, final

from torch import nn
from torch.nn.utils.parametrizations import spectral_norm

from pellucid.errors import check_choice
from pellucid.models._adversaries import Adversaries, Discriminator
from pellucid.models._convolutional import Crop, Pad, halvings
from pellucid.models._layers import check_share, check_widths, initialise

__all__ = ["ConvGan"]

_SLOPE = 0.2  # of leaky ReLUs below zero (Radford et al. 2016)


@final
class ConvGan(Adversaries):
    """A generator from noise to a small map and up by doubling convolutions, and a discriminator of halving ones.

    >>> import torch
    >>> model = ConvGan(1, 1, (28, 28), widths=(8, 16), latent=16)
    >>> model.generator(torch.zeros(3, 16)).shape, model(torch.zeros(2, 1, 28, 28)).shape
    (torch.Size([3, 1, 28, 28]), torch.Size([2, 1]))

    Args:
        channels: of the images, 1 or 3.
        outputs: channels of the pictures.
        size: (H, W) of the images in px, which is the only size it takes.
        widths: channels of the discriminator after each halving; the generator has them in reverse.
        latent: standard normal numbers from which a picture is generated.
        dropout: share of the discriminator's last maps dropped in training.
        norm: normalisation in the discriminator; none keeps the gradients of images independent, as a gradient penalty needs
            (Gulrajani et al. 2017, sec. 4); batch, after all layers but the first (Radford et al. 2016, sec. 3), lets it see
            how similar the pictures of a batch are; spectral divides each layer by its largest singular value (Miyato et al.
            2018).

    Raises:
        UsageError: an option out of range, or more halvings than the image allows.
    """

    def __init__(
        self,
        channels: int,
        outputs: int,
        size: tuple[int, int],
        widths: tuple[int, ...] = (32, 64, 128),
        latent: int = 64,
        dropout: float = 0.0,
        norm: Literal["batch", "spectral", "none"] = "none",
    ) -> None:
        check_widths("widths", widths)
        check_widths("latent", (latent,))
        check_share("dropout", dropout)
        check_choice("norm", norm, ("batch", "spectral", "none"))
        height, width = halvings("conv_gan", size, len(widths))
        maps = (widths[-1], height, width)  # the smallest map, where both networks meet their dense layer
        # (B, latent) -> (B, widths[-1], H/2ⁿ, W/2ⁿ) -> … -> (B, outputs, H, W); batch norm replaces the biases
        up: list[nn.Module] = [nn.Linear(latent, widths[-1] * height * width, bias=False), nn.Unflatten(1, maps)]
        up += [nn.BatchNorm2d(widths[-1]), nn.ReLU()]
        narrower = (*reversed(widths[:-1]), max(1, widths[0] // 2))
        for inner, outer in zip(reversed(widths), narrower, strict=True):
            # the stride divides the kernel, so that no checkerboard arises (Odena et al. 2016)
            up += [nn.ConvTranspose2d(inner, outer, 4, stride=2, padding=1, bias=False)]
            up += [nn.BatchNorm2d(outer), nn.ReLU()]
        up += [nn.Conv2d(narrower[-1], outputs, 3, padding=1), Crop(size), nn.Sigmoid()]
        # (B, channels, H, W) -> … -> (B, widths[-1], H/2ⁿ, W/2ⁿ) -> (B, 1)
        down: list[nn.Module] = [Pad(2 ** len(widths))]
        for place, (inner, outer) in enumerate(zip((channels, *widths), widths, strict=False)):
            down.append(nn.Conv2d(inner, outer, 4, stride=2, padding=1))
            if norm == "batch" and place:
                down.append(nn.BatchNorm2d(outer))
            down.append(nn.LeakyReLU(_SLOPE))
        down += [nn.Flatten(), *([nn.Dropout(dropout)] if dropout else []), nn.Linear(widths[-1] * height * width, 1)]
        generator, discriminator = nn.Sequential(*up), nn.Sequential(*down)
        initialise(generator, "xavier")
        initialise(discriminator, "xavier")
        if norm == "spectral":
            for layer in discriminator:
                if isinstance(layer, (nn.Conv2d, nn.Linear)):
                    spectral_norm(layer)
        super().__init__(generator, Discriminator(channels, discriminator), latent)
        self.fixed_size = size
