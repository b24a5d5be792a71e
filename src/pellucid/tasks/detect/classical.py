# SPDX-License-Identifier: Apache-2.0
"""A classical detector: a threshold, the distance transform, a watershed, and a random forest on what is in each region.

Which plane of the image is cut, from which side, and whether touching objects are parted, is what finds most objects of some
training images. The forest learns which regions are objects, and of which class.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, final

import numpy as np
import torch
from numpy.typing import NDArray

from pellucid._spread import evenly_spread
from pellucid.data.decoding import in_parallel
from pellucid.data.targets import Boxes
from pellucid.tasks.detect.cutting import PLANES, Described, Size, Way, boxes_of, described, planes, regions
from pellucid.tasks.detect.matching import overlaps
from pellucid.tasks.detect.objects import FLOOR, MOST, Detected

__all__ = ["Classical", "affordable"]

_TRIED, _TRIED_PIXELS = (6, 24), 500_000  # training images on which the ways are compared: from, to, and px in all
_TREES = 100
_PLACED = 0.5  # IoU

Floats = NDArray[np.float64]


@final
@dataclass(frozen=True)
class Classical:
    """The detector that was learned from training images."""

    way: Way
    plane: str  # the name of its plane
    size: Size
    margin: Floats  # (4,): from the sides of a region to those of the box, in shares of its sides
    forest: Any  # of scikit-learn; None where no region was an object
    own: Detected  # of the training images, each region judged by the trees that have not seen it

    @property
    def name(self) -> str:
        """In a few words, for a table."""
        return f"threshold ({self._cut}){', watershed' if self.way.parted else ''}, random forest"

    @property
    def _cut(self) -> str:
        if self.way.plane == 0:
            return "bright" if self.way.high else "dark"
        return f"{'high' if self.way.high else 'low'} {self.plane}"

    @classmethod
    def learnt(cls, images: Sequence[NDArray[np.uint8]], truth: Boxes, classes: int, seed: int = 0) -> Classical:
        """From images (C, H, W) uint8 of one size with their boxes."""
        true = [_counting(truth, i) for i in range(len(truth))]
        size = _size([boxes for boxes, _ in true])
        tried = affordable(len(images), images[0][0].size, _TRIED_PIXELS, *_TRIED).tolist()
        seen = in_parallel(lambda i: planes(images[tried[i]]), len(tried))
        way = _best_way(seen, size, [true[i][0] for i in tried])
        plane = PLANES[
            way.plane if len(seen[0]) == len(PLANES) else -way.plane
        ]  # of grey images the first and the last
        found = _all_described(images, way, size)
        labelled = [_labelled(one.boxes, *own) for one, own in zip(found, true, strict=True)]
        label = np.concatenate([label for label, _ in labelled])
        margins = np.concatenate([margin for _, margin in labelled])
        margin = np.median(margins, 0) if len(margins) else np.zeros(4)
        shares, forest = np.zeros((len(label), classes)), None
        if (label >= 0).any() and len(label) > 1:
            forest = _fitted(np.concatenate([one.features for one in found]), label, seed)
            shares = _by_class(forest, np.nan_to_num(forest.oob_decision_function_), classes)
        ends = np.cumsum([len(one.boxes) for one in found])[:-1]
        return cls(way, plane, size, margin, forest, _answers(found, np.split(shares, ends), margin))

    def detected(self, images: Sequence[NDArray[np.uint8]]) -> Detected:
        """The objects of images (C, H, W) uint8 of the same size."""
        found = _all_described(images, self.way, self.size)
        classes = 1 if self.forest is None else 1 + int(self.forest.classes_.max())
        features = np.concatenate([one.features for one in found])
        shares = np.zeros((len(features), classes))
        if self.forest is not None and len(features):
            shares = _by_class(self.forest, self.forest.predict_proba(features), classes)
        ends = np.cumsum([len(one.boxes) for one in found])[:-1]
        return _answers(found, np.split(shares, ends), self.margin)


def _counting(truth: Boxes, place: int) -> tuple[Floats, NDArray[np.int64]]:
    """The boxes (n, 4) and labels (n,) of an image's objects that count."""
    boxes, labels = truth.corners[place].double().numpy(), truth.labels[place].numpy()
    if truth.ignored is None:
        return boxes, labels
    counting = ~truth.ignored[place].numpy()
    return boxes[counting], labels[counting]


def _size(boxes: Sequence[Floats]) -> Size:
    sides = np.concatenate([own[:, 2:] - own[:, :2] for own in boxes])
    return Size(0.25 * float(np.percentile(sides.prod(1), 5)), 0.35 * float(np.median(sides.min(1))))


