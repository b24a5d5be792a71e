# SPDX-License-Identifier: Apache-2.0
"""A small classifier of the training data, in whose features and classes samples are measured; Fréchet distances."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, final

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional as F

__all__ = ["FEATURES", "Distances", "ReferenceClassifier", "frechet"]

FEATURES = 64
"""Width of the layer before the last, the features that samples are compared in."""

_TRAINED_ON = 20_000  # images at most: a few seconds, and 98.5 % of MNIST's test digits
_EPOCHS, _BATCH, _PEAK_RATE = 6, 128, 2e-3
_LEAST_STEPS = 300
_CLUSTERS = 10  # modes where there are no labels
_HALVINGS = 5

Floats = NDArray[np.float64]


@final
@dataclass(frozen=True)
class ReferenceClassifier:
    """A classifier of the data that a generator was trained on; its classes are the modes that samples should cover.

    >>> images = torch.zeros(64, 1, 8, 8, dtype=torch.uint8)
    >>> images[32:] = 255
    >>> reference = ReferenceClassifier.trained(images, torch.arange(64) // 32, ("dark", "bright"), seed=0)
    >>> reference.classes(images[[0, 63]]).tolist(), reference.features(images).shape
    ([0, 1], torch.Size([64, 64]))
    """

    body: nn.Module  # images to features
    head: nn.Module  # features to logits
    modes: tuple[str, ...]
    description: str  # what it was trained on

    @classmethod
    def trained(cls, images: Tensor, labels: Tensor | None, names: Sequence[str], seed: int) -> ReferenceClassifier:
        """Train on images (N, C, H, W) uint8, at most 20,000 of them, and their labels (N,).

        Without labels the classes are ten k-means clusters of the pixels: groups of similar images without a name.
        """
        chosen = torch.randperm(len(images), generator=torch.Generator().manual_seed(seed))[:_TRAINED_ON]
        images = images[chosen]
        if labels is not None and len(names) > 1:
            labels, modes = labels[chosen], tuple(names)
            description = f"a classifier trained on {len(images):,} training images and their labels"
        else:
            labels = _clusters(images, seed)
            modes = tuple(f"cluster {k}" for k in range(int(labels.max()) + 1))
            description = f"a classifier of {len(modes)} k-means clusters of {len(images):,} training images (there are no labels)"
        # seeded apart: measuring must not move the random numbers of whoever measures
        with torch.random.fork_rng(devices=[]), torch.enable_grad():
            torch.manual_seed(seed)
            body, head = _body(images.shape[1], images.shape[2:]), nn.Linear(FEATURES, len(modes))
            reference = cls(body, head, modes, description)
            reference._fit(images, labels)
        return reference

    def _fit(self, images: Tensor, labels: Tensor) -> None:
        """Adam with a one-cycle schedule, always in fp32, so that the measures do not depend on the run's precision."""
        both = nn.ModuleList([self.body, self.head]).train()
        per_epoch = -(-len(images) // _BATCH)
        epochs = max(_EPOCHS, -(-_LEAST_STEPS // per_epoch))
        optimizer = torch.optim.Adam(both.parameters(), lr=_PEAK_RATE, fused=True)
        schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, _PEAK_RATE, total_steps=epochs * per_epoch + 1)
        for _ in range(epochs):
            for index in torch.randperm(len(images)).split(_BATCH):
                loss = F.cross_entropy(self.head(self.body(_unit_range(images[index]))), labels[index])
                optimizer.zero_grad()
                loss.backward()
                optimizer.step()
                schedule.step()
        both.eval().requires_grad_(False)

    @torch.no_grad()
    def features(self, images: Tensor) -> Tensor:
        """(N, 64): the input of the last layer for images (N, C, H, W), uint8 or float in [0, 1]."""
        return torch.cat([self.body(_unit_range(part)) for part in images.split(512)])

    @torch.no_grad()
    def classes(self, images: Tensor) -> Tensor:
        """(N,) int64: the most probable class of each image."""
        logits: Tensor = self.head(self.features(images))
        return logits.argmax(1)

    @torch.no_grad()
    def confidence(self, images: Tensor) -> float:
        """The mean probability of the most probable class."""
        logits: Tensor = self.head(self.features(images))
        return float(logits.softmax(1).amax(1).mean())


def frechet(one: Tensor, other: Tensor) -> float:
    """The Fréchet distance between two sets of features (N, D), each taken as a Gaussian (Dowson & Landau 1982, eq. 4).

    |μ₁ − μ₂|² + tr(Σ₁ + Σ₂ − 2(Σ₁Σ₂)^½). The estimate falls as N grows, so compare values at equal N only.

    >>> frechet(torch.tensor([[0.0], [2.0]]), torch.tensor([[3.0], [5.0]]))
    9.0
    """
    a, b = one.double().cpu().numpy(), other.double().cpu().numpy()
    gap: Floats = a.mean(0) - b.mean(0)
    first, second = (np.atleast_2d(np.cov(x, rowvar=False)) for x in (a, b))  # (D, D) each
    values, vectors = np.linalg.eigh(first)
    root = (vectors * np.sqrt(values.clip(0))) @ vectors.T  # Σ₁^½; rounding can leave tiny negative eigenvalues
    # tr (Σ₁Σ₂)^½ = tr (Σ₁^½ Σ₂ Σ₁^½)^½, the trace of a symmetric matrix's root
    shared = np.sqrt(np.linalg.eigvalsh(root @ second @ root).clip(0)).sum()
    return float(gap @ gap + np.trace(first) + np.trace(second) - 2 * shared)


@final
@dataclass(frozen=True)
class Distances:
    """Fréchet distances from real images at the same sample size, over random halves of these, (5,) each."""

    generated: Floats
    floor: Floats  # of the other half of the real images
    training: Floats | None  # of training images; None where there are too few
    size: int  # of each sample

    @classmethod
    def of(cls, real: Tensor, generated: Tensor, training: Tensor | None, seed: int) -> Distances:
        """Compare features of generated, of other real and of training images with those of real ones, (N, D) each.

        The real features are split into random halves five times. The floor is the distance between the halves; as many features
        as a half has are drawn from the other sets, and compared with one of the halves.

        >>> torch.manual_seed(0) and None
        >>> found = Distances.of(torch.randn(400, 2), torch.randn(400, 2) + 1, torch.randn(400, 2), seed=0)
        >>> bool(found.generated.min() > 10 * found.training.max()), found.size
        (True, 200)
        """
        rng, apart = np.random.default_rng(seed), np.random.default_rng(seed + 1)
        half = min(len(real) // 2, len(generated))
        rows = []
        for _ in range(_HALVINGS):
            order, drawn = rng.permutation(len(real)), rng.permutation(len(generated))[:half]
            known, unseen = real[order[:half]], real[order[half : 2 * half]]
            sets = [generated[drawn], unseen]
            if training is not None and len(training) >= half:
                sets.append(training[apart.permutation(len(training))[:half]])
            rows.append([frechet(features, known) for features in sets])
        columns = np.array(rows).T
        return cls(columns[0], columns[1], columns[2] if len(columns) > 2 else None, half)


def _unit_range(images: Tensor) -> Tensor:
    """Float images in [0, 1] from uint8 ones; others as they are."""
    return images.float().div(255) if images.dtype == torch.uint8 else images.float()


def _body(channels: int, size: torch.Size) -> nn.Module:
    """Two convolutions that halve the image, and a dense layer of features."""
    height, width = (-(-side // 4) for side in size)
    return nn.Sequential(
        nn.Conv2d(channels, 32, 3, stride=2, padding=1), nn.ReLU(),
        nn.Conv2d(32, 64, 3, stride=2, padding=1), nn.ReLU(),
        nn.Flatten(), nn.Dropout(0.25), nn.Linear(64 * height * width, FEATURES), nn.ReLU(),
    )  # fmt: skip


def _clusters(images: Tensor, seed: int) -> Tensor:
    """(N,) int64: k-means on the pixels, averaged down to 8×8 where images are larger."""
    from sklearn.cluster import KMeans

    small: Any = _unit_range(images)
    if max(images.shape[2:]) > 8:
        small = F.adaptive_avg_pool2d(small, 8)
    labels = KMeans(min(_CLUSTERS, len(images)), n_init=3, random_state=seed).fit_predict(small.flatten(1).numpy())
    return torch.from_numpy(labels.astype(np.int64))
