# SPDX-License-Identifier: Apache-2.0
"""Points of images: tables with one row for each image, x and y of each point in two columns, and `.pts` files."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import final

import numpy as np
from numpy.typing import NDArray

from pellucid.data.annotations.named_rows import ImageNames, Table, head_of, table_of
from pellucid.data.annotations.point_files import in_shares, point_files, points_of_files
from pellucid.data.annotations.reading import Fault, broken, number
from pellucid.data.annotations.records import Annotated, Annotations, Instance
from pellucid.data.formats.finding import Found
from pellucid.data.formats.tables import METADATA
from pellucid.data.problems import counted, few
from pellucid.data.splitting import SPLITS, split_word
from pellucid.errors import DataError

__all__ = ["FORM", "fits", "read"]

FORM = "tables of points"

_TABLES = 50  # files that are looked at
_ROWS = 20  # rows that show which column names the images
_FEW = 3  # points of a table without titles: two may be the corners of a box
_X = (
    re.compile(r"(.*?)[ _\-.:]?x", re.I),
    re.compile(r"x[ _\-.:]?(.*)", re.I),
    re.compile(r"(.*)[ _\-.:]x[ _\-.:](.*)", re.I),
)
_CORNERS = frozenset({"min", "max", "tl", "br", "topleft", "bottomright"})
_SIZES = frozenset({"w", "h", "width", "height"})
_CLASSES = frozenset({"class", "label", "category", "name", "class_name", "class_id"})
_MISSING = frozenset({"", "nan", "null", "none", "na", "n/a"})
_PARTS = frozenset({"split", "set", "subset", "partition"})


@final
@dataclass(frozen=True)
class _Columns:
    image: int
    points: list[tuple[int, int]]  # of x and y
    names: tuple[str, ...]
    titles: bool  # whether the first row has titles
    part: int | None = None
    others: tuple[str, ...] = ()


def fits(path: Path, found: Found) -> Sequence[str]:
    """Tables with an image's name and points in each row, and `.pts` files that are called like an image."""
    if any(name.rpartition("/")[2] in METADATA for name in found.others):
        return []
    tables = sorted((name for name in found.others if _is_table(name)), key=lambda name: (name.count("/"), name))
    names = ImageNames(found) if tables else None
    fitting = []
    for name in tables[:_TABLES]:
        if names is not None and _columns(path / name, head_of(path / name), names, _folder(name)) is not None:
            fitting.append(name)
    return fitting or list(point_files(found))


def _is_table(name: str) -> bool:
    return name.lower().endswith((".csv", ".tsv", ".txt"))


def _folder(name: str) -> str:
    return name.rpartition("/")[0]


def _columns(file: Path, text: str, names: ImageNames, folder: str) -> _Columns | None:
    """Which columns of a table are which; None for a table of something else."""
    try:
        table = table_of(file, "\n".join(text.splitlines()[: _ROWS + 1]), ragged=True)
    except DataError:
        return None
    if not table.rows:
        return None
    first, rows = table.rows[0][1], [cells for _, cells in table.rows]
    pairs = _pairs(first)
    if not pairs and sum(map(_is_number, first)) < 2 * _FEW:  # before names are compared with those of all images
        return None
    image = _image_column(rows, names, folder)
    if image is None:
        return None
    if not pairs or (len(first) > image and names.of(first[image], folder)):
        own = [i for i in range(len(first)) if i != image]
        if _is_number(first[image]):  # YOLO's classes, where images are called by numbers
            return None
        whole = all(_is_number(cells[i]) for cells in rows for i in own if i < len(cells))
        if len(own) % 2 or len(own) < 2 * _FEW or not whole or not names.of(first[image], folder):
            return None
        places = [(own[i], own[i + 1]) for i in range(0, len(own), 2)]
        return _Columns(image, places, tuple(map(str, range(len(places)))), False)
    low = [title.strip().lower() for title in first]
    pairs = _without_boxes(pairs, low)
    if not pairs or (len(pairs) < _FEW and _CLASSES & set(low)) or (len(pairs) == 1 and len(first) > 3):
        return None
    part = next((i for i, title in enumerate(low) if title in _PARTS), None)
    used = {image, part, *(place for pair in pairs.values() for place in pair)}
    others = tuple(title for i, title in enumerate(first) if i not in used and title)
    return _Columns(image, list(pairs.values()), tuple(pairs), True, part, others)


