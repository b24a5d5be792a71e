# SPDX-License-Identifier: Apache-2.0
"""Atomic writes: a file is written whole or not at all."""

from __future__ import annotations

import csv
import errno
import json
import os
import re
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from pellucid.errors import UsageError

__all__ = ["as_text", "make_folder", "write_atomically", "write_csv", "write_json"]

_FORMULA = frozenset("=+-@\t\r'")


@contextmanager
def write_atomically(path: Path) -> Iterator[Path]:
    """A temporary path beside `path`, which replaces it at the end of the block, or is removed after an exception.

    If the process is killed at any moment, either the old file or the new one remains.

    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     with write_atomically(Path(folder) / "a.txt") as draft:
    ...         _ = draft.write_text("whole")
    ...     print(*os.listdir(folder))
    a.txt
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(prefix=f".{path.name}.", suffix=path.suffix, dir=path.parent)
        os.close(handle)
    except OSError as fault:
        raise _unwritable(path, fault) from fault
    draft = Path(name)
    try:
        yield draft
        with draft.open("rb+") as file:
            os.fsync(file.fileno())  # on the disk before it gets its name
        draft.chmod(0o666 & ~_umask())
        os.replace(draft, path)
    except OSError as fault:
        raise _unwritable(path, fault) from fault
    except Exception as fault:
        # safetensors, written in Rust, wraps the system's error in its own: "… (os error 28)"
        said = re.search(r"\(os error (\d+)\)", str(fault))
        if said is None:
            raise
        raise _unwritable(path, OSError(int(said[1]), os.strerror(int(said[1])))) from fault
    finally:
        draft.unlink(missing_ok=True)


def as_text(name: str) -> str:
    """A file's name as text that can be drawn and printed: bytes of it that are not UTF-8 are written as numbers.

    >>> print(as_text(os.fsdecode(b"caf\\xe9.png")), as_text("café.png"))
    caf\\xe9.png café.png
    """
    if name.isascii():
        return name
    try:
        return name.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")
    except UnicodeEncodeError:  # a lone surrogate that stands for no byte, as JSON may have it
        return name.encode("utf-8", "backslashreplace").decode()


def make_folder(path: Path) -> Path:
    """Create a folder if it does not exist, before long work whose result goes there.

    Raises:
        UsageError: it is a file, or cannot be created.
    """
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as fault:
        raise _unwritable(path, fault) from fault
    return path


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask


def _unwritable(path: Path, fault: OSError) -> UsageError:
    if fault.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
        return UsageError(
            f"out={str(path)!r}: the disk is full, and nothing was changed there; "
            "free some space and give the same command again."
        )
    return UsageError(f"out={str(path)!r}: cannot be written ({fault.strerror}); name a folder that you may write to.")


def write_json(path: Path, value: Mapping[str, Any] | list[Any]) -> None:
    """Write JSON atomically; NaN and infinities become null, so that any parser can read it."""
    with write_atomically(path) as draft:
        # a file name that is not UTF-8 has lone surrogates, which become JSON's own escapes: "\\udcff"
        text = json.dumps(_plain(value), indent=2, ensure_ascii=False) + "\n"
        draft.write_text(text, encoding="utf-8", errors="backslashreplace")


def write_csv(path: Path, rows: Sequence[Mapping[str, Any]]) -> None:
    """Write a table atomically; a text that a spreadsheet would run as a formula has an apostrophe before it.

    The apostrophe goes before every text that begins with = + - @, a tab, a carriage return or an apostrophe, in the header
    too, so that a reader gets the text back by dropping one apostrophe at the start. Numbers stay as they are.

    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     write_csv(Path(folder) / "a.csv", [{"name": "=1+1.png", "value": -0.5}])
    ...     print((Path(folder) / "a.csv").read_text())
    name,value
    '=1+1.png,-0.5

    Args:
        path: the file.
        rows: their columns are those of all of them, in the order in which they come up.
    """
    columns = list(dict.fromkeys(name for row in rows for name in row))
    with (
        write_atomically(path) as draft,
        draft.open("w", newline="", encoding="utf-8", errors="backslashreplace") as file,
    ):
        table = csv.writer(file)
        table.writerow([_no_formula(name) for name in columns])
        table.writerows([[_no_formula(row.get(name, "")) for name in columns] for row in rows])


def _no_formula(value: Any) -> Any:
    """A cell by OWASP's rule against formula injection, made reversible; a text that is a number is none."""
    if not isinstance(value, str) or value[:1] not in _FORMULA:
        return value
    try:
        float(value)
    except ValueError:
        return f"'{value}"
    return value


def _plain(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(item) for item in value]
    if hasattr(value, "tolist"):
        return _plain(value.tolist())
    if isinstance(value, float) and (value != value or value in (float("inf"), float("-inf"))):
        return None
    return value
