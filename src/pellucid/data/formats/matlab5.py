# SPDX-License-Identifier: Apache-2.0
"""The structure of MATLAB's files of version 5, checked before SciPy reads them.

SciPy's reader looks up an element's type in a table without a check of its bounds, so that a damaged file ends the process.
MathWorks, "MAT-File Level 5 File Format".
"""

from __future__ import annotations

import math
import struct
import zlib
from collections.abc import Iterator
from pathlib import Path

__all__ = ["check_elements"]

_TYPES = frozenset({*range(1, 8), 9, *range(12, 19)})
_MATRIX, _COMPRESSED = 14, 15
_CELL, _STRUCT, _OBJECT, _SPARSE, _PLAIN = 1, 2, 3, 5, range(4, 16)
_HEAD, _PREFIX = 128, 1 << 16  # bytes
_DEEPEST = 32  # cells within cells


def check_elements(file: Path) -> None:
    """Refuse a file whose elements cannot be what their tags say.

    Raises:
        ValueError: it says what is wrong.
    """
    content = file.read_bytes()
    order = {b"IM": "<", b"MI": ">"}.get(content[126:_HEAD])
    if order is None:
        raise ValueError("its header does not say the order of bytes")
    for kind, start, end in _elements(memoryview(content), _HEAD, len(content), order):
        if kind == _COMPRESSED:
            _check_compressed(content[start:end], order)
        elif kind == _MATRIX:
            _check_matrix(memoryview(content)[start:end], end - start, order)
        else:
            raise ValueError(f"it has an element of type {kind} where a matrix belongs")


def _elements(data: memoryview, at: int, end: int, order: str) -> Iterator[tuple[int, int, int]]:
    """Type, start and end of each element; the data may lack the end of the last one."""
    while end - at >= 8:
        if at + 8 > len(data):
            return
        first, size = struct.unpack_from(f"{order}II", data, at)
        if first >> 16:  # a small element: its size and up to four bytes lie in the tag
            kind, size, start, following = first & 0xFFFF, first >> 16, at + 4, at + 8
        else:
            kind, start = first, at + 8
            following = start + size + (0 if kind == _COMPRESSED else -size % 8)
        if kind not in _TYPES:
            raise ValueError(f"it has an element of the unknown type {kind}")
        if start + size > end or (first >> 16 and size > 4):
            raise ValueError(f"it has an element of {size:,} bytes where {max(0, end - start):,} are left")
        yield kind, start, start + size
        at = following


def _check_compressed(packed: bytes, order: str) -> None:
    stream = zlib.decompressobj()
    data = stream.decompress(packed, _PREFIX)
    kind, size = struct.unpack_from(f"{order}II", data) if len(data) >= 8 else (0, 0)
    if kind != _MATRIX:
        raise ValueError("a compressed element is no matrix")
    if not _check_matrix(memoryview(data)[8:], size, order):  # what has cells is looked at as a whole
        data += stream.decompress(stream.unconsumed_tail, size)
        _check_matrix(memoryview(data)[8:], size, order)


def _check_matrix(data: memoryview, size: int, order: str, depth: int = 0) -> bool:
    """Check the elements of a matrix of `size` bytes, as far as the data go; returns whether that is enough."""
    if not size:
        return True
    if depth > _DEEPEST:
        raise ValueError("its cells are nested too deeply")
    elements = _elements(data, 0, size, order)
    flags = next(elements, None)
    if flags is None or flags[2] - flags[1] < 8:
        raise ValueError("a matrix lacks its flags")
    word = struct.unpack_from(f"{order}I", data, flags[1])[0]
    kind, is_complex = word & 0xFF, word >> 11 & 1
    dimensions = next(elements, None) if kind in _PLAIN or kind in (_CELL, _STRUCT, _OBJECT) else None
    if dimensions is not None and kind != _SPARSE:
        count = (dimensions[2] - dimensions[1]) // 4
        sizes = struct.unpack_from(f"{order}{count}i", data, dimensions[1])
        if min(sizes, default=0) < 0 or math.prod(sizes) > size:
            raise ValueError(f"a matrix of {size:,} bytes claims the size {'×'.join(map(str, sizes))}")
    for inner, start, end in elements:
        if inner == _MATRIX:
            if end > len(data):
                return False
            _check_matrix(data[start:end], end - start, order, depth + 1)
        elif end > len(data) and kind in _PLAIN and not is_complex:
            return True  # the data of an array of numbers, the last element
    return size <= len(data)
