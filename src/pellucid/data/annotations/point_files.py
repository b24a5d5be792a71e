# SPDX-License-Identifier: Apache-2.0
"""Points in `.pts` files, one for each image, with or without the header of the 300-W challenge."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from pellucid.data.annotations.reading import Fault, broken, lines_of, number
from pellucid.data.annotations.records import Annotated, Annotations, Instance
from pellucid.data.decoding import scan
from pellucid.data.formats.finding import Found
from pellucid.data.problems import counted, few
from pellucid.data.splitting import SPLITS
from pellucid.errors import DataError

__all__ = ["in_shares", "point_files", "points_of_files", "read_points"]

_HEADER = re.compile(r"\s*(version|n_points)\s*:?\s*(\S*)\s*", re.IGNORECASE)


def point_files(found: Found) -> dict[str, list[str]]:
    """The `.pts` files that are called like an image, each with the images; copies in several formats share one.

    >>> point_files(Found(["a.jpg", "b.jpg"], ["a.pts", "c.pts"]))
    {'a.pts': ['a.jpg']}
    """
    files = [name for name in found.others if name.lower().endswith(".pts")]
    if not files:
        return {}
    beside: dict[str, list[str]] = {}
    named: dict[str, list[str]] = {}
    for image in found.images:
        stem = image.rpartition(".")[0] or image
        beside.setdefault(stem, []).append(image)
        named.setdefault(stem.rpartition("/")[2], []).append(image)
    pairs: dict[str, list[str]] = {}
    for name in files:
        stem = name[: -len(".pts")]
        own = beside.get(stem, [])
        if not own and len(named.get(stem.rpartition("/")[2], [])) == 1:
            own = named[stem.rpartition("/")[2]]
        if own:
            pairs[name] = own
    return pairs


def points_of_files(path: Path, found: Found, evidence: Sequence[str], form: str) -> Annotations:
    """The annotations of `.pts` files.

    Raises:
        DataError: a file is broken; the sentence has the line.
    """
    pairs = {name: images for name, images in point_files(found).items() if name in set(evidence)}
    read = {name: read_points(path / name) for name in pairs}
    images = [image for own in pairs.values() for image in own]
    first, said = _first(read, pairs, images, path)
    records, missing = [], 0
    for name, own in pairs.items():
        points = read[name][0] - first
        missing += int(np.isnan(points).any(1).sum())
        instances = (Instance(points=points),) if len(points) and not np.isnan(points).all() else ()
        for image in own:
            part = next((SPLITS[word.lower()] for word in image.split("/")[:-1] if word.lower() in SPLITS), None)
            records.append(Annotated(image, instances, part=part, source=name))
    if not any(record.instances for record in records):
        raise DataError(f"data={str(path)!r}: has no point that is visible in {few([*pairs])}; give x and y of some.")
    alone = sorted(name for name in found.others if name.lower().endswith(".pts") and name not in pairs)
    problems = []
    if alone:
        verb = "has no image and is left out" if len(alone) == 1 else "have no image and are left out"
        problems.append(f"{counted(len(alone), 'file')} of points {verb} ({few(alone)}).")
    records, notes = in_shares(records)
    notes += [said] if said else []
    if missing:
        notes.append(f"{counted(missing, 'point')} {'is' if missing == 1 else 'are'} missing (NaN, or -1 for x and y).")
    count = max(len(own) for own, _ in read.values())
    names = tuple(str(i) for i in range(count))
    return Annotations(
        form, records, point_names=names, problems=tuple(problems), notes=tuple(notes), read=(*pairs, *alone)
    )


def in_shares(records: Sequence[Annotated]) -> tuple[list[Annotated], list[str]]:
    """Points that all lie in a unit square count shares of the images' sides; with a sentence, if it is so."""
    every = [one.points for record in records for one in record.instances if one.points is not None]
    if _in_unit_square(every):
        note = "Points lie between 0 and 1: they count shares of the width and height of their images."
        return [record.replace(unit="share") for record in records], [note]
    return [*records], []


def _in_unit_square(every: Sequence[NDArray[np.float64]]) -> bool:
    xy = np.concatenate(every) if every else np.zeros((0, 2))
    xy = xy[np.isfinite(xy).all(1)]
    return bool(len(xy) and xy.min() >= 0 and xy.max() <= 1 and (xy != np.round(xy)).any())


def _first(
    read: dict[str, tuple[NDArray[np.float64], bool]], pairs: dict[str, list[str]], images: Sequence[str], path: Path
) -> tuple[int, str]:
    """Whether points count from 0 or from 1, with a sentence: by values that only one of both can have, or by the header."""
    scanned = scan([path / image for image in images])
    sizes = dict(zip(images, scanned.sizes.tolist(), strict=True))
    every = [own[np.isfinite(own).all(1)] for own, _ in read.values()]
    if _in_unit_square(every):
        return 0, ""
    whole = all((own == np.round(own)).all() for own in every)
    if whole and any((own == 0).any() for own in every):
        return 0, "Points count from 0: some coordinates are 0."
    ends = [
        (own == np.array(sizes[pairs[name][0]][::-1])).any()
        for name, (own, _) in read.items()
        if sizes[pairs[name][0]][0]
    ]
    if whole and any(ends):
        return 1, "Points count from 1: some coordinates are the width or the height of their images; 1 is subtracted."
    if all(headed for _, headed in read.values()):
        return 1, "Points count from 1, as in the .pts files of 300-W, whose header these have; 1 is subtracted."
    return 0, "Points count from 0, as nothing says otherwise."


def read_points(file: Path) -> tuple[NDArray[np.float64], bool]:
    """The points (K, 2) as they are written, NaN for those that are missing, and whether the file has a header.

    Raises:
        DataError: a line is no point, or there are not as many as the header says.
    """
    rows: list[list[float]] = []
    headed, count, ended = False, None, False
    for i, line in enumerate(lines_of(file), 1):
        text = line.strip()
        if not text or text.startswith(("#", "//")):
            continue
        if match := _HEADER.fullmatch(text):
            headed = True
            if match[1].lower() == "n_points":
                count = _whole(file, match[2], i)
        elif text in ("{", "}"):
            headed, ended = True, text == "}"
        elif ended:
            raise broken(file, "has more after its last brace", i)
        else:
            rows.append(_point(file, text, i))
    if count is not None and count != len(rows):
        raise broken(file, f"says n_points: {count} and has {counted(len(rows), 'point')}")
    return np.array(rows, np.float64).reshape(-1, 2), headed


def _whole(file: Path, text: str, line: int) -> int:
    if not re.fullmatch(r"\d{1,6}", text):
        raise broken(file, f"has n_points: {text[:20]}, which is no count", line)
    return int(text)


def _point(file: Path, text: str, line: int) -> list[float]:
    cells = re.split(r"\s*[,;\s]\s*", text.strip(",; \t"))
    if len(cells) != 2:
        raise broken(file, f"has {counted(len(cells), 'number')} where x and y of a point are expected", line)
    try:
        x, y = (number(cell, "a coordinate", finite=False) for cell in cells)
    except Fault as fault:
        raise broken(file, str(fault), line) from fault
    if np.isinf([x, y]).any():
        raise broken(file, "has a coordinate that is infinite", line)
    return [np.nan, np.nan] if (x, y) == (-1.0, -1.0) or np.isnan([x, y]).any() else [x, y]
