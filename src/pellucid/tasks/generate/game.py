# SPDX-License-Identifier: Apache-2.0
"""The losses of a generative adversarial network's two players, and the order of their updates."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import final

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from pellucid.data.targets import Target
from pellucid.tasks._wrapping import unwrapped
from pellucid.tasks.generate import seeded
from pellucid.tasks.generate.likelihood import SeededImages

__all__ = ["Game", "Realness"]


@final
@dataclass(frozen=True)
class Realness(Target):
    """D(x) of images, (B,): the higher, the more real; a probability where the discriminator was trained as a classifier."""

    real: Tensor


@final
@dataclass(frozen=True)
class Game:
    """The losses of both players.

    non_saturating: −log D(x) − log(1 − D(G(z))) against −log D(G(z)) (Goodfellow et al. 2014, sec. 3; real = 1);
    least_squares: ½(D(x) − 1)² + ½D(G(z))² against ½(D(G(z)) − 1)² (Mao et al. 2017, eq. 9);
    wasserstein: D(G(z)) − D(x) + λ(|∇D| − 1)² against −D(G(z)) (Gulrajani et al. 2017, eq. 3).
    """

    objective: str
    smoothing: float  # real = 1 − smoothing, one-sided (Salimans et al. 2016, sec. 3.4)
    penalty: float  # λ of wasserstein; γ of ½γ|∇D(x)|² on real images (Mescheder et al. 2018, eq. 9) for the others
    share: float  # of a batch on which the penalty is computed: a second derivative costs more than all the rest
    updates: tuple[int, int]  # of the discriminator and of the generator

    def realness(self, logits: Tensor) -> Tensor:
        """D(·) as it is reported: a probability for non_saturating, else the raw score."""
        return logits.sigmoid() if self.objective == "non_saturating" else logits

    def on_discriminator(self, real: Tensor, fake: Tensor) -> Tensor:
        """The discriminator's loss, a scalar, from its raw scores of real and of generated images."""
        wanted = 1 - self.smoothing
        if self.objective == "non_saturating":
            # −log(1 − σ(s)) = softplus(s), which does not overflow
            return F.binary_cross_entropy_with_logits(real, torch.full_like(real, wanted)) + F.softplus(fake).mean()
        if self.objective == "least_squares":
            return 0.5 * ((real - wanted) ** 2).mean() + 0.5 * (fake**2).mean()
        return fake.mean() - real.mean()

    def on_generator(self, fake: Tensor) -> Tensor:
        """The generator's loss, a scalar, from the discriminator's raw scores of its images."""
        if self.objective == "non_saturating":
            return F.softplus(-fake).mean()
        return 0.5 * ((fake - 1) ** 2).mean() if self.objective == "least_squares" else -fake.mean()

    def steps(self, model: nn.Module, images: Tensor) -> Iterator[tuple[nn.Module, dict[str, Tensor]]]:
        """The discriminator's updates, then the generator's; each discriminator update gets its own part of the batch."""
        inner = unwrapped(model)
        generator, discriminator = inner.generator, inner.discriminator
        parts = images.chunk(self.updates[0])
        for part in parts:
            with torch.no_grad():  # the generator does not learn from this update
                fake = generator(torch.randn(len(part), inner.latent, device=images.device)).float()
            yield discriminator, self._discriminate(discriminator, part, fake)
        for _ in range(self.updates[1]):
            noise = torch.randn(len(parts[0]), inner.latent, device=images.device)
            discriminator.requires_grad_(False)  # its gradients would be thrown away: a third of the backward pass
            try:
                score = discriminator(generator(noise)).float()
                yield generator, {"loss": self.on_generator(score), "D_fake": self.realness(score.detach()).mean()}
            finally:
                discriminator.requires_grad_(True)

    def _discriminate(self, discriminator: nn.Module, images: Tensor, fake: Tensor) -> dict[str, Tensor]:
        of_real, of_fake = discriminator(images).float(), discriminator(fake).float()
        loss = self.on_discriminator(of_real, of_fake)
        means = {"D_real": self.realness(of_real.detach()).mean(), "D_fake": self.realness(of_fake.detach()).mean()}
        if not self.penalty:
            return {"loss": loss, **means}
        some = max(1, round(self.share * len(images)))
        penalty = self._gradient_penalty(discriminator, images[:some], fake[:some])
        return {"loss": loss + self.penalty * penalty, **means, "penalty": penalty.detach()}

    def _gradient_penalty(self, discriminator: nn.Module, images: Tensor, fake: Tensor) -> Tensor:
        """The mean penalty on |∇D|, in float32: bf16's three digits are too few for a second derivative."""
        with torch.autocast(images.device.type, enabled=False):
            if self.objective == "wasserstein":  # at random points between a real and a generated image
                share = torch.rand(len(images), 1, 1, 1, device=images.device)
                points = (share * images.float() + (1 - share) * fake.float()).requires_grad_()
            else:
                points = images.float().detach().requires_grad_()
            # the sum over the batch has each image's own gradient, since images do not depend on each other
            (gradient,) = torch.autograd.grad(discriminator(points).float().sum(), points, create_graph=True)
            squares = gradient.flatten(1).square().sum(1)  # (B,), |∇D|²
            if self.objective == "wasserstein":
                return ((squares + 1e-12).sqrt() - 1).square().mean()  # the root has no slope at 0
            return 0.5 * squares.mean()

    def losses(self, model: nn.Module, images: Tensor, truth: SeededImages) -> dict[str, Tensor]:
        """Both players' losses without an update; the noise is a function of the seeds."""
        inner = unwrapped(model)
        noise = seeded.normal(truth.seeds, inner.latent)
        of_real, of_fake = inner.discriminator(images).float(), inner.discriminator(inner.generator(noise)).float()
        losses = {
            "discriminator/loss": self.on_discriminator(of_real, of_fake),
            "generator/loss": self.on_generator(of_fake),
        }
        means = {
            "discriminator/D_real": self.realness(of_real).mean(),
            "discriminator/D_fake": self.realness(of_fake).mean(),
        }
        return {"loss": sum(losses.values(), torch.zeros((), device=images.device)), **losses, **means}
