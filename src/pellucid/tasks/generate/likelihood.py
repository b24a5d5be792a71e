# SPDX-License-Identifier: Apache-2.0
"""What a variational autoencoder minimises and is measured by: log p(x), as a lower bound and by importance sampling."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, final

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from pellucid.data.targets import Target
from pellucid.tasks._wrapping import unwrapped
from pellucid.tasks.generate import seeded

__all__ = [
    "COLLAPSED",
    "PixelDistribution",
    "Reconstruction",
    "SeededImages",
    "bound",
    "importance",
    "latent_loss",
    "prior_over_posterior",
    "weighted_bound",
]

COLLAPSED = 0.01
"""nats: a dimension of the code whose mean KL divergence is lower carries no information about the image."""

_NUMBERS = 8_000_000  # decoded at once
_GROUP = 200  # samples whose noise is drawn together
_FINEST = math.log(1 / (12 * 255**2))  # a pixel's density stops at the variance of rounding to 8 bits


@final
@dataclass(frozen=True)
class SeededImages(Target):
    """The images (B, C, H, W) in [0, 1] to be modelled, and the seed of each image's noise."""

    pixels: Tensor
    seeds: Tensor  # (B,) int64


@final
@dataclass(frozen=True)
class Reconstruction(Target):
    """The picture (B, C, H, W) in [0, 1] of each mean code, with the code's mean and standard deviation, (B, latent)."""

    pixels: Tensor
    mean: Tensor
    deviation: Tensor


@final
@dataclass(frozen=True)
class PixelDistribution:
    """p(x|z): a Bernoulli or a Gaussian distribution per pixel, independent given z.

    >>> pixels = PixelDistribution("gaussian", 1.0)
    >>> pixels.log_probability(torch.zeros(1, 1, 1, 1), torch.full((1, 1, 1, 1), 0.5)).item()
    -0.9189385175704956
    """

    kind: str  # "bernoulli" | "gaussian"
    variance: float | None  # of a Gaussian; None: learned, one per channel

    def outputs(self, channels: int) -> int:
        """How many maps the decoder has: means, and log-variances where they are learned."""
        return 2 * channels if self.kind == "gaussian" and self.variance is None else channels

    def pictures(self, decoded: Tensor) -> Tensor:
        """The mean pictures (…, C, H, W) in [0, 1] of the decoder's output (…, outputs, H, W)."""
        return self._split(decoded)[0].sigmoid()

    def log_probability(self, decoded: Tensor, images: Tensor) -> Tensor:
        """log p(x|z) in nats, (…); for a Gaussian the log-density of pixels as real numbers in [0, 1]."""
        logits, log_variance = self._split(decoded)
        if self.kind == "bernoulli":
            cross_entropy = F.binary_cross_entropy_with_logits(logits, images.expand_as(logits), reduction="none")
            return -cross_entropy.sum((-3, -2, -1))
        squares = (images - logits.sigmoid()) ** 2 * torch.exp(-log_variance)
        return -0.5 * (squares + log_variance + math.log(2 * math.pi)).sum((-3, -2, -1))

    def _split(self, decoded: Tensor) -> tuple[Tensor, Tensor]:
        """The logits of the means (…, C, H, W), and the log-variances, of the same shape or one for all."""
        if self.kind == "gaussian" and self.variance is None:
            logits, log_variance = decoded.chunk(2, dim=-3)
            # without a floor, pixels that are always black would drive the density to infinity
            return logits, log_variance.clamp_min(_FINEST)
        known = math.log(self.variance) if self.variance is not None else 0.0
        return decoded, torch.full((), known, device=decoded.device)


def latent_loss(mean: Tensor, log_variance: Tensor) -> Tensor:
    """KL(N(μ, σ²) ‖ N(0, 1)) in nats, (B, latent) (Kingma & Welling 2014, app. B).

    >>> latent_loss(torch.tensor([[0.0, 1.0]]), torch.zeros(1, 2)).tolist()
    [[0.0, 0.5]]
    """
    return 0.5 * (mean**2 + log_variance.exp() - 1 - log_variance)


