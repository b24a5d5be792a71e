# SPDX-License-Identifier: Apache-2.0
"""Instances of one image as they are compared with it: coordinates in px of the upright image, what is wrong dropped or mended."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, final

import numpy as np
from faster_coco_eval import mask as run_lengths
from numpy.typing import NDArray

from pellucid.data.annotations.records import Annotated, Corners, Instance, RunLengths
from pellucid.data.problems import few

__all__ = ["Mended", "decoded_runs", "outline_box"]

_NOTABLE = 1.0  # px that a box may reach beyond its image without a sentence: less is rounding
_KINDS = {
    "empty": ("box has no area and is dropped", "boxes have no area and are dropped"),
    "outside": ("object lies outside its image and is dropped", "objects lie outside their images and are dropped"),
    "nowhere": ("object has no place and is dropped", "objects have no place and are dropped"),
    "other size": ("mask has another size than its image and is dropped", "masks have another size than their images and are dropped"),
    "not finite": ("object is not finite and is dropped", "objects are not finite and are dropped"),
    "exchanged": ("box has its corners exchanged, which are sorted", "boxes have their corners exchanged, which are sorted"),
    "clipped": ("box reaches beyond its image and is clipped", "boxes reach beyond their images and are clipped"),
    "hidden": ("keypoint lies outside its image and counts as not visible", "keypoints lie outside their images and count as not visible"),
}  # fmt: skip


@final
@dataclass
class Mended:
    """What was mended and dropped, by the names of the images.

    >>> mended = Mended()
    >>> record = Annotated("a.jpg", (Instance(box=(5, 2, 3, 4)), Instance(box=(1, 1, 1, 2))))
    >>> [one.box for one in mended.instances(record, "a.jpg", (10, 10))]
    [(3.0, 2.0, 5.0, 4.0)]
    >>> mended.sentences
    ['1 box has no area and is dropped (a.jpg).', '1 box has its corners exchanged, which are sorted (a.jpg).']
    """

    kept: int = 0  # boxes that were kept
    _names: dict[str, list[str]] = field(default_factory=lambda: defaultdict(list))
    _reach: float = 0.0  # the largest coordinate of a box in px

    def instances(
        self, record: Annotated, title: str, size: tuple[int, int], orientation: int = 1
    ) -> tuple[Instance, ...]:
        """The image's instances, boxes around those that have only an outline.

        Args:
            record: as written.
            title: the image's name, for sentences.
            size: (H, W) of the upright image in px.
            orientation: the EXIF orientation that coordinates have yet to go through, 1 for none.
        """
        done = (self._one(one, record, title, size, orientation) for one in record.instances)
        return tuple(one for one in done if one is not None)

    def count(self, kind: str) -> int:
        """How many objects had a fault: "empty", "outside", "nowhere", "not finite", "exchanged", "clipped", "hidden"."""
        return len(self._names.get(kind, ()))

    @property
    def sentences(self) -> list[str]:
        """One for each kind of fault."""
        shares = [
            "No box reaches beyond the first pixel of its image: the numbers may be shares of its width and height, "
            "where this form has pixels."
        ]
        return (shares if 0 < self._reach <= 1 else []) + [
            f"{len(names):,} {_KINDS[kind][len(names) > 1]} ({few(list(dict.fromkeys(names)), 4)})."
            for kind in _KINDS
            if (names := self._names.get(kind))
        ]

    def _one(
        self, one: Instance, record: Annotated, title: str, size: tuple[int, int], orientation: int
    ) -> Instance | None:
        height, width = size
        raw = size if orientation < 5 else size[::-1]  # of the image before it is turned
        across, down = (1.0, 1.0) if record.unit == "px" else (float(raw[1]), float(raw[0]))

        def place(points: NDArray[np.float64]) -> NDArray[np.float64]:
            places = np.asarray(points, np.float64).reshape(-1, 2)
            return _turned(places if record.unit == "px" else _exact(places * (across, down)), raw, orientation)

        polygons = tuple(kept for part in one.polygons if len(kept := place(part)) >= 3)
        points = None if one.points is None else place(one.points)
        runs = one.runs if one.runs is None or orientation == 1 else _turned_runs(one.runs, orientation)
        if one.runs is not None and one.runs.size != raw:
            self._note("other size", title)
            return None
        if one.box is not None:
            x0, y0, x1, y1 = map(float, one.box)
            ends = [x0, y0, x1, y1]  # without arrays: most objects are boxes alone
            if record.unit == "share":
                ends = [_short(x0 * across), _short(y0 * down), _short(x1 * across), _short(y1 * down)]
            if orientation > 1:
                ends = place(np.array(one.box, np.float64)).reshape(-1).tolist()
            x0, y0, x1, y1 = ends
            box: Corners | None = (min(x0, x1), min(y0, y1), max(x0, x1), max(y0, y1))
            exchanged = one.box[0] > one.box[2] or one.box[1] > one.box[3]
        else:
            box, exchanged = outline_box(polygons, runs, points), False
            ends = [] if box is None else list(box)
        if box is None:
            self._note("nowhere", title)
            return None
        if not (all(map(math.isfinite, ends)) and all(np.isfinite(part).all() for part in polygons)):
            self._note("not finite", title)
            return None
        if not (box[2] > box[0] and box[3] > box[1]) and (one.box is not None or points is None):
            self._note("empty", title)
            return None
        clipped = (max(box[0], 0.0), max(box[1], 0.0), min(box[2], float(width)), min(box[3], float(height)))
        flat = points is not None and one.box is None
        if not (clipped[2] > clipped[0] and clipped[3] > clipped[1]) and not flat:
            self._note("outside", title)
            return None
        self.kept += 1
        if min(size) > 2:
            self._reach = max(self._reach, clipped[2], clipped[3])
        if exchanged:
            self._note("exchanged", title)
        # of points alone, those outside are counted one by one
        if not flat and max(abs(a - b) for a, b in zip(box, clipped, strict=True)) > _NOTABLE:
            self._note("clipped", title)
        polygons = tuple(np.clip(part, 0, (width, height)) for part in polygons)
        if points is not None:
            x, y = points.T
            beyond = (x < 0) | (y < 0) | (x > width) | (y > height)  # NaN compares as False
            self._names["hidden"] += [title] * int(beyond.sum())
            points = np.where(beyond[:, None], np.nan, points)
        more = one.more if orientation == 1 else _turned_angle(one.more, orientation)
        return one.replace(box=clipped, polygons=polygons, points=points, runs=runs, more=more)

    def _note(self, kind: str, title: str) -> None:
        self._names[kind].append(title)


def _short(value: float) -> float:
    """One number as `_exact` has it."""
    short = round(value, 6) if math.isfinite(value) else value
    return short if abs(short - value) < 1e-10 else value


def _exact(places: NDArray[np.float64]) -> NDArray[np.float64]:
    """Numbers without what computing them from shares added: the nearest ones of six decimals, if these lie within 1e-10."""
    short = np.round(places, 6)
    with np.errstate(invalid="ignore"):  # infinity − infinity
        return np.where(np.abs(short - places) < 1e-10, short, places)


def outline_box(
    polygons: Sequence[NDArray[np.float64]], runs: RunLengths | None, points: NDArray[np.float64] | None = None
) -> Corners | None:
    """The box around an outline, or else around visible points; None where there is neither.

    >>> outline_box([np.array([[1.0, 2], [5, 2], [3, 7]])], None)
    (1.0, 2.0, 5.0, 7.0)
    """
    if polygons:
        every = np.concatenate(polygons)
        return (*every.min(0).tolist(), *every.max(0).tolist())
    if runs is not None:
        inside = decoded_runs(runs)
        rows, columns = np.flatnonzero(inside.any(1)), np.flatnonzero(inside.any(0))
        if not len(rows):
            return None
        return float(columns[0]), float(rows[0]), float(columns[-1] + 1), float(rows[-1] + 1)
    if points is not None and (visible := points[~np.isnan(points).any(1)]).size:
        return (*visible.min(0).tolist(), *visible.max(0).tolist())
    return None


def decoded_runs(runs: RunLengths) -> NDArray[np.uint8]:
    """A region (H, W) of zeros and ones.

    >>> decoded_runs(RunLengths((2, 3), (2, 3, 1))).tolist()
    [[0, 1, 1], [0, 1, 0]]
    """
    if isinstance(runs.counts, str):
        region: NDArray[np.uint8] = run_lengths.decode({"size": list(runs.size), "counts": runs.counts.encode()})
        return np.ascontiguousarray(region)
    values = np.arange(len(runs.counts), dtype=np.int64) % 2
    return np.ascontiguousarray(np.repeat(values, runs.counts).astype(np.uint8).reshape(runs.size[::-1]).T)


def _turned(points: NDArray[np.float64], size: tuple[int, int], orientation: int) -> NDArray[np.float64]:
    """Points (n, 2) in an image of (H, W) where they come to lie once its EXIF orientation is applied."""
    if orientation == 1:
        return points
    (height, width), (x, y) = size, points.T
    moved = {
        2: (width - x, y), 3: (width - x, height - y), 4: (x, height - y),
        5: (y, x), 6: (height - y, x), 7: (height - y, width - x), 8: (y, width - x),
    }  # fmt: skip
    return np.stack(moved.get(orientation, (x, y)), 1)


def _turned_angle(more: Mapping[str, Any] | None, orientation: int) -> Mapping[str, Any] | None:
    """What is kept of an object in an image that is turned: its angle is turned along, or left out where a mirror changes it."""
    angle = None if more is None else more.get("rotation")
    if more is None or not angle:  # what stands upright does so still
        return more
    rest = {key: value for key, value in more.items() if key != "rotation"}
    turn = {3: 180, 6: 90, 8: 270}.get(orientation)
    if turn is None or not isinstance(angle, (int, float)):
        return rest
    return {**rest, "rotation": (angle + turn) % 360}


def _turned_runs(runs: RunLengths, orientation: int) -> RunLengths:
    from pellucid.data.decoding.pictures import upright

    region = upright(decoded_runs(runs)[None], orientation)[0]
    flat = region.T.reshape(-1)
    edges = np.flatnonzero(np.diff(flat)) + 1
    counts = np.diff([0, *edges.tolist(), len(flat)]).tolist()
    counts = [0, *counts] if len(flat) and flat[0] else counts
    return RunLengths((region.shape[0], region.shape[1]), tuple(counts))
