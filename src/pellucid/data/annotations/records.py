# SPDX-License-Identifier: Apache-2.0
"""Annotations as they are written, before anything is compared with the images."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal, Self, TypeAlias, final

import numpy as np
from numpy.typing import NDArray

from pellucid.data.masks import MaskSource

__all__ = ["Annotated", "Annotations", "Corners", "Instance", "RunLengths", "Unit"]

Corners: TypeAlias = tuple[float, float, float, float]
"""x0, y0, x1, y1: a box's edges, so that pixel (i, j) covers [j, j+1) × [i, i+1)."""

Unit: TypeAlias = Literal["px", "share"]
"""What coordinates count: pixels, or shares of the image's width and height."""


@final
@dataclass(frozen=True)
class RunLengths:
    """A region as COCO's run lengths: pixels outside and inside in turn, column by column from the upper left corner."""

    size: tuple[int, int]  # (H, W)
    counts: tuple[int, ...] | str  # as numbers, or compressed as in COCO's files


@final
@dataclass(frozen=True)
class Instance:
    """One annotated object: where it is, in as many ways as are written.

    >>> Instance("cell", box=(10, 20, 30, 50)).box
    (10, 20, 30, 50)
    """

    category: str = "object"
    box: Corners | None = None  # as written: corners may be exchanged, or lie outside; None: around its outline
    polygons: tuple[NDArray[np.float64], ...] = ()  # outlines (k, 2) as (x, y); several parts of one object
    runs: RunLengths | None = None  # in px, instead of polygons
    points: NDArray[np.float64] | None = None  # (K, 2) keypoints as (x, y), NaN where one is not visible
    crowd: bool = False  # a region of many objects, or a difficult one: it counts neither as found nor as false alarm
    text: str | None = None  # what is written there
    place: str = ""  # where in the file, for sentences: "line 3", "annotation 17"
    more: Mapping[str, Any] | None = None  # what only one form has, kept for writing it again: an angle, COCO's id

    def replace(self, **changes: Any) -> Self:
        """A copy with some fields changed."""
        return replace(self, **changes)


@final
@dataclass(frozen=True)
class Annotated:
    """One image with its instances; without any, it is an image that shows none of the classes."""

    file: str  # relative to the dataset's folder, with "/"
    instances: tuple[Instance, ...] = ()
    size: tuple[int, int] | None = None  # (H, W) that the annotation states; None where it states none
    part: str | None = None  # "train", "val", "test"; None where nothing says so
    source: str = ""  # the file it was read from, relative to the dataset's folder
    unit: Unit = "px"  # of all coordinates of its instances, but for run lengths
    mask: MaskSource | None = None  # the class of every pixel
    label: str | None = None  # the class of the whole image
    text: str | None = None  # all that is written on the image, its lines separated by "\n"

    def replace(self, **changes: Any) -> Self:
        """A copy with some fields changed."""
        return replace(self, **changes)


@final
@dataclass(frozen=True)
class Annotations:
    """All that a reader found."""

    form: str  # the form's own name: "COCO", "Pascal VOC"
    images: Sequence[Annotated]
    classes: tuple[str, ...] = ()  # in their own order; (): those that occur, in natural order
    point_names: tuple[str, ...] = ()  # of each keypoint
    mirror: tuple[int, ...] = ()  # the keypoint that each becomes in a mirror; (): as their names tell
    mask_classes: tuple[str, ...] = ()  # the name of each number in the masks
    mask_colours: tuple[int, ...] = ()  # and its colour, 0xRRGGBB; () where nothing tells
    problems: tuple[str, ...] = ()  # what was dropped or mended in reading, a sentence each
    notes: tuple[str, ...] = ()  # how the numbers are read, a sentence each: "Boxes count from 1."
    skeleton: tuple[tuple[int, int], ...] = ()  # pairs of keypoints that a line joins, from 0
    read: tuple[str, ...] = ()  # files that hold annotations or lists, relative to the dataset's folder
