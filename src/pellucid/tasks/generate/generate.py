# SPDX-License-Identifier: Apache-2.0
"""generate: what else could have been among these pictures?"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Literal, Self, final

import numpy as np
from numpy.typing import NDArray
from torch import Tensor, nn

from pellucid import _catalog
from pellucid.data.dataset import Batch, Dataset, Split
from pellucid.data.draws import Draws
from pellucid.data.targets import Target
from pellucid.errors import UsageError
from pellucid.models import OutputKind
from pellucid.tasks._contract import Measure, ModelMeasures, PredictOptions, Records, Task
from pellucid.tasks.generate import answers, chance, families, model_measures
from pellucid.tasks.generate.families import Adversarial, Variational
from pellucid.tasks.generate.game import Game
from pellucid.tasks.generate.likelihood import Drawn, Pixels

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["Generate"]

_FAMILIES: dict[str, Literal["vae", "gan"]] = {"distribution": "vae", "adversarial": "gan"}  # of a model's output
_OF_VAE = ("likelihood", "binarise", "variance", "beta", "kl_warmup", "importance")
_OF_GAN = ("objective", "penalty", "penalty_share", "updates", "smoothing", "discriminator_rate")
_STATIC = 0x5EED  # the thresholds of static binarisation are no option: there is one such dataset


@final
@dataclass(frozen=True)
class Generate(Task):
    """What else could have been among these pictures?

    A variational autoencoder is trained by the bound of its likelihood, an adversarial network by the play of its two halves.

    >>> import torch
    >>> Generate().for_model("gan").family, Generate(beta=4.0).for_model("vae").main
    ('gan', 'elbo')
    >>> task = Generate(likelihood="bernoulli")
    >>> batch = Batch(torch.full((2, 1, 8, 8), 128, dtype=torch.uint8), {}, torch.arange(2))
    >>> sorted(set(task.prepare(batch, Draws.images(0, batch.index), training=False)[0].flatten().tolist()))
    [0.0, 1.0]
    """

    family: Literal["auto", "vae", "gan"] = "auto"
    """kind of generative model; auto takes the model's own"""
    likelihood: Literal["bernoulli", "gaussian"] = "bernoulli"
    """vae: what a pixel is given a code: black or white, of binarised images, or grey with Gaussian noise"""
    binarise: Literal["dynamic", "static"] = "dynamic"
    """vae, bernoulli: white with the pixel's brightness as probability, drawn anew in every epoch, or once and for all"""
    variance: float | None = None
    """vae, gaussian: of a pixel, in [0, 1] units squared; by default learned, one number a channel"""
    beta: float = 1.0
    """vae: weight of the latent loss"""
    kl_warmup: float = 0.0
    """vae: epochs over which that weight rises from near zero"""
    importance: int = 200
    """vae: importance samples an image for −log p in evaluation; 0 for none"""
    objective: Literal["non_saturating", "least_squares", "wasserstein"] = "non_saturating"
    """gan: what the players minimise; wasserstein has a gradient penalty"""
    penalty: float | None = None
    """gan: weight of the discriminator's gradient penalty; by default 10 for wasserstein, else 0.1, on real images"""
    penalty_share: float | None = None
    """gan: share of a batch that the penalty is measured on; by default all of it for wasserstein, else an eighth"""
    updates: tuple[int, ...] = (1, 1)
    """gan: updates of the discriminator and of the generator a step; they share the step's batch"""
    smoothing: float = 0.0
    """gan: the discriminator is told 1 − smoothing for real images"""
    discriminator_rate: float = 1.0
    """gan: factor on the discriminator's learning rate"""

    example: ClassVar[str] = "digits"
    default_model: ClassVar[str] = "vae"
    accepts: ClassVar[tuple[OutputKind, ...]] = ("distribution", "adversarial")
    predict_options: ClassVar[type[PredictOptions]] = answers.Asked
    keeps_size: ClassVar[bool] = False

    def __post_init__(self) -> None:
        for name in ("family", "likelihood", "binarise", "objective"):
            families.check_choice(name, getattr(self, name))
        if len(self.updates) != 2 or any(not isinstance(n, int) or n < 1 for n in self.updates):
            raise UsageError(
                f"updates={self.updates!r}: must be two whole numbers of at least 1; give e.g. --updates 5 1."
            )
        _check("variance", self.variance, self.variance is None or self.variance > 0, "must be above 0")
        _check("beta", self.beta, self.beta >= 0, "must not be negative")
        _check("kl_warmup", self.kl_warmup, self.kl_warmup >= 0, "must not be negative")
        _check("importance", self.importance, self.importance >= 0, "must not be negative")
        _check("penalty", self.penalty, self.penalty is None or self.penalty >= 0, "must not be negative")
        share = self.penalty_share
        _check("penalty_share", share, share is None or 0 < share <= 1, "must be above 0 and at most 1")
        _check("smoothing", self.smoothing, 0 <= self.smoothing < 0.5, "must lie in [0, 0.5)")
        _check("discriminator_rate", self.discriminator_rate, self.discriminator_rate > 0, "must be above 0")
        if self.likelihood == "bernoulli" and self.variance is not None:
            raise UsageError(f"variance={self.variance!r}: a Bernoulli has none; give --likelihood gaussian.")

    @classmethod
    def defaults(cls, model: str) -> dict[str, Any]:
        """Adam for both; an adversarial game wants no momentum (Karras et al. 2018, app. A) and a rate that falls."""
        if _family(model) == "gan":
            return {"optimizer": "adam", "betas": (0.0, 0.99), "lr": 1e-3, "schedule": "cosine", "ema": 0.995,
                    "epochs": 60, "batch_size": 64}  # fmt: skip
        return {"optimizer": "adam", "lr": 1e-3, "ema": 0.99, "epochs": 60}

    def for_model(self, model: str) -> Self:
        """With the family of the model; options of the other family are refused."""
        family = _family(model)
        if family is None:
            return self
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
        return dataclasses.replace(self, family=family)

    @property
    def main(self) -> str:
        """The bound of log p, or the energy score of the samples."""
        return self._kind.main

    @property
    def lr_factors(self) -> Mapping[str, float]:
        return {"discriminator": self.discriminator_rate} if self.family == "gan" else {}

    @property
    def _kind(self) -> Variational | Adversarial:
        if self.family == "gan":
            usual = (10.0, 1.0) if self.objective == "wasserstein" else (0.1, 0.125)
            penalty, share = (
                own if given is None else given
                for given, own in zip((self.penalty, self.penalty_share), usual, strict=True)
            )
            return Adversarial(Game(self.objective, self.smoothing, penalty, share, (self.updates[0], self.updates[1])))
        return Variational(
            Pixels(self.likelihood, self.variance), self.beta, self.kl_warmup, self.importance, self.binarise
        )

    def read(self, data: Dataset) -> Dataset:
        return data  # any images will do; labels help to name the modes

    def outputs(self, data: Dataset, size: tuple[int, int]) -> int:
        return self._kind.outputs(data.channels)

    def prepare(self, batch: Batch, draws: Draws, training: bool) -> tuple[Tensor, Target]:
        images = batch.images.float().div_(255)
        if self.family != "gan" and self.likelihood == "bernoulli":
            if self.binarise == "static":  # by position, so that an image is the same in every epoch
                thresholds = chance.uniform(batch.index + _STATIC, images[0].numel()).view_as(images)
            else:
                thresholds = draws.uniform(*images.shape[1:])
            images = (thresholds < images).float()
        return images, Drawn(images, draws.integers(0, 2**24))

    def loss(self, model: nn.Module, input: Tensor, target: Target) -> dict[str, Tensor]:
        assert isinstance(target, Drawn)
        return self._kind.loss(model, input, target)

    def players(self, model: nn.Module) -> dict[str, nn.Module]:
        return self._kind.players(model)

    def steps(self, model: nn.Module, input: Tensor, target: Target) -> Iterator[tuple[nn.Module, dict[str, Tensor]]]:
        assert isinstance(target, Drawn)
        return self._kind.steps(model, input, target)

    def update_buffers(
        self, model: nn.Module, batches: Callable[[], Iterator[Batch]], epoch: int, epochs: int, seed: int
    ) -> None:
        self._kind.update_buffers(model, epoch)

    def snapshot(self, model: nn.Module, seed: int) -> Tensor | None:
        """Samples from the same 64 codes every time."""
        return self._kind.samples(model, 64, seed)

    def predict(self, model: nn.Module, input: Tensor) -> Target:
        """A reconstruction with its code, or how real the discriminator takes each image to be."""
        return self._kind.predict(model, input)

    def score(self, input: Tensor, prediction: Target, target: Target) -> dict[str, NDArray[Any]]:
        assert isinstance(target, Drawn)
        return _numpy(self._kind.score(prediction, target))

    def measure(self, model: nn.Module, input: Tensor, target: Target) -> dict[str, NDArray[Any]]:
        assert isinstance(target, Drawn)
        of_answer = self.score(input, self.predict(model, input), target)
        return of_answer | _numpy(self._kind.measure(model, input, target))

    def summary(self, records: Records, classes: Sequence[str], seed: int = 0) -> dict[str, Measure]:
        return self._kind.summary(records, seed)

    def details(self, records: Records, classes: Sequence[str]) -> dict[str, Any]:
        return self._kind.details(records)

    def ranking(self, records: Records) -> NDArray[np.float64]:
        """The bound of log p, or minus the energy score."""
        return self._kind.ranking(records)

    def per_image(self, records: Records) -> NDArray[np.float64]:
        return np.asarray(records[self.main], np.float64)

    def baselines(self, train: Split, test: Split, size: tuple[int, int] | None, seed: int = 0) -> dict[str, Records]:
        return self._kind.baselines(*model_measures.arrays(self, train, test, size, seed), seed)

    def measure_model(
        self, model: nn.Module, train: Split, test: Split, size: tuple[int, int] | None, seed: int = 0
    ) -> ModelMeasures:
        return model_measures.measure_model(self, self._kind, model, train, test, size, seed)

    def answer(
        self, model: nn.Module, images: Any, asked: PredictOptions, classes: Sequence[str]
    ) -> list[dict[str, Any]] | None:
        assert isinstance(asked, answers.Asked)
        return answers.answer(self._kind, model, images, asked)

    def write(self, prediction: Target, names: Sequence[str], classes: Sequence[str]) -> list[dict[str, Any]]:
        return self._kind.write(prediction, names)

    def draw(
        self, input: Tensor, prediction: Target, target: Target | None, names: Sequence[str], classes: Sequence[str]
    ) -> Figure:
        return self._kind.draw(input, prediction, names)

    def evidence(self, output: Tensor) -> Tensor:
        """The mean of what the model gives: the decoder's numbers, or the discriminator's score."""
        return output.float().flatten(1).mean(1)


def _family(model: str) -> Literal["vae", "gan"] | None:
    return _FAMILIES.get(str(getattr(_catalog.find("models", model), "output", "")))


def _check(name: str, value: Any, holds: bool, rule: str) -> None:
    if not holds:
        raise UsageError(f"{name}={value!r}: {rule}; give another value.")


def _numpy(columns: Mapping[str, Tensor]) -> dict[str, NDArray[Any]]:
    return {name: column.float().cpu().numpy() for name, column in columns.items()}
