# SPDX-License-Identifier: Apache-2.0
"""k-means without a network: on pixels, on their principal components, and on histograms of oriented gradients."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray

from pellucid.data.batches import store
from pellucid.data.colour import bytes_to_channels
from pellucid.data.dataset import Split
from pellucid.data.targets import Label
from pellucid.tasks._records import Records
from pellucid.tasks.cluster import methods

__all__ = ["histograms", "measured"]

_FITTED_ON = 10_000  # training images, at most
_COMPONENTS = 50
_AXES_FROM = 2000  # images: k-means needs no more precise components
_SIDE = 64  # px: larger images are scaled down to this

Rows = NDArray[np.float32]


def measured(train: Split, test: Split, size: tuple[int, int], k: int, seed: int) -> dict[str, Records]:
    """The records of each variant, with centres fitted to training images, or to the test images where there are none."""
    scale = min(1.0, _SIDE / max(size))
    small = (max(1, round(size[0] * scale)), max(1, round(size[1] * scale)))
    known = train if len(train) else test
    if len(known) > _FITTED_ON:
        chosen = np.sort(np.random.default_rng(seed).permutation(len(known))[:_FITTED_ON])
        known = known.select(chosen)
    k = min(k, len(known))
    channels = max(known.images.channels, test.images.channels)
    fitted, held_out = (_pixels(split, small, channels) for split in (known, test))  # (N, C, H, W) each
    flat, held_out_flat = fitted.reshape(len(fitted), -1), held_out.reshape(len(held_out), -1)
    label = test.targets.get("label")
    truth = label.index.numpy() if isinstance(label, Label) else np.full(len(test), -1, np.int64)
    mean = flat.mean(0)
    components = min(_COMPONENTS, *flat.shape)
    axes = np.linalg.svd((flat - mean)[:_AXES_FROM], full_matrices=False)[2][:components]  # (components, C·H·W)
    features = {
        "k-means on pixels": (flat, held_out_flat),
        f"k-means on {components} principal components": ((flat - mean) @ axes.T, (held_out_flat - mean) @ axes.T),
        "k-means on histograms of gradients": (histograms(fitted), histograms(held_out)),
    }
    return {name: _records(own, other, truth, k, seed) for name, (own, other) in features.items()}


def histograms(images: Rows) -> Rows:
    """Histograms of oriented gradients (Dalal & Triggs 2005) of images (N, C, H, W), in 4 × 4 cells or as many as fit, (N, D).

    >>> histograms(np.zeros((2, 1, 28, 28), np.float32)).shape
    (2, 324)
    """
    from skimage.feature import hog

    side = min(images.shape[2:])
    cell = max(1, side // 4)
    block = min(2, side // cell)
    planes = images[:, 0] if images.shape[1] == 1 else np.stack([_luma(image) for image in images])
    rows = [hog(plane, 9, (cell, cell), (block, block), block_norm="L2-Hys") for plane in planes]
    return np.asarray(rows, np.float32)


def _luma(image: Rows) -> Rows:
    """One grey plane (H, W) of a colour image (3, H, W), as decoding a file in grey gives it."""
    return np.asarray(bytes_to_channels(np.round(image * 255).astype(np.uint8), 1)[0] / np.float32(255), np.float32)


def _pixels(split: Split, size: tuple[int, int], channels: int) -> Rows:
    rows = [batch.images.numpy() for batch in store(split, size, channels).batches(1000)]
    return np.concatenate(rows).astype(np.float32) / np.float32(255)


def _records(fitted: Rows, held_out: Rows, truth: NDArray[np.int64], k: int, seed: int) -> Records:
    """k-means fitted to some rows of features (M, D), its answers on others (N, D)."""
    fitted, held_out = np.ascontiguousarray(fitted, np.float32), np.ascontiguousarray(held_out, np.float32)
    centres = methods.kmeans(fitted, k, seed, restarts=3)
    parts = [methods.assign(part, centres) for part in torch.from_numpy(held_out).split(2000)]
    return {
        "cluster": torch.cat([part.cluster for part in parts]).numpy(),
        "label": truth,
        "distance": torch.cat([part.distance for part in parts]).numpy(),
        "silhouette": torch.cat([part.silhouette for part in parts]).numpy(),
    }
