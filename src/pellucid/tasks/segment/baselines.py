# SPDX-License-Identifier: Apache-2.0
"""Simple answers: the most common class, the class by place, a classifier of single pixels, and thresholds for two classes."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch.nn import functional as F

from pellucid._spread import evenly_spread
from pellucid.data.batches import own_size_batches
from pellucid.data.dataset import Split
from pellucid.data.decoding import in_parallel
from pellucid.data.targets import VOID, Mask, target_of
from pellucid.tasks._records import Records, joined
from pellucid.tasks.segment import metrics

__all__ = ["measured"]

_LEARNT_IMAGES = 500  # training images that they learn from, at most
_IMAGES = 200  # test images that they are measured on, at most
_SIDE = 96  # px: larger images are scaled down to this for the classifier of pixels and for thresholds
_GRID = 64  # cells a side, of the class by place
_PIXELS = 60_000  # that the classifier of pixels learns from
_TREES = 30  # of each class

Image = NDArray[np.float32]  # (C, H, W) in [0, 1]
Classes = NDArray[np.uint8]  # (H, W)


def measured(train: Split, test: Split, seed: int = 0) -> dict[str, Records]:
    """The records of each method on test images at their own size; on some of them where there are very many."""
    if not len(train):  # all of them learn from training images
        return {}
    index = evenly_spread(min(len(test), _IMAGES), len(test))
    channels = max(train.images.channels, test.images.channels)
    known = _small(train.select(evenly_spread(min(len(train), _LEARNT_IMAGES), len(train))), channels)
    seen = _small(test.select(index), channels)
    truths = [truth for _, truth in known]
    own = test.select(index)
    classes = 1 + max(_highest(train), _highest(own))
    common, places = _places(truths, classes)
    answers: dict[str, list[Classes]] = {
        "the most common class": [np.full((1, 1), common, np.uint8)] * len(seen),
        "the most common class at each place": [places] * len(seen),
        "gradient-boosted trees on colour and place": _by_pixels(known, seen, classes, seed),
    }
    if classes == 2:
        answers |= _thresholds(known, seen)
    some = f" (on {len(index)} test images)" if len(index) < len(test) else ""
    return {name + some: {**_records(answer, own, classes), "index": index} for name, answer in answers.items()}


def _small(split: Split, channels: int) -> list[tuple[Image, Classes]]:
    """Images with their masks, scaled down where they are large."""
    found: dict[int, tuple[Image, Classes]] = {}
    for batch in own_size_batches(split, channels, 64):
        height, width = batch.images.shape[2:]
        scale = min(1.0, _SIDE / max(height, width))
        size = (max(1, round(height * scale)), max(1, round(width * scale)))
        images = batch.images.float() / 255
        truth = target_of(batch.targets, "mask", Mask).classes
        if scale < 1:
            images = F.interpolate(images, size, mode="bilinear", antialias=True)
            truth = _nearest(truth, size)
        for place, image, mask in zip(batch.index.tolist(), images, truth, strict=True):
            found[place] = image.numpy(), mask.numpy()
    return [found[place] for place in range(len(split))]


def _highest(split: Split) -> int:
    """The highest class in a split's masks, at their own size: scaling down may lose it."""
    return max(int(truth.masked_fill(truth == VOID, 0).max()) for truth in _masks(split))


def _masks(split: Split) -> Iterator[torch.Tensor]:
    """Each mask (H, W), one at a time."""
    masks = split.targets["mask"]
    for place in range(len(split)):
        yield target_of({"mask": masks[[place]].loaded()}, "mask", Mask).classes[0]


def _nearest(masks: torch.Tensor, size: tuple[int, int]) -> torch.Tensor:
    return F.interpolate(masks[:, None].float(), size, mode="nearest-exact")[:, 0].to(torch.uint8)


def _records(answers: Sequence[Classes], split: Split, classes: int) -> dict[str, Any]:
    """The records of answers, which are brought to the size of their images; no image is decoded."""
    parts: list[dict[str, NDArray[Any]]] = []
    for answer, truth in zip(answers, _masks(split), strict=True):
        whole = _nearest(torch.from_numpy(answer)[None], (truth.shape[0], truth.shape[1]))
        parts.append(metrics.columns(whole, truth[None], classes))
    return {name: joined([part[name] for part in parts]) for name in parts[0]}


def _places(truths: Sequence[Classes], classes: int) -> tuple[int, Classes]:
    """The class of most pixels, and the most common class (grid, grid) at each place of the image."""
    counts = np.zeros((classes, _GRID, _GRID), np.int64)
    for truth in truths:
        grid = _nearest(torch.from_numpy(truth)[None], (_GRID, _GRID))[0].numpy()
        for index in range(classes):
            counts[index] += grid == index
    common = int(counts.sum((1, 2)).argmax())
    best = np.where(counts.sum(0) > 0, counts.argmax(0), common)  # void in all training images
    return common, best.astype(np.uint8)


