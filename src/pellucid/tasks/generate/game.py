# SPDX-License-Identifier: Apache-2.0
"""What the two players of a generative adversarial network minimise, and whose turn it is."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, final

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from pellucid.data.targets import Target
from pellucid.tasks.generate import chance
from pellucid.tasks.generate.likelihood import Drawn

__all__ = ["Game", "Verdict"]


@final
@dataclass(frozen=True)
class Verdict(Target):
    """What the discriminator says of images: (B,), the higher the more real; a probability where it was trained as one."""

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
    share: float  # of a batch that the penalty is measured on: a second derivative costs more than all the rest
    updates: tuple[int, int]  # of the discriminator to those of the generator

    def opinion(self, logits: Tensor) -> Tensor:
        """D(·) as it is told: a probability for non_saturating, else the raw score."""
        return logits.sigmoid() if self.objective == "non_saturating" else logits

    def on_discriminator(self, real: Tensor, fake: Tensor) -> Tensor:
        """The discriminator's loss, a scalar, from its raw scores of real and of made pictures."""
        wanted = 1 - self.smoothing
        if self.objective == "non_saturating":
            return F.binary_cross_entropy_with_logits(real, torch.full_like(real, wanted)) + F.softplus(fake).mean()
        if self.objective == "least_squares":
            return 0.5 * ((real - wanted) ** 2).mean() + 0.5 * (fake**2).mean()
        return fake.mean() - real.mean()

    def on_generator(self, fake: Tensor) -> Tensor:
        """The generator's loss, a scalar, from the discriminator's raw scores of its pictures."""
        if self.objective == "non_saturating":
            return F.softplus(-fake).mean()
        return 0.5 * ((fake - 1) ** 2).mean() if self.objective == "least_squares" else -fake.mean()

    def steps(self, model: nn.Module, images: Tensor) -> Iterator[tuple[nn.Module, dict[str, Tensor]]]:
        """The discriminator's updates, then the generator's: the batch is dealt out, so that each sees real images of its own."""
        inner = _own(model)
        generator, discriminator = inner.generator, inner.discriminator
        parts = images.chunk(self.updates[0])
        for part in parts:
            with torch.no_grad():
                fake = generator(torch.randn(len(part), inner.latent, device=images.device)).float()
            yield discriminator, self._discriminate(discriminator, part, fake)
        for _ in range(self.updates[1]):
            noise = torch.randn(len(parts[0]), inner.latent, device=images.device)
            discriminator.requires_grad_(False)  # its gradients would be thrown away: a third of the backward pass
            try:
                score = discriminator(generator(noise)).float()
                yield generator, {"loss": self.on_generator(score), "D_fake": self.opinion(score.detach()).mean()}
            finally:
                discriminator.requires_grad_(True)

    def _discriminate(self, discriminator: nn.Module, images: Tensor, fake: Tensor) -> dict[str, Tensor]:
        of_real, of_fake = discriminator(images).float(), discriminator(fake).float()
        loss = self.on_discriminator(of_real, of_fake)
        told = {"D_real": self.opinion(of_real.detach()).mean(), "D_fake": self.opinion(of_fake.detach()).mean()}
        if not self.penalty:
            return {"loss": loss, **told}
        some = max(1, round(self.share * len(images)))
        slope = self._slope(discriminator, images[:some], fake[:some])
        return {"loss": loss + self.penalty * slope, **told, "penalty": slope.detach()}

    def _slope(self, discriminator: nn.Module, images: Tensor, fake: Tensor) -> Tensor:
        """The penalised gradient of the discriminator, in float32: bf16's three digits are too few for a second derivative."""
        with torch.autocast(images.device.type, enabled=False):
            if self.objective == "wasserstein":  # between a real and a made picture
                share = torch.rand(len(images), 1, 1, 1, device=images.device)
                points = (share * images.float() + (1 - share) * fake.float()).requires_grad_()
            else:
                points = images.float().detach().requires_grad_()
            (gradient,) = torch.autograd.grad(discriminator(points).float().sum(), points, create_graph=True)
            squares = gradient.flatten(1).square().sum(1)
            if self.objective == "wasserstein":
                return ((squares + 1e-12).sqrt() - 1).square().mean()
            return 0.5 * squares.mean()

    def losses(self, model: nn.Module, images: Tensor, target: Drawn) -> dict[str, Tensor]:
        """Both players' losses without a step; the noise is a function of the target's seeds."""
        inner = _own(model)
        noise = chance.normal(target.seeds, inner.latent)
        of_real, of_fake = inner.discriminator(images).float(), inner.discriminator(inner.generator(noise)).float()
        parts = {
            "discriminator/loss": self.on_discriminator(of_real, of_fake),
            "generator/loss": self.on_generator(of_fake),
        }
        told = {
            "discriminator/D_real": self.opinion(of_real).mean(),
            "discriminator/D_fake": self.opinion(of_fake).mean(),
        }
        return {"loss": sum(parts.values(), torch.zeros((), device=images.device)), **parts, **told}


def _own(model: nn.Module) -> Any:
    return getattr(model, "_orig_mod", model)