def affordable(count: int, pixels: int, budget: int, least: int, most: int) -> NDArray[np.int64]:
    """Positions of as many of `count` images of so many px as a budget of px allows, evenly spread.

    >>> affordable(1000, 100 * 100, 100_000, 5, 500).tolist()
    [0, 111, 222, 333, 444, 555, 666, 777, 888, 999]
    """
    return evenly_spread(min(most, max(least, budget // pixels)), count)


def _best_way(seen: Sequence[Floats], size: Size, true: Sequence[Floats]) -> Way:
    """Of all planes, sides and ways to part objects, the one whose regions have the highest F1 as objects of any class."""

    def quality(way: Way) -> float:
        found = in_parallel(lambda i: boxes_of(regions(seen[i], way, size)), len(seen))
        hits = sum(_fitting(boxes, own)[1].sum() for boxes, own in zip(found, true, strict=True))
        return float(2 * hits / max(1, sum(map(len, found)) + sum(map(len, true))))

    values = {Way(plane, high, False): 0.0 for plane in range(len(seen[0])) for high in (False, True)}
    values = {way: quality(way) for way in values}
    # touching objects are parted, which takes most of the time, on the planes that may profit from it
    largest = {way: quality(way._replace(parted=True)) for way in values if way.plane == 0 or values[way] > 0.05}
    values |= {way._replace(parted=True): value for way, value in largest.items()}
    return max(values, key=lambda way: values[way])


def _fitting(boxes: Floats, true: Floats) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
    """The object (n,) that each region fits best, and whether it fits and no other region fits it better."""
    if not len(true) or not len(boxes):
        return np.zeros(len(boxes), np.int64), np.zeros(len(boxes), bool)
    fits = overlaps(boxes[None], true[None])[0]  # (n, T)
    best = fits.argmax(1)
    return best, (fits.max(1) >= _PLACED) & (fits.argmax(0)[best] == np.arange(len(boxes)))


def _all_described(images: Sequence[NDArray[np.uint8]], way: Way, size: Size) -> list[Described]:
    def one(place: int) -> Described:
        values = planes(images[place])
        return described(values, regions(values, way, size))

    return in_parallel(one, len(images))


def _labelled(boxes: Floats, true: Floats, labels: NDArray[np.int64]) -> tuple[NDArray[np.int64], Floats]:
    """The class (n,) of each region, −1 where it is no object, and how far the others' boxes (m, 4) reach beyond them."""
    best, fits = _fitting(boxes, true)
    if not fits.any():
        return np.full(len(boxes), -1), np.zeros((0, 4))
    own = boxes[fits]
    sides = np.tile(own[:, 2:] - own[:, :2], 2)
    return np.where(fits, labels[best], -1), (true[best[fits]] - own) / sides


def _forest(seed: int) -> Any:
    from sklearn.ensemble import RandomForestClassifier

    return RandomForestClassifier(_TREES, min_samples_leaf=2, oob_score=True, random_state=seed)


def _fitted(features: Floats, labels: NDArray[np.int64], seed: int) -> Any:
    import warnings

    with warnings.catch_warnings():  # a region that every tree has seen has no votes, and so no share of any class
        warnings.filterwarnings("ignore", "Some inputs do not have OOB scores", UserWarning)
        return _forest(seed).fit(features, labels)


def _by_class(forest: Any, shares: Floats, classes: int) -> Floats:
    """(n, K): the probabilities of the classes, without that of no object."""
    every = np.zeros((len(shares), classes + 1))
    every[:, forest.classes_] = shares  # −1 is the last
    return every[:, :classes]


def _answers(found: Sequence[Described], shares: Sequence[Floats], margin: Floats) -> Detected:
    """Each region as an object of its most probable class."""
    rows: list[tuple[Any, Any, Any]] = []
    for one, own in zip(found, shares, strict=True):
        sides = np.tile(one.boxes[:, 2:] - one.boxes[:, :2], 2)
        score = own.max(1, initial=0.0)
        order = np.argsort(-score, kind="stable")[:MOST]
        order = order[score[order] >= FLOOR]
        rows.append(((one.boxes + margin * sides)[order], own.argmax(1)[order], score[order]))
    return Detected(
        [torch.from_numpy(row[0]).float() for row in rows],
        [torch.from_numpy(row[1]) for row in rows],
        [torch.from_numpy(row[2]).float() for row in rows],
        torch.full((len(rows),), 0.5),
    )
