# SPDX-License-Identifier: Apache-2.0
"""Regions painted with a brush, as Label Studio packs them: bits of run lengths over the RGBA values of the whole image.

Source: the packing `rle-pack` of thi.ng/umbrella, which Label Studio's editor uses: 32 bits count the values, 5 give the bits
of a value, four times 4 the bits of a run's length; then runs, each with a flag (equal values or not), 2 bits that choose the
length's bits, the length, and one value or as many as it is long. Lengths and bits are written less one.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, final

import numpy as np
from numpy.typing import NDArray

from pellucid.data.annotations.reading import Fault, shown
from pellucid.data.decoding.pictures import LARGEST

__all__ = ["painted"]

_CHANNELS = 4  # red, green, blue and opacity, which alone says what is painted


def painted(packed: Any, size: tuple[int, int]) -> NDArray[np.bool_]:
    """The pixels (H, W) that a brush painted.

    >>> # 4 values of 8 bits; lengths of 4 bits; one run of four equal values 255: a single pixel that is painted
    >>> painted([0, 0, 0, 4, 0b00111_001, 0b1_0011_001, 0b1_0011_1_00, 0b0011_1111, 0b1111_0000], (1, 1)).tolist()
    [[True]]

    Args:
        packed: the bytes as numbers.
        size: (H, W) of the image.

    Raises:
        Fault: they are no such packing, or of an image of another size.
    """
    if not isinstance(packed, list) or not all(type(one) is int and 0 <= one < 256 for one in packed):
        raise Fault(f"its rle is {shown(packed)}, not a list of bytes")
    height, width = size
    bits = _Bits(packed)
    total, wide = bits.take(32), bits.take(5) + 1
    lengths = [bits.take(4) + 1 for _ in range(4)]
    if total != height * width * _CHANNELS or height * width > LARGEST:
        raise Fault(
            f"its rle has {total:,} values, and an image of {height}×{width} px has {height * width * _CHANNELS:,}"
        )
    inside = np.zeros(height * width, np.bool_)
    at = 0
    while at < total:
        equal = bits.take(1)
        end = at + bits.take(lengths[bits.take(2)]) + 1
        if end > total:
            raise Fault("a run of its rle reaches beyond the image")
        # opacity stands at 3, 7, 11, …: of the values at … end − 1 it has the pixels at // 4 … end // 4 − 1
        if equal:
            inside[at // _CHANNELS : end // _CHANNELS] = bits.take(wide) > 0
        else:
            values = bits.several(end - at, wide)
            inside[at // _CHANNELS : end // _CHANNELS] = values[_CHANNELS - 1 - at % _CHANNELS :: _CHANNELS] > 0
        at = end
    return inside.reshape(height, width)


@final
class _Bits:
    """Numbers from a row of bits, the highest bit first."""

    def __init__(self, packed: Sequence[int]) -> None:
        self._bytes = bytes(packed)
        self._at, self._end = 0, 8 * len(self._bytes)

    def take(self, count: int) -> int:
        """The next number of `count` bits."""
        first, last = self._at // 8, -(-(self._at + count) // 8)
        self._step(count)
        window = int.from_bytes(self._bytes[first:last], "big")
        return (window >> (8 * last - self._at)) & ((1 << count) - 1)

    def several(self, many: int, count: int) -> NDArray[np.int64]:
        """The next `many` numbers (many,) of `count` bits each."""
        start = self._at
        self._step(many * count)
        first, last = start // 8, -(-self._at // 8)
        bits = np.unpackbits(np.frombuffer(self._bytes[first:last], np.uint8))[start - 8 * first :][: many * count]
        return bits.reshape(many, count) @ (1 << np.arange(count, dtype=np.int64)[::-1])

    def _step(self, count: int) -> None:
        self._at += count
        if self._at > self._end:
            raise Fault("its rle ends too early")
