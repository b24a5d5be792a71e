# SPDX-License-Identifier: Apache-2.0
"""The .plc file: a header, the range coder's bytes, and a checksum over all of them.

| bytes | what |
|---|---|
| 4 | the letters PLC and the format's version, 1 |
| 4 | fingerprint of the model's weights and tables |
| 1 | 1 for a grey picture, plus twice the quality |
| 1–4 | height, seven bits per byte, lowest first; the highest bit is set where another byte follows |
| 1–4 | width, the same |
| 2 | checksum of the symbols, which the entropy decoder must reproduce |
| … | the symbols, range-coded |
| 4 | CRC-32 of everything before |
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
"""The file name's extension."""

_MAGIC = b"PLC\x01"
_HIGHEST = 127  # a quality and a flag share a byte


@final
@dataclass(frozen=True)
class Container:
    """The content of a .plc file.

    >>> made = Container(b"abcd", quality=3, grey=True, size=(300, 40), check=7, payload=b"xyz")
    >>> len(made.written()), Container.read(made.written(), "a.plc") == made
    (21, True)
    >>> Container.read(made.written()[:-1], "a.plc")
    Traceback (most recent call last):
    pellucid.errors.UsageError: images='a.plc': is damaged: its checksum does not match its content; get the file again.
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
        """From a file's bytes; nothing in them is used before the checksum matches.

        Raises:
            UsageError: it is not a .plc file, of a later version, truncated or changed.
        """
        if content[:3] != _MAGIC[:3]:
            raise UsageError(f"images={name!r}: is not a {SUFFIX} file; give one that `pellucid predict` wrote.")
        damaged = UsageError(
            f"images={name!r}: is damaged: its checksum does not match its content; get the file again."
        )
        # 17: the smallest file has one-byte sides and no symbols
        if len(content) < 17 or zlib.crc32(content[:-4]) != struct.unpack("<I", content[-4:])[0]:
            raise damaged
        if content[3] != _MAGIC[3]:
            raise UsageError(
                f"images={name!r}: has version {content[3]} of the format, and this program reads version {_MAGIC[3]}; update the program."
            )
        height, place = _varint_at(content, 9)
        width, place = _varint_at(content, place)
        if not height or not width or height * width > LARGEST or place + 6 > len(content):
            raise damaged
        (check,) = struct.unpack("<H", content[place : place + 2])
        flags = content[8]
        return cls(content[4:8], flags // 2, bool(flags % 2), (height, width), check, content[place + 2 : -4])


def fingerprint(model: nn.Module) -> bytes:
    """4 bytes that identify a model's weights and tables.

    >>> fingerprint(nn.Linear(1, 1)) == fingerprint(nn.Linear(1, 1))
    False
    """
    digest = hashlib.sha256()
    for name, tensor in sorted(model.state_dict().items()):
        digest.update(name.encode() + str(tuple(tensor.shape)).encode())
        digest.update(memoryview(tensor.detach().cpu().contiguous().numpy()).cast("B") if tensor.numel() else b"")
    return digest.digest()[:4]


def checksum(symbols: NDArray[Any]) -> int:
    """16 bits by which a decoder can tell that its symbols (M, h, w) are those that were encoded.

    >>> checksum(np.zeros((1, 2, 2))) == checksum(np.ones((1, 2, 2)))
    False
    """
    return zlib.crc32(np.ascontiguousarray(symbols, dtype="<i4").tobytes()) & 0xFFFF


def _varint(value: int) -> bytes:
    """A number in as many groups of seven bits as it needs, lowest first."""
    groups = bytearray()
    while value > 0x7F:
        groups.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes([*groups, value])


def _varint_at(content: bytes, place: int) -> tuple[int, int]:
    """The number that begins at a position, and where it ends."""
    value = shift = 0
    while place < len(content) and shift < 28:
        value |= (content[place] & 0x7F) << shift
        shift += 7
        place += 1
        if not content[place - 1] & 0x80:
            break
    return value, place
