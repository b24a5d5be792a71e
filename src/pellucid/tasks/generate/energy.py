# SPDX-License-Identifier: Apache-2.0
"""How well a set of samples stands for images that were not seen: the energy score, image by image."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Self, final

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from pellucid.tasks.generate import chance

__all__ = ["Gallery", "features", "gallery"]

SAMPLES = 1000  # that images are held against
_AT_ONCE = 250
_CHANNELS = (32, 64)
_SIDE = 8  # px: larger maps are averaged down


@final
@dataclass(frozen=True)
class Gallery:
    """Samples that images are held against.

    >>> gallery = Gallery.of(torch.rand(50, 1, 8, 8))
    >>> score, near = gallery.score(torch.rand(3, 1, 8, 8))
    >>> score.shape, bool((near > 0).all())
    (torch.Size([3]), True)
    """

    pixels: Tensor  # (S, C·H·W)
    seen: Tensor  # (S, D)
    half_spread: Tensor  # ½E|X − X′|

    @classmethod
    def of(cls, samples: Tensor) -> Self:
        """Samples (S, C, H, W) in [0, 1]."""
        seen = torch.cat([features(part) for part in samples.split(_AT_ONCE)])
        count = len(samples)
        half = torch.cdist(seen, seen).sum() / (2 * count * max(1, count - 1))  # over pairs of different samples
        return cls(samples.float().flatten(1), seen, half)

    def score(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """The energy score of images (B, C, H, W) and the distance to the nearest sample, RMS a pixel, (B,) each.

        E|X − x| − ½E|X − X′| (Gneiting & Raftery 2007, eq. 21) in `features`: a proper score, whose mean over images is least
        where the samples have the images' own distribution. Copies of one good picture lack the second term.
        """
        of_image = features(images)
        distances = torch.cdist(of_image, self.seen).mean(1)
        near = torch.cdist(images.float().flatten(1), self.pixels).amin(1)
        return (distances - self.half_spread) / math.sqrt(of_image.shape[1]), near / math.sqrt(self.pixels.shape[1])

    def scores(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """`score` of many images."""
        parts = [self.score(part) for part in images.split(_AT_ONCE)]
        return torch.cat([one for one, _ in parts]), torch.cat([near for _, near in parts])


def features(images: Tensor) -> Tensor:
    """(N, D): absolute values of two layers of fixed random 3×3 convolutions of images (N, C, H, W) in [0, 1].

    In pixels alone, noise of the right brightness is nearly as close to pictures as pictures are to each other; random
    convolutions see edges too, and need no training, so that no model can be measured by features that suit it.
    """
    with torch.autocast(images.device.type, enabled=False):
        found = images.float() - 0.5
        for layer, width in enumerate(_CHANNELS):
            inner = found.shape[1]
            weights = chance.normal(torch.arange(width, device=images.device), inner * 9, stream=layer)
            weights = weights.view(width, inner, 3, 3) / (3 * math.sqrt(inner))
            stride = 2 if layer or max(found.shape[2:]) > 2 * _SIDE else 1
            found = F.conv2d(found, weights, stride=stride, padding=1).abs()
        if max(found.shape[2:]) > _SIDE:
            found = F.adaptive_avg_pool2d(found, _SIDE)
        return found.flatten(1)


_kept: dict[int, tuple[bytes, Gallery]] = {}


def gallery(model: nn.Module, draw: Callable[[Tensor], Tensor]) -> Gallery:
    """A thousand samples of a model, `draw` making pictures of seeds (N,).

    They are a function of the weights; the last ones are kept, so that all batches of an evaluation share them.
    """
    tensors = [t.detach().float() for t in (*model.parameters(), *model.buffers())]
    key = torch.stack([part for t in tensors for part in (t.sum(), t.abs().sum())]).cpu().numpy().tobytes()
    if id(model) not in _kept or _kept[id(model)][0] != key:
        made = draw(torch.arange(SAMPLES, device=tensors[0].device))
        _kept.clear()
        _kept[id(model)] = key, Gallery.of(made)
    return _kept[id(model)][1]
