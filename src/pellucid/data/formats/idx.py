# SPDX-License-Identifier: Apache-2.0
"""MNIST-style idx files, plain or gzipped: Y. LeCun's format, http://yann.lecun.com/exdb/mnist."""

from __future__ import annotations

import gzip
import math
import re
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pellucid.data.dataset import Dataset
from pellucid.data.formats.arrays import Part, from_arrays
from pellucid.data.splitting import SPLITS
from pellucid.errors import DataError

__all__ = ["idx_files", "open_idx", "read_idx"]

_TYPES = {8: ">u1", 9: ">i1", 11: ">i2", 12: ">i4", 13: ">f4", 14: ">f8"}
_ROLES = {"images": "images", "image": "images", "labels": "labels", "label": "labels"}
_PARTS = {**SPLITS, "t10k": "test"}
_PART = 1 << 26  # bytes read at a time


def idx_files(folder: Path) -> dict[str, dict[str, Path]]:
    """The idx files of a folder, by split and role: {"train": {"images": …, "labels": …}, "test": …}; t10k is test.

    A file counts if its name contains a word for a split and `images` or `labels`, and it begins with the idx magic number
    or, in case it is damaged, has idx in its name and no suffix of another kind.
    """
    by_split: dict[str, dict[str, Path]] = {}
    for file in sorted(folder.iterdir()):
        words = re.split(r"[\W_]+", file.name.lower())
        role = next((_ROLES[word] for word in words if word in _ROLES), None)
        named = any(re.fullmatch(r"idx\d*", word) for word in words) and _own_suffix(file)
        if role is None or not file.is_file() or not (named or (file.suffix in ("", ".gz") and _has_magic(file))):
            continue
        part = next((_PARTS[word] for word in words if word in _PARTS), "train")
        own = by_split.setdefault(part, {})
        if (
            role not in own or own[role].suffix == ".gz"
        ):  # of a file and its gzipped copy, the plain one is faster to read
            own[role] = file
    return {part: files for part, files in by_split.items() if "images" in files}


def _own_suffix(file: Path) -> bool:
    """Whether a name ends as those of idx files do: train-images-idx3-ubyte, train-images.idx3-ubyte, …-ubyte.gz."""
    last = file.name.lower().removesuffix(".gz").rpartition(".")[2]
    return "." not in file.name.lower().removesuffix(".gz") or last.startswith("idx") or "ubyte" in last


def _has_magic(file: Path) -> bool:
    try:
        with gzip.open(file) if file.suffix == ".gz" else file.open("rb") as stream:
            head = stream.read(4)
    except (OSError, EOFError, zlib.error):
        return False
    return len(head) == 4 and head[:2] == b"\0\0" and head[2] in _TYPES and 1 <= head[3] <= 4


def open_idx(path: Path, files: Mapping[str, Mapping[str, Path]]) -> Dataset:
    """The splits that `idx_files` found.

    Raises:
        DataError: a file is truncated or not an idx file, or images and labels differ in number.
    """
    if "train" not in files:
        raise DataError(
            f"data={str(path)!r}: has idx files of {', '.join(sorted(files))} but none of train; "
            "add train-images and train-labels."
        )
    arrays = {part: {role: read_idx(file) for role, file in own.items()} for part, own in files.items()}
    return from_arrays(str(path), {part: Part(own["images"], own.get("labels")) for part, own in arrays.items()})


def read_idx(file: Path) -> NDArray[Any]:
    """One idx file as an array of its own type and shape.

    Raises:
        DataError: it cannot be read, is not an idx file, or is shorter or longer than its header says.
    """
    try:
        with gzip.open(file) if file.suffix == ".gz" else file.open("rb") as stream:
            head = stream.read(4)
            if len(head) < 4 or head[:2] != b"\0\0" or head[2] not in _TYPES:
                raise DataError(
                    f"data={str(file)!r}: is not an idx file; give one that begins with the idx magic number."
                )
            # header: two zero bytes, the type, the number of dimensions, then the size of each as a big-endian int32
            kind, dimensions = np.dtype(_TYPES[head[2]]), head[3]
            sizes = np.frombuffer(stream.read(4 * dimensions).ljust(4 * dimensions, b"\xff"), ">i4").tolist()
            expected = math.prod(sizes) * kind.itemsize if min(sizes, default=-1) >= 0 else -1
            content = _up_to(stream, max(expected, 0) + 1)
    except (OSError, EOFError, zlib.error) as fault:
        raise DataError(f"data={str(file)!r}: cannot be read ({fault}); download it again.") from fault
    if len(content) != expected:
        if expected < 0:
            size = "no size that its header could mean"
        elif len(content) > expected:
            size = f"more than the {expected:,} bytes of data that its header says"
        else:
            size = f"{len(content):,} bytes of data, but its header says {expected:,}"
        raise DataError(f"data={str(file)!r}: has {size}; download it again.")
    return np.frombuffer(content, kind).reshape(sizes)


def _up_to(stream: Any, count: int) -> bytes:
    """At most `count` bytes, a part at a time: neither a header nor a compressed file may ask for memory that data do not fill."""
    parts, left = [], count
    while left and (part := stream.read(min(left, _PART))):
        parts.append(part)
        left -= len(part)
    return b"".join(parts)
