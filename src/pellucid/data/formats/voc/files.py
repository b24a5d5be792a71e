# SPDX-License-Identifier: Apache-2.0
"""What one XML file of Pascal VOC says, in the numbers that are written there.

Source: Everingham et al., The PASCAL Visual Object Classes Challenge, development kit documentation, section "Annotations".
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any, final
from xml.etree.ElementTree import Element

import numpy as np
from numpy.typing import NDArray

from pellucid.data.annotations.reading import Fault, XmlFile, broken, number, xml_of
from pellucid.data.annotations.records import Corners, Instance
from pellucid.data.annotations.writing.voc import NOTE

__all__ = ["Written", "root_tag", "written"]

_SIDES = ("xmin", "ymin", "xmax", "ymax")
_PLACES = frozenset({"name", "bndbox", "robndbox", "polygon", "part"})
_COMMENT = re.compile(rb"<!--.*?-->", re.S)
_TAG = re.compile(rb"<([A-Za-z_][\w.:-]*)")
_HEAD = 4096  # bytes in which the first tag stands


@final
@dataclass(frozen=True)
class Written:
    """One file."""

    source: str  # relative to the dataset's folder
    instances: tuple[Instance, ...]
    size: tuple[int, int] | None  # (H, W); None where it is missing or 0
    filename: str  # of the image, as the file says
    noted: bool = False  # its boxes count from 1 for certain: a note of Pellucid's says so


def root_tag(file: Path) -> str | None:
    """The first tag of an XML file; None where there is none, as in one that is empty or broken."""
    try:
        with file.open("rb") as stream:
            head = stream.read(_HEAD).replace(b"\0", b"")  # UTF-16 as well
    except OSError:
        return None
    found = _TAG.search(_COMMENT.sub(b"", head))
    return found[1].decode("ascii", "replace") if found else None


def written(path: Path, name: str) -> Written | None:
    """One file's objects; None where it is XML of another kind.

    Raises:
        DataError: it is broken, or a number is none; the sentence has the line.
    """
    file = path / name
    tree = xml_of(file)
    if tree.root.tag != "annotation":
        return None
    instances = tuple(_instance(tree, one) for one in tree.root.findall("object"))
    noted = _text(tree.root.find("source/annotation")) == NOTE
    return Written(name, instances, _size(tree), _text(tree.root.find("filename")), noted)


def _text(element: Element | None) -> str:
    return "" if element is None else (element.text or "").strip()


def _number(tree: XmlFile, above: Element, tag: str) -> float:
    return _value(tree, above, tag, above.find(tag))


def _value(tree: XmlFile, above: Element, tag: str, element: Element | None) -> float:
    if element is None:
        raise tree.fault(f"<{above.tag}> has no <{tag}>", above)
    try:
        return number(_text(element), tag, finite=False)
    except Fault as fault:
        raise tree.fault(fault, element) from fault


def _size(tree: XmlFile) -> tuple[int, int] | None:
    element = tree.root.find("size")
    if element is None or not {child.tag for child in element} & {"width", "height"}:
        return None
    height, width = _number(tree, element, "height"), _number(tree, element, "width")
    if not (height > 0 and width > 0):
        return None
    if math.isinf(height) or math.isinf(width) or height % 1 or width % 1:
        raise tree.fault(f"<size> is {height:g}×{width:g}, not a number of pixels", element)
    return int(height), int(width)


def _instance(tree: XmlFile, element: Element) -> Instance:
    category = _text(element.find("name"))
    if not category:
        raise broken(tree.file, "<object> has no <name>", tree.line(element), "name its class")
    box = element.find("bndbox")
    more: dict[str, Any] = {
        child.tag: int(text) if text.isascii() and text.isdigit() and len(text) < 10 else text
        for child in element
        if child.tag not in _PLACES and not len(child) and (text := _text(child))
    }
    polygons = _polygons(tree, element)
    if (turned := element.find("robndbox")) is not None:
        outline, more["rotation"] = _turned(tree, turned)
        polygons = (outline,)
    return Instance(
        category,
        None if box is None else _corners(tree, box),
        polygons,
        crowd=more.get("difficult", 0) not in (0, "0.0", "false", "False"),
        place=f"line {tree.line(element)}",
        more=more or None,
    )


def _corners(tree: XmlFile, box: Element) -> Corners:
    left, top, right, bottom = (_number(tree, box, side) for side in _SIDES)
    return left, top, right, bottom


def _polygons(tree: XmlFile, element: Element) -> tuple[NDArray[np.float64], ...]:
    """Outlines, which some writers add: <x1>, <y1>, <x2>, …, or <pt> with <x> and <y>."""
    found = []
    for polygon in element.findall("polygon"):
        if points := polygon.findall("pt"):
            places = [[_number(tree, point, axis) for axis in "xy"] for point in points]
        else:
            sides = {str(child.tag): child for child in polygon}  # thousands: none is searched for
            count = sum(re.fullmatch(r"x\d+", tag) is not None for tag in sides)
            tags = [[f"{axis}{i + 1}" for axis in "xy"] for i in range(count)]
            places = [[_value(tree, polygon, tag, sides.get(tag)) for tag in pair] for pair in tags]
        if places:
            found.append(np.array(places, np.float64))
    return tuple(found)


def _turned(tree: XmlFile, box: Element) -> tuple[NDArray[np.float64], float]:
    """The corners (4, 2) of a box that is turned about its centre clockwise, as rows run down, and its angle in degrees."""
    x, y, width, height, angle = (_number(tree, box, tag) for tag in ("cx", "cy", "w", "h", "angle"))
    if not math.isfinite(angle):
        raise tree.fault(f"angle is {angle}, not a finite number", box)
    half = np.array([[-width, -height], [width, -height], [width, height], [-width, height]]) / 2
    cos, sin = math.cos(angle), math.sin(angle)
    return half @ np.array([[cos, sin], [-sin, cos]]) + (x, y), math.degrees(angle)
