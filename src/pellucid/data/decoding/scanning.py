# SPDX-License-Identifier: Apache-2.0
"""A quick scan of many files: sizes, channels, values, content hashes, and what cannot be read."""

from __future__ import annotations

import struct
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Self, final

import numpy as np
import xxhash
from numpy.typing import NDArray

from pellucid.data.decoding.deep import DEEP, Source
from pellucid.data.decoding.index import Index, Seen, Stamp
from pellucid.data.decoding.jpeg import sound
from pellucid.data.decoding.parallel import in_parallel
from pellucid.data.decoding.pictures import (
    fault_sentence,
    from_pillow,
    grey_palette,
    levels_of,
    opened,
    orientation_of,
    resize,
    unknown_tiff,
    upright,
    values,
)
from pellucid.data.scales import Levels, Scale

__all__ = ["Scan", "changed", "difference_hash", "remember_faults", "scan"]

_SAMPLE, _SAMPLE_BYTES = 64, 1 << 25  # files, and bytes, that are read again to see whether anything changed

_SMALL = 256_000  # bytes of a file, on average
_TAIL = 64  # bytes in which a whole PNG has its last chunk
_TURNED = (b"eXIf", b"Raw profile type exif", b"XML:com.adobe.xmp")  # chunks of a PNG that may say how it is turned
_GREY = ("1", "L", "LA", "La", *DEEP)
_SEVERAL = ("TIFF", "GIF", "WEBP", "AVIF", "PNG")  # formats that may hold a stack of pages, or an animation


@final
@dataclass(frozen=True)
class Scan:
    """What is known of many files, in their order; for a file with a problem only the digest is meaningful."""

    seen: Sequence[Seen]

    @cached_property
    def sizes(self) -> NDArray[np.int32]:
        """(N, 2) heights and widths in px."""
        return np.array([(one.height, one.width) for one in self.seen], np.int32).reshape(-1, 2)

    @cached_property
    def channels(self) -> NDArray[np.int8]:
        """(N,) 1 or 3."""
        return np.array([one.channels for one in self.seen], np.int8)

    @cached_property
    def digests(self) -> list[bytes]:
        """Hashes of the files."""
        return [one.digest for one in self.seen]

    @cached_property
    def problems(self) -> dict[int, str]:
        """A sentence for each file that cannot be read, by its position."""
        return {i: one.problem for i, one in enumerate(self.seen) if one.problem}

    @cached_property
    def levels(self) -> Levels:
        """The smallest and the largest values of files with more than 8 bits."""
        none = float("nan")
        ends = [(none if one.low is None else one.low, none if one.high is None else one.high) for one in self.seen]
        lows, highs = np.array(ends, np.float64).reshape(-1, 2).T
        return Levels(lows, highs, np.array([one.floats for one in self.seen], np.bool_))

    @cached_property
    def pages(self) -> NDArray[np.int64]:
        """(N,) pages of a stack, or frames of an animation; the first one is read."""
        return np.array([one.pages for one in self.seen], np.int64)

    def select(self, rows: Sequence[int]) -> Self:
        """What is known of the files at these positions."""
        return type(self)([self.seen[i] for i in rows])


def scan(
    sources: Sequence[Source],
    names: Sequence[str] = (),
    *,
    deep: bool = False,
    container: Path | None = None,
    again: bool = False,
    quick: bool = False,
) -> Scan:
    """Scan files in parallel, and cache the result by path, size, times and inode.

    Size and channels come from the header, the digest from the bytes; the end of a file shows whether it is complete. `deep`
    also decodes each image, which finds damage inside, and hashes its pixels. A second scan reads only the files that have
    changed, or all of them with `again`. `quick` leaves out what only decoding tells of PNGs: for images that are read once.
    """
    index = Index()
    stamps = [Stamp.of(source, container, i) for i, source in enumerate(sources)]
    cached = {} if again else index.recall([stamp for stamp in stamps if stamp is not None], deep)
    missing = [i for i, stamp in enumerate(stamps) if stamp is None or stamp not in cached]

    def look(i: int) -> Seen:
        return _look(sources[i], names[i] if names else "", deep, quick)

    # small files spend little time outside the interpreter's lock: two threads would only wait for each other
    small = not deep and sum(stamp.bytes for stamp in stamps if stamp is not None) < _SMALL * len(stamps)
    looked = in_parallel(lambda place: look(missing[place]), len(missing), threads=1 if small else None)
    fresh = dict(zip(missing, looked, strict=True))
    index.remember([(stamp, fresh[i]) for i in missing if (stamp := stamps[i]) is not None])
    return Scan([fresh[i] if stamp is None or i in fresh else cached[stamp] for i, stamp in enumerate(stamps)])


def changed(sources: Sequence[Source], scanned: Scan) -> bool:
    """Whether a sample of the files has other contents than when they were scanned, though nothing else tells.

    File systems on a network and restored archives can leave a file's size and times as they were.
    """
    chosen = np.random.default_rng(len(sources)).permutation(len(sources))[:_SAMPLE]
    left = _SAMPLE_BYTES
    for i in chosen.tolist():
        source, one = sources[i], scanned.seen[i]
        if not isinstance(source, Path) or not one.digest:
            continue
        try:
            content = source.read_bytes()
        except OSError:
            return True
        if xxhash.xxh3_128_digest(content) != one.digest:
            return True
        left -= len(content)
        if left < 0:
            return False
    return False


