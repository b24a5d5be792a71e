# SPDX-License-Identifier: Apache-2.0
"""How well generated samples match the distribution of held-out images: the energy score of each image."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Self, final

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from pellucid.tasks.generate import seeded

__all__ = ["SAMPLES", "SampleSet", "features", "samples_of"]

SAMPLES = 1000
"""How many samples an image is scored against."""

_AT_ONCE = 250
_CHANNELS = (32, 64)
_SIDE = 8  # px: larger feature maps are averaged down to this


@final
@dataclass(frozen=True)
class SampleSet:
    """Samples that images are scored against.

    >>> samples = SampleSet.of(torch.rand(50, 1, 8, 8))
    >>> score, nearest = samples.score(torch.rand(3, 1, 8, 8))
    >>> score.shape, bool((nearest > 0).all())
    (torch.Size([3]), True)
    """

    pixels: Tensor  # (S, C·H·W)
    features: Tensor  # (S, D)
    half_spread: Tensor  # (), ½E|X − X′|

    @classmethod
    def of(cls, samples: Tensor) -> Self:
        """From samples (S, C, H, W) in [0, 1]."""
        seen = torch.cat([features(part) for part in samples.split(_AT_ONCE)])  # (S, D)
        count = len(samples)
        # the mean over pairs of different samples: the zeros of the diagonal are summed but not counted
        half = torch.cdist(seen, seen).sum() / (2 * count * max(1, count - 1))
        return cls(samples.float().flatten(1), seen, half)

    def score(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """The energy score of images (B, C, H, W), and the distance to the nearest sample as RMS per pixel, (B,) each.

        E|X − x| − ½E|X − X′| (Gneiting & Raftery 2007, eq. 21) in `features`: a proper scoring rule, so its mean over images
        is lowest where the samples follow the images' own distribution. The second term rewards variety: copies of a single
        good picture do without it.
        """
        of_images = features(images)  # (B, D)
        distances = torch.cdist(of_images, self.features).mean(1)
        nearest = torch.cdist(images.float().flatten(1), self.pixels).amin(1)
        # over √D and √(C·H·W): per feature and per pixel, so that image sizes compare
        return (distances - self.half_spread) / math.sqrt(of_images.shape[1]), nearest / math.sqrt(self.pixels.shape[1])

    def scores(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """`score` for any number of images, some at a time."""
        parts = [self.score(part) for part in images.split(_AT_ONCE)]
        return torch.cat([score for score, _ in parts]), torch.cat([nearest for _, nearest in parts])


def features(images: Tensor) -> Tensor:
    """(N, D): absolute values of two layers of fixed random 3×3 convolutions of images (N, C, H, W) in [0, 1].

    In pixel space alone, noise of the right brightness is nearly as close to images as images are to each other. Random
    convolutions also respond to edges, and since they are not trained, no model can be tuned to them.
    """
    with torch.autocast(images.device.type, enabled=False):  # distances need more digits than bf16 has
        maps = images.float() - 0.5
        for layer, width in enumerate(_CHANNELS):
            inner = maps.shape[1]
            weights = seeded.normal(torch.arange(width, device=images.device), inner * 9, stream=layer)
            # / √(fan-in): outputs keep the scale of the inputs
            weights = weights.view(width, inner, 3, 3) / (3 * math.sqrt(inner))
            stride = 2 if layer or max(maps.shape[2:]) > 2 * _SIDE else 1
            maps = F.conv2d(maps, weights, stride=stride, padding=1).abs()
        if max(maps.shape[2:]) > _SIDE:
            maps = F.adaptive_avg_pool2d(maps, _SIDE)
        return maps.flatten(1)


_cache: dict[int, tuple[bytes, SampleSet]] = {}


def samples_of(model: nn.Module, draw: Callable[[Tensor], Tensor]) -> SampleSet:
    """`SAMPLES` samples of a model; `draw` makes pictures (N, C, H, W) from seeds (N,).

    They depend on the weights alone. The latest set is kept, so that all batches of an evaluation share it.
    """
    # sums instead of the weights themselves: a training step changes them, and they are cheap to compare
    tensors = [t.detach().float() for t in (*model.parameters(), *model.buffers())]
    key = torch.stack([part for t in tensors for part in (t.sum(), t.abs().sum())]).cpu().numpy().tobytes()
    if id(model) not in _cache or _cache[id(model)][0] != key:
        pictures = draw(torch.arange(SAMPLES, device=tensors[0].device))
        _cache.clear()
        _cache[id(model)] = key, SampleSet.of(pictures)
    return _cache[id(model)][1]
