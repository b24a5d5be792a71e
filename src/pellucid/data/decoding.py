# SPDX-License-Identifier: Apache-2.0
"""Image files to uint8 arrays, and a quick scan of many files: sizes, channels, content hashes, and what cannot be read."""

from __future__ import annotations

import io
import os
import re
import sqlite3
import warnings
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar, final

import numpy as np
import xxhash
from numpy.typing import NDArray

from pellucid.data.colour import bytes_to_channels
from pellucid.data.dataset import Images
from pellucid.errors import DataError

__all__ = [
    "LARGEST",
    "SUFFIXES",
    "Files",
    "Scan",
    "cache_folder",
    "decode",
    "fault_sentence",
    "from_pillow",
    "in_parallel",
    "remember_faults",
    "scan",
    "workers",
]

SUFFIXES = frozenset({".png", ".jpg", ".jpeg", ".tif", ".tiff", ".bmp", ".pgm", ".ppm", ".pnm", ".webp"})
"""Endings of the files that are read as images in a folder."""

LARGEST = 100_000_000
"""Pixels; a file that decodes to more is refused as a decompression bomb."""

_ORIENTATION = 0x0112  # the EXIF tag
_SMALL = 256_000  # bytes of a file, on average
_RUN = 32  # files that a thread takes at a time
_SPARE = 1.4  # a JPEG decoded at a fraction of its size must stay larger than the wanted size by this factor

T = TypeVar("T")
# LARGEST is our own limit; silencing Pillow's lower one around each file would cost as much as reading a small one
warnings.filterwarnings("ignore", message=r"Image size \(\d+ pixels\) exceeds limit")

Source = Path | bytes
Stamp = tuple[str, int, int]  # path, size in bytes, time of change in ns
Row = tuple[bytes, int, int, int, str, bool]  # digest, height, width, channels, problem, decoded
_GREY = ("1", "L", "LA", "La", "I", "F", "I;16", "I;16B", "I;16L")


def cache_folder() -> Path:
    """The user's cache: $PELLUCID_CACHE, else pellucid/ in the system's cache folder."""
    own = os.environ.get("PELLUCID_CACHE")
    system = os.environ.get("XDG_CACHE_HOME") or "~/.cache"
    return Path(own if own else f"{system}/pellucid").expanduser()


def workers() -> int:
    """How many threads decode: one per core that this process may use; Pillow releases the interpreter while it decodes."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else (os.cpu_count() or 1)


def in_parallel(work: Callable[[int], T], count: int, threads: int | None = None) -> list[T]:
    """The results of `work` for 0 … count − 1, computed by several threads, each of which takes a run of positions at a time.

    >>> in_parallel(lambda i: i * i, 5)
    [0, 1, 4, 9, 16]
    """
    # one future per image would cost as much as decoding a small one
    runs = [range(start, min(start + _RUN, count)) for start in range(0, count, _RUN)]
    with ThreadPoolExecutor(threads or workers()) as pool:
        return [one for run in pool.map(lambda run: [work(i) for i in run], runs) for one in run]


def from_pillow(image: Any, size: tuple[int, int] | None = None) -> NDArray[np.uint8]:
    """A Pillow image as (C, H, W) uint8, C = 1 for grey modes, else 3; resized to (H, W) px if asked, antialiased.

    EXIF rotation is applied, palettes are resolved, transparent pixels are blended with white, 16 bits become 8 by
    value / 257, and floating-point images in [0, 1] are multiplied by 255.

    >>> from PIL import Image
    >>> from_pillow(Image.new("RGBA", (2, 1), (255, 0, 0, 0)))[:, 0, 0].tolist()
    [255, 255, 255]
    """
    from PIL import Image, ImageOps

    if image.getexif().get(_ORIENTATION, 1) != 1:
        image = ImageOps.exif_transpose(image)  # copies even if there is nothing to rotate
    if image.mode in ("I;16", "I;16B", "I;16L", "I", "F"):
        flat = _deep(np.asarray(image))
        return np.asarray(_fitted(Image.fromarray(flat), size))[None]
    if image.mode in ("RGBA", "LA", "PA", "La", "RGBa") or "transparency" in image.info:
        grey = image.mode in ("LA", "La") or (image.mode == "L" and "transparency" in image.info)
        layer = image.convert("RGBA")
        image = Image.alpha_composite(Image.new("RGBA", layer.size, "white"), layer).convert("L" if grey else "RGB")
    if image.mode == "1" or (image.mode == "P" and _grey_palette(image)):
        image = image.convert("L")
    if image.mode == "L":
        return np.asarray(_fitted(image, size))[None]
    array = np.asarray(_fitted(image if image.mode == "RGB" else image.convert("RGB"), size))
    return array.transpose(2, 0, 1)


def _fitted(image: Any, size: tuple[int, int] | None) -> Any:
    """A Pillow image resized to (H, W) px; Pillow's bilinear filter widens with the scale, as antialiasing needs."""
    from PIL import Image

    return image if size is None or image.size == size[::-1] else image.resize(size[::-1], Image.Resampling.BILINEAR)


