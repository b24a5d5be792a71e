# SPDX-License-Identifier: Apache-2.0
"""YOLO: images/ and labels/ with a folder for each split, and data.yaml; https://docs.ultralytics.com/datasets/detect/."""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from pellucid.data.annotations.records import Annotated, Instance
from pellucid.data.annotations.writing.sheets import Sheet, attributes, digits, lost, of_image

__all__ = ["FORM", "place", "write"]

FORM = "YOLO"

_SAME = 1e-9  # px between a box and the one around its outline
_ROUND, _ERROR = 10, 1e-14  # decimals of a share, and what computing it may be off by


def place(part: str, file: str) -> str:
    """Where an image lies."""
    return f"images/{part}/{file}"


def write(sheet: Sheet, folder: Path) -> list[str]:
    """Write a text file for each image, empty for one without objects, and data.yaml.

    A row is a class with a box, or with one outline, around which the box is understood. So an outline is written where its
    box is the one around it, and otherwise the box. If objects have keypoints, each row has a box and keypoints.
    """
    numbers = {title: i for i, title in enumerate(sheet.classes)}
    points = sheet.points
    lacking: list[str] = []
    for part, records in sheet.parts.items():
        labels = folder / "labels" / part
        labels.mkdir(parents=True)
        for record in records:
            rows = [_row(one, numbers[one.category], record, points, lacking) for one in record.instances]
            text = "".join(f"{row}\n" for row in rows if row)
            (labels / f"{os.path.splitext(record.file)[0]}.txt").write_text(text, encoding="ascii")
            lacking += of_image(record)
    (folder / "data.yaml").write_text(_settings(sheet), encoding="utf-8")
    return lost(FORM, lacking)


def _settings(sheet: Sheet) -> str:
    """The text of data.yaml."""
    lines = [f"{part}: images/{part}" for part, records in sheet.parts.items() if records]
    if sheet.points:
        lines += ["", f"kpt_shape: [{sheet.points}, 3]"]
        if len(sheet.mirror) == sheet.points:
            lines.append(f"flip_idx: {list(sheet.mirror)}")
        if len(sheet.point_names) == sheet.points:
            named = ", ".join(map(_quoted, sheet.point_names))
            lines += ["kpt_names:", *(f"  {i}: [{named}]" for i in range(len(sheet.classes)))]
    lines += ["", f"nc: {len(sheet.classes)}", "names:"]
    lines += [f"  {i}: {_quoted(title)}" for i, title in enumerate(sheet.classes)]
    return "\n".join(lines) + "\n"


def _quoted(text: str) -> str:
    """A text as YAML has it in quotation marks.

    >>> print(_quoted('a "b": no'))
    "a \\"b\\": no"
    """
    inside = text.replace("\\", "\\\\").replace('"', '\\"')
    return '"' + "".join(c if c.isprintable() else f"\\U{ord(c):08X}" for c in inside) + '"'


def _row(one: Instance, number: int, record: Annotated, points: int, lacking: list[str]) -> str:
    """The row of an object, "" where it has none; what is left out is noted."""
    if one.crowd:
        lacking.append("crowd")
        return ""
    if one.box is None or not (one.box[0] < one.box[2] and one.box[1] < one.box[3]):
        lacking.append("no box")
        return ""
    size = np.array((record.size or (1, 1))[::-1], np.float64)  # (W, H)
    outline = _outline(one) if not points else None
    told = [key for key in attributes(one) if key != "rotation" or outline is None]  # an outline shows how it is turned
    lacking += ["text"] * (one.text is not None) + ["attribute"] * len(told)
    if outline is not None:
        return f"{number} {_shares((outline / size).reshape(-1).tolist())}"
    if one.polygons or one.runs is not None:
        lacking.append("outline" if one.polygons else "runs")
    low, high = np.array(one.box[:2]) / size, np.array(one.box[2:]) / size
    row = f"{number} {_shares([*((low + high) / 2).tolist(), *(high - low).tolist()])}"
    return f"{row} {_keypoints(one, points, size)}" if points else row


def _outline(one: Instance) -> NDArray[np.float64] | None:
    """The single outline (k, 2) of an object whose box is the one around it."""
    if len(one.polygons) != 1 or one.box is None:
        return None
    only = one.polygons[0]
    around = np.concatenate([only.min(0), only.max(0)])
    return only if float(np.abs(around - np.array(one.box)).max()) < _SAME else None


def _keypoints(one: Instance, count: int, size: NDArray[np.float64]) -> str:
    """x, y and visibility of each keypoint; zeros for one that is missing."""
    if one.points is None or len(one.points) != count:
        return " ".join(["0 0 0"] * count)
    told = (one.more or {}).get("visibility")
    seen = told if isinstance(told, (list, tuple)) and len(told) == count else [2] * count
    triples = []
    for place, v in zip(one.points, seen, strict=True):
        missing = bool(np.isnan(place).any())
        triples.append("0 0 0" if missing else f"{_shares((place / size).tolist())} {int(v) or 2}")
    return " ".join(triples)


def _shares(values: Iterable[float]) -> str:
    """Shares with all their digits, without those that come from computing them."""
    short = ((value, round(value, _ROUND)) for value in values)
    return " ".join(digits(near if abs(near - value) < _ERROR else value) for value, near in short)