def prior_over_posterior(mean: Tensor, log_variance: Tensor, noise: Tensor) -> Tensor:
    """log p(z_k) − log q(z_k|x) in nats, (B, K), of codes z_k = μ + σ·ε_k; μ and log σ² are (B, latent), ε (B, K, latent).

    >>> prior_over_posterior(torch.zeros(1, 1), torch.zeros(1, 1), torch.randn(1, 3, 1)).tolist()
    [[0.0, 0.0, 0.0]]
    """
    codes = mean[:, None] + torch.exp(0.5 * log_variance)[:, None] * noise
    return 0.5 * (noise**2 + log_variance[:, None] - codes**2).sum(2)  # their 2π cancel


def weighted_bound(weights: Tensor) -> Tensor:
    """log 1/K Σ_k w_k of log-weights (B, K), (B,): a lower bound of log p(x) in expectation (Burda et al. 2016, eq. 8).

    >>> weighted_bound(torch.tensor([[0.0, math.log(3)]])).exp()
    tensor([2.])
    """
    return torch.logsumexp(weights, dim=1) - math.log(weights.shape[1])


@torch.no_grad()
def bound(
    model: nn.Module, pixels: PixelDistribution, images: Tensor, truth: SeededImages, samples: int, stream: int = 0
) -> Tensor:
    """The importance-weighted bound of log p(x) by K samples, (B,); the same for an image in any batch.

    Args:
        model: with `encode` and `decode`, in eval mode.
        pixels: p(x|z).
        images: the encoder's input, (B, C, H, W).
        truth: the images whose likelihood is bounded, with the seeds of the noise.
        samples: K.
        stream: of the noise.
    """
    inner = unwrapped(model)
    mean, log_variance = inner.encode(images)  # (B, latent) each
    noise = seeded.normal(truth.seeds, samples * mean.shape[1], stream).view(len(mean), samples, -1)
    return weighted_bound(_log_weights(inner, pixels, mean, log_variance, noise, truth))


@torch.no_grad()
def importance(
    model: nn.Module, pixels: PixelDistribution, images: Tensor, truth: SeededImages, samples: int
) -> tuple[Tensor, Tensor, Tensor]:
    """log p(x) by K importance samples (Burda et al. 2016, eq. 8), its sampling error, and the mean one-sample bound, (B,) each.

    log 1/K Σ_k p(x, z_k) / q(z_k|x) with z_k from q(z|x); its expectation is at most log p(x) and rises with K. The error
    follows from the delta method: the relative standard error of the mean weight.

    Args:
        model: with `encode` and `decode`, in eval mode.
        pixels: p(x|z).
        images: the encoder's input, (B, C, H, W).
        truth: the images whose likelihood is estimated, with the seeds of the noise.
        samples: K.
    """
    inner = unwrapped(model)
    mean, log_variance = inner.encode(images)  # (B, latent) each
    batch, latent = mean.shape
    weights = []
    for start in range(0, samples, _GROUP):
        count = min(_GROUP, samples - start)
        # a stream of its own for each group: the samples do not depend on the batch that an image is in
        noise = seeded.normal(truth.seeds, count * latent, stream=1 + start).view(batch, count, latent)
        weights.append(_log_weights(inner, pixels, mean, log_variance, noise, truth))
    every = torch.cat(weights, dim=1)  # (B, K)
    log_p = weighted_bound(every)
    shares = torch.exp(every - log_p[:, None])  # of mean 1
    error = shares.std(dim=1, correction=1) / math.sqrt(samples) if samples > 1 else torch.full_like(log_p, math.nan)
    return log_p, error, every.mean(1)


def _log_weights(
    inner: Any, pixels: PixelDistribution, mean: Tensor, log_variance: Tensor, noise: Tensor, truth: SeededImages
) -> Tensor:
    """log p(x, z_k) − log q(z_k|x) of codes z_k = μ + σ·ε_k, (B, K), for noise (B, K, latent); few are decoded at once."""
    deviation, weights = torch.exp(0.5 * log_variance), []
    for part in noise.split(max(1, _NUMBERS // max(1, truth.pixels.numel())), dim=1):
        codes = mean[:, None] + deviation[:, None] * part
        decoded = inner.decode(codes.flatten(0, 1)).unflatten(0, codes.shape[:2])  # (B, count, outputs, H, W)
        ratio = prior_over_posterior(mean, log_variance, part)
        weights.append(pixels.log_probability(decoded, truth.pixels[:, None]) + ratio)
    return torch.cat(weights, dim=1)
