# SPDX-License-Identifier: Apache-2.0
"""One annotation of a COCO file as an instance: box, polygons, run lengths, keypoints."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, TypeAlias, final

import numpy as np
from numpy.typing import NDArray

from pellucid.data.annotations.outlines import corners_of, turned
from pellucid.data.annotations.reading import Fault, number, numbers, required, shown
from pellucid.data.annotations.records import Corners, Instance, RunLengths
from pellucid.files import as_text

__all__ = ["Category", "Key", "category_of", "instance", "key_of", "size_of"]

Key: TypeAlias = str
"""An id: numbers and texts that mean the same are equal."""

Outline: TypeAlias = tuple[tuple[NDArray[np.float64], ...], RunLengths | None]


@final
@dataclass(frozen=True)
class Category:
    """One entry of `categories`."""

    name: str
    above: str = ""  # its supercategory
    points: tuple[str, ...] = ()  # the names of its keypoints
    skeleton: tuple[tuple[int, int], ...] = ()  # pairs of keypoints, from 0


def key_of(value: Any, title: str) -> Key:
    """An id.

    >>> key_of(7, "id") == key_of("7", "id") == key_of(7.0, "id")
    True

    Raises:
        Fault: it is neither a whole number nor a text.
    """
    if isinstance(value, str):
        return value
    if isinstance(value, int) and not isinstance(value, bool):
        return str(value)
    if isinstance(value, float) and value.is_integer():
        return str(int(value))
    raise Fault(f"{title} is {shown(value)}, neither a whole number nor a text")


def size_of(entry: Mapping[str, Any]) -> tuple[int, int] | None:
    """(H, W) of an entry of `images`, None where it gives none.

    Raises:
        Fault: it is no pair of whole numbers.
    """
    sides = [number(entry.get(key) or 0, key) for key in ("height", "width")]
    if not all(side.is_integer() for side in sides):
        raise Fault(f"height and width are {shown(sides)}, not whole numbers")
    return (int(sides[0]), int(sides[1])) if min(sides) > 0 else None


def instance(entry: Mapping[str, Any], category: Category, place: str, size: tuple[int, int] | None) -> Instance:
    """An entry of `annotations`.

    Args:
        entry: as written.
        category: that of its `category_id`.
        place: where it is, for sentences.
        size: (H, W) of its image; None where the file does not say.

    Raises:
        Fault: a value of it is not what COCO has there.
    """
    box = _box(entry.get("bbox"))
    polygons, runs = _outline(entry.get("segmentation"), size)
    if box is not None and not polygons and runs is None and (angle := _angle(entry)):
        centre = ((box[0] + box[2]) / 2, (box[1] + box[3]) / 2)
        polygons, box = (turned(corners_of(box), angle, centre),), None
    points, visibility = _points(entry.get("keypoints"), category)
    crowd = bool(number(int(flag) if isinstance(flag := entry.get("iscrowd") or 0, bool) else flag, "iscrowd"))
    return Instance(category.name, box, polygons, runs, points, crowd, None, place, _more(entry, visibility))


def _box(value: Any) -> Corners | None:
    if value is None or value == []:
        return None
    sides = numbers(value, "bbox", finite=False).tolist()  # what is not finite is dropped by name later
    if len(sides) != 4:
        raise Fault(f"bbox is {shown(value)}, not x, y, width, height")
    left, top, width, height = sides
    return left, top, left + width, top + height


def _outline(value: Any, size: tuple[int, int] | None) -> Outline:
    if value is None or value == "" or value == [] or value == {}:
        return (), None
    if isinstance(value, dict):
        return (), _runs(value, size)
    if not isinstance(value, list):
        raise Fault(f"segmentation is {shown(value)}, neither polygons nor run lengths")
    if not isinstance(value[0], (list, dict)):  # one polygon without the list around it
        value = [value]
    polygons = []
    for part in value:
        if isinstance(part, list) and part and isinstance(part[0], list):  # as [x, y] pairs
            part = [side for pair in part for side in (pair if isinstance(pair, list) else [pair])]
        flat = numbers(part, "segmentation", finite=False)
        if len(flat) % 2:
            raise Fault(f"segmentation has a polygon of {len(flat)} numbers, not of pairs")
        if len(flat):
            polygons.append(flat.reshape(-1, 2))
    return tuple(polygons), None


# -- run lengths


def _runs(value: Mapping[str, Any], size: tuple[int, int] | None) -> RunLengths:
    sides = numbers(required(value, "size", "segmentation"), "size").tolist()
    if len(sides) != 2 or not all(side.is_integer() and side > 0 for side in sides):
        raise Fault(f"size is {shown(value['size'])}, not height and width")
    own = (int(sides[0]), int(sides[1]))
    if size is not None and own != size:
        raise Fault(f"its run lengths are for {own[0]}×{own[1]} px, its image has {size[0]}×{size[1]} px")
    counts = required(value, "counts", "segmentation")
    lengths = _decompressed(counts) if isinstance(counts, str) else numbers(counts, "counts")
    if (lengths < 0).any() or (lengths != np.floor(lengths)).any():
        raise Fault("counts has run lengths that are not whole numbers")
    if lengths.sum() != own[0] * own[1]:
        raise Fault(f"its run lengths have {lengths.sum():,.0f} px in sum, its size {own[0] * own[1]:,}")
    return RunLengths(own, counts if isinstance(counts, str) else tuple(lengths.astype(np.int64).tolist()))


def _decompressed(text: str) -> NDArray[np.float64]:
    """The run lengths that COCO's text means: 5 bits a character, and from the third on the difference to the last but one.

    >>> _decompressed("231").tolist()
    [2.0, 3.0, 1.0]
    """
    codes = np.array([ord(c) for c in text], np.int64) - 48
    if len(codes) == 0 or ((codes < 0) | (codes > 63)).any() or codes[-1] & 32:
        raise Fault(f"counts is {shown(text)}, no run lengths")
    ends = np.flatnonzero(codes & 32 == 0)
    starts = np.concatenate([[0], ends[:-1] + 1])
    place = np.arange(len(codes)) - np.repeat(starts, ends - starts + 1)
    if place.max() > 9:
        raise Fault(f"counts is {shown(text)}, no run lengths")
    values = np.add.reduceat((codes & 31) << (5 * place), starts)
    values -= np.where(codes[ends] & 16 != 0, np.int64(1) << (5 * (place[ends] + 1)), 0)
    for own in (values[1::2], values[2::2]):  # each is added to the last but one, the first three are their own
        np.cumsum(own, out=own)
    return values.astype(np.float64)


# -- keypoints and angles


def _points(value: Any, category: Category) -> tuple[NDArray[np.float64] | None, tuple[int, ...]]:
    """Keypoints (K, 2), NaN where one is not marked; and their visibilities where one is marked and hidden."""
    if value is None or value == []:
        return None, ()
    flat = numbers(value, "keypoints", finite=False)
    if len(flat) % 3 or (category.points and len(flat) != 3 * len(category.points)):
        most = f" for {len(category.points)} of {category.name}" if category.points else ""
        raise Fault(f"keypoints has {len(flat)} numbers{most}, not x, y and visibility of each")
    triples = flat.reshape(-1, 3)
    marked = triples[:, 2] > 0
    hidden = (triples[:, 2] == 1).any()
    return np.where(marked[:, None], triples[:, :2], np.nan), tuple(
        np.where(marked, triples[:, 2], 0).clip(0, 2).astype(int).tolist()
    ) if hidden else ()


def _more(entry: Mapping[str, Any], visibility: tuple[int, ...]) -> dict[str, Any] | None:
    """What COCO itself does not define: attributes, and which keypoints are hidden."""
    told = entry.get("attributes")
    more = (
        {key: value for key, value in told.items() if isinstance(value, (str, int, float))}
        if isinstance(told, dict)
        else {}
    )
    return {**more, **({"visibility": visibility} if visibility else {})} or None


def _angle(entry: Mapping[str, Any]) -> float:
    """The angle in degrees, clockwise, by which a tool turned the box about its centre, as CVAT writes it."""
    attributes = entry.get("attributes")
    return number(attributes.get("rotation") or 0, "rotation") % 360 if isinstance(attributes, dict) else 0.0


def category_of(entry: Any) -> Category:
    """An entry of `categories`.

    Raises:
        Fault: it has no name, or keypoints that are none.
    """
    name = required(entry, "name", "a category")
    if not isinstance(name, (str, int)) or isinstance(name, bool) or name == "":
        raise Fault(f"the name of a category is {shown(name)}, not a text")
    points = entry.get("keypoints") or []
    if not isinstance(points, list) or not all(isinstance(one, str) for one in points):
        raise Fault(f"keypoints of the category {name!r} are {shown(points)}, not names")
    above = entry.get("supercategory")
    return Category(
        as_text(str(name)),
        above if isinstance(above, str) else "",
        tuple(map(as_text, points)),
        _skeleton(entry, len(points)),
    )


def _skeleton(entry: Mapping[str, Any], count: int) -> tuple[tuple[int, int], ...]:
    """The pairs of keypoints that a line joins, from 0; pairs that name no keypoint are none."""
    pairs = entry.get("skeleton")
    ends = range(1, count + 1)
    return tuple(
        (pair[0] - 1, pair[1] - 1)
        for pair in (pairs if isinstance(pairs, list) else ())
        if isinstance(pair, list) and len(pair) == 2 and all(type(end) is int and end in ends for end in pair)
    )
