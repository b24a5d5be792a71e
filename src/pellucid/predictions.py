# SPDX-License-Identifier: Apache-2.0
"""Predictions as files: pictures, other files and a table of them in a folder, or a single file."""

from __future__ import annotations

import os
import unicodedata
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from functools import cached_property
from pathlib import Path, PurePosixPath
from typing import Any, Literal, final

import numpy as np
from numpy.typing import NDArray

from pellucid._ledger import Ledger
from pellucid.errors import UsageError
from pellucid.files import make_folder, write_atomically, write_csv, write_json

__all__ = ["Answers", "answer_names"]

_PAYLOADS = ("picture", "content", "suffix")  # entries of a row that are not in the table
_LONGEST = 150  # bytes of a part of a file's name: systems allow 255, and drafts and numbers need some


@final
class Answers:
    """Writes predictions below a folder, or to a file, and replaces nothing there that predictions did not write.

    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     row = {"name": "../a.jpg", "picture": np.zeros((1, 4, 4), np.uint8)}
    ...     kept = Answers(Path(folder), "json", []).keep([row])
    ...     print(Path(kept[0]["picture"]).relative_to(folder))
    a.png

    Args:
        out: a folder, or a file for a single prediction; None writes nothing.
        format: the format of the table in the folder.
        sources: the files of the images, which no prediction may overwrite.
        overwrite: replace files that predictions did not write.

    Raises:
        UsageError: the table would replace a file that predictions did not write.
    """

    def __init__(
        self, out: Path | None, format: Literal["json", "csv"], sources: Iterable[Path], overwrite: bool = False
    ) -> None:
        self.out, self.format, self.overwrite = out, format, overwrite
        self._given = sources
        # a name with an ending is a file, unless a folder of that name exists
        self._file = out is not None and bool(out.suffix) and not out.is_dir()
        if out is not None:
            self._ledger = Ledger(make_folder(out.parent if self._file else out))
            self._check_free([self._table(out)])

    @property
    def takes_pictures(self) -> bool:
        """Whether there is a place for pictures: a folder, or a file that is no table."""
        return self.out is not None and not (self._file and self.out.suffix.lower() in (".json", ".csv"))

    def check(self, answers: int, titles: Sequence[str] = ()) -> None:
        """Refuse a single file for several pictures, and pictures that would replace something else, before they are written.

        Args:
            answers: how many pictures or files there will be.
            titles: their names.
        """
        if self._file and answers > 1:
            raise UsageError(f"out={str(self.out)!r}: is one file for {answers:,} predictions; name a folder.")
        if self.out is not None and not self._file:
            self._check_free([self.out / title for title in titles])

    def keep(self, rows: Sequence[dict[str, Any]], titles: Sequence[str] | None = None) -> list[dict[str, Any]]:
        """Write the pictures and files in these rows, and return the rows with the files' names in their place.

        Args:
            rows: the rows of a task's predictions.
            titles: the names of their files, made by `answer_names` for all rows together and checked; by default for these.
        """
        if self.out is None:
            return list(rows)
        if titles is None:
            titles = answer_names([row["name"] for row in rows], [row.get("suffix", ".png") for row in rows])
            payloads = [title for row, title in zip(rows, titles, strict=True) if "picture" in row or "content" in row]
            self.check(len(payloads), payloads)
        return [self._kept(row, title) for row, title in zip(rows, titles, strict=True)]

    def write_files(self, files: Mapping[str, bytes]) -> None:
        """Write further files below the folder, by their names there.

        Raises:
            UsageError: there is no folder, or one of them would replace a file that predictions did not write.
        """
        if not files:
            return
        if self.out is None or self._file:
            raise UsageError(
                f"out={str(self.out)!r}: is no folder, and {next(iter(files))} needs one; give one as --out."
            )
        self._check_free([self.out / name for name in files])
        for name, content in files.items():
            with write_atomically(self.out / name) as draft:
                draft.write_bytes(content)
                self._ledger.note(self.out / name, draft)

    def finish(self, rows: list[dict[str, Any]]) -> None:
        """Write all rows to predictions.json or predictions.csv, or to the given .json or .csv file."""
        if self.out is None:
            return
        path = self._table(self.out)
        if self._file and (
            any("picture" in row or "file" in row for row in rows) or all("error" in row for row in rows)
        ):
            return
        if path.suffix.lower() not in (".json", ".csv"):
            raise UsageError(
                f"out={str(self.out)!r}: is a file, but these predictions are a table; give .json or .csv, or a folder."
            )
        with write_atomically(path) as draft:
            if path.suffix.lower() == ".json":
                write_json(draft, rows)
            else:
                write_csv(draft, [_flatten(row) for row in rows])
            self._ledger.note(path, draft)

    def _table(self, out: Path) -> Path:
        return out if self._file else out / f"predictions.{self.format}"

    def _kept(self, row: dict[str, Any], title: str) -> dict[str, Any]:
        assert self.out is not None
        entries = {key: value for key, value in row.items() if key not in _PAYLOADS}
        path = self.out if self._file else self.out / title
        if "content" in row:
            with write_atomically(path) as draft:
                draft.write_bytes(row["content"])
                self._ledger.note(path, draft)
            return {**entries, "file": str(path)}
        if "picture" in row:
            _save(row["picture"], path, self._ledger)
            return {**entries, "picture": str(path)}
        return entries

    def _check_free(self, paths: Sequence[Path]) -> None:
        """Refuse to write where something lies that predictions did not write, or outside the folder."""
        assert self.out is not None
        taken = [path for path in paths if os.path.lexists(path)]
        for path in taken:
            if path.exists() and (path.stat().st_dev, path.stat().st_ino) in self._sources:
                raise UsageError(
                    f"out={str(self.out)!r}: a prediction would overwrite the image {path.name}; name another folder."
                )
            if path.exists() and not path.is_file():
                raise UsageError(
                    f"out={str(self.out)!r}: {path.name} is there and is no regular file; name another place."
                )
        if not self._file:
            top = self.out.resolve()
            for folder in dict.fromkeys(path.parent for path in paths):
                if top not in (folder.resolve(), *folder.resolve().parents):
                    raise UsageError(
                        f"out={str(self.out)!r}: {folder.name} is a link that leads out of the folder; name another one."
                    )
        strange = [path for path in taken if not self.overwrite and not self._ledger.owns(path)]
        if strange:
            more = f" (and {len(strange) - 1:,} more)" if len(strange) > 1 else ""
            raise UsageError(
                f"out={str(self.out)!r}: {strange[0].name}{more} is already there and was not written by predict, or was "
                "changed since; name another place, or give --overwrite to replace it."
            )

    @cached_property
    def _sources(self) -> set[tuple[int, int]]:
        """Device and node of each image, by which a file is recognised under any name."""
        found = [os.stat(source) for source in self._given if os.path.exists(source)]
        return {(status.st_dev, status.st_ino) for status in found}


