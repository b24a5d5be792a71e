# SPDX-License-Identifier: Apache-2.0
"""Simple detectors, measured as the model is: places where objects are frequent, selective search, and a classical one.

Each finds its threshold as the model does: the score with the highest F1, here on training images.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from pellucid import _boxes
from pellucid._spread import evenly_spread
from pellucid.data.batches import store
from pellucid.data.dataset import Split
from pellucid.data.decoding import in_parallel
from pellucid.data.fitting import frames
from pellucid.data.targets import Boxes
from pellucid.tasks._records import Records
from pellucid.tasks.detect import metrics
from pellucid.tasks.detect.classical import Classical, affordable
from pellucid.tasks.detect.matching import overlaps
from pellucid.tasks.detect.objects import MOST, Detected
from pellucid.tasks.detect.precision import best_threshold
from pellucid.tasks.detect.shapes import objects_at

__all__ = ["frequent_places", "measured", "with_prior"]

_PLACES = 500  # training images whose objects' places are counted
_FEWEST, _MOST = 50, 500  # images of which pixels are used, however large or small they are
_TEST_PIXELS, _TRAIN_PIXELS, _SEARCH_PIXELS = 8_000_000, 6_000_000, 1_000_000
_SEARCHED = (12, 40)  # training images on which selective search finds its threshold
_PROPOSALS = 1000
_STEP = 0.5  # of a box's sides, between neighbours in the grid
_OVERLAP = 0.5  # IoU above which a better box suppresses one
_PLACED = 0.5  # IoU from which a box of the grid is where an object is

Floats = NDArray[np.float64]


def measured(train: Split, test: Split, size: tuple[int, int], seed: int = 0) -> dict[str, Records]:
    """The records of each method on test images of this size (H, W); on some of them where there are many."""
    known = _truth(train, size)
    if not sum(map(len, known.counting)):  # all of them learn from objects
        return {}
    area, images = size[0] * size[1], len(test)
    index = affordable(images, area, _TEST_PIXELS, _FEWEST, _MOST)
    chosen = affordable(len(train), area, _TRAIN_PIXELS, _FEWEST, _MOST)
    places = known[evenly_spread(_PLACES, len(known)).tolist()]
    test, train, known = test.select(index), train.select(chosen), known[chosen.tolist()]
    truth, seen, learnt = _truth(test, size), _images(test, size), _images(train, size)
    if not sum(map(len, known.counting)):
        return {}
    classes = 1 + max(int(own.max()) for own in (*places.labels, *known.labels) if len(own))
    shares = _shares(places, classes)
    few = affordable(len(train), area, _SEARCH_PIXELS, *_SEARCHED).tolist()
    method, always = Classical.learnt(learnt, known, classes, seed), frequent_places(places, size, classes)
    answers = {
        "frequent places of each class": (always[[0] * len(places)], places, always[[0] * len(index)]),
        "selective search with the shares of the classes": (
            _searched([learnt[i] for i in few], shares), known[few], _searched(seen, shares),
        ),
        method.name: (method.own, known, method.detected(seen)),
    }  # fmt: skip
    some = f" (on {len(index):,} test images)" if len(index) < images else ""
    records: dict[str, Records] = {}
    whole = frames(test, size)
    for name, (own, theirs, answer) in answers.items():
        threshold, _ = best_threshold(metrics.columns(own, theirs))
        answer = replace(answer, threshold=torch.full((len(index),), threshold))
        records[name + some] = {**metrics.columns(answer.within(whole), truth), "index": index}
    return records


def _truth(split: Split, size: tuple[int, int]) -> Boxes:
    """The objects of images that become this size; no image is decoded."""
    boxes = objects_at(split, size)
    return replace(boxes, corners=[_boxes.clip(own.float(), size) for own in boxes.corners])


def _images(split: Split, size: tuple[int, int]) -> list[NDArray[np.uint8]]:
    """Each (C, H, W) uint8."""
    batches = store(split, size, split.images.channels).batches(256)
    return [image for batch in batches for image in batch.images.numpy()]


def _flat(truth: Boxes) -> tuple[Tensor, Tensor]:
    """Corners (n, 4) and labels (n,) of all objects that count."""
    corners, labels = torch.cat(truth.corners).double(), torch.cat(truth.labels)
    if truth.ignored is not None:
        counting = ~torch.cat(truth.ignored)
        corners, labels = corners[counting], labels[counting]
    return corners, labels


def _shares(truth: Boxes, classes: int) -> Tensor:
    """(K,): the share of each class among the objects."""
    counts = torch.bincount(_flat(truth)[1], minlength=classes).double()
    return counts / counts.sum()


def frequent_places(known: Boxes, size: tuple[int, int], classes: int) -> Detected:
    """One answer for every image: of a grid of boxes as large as a class's objects, those where they lie most often.

    The score of a box is how many objects of its class overlap it with an IoU of at least 0.5, in a training image on average.

    Args:
        known: the objects of the training images.
        size: (H, W) of the images.
        classes: their number.
    """
    corners, labels = _flat(known)
    found: list[tuple[Tensor, Tensor, Tensor]] = []
    for label in range(classes):
        own = corners[labels == label]
        if not len(own):
            continue
        wide, tall = (own[:, 2:] - own[:, :2]).median(0).values.clamp_min(1.0).tolist()
        grid = _grid(size, tall, wide)  # (A, 4)
        fits = overlaps(grid[None], own.numpy()[None])[0] >= _PLACED
        score = torch.from_numpy(fits.sum(1) / len(known)).clamp_max(1.0).float()
        found.append((torch.from_numpy(grid).float(), score, torch.full((len(grid),), label)))
    boxes, scores, kinds = (torch.cat(parts) for parts in zip(*found, strict=True))
    there = scores > 0
    return _kept(boxes[there], scores[there], kinds[there])


def _grid(size: tuple[int, int], tall: float, wide: float) -> Floats:
    """(A, 4): boxes of these sides, px, side by side from one end of the image to the other, half a box apart at most."""
    starts = []
    for side, own in zip(size, (tall, wide), strict=True):
        reach = max(0.0, side - own)
        starts.append(np.linspace(0, reach, 1 + int(np.ceil(reach / (_STEP * own)))))
    top, left = (part.ravel() for part in np.meshgrid(*starts, indexing="ij"))
    return np.stack([left, top, left + wide, top + tall], 1)


def _kept(boxes: Tensor, scores: Tensor, labels: Tensor, proposals: Tensor | None = None) -> Detected:
    """The answer for one image: the best boxes of each class that no better one covers."""
    kept, left = _boxes.suppress(boxes, scores, labels, _OVERLAP)
    kept, left = kept[:MOST], left[:MOST]
    ranked = None if proposals is None else [proposals]
    return Detected([boxes[kept]], [labels[kept]], [left], torch.full((1,), 0.5), ranked)


def _searched(images: list[NDArray[np.uint8]], shares: Tensor) -> Detected:
    """Selective search's proposals, scored by their rank and the class's share."""
    from pellucid.tasks.detect.search import proposed

    proposals = in_parallel(lambda i: torch.from_numpy(proposed(images[i])[:_PROPOSALS]), len(images))
    return Detected.cat([with_prior(own, shares) for own in proposals])


def with_prior(proposals: Tensor, shares: Tensor) -> Detected:
    """One image's ranked proposals (P, 4) as answers, each of every class: its score is (1 − rank / P) · the class's share.

    >>> answer = with_prior(torch.tensor([[0.0, 0, 4, 4], [8, 8, 12, 12]]), torch.tensor([0.75, 0.25]))
    >>> answer.labels[0].tolist(), answer.scores[0].tolist()
    ([0, 0, 1, 1], [0.75, 0.375, 0.25, 0.125])
    """
    count, classes = len(proposals), len(shares)
    rank = 1 - torch.arange(count, dtype=torch.float64) / max(1, count)
    scores = (rank[:, None] * shares).float().flatten()  # (P · K,)
    there = scores > 0
    boxes = proposals.repeat_interleave(classes, 0)[there]
    return _kept(boxes, scores[there], torch.arange(classes).repeat(count)[there], proposals)
