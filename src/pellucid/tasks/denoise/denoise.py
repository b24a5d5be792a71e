# SPDX-License-Identifier: Apache-2.0
"""denoise: what does a noisy picture look like without its noise?"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Literal, final

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional as F

from pellucid._options import unfolded
from pellucid.data.batches import own_size_batches
from pellucid.data.corruption import Kind, corrupt
from pellucid.data.dataset import Batch, Dataset, Split
from pellucid.data.draws import Draws
from pellucid.data.targets import Picture
from pellucid.data.transforms import Augment
from pellucid.errors import UsageError
from pellucid.models import OutputKind
from pellucid.tasks._contract import Task
from pellucid.tasks._fidelity import psnr, ssim
from pellucid.tasks._metrics import Metric, mean
from pellucid.tasks._records import Records
from pellucid.tasks._tiling import tiled
from pellucid.tasks.denoise import baselines

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["Denoise"]

_TUNED_ON = 12  # training images on which the classical filters' strengths are chosen
_BASELINE_IMAGES = 500  # test images that they are measured on, at most: non-local means takes milliseconds an image,
_BASELINE_PIXELS = 8_000_000  # and seconds a megapixel
_METRICS = (
    mean("psnr", "PSNR", "dB"),
    mean("ssim", "SSIM"),
    mean("mae", "mean absolute error", better="lower"),
    mean("psnr_before", "PSNR before", "dB", "neither"),
    mean("ssim_before", "SSIM before", better="neither"),
)
_LEARNT_PIXELS = 2_000_000  # that PCA learns from: its patches overlap, and hold each pixel 16 times


@final
@dataclass(frozen=True)
class Denoise(Task[Tensor, Picture, Picture]):
    """What does a noisy picture look like without its noise?

    Noise is drawn afresh for every training batch, and fixed by the seed and the image's position in evaluation.

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
    """what is minimised: the mean squared or the mean absolute difference"""
    augment: Augment = unfolded(Augment(), "flip", "turn", "exposure")

    example: ClassVar[str] = "patches"
    default_model: ClassVar[str] = "unet"
    accepts: ClassVar[tuple[OutputKind, ...]] = ("map", "reconstruction")
    keeps_size: ClassVar[bool] = True

    def __post_init__(self) -> None:
        if self.error not in ("mse", "l1"):
            raise UsageError(f"error={self.error!r}: is not known; choose mse or l1.")
        corrupt(torch.zeros(0, 1, 1, 1), self.noise, self.level, Draws.images(0, torch.zeros(0)))

    def outputs(self, data: Dataset, size: tuple[int, int]) -> int:
        return data.channels

    def prepare(self, batch: Batch, draws: Draws, training: bool) -> tuple[Tensor, Picture]:
        clean = batch.images.float().div_(255)
        if training:
            clean = self.augment(clean, Picture(clean[:, :0]), draws)[
                0
            ]  # noise comes after, so input and truth move alike
        return corrupt(clean, self.noise, self.level, draws), Picture(clean)

    def loss(self, model: nn.Module, input: Tensor, truth: Picture) -> dict[str, Tensor]:
        measure = F.mse_loss if self.error == "mse" else F.l1_loss
        found = measure(model(input).float(), truth.pixels)
        inner: Any = getattr(model, "module", model)
        if getattr(inner, "sparsity", 0):
            sparsity = inner.penalty(inner.encode(input).float())
            return {"loss": found + sparsity, "error": found, "sparsity": sparsity}
        return {"loss": found}

    def predict(self, model: nn.Module, input: Tensor) -> Picture:
        """Whole pictures through convolutional models, overlapping tiles through dense ones; values in [0, 1]."""
        size: tuple[int, int] | None = getattr(model, "fixed_size", None)
        whole = size is None or tuple(size) == tuple(input.shape[2:])
        answer = model(input).float() if whole or size is None else tiled(model, input, size)
        return Picture(answer.clamp(0, 1))

    def score(self, input: Tensor, prediction: Picture, truth: Picture) -> dict[str, NDArray[Any]]:
        return _columns(input.clamp(0, 1), prediction.pixels, truth.pixels)

    def metrics(self, classes: Sequence[str]) -> Sequence[Metric]:
        return _METRICS

    def ranking(self, records: Records) -> NDArray[np.float64]:
        """The PSNR in dB."""
        return np.asarray(records["psnr"], np.float64)

    def baselines(self, train: Split, test: Split, size: tuple[int, int] | None, seed: int = 0) -> dict[str, Records]:
        channels = max(part.images.channels for part in (train, test) if len(part))
        pixels = int(test.images.sizes.prod(1).mean())
        count = min(len(test), _BASELINE_IMAGES, max(2, _BASELINE_PIXELS // pixels))
        index = _spread(len(test), count)
        noisy, clean = self._pairs(test, index, channels, seed)
        answers = {"do nothing": [np.clip(image, 0, 1) for image in noisy]}
        if len(train):  # the others are tuned on training images
            known = _spread(len(train), min(len(train), _TUNED_ON))
            tuning = tuple([_middle(image) for image in part] for part in self._pairs(train, known, channels, seed + 1))
            sigma = float(np.mean([(a - b).std() for a, b in zip(*tuning, strict=True)]))
            rules = baselines.filters(sigma)
            pca = baselines.PCA(_alike(train, channels))
            rules[pca.name] = (pca, pca.strengths())
            for name, (rule, strengths) in rules.items():
                answers[name] = baselines.run(rule, noisy, baselines.tune(rule, strengths, *tuning))
        said = f" (on {len(index)} test images)" if len(index) < len(test) else ""
        return {
            name + said: {**self._measured(noisy, answer, clean), "index": index} for name, answer in answers.items()
        }

    def _pairs(
        self, split: Split, index: NDArray[np.int64], channels: int, seed: int
    ) -> tuple[list[NDArray[np.float32]], list[NDArray[np.float32]]]:
        """Noisy and clean images (C, H, W) at these positions, the noise being that of evaluation."""
        noisy: dict[int, NDArray[np.float32]] = {}
        clean: dict[int, NDArray[np.float32]] = {}
        for batch in own_size_batches(split.select(index), channels, 64):
            own = torch.from_numpy(index)[batch.index]
            input, truth = self.prepare(Batch(batch.images, {}, own), Draws.images(seed, own), training=False)
            for place, one, other in zip(batch.index.tolist(), input, truth.pixels, strict=True):
                noisy[place], clean[place] = one.numpy(), other.numpy()
        return [noisy[i] for i in range(len(index))], [clean[i] for i in range(len(index))]

    def _measured(
        self,
        noisy: Sequence[NDArray[np.float32]],
        answers: Sequence[NDArray[np.float32]],
        clean: Sequence[NDArray[np.float32]],
    ) -> dict[str, NDArray[Any]]:
        rows: dict[int, dict[str, NDArray[Any]]] = {}
        shapes = [image.shape for image in clean]
        for shape in dict.fromkeys(shapes):
            places = [i for i, other in enumerate(shapes) if other == shape]
            before, after, truth = (torch.from_numpy(np.stack([x[i] for i in places])) for x in (noisy, answers, clean))
            columns = _columns(before.clamp(0, 1), after, truth)
            rows |= {i: {name: column[k] for name, column in columns.items()} for k, i in enumerate(places)}
        return {name: np.array([rows[i][name] for i in range(len(clean))]) for name in rows[0]}

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


def _columns(input: Tensor, answer: Tensor, truth: Tensor) -> dict[str, NDArray[Any]]:
    """What is measured of each picture; all of them (B, C, H, W) in [0, 1]."""
    found = {
        "psnr": psnr(answer, truth),
        "ssim": ssim(answer, truth),
        "mae": (answer - truth).abs().flatten(1).mean(1),
        "psnr_before": psnr(input, truth),
        "ssim_before": ssim(input, truth),
    }
    return {name: value.cpu().numpy() for name, value in found.items()}


def _spread(images: int, count: int) -> NDArray[np.int64]:
    """Evenly spread positions, `count` out of `images`."""
    return np.linspace(0, images - 1, count).round().astype(np.int64)


def _middle(image: NDArray[np.float32]) -> NDArray[np.float32]:
    """(C, H, W) cut to its middle, at most 128 px a side."""
    top, left = (max(0, side - 128) // 2 for side in image.shape[1:])
    return np.ascontiguousarray(image[:, top : top + 128, left : left + 128])


def _alike(train: Split, channels: int) -> NDArray[np.float32]:
    """(N, C, H, W) in [0, 1]: training images of the commonest size, up to 2,000, fewer where they are large."""
    sizes, counts = np.unique(train.images.sizes, axis=0, return_counts=True)
    size = sizes[counts.argmax()]
    same = np.flatnonzero((train.images.sizes == size).all(1))
    count = min(len(same), 2000, max(2, _LEARNT_PIXELS // int(size.prod())))
    batches = own_size_batches(train.select(same[_spread(len(same), count)]), channels, count)
    return torch.cat([batch.images for batch in batches]).float().div_(255).numpy()