def _without_boxes(pairs: Mapping[str, tuple[int, int]], titles: Sequence[str]) -> dict[str, tuple[int, int]]:
    """The points among pairs of x and y, some of which may be the corners of a box.

    >>> sorted(_without_boxes({"x": (1, 2), "nose": (5, 6)}, ["image", "x", "y", "w", "h", "nose_x", "nose_y"]))
    ['nose']
    """
    if set(pairs) in ({"0", "1"}, {"1", "2"}):  # x1, y1, x2, y2
        return {}
    sized = bool(_SIZES & set(titles))
    return {
        name: places
        for name, places in pairs.items()
        if _CORNERS.isdisjoint(re.split(r"[\W_]+", name.lower())) and not (sized and name.lower() in ("x", "0", "1"))
    }


def _image_column(rows: Sequence[Sequence[str]], names: ImageNames, folder: str) -> int | None:
    """The column of which most cells name an image that is there."""
    best, most, count = None, 0, 0
    for i in range(min(len(rows[0]), 8)) if rows else ():
        named = [cells[i] for cells in rows if i < len(cells) and names.of(cells[i], folder) is not None]
        files = sum("." in cell and not _is_number(cell) for cell in named)  # where 7.png lies, 7 may name it or not
        score = len(named) + files
        if score > most:
            best, most, count = i, score, len(named)
    return best if 2 * count >= max(1, len(rows) - 1) else None


def _pairs(titles: Sequence[str]) -> dict[str, tuple[int, int]]:
    """The columns of x and y of each point, by its name.

    >>> _pairs(["image", "part_0_x", "part_0_y", "x1", "y1"])
    {'part_0': (1, 2), '1': (3, 4)}
    """
    places = {title.strip().lower(): i for i, title in enumerate(titles)}
    pairs: dict[str, tuple[int, int]] = {}
    for i, title in enumerate(titles):
        for pattern in _X:
            match = pattern.fullmatch(title.strip())
            if match is None:
                continue
            at = next(k for k in range(match.end() - 1, -1, -1) if _is_x(title.strip(), k, match))
            low = title.strip().lower()
            other = places.get(f"{low[:at]}y{low[at + 1 :]}")
            if other is not None:
                name = "_".join(part for part in match.groups() if part)
                pairs.setdefault(name or title.strip(), (i, other))
                break
    return pairs


def _is_x(title: str, at: int, match: re.Match[str]) -> bool:
    """Whether the letter at this place is the x that the pattern found outside its groups."""
    inside = any(match.start(i) <= at < match.end(i) for i in range(1, len(match.groups()) + 1))
    return title[at] in "xX" and not inside


def _is_number(cell: str) -> bool:
    return cell.strip().lower() in _MISSING or re.fullmatch(r"[-+]?[\d.]+(e[-+]?\d+)?", cell.strip(), re.I) is not None


# -- reading