def remember_faults(sources: Sequence[Source], faults: Mapping[int, str]) -> None:
    """Cache that these files cannot be decoded, so that the next scan says so at once."""
    rows = [
        (stamp, Seen(b"", problem=fault)) for i, fault in faults.items() if (stamp := Stamp.of(sources[i])) is not None
    ]
    Index().remember(rows)


def _look(source: Source, name: str, deep: bool, quick: bool) -> Seen:
    digest = b""
    try:
        content = source if isinstance(source, bytes) else source.read_bytes()
        digest = xxhash.xxh3_128_digest(content)  # twenty times faster than a cryptographic hash of the same width
        return _described(content, digest, deep, quick)
    except Exception as fault:
        return Seen(digest, problem=fault_sentence(source, name, fault))


def _described(content: bytes, digest: bytes, deep: bool, quick: bool) -> Seen:
    """What an image's header tells, and where that is not enough, its pixels."""
    try:
        image = opened(content)
    except Exception as fault:
        return _of_pixels(unknown_tiff(content, fault), digest, deep)
    with image:
        pages = _pages(image) if image.format in _SEVERAL else 1
        if (array := values(content, image)) is not None:
            return _of_pixels(array, digest, deep, pages)
        if quick and (grey := _grey_png(image, content)) is not None:
            return Seen(digest, image.height, image.width, 1 if grey else 3, pages=pages)
        orientation = orientation_of(image)
        coded = _coded(content, orientation) if image.format in ("JPEG", "MPO") else b""
        # to look for its rotation, Pillow has decoded a PNG already
        if deep or image.format == "PNG" or not _is_whole(image.format, content):
            planes = sound(content, image, image.size)
            array = from_pillow(image) if planes is None else upright(planes, orientation)
            return _of_pixels(array, digest, deep, pages, coded)
        width, height = image.size[::-1] if orientation > 4 else image.size  # orientations 5 to 8 swap the sides
        grey = image.mode in _GREY or (image.mode == "P" and grey_palette(image))
        return Seen(digest, height, width, 1 if grey else 3, pages=pages, coded=coded)


def _grey_png(image: Any, content: bytes) -> bool | None:
    """Whether a PNG has one channel once it is decoded, by its header; None where that does not tell, or its end is missing."""
    if image.format != "PNG" or content.rfind(b"IEND", -_TAIL) < 0 or any(sign in content for sign in _TURNED):
        return None
    if "transparency" in image.info:
        return bool(image.mode == "L")
    return bool(image.mode in _GREY or (image.mode == "P" and grey_palette(image)))


def _pages(image: Any) -> int:
    try:
        return int(getattr(image, "n_frames", 1))
    except Exception:  # a damaged list of pages: the first one may be whole
        return 1


def _of_pixels(array: NDArray[Any], digest: bytes, deep: bool, pages: int = 1, coded: bytes = b"") -> Seen:
    """What the decoded values (C, H, W) tell; `deep` also how they look."""
    channels, height, width = array.shape
    low = high = None
    floats = array.dtype.kind == "f"
    if array.dtype != np.uint8:
        levels = levels_of(array)
        low, high = levels.low, levels.high
    total = xxhash.xxh3_128(f"{array.shape}{array.dtype}".encode())
    total.update(np.ascontiguousarray(array).data.cast("B"))
    look = b""
    if deep:
        own = Scale(low, high) if low is not None and high is not None and low < high else Scale(0, 1)
        look = difference_hash(array if array.dtype == np.uint8 else own.levels(array))
    return Seen(digest, height, width, channels, "", low, high, floats, pages, coded, total.digest(), look)


def difference_hash(image: NDArray[np.uint8]) -> bytes:
    """64 bits of how an image (C, H, W) looks: whether each of 8×8 regions is brighter than its right neighbour.

    Copies that were compressed, scaled or brightened differ in a few bits; different photographs in about 32. N. Krawetz,
    "Kind of like that" (2013).

    >>> ramp = np.tile(np.arange(90, dtype=np.uint8)[::-1], (1, 80, 1))
    >>> difference_hash(ramp).hex(), difference_hash(ramp[:, :, ::-1]).hex()
    ('ffffffffffffffff', '0000000000000000')
    """
    small = resize(np.ascontiguousarray(image), (8, 9)).astype(np.int32)
    grey = small[0] if len(small) == 1 else 299 * small[0] + 587 * small[1] + 114 * small[2]  # (8, 9)
    return np.packbits(grey[:, :-1] > grey[:, 1:]).tobytes()


def _coded(content: bytes, orientation: int) -> bytes:
    """A digest of a JPEG without comments and other metadata: equal where the pictures are coded alike."""
    total = xxhash.xxh3_128(bytes([orientation]))
    place = 2
    while place + 4 <= len(content) and content[place] == 0xFF:
        marker, (length,) = content[place + 1], struct.unpack(">H", content[place + 2 : place + 4])
        if marker == 0xDA:  # start of the scan: everything after it is the picture
            break
        # comments, and application data but for Adobe's, which says how colours are coded
        if marker != 0xFE and (not 0xE0 <= marker <= 0xEF or marker == 0xEE):
            total.update(content[place : place + 2 + length])
        place += 2 + length
    total.update(content[place:])
    return total.digest()


def _is_whole(kind: str, content: bytes) -> bool:
    """Whether a file has its end; False also for formats that do not mark it, whose images are then decoded to find out."""
    if kind == "JPEG":
        return content.rfind(b"\xff\xd9", -65536) >= 0  # the end-of-image marker; some cameras append data to it
    return kind == "WEBP" and len(content) >= int.from_bytes(content[4:8], "little") + 8
