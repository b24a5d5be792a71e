# SPDX-License-Identifier: Apache-2.0
"""Atomic writes: a file is written whole or not at all."""

from __future__ import annotations

import contextlib
import csv
import errno
import fnmatch
import json
import os
import re
import shutil
import stat
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from pellucid.errors import UsageError

__all__ = [
    "as_text",
    "check_file",
    "check_space",
    "digest",
    "folder_of",
    "is_draft",
    "json_digest",
    "make_folder",
    "plain",
    "remove_drafts",
    "write_atomically",
    "write_csv",
    "write_json",
]

_DRAFT = re.compile(r"\.(?P<name>.+)\.[a-z0-9_]{8}(?P<suffix>\.[^.]*)?")  # as `write_atomically` names them
_FILES = {
    ".csv",
    ".html",
    ".jpeg",
    ".jpg",
    ".json",
    ".npz",
    ".onnx",
    ".parquet",
    ".pdf",
    ".png",
    ".pt2",
    ".svg",
    ".zip",
}
_SPACE = 1 << 20  # bytes that a long work needs at least for what it writes
_FORMULA = frozenset("=+-@\t\r'")


@contextmanager
def write_atomically(path: Path) -> Iterator[Path]:
    """A temporary path beside `path`, which replaces it at the end of the block, or is removed after an exception.

    If the process is killed at any moment, either the old file or the new one remains; `remove_drafts` then removes what
    was begun.

    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     with write_atomically(Path(folder) / "a.txt") as draft:
    ...         _ = draft.write_text("whole")
    ...     print(*os.listdir(folder))
    a.txt

    Raises:
        UsageError: the path is no plain file, or cannot be written.
    """
    check_file(path)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, draft = _draft(path)
    except OSError as fault:
        raise _unwritable(path, fault) from fault
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
        os.close(handle)


def _draft(path: Path) -> tuple[int, Path]:
    """An empty draft, and a handle whose lock says that its writer lives."""
    while True:
        handle, name = tempfile.mkstemp(prefix=f".{path.name}.", suffix=path.suffix, dir=path.parent)
        with contextlib.suppress(OSError):  # a file system without locks: `remove_drafts` removes nothing there
            _lock(handle)
        if os.fstat(handle).st_nlink:  # not removed by another process before it was locked
            return handle, Path(name)
        os.close(handle)


def _lock(handle: int, wait: bool = True) -> None:
    """Lock an open file until it is closed.

    Raises:
        OSError: another process holds the lock, or files cannot be locked here.
    """
    if sys.platform == "win32":
        raise OSError(errno.ENOLCK, os.strerror(errno.ENOLCK))
    else:  # not after it, where mypy would call it unreachable on Windows
        import fcntl

        fcntl.flock(handle, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))


def is_draft(name: str) -> bool:
    """Whether a file's name is one that `write_atomically` gives to what is not whole yet.

    >>> is_draft(".metrics.json.k3x_9a2b.json"), is_draft("metrics.json"), is_draft(".gitignore")
    (True, False, False)
    """
    found = _DRAFT.fullmatch(name)
    return found is not None and Path(found["name"]).suffix == (found["suffix"] or "")


def remove_drafts(folder: Path, *names: str) -> list[Path]:
    """Remove the drafts that killed processes left in a folder; one that is being written stays.

    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     _ = (Path(folder) / ".a.txt.12345678.txt").write_text("ha")
    ...     with write_atomically(Path(folder) / "b.txt"):
    ...         print(*(file.name for file in remove_drafts(Path(folder), "*.txt")))
    .a.txt.12345678.txt

    Args:
        folder: in which, and not below which.
        names: patterns of the files whose drafts they are, so that nobody else's hidden file is touched.
    """
    removed = []
    for file in folder.iterdir() if folder.is_dir() else ():
        found = _DRAFT.fullmatch(file.name) if is_draft(file.name) else None
        if found is None or not any(fnmatch.fnmatchcase(found["name"], name) for name in names):
            continue
        if file.is_symlink() or not file.is_file():
            continue
        with contextlib.suppress(OSError), file.open("rb") as handle:
            _lock(handle.fileno(), wait=False)  # refused while its writer lives
            file.unlink()
            removed.append(file)
    return removed


