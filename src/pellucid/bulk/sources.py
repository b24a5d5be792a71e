# SPDX-License-Identifier: Apache-2.0
"""The images that a user's words mean, wherever they lie, and their bytes once they are needed.

Here only names are listed: paths of files, addresses that fsspec knows, and rows of Parquet files.
"""

from __future__ import annotations

import glob
import os
from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from itertools import groupby
from pathlib import Path, PurePosixPath
from typing import Any, NamedTuple

from pellucid.bulk.parts import Item
from pellucid.data.decoding import SUFFIXES
from pellucid.data.decoding.deep import Source
from pellucid.data.named_files import NamedFile, image_files, is_litter, names_of
from pellucid.errors import UsageError, brief

__all__ = ["Content", "contents", "listed"]

_AHEAD = 16  # addresses that are read at a time
_TRIES = 3
_NAMES = ("path", "file_name", "filename", "name", "key", "id")  # columns that tell what a row is called


class Content(NamedTuple):
    """An image's file or its bytes; where it could not be read, empty, and the sentence on why."""

    source: Source
    lost: str = ""


def listed(images: str | Path | Sequence[str | Path]) -> list[Item]:
    """Every image once, in the order given.

    Args:
        images: files, folders or globs; the same on s3://, gs:// and whatever fsspec knows; a .parquet file with the images'
            bytes; a .txt file with a path or an address on each line, relative to it.

    Raises:
        UsageError: there are none, or they cannot be listed.
    """
    given = [images] if isinstance(images, (str, Path)) else [*images]
    items: list[Item] = []
    local: list[NamedFile] = []
    for one in given:
        text = os.fspath(one)
        suffix = PurePosixPath(text).suffix.lower()
        if suffix == ".parquet":
            items += [row for file in _tables(text) for row in _rows(file)]
        elif suffix == ".txt":
            items += _lines(text)
        elif "://" in text:
            items += _addresses(text)
        elif len(given) == 1 or not is_litter(Path(text).name):  # of a glob that the shell has resolved
            local += image_files(text)
    items = _of_files(local) + items
    if not items:
        raise UsageError("images=[]: is empty; give files, folders, globs, addresses, a .parquet or a .txt file.")
    return list({item.key: item for item in reversed(items)}.values())[::-1]


def contents(items: Sequence[Item]) -> Iterator[Content]:
    """Where each image's bytes are, one after another, read shortly before they are asked for."""
    for kind, own in groupby(items, lambda item: item.kind):
        if kind == "file":
            yield from (Content(Path(item.key)) for item in own)
        elif kind == "address":
            yield from _fetched([*own])
        else:
            for _, rows in groupby(own, lambda item: item.key.rpartition("#")[0]):
                yield from _cells([*rows])


def _of_files(files: Sequence[NamedFile]) -> list[Item]:
    paths = (os.path.abspath(file.path.expanduser()) for file in files)
    return [Item("file", path, name) for path, name in zip(paths, names_of(files), strict=True)]


def _lines(text: str) -> list[Item]:
    """The lines of a text file; a file that is missing is found out when it is read, and is a row with its fault."""
    try:
        lines = Path(text).expanduser().read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as fault:
        raise UsageError(f"images={text!r}: cannot be read ({brief(fault)}); give a text file of paths.") from fault
    above = Path(text).expanduser().absolute().parent
    items = []
    for line in filter(None, map(str.strip, lines)):
        if "://" in line:
            items.append(Item("address", line, line.partition("://")[2]))
        else:
            items.append(Item("file", os.path.normpath(above / Path(line).expanduser()), line))
    return items


# -- addresses


def _opened(text: str) -> tuple[Any, str]:
    """The file system of an address, and the path there."""
    from fsspec.core import url_to_fs

    try:
        files, path = url_to_fs(text)
        return files, str(path)
    except (ImportError, ValueError) as fault:
        raise UsageError(
            f"images={text!r}: cannot be opened ({brief(fault)}); install the package for such addresses."
        ) from fault


def _addresses(text: str) -> list[Item]:
    """The images below an address, or those that match its glob; one address by itself, whatever it is called."""
    files, path = _opened(text)
    try:
        if glob.has_magic(path):
            fixed = path.partition("*")[0].partition("?")[0].partition("[")[0].rpartition("/")[0]
            found = [name for name in sorted(files.glob(path)) if not files.isdir(name)]
        elif files.isdir(path):
            fixed = path.rstrip("/")
            found = [name for name in sorted(files.find(path)) if PurePosixPath(name).suffix.lower() in SUFFIXES]
        else:
            fixed, found = path.rpartition("/")[0], [path] if files.exists(path) else []
    except Exception as fault:  # each file system raises errors of its own
        raise UsageError(
            f"images={text!r}: cannot be listed ({brief(fault)}); check the address and who may read it."
        ) from fault
    names = [name.removeprefix(fixed).lstrip("/") for name in found]
    items = [
        Item("address", files.unstrip_protocol(path), name)
        for path, name in zip(found, names, strict=True)
        if not is_litter(name)
    ]
    if not items:
        raise UsageError(f"images={text!r}: has no images; give an address below which there are some.")
    return items


