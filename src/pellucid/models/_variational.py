# SPDX-License-Identifier: Apache-2.0
"""What variational autoencoders share: an encoder to a Gaussian over codes, a decoder to a distribution of pictures."""

from __future__ import annotations

from typing import ClassVar

import torch
from torch import Tensor, nn

from pellucid.errors import UsageError
from pellucid.models._contract import Distribution, OutputKind
from pellucid.models._layers import Normalize, check_widths

__all__ = ["Variational", "check_latent"]

_LOG_VARIANCE = (-12.0, 12.0)  # of a code: beyond these, its exponential can overflow in the first steps
_START = -3.0  # log-variance of pixels in [0, 1]: a standard deviation of 0.22


class Variational(nn.Module):
    """q(z|x) = N(μ, diag σ²) by `encoder`, p(x|z) by `decoder`, p(z) = N(0, I) (Kingma & Welling 2014).

    `kl_weight`, the weight of the KL term, is a buffer: the training may raise it, and it is saved with the model.

    Args:
        channels: channels of the images.
        outputs: channels of the decoder's output; each one beyond the images' own is a learned constant, such as a
            log-variance that all pixels share.
        encoder: (B, C, H, W) -> (B, 2·latent): μ and log σ².
        decoder: (B, latent) -> (B, channels, H, W).
        latent: dimensions of the code.
    """

    output: ClassVar[OutputKind] = "distribution"
    kl_weight: Tensor

    def __init__(self, channels: int, outputs: int, encoder: nn.Module, decoder: nn.Module, latent: int) -> None:
        super().__init__()
        self.latent = latent
        self.normalize = Normalize(channels)
        self.encoder, self.decoder = encoder, decoder
        spare = outputs - channels
        self.constant = nn.Parameter(torch.full((spare, 1, 1), _START)) if spare > 0 else None
        self.register_buffer("kl_weight", torch.ones(()))

    def encode(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """μ and log σ² of the codes of images (B, C, H, W), (B, latent) float32 each."""
        mean, log_variance = self.encoder(self.normalize(images)).float().chunk(2, dim=1)
        return mean, log_variance.clamp(*_LOG_VARIANCE)

    def decode(self, codes: Tensor) -> Tensor:
        """The decoded distribution of codes (B, latent), (B, outputs, H, W) float32: logits or means, and the constants."""
        decoded: Tensor = self.decoder(codes).float()
        if self.constant is None:
            return decoded
        return torch.cat([decoded, self.constant.expand(len(decoded), -1, *decoded.shape[2:])], dim=1)

    def forward(self, images: Tensor, noise: Tensor | None = None) -> Tensor | Distribution:
        """The decoded mean code, (B, outputs, H, W); with `noise` ε the decoded z = μ + σ·ε, and μ and log σ².

        Noise (B, latent) makes one code of each image, and (B, K, latent) K of them.
        """
        mean, log_variance = self.encode(images)
        if noise is None:
            return self.decode(mean)
        deviation = torch.exp(0.5 * log_variance)
        if noise.ndim == 2:
            return Distribution(self.decode(mean + deviation * noise), mean, log_variance)
        codes = mean[:, None] + deviation[:, None] * noise  # (B, K, latent)
        return Distribution(self.decode(codes.flatten(0, 1)).unflatten(0, codes.shape[:2]), mean, log_variance)


def check_latent(latent: int, channels: int, size: tuple[int, int]) -> None:
    """Refuse a code without dimensions, or with more than the image has numbers.

    >>> check_latent(65, 1, (8, 8))
    Traceback (most recent call last):
    pellucid.errors.UsageError: latent=65: is more than the 64 numbers of a 1×8×8 image; give at most 64.
    """
    check_widths("latent", (latent,))
    numbers = channels * size[0] * size[1]
    if latent > numbers:
        raise UsageError(
            f"latent={latent}: is more than the {numbers} numbers of a {channels}×{size[0]}×{size[1]} image; "
            f"give at most {numbers}."
        )
