# SPDX-License-Identifier: Apache-2.0
"""Which images landmarks can use, what their points are called, and which of them a mirror exchanges."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from pellucid.data.cropping import LEAST
from pellucid.data.dataset import Dataset, Split
from pellucid.data.partners import FACE_68, exchanges
from pellucid.data.problems import counted
from pellucid.data.targets import Points, target_of
from pellucid.errors import DataError, UsageError
from pellucid.tasks.landmarks.framing import Frame, framed
from pellucid.tasks.landmarks.metrics import numbered
from pellucid.tasks.landmarks.places import Placed

__all__ = ["is_face", "mirror_from", "points_of", "usable"]


def points_of(data: Dataset) -> dict[str, Points]:
    """The points of each split that has images.

    Raises:
        DataError: some split has none, or another number of them.
    """
    found: dict[str, Points] = {}
    for part, split in data.splits.items():
        points = split.targets.get("points")
        if isinstance(points, Points):
            found[part] = points
        elif len(split):
            raise DataError(
                f"data={data.name!r}: has no points, which landmarks needs; give a table of them (image, x1, y1, x2, y2, …), .pts "
                "files, or keypoints as COCO or YOLO write them."
            )
    counts = sorted({points.xy.shape[1] for points in found.values()})
    if len(counts) > 1:
        raise DataError(
            f"data={data.name!r}: its splits have {' and '.join(map(str, counts))} points an image; give the same points in all."
        )
    return found


def usable(data: Dataset, mirror: tuple[int, ...] | None, frame: Frame, around: float) -> Dataset:
    """The data as this task sees them, without the images that show no point, and with sentences on what is left out.

    Each split has a target "landmarks" beside its points.

    Raises:
        DataError: nothing is left to train on, or boxes are asked for and there are none.
    """
    splits: dict[str, Split] = {}
    blank = lost = outside = 0
    for part, split in data.splits.items():
        points = split.targets.get("points")
        if not len(split) or not isinstance(points, Points):
            splits[part] = split
            continue
        if frame == "box" and "boxes" not in split.targets:
            raise DataError(
                f"data={data.name!r}: has no boxes, which frame='box' needs; give --frame points, or whole."
            )
        seen = (~points.xy.isnan().any(2)).any(1).numpy()
        blank += int((~seen).sum())
        shown, kept = framed(split if seen.all() else split.select(np.flatnonzero(seen)), frame, around)
        lost += int((~kept).sum())
        if not len(shown) and part == "train":
            why = f", or its box is below {LEAST} px" if frame != "whole" else ""
            raise DataError(f"data={data.name!r}: no training image has a visible point{why}; give images with points.")
        splits[part], beyond = _placed(shown, mirror)
        outside += beyond
    notes = list(data.notes)
    if blank:
        notes.append(f"Left out, as none of their points is visible: {counted(blank)}.")
    if lost:
        notes.append(f"Left out, as their box is missing, below {LEAST} px or beside the image: {counted(lost)}.")
    if outside:
        notes.append(
            f"Points outside what is seen of their images: {outside:,}; they are learned and measured where they are."
        )
    made = data.replace(splits=splits, notes=tuple(notes))
    if frame == "whole":
        return made
    key = f"{data.fingerprint}-{frame}-{around!r}"  # of what is seen, by which stores are known
    return made.replace(fingerprint=hashlib.sha256(key.encode()).hexdigest() if data.fingerprint else "")


def _placed(split: Split, mirror: tuple[int, ...] | None) -> tuple[Split, int]:
    """A split with its points as this task moves them, and how many lie outside of their images."""
    points = target_of(split.targets, "points", Points)
    names = list(split.names) or [str(i) for i in range(len(split))]
    placed = Placed(points.xy, points.xy.new_ones(len(points), 2), names=names, mirror=mirror)
    targets = {kind: target for kind, target in split.targets.items() if kind in ("label", "points")}
    sizes = split.images.sizes[:, None, ::-1]  # (N, 1, 2) width, height
    xy = points.xy.numpy()
    with np.errstate(invalid="ignore"):
        beyond = int(((xy < 0) | (xy > sizes)).any(2).sum())
    return replace(split, targets={**targets, "landmarks": placed}, annotations=()), beyond


def mirror_from(file: str, names: Sequence[str], count: int) -> tuple[int, ...]:
    """What each of so many points becomes in a mirror, from a file with a pair in each line; the others stay themselves.

    Raises:
        UsageError: the file cannot be read, or a line is no pair of points, each in one pair at most.
    """
    try:
        lines = Path(file).expanduser().read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as fault:
        raise UsageError(
            f"partners={file!r}: cannot be read ({type(fault).__name__}); name a text file with a pair in each line."
        ) from fault
    known = {name: place for place, name in enumerate(numbered(names, count))}
    known = {str(i + 1): i for i in range(count)} | known
    mirror = list(range(count))
    for number, line in enumerate(lines, 1):
        words = line.replace(",", " ").split()
        if not words or words[0].startswith("#"):
            continue
        places = [known[word] for word in words if word in known]
        taken = any(mirror[place] != place for place in places)
        if len(words) != 2 or len(places) != 2 or taken or places[0] == places[1]:
            raise UsageError(
                f"partners={file!r}: line {number} is {line[:40]!r}, not a pair of two of the {count} points, each in one pair at most; "
                "write their names, or their numbers from 1."
            )
        one, other = places
        mirror[one], mirror[other] = other, one
    assert exchanges(mirror, count)
    return tuple(mirror)


def is_face(count: int, mirror: tuple[int, ...] | None) -> bool:
    """Whether points are the 68 of a face."""
    return count == len(FACE_68) and mirror == FACE_68
