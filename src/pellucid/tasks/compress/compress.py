# SPDX-License-Identifier: Apache-2.0
"""compress: how few bytes does a picture need?"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, final

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from pellucid._options import unfolded
from pellucid.data.dataset import Batch, Dataset, Split
from pellucid.data.draws import Draws
from pellucid.data.targets import Label, Picture
from pellucid.data.transforms import Augment
from pellucid.errors import UsageError
from pellucid.models import OutputKind
from pellucid.tasks._answering import PredictOptions
from pellucid.tasks._contract import ModelMeasures, Task
from pellucid.tasks._metrics import Metric
from pellucid.tasks._records import Records
from pellucid.tasks._wrapping import unwrapped
from pellucid.tasks.compress import answers, baselines, metrics, model_measures
from pellucid.tasks.compress.coders import count
from pellucid.tasks.compress.coding import Coded, encoded, nearest

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["Compress"]

_COUNTED = 600_000  # pixels of training images whose symbols are counted after an epoch,
_COUNTED_LAST = 4_000_000  # and after the last one


@final
@dataclass(frozen=True)
class CompressOptions(PredictOptions):
    """At which quality `predict` writes files."""

    quality: int | None = None
    """quality of the files, from 1 (smallest files) to the run's highest; by default the one that the run was measured at"""


