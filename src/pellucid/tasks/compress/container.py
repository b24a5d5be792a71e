# SPDX-License-Identifier: Apache-2.0
"""The .plc file: a header, the range coder's bytes, and a checksum over all of them.

| bytes | what |
|---|---|
| 4 | the letters PLC and the format's version, 1 |
| 4 | fingerprint of the model's weights and tables |
| 1 | 1 where the picture is grey, plus twice the quality |
| 1–4 | height, seven bits a byte, lowest first; the highest bit says that more follow |
| 1–4 | width, the same |
| 2 | checksum of the symbols: what an entropy decoder must find again |
| … | the symbols, range-coded |
| 4 | CRC-32 of all before |
"""

from __future__ import annotations

import hashlib
import struct
import zlib
from dataclasses import dataclass
from typing import Any, Self, final

import numpy as np
from numpy.typing import NDArray
from torch import nn

from pellucid.data.decoding import LARGEST
from pellucid.errors import UsageError

__all__ = ["SUFFIX", "Container", "checksum", "fingerprint"]

SUFFIX = ".plc"
"""The ending of the file's name."""

_MAGIC = b"PLC\x01"
_HIGHEST = 127  # a quality and a flag share a byte


@final
@dataclass(frozen=True)
class Container:
    """What a .plc file says.

    >>> made = Container(b"abcd", quality=3, grey=True, size=(300, 40), check=7, payload=b"xyz")
    >>> len(made.written()), Container.read(made.written(), "a.plc") == made
    (21, True)
    >>> Container.read(made.written()[:-1], "a.plc")
    Traceback (most recent call last):
    pellucid.errors.UsageError: images='a.plc': is damaged: its checksum does not fit what it holds; get the file anew.
    """

    model: bytes  # 4 bytes
    quality: int
    grey: bool
    size: tuple[int, int]  # (H, W) in px
    check: int  # of the symbols
    payload: bytes

    def written(self) -> bytes:
        """The whole file."""
        assert 0 <= self.quality <= _HIGHEST
        flags = bytes([2 * self.quality + self.grey])
        body = _MAGIC + self.model + flags + _varint(self.size[0]) + _varint(self.size[1])
        body += struct.pack("<H", self.check) + self.payload
        return body + struct.pack("<I", zlib.crc32(body))

    @classmethod
    def read(cls, content: bytes, name: str) -> Self:
        """What a file says; nothing of it is believed before its checksum fits.

        Raises:
            UsageError: it is no .plc file, of a later version, cut or changed.
        """
        if content[:3] != _MAGIC[:3]:
            raise UsageError(f"images={name!r}: is no {SUFFIX} file; give one that `pellucid predict` wrote.")
        damaged = UsageError(
            f"images={name!r}: is damaged: its checksum does not fit what it holds; get the file anew."
        )
        if len(content) < 17 or zlib.crc32(content[:-4]) != struct.unpack("<I", content[-4:])[0]:
            raise damaged
        if content[3] != _MAGIC[3]:
            raise UsageError(
                f"images={name!r}: is of version {content[3]} of the format, and this program reads {_MAGIC[3]}; update it."
            )
        height, place = _varint_at(content, 9)
        width, place = _varint_at(content, place)
        if not height or not width or height * width > LARGEST or place + 6 > len(content):
            raise damaged
        (check,) = struct.unpack("<H", content[place : place + 2])
        flags = content[8]
        return cls(content[4:8], flags // 2, bool(flags % 2), (height, width), check, content[place + 2 : -4])


def fingerprint(model: nn.Module) -> bytes:
    """4 bytes that tell a model's weights and tables from another's.

    >>> fingerprint(nn.Linear(1, 1)) == fingerprint(nn.Linear(1, 1))
    False
    """
    digest = hashlib.sha256()
    for name, tensor in sorted(model.state_dict().items()):
        digest.update(name.encode() + str(tuple(tensor.shape)).encode())
        digest.update(memoryview(tensor.detach().cpu().contiguous().numpy()).cast("B") if tensor.numel() else b"")
    return digest.digest()[:4]


def checksum(symbols: NDArray[Any]) -> int:
    """16 bits that tell whether an entropy decoder found the symbols that were coded.

    >>> checksum(np.zeros((1, 2, 2))) == checksum(np.ones((1, 2, 2)))
    False
    """
    return zlib.crc32(np.ascontiguousarray(symbols, dtype="<i4").tobytes()) & 0xFFFF


def _varint(value: int) -> bytes:
    found = bytearray()
    while value > 0x7F:
        found.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes([*found, value])


def _varint_at(content: bytes, place: int) -> tuple[int, int]:
    """The number that begins at a place, and where the next begins."""
    value = shift = 0
    while place < len(content) and shift < 28:
        value |= (content[place] & 0x7F) << shift
        shift += 7
        place += 1
        if not content[place - 1] & 0x80:
            break
    return value, place
