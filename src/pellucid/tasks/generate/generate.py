# SPDX-License-Identifier: Apache-2.0
"""generate: what would more pictures like these look like?"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Literal, final

from pellucid import _catalog
from pellucid.errors import UsageError, check_choice
from pellucid.models import OutputKind
from pellucid.tasks._answering import PredictOptions
from pellucid.tasks._contract import TaskFamily
from pellucid.tasks.generate.adversarial import Adversarial
from pellucid.tasks.generate.game import Game
from pellucid.tasks.generate.likelihood import PixelDistribution
from pellucid.tasks.generate.options import CHOICES, GenerateOptions
from pellucid.tasks.generate.variational import Variational

__all__ = ["Generate"]

_FAMILIES: dict[str, Literal["vae", "gan"]] = {"distribution": "vae", "adversarial": "gan"}  # of a model's output
_OF_VAE = ("likelihood", "binarise", "variance", "beta", "kl_warmup", "bound_samples", "importance")
_OF_GAN = ("objective", "penalty", "penalty_share", "updates", "smoothing", "discriminator_rate")


@final
@dataclass(frozen=True)
class Generate(TaskFamily):
    """What would more pictures like these look like?

    A variational autoencoder maximises a lower bound of the images' likelihood; in an adversarial network a generator and a
    discriminator are trained against each other.

    >>> type(Generate().for_model("gan")).__name__, Generate(beta=4.0).for_model("vae").beta
    ('Adversarial', 4.0)
    """

    family: Literal["auto", "vae", "gan"] = "auto"
    """kind of generative model; auto: that of the model"""
    fit: Literal["squash", "crop"] = "squash"
    """how images come to the size of the training: squash scales height and width apart; crop scales both alike and takes the middle"""
    likelihood: Literal["bernoulli", "gaussian"] = "bernoulli"
    """vae: distribution of a pixel given the code; bernoulli: black or white, of binarised images; gaussian: grey or coloured"""
    binarise: Literal["dynamic", "static"] = "dynamic"
    """vae, bernoulli: pixels become white with their brightness as probability, drawn again in every epoch (dynamic) or once (static)"""
    variance: float | None = None
    """vae, gaussian: variance of a pixel, in [0, 1] units squared; by default learned, one per channel"""
    beta: float = 1.0
    """vae: weight of the latent loss, the KL divergence from the prior"""
    kl_warmup: float = 0.0
    """vae: epochs over which the weight of the latent loss rises from near zero"""
    bound_samples: int = 1
    """vae: samples per image of the bound that training maximises; above 1 it is the importance-weighted one, which is tighter"""
    importance: int = 200
    """vae: importance samples per image that estimate −log p in evaluation; 0: no estimate"""
    objective: Literal["non_saturating", "least_squares", "wasserstein"] = "non_saturating"
    """gan: adversarial loss of discriminator and generator"""
    penalty: float | None = None
    """gan: weight of the discriminator's gradient penalty; by default 10 for wasserstein, else 0.1, on real images"""
    penalty_share: float | None = None
    """gan: share of a batch on which the gradient penalty is computed; by default all of it for wasserstein, else an eighth"""
    updates: tuple[int, ...] = (1, 1)
    """gan: updates of the discriminator and of the generator per step; they share the step's batch"""
    smoothing: float = 0.0
    """gan: one-sided label smoothing: the discriminator's target for real images is 1 − smoothing"""
    discriminator_rate: float = 1.0
    """gan: factor on the discriminator's learning rate"""

    example: ClassVar[str] = "digits"
    recipes: ClassVar[Mapping[str, Mapping[str, Any]]] = {
        "thorough": {
            "model": "vae",
            "batch_norm": True,
            "bound_samples": 5,
            "epochs": 130,
            "batch_size": 256,
            "lr": 0.004,
            "schedule": "cosine",
            "warmup": 5.0,
            "ema": 0.999,
        },
        "thorough_gan": {"model": "conv_gan", "penalty": 0.02, "batch_size": 128, "epochs": 10, "ema": 0.999},
    }
    default_model: ClassVar[str] = "gan"
    accepts: ClassVar[tuple[OutputKind, ...]] = ("distribution", "adversarial")
    predict_options: ClassVar[type[PredictOptions]] = GenerateOptions

    def __post_init__(self) -> None:
        for name in ("family", "fit", "likelihood", "binarise", "objective"):
            check_choice(name, getattr(self, name), CHOICES[name])
        if len(self.updates) != 2 or any(not isinstance(n, int) or n < 1 for n in self.updates):
            raise UsageError(
                f"updates={self.updates!r}: must be two whole numbers of at least 1; give e.g. --updates 5 1."
            )
        _check("variance", self.variance, self.variance is None or self.variance > 0, "must be above 0")
        _check("beta", self.beta, self.beta >= 0, "must not be negative")
        _check("kl_warmup", self.kl_warmup, self.kl_warmup >= 0, "must not be negative")
        _check("bound_samples", self.bound_samples, self.bound_samples >= 1, "must be at least 1")
        if self.bound_samples > 1 and self.beta != 1:
            raise UsageError(
                f"beta={self.beta!r}: weighs the latent loss, which the importance-weighted bound of "
                f"bound_samples={self.bound_samples} does not have; leave out one of the two."
            )
        _check("importance", self.importance, self.importance >= 0, "must not be negative")
        _check("penalty", self.penalty, self.penalty is None or self.penalty >= 0, "must not be negative")
        share = self.penalty_share
        _check("penalty_share", share, share is None or 0 < share <= 1, "must be above 0 and at most 1")
        _check("smoothing", self.smoothing, 0 <= self.smoothing < 0.5, "must lie in [0, 0.5)")
        _check("discriminator_rate", self.discriminator_rate, self.discriminator_rate > 0, "must be above 0")
        if self.likelihood == "bernoulli" and self.variance is not None:
            raise UsageError(
                f"variance={self.variance!r}: a Bernoulli distribution has none; give --likelihood gaussian."
            )

    @classmethod
    def defaults(cls, model: str) -> dict[str, Any]:
        """Adam for both; adversarial training without momentum (Karras et al. 2018, app. A) and with a falling learning rate."""
        if _family(model) == "gan":
            return {"optimizer": "adam", "betas": (0.0, 0.99), "lr": 1e-3, "schedule": "cosine", "ema": 0.995,
                    "epochs": 60, "batch_size": 64}  # fmt: skip
        return {"optimizer": "adam", "lr": 1e-3, "ema": 0.99, "epochs": 60}

    def for_model(self, model: str) -> Variational | Adversarial:
        """The task of the model's family; options of the other family are refused."""
        family = _family(model)
        if family is None:
            raise UsageError(f"model={model!r}: is not a generative model; choose a vae or a gan.")
        if self.family not in ("auto", family):
            raise UsageError(
                f"family={self.family!r}: model={model!r} is a {family}; leave family out, or choose another model."
            )
        for field in dataclasses.fields(self):
            if field.name in (_OF_GAN if family == "vae" else _OF_VAE) and getattr(self, field.name) != field.default:
                raise UsageError(
                    f"{field.name}={getattr(self, field.name)!r}: has no meaning for a {family}; "
                    f"leave it out, or choose a {'gan' if family == 'vae' else 'vae'}."
                )
        recorded = {**self.options, "family": family}
        if family == "vae":
            pixels = PixelDistribution(self.likelihood, self.variance)
            return Variational(
                pixels, self.beta, self.kl_warmup, self.importance, self.binarise, self.bound_samples, recorded=recorded
            )
        default_penalty, default_share = (10.0, 1.0) if self.objective == "wasserstein" else (0.1, 0.125)
        penalty = default_penalty if self.penalty is None else self.penalty
        share = default_share if self.penalty_share is None else self.penalty_share
        game = Game(self.objective, self.smoothing, penalty, share, (self.updates[0], self.updates[1]))
        return Adversarial(game, self.discriminator_rate, recorded=recorded)


def _family(model: str) -> Literal["vae", "gan"] | None:
    return _FAMILIES.get(str(getattr(_catalog.find("models", model), "output", "")))


def _check(name: str, value: Any, holds: bool, rule: str) -> None:
    if not holds:
        raise UsageError(f"{name}={value!r}: {rule}; give another value.")
