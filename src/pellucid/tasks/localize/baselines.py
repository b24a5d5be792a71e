# SPDX-License-Identifier: Apache-2.0
"""Trivial and classical answers: the mean box, the whole image, nothing at all, and Otsu's threshold on colour."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from pellucid._spread import evenly_spread
from pellucid.data.batches import resize, store
from pellucid.data.dataset import Split
from pellucid.data.decoding import in_parallel
from pellucid.data.fitting import frames, placements
from pellucid.data.targets import Boxes, target_of
from pellucid.tasks._records import Records
from pellucid.tasks.localize import metrics
from pellucid.tasks.localize.objects import Located, largest

__all__ = ["measured", "standout"]

_LEARNT_IMAGES = 2000  # training images that the classical method learns from, at most
_BASELINE_IMAGES = 2000  # test images that it is measured on, at most
_SIDE = 64  # px: larger images are scaled down to this for it
_CROP = 16  # px a side, of the boxes by which it tells classes apart
_NEIGHBOURS = 5
_RING = 16  # of a side: the width of the border that is taken for background
_SMOOTH = 1.0  # px, of the Gaussian before the threshold

Floats = NDArray[np.float64]


def measured(train: Split, test: Split, size: tuple[int, int], seed: int = 0) -> dict[str, Records]:
    """The records of each method on test images of this size (H, W); on some of them where there are very many."""
    if not len(train):  # all of them learn from training images
        return {}
    index = evenly_spread(min(len(test), _BASELINE_IMAGES), len(test))
    test = test.select(index) if len(index) < len(test) else test
    known, truth = _truth(train, size, seen=True), _truth(test, size)
    classes = 1 + max(int(known.index.max()), int(truth.index.max()))
    answers = _constant(known, len(test), classes, size)
    name, answer = _segmented(train, test, known, classes, size)
    answers[name] = answer
    some = f" (on {len(index)} test images)" if len(index) == _BASELINE_IMAGES else ""
    return {name + some: {**metrics.columns(answer, truth, size), "index": index} for name, answer in answers.items()}


def _truth(split: Split, size: tuple[int, int], seen: bool = False) -> Located:
    """The largest objects of images that become this size, or of what is then seen of them; no image is decoded."""
    scale, offset = map(torch.from_numpy, placements(split.images.sizes, size, split.fit))
    boxes = target_of(split.targets, "boxes", Boxes).resized(scale, offset, size)
    if seen and split.fit != "squash":
        return largest(boxes.clipped(size), size)
    return largest(boxes, size, frames(split, size))


def _constant(known: Located, images: int, classes: int, size: tuple[int, int]) -> dict[str, Located]:
    """The same answer for every image: the most common class with its mean box, or with all of the image, or nothing."""
    there = known.present > 0.5
    shares = torch.bincount(known.index[there], minlength=classes).float() / there.sum()
    common = int(shares.argmax())
    box = known.corners[there & (known.index == common)].mean(0)
    share = known.present.mean()
    whole = box.new_tensor([0, 0, size[1], size[0]])

    def every(box: Tensor, share: Tensor) -> Located:
        row = Located(share[None], torch.tensor([common]), box[None], shares[None])
        return row[[0] * images]

    answers = {"mean box of the most common class": every(box, share), "the whole image": every(whole, share)}
    return answers if bool(there.all()) else {**answers, "no object": every(box, torch.zeros_like(share))}


def _segmented(train: Split, test: Split, known: Located, classes: int, size: tuple[int, int]) -> tuple[str, Located]:
    """The largest region that stands out from the border's colours, and its class by the nearest training objects."""
    from sklearn.neighbors import KNeighborsClassifier

    chosen = evenly_spread(min(len(train), _LEARNT_IMAGES), len(train))
    known = known[chosen.tolist()]
    scale = min(1.0, _SIDE / max(size))
    small = (max(4, round(size[0] * scale)), max(4, round(size[1] * scale)))
    factor = torch.tensor([small[1] / size[1], small[0] / size[0]])  # (x, y)
    learnt, seen = (_maps(split, small) for split in (train.select(chosen), test))
    regions, signs = _regions(seen)
    there = known.present.numpy() > 0.5
    true = known.scaled(factor.expand(len(known), 2)).corners.numpy()
    crops = _crops([learnt[i] for i in np.flatnonzero(there)], true[there])
    model = KNeighborsClassifier(min(_NEIGHBOURS, len(crops))).fit(crops, known.index.numpy()[there])
    shares = np.zeros((len(seen), classes), np.float32)
    shares[:, model.classes_] = model.predict_proba(_crops(seen, regions))
    presence = _presence(_regions(learnt)[1], there, signs)
    probabilities = torch.from_numpy(shares)
    corners = torch.from_numpy(regions.astype(np.float32)) / factor.repeat(2)
    some = f" ({len(chosen):,} images)" if len(chosen) < len(train) else ""
    name = f"Otsu's threshold on colour, {_NEIGHBOURS} nearest neighbours{some}"
    return name, Located(torch.from_numpy(presence), probabilities.argmax(1), corners, probabilities)


