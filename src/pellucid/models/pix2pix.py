# SPDX-License-Identifier: Apache-2.0
"""A U-Net with a discriminator of patches, for adversarial losses (Isola et al. 2017)."""

from __future__ import annotations

from typing import ClassVar, Literal, final

from torch import Tensor, nn
from torch.nn.utils.parametrizations import spectral_norm

from pellucid.models._contract import OutputKind
from pellucid.models._layers import Normalize, check_widths
from pellucid.models.unet import Unet

__all__ = ["Pix2pix"]


@final
class Pix2pix(nn.Module):
    """A U-Net, and a critic that scores how real each patch of a picture looks, given the input.

    Only tasks with an adversarial loss train the critic; for others this is a U-Net.

    >>> import torch
    >>> model = Pix2pix(2, 1, (32, 32), widths=(4, 8), critic_widths=(4, 8))
    >>> input, picture = torch.zeros(2, 2, 32, 32), torch.zeros(2, 1, 32, 32)
    >>> model(input).shape, model.critic(torch.cat([input, picture], dim=1)).shape
    (torch.Size([2, 1, 32, 32]), torch.Size([2, 1, 8, 8]))

    Args:
        channels: channels of the input: 1 or 3 of the image, and one more for a mask of missing pixels.
        outputs: channels of the output.
        size: (H, W) of the training images in px.
        widths: the U-Net's channels at each scale.
        convolution: the U-Net's kind of convolution: plain, partial or gated.
        critic_widths: the critic's channels; each layer halves the resolution.

    Raises:
        UsageError: no width or one below 1, or a convolution that needs a mask without one.
    """

    output: ClassVar[OutputKind] = "map"
    fixed_size: ClassVar[None] = None
    critic: nn.Module  # trained by adversarial losses, beside the U-Net

    def __init__(
        self,
        channels: int,
        outputs: int,
        size: tuple[int, int],
        widths: tuple[int, ...] = (32, 64, 128, 256),
        convolution: Literal["plain", "partial", "gated"] = "plain",
        critic_widths: tuple[int, ...] = (32, 64, 128),
    ) -> None:
        super().__init__()
        check_widths("critic_widths", critic_widths)
        self.generator = Unet(channels, outputs, size, widths, convolution=convolution)
        layers: list[nn.Module] = []
        inner = channels + outputs
        for width in critic_widths:  # spectral norm bounds the critic's Lipschitz constant (Miyato et al. 2018)
            layers += [spectral_norm(nn.Conv2d(inner, width, 4, stride=2, padding=1)), nn.LeakyReLU(0.2)]
            inner = width
        self.critic = nn.Sequential(*layers, spectral_norm(nn.Conv2d(inner, 1, 3, padding=1)))

    @property
    def normalize(self) -> Normalize:
        """The U-Net's first layer."""
        return self.generator.normalize

    def forward(self, images: Tensor) -> Tensor:  # (B, C, H, W) -> (B, outputs, H, W)
        pictures: Tensor = self.generator(images)
        return pictures
