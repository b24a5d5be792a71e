# SPDX-License-Identifier: Apache-2.0
"""Classical denoising filters, each with its strength chosen on training images."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn
from torch.nn import functional as F

from pellucid._spread import evenly_spread
from pellucid.data.batches import own_size_batches
from pellucid.data.colour import unit
from pellucid.data.dataset import Batch, Split
from pellucid.data.decoding import workers
from pellucid.data.draws import Draws
from pellucid.data.targets import Picture
from pellucid.tasks._records import Records
from pellucid.tasks.denoise import metrics

__all__ = ["PCA", "DenoiseTask", "Filter", "filtered", "filters", "measured", "pairs", "records", "run", "tune"]

Image = NDArray[np.float32]  # (C, H, W)
Filter = Callable[[Image, float], Image]

_TUNED_ON = 12  # training images on which the strengths of the classical filters are chosen
_BASELINE_IMAGES = 500  # test images that they are measured on, at most: non-local means takes milliseconds per image,
_BASELINE_PIXELS = 8_000_000  # and seconds per megapixel
_LEARNT_PIXELS = 2_000_000  # that PCA learns from: its patches overlap, and contain each pixel 16 times
_LEARNT_IMAGES = 2000
_MIDDLE = 128  # px a side, of the images that strengths are chosen on
_PARTS = 4  # of a range of levels, each of which has strengths of its own


class DenoiseTask(Protocol):
    """What the measures need of the task."""

    @property
    def levels(self) -> tuple[float, float]: ...
    def at_level(self, level: float) -> DenoiseTask: ...
    def drawn_level(self, draws: Draws) -> float | torch.Tensor: ...
    def prepare(self, batch: Batch, draws: Draws, training: bool) -> tuple[torch.Tensor, Picture]: ...
    def predict(self, model: nn.Module, input: torch.Tensor) -> Picture: ...


def measured(task: DenoiseTask, train: Split, test: Split, seed: int) -> dict[str, Records]:
    """The records of every method on the test images, with the noise of evaluation, and their positions.

    Strengths are chosen on training images with other noise. Of a range of levels, filters know how strong the noise of each image
    is, which a model for all of them does not: their strengths are in units of it, and chosen for four parts of the range.
    """
    channels = max(part.images.channels for part in (train, test) if len(part))
    pixels = int(test.images.sizes.prod(1).mean())
    index = evenly_spread(min(len(test), _BASELINE_IMAGES, max(2, _BASELINE_PIXELS // pixels)), len(test))
    noisy, clean = pairs(task, test, index, channels, seed)
    answers = {"do nothing": [np.clip(image, 0, 1) for image in noisy]}
    if len(train):  # the others are tuned on training images, with other noise
        pca, part_of = PCA(_of_one_size(train, channels)), _parts(task, index, seed)
        known, ranged = evenly_spread(_TUNED_ON, len(train)), task.levels[0] < task.levels[1]
        for level in dict.fromkeys(part_of):
            places = [place for place, own in enumerate(part_of) if own == level]
            tuning = pairs(task.at_level(level), train, known, channels, seed + 1)
            own_noise = [float((noisy[place] - clean[place]).std()) for place in places]
            found = filtered([noisy[place] for place in places], tuning, pca, own_noise if ranged else None)
            for name, own in found.items():
                images = answers.setdefault(name, list(noisy))
                for place, answer in zip(places, own, strict=True):
                    images[place] = answer
    some = f" (on {len(index)} test images)" if len(index) < len(test) else ""
    return {name + some: {**records(noisy, answer, clean), "index": index} for name, answer in answers.items()}


def _parts(task: DenoiseTask, index: NDArray[np.int64], seed: int) -> list[float]:
    """The level for which filters are made for each image at these positions: the middle of its part of the range."""
    least, most = task.levels
    if least == most:
        return [least] * len(index)
    own = torch.as_tensor(task.drawn_level(Draws.images(seed, torch.from_numpy(index)))).numpy()
    part = np.clip((own - least) / (most - least) * _PARTS, 0, _PARTS - 1).astype(int)
    return [float(least + (k + 0.5) / _PARTS * (most - least)) for k in part]


def filtered(
    noisy: Sequence[Image],
    tuning: tuple[list[Image], list[Image]],
    pca: PCA | None = None,
    sigmas: Sequence[float] | None = None,
) -> dict[str, list[Image]]:
    """Images after each filter, whose strength is chosen on noisy and clean images of the same level.

    Args:
        noisy: the images.
        tuning: noisy and clean images.
        pca: a further filter.
        sigmas: the standard deviation of each image's noise, where it differs; by default that of the tuning images.
    """
    middle = tuple([_middle(image) for image in part] for part in tuning)
    sigma = float(np.mean([(a - b).std() for a, b in zip(*middle, strict=True)]))
    rules = filters(sigma)
    answers: dict[str, list[Image]] = {}
    for name, (rule, strengths) in rules.items():
        strength = tune(rule, strengths, *middle)
        if sigmas is None:
            answers[name] = run(rule, noisy, strength)
            continue
        place = [*strengths].index(strength)
        own = [(rule, strengths[place]) for rule, strengths in (filters(one)[name] for one in sigmas)]
        with ThreadPoolExecutor(workers()) as pool:
            answers[name] = [*pool.map(lambda image, one: run(one[0], [image], one[1])[0], noisy, own)]
    if pca is not None:
        answers[pca.name] = run(pca, noisy, tune(pca, pca.strengths(), *middle))
    return answers


def pairs(
    task: DenoiseTask, split: Split, index: NDArray[np.int64], channels: int, seed: int
) -> tuple[list[Image], list[Image]]:
    """Noisy and clean images (C, H, W) at these positions, with the noise of evaluation."""
    noisy: dict[int, Image] = {}
    clean: dict[int, Image] = {}
    for batch in own_size_batches(split.select(index), channels, 64, deep=True):
        own = torch.from_numpy(index)[batch.index]  # positions in the whole split, which fix the noise
        input, truth = task.prepare(Batch(batch.images, {}, own), Draws.images(seed, own), training=False)
        for place, one, other in zip(batch.index.tolist(), input, truth.pixels, strict=True):
            noisy[place], clean[place] = one.numpy(), other.numpy()
    return [noisy[i] for i in range(len(index))], [clean[i] for i in range(len(index))]


def records(noisy: Sequence[Image], answers: Sequence[Image], clean: Sequence[Image]) -> dict[str, NDArray[Any]]:
    """The records of pictures (C, H, W), those of one size together."""
    rows: dict[int, dict[str, NDArray[Any]]] = {}
    shapes = [image.shape for image in clean]
    for shape in dict.fromkeys(shapes):
        places = [i for i, other in enumerate(shapes) if other == shape]
        before, after, truth = (torch.from_numpy(np.stack([x[i] for i in places])) for x in (noisy, answers, clean))
        columns = metrics.columns(before, after, truth)
        rows |= {i: {name: column[k] for name, column in columns.items()} for k, i in enumerate(places)}
    return {name: np.array([rows[i][name] for i in range(len(clean))]) for name in rows[0]}


def _middle(image: Image) -> Image:
    """The middle of an image (C, H, W), at most 128 px a side."""
    top, left = (max(0, side - _MIDDLE) // 2 for side in image.shape[1:])
    return np.ascontiguousarray(image[:, top : top + _MIDDLE, left : left + _MIDDLE])


def _of_one_size(train: Split, channels: int) -> Image:
    """(N, C, H, W) in [0, 1]: training images of the most common size, up to 2,000, fewer where they are large."""
    sizes, counts = np.unique(train.images.sizes, axis=0, return_counts=True)
    size = sizes[counts.argmax()]
    same = np.flatnonzero((train.images.sizes == size).all(1))
    count = min(len(same), _LEARNT_IMAGES, max(2, _LEARNT_PIXELS // int(size.prod())))
    batches = own_size_batches(train.select(same[evenly_spread(count, len(same))]), channels, count, deep=True)
    return torch.cat([unit(batch.images) for batch in batches]).numpy()


def filters(sigma: float) -> dict[str, tuple[Filter, Sequence[float]]]:
    """Each filter with the strengths to try; `sigma` is the standard deviation of the noise, in [0, 1] units."""
    blurs = (0.4, 0.6, 0.8, 1.0, 1.3, 1.7, 2.2)
    return {
        "median": (_median, (3, 5, 7)),
        "Gaussian blur": (_gaussian, blurs),
        "non-local means": (
            lambda image, h: _nl_means(image, h, sigma),
            tuple(sigma * f for f in (0.4, 0.6, 0.8, 1.0, 1.3)),
        ),
        "total variation": (_total_variation, tuple(max(sigma, 0.02) * f for f in (0.3, 0.6, 0.9, 1.2, 1.6, 2.2))),
    }


def run(rule: Filter, images: Sequence[Image], strength: float) -> list[Image]:
    """A filter applied to many images, in parallel; its answers are clipped to [0, 1]."""
    with ThreadPoolExecutor(workers()) as pool:
        return list(pool.map(lambda image: np.clip(rule(image, strength), 0, 1).astype(np.float32), images))


def tune(rule: Filter, strengths: Sequence[float], noisy: Sequence[Image], clean: Sequence[Image]) -> float:
    """The strength with the highest mean PSNR on noisy images whose clean versions are known."""

    def mean_psnr(strength: float) -> float:
        errors = [float(((a - b) ** 2).mean()) for a, b in zip(run(rule, noisy, strength), clean, strict=True)]
        return float(np.mean([-np.log10(max(error, 1e-12)) for error in errors]))  # in units of 10 dB

    return max(strengths, key=mean_psnr)


def _median(image: Image, size: float) -> Image:
    from scipy.ndimage import median_filter

    smooth: Image = median_filter(image, size=(1, int(size), int(size)))
    return smooth


def _gaussian(image: Image, sigma: float) -> Image:
    from scipy.ndimage import gaussian_filter

    smooth: Image = gaussian_filter(image, (0, sigma, sigma))
    return smooth


def _nl_means(image: Image, h: float, sigma: float) -> Image:
    """Non-local means with patches of 7×7 in a window of 23×23 (Buades et al. 2005; Darbon et al. 2008 for the speed)."""
    from skimage.restoration import denoise_nl_means

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # scikit-image warns of small images, and handles them well
        # without a channel axis for grey images: scikit-image 0.26 would return them transposed
        grey = len(image) == 1
        cleaned: Image = denoise_nl_means(
            image[0] if grey else image,
            h=max(h, 1e-3),
            sigma=sigma,
            patch_size=7,
            patch_distance=11,
            fast_mode=True,
            channel_axis=None if grey else 0,
        )
    return cleaned[None] if grey else cleaned


def _total_variation(image: Image, weight: float) -> Image:
    """Total variation denoising (Chambolle 2004)."""
    from skimage.restoration import denoise_tv_chambolle

    smooth: Image = denoise_tv_chambolle(image, weight=weight, channel_axis=0)
    return smooth


class PCA:
    """Projection of patches onto the leading principal components of clean training patches (Muresan & Parks 2003).

    Images of at most 32×32 px are one patch each; larger ones are cut into 8×8 patches at every second pixel, and the
    projections of overlapping patches are averaged.

    Args:
        clean: (N, C, H, W) in [0, 1].
    """

    def __init__(self, clean: NDArray[np.float32]) -> None:
        whole = max(clean.shape[2:]) <= 32
        self.side = (clean.shape[2], clean.shape[3]) if whole else (8, 8)
        self.stride = 1 if whole else 2
        self.name = "PCA of whole images" if whole else "PCA of 8×8 patches"
        rows = self._patches(torch.from_numpy(clean[:2000]))  # (patches, D)
        rows = rows[torch.randperm(len(rows), generator=torch.Generator().manual_seed(0))[:50_000]]
        self.mean = rows.mean(0)
        self.basis = torch.linalg.svd(rows - self.mean, full_matrices=False).Vh  # (D, D), strongest first

    def strengths(self) -> list[float]:
        """The numbers of components to try."""
        return [float(k) for k in (2, 4, 8, 16, 24, 32, 48, 64, 96, 128, 192) if k < len(self.basis)]

    def __call__(self, image: Image, components: float) -> Image:
        basis = self.basis[: int(components)]
        batch = torch.from_numpy(np.ascontiguousarray(image))[None]
        height, width = batch.shape[2:]
        tall, wide = self.side
        # strides cover the padded image exactly
        down, right = -(height - tall) % self.stride, -(width - wide) % self.stride
        padded = F.pad(batch, (0, max(right, wide - width), 0, max(down, tall - height)), mode="replicate")
        rows = self._patches(padded) - self.mean
        answers = (rows @ basis.T @ basis + self.mean).T[None]  # (1, D, L)
        size = (padded.shape[2], padded.shape[3])
        # `fold` adds up overlapping patches; the number of patches over each pixel makes it a mean
        counts = F.fold(torch.ones_like(answers), size, self.side, stride=self.stride)
        merged = F.fold(answers, size, self.side, stride=self.stride) / counts.clamp_min(1)
        return merged[0, :, :height, :width].numpy()

    def _patches(self, images: torch.Tensor) -> torch.Tensor:
        """(B·L, D): all patches of images (B, C, H, W), as rows."""
        patches = F.unfold(images, self.side, stride=self.stride)  # (B, D, L)
        return patches.transpose(1, 2).reshape(-1, patches.shape[1])
