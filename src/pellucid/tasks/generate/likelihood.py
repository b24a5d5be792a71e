# SPDX-License-Identifier: Apache-2.0
"""What a variational autoencoder minimises and is measured by: log p(x), from below and by importance sampling."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, final

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from pellucid.data.targets import Target
from pellucid.tasks.generate import chance

__all__ = [
    "COLLAPSED",
    "Drawn",
    "Pixels",
    "Reconstruction",
    "importance",
    "latent_loss",
    "plain",
]

COLLAPSED = 0.01  # nats: a dimension whose mean KL is less says nothing about any image
_NUMBERS = 8_000_000  # decoded at once
_FINEST = math.log(1 / (12 * 255**2))  # a pixel's density stops at the variance of rounding to 8 bits


@final
@dataclass(frozen=True)
class Drawn(Target):
    """The pictures (B, C, H, W) in [0, 1] that are to be made, and a seed an image for everything random about it."""

    pixels: Tensor
    seeds: Tensor  # (B,) int64


@final
@dataclass(frozen=True)
class Reconstruction(Target):
    """What a code stands for: the picture (B, C, H, W) in [0, 1], with the code's mean and deviation, (B, latent)."""

    pixels: Tensor
    mean: Tensor
    deviation: Tensor


@final
@dataclass(frozen=True)
class Pixels:
    """p(x|z): a Bernoulli or a Gaussian a pixel, independent given z.

    >>> Pixels("gaussian", 1.0).log_probability(torch.zeros(1, 1, 1, 1), torch.full((1, 1, 1, 1), 0.5)).item()
    -0.9189385175704956
    """

    kind: str  # "bernoulli" | "gaussian"
    variance: float | None  # None: of a Gaussian, learned: one a channel

    def outputs(self, channels: int) -> int:
        """How many maps a decoder gives."""
        return 2 * channels if self.kind == "gaussian" and self.variance is None else channels

    def pictures(self, decoded: Tensor) -> Tensor:
        """The mean pictures (…, C, H, W) in [0, 1] of what was decoded, (…, outputs, H, W)."""
        return self._split(decoded)[0].sigmoid()

    def log_probability(self, decoded: Tensor, images: Tensor) -> Tensor:
        """log p(x|z) in nats, (…): of a Gaussian the log-density of pixels as real numbers in [0, 1]."""
        raw, log_variance = self._split(decoded)
        if self.kind == "bernoulli":
            return -F.binary_cross_entropy_with_logits(raw, images.expand_as(raw), reduction="none").sum((-3, -2, -1))
        squares = (images - raw.sigmoid()) ** 2 * torch.exp(-log_variance)
        return -0.5 * (squares + log_variance + math.log(2 * math.pi)).sum((-3, -2, -1))

    def _split(self, decoded: Tensor) -> tuple[Tensor, Tensor]:
        if self.kind == "gaussian" and self.variance is None:
            raw, log_variance = decoded.chunk(2, dim=-3)
            return raw, log_variance.clamp_min(_FINEST)
        known = math.log(self.variance) if self.variance is not None else 0.0
        return decoded, torch.full((), known, device=decoded.device)


def latent_loss(mean: Tensor, log_variance: Tensor) -> Tensor:
    """KL(N(μ, σ²) ‖ N(0, 1)) in nats, (B, latent) (Kingma & Welling 2014, app. B).

    >>> latent_loss(torch.tensor([[0.0, 1.0]]), torch.zeros(1, 2)).tolist()
    [[0.0, 0.5]]
    """
    return 0.5 * (mean**2 + log_variance.exp() - 1 - log_variance)


def plain(model: nn.Module) -> Any:
    """The model itself, where it is wrapped for several processes or compiled."""
    inner = getattr(model, "module", model)
    return getattr(inner, "_orig_mod", inner)


@torch.no_grad()
def importance(
    model: nn.Module, pixels: Pixels, images: Tensor, target: Drawn, samples: int
) -> tuple[Tensor, Tensor, Tensor]:
    """log p(x) by K importance samples (Burda et al. 2016, eq. 8), its sampling error, and the bound of one, (B,) each.

    log 1/K Σ_k p(x, z_k) / q(z_k|x) with z_k from q(z|x); its expectation is at most log p(x) and rises with K. The error is
    by the delta method: the relative standard error of the mean weight.

    Args:
        images: what the encoder sees, (B, C, H, W).
        target: what is explained, with the seeds of the noise.
        samples: K.
    """
    inner = plain(model)
    mean, log_variance = inner.encode(images)
    deviation = torch.exp(0.5 * log_variance)
    batch, latent = mean.shape
    at_once = max(1, min(samples, _NUMBERS // max(1, target.pixels.numel())))
    weights = []
    for start in range(0, samples, at_once):
        count = min(at_once, samples - start)
        noise = chance.normal(target.seeds, count * latent, stream=1 + start).view(batch, count, latent)
        codes = mean[:, None] + deviation[:, None] * noise
        decoded = inner.decode(codes.flatten(0, 1)).unflatten(0, (batch, count))  # (B, count, outputs, H, W)
        prior_over_guess = 0.5 * (noise**2 + log_variance[:, None] - codes**2).sum(2)
        weights.append(pixels.log_probability(decoded, target.pixels[:, None]) + prior_over_guess)
    log_weights = torch.cat(weights, dim=1)  # (B, K)
    log_p = torch.logsumexp(log_weights, dim=1) - math.log(samples)
    shares = torch.exp(log_weights - log_p[:, None])  # of mean 1
    error = shares.std(dim=1, correction=1) / math.sqrt(samples) if samples > 1 else torch.full_like(log_p, math.nan)
    return log_p, error, log_weights.mean(1)
