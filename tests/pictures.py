# SPDX-License-Identifier: Apache-2.0
"""Small pictures as files, whole and damaged, and what lies in a folder."""

from __future__ import annotations

import zlib
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

__all__ = ["contents", "damaged", "names", "picture", "save"]


def picture(*size: int, seed: int = 0) -> NDArray[np.uint8]:
    return np.random.default_rng(seed).integers(0, 256, size or (6, 9), dtype=np.uint8)


def save(path: Path | str, *size: int, seed: int = 0) -> Path:
    Path(path).parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(picture(*size, seed=seed)).save(path)
    return Path(path)


def damaged(path: Path | str) -> Path:
    """A PNG whose header and end are whole: only decoding shows that its pixels are not."""
    content = bytearray(save(path, 12, 12).read_bytes())
    at = content.index(b"IDAT") + 8
    content[at : at + 20] = bytes(20)
    start = content.index(b"IDAT")
    length = int.from_bytes(content[start - 4 : start], "big")
    body = bytes(content[start : start + 4 + length])
    content[start + 4 + length : start + 8 + length] = zlib.crc32(body).to_bytes(4, "big")
    Path(path).write_bytes(content)
    return Path(path)


def contents(folder: Path) -> dict[str, bytes]:
    return {str(file.relative_to(folder)): file.read_bytes() for file in sorted(folder.rglob("*")) if file.is_file()}


def names(folder: Path, pattern: str = "*.png") -> list[str]:
    return sorted(file.relative_to(folder).as_posix() for file in folder.rglob(pattern))
