# SPDX-License-Identifier: Apache-2.0
"""What is annotated in a dataset's images, in numbers: objects, pixels, keypoints and text."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import final

import numpy as np
import torch
from numpy.typing import NDArray

from pellucid._spread import evenly_spread
from pellucid.data.dataset import Dataset
from pellucid.data.decoding import in_parallel
from pellucid.data.masks import VOID, Masks
from pellucid.data.sizing import training_size
from pellucid.data.targets import Boxes, Mask, Points, Target, Text
from pellucid.errors import DataError

__all__ = ["SMALL", "Keypoints", "Objects", "Regions", "Texts", "keypoints", "objects", "regions", "texts"]

SMALL = 16
"""px of a box's shorter side, below which an object is called small."""

_MASKS, _PIXELS = 2000, 400_000_000  # read at most


@final
@dataclass(frozen=True)
class Objects:
    """The objects that boxes or keypoints mark, counted by split and class; and how large the boxes are."""

    total: dict[str, int]  # per split, without those that are ignored
    empty: dict[str, int]  # per split, images without any object
    ignored: dict[str, int]  # per split: crowds and difficult ones
    classes: dict[str, dict[str, tuple[int, int]]]  # per class and split: images that hold it, objects
    shorter: tuple[float, float, float]  # px, the smallest, the median and the largest; of all splits
    longer: tuple[float, float, float]  # px
    share: tuple[float, float, float]  # of the image's area
    small: int  # boxes with a shorter side below SMALL px at this size
    size: tuple[int, int]  # (H, W) px that a training would choose


@final
@dataclass(frozen=True)
class Regions:
    """The pixels of masks by class."""

    share: dict[str, float]  # of all pixels; with "void" where there are such
    images: dict[str, int]  # that hold the class
    strange: tuple[str, ...]  # classes of val or test that no training mask holds
    read: int  # masks that were counted
    of: int
    problems: tuple[str, ...]  # masks that cannot be read, a sentence each


@final
@dataclass(frozen=True)
class Keypoints:
    """Keypoints of images."""

    count: int  # of an image
    visible: dict[str, tuple[int, int]]  # per split: how many are visible, and of how many
    bare: dict[str, int]  # per split: images without a visible one


@final
@dataclass(frozen=True)
class Texts:
    """What is written on images, per split."""

    lines: dict[str, int]
    characters: dict[str, int]  # without the breaks between lines
    different: int  # characters in all splits
    longest: int  # characters of the longest line
    bare: dict[str, int]  # images without text


def objects(dataset: Dataset) -> Objects | None:
    """The objects of a dataset with boxes.

    >>> from pellucid.data import open
    >>> found = objects(open("scenes"))
    >>> found.total["test"], found.empty["test"], found.classes["ring"]["test"]
    (723, 0, (90, 97))
    """
    own = {part: boxes for part, boxes in _of(dataset, "boxes") if isinstance(boxes, Boxes)}
    if not own:
        return None
    total, empty, ignored = {}, {}, {}
    classes: dict[str, dict[str, tuple[int, int]]] = {name: {} for name in dataset.classes}
    for part, boxes in own.items():
        counting = boxes.counting
        total[part] = sum(len(labels) for labels in counting)
        empty[part] = sum(not len(labels) for labels in boxes.labels)
        ignored[part] = sum(len(labels) for labels in boxes.labels) - total[part]
        held = boxes.holders(len(classes))[: len(classes)].numpy()
        every = _tally(counting, len(classes))
        for name, images, number in zip(classes, held, every, strict=True):
            classes[name][part] = (int(images), int(number))
    sides, shares, scaled, size = _sizes(dataset, own)
    return Objects(
        total,
        empty,
        ignored,
        classes,
        shorter=_spread(sides.min(1)),
        longer=_spread(sides.max(1)),
        share=_spread(shares),
        small=int((scaled.min(1) < SMALL).sum()),
        size=size,
    )