def _fetched(items: Sequence[Item]) -> Iterator[Content]:
    """The bytes at addresses; several are waited for at a time."""
    waiting: deque[Future[Content]] = deque()
    with ThreadPoolExecutor(_AHEAD) as pool:
        for item in items:
            waiting.append(pool.submit(_fetch, item))
            if len(waiting) > _AHEAD:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()


def _fetch(item: Item) -> Content:
    reason = ""
    for _ in range(_TRIES):
        try:
            files, path = _opened(item.key)
            return Content(files.cat_file(path))
        except (FileNotFoundError, IsADirectoryError):
            reason = "there is no such file"
            break
        except Exception as fault:
            reason = brief(fault).rstrip(".")
    return Content(b"", f"image={item.name!r}: cannot be read, because {reason}; replace or remove it.")


# -- rows of Parquet files


def _tables(text: str) -> list[str]:
    """The Parquet files that a text means: absolute paths, or addresses."""
    if "://" in text:
        files, path = _opened(text)
        found = [
            files.unstrip_protocol(name) for name in (sorted(files.glob(path)) if glob.has_magic(path) else [path])
        ]
    else:
        path = os.path.abspath(os.path.expanduser(text))
        found = sorted(glob.glob(path, recursive=True)) if glob.has_magic(path) else [path]
    if not found:
        raise UsageError(f"images={text!r}: matches nothing; check the spelling.")
    return found


def _table(file: str) -> Any:
    from pyarrow import parquet

    files, path = _opened(file)
    return parquet.ParquetFile(files.open(path, "rb"))


def _rows(file: str) -> list[Item]:
    try:
        with _table(file) as table:
            _image_column(table.schema_arrow, file)
            count, names = table.metadata.num_rows, _names_in(table)
    except UsageError:
        raise
    except FileNotFoundError as fault:
        raise UsageError(f"images={file!r}: does not exist; give another Parquet file.") from fault
    except Exception as fault:
        raise UsageError(f"images={file!r}: cannot be read ({brief(fault)}); give a Parquet file.") from fault
    stem = PurePosixPath(file).stem
    names = names or [f"{stem}#{row}" for row in range(count)]
    return [Item("row", f"{file}#{row}", name) for row, name in enumerate(names)]


def _names_in(table: Any) -> list[str]:
    """What rows are called, where a column of texts says so."""
    import pyarrow as pa

    for name in _NAMES:
        place = table.schema_arrow.get_field_index(name)
        if place >= 0 and (
            pa.types.is_string(kind := table.schema_arrow.field(place).type) or pa.types.is_large_string(kind)
        ):
            read = table.read(columns=[name]).column(name).to_pylist()
            return [str(one) if one else f"#{row}" for row, one in enumerate(read)]
    return []


def _image_column(schema: Any, file: str) -> str:
    """The column with the images: the only one of bytes, by themselves or as the `bytes` of a struct as of Hugging Face."""
    import pyarrow as pa

    def is_bytes(kind: Any) -> bool:
        if pa.types.is_struct(kind):
            return kind.get_field_index("bytes") >= 0 and is_bytes(kind.field("bytes").type)
        return bool(pa.types.is_binary(kind) or pa.types.is_large_binary(kind))

    found = [column.name for column in schema if is_bytes(column.type)]
    if len(found) != 1:
        have = f"several columns of bytes, {', '.join(found)}" if found else "no column of bytes"
        raise UsageError(f"images={file!r}: has {have}; give a table with one, the images' files.")
    return str(found[0])


def _cells(rows: Sequence[Item]) -> Iterator[Content]:
    """The bytes of rows of one file, which ascend; only the row groups that they lie in are read."""
    file = rows[0].key.rpartition("#")[0]
    wanted = [int(row.key.rpartition("#")[2]) for row in rows]
    told = 0
    try:
        with _table(file) as table:
            column = _image_column(table.schema_arrow, file)
            start = 0
            for number in range(table.metadata.num_row_groups):
                end = start + table.metadata.row_group(number).num_rows
                own = [row - start for row in wanted[told:] if row < end]
                if own:
                    for cell in _of_group(table, number, column, own):
                        told += 1
                        yield Content(cell)
                start = end
    except Exception as fault:
        reason = brief(fault).rstrip(".")
        for row in rows[told:]:
            yield Content(b"", f"image={row.name!r}: cannot be read, because {reason}; replace or remove it.")
        return
    for row in rows[told:]:
        yield Content(b"", f"image={row.name!r}: cannot be read, because there is no such row; replace or remove it.")


def _of_group(table: Any, number: int, column: str, rows: Sequence[int]) -> Iterator[bytes]:
    """The bytes of some rows of a row group, a few rows in memory at a time."""
    left, start = deque(rows), 0
    for batch in table.iter_batches(64, row_groups=[number], columns=[column]):
        while left and left[0] < start + len(batch):
            cell = batch.column(0)[left.popleft() - start].as_py()
            yield (cell["bytes"] if isinstance(cell, dict) else cell) or b""
        start += len(batch)
        if not left:
            return