def check_file(path: Path) -> None:
    """Refuse a path that is there and is no plain file: a device, a pipe, a socket, a link or a folder.

    >>> check_file(Path("/dev/null"))
    Traceback (most recent call last):
    pellucid.errors.UsageError: out='/dev/null': is a device, not a file; name a plain file or a new one.
    """
    try:
        mode = os.lstat(path).st_mode
    except (OSError, ValueError):  # not there, or not to be seen: writing will say so
        return
    kinds = {
        "a symbolic link": stat.S_ISLNK(mode),
        "a folder": stat.S_ISDIR(mode),
        "a pipe": stat.S_ISFIFO(mode),
        "a socket": stat.S_ISSOCK(mode),
        "a device": stat.S_ISCHR(mode) or stat.S_ISBLK(mode),
    }
    for kind, holds in kinds.items():
        if holds:
            raise UsageError(f"out={str(path)!r}: is {kind}, not a file; name a plain file or a new one.")


def check_space(path: Path, size: int = _SPACE) -> None:
    """Find out, before long work, whether a file can be written at a path and there is room for it; nothing is left there.

    >>> check_space(Path("/proc/pellucid/report.html"))
    Traceback (most recent call last):
    pellucid.errors.UsageError: out='/proc/pellucid/report.html': cannot be written (No such file or directory); name a ...

    Args:
        path: of the file; folders above it need not exist.
        size: bytes.

    Raises:
        UsageError: it cannot be written, or the disk is full.
    """
    check_file(path)
    try:
        above = next(folder for folder in path.absolute().parents if folder.exists())
        handle, draft = _draft(above / path.name)
    except OSError as fault:
        raise _unwritable(path, fault) from fault
    try:
        if sys.platform == "linux":
            os.posix_fallocate(handle, 0, size)
        elif shutil.disk_usage(draft.parent).free < size:  # nothing reserves room for a file there
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
    except OSError as fault:
        if fault.errno not in (errno.EOPNOTSUPP, errno.EINVAL):  # a file system that cannot reserve room
            raise _unwritable(path, fault) from fault
    finally:
        draft.unlink(missing_ok=True)
        os.close(handle)


def digest(path: Path) -> str:
    """A hash of a file's content (XXH3, 128 bits)."""
    import xxhash

    total = xxhash.xxh3_128()
    with path.open("rb") as file:
        while block := file.read(1 << 20):
            total.update(block)
    return total.hexdigest()


def json_digest(value: Any) -> str:
    """A hash of a JSON value (XXH3, 128 bits); a tuple is what it becomes in JSON, a list.

    >>> json_digest({"size": (8, 8)}) == json_digest({"size": [8, 8]})
    True
    """
    import xxhash

    return xxhash.xxh3_128(json.dumps(plain(value)).encode()).hexdigest()


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


def folder_of(out: str | Path, files: str) -> Path:
    """The folder that `out` names, for several files.

    >>> folder_of("pictures", "a look").name
    'pictures'

    Args:
        out: as the user gave it.
        files: what writes several files, for the sentence.

    Raises:
        UsageError: it is called like a file, and no folder of that name is there.
    """
    path = Path(out)
    if path.suffix.lower() in _FILES and not path.is_dir():
        raise UsageError(
            f"out={str(out)!r}: is called like a file, and {files} writes several; give a folder, as in {str(path.with_suffix(''))!r}."
        )
    return path


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
    value = plain(value)
    try:
        text = json.dumps(value, indent=2, ensure_ascii=False).encode()
    except UnicodeEncodeError:  # a file's name that is not UTF-8
        text = json.dumps(value, indent=2).encode()
    with write_atomically(path) as draft:
        draft.write_bytes(text + b"\n")


def write_csv(path: Path, rows: Sequence[Mapping[str, Any]], columns: Sequence[str] = ()) -> None:
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
        columns: those that come first, and are there without any row too.
    """
    every = list(dict.fromkeys([*columns, *(name for row in rows for name in row)]))
    with (
        write_atomically(path) as draft,
        draft.open("w", newline="", encoding="utf-8", errors="backslashreplace") as file,
    ):
        table = csv.writer(file)
        table.writerow([_no_formula(name) for name in every])
        table.writerows([[_no_formula(row.get(name, "")) for name in every] for row in rows])


def _no_formula(value: Any) -> Any:
    """A cell by OWASP's rule against formula injection, made reversible; a text that is a number is none."""
    if not isinstance(value, str) or value[:1] not in _FORMULA:
        return value
    try:
        float(value)
    except ValueError:
        return f"'{value}"
    return value


def plain(value: Any) -> Any:
    """A value as JSON has it: lists for tuples and arrays, null for NaN and infinities.

    >>> plain({1: (float("nan"), 2)})
    {'1': [None, 2]}
    """
    if isinstance(value, Mapping):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain(item) for item in value]
    if hasattr(value, "tolist"):
        return plain(value.tolist())
    if isinstance(value, float) and (value != value or value in (float("inf"), float("-inf"))):
        return None
    return value