def read(path: Path, found: Found, evidence: Sequence[str]) -> Annotations:
    """The points of every image; those that are missing are NaN."""
    if not any(map(_is_table, evidence)):
        return points_of_files(path, found, evidence, FORM)
    depth = min(name.count("/") for name in evidence)
    tables = [name for name in evidence if name.count("/") == depth]
    names, ours = ImageNames(found), list(evidence)
    problems: list[str] = []
    records: list[Annotated] = []
    whose: dict[str, str] = {}
    point_names: tuple[str, ...] = ()
    missing = half = corner = 0
    for name in tables:
        columns = _columns(path / name, head_of(path / name), names, _folder(name))
        table = table_of(path / name)
        if columns is None:
            raise broken(path / name, "has no column of images with columns of x and y", 1)
        if point_names and columns.names != point_names:
            raise DataError(
                f"data={str(path)!r}: {tables[0]} has the points {few(point_names, 4)}, and {name} {few(columns.names, 4)}; give all "
                f"tables the same, or choose one by the path: {path / name}."
            )
        point_names = columns.names
        if columns.others:
            one = len(columns.others) == 1
            problems.append(
                f"Column{'' if one else 's'} {few(columns.others, 6)} of {name} {'is' if one else 'are'} not read."
            )
        for line, cells in table.rows[1 if columns.titles else 0 :]:
            points, unclear = _points(table, line, cells, columns)
            half += unclear
            missing += int(np.isnan(points).any(1).sum())
            corner += int((points == 0).all(1).sum())
            seen = bool((~np.isnan(points)).any())
            own = (Instance(points=points, place=f"line {line}"),) if seen else ()
            written = "/".join(filter(None, (_folder(name), cells[columns.image].replace("\\", "/"))))
            for file in names.all_of(cells[columns.image], _folder(name)) or [written]:
                if whose.setdefault(file, name) != name:
                    raise DataError(
                        f"data={str(path)!r}: {whose[file]} and {name} both have points of {file}; choose one by the path: {path / name}."
                    )
                records.append(Annotated(file, own, part=_part(name, file, cells, columns), source=name))
    if records and not any(record.instances for record in records):
        raise DataError(f"data={str(path)!r}: has no point that is visible in {tables[0]}; give x and y of some.")
    for name in evidence:
        if name not in tables:  # a data set of its own within the folder
            inner = [image for image in found.images if image.startswith(f"{_folder(name)}/") and image not in whose]
            ours += inner
            problems.append(
                f"The folder {_folder(name)} has a table of its own ({name}) and is left out with {counted(len(inner))}: give its path "
                "to open it."
                if inner
                else f"{name} is not read, as the images of its folder are in {tables[0]}."
            )
    records, notes = in_shares(records)
    if missing:
        notes.append(
            f"{counted(missing, 'point')} {'is' if missing == 1 else 'are'} missing (empty, NaN, or -1 for x and y)."
        )
    if corner:
        verb = "lies at 0, 0: if it is" if corner == 1 else "lie at 0, 0: if they are"
        problems.append(f"{counted(corner, 'point')} {verb} missing, leave the cells empty.")
    if half:
        verb = "has only one coordinate and counts" if half == 1 else "have only one coordinate and count"
        problems.append(f"{counted(half, 'point')} {verb} as missing.")
    return Annotations(
        FORM, records, point_names=point_names, problems=tuple(problems), notes=tuple(notes), read=tuple(ours)
    )


def _points(table: Table, line: int, cells: Sequence[str], columns: _Columns) -> tuple[NDArray[np.float64], int]:
    """The points (K, 2) of a row, and how many have one coordinate alone."""
    plain = [cells[place] for pair in columns.points for place in pair]
    with contextlib.suppress(ValueError):  # most rows are plain numbers
        points = np.array(plain, np.float64).reshape(-1, 2)
        if np.isfinite(points).all() and not any("_" in cell for cell in plain):  # Python takes 1_0 for 10
            points[(points == -1).all(1)] = np.nan
            return points, 0
    points = np.full((len(columns.points), 2), np.nan)
    unclear = 0
    for k, (x, y) in enumerate(columns.points):
        values = [_value(table, line, cells[place], columns.names[k]) for place in (x, y)]
        if values == [-1.0, -1.0]:
            continue
        if None in values:
            unclear += values.count(None) == 1
            continue
        points[k] = values
    return points, unclear


def _value(table: Table, line: int, cell: str, title: str) -> float | None:
    if cell.lower() in _MISSING:
        return None
    if table.separator == ";" and re.fullmatch(r"[-+]?\d+,\d+", cell):  # as spreadsheets write it in many countries
        cell = cell.replace(",", ".")
    try:
        return number(cell, f"a coordinate of {title}")
    except Fault as fault:
        raise broken(table.file, str(fault), line) from fault


def _part(table: str, file: str, cells: Sequence[str], columns: _Columns) -> str | None:
    """The split of an image: by its own column, its folder, or the table's name."""
    if columns.part is not None and cells[columns.part].lower() in SPLITS:
        return SPLITS[cells[columns.part].lower()]
    folders = [word.lower() for word in file.split("/")[:-1] if word.lower() in SPLITS]
    word = folders[0] if folders else split_word(table.rpartition("/")[2].rpartition(".")[0])
    return None if word is None else SPLITS[word]
