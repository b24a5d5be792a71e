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
from pellucid._spread import evenly_spread
from pellucid.data.batches import own_size_batches
from pellucid.data.colour import unit
from pellucid.data.corruption import Kind, corrupt
from pellucid.data.dataset import Batch, Dataset, Split
from pellucid.data.draws import Draws
from pellucid.data.targets import Picture
from pellucid.data.transforms import Augment
from pellucid.errors import check_choice
from pellucid.models import OutputKind
from pellucid.tasks._contract import Task
from pellucid.tasks._metrics import Metric
from pellucid.tasks._records import Records
from pellucid.tasks._tiling import tiled
from pellucid.tasks._views import Views
from pellucid.tasks._wrapping import unwrapped
from pellucid.tasks.denoise import baselines, metrics

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["Denoise"]

_TUNED_ON = 12  # training images on which the strengths of the classical filters are chosen
_BASELINE_IMAGES = 500  # test images that they are measured on, at most: non-local means takes milliseconds per image,
_BASELINE_PIXELS = 8_000_000  # and seconds per megapixel
_LEARNT_PIXELS = 2_000_000  # that PCA learns from: its patches overlap, and contain each pixel 16 times
_LEARNT_IMAGES = 2000
_MIDDLE = 128  # px a side, of the images that strengths are chosen on


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
    level: float = 25 / 255
    """sigma of gaussian and speckle noise in [0, 1] units; share of pixels (salt_and_pepper) or area (missing); brightness of one photon in [0, 1] units (poisson)"""  # noqa: E501
    error: Literal["mse", "l1"] = "mse"
    """loss: the mean squared (mse) or the mean absolute (l1) error"""
    augment: Augment = unfolded(Augment(), "flip", "turn", "exposure", "shading", "contrast")

    views: Views = learned(Views())  # whose mean is answered

    example: ClassVar[str] = "glyphs"
    example_options: ClassVar[Mapping[str, Any]] = {"epochs": 2, "batch_size": 32}
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
        # no image: only checks the kind and the level
        corrupt(torch.zeros(0, 1, 1, 1), self.noise, self.level, Draws.images(0, torch.zeros(0)))

    def outputs(self, data: Dataset, size: tuple[int, int]) -> int:
        return data.channels

    def prepare(self, batch: Batch, draws: Draws, training: bool) -> tuple[Tensor, Picture]:
        clean = unit(batch.images)  # (B, C, H, W)
        if training:  # before the noise, so that input and truth move alike
            clean = self.augment(clean, Picture(clean[:, :0]), draws)[0]
        return corrupt(clean, self.noise, self.level, draws), Picture(clean)

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
        return metrics.columns(input.clamp(0, 1), prediction.pixels, truth.pixels)

    def metrics(self, classes: Sequence[str]) -> Sequence[Metric]:
        return metrics.METRICS

    def ranking(self, records: Records) -> NDArray[np.float64]:
        """The PSNR in dB."""
        return np.asarray(records["psnr"], np.float64)

    def baselines(self, train: Split, test: Split, size: tuple[int, int] | None, seed: int = 0) -> dict[str, Records]:
        channels = max(part.images.channels for part in (train, test) if len(part))
        pixels = int(test.images.sizes.prod(1).mean())
        count = min(len(test), _BASELINE_IMAGES, max(2, _BASELINE_PIXELS // pixels))
        index = evenly_spread(count, len(test))
        noisy, clean = self._pairs(test, index, channels, seed)
        answers = {"do nothing": [np.clip(image, 0, 1) for image in noisy]}
        if len(train):  # the others are tuned on training images, with other noise
            known = evenly_spread(_TUNED_ON, len(train))
            tuning = tuple([_middle(image) for image in part] for part in self._pairs(train, known, channels, seed + 1))
            sigma = float(np.mean([(a - b).std() for a, b in zip(*tuning, strict=True)]))
            rules = baselines.filters(sigma)
            pca = baselines.PCA(_of_one_size(train, channels))
            rules[pca.name] = (pca, pca.strengths())
            for name, (rule, strengths) in rules.items():
                answers[name] = baselines.run(rule, noisy, baselines.tune(rule, strengths, *tuning))
        some = f" (on {len(index)} test images)" if len(index) < len(test) else ""
        return {name + some: {**_measured(noisy, answer, clean), "index": index} for name, answer in answers.items()}

    def _pairs(
        self, split: Split, index: NDArray[np.int64], channels: int, seed: int
    ) -> tuple[list[NDArray[np.float32]], list[NDArray[np.float32]]]:
        """Noisy and clean images (C, H, W) at these positions, with the noise of evaluation."""
        noisy: dict[int, NDArray[np.float32]] = {}
        clean: dict[int, NDArray[np.float32]] = {}
        for batch in own_size_batches(split.select(index), channels, 64, deep=True):
            own = torch.from_numpy(index)[batch.index]  # positions in the whole split, which fix the noise
            input, truth = self.prepare(Batch(batch.images, {}, own), Draws.images(seed, own), training=False)
            for place, one, other in zip(batch.index.tolist(), input, truth.pixels, strict=True):
                noisy[place], clean[place] = one.numpy(), other.numpy()
        return [noisy[i] for i in range(len(index))], [clean[i] for i in range(len(index))]

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


def _measured(
    noisy: Sequence[NDArray[np.float32]],
    answers: Sequence[NDArray[np.float32]],
    clean: Sequence[NDArray[np.float32]],
) -> dict[str, NDArray[Any]]:
    """The records of pictures (C, H, W), those of one size together."""
    rows: dict[int, dict[str, NDArray[Any]]] = {}
    shapes = [image.shape for image in clean]
    for shape in dict.fromkeys(shapes):
        places = [i for i, other in enumerate(shapes) if other == shape]
        before, after, truth = (torch.from_numpy(np.stack([x[i] for i in places])) for x in (noisy, answers, clean))
        columns = metrics.columns(before.clamp(0, 1), after, truth)
        rows |= {i: {name: column[k] for name, column in columns.items()} for k, i in enumerate(places)}
    return {name: np.array([rows[i][name] for i in range(len(clean))]) for name in rows[0]}


def _middle(image: NDArray[np.float32]) -> NDArray[np.float32]:
    """The middle of an image (C, H, W), at most 128 px a side."""
    top, left = (max(0, side - _MIDDLE) // 2 for side in image.shape[1:])
    return np.ascontiguousarray(image[:, top : top + _MIDDLE, left : left + _MIDDLE])


def _of_one_size(train: Split, channels: int) -> NDArray[np.float32]:
    """(N, C, H, W) in [0, 1]: training images of the most common size, up to 2,000, fewer where they are large."""
    sizes, counts = np.unique(train.images.sizes, axis=0, return_counts=True)
    size = sizes[counts.argmax()]
    same = np.flatnonzero((train.images.sizes == size).all(1))
    count = min(len(same), _LEARNT_IMAGES, max(2, _LEARNT_PIXELS // int(size.prod())))
    batches = own_size_batches(train.select(same[evenly_spread(count, len(same))]), channels, count, deep=True)
    return torch.cat([unit(batch.images) for batch in batches]).numpy()