def _maps(split: Split, size: tuple[int, int]) -> list[Floats]:
    """How far the colour of each pixel is from the border's, (H, W) each."""
    channels = split.images.channels
    images = [image for batch in store(split, size, channels).batches(256) for image in batch.images.numpy()]
    return in_parallel(lambda i: standout(images[i]), len(images))


def standout(image: NDArray[np.uint8]) -> Floats:
    """(H, W): the Mahalanobis distance of each pixel's colour from those of the border, smoothed.

    >>> image = np.zeros((3, 16, 16), np.uint8)
    >>> image[0, 4:8, 6:12] = 255
    >>> bool(standout(image)[5, 8] > 10 * standout(image)[12, 8] + 1)
    True

    Args:
        image: (C, H, W), in CIELAB where it has colours.
    """
    from scipy.ndimage import gaussian_filter
    from skimage.color import rgb2lab

    lab = rgb2lab(image.transpose(1, 2, 0)) if len(image) == 3 else image.transpose(1, 2, 0) * (100 / 255)  # (H, W, C)
    ring = max(1, min(lab.shape[:2]) // _RING)
    edge = np.ones(lab.shape[:2], bool)
    edge[ring:-ring, ring:-ring] = False
    border = lab[edge].astype(np.float64)  # (n, C)
    spread = np.cov(border.T).reshape(border.shape[1], -1) + np.eye(border.shape[1])  # a unit of CIELAB is hardly seen
    away = lab - border.mean(0)
    distance = np.sqrt(np.einsum("hwc,cd,hwd->hw", away, np.linalg.inv(spread), away))
    return np.asarray(gaussian_filter(distance, _SMOOTH), np.float64)


def _regions(maps: list[Floats]) -> tuple[Floats, Floats]:
    """The box (N, 4) of the largest region above Otsu's (1979) threshold, and what tells whether it is an object (N, 3)."""
    from scipy.ndimage import find_objects, label
    from skimage.filters import threshold_otsu

    boxes, signs = np.zeros((len(maps), 4)), np.zeros((len(maps), 3))
    for i, distance in enumerate(maps):
        above = distance > threshold_otsu(distance)
        parts, count = label(above)
        if not count:  # an image of one colour
            continue
        sizes = np.bincount(parts.ravel())[1:]
        rows, columns = find_objects(parts)[int(sizes.argmax())]
        boxes[i] = columns.start, rows.start, columns.stop, rows.stop
        share = above.mean()
        gap = distance[above].mean() - distance[~above].mean()
        between = share * (1 - share) * gap**2 / max(distance.var(), 1e-12)  # of the variance (Otsu 1979, eq. 22)
        signs[i] = np.log1p(gap), between, sizes.max() / sizes.sum()
    return boxes, signs


def _crops(maps: list[Floats], boxes: Floats) -> NDArray[np.float32]:
    """(N, D): what is in each box, at one size and with its contrast stretched."""
    rows = []
    for distance, (x0, y0, x1, y1) in zip(maps, boxes, strict=True):
        left, top = (min(int(start), side - 1) for start, side in ((x0, distance.shape[1]), (y0, distance.shape[0])))
        part = distance[top : max(top + 1, round(y1)), left : max(left + 1, round(x1))]
        levels = (part - part.min()) / max(float(np.ptp(part)), 1e-9)
        rows.append(resize((levels * 255).astype(np.uint8)[None], (_CROP, _CROP)).ravel())
    return np.stack(rows).astype(np.float32) if rows else np.zeros((0, _CROP**2), np.float32)


def _presence(learnt: Floats, there: NDArray[np.bool_], seen: Floats) -> NDArray[np.float32]:
    """(N,): the probability of an object, by logistic regression on how much the region stands out."""
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    if there.all():
        return np.ones(len(seen), np.float32)
    model: Any = make_pipeline(StandardScaler(), LogisticRegression()).fit(learnt, there)
    return np.asarray(model.predict_proba(seen)[:, 1], np.float32)
