# SPDX-License-Identifier: Apache-2.0
"""Files that name the classes of masks: by number, by line, or by colour."""

from __future__ import annotations

import contextlib
import csv
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any, final

from pellucid.data.annotations.reading import Fault, broken, json_of, lines_of, shown
from pellucid.data.decoding import SUFFIXES

__all__ = ["Declared", "class_table", "means_void", "parsed"]

_NAMES = (
    "class_dict", "labelmap", "label_map", "label_colors", "label_colours", "classes", "class_names", "classnames", "codes",
    "labels", "names", "categories", "colormap", "colors", "id2label", "label2id", "dataset",
)  # fmt: skip
_VOID = re.compile(
    r"void|un-?label+ed|unlabel|ignored?|ignore[ _-]?(label|region|area)s?|do ?n.?t[ _-]?care|not[ _-]?label+ed"
)
_HEADS = {
    "name",
    "class",
    "label",
    "r",
    "red",
    "id",
    "value",
    "index",
    "class_name",
    "label_name",
    "pixel",
    "code",
    "color",
    "colour",
}
_VALUES = ("value", "id", "index", "pixel", "pixel_value", "code", "class_id", "label_id", "label", "class")
_TITLES = ("name", "class_name", "label_name", "class", "label", "title", "category")
_NUMBERS = re.compile(r"\d+([\s,]+\d+)+")
_COLUMNS = {"r": ("r", "red"), "g": ("g", "green"), "b": ("b", "blue")}


@final
@dataclass(frozen=True)
class Declared:
    """The names of classes in one file."""

    file: str  # relative to the dataset's folder
    values: Mapping[int, str]  # of numbers; lines count from 0 where no number is written
    colours: Mapping[int, str]  # of colours 0xRRGGBB
    said: str = ""  # whence the names are, in a sentence; by default from the file


def means_void(title: str) -> bool:
    """Whether a class's name says that its pixels count for nothing.

    >>> means_void("Void"), means_void("unlabelled"), means_void("background")
    (True, True, False)
    """
    return _VOID.fullmatch(title.strip(" _").lower()) is not None


def class_table(path: Path, others: Sequence[str], folders: Sequence[str]) -> Declared | None:
    """The table of classes that lies in one of the folders of masks and images, or in one above.

    Args:
        path: the dataset's folder.
        others: files in it.
        folders: the folders of images and masks.

    Raises:
        DataError: it cannot be read; the sentence has the line.
    """
    above = {"."} | {
        str(parent) for folder in folders for parent in (PurePosixPath(folder), *PurePosixPath(folder).parents)
    }
    named = [
        PurePosixPath(name)
        for name in others
        if name.lower().endswith((".txt", ".csv", ".json")) and PurePosixPath(name).stem.lower() in _NAMES
    ]
    candidates = [file for file in named if str(file.parent) in above]
    for file in sorted(candidates, key=lambda file: (_NAMES.index(file.stem.lower()), len(file.parts))):
        read = _of_json if file.suffix.lower() == ".json" else parsed
        found = read(path / file, str(file))
        if found is not None:
            return found
    return None


def parsed(file: Path, name: str) -> Declared | None:
    """The classes that a file names; None for a list of something else, as of images.

    Raises:
        DataError: a line has no name, or a number or colour stands twice.
    """
    lines = [(i, line.strip()) for i, line in enumerate(lines_of(file), 1)]
    rows = [(i, _cells(line)) for i, line in lines if line and not line.startswith("#")]
    if not rows or any(cell.lower().endswith(tuple(SUFFIXES)) for _, cells in rows[:20] for cell in cells[:1]):
        return None
    head = [cell.strip().lower() for cell in rows[0][1]]
    columns = None
    if len(head) > 1 and sum(cell in _HEADS for cell in head) > 1:
        columns, rows = head, rows[1:]
    values: dict[int, str] = {}
    colours: dict[int, str] = {}
    start = -1 if rows and rows[0][1] == ["__ignore__"] else 0  # LabelMe's list starts with what gets no number
    for place, (i, cells) in enumerate(rows, start):
        try:
            title, value, colour = _by_head(cells, columns) if columns else _row(cells)
        except Fault as fault:
            raise broken(file, str(fault), i) from fault
        if not title:
            raise broken(file, f"has no name of a class ({shown(' '.join(cells))})", i)
        if colour is not None and colours.setdefault(colour, title) != title:
            raise broken(file, f"names the colour of {shown(title)} twice", i)
        number = place if value is None else value
        if values.setdefault(number, title) != title:
            raise broken(file, f"names the value {number} twice", i)
    return Declared(name, values, colours) if rows else None


