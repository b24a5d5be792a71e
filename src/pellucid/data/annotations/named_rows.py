# SPDX-License-Identifier: Apache-2.0
"""Tables of strangers with a row for each image: their cells, and which column names the images."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path, PurePosixPath
from typing import final

from pellucid.data.annotations.reading import broken, text_of
from pellucid.data.formats.finding import Found

__all__ = ["ImageNames", "Table", "head_of", "table_of"]

_HEAD = 1 << 16  # bytes of a table that show what it is
_LARGEST = 1 << 24  # characters of a cell
_SEPARATORS = ("\t", ";", ",", " ")


@final
@dataclass(frozen=True)
class Table:
    """The rows of a table with their lines in the file; all have as many cells as the first."""

    file: Path
    separator: str
    rows: Sequence[tuple[int, list[str]]]


@final
class ImageNames:
    """The images below a folder by the names that tables give them: paths, bare names, names without an ending."""

    def __init__(self, found: Found) -> None:
        self._images = found.images

    @cached_property
    def _paths(self) -> frozenset[str]:
        return frozenset(self._images)

    @cached_property
    def _by_name(self) -> dict[str, list[str]]:
        """By bare names, with and without their endings; made only where a table does not give paths."""
        names: dict[str, list[str]] = {}
        for image in self._images:
            name = image.rpartition("/")[2]
            stem, dot, _ = name.rpartition(".")
            for own in {name, stem} if dot else (name,):
                names.setdefault(own, []).append(image)
        return names

    @property
    def count(self) -> int:
        """How many images there are."""
        return len(self._images)

    def of(self, cell: str, folder: str = "") -> str | None:
        """The image that a cell of a table names, the first of its copies in several formats; None if there is none.

        Args:
            cell: what is written.
            folder: where the table lies, relative to the dataset's folder.
        """
        return next(iter(self.all_of(cell, folder)), None)

    def all_of(self, cell: str, folder: str = "") -> list[str]:
        """The images that a cell names: one, or where it has no ending, one in several formats.

        Of several with one name, those nearest to the table's folder are meant; none, if that does not tell them apart.
        """
        text = cell.strip().replace("\\", "/").removeprefix("./")
        if not text:
            return []
        for path in (f"{folder}/{text}" if folder else text, text):
            if path in self._paths:
                return [path]
        name = text.rpartition("/")[2]
        every = self._by_name.get(name, [])
        for own in ([image for image in every if image.rpartition("/")[2] == name], every):
            below = [image for image in own if not folder or image.startswith(f"{folder}/")] or own
            ending = [image for image in below if image.endswith(f"/{text}") or f"/{text}." in image] or below
            beside = [image for image in ending if str(PurePosixPath(image).parent) == (folder or ".")] or ending
            if len({image.rpartition(".")[0] for image in beside}) == 1:
                return beside
        return []


def head_of(file: Path) -> str:
    """The first lines of a text file, whole; "" if it is no text."""
    try:
        with file.open("rb") as stream:
            content = stream.read(_HEAD)
    except OSError:
        return ""
    wide = content[:2] in (b"\xff\xfe", b"\xfe\xff")
    text = content.decode("utf-16" if wide else "utf-8-sig", errors="replace")
    if len(content) == _HEAD:
        text = text.rpartition("\n")[0]
    return text if "\0" not in text else ""


def table_of(file: Path, text: str | None = None, *, ragged: bool = False) -> Table:
    """The rows of a table that is separated by tabs, semicolons, commas or spaces, whichever its first line has most of.

    Args:
        file: it, for sentences.
        text: what it holds; by default it is read.
        ragged: rows may have fewer or more cells than the first.

    Raises:
        DataError: it cannot be read, or a row has another number of cells; the sentence has the line.
    """
    text = text_of(file) if text is None else text
    first = next((line for line in text.splitlines() if line.strip()), "")
    separator = max(_SEPARATORS, key=lambda one: (first.count(one) if one != " " else 0, -_SEPARATORS.index(one)))
    if not first.count(separator):
        separator = " "
    rows: list[tuple[int, list[str]]] = []
    for line, cells in _rows(file, text, separator):
        if any(cell.strip() for cell in cells):
            own = [cell.strip() for cell in cells]
            own = [cell for cell in own if cell] if separator == " " else own
            if rows and not ragged and len(own) != len(rows[0][1]):
                raise broken(file, f"has {len(own)} cells and its first row {len(rows[0][1])}", line)
            rows.append((line, own))
    return Table(file, separator, rows)


def _rows(file: Path, text: str, separator: str) -> Iterator[tuple[int, list[str]]]:
    csv.field_size_limit(_LARGEST)
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=separator, skipinitialspace=True)
    while True:
        line = reader.line_num + 1
        try:
            yield line, next(reader)
        except StopIteration:
            return
        except csv.Error as fault:
            raise broken(file, f"is no table ({fault})", line) from fault