def regions(dataset: Dataset) -> Regions | None:
    """The pixels of a dataset with masks; of very many pixels, those of evenly spread masks."""
    own = {part: mask for part, mask in _of(dataset, "mask") if isinstance(mask, (Mask, Masks)) and len(mask)}
    if not own:
        return None
    places = [(part, i) for part, mask in own.items() for i in range(len(mask))]
    pixels = sum(int(dataset[part].images.sizes.prod(1, dtype=np.int64).sum()) for part in own)
    most = min(_MASKS, max(1, int(_PIXELS / max(1.0, pixels / len(places)))))
    chosen = [places[i] for i in evenly_spread(most, len(places))]

    def one(k: int) -> NDArray[np.int64] | str:
        part, i = chosen[k]
        mask = own[part]
        try:
            values = mask.sources[i].read() if isinstance(mask, Masks) else mask.classes[i].numpy()
        except DataError as fault:
            return str(fault)
        return np.bincount(values.reshape(-1), minlength=VOID + 1)

    counted = in_parallel(one, len(chosen))
    good = [(part, row) for (part, _), row in zip(chosen, counted, strict=True) if not isinstance(row, str)]
    table = np.stack([row for _, row in good]) if good else np.zeros((0, VOID + 1), np.int64)  # (N, 256) px
    parts = np.array([part for part, _ in good], object)
    occurring = np.flatnonzero(table.sum(0))
    listed = sorted({*range(min(len(dataset.mask_classes), VOID)), *occurring.tolist()})
    titles = {number: _title(number, dataset.mask_classes) for number in listed}
    train = table[parts == "train"].sum(0)
    absent = [titles[i] for i in listed if i != VOID and table[:, i].any() and not train[i]]
    return Regions(
        {titles[i]: float(table[:, i].sum() / max(1, table.sum())) for i in listed},
        {titles[i]: int((table[:, i] > 0).sum()) for i in listed},
        tuple(absent) if train.any() else (),
        len(good),
        len(places),
        tuple(row for row in counted if isinstance(row, str)),
    )


def keypoints(dataset: Dataset) -> Keypoints | None:
    """The keypoints of a dataset that has some."""
    own = {part: points.xy for part, points in _of(dataset, "points") if isinstance(points, Points)}
    if not own:
        return None
    seen = {part: ~xy.isnan().any(2) for part, xy in own.items()}  # (N, K)
    return Keypoints(
        next(iter(own.values())).shape[1],
        {part: (int(shown.sum()), shown.numel()) for part, shown in seen.items()},
        {part: int((~shown.any(1)).sum()) for part, shown in seen.items()},
    )


def texts(dataset: Dataset) -> Texts | None:
    """The text of a dataset that has some."""
    own = {part: text.lines for part, text in _of(dataset, "text") if isinstance(text, Text)}
    if not own:
        return None
    lines = {part: [line for text in every for line in text.split("\n") if line] for part, every in own.items()}
    return Texts(
        {part: len(every) for part, every in lines.items()},
        {part: sum(map(len, every)) for part, every in lines.items()},
        len(set().union(*(line for every in lines.values() for line in every))),
        max((len(line) for every in lines.values() for line in every), default=0),
        {part: sum(not text for text in every) for part, every in own.items()},
    )


def _of(dataset: Dataset, kind: str) -> list[tuple[str, Target]]:
    """The targets of one kind by split."""
    return [(part, split.targets[kind]) for part, split in dataset.splits.items() if kind in split.targets]


def _title(number: int, names: Sequence[str]) -> str:
    return "void" if number == VOID else names[number] if number < len(names) else f"class {number}"


def _tally(labels: Sequence[torch.Tensor], classes: int) -> NDArray[np.int64]:
    if not labels:
        return np.zeros(classes, np.int64)
    return np.bincount(torch.cat([*labels]).numpy(), minlength=classes)[:classes]


def _sizes(
    dataset: Dataset, own: Mapping[str, Boxes]
) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64], tuple[int, int]]:
    """Height and width (n, 2) of every box in px, its share of the image (n,), its height and width (n, 2) in training, and that size."""
    size = training_size(dataset, (), crops=False)
    sides, around = [np.zeros((0, 2))], [np.zeros((0, 2))]
    for part, boxes in own.items():
        if len(boxes):
            corners = torch.cat(boxes.corners).double().numpy()  # (n, 4)
            sides.append(corners[:, [3, 2]] - corners[:, [1, 0]])
            around.append(dataset[part].images.sizes.repeat([len(own) for own in boxes.labels], 0).astype(np.float64))
    every, frames = np.concatenate(sides), np.concatenate(around)
    return every, (every / frames).prod(1), every * np.array(size) / frames, size


def _spread(values: NDArray[np.float64]) -> tuple[float, float, float]:
    if not len(values):
        return 0.0, 0.0, 0.0
    return float(values.min()), float(np.median(values)), float(values.max())