def _of_json(file: Path, name: str) -> Declared | None:
    """Names in a list, names by number or numbers by name (nnU-Net has them under "labels"), or colours by name.

    None for a file with anything else, as COCO's is.
    """
    content: Any = json_of(file)
    if isinstance(content, dict) and isinstance(content.get("labels"), dict):
        content = content["labels"]
    if isinstance(content, list):
        content = {str(i): title for i, title in enumerate(content)}
    if not isinstance(content, dict) or not content:
        return None
    values: dict[int, str] = {}
    colours: dict[int, str] = {}
    for place, (key, value) in enumerate(content.items()):
        if isinstance(value, str) and _whole(key) is not None:
            values[int(key)] = value
        elif type(value) is int and 0 <= value < 1 << 16:
            values[value] = key
        elif (
            isinstance(value, list) and len(value) == 3 and all(type(part) is int and 0 <= part < 256 for part in value)
        ):
            colours[_colour(value)] = values[place] = key
        else:
            return None
    return Declared(name, values, colours)


def _cells(line: str) -> list[str]:
    """The parts of a line, each number on its own.

    >>> _cells("64 128 64\\tAnimal"), _cells("3 traffic light 2"), _cells("road sign"), _cells("sky:0,128,255::")
    (['64', '128', '64', 'Animal'], ['3', 'traffic light 2'], ['road sign'], ['sky', '0', '128', '255'])
    """
    cells = [line]
    for separator in (";", "\t", ":", ","):
        if separator in line:
            cells = [cell.strip() for cell in line.split(separator)]
            if separator == ",":
                with contextlib.suppress(csv.Error):
                    cells = [cell.strip() for cell in next(csv.reader([line], skipinitialspace=True))]
            if separator == ":" and len(cells) > 2:  # label:color_rgb:parts:actions
                cells = cells[:2]
            break
    parts = [_NUMBERS.fullmatch(cell) and re.split(r"[\s,]+", cell) for cell in cells]
    if len(cells) > 1:
        return [one for cell, part in zip(cells, parts, strict=True) for one in (part or [cell])]
    words = line.split()
    whole = [_whole(word) is not None for word in words]
    before = len(words) if all(whole) else whole.index(False)
    after = 0 if all(whole) else whole[::-1].index(False)
    if before == 0 and after < 3:
        return [line]
    before, after = min(before, 4), (after if after in (3, 4) and before < 3 else 0)
    end = len(words) - after
    return [*words[:before], *([" ".join(words[before:end])] if before < end else []), *words[end:]]


def _whole(text: str) -> int | None:
    return int(text) if re.fullmatch(r"[0-9]{1,5}", text) else None


def _row(cells: Sequence[str]) -> tuple[str, int | None, int | None]:
    """Name, number and colour of a line without column names."""
    numbers = [number for cell in cells if (number := _whole(cell)) is not None]
    titles = [cell for cell in cells if cell and _whole(cell) is None]
    if not titles and len(cells) == 1:  # classes that are called by numbers
        return cells[0], None, None
    title = titles[0] if titles else ""
    if len(numbers) >= 3:
        return title, numbers[0] if len(numbers) > 3 else None, _colour(numbers[-3:])
    return title, numbers[0] if numbers else None, None


def _by_head(cells: Sequence[str], columns: Sequence[str]) -> tuple[str, int | None, int | None]:
    row = dict(zip(columns, cells, strict=False))
    title = next((row[key] for key in _TITLES if row.get(key) and _whole(row[key]) is None), "")
    title = title or next((row[key] for key in _TITLES[:3] if row.get(key)), "")
    value = next((number for key in _VALUES if (number := _whole(row.get(key, ""))) is not None), None)
    parts = [next((_whole(row[key]) for key in keys if key in row), None) for keys in _COLUMNS.values()]
    whole = [part for part in parts if part is not None]
    return title, value, _colour(whole) if len(whole) == 3 else None


def _colour(parts: Sequence[int]) -> int:
    red, green, blue = parts
    if max(parts) > 255:
        raise Fault(f"has the colour {red}, {green}, {blue}, and 255 is the largest part of one")
    return (red << 16) | (green << 8) | blue