def _grey_palette(image: Any) -> bool:
    entries = np.frombuffer(image.palette.getdata()[1], np.uint8) if image.palette else np.zeros(0, np.uint8)
    return (
        image.palette is not None
        and image.palette.mode == "RGB"
        and bool((np.ptp(entries.reshape(-1, 3), 1) == 0).all())
    )


def _deep(array: NDArray[Any]) -> NDArray[np.uint8]:
    """More than 8 bits as 8: integers by value / 257 (0 stays 0, 65,535 becomes 255), floats in [0, 1] times 255."""
    if array.dtype.kind == "f":
        if not np.isfinite(array).all() or array.min(initial=0) < 0 or array.max(initial=0) > 1:
            raise ValueError(
                f"its floating-point pixels leave [0, 1]: they range from {array.min():.4g} to {array.max():.4g}"
            )
        return np.round(array * 255).astype(np.uint8)
    if array.min(initial=0) < 0 or array.max(initial=0) > 65535:
        raise ValueError("its integer pixels leave the 16 bits from 0 to 65,535")
    return ((array.astype(np.uint32) + 128) // 257).astype(np.uint8)


def _open(source: Source) -> Any:
    from PIL import Image

    image = Image.open(io.BytesIO(source) if isinstance(source, bytes) else source)
    if image.width * image.height > LARGEST:
        image.close()
        raise ValueError(f"it decodes to {image.width * image.height:,} px, more than the {LARGEST:,} allowed")
    return image


def decode(
    source: Source, channels: int | None = None, name: str = "", size: tuple[int, int] | None = None
) -> NDArray[np.uint8]:
    """One file, or its bytes, as (C, H, W) uint8, at its own size or resized.

    Args:
        source: a path, or the file's bytes.
        channels: 1 or 3; by default the file's own.
        name: its name in error messages.
        size: (H, W) in px, by antialiased interpolation; by default its own. A JPEG is first decoded at a half, a quarter
            or an eighth of its size, as long as both sides stay at least 1.4 times as long (the decoder inverts the discrete
            cosine transform on fewer frequencies).

    Raises:
        DataError: it is not an image, is truncated, or decodes to more than `LARGEST` pixels.
    """
    try:
        with _open(source) as image:
            if size is not None and image.format == "JPEG":
                turned = image.getexif().get(_ORIENTATION, 1) > 4  # height and width will be swapped
                longer = _SPARE * max(size) if turned else 0
                image.draft(None, (int(max(longer, _SPARE * size[1])), int(max(longer, _SPARE * size[0]))))
            array = from_pillow(image, size)
    except Exception as fault:  # Pillow's decoders raise whatever their format brings: SyntaxError, struct.error, …
        raise DataError(fault_sentence(source, name, fault)) from fault
    return array if channels is None else bytes_to_channels(array, channels)


def fault_sentence(source: Source, name: str, fault: Exception) -> str:
    """The error message for a file that cannot be read."""
    title = name or (str(source) if isinstance(source, Path) else "image")
    reason = str(fault).split("\n")[0].rstrip(".")
    if type(fault).__name__.startswith("DecompressionBomb"):  # Pillow's own limit, before height and width are known
        count = next((int(word) for word in re.findall(r"\d+", reason)), LARGEST)
        reason = f"it decodes to {count:,} px, more than the {LARGEST:,} allowed"
    elif source == b"" or (isinstance(source, Path) and source.is_file() and source.stat().st_size == 0):
        reason = "it is empty"
    elif type(fault).__name__ == "UnidentifiedImageError":
        reason = "it is not an image, whatever its name says"
    elif "truncated" in reason or "Truncated" in reason or isinstance(fault, EOFError):
        reason = "it is truncated"
    return f"image={title!r}: cannot be read, because {reason}; replace or remove it."


@final
@dataclass(frozen=True)
class Scan:
    """What is known of many files, in their order; for a file with a problem only the digest is meaningful."""

    sizes: NDArray[np.int32]  # (N, 2) height, width in px
    channels: NDArray[np.int8]  # (N,) 1 or 3
    digests: list[bytes]
    problems: dict[int, str]  # position -> sentence


def scan(
    sources: Sequence[Source], names: Sequence[str] = (), *, deep: bool = False, container: Path | None = None
) -> Scan:
    """Scan files in parallel, and cache the result by path, size and modification time.

    Size and channels come from the header, the digest from the bytes; the end of a file shows whether it is complete. `deep`
    also decodes each image, which finds damage inside. A second scan reads only the files that have changed.
    """
    index = _Index()
    stamps = [_stamp(source, container, i) for i, source in enumerate(sources)]
    cached = index.recall([stamp for stamp in stamps if stamp is not None], deep)
    missing = [i for i, stamp in enumerate(stamps) if stamp is None or stamp not in cached]

    def look(i: int) -> Row:
        return _look(sources[i], names[i] if names else "", deep)

    # small files spend little time outside the interpreter's lock: two threads would only wait for each other
    small = not deep and sum(stamp[1] for stamp in stamps if stamp is not None) < _SMALL * len(stamps)
    looked = in_parallel(lambda place: look(missing[place]), len(missing), threads=1 if small else None)
    fresh = dict(zip(missing, looked, strict=True))
    index.remember([(stamp, fresh[i]) for i in missing if (stamp := stamps[i]) is not None])
    rows = [fresh[i] if stamp is None or i in fresh else cached[stamp] for i, stamp in enumerate(stamps)]
    return Scan(
        np.array([row[1:3] for row in rows], np.int32).reshape(-1, 2),
        np.array([row[3] for row in rows], np.int8),
        [row[0] for row in rows],
        {i: row[4] for i, row in enumerate(rows) if row[4]},
    )


def remember_faults(sources: Sequence[Source], faults: Mapping[int, str]) -> None:
    """Cache that these files cannot be decoded, so that the next scan says so at once."""
    rows = [
        (stamp, (b"", 0, 0, 0, fault, True)) for i, fault in faults.items() if (stamp := _stamp(sources[i])) is not None
    ]
    _Index().remember(rows)


def _look(source: Source, name: str, deep: bool) -> Row:
    digest = b""
    try:
        content = source if isinstance(source, bytes) else source.read_bytes()
        digest = xxhash.xxh3_128_digest(content)  # twenty times faster than a cryptographic hash of the same width
        with _open(content) as image:
            if deep or not _is_whole(image.format, content):
                channels, height, width = from_pillow(image).shape
                return digest, height, width, channels, "", True
            turned = image.getexif().get(_ORIENTATION, 1) > 4  # EXIF orientations 5 to 8 swap the sides
            width, height = image.size[::-1] if turned else image.size
            grey = image.mode in _GREY or (image.mode == "P" and _grey_palette(image))
            return digest, height, width, 1 if grey else 3, "", False
    except Exception as fault:
        return digest, 0, 0, 0, fault_sentence(source, name, fault), True


def _is_whole(kind: str, content: bytes) -> bool:
    """Whether a file has its end; False also for formats that do not mark it, whose images are then decoded to find out."""
    if kind == "JPEG":
        return content.rfind(b"\xff\xd9", -65536) >= 0  # the end-of-image marker; some cameras append data to it
    if kind == "PNG":
        return content.rfind(b"IEND", -65536) >= 0
    return kind == "WEBP" and len(content) >= int.from_bytes(content[4:8], "little") + 8


def _stamp(source: Source, container: Path | None = None, position: int = 0) -> Stamp | None:
    path = container if isinstance(source, bytes) else source
    if path is None:
        return None
    name = str(path)
    try:
        status = os.stat(name)
    except OSError:
        return None
    name = name if name[0] == "/" else os.path.abspath(name)
    name = name.encode(errors="backslashreplace").decode()  # a name that is not UTF-8 is no text for the cache
    return f"{name}/{position}" if isinstance(source, bytes) else name, status.st_size, status.st_mtime_ns


class _Index:
    """A cache of scans, in one SQLite file, which several processes may use at a time."""

    def __init__(self) -> None:
        self.path = cache_folder() / "files-3.sqlite"

    def _connect(self) -> sqlite3.Connection:
        self.path.parent.mkdir(parents=True, exist_ok=True)
        connection = sqlite3.connect(self.path, timeout=30)
        connection.execute(
            "CREATE TABLE IF NOT EXISTS files (path TEXT PRIMARY KEY, bytes INTEGER, changed INTEGER,"
            " digest BLOB, height INTEGER, width INTEGER, channels INTEGER, problem TEXT, decoded INTEGER)"
        )
        return connection

    def recall(self, stamps: Sequence[Stamp], deep: bool) -> dict[Stamp, Row]:
        if not stamps or not self.path.exists():
            return {}
        wanted = {stamp[0]: stamp for stamp in stamps}
        folders = {os.path.dirname(path) for path in wanted}
        rows = {}
        try:
            with closing(self._connect()) as connection:
                for folder in folders:  # one range of the sorted paths per folder: far fewer statements than files
                    low, high = folder.rstrip("/") + "/", folder.rstrip("/") + "0"  # "0" follows "/" in ASCII
                    for path, *rest in connection.execute(
                        "SELECT * FROM files WHERE path > ? AND path < ?", (low, high)
                    ):
                        stamp = wanted.get(path)
                        if stamp is not None and stamp[1:] == tuple(rest[:2]) and rest[-1] >= deep:
                            rows[stamp] = tuple(rest[2:])
        except sqlite3.DatabaseError:  # a damaged cache costs a second scan, never a result
            self.path.unlink(missing_ok=True)
            return {}
        return rows

    def remember(self, rows: Sequence[tuple[Stamp, Row]]) -> None:
        if not rows:
            return
        try:
            with closing(self._connect()) as connection, connection:
                connection.executemany(
                    "INSERT OR REPLACE INTO files VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)",
                    [(*stamp, *row) for stamp, row in rows],
                )
        except (OSError, sqlite3.Error):  # without a writable cache, every scan reads the files
            return


@final
class Files(Images):
    """Images in files, or files' bytes, decoded when they are read."""

    def __init__(self, sources: Sequence[Source], names: Sequence[str] = (), scanned: Scan | None = None) -> None:
        self.sources = sources
        self.names = names
        self._scanned = scanned

    def __len__(self) -> int:
        return len(self.sources)

    @property
    def scanned(self) -> Scan:
        """The scan of the files, made on first use."""
        if self._scanned is None:
            self._scanned = scan(self.sources, self.names)
        return self._scanned

    @property
    def sizes(self) -> NDArray[np.int32]:
        return self.scanned.sizes

    @property
    def channels(self) -> int:
        return int(self.scanned.channels.max(initial=1))

    @property
    def digests(self) -> Sequence[bytes]:
        return self.scanned.digests

    def select(self, index: Sequence[int] | NDArray[np.int64]) -> Files:
        rows = [int(i) for i in index]
        scanned = self._scanned and Scan(
            self._scanned.sizes[rows],
            self._scanned.channels[rows],
            [self._scanned.digests[i] for i in rows],
            {new: self._scanned.problems[old] for new, old in enumerate(rows) if old in self._scanned.problems},
        )
        return Files([self.sources[i] for i in rows], [self.names[i] for i in rows] if self.names else (), scanned)

    def read(self, index: int, channels: int) -> NDArray[np.uint8]:
        return decode(self.sources[index], channels, self.names[index] if self.names else "")
