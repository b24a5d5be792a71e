# SPDX-License-Identifier: Apache-2.0
"""The rows of YOLO's label files: a class number, and a box, an outline or keypoints as shares of the image's size.

Source: Ultralytics' documentation of its dataset formats for detection, segmentation, oriented boxes and poses.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pellucid.data.annotations.reading import broken, lines_of, shown
from pellucid.data.annotations.records import Instance
from pellucid.data.problems import few

__all__ = ["instances_of", "looks_like_rows"]

_ROUNDING = 0.01  # by which a share may lie beyond the image: what its edge is rounded to
_MOST_CLASSES = 1_000_000
_HEAD = 2048  # bytes in which the first row stands
_BOX = 5  # columns


def looks_like_rows(file: Path) -> bool | None:
    """Whether a text file begins with such a row, whole or damaged; None where it is empty.

    It does if the first word is a number, there are at least five, and most are numbers.
    """
    try:
        with file.open("rb") as stream:
            head = stream.read(_HEAD).decode("utf-8-sig", "replace")
    except OSError:
        return False
    words = head.strip().partition("\n")[0].split()
    if not words:
        return None
    numeric = [_is_number(word) for word in words]
    return len(words) >= _BOX and numeric[0] and 2 * sum(numeric) > len(words)


def _is_number(word: str) -> bool:
    try:
        float(word)
    except ValueError:
        return False
    return True


def instances_of(
    file: Path, names: Mapping[int, str] | None, points: tuple[int, int] | None = None
) -> tuple[list[Instance], int]:
    """The objects in a label file, and how many rows were there before and are left out.

    Args:
        file: its path.
        names: of the classes by their numbers; None: any number is a class, of that name.
        points: the number of keypoints, and of values of each, 2 or 3; None where there are none.

    Raises:
        DataError: a row is none; the sentence has the line.
    """
    instances, seen, again = [], set(), 0
    for i, line in enumerate(lines_of(file), 1):
        words = line.split()
        if not words:
            continue
        values = _values(file, words, i)
        if tuple(values) in seen:
            again += 1
            continue
        seen.add(tuple(values))
        category = _category(file, values[0], names, i)
        _check_columns(file, len(values), points, i)
        placed: dict[str, Any]
        if points is not None:
            _check(file, values[1:_BOX], i)
            keypoints, more = _keypoints(file, values[_BOX:], points[1], i)
            placed = {"box": _corners(file, values, i), "points": keypoints, "more": more}
        elif len(values) == _BOX:
            _check(file, values[1:], i)
            placed = {"box": _corners(file, values, i)}
        else:
            _check(file, values[1:], i)
            placed = {"polygons": (np.array(values[1:]).reshape(-1, 2),)}
        instances.append(Instance(category, place=f"line {i}", **placed))
    return instances, again


def _values(file: Path, words: Sequence[str], line: int) -> list[float]:
    try:
        values = list(map(float, words))
    except ValueError:
        wrong = next(word for word in words if not _is_number(word))
        raise broken(file, f"has {shown(wrong)}, which is not a number,", line) from None
    if not math.isfinite(sum(values)):
        wrong = next((word for word, value in zip(words, values, strict=True) if not math.isfinite(value)), words[0])
        raise broken(file, f"has {shown(wrong)}, which is not finite,", line)
    return values


def _category(file: Path, value: float, names: Mapping[int, str] | None, line: int) -> str:
    number = int(value)
    if number != value or not 0 <= number < _MOST_CLASSES:
        raise broken(file, f"has the class {value:g}, which is not a whole number from 0,", line)
    if names is None:
        return str(number)
    if number not in names:
        raise broken(
            file,
            f"has the class {number}, and the names are of {_numbers(names)},",
            line,
            "add its name, or correct the number",
        )
    return names[number]


def _numbers(names: Mapping[int, str]) -> str:
    """The numbers that have names.

    >>> _numbers({0: "a", 1: "b", 2: "c"}), _numbers({0: "a", 7: "b"})
    ('0 to 2', '0, 7')
    """
    numbers = sorted(names)
    if len(numbers) > 2 and numbers == list(range(numbers[0], numbers[-1] + 1)):
        return f"{numbers[0]} to {numbers[-1]}"
    return few([str(number) for number in numbers], 6)


def _check_columns(file: Path, count: int, points: tuple[int, int] | None, line: int) -> None:
    fault, way = "", "correct the file"
    if points is not None:
        expected = _BOX + points[0] * points[1]
        if count != expected:
            fault = f"has {count} columns, and kpt_shape {list(points)} makes {expected},"
    elif count == _BOX + 1:
        fault = "has 6 columns, as predictions with a confidence have,"
        way = "give the labels, which have 5, or remove the last column"
    elif count < _BOX or count % 2 == 0:
        word = "column" if count == 1 else "columns"
        fault = (
            f"has {count} {word}, where a class and a box are 5, a class and the points of an outline an odd number,"
        )
    if fault:
        raise broken(file, fault, line, way)


def _check(file: Path, values: Sequence[float], line: int) -> None:
    low, high = min(values), max(values)
    if low < -_ROUNDING:
        raise broken(file, f"has {low:g}, where shares of the image's size are not negative,", line)
    if high > 1 + _ROUNDING:
        raise broken(
            file,
            f"has {high:g}, where shares of the image's size are at most 1,",
            line,
            "divide pixels by the image's width and height",
        )


def _corners(file: Path, values: Sequence[float], line: int) -> tuple[float, float, float, float]:
    _, x, y, width, height = values[:_BOX]
    if width < 0 or height < 0:
        raise broken(file, f"has the size {width:g}, {height:g}, which is negative,", line)
    return x - width / 2, y - height / 2, x + width / 2, y + height / 2


def _keypoints(
    file: Path, values: Sequence[float], count: int, line: int
) -> tuple[NDArray[np.float64], dict[str, Any] | None]:
    """Keypoints (K, 2), NaN where one is missing: visibility 0, or without visibilities (0, 0) or a negative number."""
    table = np.array(values, np.float64).reshape(-1, count)
    places = table[:, :2].copy()
    missing = (places <= 0).all(1) | (places < 0).any(1) if count == 2 else table[:, 2] == 0
    if (~missing).any():
        _check(file, places[~missing].reshape(-1).tolist(), line)
    places[missing] = np.nan
    if count == 2:
        return places, None
    visible = table[:, 2]
    if not np.isin(visible, (0, 1, 2)).all():
        wrong = visible[~np.isin(visible, (0, 1, 2))][0]
        raise broken(file, f"has the visibility {wrong:g}, where 0, 1 and 2 are known,", line)
    return places, {"visibility": visible.astype(int).tolist()}
