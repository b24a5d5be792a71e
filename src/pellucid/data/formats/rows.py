# SPDX-License-Identifier: Apache-2.0
"""Rows of metadata tables and of parquet files, as they are read, and as targets."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from pellucid.data.annotations.assembling import boxes_of
from pellucid.data.annotations.mending import Mended
from pellucid.data.annotations.records import Annotated
from pellucid.data.formats.objects import instances_of, mended_objects, plain_text
from pellucid.data.partners import partners
from pellucid.data.problems import few
from pellucid.data.splitting import order
from pellucid.data.targets import Label, Points, Target, Text
from pellucid.errors import DataError

__all__ = [
    "KNOWN",
    "Row",
    "check_same",
    "class_names",
    "has",
    "read_table",
    "reason",
    "row_objects",
    "row_targets",
    "short",
    "unread_columns",
]

Row = Mapping[str, Any]
KNOWN = ("file_name", "split", "label", "objects", "mask_file_name", "points", "text")
"""The columns of a metadata table that mean something."""

_LARGEST = 1 << 20  # characters of a cell: Python's own limit is lower than the points of a large image


# -- tables


def read_table(table: Path) -> list[Row]:
    """The rows of a CSV, JSON-lines or parquet table, by column; columns may be written `Label` or ` label`.

    Raises:
        DataError: it cannot be read, lacks rows or the column `file_name`, or has one column twice.
    """
    try:
        if table.suffix == ".parquet":
            import pyarrow.parquet as pq

            rows: list[Any] = pq.read_table(table).to_pylist()
        elif table.suffix == ".jsonl":
            lines = [line for line in _text_of(table).splitlines() if line.strip()]
            rows = [_object(i, line) for i, line in enumerate(lines, 1)]
        else:
            rows = _separated(_text_of(table))
    except Exception as fault:  # whatever the format's parser raises
        raise DataError(f"data={str(table)!r}: cannot be read ({reason(fault)}); correct the table.") from fault
    if not rows:
        raise DataError(f"data={str(table)!r}: has no rows; add one per image.")
    titles = {title: _column(title) for row in rows for title in row}
    if len(set(titles.values())) < len(titles):
        raise DataError(
            f"data={str(table)!r}: has one column under several names, {few(list(titles), 8)}; keep one of them."
        )
    if "file_name" not in titles.values():
        raise DataError(
            f"data={str(table)!r}: has no column file_name, only {few(list(titles), 6)}; name each image's file in it."
        )
    return [{titles[title]: value for title, value in row.items()} for row in rows]


def unread_columns(names: Sequence[str], table: str) -> list[str]:
    """A sentence on the columns of a table that mean nothing here, if there are any.

    >>> unread_columns(["width"], "metadata.csv")
    ['Column width of metadata.csv is not read.']
    """
    if not names:
        return []
    verb = "is" if len(names) == 1 else "are"
    return [f"Column{'' if len(names) == 1 else 's'} {few(names, 6)} of {table} {verb} not read."]


def _column(title: Any) -> str:
    """A column's own name, or the known one that it means."""
    if not isinstance(title, str):
        raise DataError(f"column={title!r}: is not a name; give each column one.")
    known = title.strip().lower()
    return known if known in KNOWN else title.strip()


def _text_of(table: Path) -> str:
    content = table.read_bytes()
    wide = content[:2] in (b"\xff\xfe", b"\xfe\xff")  # as spreadsheets save "Unicode text"
    return content.decode("utf-16" if wide else "utf-8-sig")


def _object(i: int, line: str) -> dict[str, Any]:
    try:
        row = json.loads(line)
    except RecursionError:
        raise ValueError(f"row {i} is nested too deeply") from None
    except ValueError as fault:
        raise ValueError(f"row {i}: {fault}") from fault
    if not isinstance(row, dict):
        raise ValueError(f"row {i} is not a JSON object")
    return row


def _separated(text: str) -> list[dict[str, Any]]:
    """The rows of a table whose columns are separated by commas, semicolons or tabs."""
    head = text.partition("\n")[0]
    separator = max((",", ";", "\t"), key=head.count)
    csv.field_size_limit(_LARGEST)
    lines = csv.reader(io.StringIO(text, newline=""), delimiter=separator, skipinitialspace=True)
    titles = next(lines, [])
    if len(set(titles)) < len(titles):
        raise ValueError(f"its first line names a column twice: {few(titles, 8)}")
    rows = []
    for i, cells in enumerate((cells for cells in lines if any(cells)), 1):
        if len(cells) != len(titles):
            raise ValueError(f"row {i} has {len(cells)} cells, the first line {len(titles)}")
        rows.append({title: cell.strip() for title, cell in zip(titles, cells, strict=True)})
    return rows


def reason(fault: BaseException) -> str:
    """What a library said about a file, in one line.

    >>> reason(ValueError("Bad magic.\\nSee the manual."))
    'Bad magic'
    """
    if isinstance(fault, UnicodeDecodeError):
        return f"it is not UTF-8 at byte {fault.start:,}"
    lines = str(fault).strip().splitlines()
    text = "".join(c if c.isprintable() else "\ufffd" for c in lines[0].rstrip(".")) if lines else type(fault).__name__
    return text if len(text) <= 120 else text[:119] + "…"


