# SPDX-License-Identifier: Apache-2.0
"""A network that paints pictures with a discriminator, for adversarial losses (Isola et al. 2017)."""

from __future__ import annotations

from typing import ClassVar, Literal, final

from torch import Tensor, nn

from pellucid.errors import UsageError, check_choice
from pellucid.models._contract import OutputKind
from pellucid.models._layers import Normalize, check_widths
from pellucid.models.coarse_to_fine import CoarseToFine
from pellucid.models.lama import Lama
from pellucid.models.pix2pix.critics import GlobalLocal, patches
from pellucid.models.unet import Unet

__all__ = ["Pix2pix"]


@final
class Pix2pix(nn.Module):
    """A U-Net, `lama` or `coarse_to_fine`, and a critic that scores how real a picture or each patch of it looks, given the input.

    Only tasks with an adversarial loss train the critic; for others this is the generator alone.

    >>> import torch
    >>> model = Pix2pix(2, 1, (32, 32), widths=(4, 8), critic_widths=(4, 8))
    >>> input, picture = torch.zeros(2, 2, 32, 32), torch.zeros(2, 1, 32, 32)
    >>> model(input).shape, model.critic(torch.cat([input, picture], dim=1)).shape
    (torch.Size([2, 1, 32, 32]), torch.Size([2, 1, 8, 8]))

    Args:
        channels: channels of the input: 1 or 3 of the image, and one more for a mask of missing pixels.
        outputs: channels of the output.
        size: (H, W) of the training images in px.
        widths: the generator's channels at each scale.
        convolution: the U-Net's kind of convolution: plain, partial or gated.
        critic_widths: the critic's channels; each layer halves the resolution.
        generator: the network that paints: unet; lama, which sees the whole picture; or coarse_to_fine, which copies patches of it.
        judge: what the critic judges: patches, or global_local: the whole picture and the 64×64 px around the hole together
            (Iizuka et al. 2017), which needs a mask.

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
        generator: Literal["unet", "lama", "coarse_to_fine"] = "unet",
        judge: Literal["patches", "global_local"] = "patches",
    ) -> None:
        super().__init__()
        check_widths("critic_widths", critic_widths)
        check_choice("generator", generator, ("unet", "lama", "coarse_to_fine"))
        check_choice("judge", judge, ("patches", "global_local"))
        self.generator: Unet | Lama | CoarseToFine
        if generator != "unet":
            if convolution != "plain":
                raise UsageError(f"convolution={convolution!r}: is an option of generator='unet'; leave it out.")
            kind = Lama if generator == "lama" else CoarseToFine
            self.generator = kind(channels, outputs, size, widths)
        else:
            self.generator = Unet(channels, outputs, size, widths, convolution=convolution)
        if judge == "patches":
            self.critic = patches(channels + outputs, critic_widths)
        elif channels % 2:  # images have 1 or 3 channels: an even number includes a mask, as the last
            raise UsageError(f"judge={judge!r}: looks around holes, and this task has none; choose patches.")
        else:
            self.critic = GlobalLocal(channels + outputs, channels - 1, critic_widths)

    @property
    def normalize(self) -> Normalize:
        """The generator's first layer."""
        return self.generator.normalize

    @property
    def refines(self) -> bool:
        """Whether the generator answers in stages."""
        return isinstance(self.generator, CoarseToFine)

    def forward(self, images: Tensor, stages: bool = False) -> Tensor | tuple[Tensor, ...]:
        """Images (B, C, H, W) to pictures (B, outputs, H, W); with `stages` those of each of the generator's stages."""
        pictures: Tensor | tuple[Tensor, ...] = (
            self.generator(images, stages=True) if stages else self.generator(images)
        )
        return pictures
