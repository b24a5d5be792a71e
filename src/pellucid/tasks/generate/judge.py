# SPDX-License-Identifier: Apache-2.0
"""A small classifier of the very data that a generator learnt from, and what it says about the generator's pictures."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, final

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional as F

__all__ = ["FEATURES", "Judge", "frechet", "frechet_beside_floor"]

FEATURES = 64
_TRAINED_ON = 20_000  # images at most: a few seconds, and 98.5 % of MNIST's test digits
_EPOCHS, _BATCH, _PEAK = 6, 128, 2e-3
_LEAST_STEPS = 300
_FOUND_MODES = 10  # where there are no labels
_ROUNDS = 5

Floats = NDArray[np.float64]


@final
@dataclass(frozen=True)
class Judge:
    """A trained classifier with what its classes are.

    >>> images = torch.zeros(64, 1, 8, 8, dtype=torch.uint8)
    >>> images[32:] = 255
    >>> judge = Judge.trained(images, torch.arange(64) // 32, ("dark", "bright"), seed=0)
    >>> judge.classes(images[[0, 63]]).tolist(), judge.features(images).shape
    ([0, 1], torch.Size([64, 64]))
    """

    body: nn.Module
    head: nn.Module
    modes: tuple[str, ...]
    words: str  # what the classes are

    @classmethod
    def trained(cls, images: Tensor, labels: Tensor | None, names: Sequence[str], seed: int) -> Judge:
        """Learn the classes of images (N, C, H, W) uint8, N or fewer of them; without labels, of clusters of their pixels.

        The clusters are those of k-means, k = 10: then the modes are groups of alike pictures that nobody named.
        """
        chosen = torch.randperm(len(images), generator=torch.Generator().manual_seed(seed))[:_TRAINED_ON]
        images = images[chosen]
        if labels is not None and len(names) > 1:
            labels, modes = labels[chosen], tuple(names)
            words = f"a classifier trained on {len(images):,} training images and their labels"
        else:
            labels = _clusters(images, seed)
            modes = tuple(f"cluster {k}" for k in range(int(labels.max()) + 1))
            words = f"there are no labels: a classifier of {len(modes)} clusters that k-means finds in {len(images):,} training images"
        with torch.random.fork_rng(devices=[]), torch.enable_grad():
            torch.manual_seed(seed)
            judge = cls(_body(images.shape[1], images.shape[2:]), nn.Linear(FEATURES, len(modes)), modes, words)
            judge._learn(images, labels)
        return judge

    def _learn(self, images: Tensor, labels: Tensor) -> None:
        """Adam with a rising and falling rate; in fp32, so that it is the same everywhere."""
        both = nn.ModuleList([self.body, self.head]).train()
        per_epoch = -(-len(images) // _BATCH)
        epochs = max(_EPOCHS, -(-_LEAST_STEPS // per_epoch))
        optimizer = torch.optim.Adam(both.parameters(), lr=_PEAK, fused=True)
        course = torch.optim.lr_scheduler.OneCycleLR(optimizer, _PEAK, total_steps=epochs * per_epoch + 1)
        for _ in range(epochs):
            for index in torch.randperm(len(images)).split(_BATCH):
                loss = F.cross_entropy(self.head(self.body(_unit(images[index]))), labels[index])
                optimizer.zero_grad()
                loss.backward()
                optimizer.step()
                course.step()
        both.eval().requires_grad_(False)

    @torch.no_grad()
    def features(self, images: Tensor) -> Tensor:
        """(N, 64): what the classifier's last layer sees of images (N, C, H, W), uint8 or in [0, 1]."""
        return torch.cat([self.body(_unit(part)) for part in images.split(512)])

    @torch.no_grad()
    def classes(self, images: Tensor) -> Tensor:
        """(N,) int64: the most probable class of each image."""
        return self.head(self.features(images)).argmax(1)  # type: ignore[no-any-return]


def frechet(one: Tensor, other: Tensor) -> float:
    """The Fréchet distance of two sets of features (N, D), each taken as a Gaussian (Dowson & Landau 1982, eq. 4).

    |μ₁ − μ₂|² + tr(Σ₁ + Σ₂ − 2(Σ₁Σ₂)^½); it falls as the samples grow, so that only equal N compare.

    >>> frechet(torch.tensor([[0.0], [2.0]]), torch.tensor([[3.0], [5.0]]))
    9.0
    """
    a, b = one.double().cpu().numpy(), other.double().cpu().numpy()
    gap: Floats = a.mean(0) - b.mean(0)
    first, second = (np.atleast_2d(np.cov(x, rowvar=False)) for x in (a, b))
    values, vectors = np.linalg.eigh(first)
    root = (vectors * np.sqrt(values.clip(0))) @ vectors.T
    # tr (Σ₁Σ₂)^½ = tr (Σ₁^½ Σ₂ Σ₁^½)^½, of a symmetric matrix
    shared = np.sqrt(np.linalg.eigvalsh(root @ second @ root).clip(0)).sum()
    return float(gap @ gap + np.trace(first) + np.trace(second) - 2 * shared)


def frechet_beside_floor(real: Tensor, made: Tensor, seed: int) -> tuple[Floats, Floats, int]:
    """The Fréchet distance of samples and of other real images from real images, (5,) each, and the sample size of both.

    Real features (N, D) are halved at random five times; the floor is the distance of the halves, and the samples, as
    many as a half, are held against one of them.
    """
    rng = np.random.default_rng(seed)
    half = min(len(real) // 2, len(made))
    distances, floors = [], []
    for _ in range(_ROUNDS):
        order, drawn = rng.permutation(len(real)), rng.permutation(len(made))[:half]
        known, unseen = real[order[:half]], real[order[half : 2 * half]]
        distances.append(frechet(made[drawn], known))
        floors.append(frechet(unseen, known))
    return np.array(distances), np.array(floors), half


def _unit(images: Tensor) -> Tensor:
    return images.float().div(255) if images.dtype == torch.uint8 else images.float()


def _body(channels: int, size: torch.Size) -> nn.Module:
    """Two halving convolutions and a dense layer of features."""
    height, width = (-(-side // 4) for side in size)
    return nn.Sequential(
        nn.Conv2d(channels, 32, 3, stride=2, padding=1), nn.ReLU(),
        nn.Conv2d(32, 64, 3, stride=2, padding=1), nn.ReLU(),
        nn.Flatten(), nn.Dropout(0.25), nn.Linear(64 * height * width, FEATURES), nn.ReLU(),
    )  # fmt: skip


def _clusters(images: Tensor, seed: int) -> Tensor:
    """(N,) int64: k-means on the pixels, brought down to 8×8 where they are larger."""
    from sklearn.cluster import KMeans

    small: Any = _unit(images)
    if max(images.shape[2:]) > 8:
        small = F.adaptive_avg_pool2d(small, 8)
    found = KMeans(min(_FOUND_MODES, len(images)), n_init=3, random_state=seed).fit_predict(small.flatten(1).numpy())
    return torch.from_numpy(found.astype(np.int64))
