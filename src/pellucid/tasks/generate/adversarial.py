# SPDX-License-Identifier: Apache-2.0
"""The task of a generative adversarial network: a generator and a discriminator trained against each other."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, final

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from pellucid.data.dataset import Batch
from pellucid.data.draws import Draws
from pellucid.errors import UsageError
from pellucid.models import OutputKind
from pellucid.tasks._metrics import Metric, mean
from pellucid.tasks._records import Records
from pellucid.tasks._wrapping import unwrapped
from pellucid.tasks.generate import energy, seeded
from pellucid.tasks.generate.game import Game, Realness
from pellucid.tasks.generate.generative import Generative, as_columns
from pellucid.tasks.generate.likelihood import SeededImages
from pellucid.tasks.generate.statistics import remeasured

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["Adversarial"]

_AT_ONCE = 500  # pictures generated at a time
_MEASURED = 4000  # pictures on which batch statistics are measured
_METRICS = (  # distances are RMS per pixel, in [0, 1] units
    mean("energy", "energy score", better="lower"),
    mean("nearest", "distance to the nearest sample", better="lower"),
    mean("D_real", "D(x)", better="neither"),
)


@final
@dataclass(frozen=True)
class Adversarial(Generative[Realness]):
    """What would more pictures like these look like, by a game of two networks?

    >>> Adversarial(Game("non_saturating", 0.0, 0.1, 0.125, (1, 1)), discriminator_rate=0.5).lr_factors
    {'discriminator': 0.5}
    """

    game: Game
    discriminator_rate: float = 1.0

    default_model: ClassVar[str] = "gan"
    accepts: ClassVar[tuple[OutputKind, ...]] = ("adversarial",)
    floors: ClassVar[tuple[str, ...]] = ("training images",)  # no sampler can be expected to beat them

    @property
    def summary(self) -> str:
        """The objective with its options, in a few words."""
        smoothing = f", real = {1 - self.game.smoothing:g}" if self.game.smoothing else ""
        penalty = f", gradient penalty {self.game.penalty:g}" if self.game.penalty else ""
        ratio = f", {self.game.updates[0]}:{self.game.updates[1]} updates"
        return f"{self.game.objective.replace('_', ' ')}{smoothing}{penalty}{ratio}"

    def prepare(self, batch: Batch, draws: Draws, training: bool) -> tuple[Tensor, SeededImages]:
        images = batch.images.float().div_(255)  # (B, C, H, W)
        return images, SeededImages(images, draws.integers(0, 2**24))

    def players(self, model: nn.Module) -> dict[str, nn.Module]:
        """Discriminator and generator, in the order of their updates."""
        inner = unwrapped(model)
        mixing = any(isinstance(m, nn.modules.batchnorm._BatchNorm) for m in inner.discriminator.modules())
        if self.game.penalty and mixing:
            raise UsageError(
                f"penalty={self.game.penalty:g}: is on the gradient of each image alone, and batch norm mixes a batch's images; "
                "give --norm none or --norm spectral, or --penalty 0."
            )
        return {"discriminator": inner.discriminator, "generator": inner.generator}

    def steps(
        self, model: nn.Module, input: Tensor, truth: SeededImages
    ) -> Iterator[tuple[nn.Module, dict[str, Tensor]]]:
        """Each player's updates."""
        return self.game.steps(model, input)

    @property
    def lr_factors(self) -> Mapping[str, float]:
        """The discriminator's."""
        return {"discriminator": self.discriminator_rate}

    def loss(self, model: nn.Module, input: Tensor, truth: SeededImages) -> dict[str, Tensor]:
        """Both players' losses, without an update."""
        return self.game.losses(model, input, truth)

    def update_buffers(
        self, model: nn.Module, batches: Callable[[], Iterator[Batch]], epoch: int, epochs: int, seed: int
    ) -> None:
        """Measure the generator's batch statistics again: averaged weights have other ones (Izmailov et al. 2018, sec. 3.2)."""
        inner = unwrapped(model)
        with remeasured(inner.generator) as needed:
            for part in seeded.codes(inner, _MEASURED, 0).split(_AT_ONCE) if needed else ():
                inner.generator(part)

    def decode(self, model: nn.Module, codes: Tensor) -> Tensor:
        picture: Tensor = unwrapped(model).generator(codes).float()
        return picture

    def encode(self, model: nn.Module, images: Tensor) -> Tensor:
        raise UsageError(
            "interpolate: a GAN has no encoder, so images have no codes; use --samples, --vary without an image, or a vae."
        )

    def realness(self, model: nn.Module, pictures: Tensor) -> Tensor | None:
        return self.predict(model, pictures).real

    def predict(self, model: nn.Module, input: Tensor) -> Realness:
        """The discriminator's score of each image."""
        return Realness(self.game.realness(unwrapped(model).discriminator(input).float())[:, 0])

    def score(self, input: Tensor, prediction: Realness, truth: SeededImages) -> dict[str, Any]:
        """D(x)."""
        return as_columns({"D_real": prediction.real})

    def measure(self, model: nn.Module, input: Tensor, truth: SeededImages) -> dict[str, Any]:
        """The energy score of each image under a thousand samples, the distance to the nearest of them, and D(x)."""
        inner = unwrapped(model)
        samples = energy.samples_of(model, lambda seeds: self.decode_all(model, seeded.normal(seeds, inner.latent)))
        scores, nearest = samples.score(truth.pixels)
        return self.score(input, self.predict(model, input), truth) | as_columns({"energy": scores, "nearest": nearest})

    def metrics(self, classes: Sequence[str]) -> Sequence[Metric]:
        """The energy score, which decides, the distance to the nearest sample, and D(x)."""
        return _METRICS

    def details(self, records: Records, classes: Sequence[str]) -> dict[str, Any]:
        """The objective."""
        return {"objective": [{"objective": self.summary}]}

    def ranking(self, records: Records) -> NDArray[np.float64]:
        """The negative energy score."""
        return -np.asarray(records["energy"], np.float64)

    def array_baselines(self, train: Tensor, test: Tensor, seed: int) -> dict[str, Records]:
        """Samples of simple distributions, and training images as the floor, scored on the same images in the same way."""
        rng, samples = np.random.default_rng(seed), energy.SAMPLES
        known = train[torch.from_numpy(rng.permutation(len(train))[: 2 * samples])].flatten(1)  # (M, C·H·W)
        count = min(samples, len(known))
        centred = known - known.mean(0)
        # normal weights on centred images: samples with exactly the images' covariance, without computing it
        weights = torch.from_numpy(rng.standard_normal((samples, len(known))).astype(np.float32))
        shuffled = rng.integers(0, len(known), (samples, known.shape[1]))  # each pixel from an image of its own
        sets = {
            "training images": known[:count],
            "Gaussian": (known.mean(0) + weights @ centred / math.sqrt(max(1, len(known) - 1))).clamp(0, 1),
            "independent pixels": known.gather(0, torch.from_numpy(shuffled)),
            "one training image": known[:1].expand(count, -1),
        }
        unknown = np.full(len(test), np.nan)  # there is no discriminator
        records: dict[str, Records] = {}
        for name, rows in sets.items():
            scores, nearest = energy.SampleSet.of(rows.reshape(-1, *train.shape[1:])).scores(test)
            records[name] = {"energy": scores.numpy(), "nearest": nearest.numpy(), "D_real": unknown}
        return records

    def write(self, prediction: Realness, names: Sequence[str], classes: Sequence[str]) -> list[dict[str, Any]]:
        """D(x) of each image."""
        return [{"name": name, "D_real": round(v, 5)} for name, v in zip(names, prediction.real.tolist(), strict=True)]

    def draw(
        self,
        input: Tensor,
        prediction: Realness,
        truth: SeededImages | None,
        names: Sequence[str],
        classes: Sequence[str],
    ) -> Figure:
        """Images with D(x)."""
        from pellucid.tasks import _figures

        captions = [f"{name}: D(x) {v:.2f}" for name, v in zip(names, prediction.real.tolist(), strict=True)]
        return _figures.pictures({"image": input}, None, captions)