def _save(picture: NDArray[Any], path: Path, ledger: Ledger) -> None:
    """Write a picture (C, H, W) uint8 or uint16 in the format of the file's ending."""
    from PIL import Image

    with write_atomically(path) as draft:
        try:
            if picture.dtype == np.uint16:
                draft.write_bytes(_in_16_bits(picture, path))
            else:
                Image.fromarray(picture[0] if picture.shape[0] == 1 else picture.transpose(1, 2, 0)).save(draft)
        except (ValueError, KeyError):
            raise UsageError(f"out={str(path)!r}: is not a format for pictures; give .png.") from None
        ledger.note(path, draft)


def _in_16_bits(picture: NDArray[np.uint16], path: Path) -> bytes:
    """The file of a picture of 16 bits, in colour too, which Pillow cannot write."""
    import cv2

    if path.suffix.lower() not in (".png", ".tif", ".tiff"):
        raise UsageError(f"out={str(path)!r}: is not a format for 16 bits; give .png or .tif.")
    planes = picture if picture.shape[0] == 1 else picture[::-1]  # OpenCV's order is blue, green, red
    _, content = cv2.imencode(path.suffix.lower(), np.ascontiguousarray(planes.transpose(1, 2, 0)))
    return content.tobytes()


def answer_names(names: Sequence[str], suffixes: Sequence[str]) -> list[str]:
    """Names of files below a folder, one for each image; names that would be the same file somewhere get a suffix.

    If two images differ in their endings alone, the endings are kept; otherwise the later one gets a number.

    >>> answer_names(["a.jpg", "a.tif", "../b.png", "sub/B.png", "/B.png"], [".png"] * 5)
    ['a.jpg.png', 'a.tif.png', 'b.png', 'sub/B.png', 'B-2.png']
    """
    whole = [_inner(name) for name in names]
    stems = [str(path.with_suffix("")) if path.suffix[1:2].isalpha() else str(path) for path in whole]
    count = Counter(_folded(stem + suffix) for stem, suffix in zip(stems, suffixes, strict=True))
    same = Counter(_folded(str(path)) for path in whole)
    folders = {_folded(str(folder)) for path in whole for folder in path.parents}
    chosen: dict[str, str] = {}  # folded -> name, in the order of the images
    for path, stem, suffix in zip(map(str, whole), stems, suffixes, strict=True):
        kept = stem if count[_folded(stem + suffix)] == 1 or same[_folded(path)] > 1 else path
        title, number = kept + suffix, 1
        while _folded(title) in chosen or _folded(title) in folders:
            number += 1
            title = f"{kept}-{number}{suffix}"
        chosen[_folded(title)] = title
    return list(chosen.values())


def _inner(name: str) -> PurePosixPath:
    """A relative path without `..`, whose parts are not too long for a file system."""
    parts = [part for part in PurePosixPath(name.replace("\\", "/")).parts if part not in ("/", "//", "..", ".")]
    return PurePosixPath(*(_shortened(part) for part in parts or ["image"]))


def _shortened(part: str) -> str:
    """
    >>> _shortened("a.png"), len(_shortened(300 * "é" + ".png"))
    ('a.png', 77)
    """
    if len(os.fsencode(part)) <= _LONGEST:
        return part
    stem, suffix = os.path.splitext(part)
    while len(os.fsencode(stem + suffix)) > _LONGEST and stem:
        stem = stem[:-1]
    return stem + suffix


def _folded(name: str) -> str:
    """Equal for names that are one file where case or the composition of accents does not count."""
    return unicodedata.normalize("NFC", name).casefold()


def _flatten(row: Mapping[str, Any]) -> dict[str, Any]:
    """Columns of what lies within: {"points": {"tip": {"x": 1}}} becomes "points.tip.x".

    >>> _flatten({"name": "a", "points": {"tip": {"x": 1, "y": 2}}})
    {'name': 'a', 'points.tip.x': 1, 'points.tip.y': 2}
    """
    flat: dict[str, Any] = {}
    for name, value in row.items():
        if isinstance(value, Mapping):
            flat |= {f"{name}.{key}": item for key, item in _flatten(value).items()}
        else:
            flat[name] = value
    return flat
