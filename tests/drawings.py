# SPDX-License-Identifier: Apache-2.0
"""Annotated sets as tests need them: pictures of their own, and what was read of them by name."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
from PIL import Image

from pellucid.data import open
from pellucid.data.annotations import Annotated
from pellucid.data.dataset import Dataset

__all__ = ["boxes_of", "pictures", "read", "refilled"]

ORIENTATION = 0x0112  # in EXIF


def pictures(folder: Path, *names: str, size: tuple[int, int] = (100, 200), orientation: int = 1) -> None:
    """Random pictures of (H, W) px as stored, each of its own."""
    for name in names:
        file = folder / name
        file.parent.mkdir(parents=True, exist_ok=True)
        image = Image.fromarray(np.random.default_rng([*map(ord, name)]).integers(0, 255, (*size, 3), np.uint8))
        exif = image.getexif()
        exif[ORIENTATION] = orientation
        image.save(file, exif=exif)


def read(path: Path) -> tuple[Dataset, Mapping[str, Annotated]]:
    """The set, and its images as annotated, by their names, whatever their split."""
    data = open(path)
    return data, {
        name: image
        for split in data.splits.values()
        for name, image in zip(split.names, split.annotations, strict=True)
    }


def boxes_of(image: Annotated) -> list[tuple[str, list[float]]]:
    """The classes and boxes of an image, without the last bits of their numbers."""
    return [(one.category, [round(side, 6) for side in one.box or ()]) for one in image.instances]


def refilled(image: Annotated) -> list[list[list[float]]]:
    """The corners of every outline, without the last bits of their numbers."""
    return [[[round(x, 6), round(y, 6)] for x, y in part.tolist()] for one in image.instances for part in one.polygons]
