# SPDX-License-Identifier: Apache-2.0
"""Codecs that a learned one is compared with: JPEG, WebP, AVIF and PNG, as Pillow writes them."""

from __future__ import annotations

import io
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import final

import numpy as np
from numpy.typing import NDArray

__all__ = [
    "AVIF_QUALITIES",
    "COLOURS",
    "QUALITIES",
    "Codec",
    "Saved",
    "avif",
    "codecs",
    "jpeg",
    "png",
    "webp",
    "writes_avif",
]

QUALITIES = (1, 3, 5, 8, 12, 17, 23, 30, 38, 47, 57, 67, 76, 84, 90, 94, 97)
"""Pillow's quality settings at which the rate–distortion curves are measured."""

AVIF_QUALITIES = (5, 15, 25, 35, 45, 54, 62, 70, 78, 85, 91, 96)
"""The same for AVIF, whose scale of quality is another."""

COLOURS = (2, 4, 8, 16, 32, 64)
"""Sizes of PNG's palette."""


@final
@dataclass(frozen=True)
class Saved:
    """A file's size in bytes, the part of it that is picture data, and the decoded picture, (C, H, W) uint8."""

    bytes: int
    bare: int
    picture: NDArray[np.uint8]


Codec = Callable[[NDArray[np.uint8]], Iterator[tuple[str, Saved]]]
"""A picture (C, H, W) to its files at several settings, each with the setting's name."""


def jpeg(picture: NDArray[np.uint8], qualities: Sequence[int] = QUALITIES) -> Iterator[tuple[str, Saved]]:
    """JPEG with optimised Huffman tables at each quality: the smaller one of a sequential and a progressive file.

    Colour pictures are written with colour at full and at half resolution (4:4:4, 4:2:0).

    >>> [setting for setting, _ in jpeg(np.zeros((1, 8, 8), np.uint8), (50,))]
    ['quality 50']
    """
    subsamplings = ((0, " 4:4:4"), (2, " 4:2:0")) if picture.shape[0] == 3 else ((0, ""),)
    for quality in qualities:
        for subsampling, suffix in subsamplings:
            files = (
                _saved(
                    picture, "JPEG", quality=quality, optimize=True, subsampling=subsampling, progressive=progressive
                )
                for progressive in (False, True)
            )
            yield f"quality {quality}{suffix}", min(files, key=lambda saved: saved.bytes)


def webp(picture: NDArray[np.uint8], qualities: Sequence[int] = QUALITIES) -> Iterator[tuple[str, Saved]]:
    """Lossy WebP at each quality, with the slowest and best search."""
    for quality in qualities:
        yield f"quality {quality}", _saved(picture, "WEBP", quality=quality, method=6)


def avif(
    picture: NDArray[np.uint8], qualities: Sequence[int] = AVIF_QUALITIES, speed: int = 6, tune: str | None = "psnr"
) -> Iterator[tuple[str, Saved]]:
    """AVIF by libaom on one thread at each quality.

    Grey pictures are written without colour planes (4:0:0), colour pictures with colour at full and at half resolution.

    Args:
        picture: (C, H, W).
        qualities: from 0 to 100.
        speed: from 0, the slowest search, to 10; 6 is Pillow's own choice.
        tune: the measure that the encoder's choices serve; by default libavif's own.
    """
    subsamplings = ("4:4:4", "4:2:0") if picture.shape[0] == 3 else ("4:0:0",)
    for quality in qualities:
        for subsampling in subsamplings:
            saved = _saved(
                picture, "AVIF", quality=quality, speed=speed, subsampling=subsampling, max_threads=1, codec="aom",
                advanced=None if tune is None else {"tune": tune},
            )  # fmt: skip
            yield f"quality {quality}" + (f" {subsampling}" if picture.shape[0] == 3 else ""), saved


def writes_avif() -> bool:
    """Whether this machine's Pillow writes AVIF, by libaom."""
    from PIL import features

    if not features.check("avif"):
        return False
    from PIL import _avif

    return bool(_avif.encoder_codec_available("aom"))


def png(picture: NDArray[np.uint8], colours: Sequence[int] = COLOURS) -> Iterator[tuple[str, Saved]]:
    """PNG at its strongest compression: with palettes of each size, and lossless.

    >>> [setting for setting, _ in png(np.zeros((1, 8, 8), np.uint8), (4,))]
    ['4 colours', 'lossless']
    """
    for most in colours:
        yield f"{most} colours", _saved(picture, "PNG", most, optimize=True)
    yield "lossless", _saved(picture, "PNG", optimize=True)


def codecs() -> dict[str, Codec]:
    """The codecs by name; AVIF only where this machine's Pillow writes it."""
    found: dict[str, Codec] = {"JPEG": jpeg, "WebP": webp, "AVIF": avif, "PNG": png}
    if not writes_avif():
        del found["AVIF"]
    return found


def _saved(picture: NDArray[np.uint8], kind: str, colours: int | None = None, **options: object) -> Saved:
    """A picture written and read again in one format, with Pillow's options for it."""
    from PIL import Image

    image = Image.fromarray(picture[0] if picture.shape[0] == 1 else np.ascontiguousarray(picture.transpose(1, 2, 0)))
    if colours is not None:
        image = image.quantize(colours)
    file = io.BytesIO()
    image.save(file, kind, **options)
    content = file.getvalue()
    decoded = np.asarray(Image.open(file).convert("L" if picture.shape[0] == 1 else "RGB"))
    # WebP's and PNG's headers are a few dozen bytes; JPEG's tables and AVIF's boxes are hundreds, which weighs on small pictures
    bare = {"JPEG": _scans, "AVIF": _media}.get(kind, len)(content)
    return Saved(len(content), bare, decoded[None] if picture.shape[0] == 1 else decoded.transpose(2, 0, 1))


def _scans(content: bytes) -> int:
    """Bytes of a JPEG file that are entropy-coded data: all but markers, tables and headers (ISO 10918-1, annex B)."""
    place, total = 2, 0
    while place < len(content) and content[place + 1] != 0xD9:  # up to the end of the image
        marker = content[place + 1]
        place += 2 + int.from_bytes(content[place + 2 : place + 4], "big")
        if marker == 0xDA:  # a scan's header: its data go on to the next marker that is neither stuffing nor a restart
            start = place
            while not (content[place] == 0xFF and content[place + 1] not in (0, *range(0xD0, 0xD8))):
                place += 1
            total += place - start
    return total


def _media(content: bytes) -> int:
    """Bytes of an AVIF file that are coded data: those in its boxes of media data (ISO 14496-12, sections 4.2 and 8.1.1)."""
    place, total = 0, 0
    while place < len(content):
        size, kind = int.from_bytes(content[place : place + 4], "big"), content[place + 4 : place + 8]
        size = size or len(content) - place  # 0: up to the end of the file
        assert size >= 8
        total += size - 8 if kind == b"mdat" else 0
        place += size
    return total