def short(value: Any, most: int = 40) -> str:
    """A value for a sentence, in quotation marks where it is text.

    >>> short([1, 2]), short("a" * 50, 4)
    ('[1, 2]', "'aaa…")
    """
    text = repr(value)
    return text if len(text) <= most else text[:most] + "…"


# -- rows to targets


def class_names(rows: Sequence[Row], names: Sequence[str] = (), where: str = "") -> tuple[str, ...]:
    """The class names that occur in the labels and boxes of rows, in natural order.

    >>> class_names([{"label": 10}, {"label": 2}, {"objects": {"bbox": [[0, 0, 1, 1]], "category": ["cell"]}}])
    ('2', '10', 'cell')

    Args:
        rows: one per image.
        names: the images' names, for errors.
        where: the dataset's name, for errors.

    Raises:
        DataError: a label or objects that cannot be understood; the sentence names the row.
    """
    used: set[str] = set()
    for i, row in enumerate(rows):
        title = names[i] if names else f"row {i + 1}"
        if has(row, "label"):
            used.add(_label(row["label"], title, where))
        if has(row, "objects"):
            used.update(one.category for one in instances_of(row["objects"], title, where))
    unique = sorted(used)
    return tuple(unique[i] for i in order(unique))


def row_targets(rows: Sequence[Row], names: Sequence[str], classes: Sequence[str], where: str) -> dict[str, Target]:
    """The targets in the columns label, points and text.

    Args:
        rows: one per image.
        names: the images' names, for errors.
        classes: the names of all classes; a target holds their positions.
        where: the dataset's name, for errors.

    Raises:
        DataError: a row lacks a value that others have, or has one that cannot be parsed; the sentence names it.
    """
    targets: dict[str, Target] = {}
    place = {name: i for i, name in enumerate(classes)}
    for column in ("label", "points", "text"):
        filled = [has(row, column) for row in rows]
        if any(filled):
            check_same(names, filled, column, where)
            values = [row[column] for row in rows]
            if column == "label":
                own = [place[_label(value, name, where)] for value, name in zip(values, names, strict=True)]
                targets["label"] = Label(torch.tensor(own, dtype=torch.int64))
            elif column == "points":
                targets["points"] = _points(values, names, where)
            else:
                targets["text"] = Text([str(value) for value in values])
    return targets


def _label(value: Any, name: str, where: str) -> str:
    if isinstance(value, (str, int)) or (isinstance(value, float) and value.is_integer() and abs(value) < 2**53):
        return plain_text(value)
    raise DataError(
        f"data={where!r}: the row of {name!r} has label {short(value)}; give one class, as a name or a whole number."
    )


def row_objects(
    rows: Sequence[Row],
    names: Sequence[str],
    sizes: NDArray[Any],
    classes: Sequence[str],
    part: str,
    where: str,
    mended: Mended,
) -> tuple[list[Annotated], dict[str, Target]]:
    """What the column `objects` has of each image, compared with it, and the boxes as targets; nothing without the column.

    Args:
        rows: one per image.
        names: the images' names.
        sizes: (N, 2) heights and widths in px.
        classes: the names of all classes.
        part: the split.
        where: the dataset's name, for errors.
        mended: what was mended and dropped so far.

    Raises:
        DataError: objects cannot be parsed, or have a category that is none of the classes; the sentence names the row.
    """
    cells = [row["objects"] if has(row, "objects") else None for row in rows]
    if all(cell is None for cell in cells):
        return [], {}
    records = mended_objects(cells, names, sizes, part, where, mended)
    place = {name: i for i, name in enumerate(classes)}
    for record in records:
        if strange := [one.category for one in record.instances if one.category not in place]:
            raise DataError(
                f"data={where!r}: objects of {record.file!r} have category {strange[0]!r}, which is none of the classes; correct it."
            )
    return records, {"boxes": boxes_of(records, place)}


def _points(cells: Sequence[Any], names: Sequence[str], where: str) -> Points:
    """The (x, y) pairs of each image; null where a point is not visible."""
    rows = []
    for cell, name in zip(cells, names, strict=True):
        try:
            values = np.array(json.loads(cell) if isinstance(cell, str) else cell, np.float32)
            rows.append(torch.tensor(values.reshape(-1, 2)))
        except (ValueError, TypeError, RecursionError, OverflowError) as fault:
            raise DataError(f"data={where!r}: points of {name!r} cannot be parsed; give [[x, y], …] in px.") from fault
        if len(rows[-1]) != len(rows[0]):
            raise DataError(
                f"data={where!r}: {name!r} has {len(rows[-1])} points, {names[0]!r} {len(rows[0])}; give all the same number."
            )
    xy = torch.stack(rows)
    return Points(xy, partners((), xy))


def has(row: Row, column: str) -> bool:
    """Whether a row has a value in a column: not null, empty or NaN."""
    value = row.get(column)
    return value is not None and value != "" and not (isinstance(value, float) and np.isnan(value))


def check_same(names: Sequence[str], filled: Sequence[bool], column: str, where: str) -> None:
    """Refuse a column that some rows have and others lack.

    Raises:
        DataError: it names the first row without a value.
    """
    if not all(filled):
        raise DataError(
            f"data={where!r}: the row of {names[list(filled).index(False)]!r} has no {column}; fill it in, or remove the column."
        )
