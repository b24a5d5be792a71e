# SPDX-License-Identifier: Apache-2.0
"""One image of a contact sheet with what is annotated on it: prepared at the size it is shown."""

from __future__ import annotations

import colorsys
import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TypeAlias, final

import numpy as np
from numpy.typing import NDArray

from pellucid.data.batches import resize
from pellucid.data.dataset import Dataset, Split
from pellucid.data.inspection.fonts import Fonts
from pellucid.data.masks import Masks
from pellucid.data.targets import Boxes, Mask, Points, Text
from pellucid.errors import DataError

__all__ = ["Box", "Frame", "Look", "Tile", "colours", "prepared", "title_of"]

Frame: TypeAlias = tuple[float, float, float, float]
"""x0, y0, x1, y1 in px of the image."""

_LOWEST = 40  # px of a tile
_COLOURS = (
    "#ff2d55", "#34c759", "#0a84ff", "#ffcc00", "#af52de", "#ff9500", "#5ac8fa", "#a2845e", "#00c7be", "#ff9ff3", "#b8e994", "#6d214f",
)  # fmt: skip
_GOLDEN = 0.618034  # of a circle: hues that never come close to one another too soon


@final
@dataclass(frozen=True)
class Box:
    """A box to draw."""

    corners: Frame
    name: str
    ignored: bool = False


@final
@dataclass(frozen=True)
class Tile:
    """An image and its targets, at the size of the sheet's tiles."""

    picture: NDArray[np.uint8] | None  # (h, w) or (h, w, 3); None where it cannot be read
    size: tuple[int, int] = (1, 1)  # (H, W) px of the image itself, in which coordinates count
    classes: NDArray[np.uint8] | None = None  # (h', w') of its pixels, as they are shown
    boxes: tuple[Box, ...] = ()
    outlines: tuple[tuple[NDArray[np.float64], str], ...] = ()  # (k, 2) as (x, y), with the class
    points: NDArray[np.float32] | None = None  # (K, 2)
    text: str | None = None
    bare: bool = False  # no object, where others have some

    @property
    def plain(self) -> bool:
        """Whether it is an image without anything to draw on it."""
        marks = (self.classes, self.points, *self.boxes, *self.outlines)
        return self.picture is not None and not self.bare and all(mark is None for mark in marks)

    def height(self, side: int) -> int:
        """How high it is on the sheet, px; very wide images get some room for tags."""
        return max(_LOWEST, math.ceil(side * self.size[0] / max(self.size)))


@final
@dataclass(frozen=True)
class Look:
    """How tiles look: what their parts are called and which colours they have."""

    fonts: Fonts
    side: int  # px of a tile
    colours: dict[str, str] = field(default_factory=dict)  # of each class
    mask_classes: tuple[str, ...] = ()
    skeleton: tuple[tuple[int, int], ...] = ()  # pairs of keypoints that a line joins
    partners: tuple[tuple[int, int], ...] = ()  # pairs of keypoints that a mirror exchanges

    def named(self, name: str) -> str:
        """A class's name as it can be drawn: its number, from 1, where no font has its characters."""
        return name if self.fonts.readable(name) else f"#{[*self.colours].index(name) + 1}"


def title_of(number: int, mask_classes: Sequence[str]) -> str:
    """The name of a class of pixels; "" where it is the background, which has no colour."""
    name = mask_classes[number] if number < len(mask_classes) else f"class {number}" if number else "background"
    return "" if number == 0 and name == "background" else name


def colours(names: Sequence[str]) -> dict[str, str]:
    """A colour for each name: those of the first ones are easily told apart.

    >>> colours(["cat", "dog"])
    {'cat': '#ff2d55', 'dog': '#34c759'}
    """
    found = {}
    for i, name in enumerate(dict.fromkeys(names)):
        if i < len(_COLOURS):
            found[name] = _COLOURS[i]
        else:
            rgb = colorsys.hls_to_rgb(i * _GOLDEN % 1, (0.35, 0.5, 0.65)[i % 3], (1.0, 0.6)[i // 3 % 2])
            found[name] = "#" + "".join(f"{round(255 * part):02x}" for part in rgb)
    return found


def prepared(dataset: Dataset, split: Split, place: int, side: int) -> Tile:
    """An image with its targets, at most `side` px; its own masks, boxes and points are read now."""
    text = split.targets.get("text")
    words = text.lines[place] if isinstance(text, Text) else None
    try:
        image = split.images.read(place, dataset.channels)
    except DataError:
        return Tile(None, text=words)
    size = (int(image.shape[1]), int(image.shape[2]))
    boxes, points = split.targets.get("boxes"), split.targets.get("points")
    drawn: list[Box] = []
    if isinstance(boxes, Boxes):
        crowds = boxes.ignored[place].tolist() if boxes.ignored is not None else [False] * len(boxes.labels[place])
        for corners, own, crowd in zip(
            boxes.corners[place].tolist(), boxes.labels[place].tolist(), crowds, strict=True
        ):
            name = dataset.classes[own] if own < len(dataset.classes) else f"class {own}"
            drawn.append(Box(tuple(corners), name, crowd))
    instances = split.annotations[place].instances if split.annotations else ()
    return Tile(
        _fitted(image, side),
        size,
        _classes(split, place, size, side),
        tuple(drawn),
        tuple((part, one.category) for one in instances for part in one.polygons if len(part)),
        points.xy[place].numpy() if isinstance(points, Points) else None,
        words,
        isinstance(boxes, Boxes) and not drawn,
    )


def _fitted(image: NDArray[np.uint8], side: int) -> NDArray[np.uint8]:
    """An image for imshow, scaled down until its longer side is at most `side` px; small ones keep their size."""
    height, width = image.shape[1:]
    scale = min(1.0, side / max(height, width))
    small = resize(image, (max(1, round(height * scale)), max(1, round(width * scale))))
    return small[0] if small.shape[0] == 1 else small.transpose(1, 2, 0)


def _classes(split: Split, place: int, size: tuple[int, int], side: int) -> NDArray[np.uint8] | None:
    """The classes of the pixels of a tile, each that of its nearest pixel in the mask."""
    target = split.targets.get("mask")
    if isinstance(target, Masks):
        try:
            whole = target.sources[place].read()
        except DataError:
            return None
    elif isinstance(target, Mask):
        whole = target.classes[place].numpy()
    else:
        return None
    scale = side / max(size)
    rows, columns = (
        ((np.arange(max(1, round(extent * scale))) + 0.5) * have / max(1, round(extent * scale))).astype(np.int64)
        for extent, have in zip(size, whole.shape, strict=True)
    )
    nearest: NDArray[np.uint8] = whole[rows[:, None], columns[None, :]]
    return nearest
