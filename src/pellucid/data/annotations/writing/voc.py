# SPDX-License-Identifier: Apache-2.0
"""Pascal VOC: JPEGImages/, Annotations/ with an XML file an image, ImageSets/Main/ with the splits.

Boxes count from 1, as the form defines: the first pixel is 1 and the last of a row of W pixels is W. Fractions are kept, so
xmin and ymin are the edges from 0 plus 1, and xmax and ymax the edges themselves. A note in each file, in <source>, tells readers
that know it that this holds for any box, also one that is a pixel wide or less.
"""

from __future__ import annotations

import os
import re
from pathlib import Path
from xml.etree.ElementTree import Element, ElementTree, SubElement, indent

import numpy as np

from pellucid.data.annotations.records import Annotated, Instance
from pellucid.data.annotations.writing.sheets import Sheet, attributes, digits, lost, of_image, tidy

__all__ = ["FORM", "NOTE", "place", "write"]

FORM = "Pascal VOC"

NOTE = "Pellucid: boxes count from 1, xmin - 1 and ymin - 1 are edges"
"""What <source><annotation> says of the boxes."""

_NO_XML = re.compile(r"[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
_TAG = re.compile(r"[A-Za-z_][\w.-]*", re.ASCII)
_OWN = frozenset({"name", "bndbox", "robndbox", "polygon", "part", "difficult", "visibility"})


def place(part: str, file: str) -> str:
    """Where an image lies."""
    return f"JPEGImages/{file}"


def write(sheet: Sheet, folder: Path) -> list[str]:
    """Write an XML file for each image, the lists of the splits, and classes.txt with the classes in order."""
    lacking: list[str] = []
    for name in ("Annotations", "ImageSets/Main"):
        (folder / name).mkdir(parents=True)
    for part, records in sheet.parts.items():
        stems = [os.path.splitext(record.file)[0] for record in records]
        for stem, record in zip(stems, records, strict=True):
            tree = ElementTree(_annotation(record, lacking))
            indent(tree)
            tree.write(folder / "Annotations" / f"{stem}.xml", encoding="utf-8", xml_declaration=True)
        if stems:
            (folder / "ImageSets" / "Main" / f"{part}.txt").write_text(
                "".join(f"{stem}\n" for stem in stems), encoding="utf-8"
            )
    (folder / "classes.txt").write_text("".join(f"{_clean(title)}\n" for title in sheet.classes), encoding="utf-8")
    return lost(FORM, lacking)


def _clean(text: str) -> str:
    """A text as XML may have it, on one line."""
    return re.sub(r"[\t\n\r]", " ", _NO_XML.sub("\ufffd", text))


def _annotation(record: Annotated, lacking: list[str]) -> Element:
    root = Element("annotation")
    _with(root, "folder", "JPEGImages")
    _with(root, "filename", record.file)
    source = SubElement(root, "source")
    _with(source, "database", "Pellucid")
    _with(source, "annotation", NOTE)
    height, width = record.size or (0, 0)
    size = SubElement(root, "size")
    for tag, side in (("width", width), ("height", height), ("depth", 3)):
        _with(size, tag, str(side))
    _with(root, "segmented", "0")
    for one in record.instances:
        _object(root, one, lacking)
    lacking += of_image(record)
    return root


def _object(root: Element, one: Instance, lacking: list[str]) -> None:
    if one.box is None or not (one.box[0] < one.box[2] and one.box[1] < one.box[3]):
        lacking.append("no box")
        return
    lacking += ["text"] * (one.text is not None) + ["runs"] * (one.runs is not None)
    lacking += ["points"] * (one.points is not None)
    element = SubElement(root, "object")
    _with(element, "name", one.category)
    _with(element, "difficult", str(int(one.crowd)))
    for key, value in attributes(one).items():
        if _TAG.fullmatch(key) and key not in _OWN:
            _with(element, key, str(value))
        elif key not in _OWN:
            lacking.append("attribute")
    left, top, right, bottom = map(tidy, one.box)
    box = SubElement(element, "bndbox")
    for tag, side in (("xmin", tidy(left + 1)), ("ymin", tidy(top + 1)), ("xmax", right), ("ymax", bottom)):
        _with(box, tag, digits(side))
    for part in one.polygons:
        polygon = SubElement(element, "polygon")
        for i, (x, y) in enumerate(np.asarray(part, np.float64).tolist(), 1):
            SubElement(polygon, f"x{i}").text = digits(tidy(x))
            SubElement(polygon, f"y{i}").text = digits(tidy(y))


def _with(above: Element, tag: str, text: str) -> None:
    SubElement(above, tag).text = _clean(text)
