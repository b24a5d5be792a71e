# SPDX-License-Identifier: Apache-2.0
"""Which images localize can use, and what it says of those with several objects."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from pellucid.data.dataset import Dataset, Split
from pellucid.data.problems import counted
from pellucid.data.targets import Boxes, target_of
from pellucid.errors import DataError

__all__ = ["usable"]


def usable(data: Dataset) -> Dataset:
    """The data without the images whose every object is to be ignored, with a sentence on what is left out and chosen.

    Raises:
        DataError: no training image has an object that counts.
    """
    splits: dict[str, Split] = {}
    several = crowds = 0
    for name, split in data.splits.items():
        if not len(split):
            splits[name] = split
            continue
        every, counting = _objects(target_of(split.targets, "boxes", Boxes))
        several += int((counting > 1).sum())
        crowded = (every > 0) & (counting == 0)
        crowds += int(crowded.sum())
        splits[name] = split.select(np.flatnonzero(~crowded)) if crowded.any() else split
        if name == "train" and not counting.any():
            raise DataError(
                f"data={data.name!r}: no training image has an object; give images with boxes around their objects."
            )
    notes = list(data.notes)
    if crowds:
        notes.append(f"Left out, as all of their objects are crowds or difficult ones: {counted(crowds)}.")
    if several:
        notes.append(f"Images with several objects: {several:,}; the largest object of each counts.")
    return data.replace(splits=splits, notes=tuple(notes))


def _objects(boxes: Boxes) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """(N,) each: the objects of each image, and those of them that count."""
    every = np.array([len(labels) for labels in boxes.labels], np.int64)
    return every, np.array([len(labels) for labels in boxes.counting], np.int64)