def _by_pixels(
    known: Sequence[tuple[Image, Classes]], seen: Sequence[tuple[Image, Classes]], classes: int, seed: int
) -> list[Classes]:
    """Each pixel by its own colour and place alone, by gradient-boosted trees (Friedman 2001) on a sample of pixels."""
    from sklearn.ensemble import HistGradientBoostingClassifier

    rng = np.random.default_rng(seed)
    each = max(1, _PIXELS // len(known))
    rows, labels = [], []
    for image, truth in known:
        there = np.flatnonzero(truth.ravel() != VOID)
        chosen = rng.choice(there, min(each, len(there)), replace=False)
        rows.append(_features(image)[chosen])
        labels.append(truth.ravel()[chosen])
    learnt, named = np.concatenate(rows), np.concatenate(labels)
    if len(np.unique(named)) < 2:
        return [np.full((1, 1), named[0] if len(named) else 0, np.uint8)] * len(seen)
    model: Any = HistGradientBoostingClassifier(max_iter=_TREES, early_stopping=False, random_state=seed)
    model.fit(learnt, named)
    sizes = [image.shape[1] * image.shape[2] for image, _ in seen]
    found = model.predict(np.concatenate([_features(image) for image, _ in seen]))
    parts = np.split(found, np.cumsum(sizes)[:-1])
    return [part.reshape(image.shape[1:]).astype(np.uint8) for part, (image, _) in zip(parts, seen, strict=True)]


def _features(image: Image) -> NDArray[np.float32]:
    """(H·W, C + 2): the colour of each pixel, and its row and column as shares of the image's sides."""
    height, width = image.shape[1:]
    rows, columns = np.mgrid[:height, :width]
    place = np.stack([(rows + 0.5) / height, (columns + 0.5) / width]).astype(np.float32)
    return np.concatenate([image, place]).reshape(len(image) + 2, -1).T


def _thresholds(
    known: Sequence[tuple[Image, Classes]], seen: Sequence[tuple[Image, Classes]]
) -> dict[str, list[Classes]]:
    """Two classes by Otsu's (1979) threshold, alone and as the beginning of a watershed; which side is which is learnt."""
    rules: dict[str, Callable[[Image], Classes]] = {
        "Otsu's threshold": otsu,
        "watershed from Otsu's threshold": watershed,
    }
    return {name: _turned(rule, known, seen) for name, rule in rules.items()}


def _turned(
    rule: Callable[[Image], Classes], known: Sequence[tuple[Image, Classes]], seen: Sequence[tuple[Image, Classes]]
) -> list[Classes]:
    """The answers of a rule that parts bright from dark, whichever of the two is class 1 in the training images."""
    parts = [
        metrics.confusions(torch.from_numpy(rule(image))[None], torch.from_numpy(truth)[None], 2)
        for image, truth in known
    ]
    cells = np.concatenate(parts).sum(0, dtype=np.int64)
    fits, turned = (np.nanmean(metrics.ratios(own)["iou"]) for own in (cells, cells[:, ::-1]))
    found = in_parallel(lambda i: rule(seen[i][0]), len(seen))
    return found if fits >= turned else [1 - one for one in found]


def otsu(image: Image) -> Classes:
    """(H, W): 1 where a pixel is brighter than Otsu's (1979) threshold."""
    from skimage.filters import threshold_otsu

    grey = _grey(image)
    return np.asarray(grey > threshold_otsu(grey), np.uint8)


def watershed(image: Image) -> Classes:
    """(H, W): 1 where the brighter half of the pixels above Otsu's threshold is reached first, by the slopes between.

    The flood begins at the pixels that are farther from the threshold than the median of their side (Beucher & Meyer 1993).
    """
    from skimage.filters import sobel, threshold_otsu
    from skimage.segmentation import watershed as flood

    grey = _grey(image)
    threshold = threshold_otsu(grey)
    above = grey > threshold
    if above.all() or not above.any():
        return np.asarray(above, np.uint8)
    marks = np.zeros(grey.shape, np.int32)
    marks[grey >= np.median(grey[above])] = 2
    marks[grey <= np.median(grey[~above])] = 1
    return np.asarray(flood(sobel(grey), marks) == 2, np.uint8)


def _grey(image: Image) -> NDArray[np.float64]:
    from skimage.color import rgb2gray

    return np.asarray(rgb2gray(image.transpose(1, 2, 0)) if len(image) == 3 else image[0], np.float64)
