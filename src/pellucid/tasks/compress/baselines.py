# SPDX-License-Identifier: Apache-2.0
"""JPEG, WebP, AVIF, PNG and PCA on the test images, each image at the setting that costs least; and the images they are shown."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from pellucid._spread import evenly_spread
from pellucid.data.batches import own_size_batches
from pellucid.data.dataset import Split
from pellucid.tasks._records import Records
from pellucid.tasks.compress.codecs import codecs
from pellucid.tasks.compress.curves import codec_curve, model_point
from pellucid.tasks.compress.pca import PCACodec

__all__ = ["images_at", "measured", "some_of", "training_images"]

_MEASURED = (400, 3_000_000)  # test images, and pixels of them, at most
_LEARNT_PIXELS = 8_000_000  # of training images that PCA learns from
_WHOLE = 32  # px: up to this side PCA is of whole images, beyond it of 8×8 blocks
_FEW = 32  # components of whole images


def measured(train: Split, test: Split, weight: float) -> dict[str, Records]:
    """The records of each codec on (some of the) test images; PCA only where there are training images."""
    index = some_of(test, *_MEASURED)
    images = images_at(test, index)
    channels = images[0].shape[0]
    some = "" if len(index) == len(test) else f" (on {len(index)} test images)"
    records: dict[str, Records] = {}
    for name, codec in codecs().items():
        cheapest = [min(codec_curve(image, codec, weight), key=lambda point: float(point["cost"])) for image in images]
        records[name + some] = _stacked(cheapest, index)
    if len(train):
        whole = max(train.images.sizes.max(0)) <= _WHOLE and len(np.unique(train.images.sizes, axis=0)) == 1
        block = (int(train.images.sizes[0, 0]), int(train.images.sizes[0, 1])) if whole else (8, 8)
        most = _FEW if whole else 64 * channels
        pca = PCACodec(training_images(train, channels), block, most, [weight])
        name = f"PCA of {'whole images' if whole else '8×8 blocks'}, {len(pca.basis)} components"
        records[name + some] = _stacked([model_point(pca, image, 0, weight) for image in images], index)
    return records


def _stacked(points: list[dict[str, Any]], index: NDArray[np.int64]) -> Records:
    """Columns from one point an image."""
    names = [name for name in points[0] if name != "setting"]
    return {**{name: np.array([point[name] for point in points]) for name in names}, "index": index}


def some_of(split: Split, most: int, pixels: int) -> NDArray[np.int64]:
    """Evenly spread positions of at most `most` images with about `pixels` pixels together."""
    sizes = split.images.sizes.astype(np.int64).prod(1)
    count = int(min(len(split), most, max(2, pixels // max(1, sizes.mean()))))
    return evenly_spread(count, len(split))


def images_at(split: Split, index: NDArray[np.int64]) -> list[NDArray[np.uint8]]:
    """Images (C, H, W) at these positions, all with the split's channels."""
    chosen = split.select(index)
    images: dict[int, NDArray[np.uint8]] = {}
    for batch in own_size_batches(chosen, chosen.images.channels, 64):
        images |= dict(zip(batch.index.tolist(), batch.images.numpy(), strict=True))
    return [images[place] for place in range(len(index))]


def training_images(train: Split, channels: int) -> Tensor:
    """(N, C, H, W) in [0, 1]: training images of the most common size, evenly spread, fewer where they are large."""
    sizes, counts = np.unique(train.images.sizes, axis=0, return_counts=True)
    size = sizes[counts.argmax()]
    same = np.flatnonzero((train.images.sizes == size).all(1))
    count = int(min(len(same), max(2, _LEARNT_PIXELS // int(size.prod()))))
    chosen = train.select(same[evenly_spread(count, len(same))])
    return torch.cat([batch.images for batch in own_size_batches(chosen, channels, 64)]).float().div_(255)
