# SPDX-License-Identifier: Apache-2.0
"""A split's decoded images in a file of the user's cache: written once, whole or not at all, with a checksum for every block."""

from __future__ import annotations

import errno
import hashlib
import json
import math
import mmap
import os
import shutil
import sys
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any, Self, final

import numpy as np
import psutil
import xxhash
from filelock import FileLock
from numpy.typing import NDArray

from pellucid.data.decoding import cache_folder

__all__ = ["Kept", "free_disk"]

_BLOCK = 1 << 20  # bytes of a block, about
_MARK = b"pellucid store 1"

Fill = Callable[[NDArray[Any], int], None]
"""Decodes images into rows (n, C, H, W), the first of which is at this position of the split."""


@final
class Kept:
    """Images (N, C, H, W) in a file, mapped into memory.

    After the array, as NumPy writes it, come a hash of each block of rows and a hash of these hashes. A block is checked when
    one of its rows is read for the first time; one that was changed on the disk is decoded again.
    """

    def __init__(self, path: Path, array: NDArray[Any], sums: NDArray[np.uint64], fill: Fill) -> None:
        self.path, self.array = path, array
        self._sums, self._fill = sums, fill
        self._rows = _rows_per_block(array.shape, array.dtype)
        self._pending = np.ones(len(sums), np.bool_)  # blocks that were not checked yet
        self._all_checked = False

    @classmethod
    def made(cls, key: object, shape: tuple[int, ...], dtype: Any, fill: Fill) -> Self | None:
        """The file of this key, written first if it is missing, by one process; None where the cache has no room for it.

        Args:
            key: identifies the images and how they were decoded, as JSON can write it.
            shape: (N, C, H, W).
            dtype: uint8 or uint16.
            fill: decodes the images.
        """
        name = hashlib.blake2b(json.dumps(key).encode(), digest_size=12).hexdigest()
        path = cache_folder() / "stores" / f"{name}.npy"
        if (kept := cls._read(path, shape, dtype, fill)) is not None:
            return kept
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            with FileLock(path.with_suffix(".lock")):
                try:
                    return cls._read(path, shape, dtype, fill) or cls._written(path, shape, dtype, fill)
                finally:
                    _tidy(path)
        except OSError:  # a cache that may not be written, or is full: memory, or decoding batch by batch, does as well
            return None

    @classmethod
    def _read(cls, path: Path, shape: tuple[int, ...], dtype: Any, fill: Fill) -> Self | None:
        """The store in a file; None if the file is missing, truncated or damaged, so that it is written again."""
        try:
            array = np.load(path, mmap_mode="c", allow_pickle=False)
            if array.shape != shape or array.dtype != dtype:
                return None
            count = -(-shape[0] // _rows_per_block(shape, dtype))
            tail = 8 * count + 8 + len(_MARK)
            with path.open("rb") as file:
                file.seek(-tail, os.SEEK_END)
                if file.tell() != array.offset + array.nbytes:
                    return None
                sums, total, mark = file.read(8 * count), file.read(8), file.read()
        except (OSError, ValueError, EOFError):
            return None
        if mark != _MARK or total != xxhash.xxh3_64_digest(sums):
            return None
        return cls(path, array, np.frombuffer(sums, "<u8"), fill)

    @classmethod
    def _written(cls, path: Path, shape: tuple[int, ...], dtype: Any, fill: Fill) -> Self | None:
        draft = path.with_suffix(f".{os.getpid()}.part")
        try:
            with draft.open("wb") as file:
                header = {
                    "descr": np.lib.format.dtype_to_descr(np.dtype(dtype)),
                    "fortran_order": False,
                    "shape": shape,
                }
                np.lib.format.write_array_header_1_0(file, header)
                begin = file.tell()
                # a page of a mapped file that finds no room on the disk later would end the process
                _reserve(file.fileno(), begin, math.prod(shape) * np.dtype(dtype).itemsize)
            array = np.lib.format.open_memmap(draft, mode="r+")
            fill(array, 0)
            array.flush()
            rows = _rows_per_block(shape, dtype)
            sums = np.array([_sum(array[start : start + rows]) for start in range(0, shape[0], rows)], "<u8").tobytes()
            del array
            with draft.open("ab") as file:
                file.write(sums + xxhash.xxh3_64_digest(sums) + _MARK)
            os.replace(draft, path)
        finally:
            with suppress(OSError):
                draft.unlink(missing_ok=True)
        return cls._read(path, shape, dtype, fill)

    def read_ahead(self) -> None:
        """Have the system read the whole file and keep it in memory; a copy would hold it twice."""
        pages: Any = self.array.base  # the mmap.mmap below NumPy's view
        if sys.platform != "win32":
            pages.madvise(mmap.MADV_WILLNEED)

    def check(self, index: NDArray[np.int64]) -> None:
        """Check the blocks of these rows, unless they have been; what was changed on the disk is decoded again, in memory.

        Raises:
            DataError: a block was changed, and its images can no longer be decoded.
        """
        if self._all_checked:
            return
        blocks = np.unique(index // self._rows)
        for block in blocks[self._pending[blocks]].tolist():
            start = block * self._rows
            part = self.array[start : start + self._rows]
            if _sum(part) != self._sums[block]:
                with suppress(OSError):
                    self.path.unlink()  # the next training writes it again
                self._fill(part, start)
            self._pending[block] = False
        self._all_checked = not self._pending.any()


def free_disk() -> int:
    """Bytes that are free in the user's cache."""
    folder = cache_folder()
    while not folder.exists():
        folder = folder.parent
    return shutil.disk_usage(folder).free


def _rows_per_block(shape: tuple[int, ...], dtype: Any) -> int:
    return max(1, _BLOCK // max(1, math.prod(shape[1:]) * int(np.dtype(dtype).itemsize)))


def _sum(rows: NDArray[Any]) -> int:
    return int(xxhash.xxh3_64_intdigest(np.ascontiguousarray(rows).data.cast("B")))


def _reserve(handle: int, begin: int, count: int) -> None:
    """Room on the disk for so many bytes; raises `OSError` where there is none."""
    if hasattr(os, "posix_fallocate"):
        try:
            os.posix_fallocate(handle, begin, max(1, count))
            return
        except OSError as fault:
            if fault.errno not in (errno.EOPNOTSUPP, errno.EINVAL, errno.ENOSYS):
                raise
    zeros = bytes(1 << 20)
    os.lseek(handle, begin, os.SEEK_SET)
    while count > 0:
        count -= os.write(handle, zeros[: min(count, len(zeros))])


def _tidy(path: Path) -> None:
    """Remove the drafts of processes that were killed."""
    for left in path.parent.glob(f"{path.stem}.*.part"):
        if not psutil.pid_exists(int(left.name.split(".")[-2])):
            with suppress(OSError):
                left.unlink()
