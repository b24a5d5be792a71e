# SPDX-License-Identifier: Apache-2.0
"""Regions as Label Studio's editor writes them: results of one id are what is said about one region, in percent of the image."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, final

import numpy as np

from pellucid.data.annotations.drawn import Mark
from pellucid.data.annotations.outlines import around, corners_of, ellipse, pairs, patch, size_of, turned
from pellucid.data.annotations.reading import Fault, number, required, shown
from pellucid.data.annotations.records import Instance
from pellucid.data.formats.label_studio.brush import painted
from pellucid.files import as_text

__all__ = ["Answer", "answer_of"]

_SHAPES = frozenset({"rectangle", "polygon", "ellipse", "keypoint", "brush"})
_SILENT = frozenset({"labels", "textarea", "choices", "relation"})  # say something about a region, or of none
_PLACED = frozenset({"x", "points", "rle", "vertices"})  # keys of a value that has a place


@final
@dataclass
class Answer:
    """What one annotation says about its image."""

    objects: list[tuple[Instance, Hashable]] = field(default_factory=list)  # with the group, the region it is a part of
    marks: list[Mark] = field(default_factory=list)
    choices: list[str] = field(default_factory=list)  # of the whole image
    texts: list[str] = field(default_factory=list)  # of the whole image
    size: tuple[int, int] | None = None  # (H, W) in px as it was annotated
    unread: list[str] = field(default_factory=list)  # types of results
    several: int = 0  # regions with several labels, of which the first counts
    view: bool = False  # whether the image was turned in the editor
    turned: bool = False  # whether there are boxes that are turned


def answer_of(results: Sequence[Any], aspect: Callable[[tuple[int, int] | None], tuple[int, int]]) -> Answer:
    """What the results of an annotation say; coordinates are shares of the image.

    Args:
        results: as they are written.
        aspect: (H, W) in px by which turned shapes keep their form, from the size that is stated.

    Raises:
        Fault: a result is broken; its last argument is its position.
    """
    answer = Answer()
    regions: dict[Hashable, list[int]] = {}
    for i, result in enumerate(results):
        try:
            kind = required(result, "type", "a result")
            one = result.get("id")
            if not isinstance(kind, str) or isinstance(one, (dict, list)):
                raise Fault("a result has no type, or a strange id")
            size = size_of(result.get("original_height"), result.get("original_width"))
            answer.size = answer.size or size
            answer.view |= bool(result.get("image_rotation"))
        except Fault as fault:
            raise Fault(str(fault), i) from fault
        regions.setdefault(("alone", i) if one is None else one, []).append(i)
    for own in regions.values():
        try:
            _region([results[i] for i in own], own[0], answer, aspect)
        except Fault as fault:
            raise Fault(str(fault), own[0]) from fault
    return answer


def _region(
    results: Sequence[Mapping[str, Any]],
    at: int,
    answer: Answer,
    aspect: Callable[[tuple[int, int] | None], tuple[int, int]],
) -> None:
    kinds = [str(result["type"]).lower() for result in results]
    values = [result.get("value") for result in results]
    if any(value is not None and not isinstance(value, Mapping) for value in values):
        raise Fault("a result has a value that is no object")
    placed: Mapping[str, Any] | None = None
    shape = ""
    labels: list[str] = []
    texts: list[str] = []
    for kind, value in zip(kinds, values, strict=True):
        bare = kind.removesuffix("labels") or kind
        if value is None:
            if kind != "relation":
                answer.unread.append(as_text(kind))
            continue
        labels += _labels(value)
        has_place = not _PLACED.isdisjoint(value)
        if kind == "textarea":
            own = _texts(value.get("text"), "text")
            texts += own if has_place else []
            answer.texts += [] if has_place else own
        elif kind == "choices" and has_place:
            answer.unread.append("choices of a region")
        elif kind == "choices":
            answer.choices += _texts(value.get("choices"), "choices")
        if bare in _SHAPES:
            placed, shape = value, bare
        elif has_place and placed is None and kind in _SILENT - {"relation"}:
            placed = value
        elif kind not in _SILENT:
            answer.unread.append(as_text(kind))
    if placed is None:
        return
    shape = shape or _guess(placed)
    names = list(dict.fromkeys(labels))
    answer.several += len(names) > 1
    category = names[0] if names else "object"
    size = size_of(results[0].get("original_height"), results[0].get("original_width"))
    if shape == "keypoint":
        x, y = _pair(placed, "x", "y")
        parent = results[0].get("parentID")
        answer.marks.append(Mark(category, x, y, parent if isinstance(parent, str) else None))
        return
    one = _instance(shape, placed, size, aspect)
    answer.turned |= one.more is not None
    text = "\n".join(texts) if texts else None
    answer.objects.append((one.replace(category=category, text=text, place=f"result {at + 1}"), results[0].get("id")))


def _guess(value: Mapping[str, Any]) -> str:
    """The shape of a value whose result does not say it."""
    if "rle" in value:
        return "brush"
    if "points" in value:
        return "polygon"
    if "radiusX" in value:
        return "ellipse"
    return "rectangle"


def _instance(
    shape: str,
    value: Mapping[str, Any],
    size: tuple[int, int] | None,
    aspect: Callable[[tuple[int, int] | None], tuple[int, int]],
) -> Instance:
    """What a value shows, in shares of the image.

    Raises:
        Fault: numbers are missing or wrong.
    """
    if shape == "polygon":
        return Instance(polygons=(pairs(required(value, "points", "it")) / 100,))
    if shape == "brush":
        if value.get("format", "rle") != "rle" or size is None:
            raise Fault("it is painted, and has no original_width and original_height, or another format than rle")
        return Instance(runs=patch(painted(value.get("rle"), size), 0, 0, size))
    angle = number(value.get("rotation") or 0, "rotation")
    x, y = _pair(value, "x", "y")
    if shape == "ellipse":
        rx, ry = _pair(value, "radiusX", "radiusY")
        height, width = aspect(size) if angle % 180 else (1, 1)
        outline, box = ellipse((x * width, y * height), (rx * width, ry * height), angle)
        sides = np.array([width, height], np.float64)
        more = {"rotation": angle} if angle else None
        return Instance(box=around(np.array(box).reshape(2, 2) / sides), polygons=(outline / sides,), more=more)
    w, h = _pair(value, "width", "height")
    if angle % 360 == 0:
        return Instance(box=(x, y, x + w, y + h))
    # turned about its upper left corner, in px: percent of the width and of the height are of different lengths
    height, width = aspect(size)
    corners = corners_of((x * width, y * height, (x + w) * width, (y + h) * height))
    outline = turned(corners, angle, (x * width, y * height)) / np.array([width, height], np.float64)
    return Instance(box=around(outline), polygons=(outline,), more={"rotation": angle})


def _pair(value: Mapping[str, Any], first: str, second: str) -> tuple[float, float]:
    """Two numbers in percent as shares."""
    one, other = (number(required(value, key, "it"), key) / 100 for key in (first, second))
    return one, other


def _labels(value: Mapping[str, Any]) -> list[str]:
    return [name for key, own in value.items() if key.endswith("labels") for name in _texts(own, key)]


def _texts(written: Any, title: str) -> list[str]:
    """A list of texts, or a single one.

    Raises:
        Fault: it is neither.
    """
    every = written if isinstance(written, list) else [] if written is None else [written]
    if any(not isinstance(one, str) for one in every):
        raise Fault(f"its {title} are {shown(written)}, not a list of texts")
    return [as_text(one) for one in every]
