# SPDX-License-Identifier: Apache-2.0
"""denoise: what does a noisy picture look like without its noise?"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, ClassVar, Literal, final

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional as F

from pellucid._options import learned, unfolded
from pellucid.data.colour import unit
from pellucid.data.corruption import Kind, corrupt
from pellucid.data.dataset import Batch, Dataset, Split
from pellucid.data.draws import Draws
from pellucid.data.targets import Picture
from pellucid.data.transforms import Augment
from pellucid.errors import UsageError, check_choice
from pellucid.models import OutputKind
from pellucid.tasks._contract import ModelMeasures, Task
from pellucid.tasks._metrics import Metric
from pellucid.tasks._records import Records
from pellucid.tasks._tiling import tiled
from pellucid.tasks._views import Views
from pellucid.tasks._wrapping import unwrapped
from pellucid.tasks.denoise import baselines, estimate, metrics, model_measures

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["Denoise"]


@final
@dataclass(frozen=True)
class Denoise(Task[Tensor, Picture, Picture]):
    """What does a noisy picture look like without its noise?

    Training draws new noise for every batch; in evaluation it is fixed by the seed and the image's position.

    >>> task = Denoise(noise="gaussian", level=0.1)
    >>> batch = Batch(torch.full((2, 1, 8, 8), 128, dtype=torch.uint8), {}, torch.arange(2))
    >>> noisy, clean = task.prepare(batch, Draws.images(0, batch.index), training=False)
    >>> noisy.shape, round(float((noisy - clean.pixels).std()), 1)
    (torch.Size([2, 1, 8, 8]), 0.1)
    """

    noise: Kind = "gaussian"
    """kind of noise"""
    level: float | tuple[float, ...] = 25 / 255
    """sigma of gaussian and speckle noise in [0, 1] units; share of pixels (salt_and_pepper) or area (missing); brightness of one photon in [0, 1] units (poisson); or a range (from, to) of which each image has its own"""  # noqa: E501
    error: Literal["mse", "l1"] = "mse"
    """loss: the mean squared (mse) or the mean absolute (l1) error"""
    augment: Augment = unfolded(Augment(), "flip", "turn", "exposure", "shading", "contrast")

    views: Views = learned(Views())  # whose mean is answered

    example: ClassVar[str] = "glyphs"
    example_options: ClassVar[Mapping[str, Any]] = {"epochs": 2, "batch_size": 32}
    recipes: ClassVar[Mapping[str, Mapping[str, Any]]] = {
        "thorough": {
            "epochs": 70,
            "batch_size": 32,
            "lr": 0.001,
            "ema": 0.999,
            "flip": True,
            "turn": True,
            "exposure": 1.0,
        }
    }
    default_model: ClassVar[str] = "unet"
    evidence_title: ClassVar[str] = "mean value"
    accepts: ClassVar[tuple[OutputKind, ...]] = ("map", "reconstruction")
    keeps_size: ClassVar[bool] = True
    restores: ClassVar[bool] = True
    view_kinds: ClassVar[Sequence[str]] = ("flip", "turn")

    @classmethod
    def model_defaults(cls, model: str) -> dict[str, Any]:
        return {"residual": True} if model == "encoder_decoder" else {}

    def __post_init__(self) -> None:
        check_choice("error", self.error, ("mse", "l1"))
        given = tuple(self.level) if isinstance(self.level, (tuple, list)) else (self.level,)
        if len(given) not in (1, 2) or given[0] > given[-1]:
            raise UsageError(
                f"level={given!r}: must be one level, or the least and the greatest; give one or two numbers."
            )
        for one in given:  # no image: only checks the kind and the level
            corrupt(torch.zeros(0, 1, 1, 1), self.noise, float(one), Draws.images(0, torch.zeros(0)))
        # a single level is a number, as in runs of earlier versions
        object.__setattr__(self, "level", float(given[0]) if given[0] == given[-1] else tuple(map(float, given)))

    @property
    def levels(self) -> tuple[float, float]:
        """The least and the greatest level."""
        return (self.level, self.level) if isinstance(self.level, float) else (self.level[0], self.level[-1])

    def at_level(self, level: float) -> Denoise:
        return replace(self, level=level)

    def outputs(self, data: Dataset, size: tuple[int, int]) -> int:
        return data.channels

    def prepare(self, batch: Batch, draws: Draws, training: bool) -> tuple[Tensor, Picture]:
        clean = unit(batch.images)  # (B, C, H, W)
        if training:  # before the noise, so that input and truth move alike
            clean = self.augment(clean, Picture(clean[:, :0]), draws)[0]
        return corrupt(clean, self.noise, self.drawn_level(draws), draws), Picture(clean)

    def drawn_level(self, draws: Draws) -> float | Tensor:
        """The level of a batch's images, or (B,) with one of the range for each; the first thing that is drawn in evaluation."""
        least, most = self.levels
        return least if least == most else draws.uniform(low=least, high=most)

    def loss(self, model: nn.Module, input: Tensor, truth: Picture) -> dict[str, Tensor]:
        measure = F.mse_loss if self.error == "mse" else F.l1_loss
        error = measure(model(input).float(), truth.pixels)
        inner = unwrapped(model)
        if getattr(inner, "sparsity", 0):
            sparsity = inner.penalty(inner.encode(input).float())
            return {"loss": error + sparsity, "error": error, "sparsity": sparsity}
        return {"loss": error}

    def predict(self, model: nn.Module, input: Tensor) -> Picture:
        """Pictures in [0, 1]: from convolutional models in one piece, from dense ones in overlapping tiles."""
        size: tuple[int, int] | None = getattr(model, "fixed_size", None)

        def answered(images: Tensor) -> Tensor:
            whole = size is None or tuple(size) == tuple(images.shape[2:])
            pictures: Tensor = model(images).float() if whole or size is None else tiled(model, images, size)
            return pictures

        return Picture(self.views.mean(answered, input).clamp(0, 1))

    def viewed(self, views: Views) -> Denoise:
        return replace(self, views=views)

    def score(self, input: Tensor, prediction: Picture, truth: Picture) -> dict[str, NDArray[Any]]:
        return metrics.columns(input, prediction.pixels, truth.pixels)

    def metrics(self, classes: Sequence[str]) -> Sequence[Metric]:
        return metrics.METRICS

    def ranking(self, records: Records) -> NDArray[np.float64]:
        """The PSNR in dB."""
        return np.asarray(records["psnr"], np.float64)

    def baselines(self, train: Split, test: Split, size: tuple[int, int] | None, seed: int = 0) -> dict[str, Records]:
        return baselines.measured(self, train, test, seed)

    def measure_model(
        self, model: nn.Module, train: Split, test: Split, size: tuple[int, int] | None, seed: int = 0
    ) -> ModelMeasures:
        """What the model and simpler methods reach at each of several levels, where it was trained for a range of them."""
        if self.levels[0] == self.levels[1]:
            return ModelMeasures()
        return model_measures.by_level(self, model, train, test, seed)

    def forms(self, options: Any) -> Mapping[str, str]:
        return {}

    def tables(self, options: Any) -> Mapping[str, Sequence[str]]:
        return {}

    def written(
        self,
        input: Tensor,
        prediction: Picture,
        names: Sequence[str],
        classes: Sequence[str],
        options: Any,
        scales: Any,
    ) -> list[dict[str, Any]]:
        """The rows of `write` with the noise that each image seems to have had, as a standard deviation in [0, 1] units."""
        rows = self.write(prediction, names, classes)
        for row, image in zip(rows, input, strict=True):
            noise = estimate.sigma(image)
            row["noise"] = None if noise is None else round(noise, 5)
        return rows

    def remarks(self, rows: Sequence[Mapping[str, Any]]) -> Sequence[str]:
        """Of gaussian noise only: that of other kinds depends on the brightness, or spares most pixels."""
        return estimate.remarks(rows, self.levels) if self.noise == "gaussian" else []

    def write(self, prediction: Picture, names: Sequence[str], classes: Sequence[str]) -> list[dict[str, Any]]:
        pictures = (prediction.pixels * 255).round().to(torch.uint8).cpu().numpy()
        return [{"name": name, "picture": picture} for name, picture in zip(names, pictures, strict=True)]

    def draw(
        self, input: Tensor, prediction: Picture, truth: Picture | None, names: Sequence[str], classes: Sequence[str]
    ) -> Figure:
        from pellucid.tasks import _figures

        return _figures.pictures(
            {"noisy": input, "denoised": prediction.pixels}, None if truth is None else truth.pixels, names
        )

    def evidence(self, output: Tensor) -> Tensor:
        """The mean absolute value of the picture, in [0, 1] units."""
        return output.float().abs().flatten(1).mean(1)