@final
@dataclass(frozen=True)
class Compress(Task[Tensor, Coded, Picture]):
    """How few bytes does a picture need?

    One model learns several qualities, each with its own λ. Training draws a quality for every image and minimises the
    rate–distortion cost: the file's length in bits per pixel under the learned density, plus λ times the mean squared error in
    grey levels (of 255).

    >>> Compress(augment=Augment(flip=True)).weight
    0.012
    """

    weight: float = 0.012
    """λ at which the model is measured: bits per pixel that a squared error of one grey level (of 255) costs"""
    augment: Augment = unfolded(
        Augment(), "flip", "turn", "rotate", "scale", "stretch", "slant",
        "exposure", "shading", "contrast", shift="crop",
    )  # fmt: skip

    example: ClassVar[str] = "patches"
    example_options: ClassVar[Mapping[str, Any]] = {"epochs": 3}
    default_model: ClassVar[str] = "factorized"
    evidence_title: ClassVar[str] = "mean value"
    accepts: ClassVar[tuple[OutputKind, ...]] = ("code",)
    predict_options: ClassVar[type[PredictOptions]] = CompressOptions
    keeps_size: ClassVar[bool] = True

    def __post_init__(self) -> None:
        if not 0 < self.weight < math.inf:
            raise UsageError(f"weight={self.weight!r}: must be above 0; give e.g. 0.01.")

    @classmethod
    def defaults(cls, model: str) -> dict[str, Any]:
        dense = model == "dense_codec"
        return {
            "epochs": 60 if dense else 20,
            "batch_size": 128 if dense else 32,
            "optimizer": "adam",
            "lr": 1e-3,
            "clip": 1.0,
        }

    def outputs(self, data: Dataset, size: tuple[int, int]) -> int:
        return data.channels

    def prepare(self, batch: Batch, draws: Draws, training: bool) -> tuple[Tensor, Picture]:
        images = batch.images.float().div_(255)
        if training:
            images = self.augment(images, Label(batch.index), draws)[0]  # nothing has to move with the image
        return images, Picture(images)

    def loss(self, model: nn.Module, input: Tensor, truth: Picture) -> dict[str, Tensor]:
        """Rate + λ·distortion; in training at a quality drawn for each image, else at the one that is measured."""
        inner = unwrapped(model)
        weights = inner.prior.weights  # λ of each quality
        if model.training:
            quality = torch.randint(len(weights), (len(input),), device=input.device)
        else:
            quality = torch.full((len(input),), nearest(inner, self.weight), device=input.device)
        pictures, bits = model(input, quality)
        squares = (pictures.float() - truth.pixels).square().mean((1, 2, 3)) * 255**2
        rate = bits / (input.shape[2] * input.shape[3])  # bits per pixel
        weight = weights[quality]
        # divided by the root of λ, so that no quality outweighs the others: the cost grows about like the root
        loss = ((rate + weight * squares) * (self.weight / weight).sqrt()).mean()
        return {"loss": loss, "rate": rate.mean(), "squared_error": squares.mean()}

    def update_buffers(
        self, model: nn.Module, batches: Callable[[], Iterator[Batch]], epoch: int, epochs: int, seed: int
    ) -> None:
        """Count the integer entropy tables, on some of the training images until the last epoch."""
        inner: Any = model
        most = _COUNTED_LAST if epoch == epochs else _COUNTED
        first = next(batches())
        pixels = first.images.shape[2] * first.images.shape[3]
        total = sum(len(batch) for batch in batches())
        every = max(1, total * pixels // most)  # one image in so many is counted
        codes, place = [], 0
        mode = model.training
        model.eval()
        for batch in batches():
            taken = batch.images[-place % every :: every]
            place += len(batch)
            if len(taken):
                codes.append(inner.analyse(taken.float().div_(255)))
        model.train(mode)
        count(inner.prior, torch.cat(codes))

    def predict(self, model: nn.Module, input: Tensor) -> Coded:
        return encoded(model, input, nearest(model, self.weight))

    def score(self, input: Tensor, prediction: Coded, truth: Picture) -> dict[str, NDArray[Any]]:
        sizes = [len(file) for file in prediction.files]
        return metrics.columns(prediction.pixels, truth.pixels, sizes, prediction.bare, self.weight)

    def metrics(self, classes: Sequence[str]) -> Sequence[Metric]:
        """The cost decides: bits per pixel of the file + λ·(mean squared error in grey levels)."""
        return metrics.METRICS

    def ranking(self, records: Records) -> NDArray[np.float64]:
        """The negative cost."""
        return -np.asarray(records["cost"], np.float64)

    def baselines(self, train: Split, test: Split, size: tuple[int, int] | None, seed: int = 0) -> dict[str, Records]:
        """JPEG, WebP, AVIF, PNG and PCA, each image at the setting that costs least at `weight`."""
        return baselines.measured(train, test, self.weight)

    def measure_model(
        self, model: nn.Module, train: Split, test: Split, size: tuple[int, int] | None, seed: int = 0
    ) -> ModelMeasures:
        """The rate–distortion curves of the model and of other codecs, and the gain over JPEG."""
        return model_measures.measure_model(model, train, test, self.weight, seed)

    def answer(
        self, model: nn.Module, images: Any, options: CompressOptions, classes: Sequence[str]
    ) -> list[dict[str, Any]]:
        """Files for pictures, and pictures for .plc files."""
        inner: Any = model
        highest = inner.prior.qualities
        if options.quality is not None and not 1 <= options.quality <= highest:
            raise UsageError(
                f"quality={options.quality!r}: this run has the qualities 1 to {highest}; give one of them."
            )
        quality = nearest(model, self.weight) if options.quality is None else options.quality - 1
        return answers.answer(inner, images if isinstance(images, (list, tuple)) else [images], quality)

    def write(self, prediction: Coded, names: Sequence[str], classes: Sequence[str]) -> list[dict[str, Any]]:
        pixels = prediction.pixels.shape[2] * prediction.pixels.shape[3]
        return [
            {
                "name": name,
                "bytes": len(file),
                "bpp": round(8 * len(file) / pixels, 4),
                "content": file,
                "suffix": ".plc",
            }
            for name, file in zip(names, prediction.files, strict=True)
        ]

    def draw(
        self, input: Tensor, prediction: Coded, truth: Picture | None, names: Sequence[str], classes: Sequence[str]
    ) -> Figure:
        from pellucid.tasks import _figures

        captions = [f"{name}: {len(file):,} B" for name, file in zip(names, prediction.files, strict=True)]
        return _figures.pictures({"from the file": prediction.pixels}, input, captions)

    def evidence(self, output: Tensor) -> Tensor:
        """The mean absolute value of the picture, in [0, 1] units."""
        return output.float().abs().flatten(1).mean(1)
