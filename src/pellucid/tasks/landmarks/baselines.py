# SPDX-License-Identifier: Apache-2.0
"""Trivial and classical answers: the mean shape, and ridge regression on oriented gradients or on frozen features."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from pellucid._spread import evenly_spread
from pellucid.data.batches import store
from pellucid.data.dataset import Split
from pellucid.data.decoding import in_parallel
from pellucid.data.fitting import placements
from pellucid.data.targets import Points, target_of
from pellucid.tasks.landmarks.places import Placed

__all__ = [
    "MEAN",
    "ON_FEATURES",
    "ON_MAPS",
    "answers",
    "gradients",
    "mean_shape",
    "nearest",
    "on_features",
    "ridge",
    "truth_of",
]

Floats = NDArray[np.float64]
MEAN = "the mean shape"
ON_FEATURES = "ridge regression on the pooled frozen features"
ON_MAPS = "ridge regression on the frozen maps"

_LEARNT_IMAGES = 2000  # training images that a regression learns from, at most
_BASELINE_IMAGES = 2000  # test images that these methods are measured on, at most
_SIDE = 64  # px: larger images are scaled down to this for oriented gradients
_CELL, _ORIENTATIONS = 8, 8  # px a side, directions of a cell's histogram
_STRENGTHS = np.logspace(-4, 4, 17)  # of the penalty, in units of the features' mean square


def truth_of(split: Split, size: tuple[int, int]) -> Placed:
    """The points of images that become this size; no image is decoded."""
    scale, offset = map(torch.from_numpy, placements(split.images.sizes, size, split.fit))
    if "landmarks" in split.targets:
        placed = target_of(split.targets, "landmarks", Placed)
    else:  # images that no task has read
        points = target_of(split.targets, "points", Points)
        placed = Placed(points.xy, points.xy.new_ones(len(points), 2), mirror=points.mirror)
    return placed.resized(scale, offset, size)


def answers(train: Split, test: Split, size: tuple[int, int]) -> tuple[dict[str, Placed], Split, NDArray[np.int64]]:
    """The answer of each method for test images of this size (H, W), these images, and their positions among all."""
    index = evenly_spread(min(len(test), _BASELINE_IMAGES), len(test))
    test = test.select(index) if len(index) < len(test) else test
    whole = truth_of(train, size)
    scale = truth_of(test, size).scale
    chosen = evenly_spread(min(len(train), _LEARNT_IMAGES), len(train))
    few = train.select(chosen) if len(chosen) < len(train) else train
    some = f" ({len(chosen):,} images)" if len(chosen) < len(train) else ""
    learnt, seen = (_of_images(split, size) for split in (few, test))
    shape = np.repeat(mean_shape(whole, size)[None], len(test), 0)
    known = truth_of(few, size)
    found = {
        MEAN: shape,
        f"nearest training image by HOG{some}": nearest(learnt, known, seen, size),
        f"ridge regression on HOG{some}": ridge(learnt, known, seen, size),
    }
    return {name: _placed(xy, scale) for name, xy in found.items()}, test, index


def on_features(
    train: NDArray[np.float32], test: NDArray[np.float32], known: Split, held_out: Split, size: tuple[int, int]
) -> Placed:
    """Ridge regression on features (N, F) of the training images, for those (M, F) of the test images."""
    return _placed(ridge(train, truth_of(known, size), test, size), truth_of(held_out, size).scale)


def mean_shape(truth: Placed, size: tuple[int, int]) -> Floats:
    """(K, 2): the mean place of each point; the middle of the frame for one that is never visible."""
    xy = truth.xy.double().numpy()
    known = ~np.isnan(xy)
    sums, counts = np.where(known, xy, 0.0).sum(0), known.sum(0)
    middle = np.array([size[1] / 2, size[0] / 2])
    return np.asarray(np.where(counts > 0, sums / np.maximum(counts, 1), middle), np.float64)


def nearest(learnt: NDArray[Any], truth: Placed, seen: NDArray[Any], size: tuple[int, int]) -> Floats:
    """(M, K, 2): the points of the training image whose features are nearest; those that it does not show as in the mean shape."""
    from sklearn.neighbors import NearestNeighbors

    places = NearestNeighbors(n_neighbors=1).fit(learnt).kneighbors(seen, return_distance=False)[:, 0]
    xy = truth.xy.double().numpy()[places]
    return np.asarray(np.where(np.isnan(xy), mean_shape(truth, size), xy), np.float64)


def ridge(learnt: NDArray[Any], truth: Placed, seen: NDArray[Any], size: tuple[int, int]) -> Floats:
    """(M, K, 2): points by ridge regression, its penalty chosen by leaving out each training image in turn.

    Points that are visible everywhere are regressed together, others each from the images that show them.

    Args:
        learnt: (N, F) features of the training images.
        truth: their points.
        seen: (M, F) features of the images to answer.
        size: (H, W) of the frame, px.
    """
    from sklearn.linear_model import RidgeCV

    shape = mean_shape(truth, size)
    found = np.repeat(shape[None], len(seen), 0)
    xy, visible = truth.xy.double().numpy(), truth.visible.numpy()
    level = max(float(np.sqrt(np.mean((learnt - learnt.mean(0)) ** 2))), 1e-9)
    features, asked = learnt / level, seen / level
    everywhere = visible.all(0)
    groups = [np.flatnonzero(everywhere), *(np.array([k]) for k in np.flatnonzero(~everywhere))]
    for points in groups:
        rows = visible[:, points].all(1)
        if len(points) and rows.sum() > 1:
            model = RidgeCV(_STRENGTHS * features.shape[1]).fit(
                features[rows], xy[rows][:, points].reshape(int(rows.sum()), -1)
            )
            found[:, points] = model.predict(asked).reshape(len(seen), -1, 2)
    return found


def gradients(image: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Histograms of oriented gradients (Dalal & Triggs 2005) of a grey image (H, W), as one row of numbers.

    >>> gradients(np.zeros((64, 64), np.uint8)).shape
    (1568,)
    """
    from skimage.feature import hog

    cell = max(1, min(_CELL, min(image.shape) // 2))
    row = hog(image, _ORIENTATIONS, (cell, cell), (2, 2), feature_vector=True)
    return np.asarray(row, np.float32)


def _of_images(split: Split, size: tuple[int, int]) -> NDArray[np.float32]:
    """(N, F): the histograms of a split's images."""
    scale = min(1.0, _SIDE / max(size))
    small = (max(2, round(size[0] * scale)), max(2, round(size[1] * scale)))
    images = [image for batch in store(split, small, 1).batches(256) for image in batch.images[:, 0].numpy()]
    return np.stack(in_parallel(lambda i: gradients(images[i]), len(images)))


def _placed(xy: Floats, scale: torch.Tensor) -> Placed:
    return Placed(torch.from_numpy(xy.astype(np.float32)), scale)
