# SPDX-License-Identifier: Apache-2.0
"""Predictions as files: pictures, other files and a table of them in a folder, or a single file."""

from __future__ import annotations

import os
import tempfile
import unicodedata
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from functools import cached_property
from pathlib import Path, PurePosixPath
from typing import Any, Literal, final

import numpy as np
from numpy.typing import NDArray

from pellucid._contact import TILES, contact_sheet
from pellucid._ledger import Ledger
from pellucid._png import in_16_bits
from pellucid.errors import UsageError
from pellucid.files import make_folder, write_atomically, write_csv, write_json

__all__ = ["Answers", "answer_names", "flat"]

_TILE = ("tile", "group")  # of the contact sheet
_PAYLOADS = ("picture", "content", "suffix", "files", "tables", *_TILE)  # entries of a row that are not in the table
_SHEET = "sheet.png"
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
        listed: entries of a row that are lists, such as "detections": in CSV each becomes a table of its own.
        folders: names of folders of files, such as a dataset, that there will be.
        files: names of further files.

    Raises:
        UsageError: a table or a folder would replace something that predictions did not write.
    """

    def __init__(
        self,
        out: Path | None,
        format: Literal["json", "csv"],
        sources: Iterable[Path],
        overwrite: bool = False,
        listed: Sequence[str] = (),
        folders: Sequence[str] = (),
        files: Sequence[str] = (),
    ) -> None:
        self.out, self.format, self.overwrite, self.listed = out, format, overwrite, listed
        self._given = sources
        # a name with an ending is a file, unless a folder of that name exists
        self._file = out is not None and bool(out.suffix) and not out.is_dir()
        if out is not None:
            self._folder = out.parent if self._file else out
            self._made = not self._folder.exists()
            self._ledger = Ledger(make_folder(self._folder))
            table = self._table(out)
            self._check_free([table, *(self._beside(table, name) for name in listed if table.suffix.lower() == ".csv")])
        for name in folders:
            self._check_folder(name)
        if self.out is not None and not self._file:
            self._check_free([self.out / name for name in files])
        self._tables: dict[str, tuple[Sequence[str], list[dict[str, Any]]]] = {}  # columns and rows, by their file
        self._tiles: dict[str, list[NDArray[np.uint8]]] = {}  # pictures of the contact sheet, by group
        self._groups: Counter[str] = Counter()  # the rows of each group

    @contextmanager
    def tidied(self) -> Iterator[None]:
        """After a fault within the block, no empty folder is left that was not there before."""
        try:
            yield
        except BaseException:
            if self.out is not None and self._made:
                with suppress(OSError):  # it holds something
                    self._folder.rmdir()
            raise

    @property
    def takes_pictures(self) -> bool:
        """Whether there is a place for pictures: a folder, or a file that is no table."""
        return self.out is not None and not (self._file and self.out.suffix.lower() in (".json", ".csv"))

    def lacks(self, group: str) -> bool:
        """Whether the contact sheet has room for another picture of a group."""
        return self.out is not None and not self._file and len(self._tiles.get(group, ())) < TILES

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

    def begin(self, tables: Mapping[str, Sequence[str]]) -> None:
        """Announce tables over all images, each with its columns; refuse a single file for them, and to replace something else.

        Args:
            tables: the columns of each, by its file.
        """
        self._tables = {file: (columns, []) for file, columns in tables.items()}
        if self.out is None or not tables:
            return
        if self._file:
            raise UsageError(
                f"out={str(self.out)!r}: is one file, and {', '.join(tables)} is written besides; name a folder."
            )
        self._check_free([self.out / file for file in tables])

    def keep(
        self, rows: Sequence[dict[str, Any]], titles: Sequence[Mapping[str, str]] | None = None
    ) -> list[dict[str, Any]]:
        """Write the pictures and files in these rows, and return the rows with the files' names in their place.

        Args:
            rows: the rows of a task's predictions.
            titles: the names of their files by form, made by `answer_names` for all rows together and checked, "" for the
                answer's own; by default for these.
        """
        if self.out is None:
            return [{key: value for key, value in row.items() if key not in _TILE} for row in rows]
        if not self._file and any("tile" in row for row in rows) and not self._tiles:
            self._check_free([self.out / _SHEET])
        if titles is None:
            own = answer_names([row["name"] for row in rows], [row.get("suffix", ".png") for row in rows])
            payloads = [title for row, title in zip(rows, own, strict=True) if "picture" in row or "content" in row]
            self.check(len(payloads), payloads)
            titles = [{"": title} for title in own]
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
        for name, (columns, own) in self._tables.items():
            with write_atomically(self.out / name) as draft:
                write_csv(draft, own, columns)
                self._ledger.note(self.out / name, draft)
        if self._tiles and not self._file:
            titled = {f"{group}: {self._groups[group]:,}": tiles for group, tiles in self._tiles.items()}
            self._filed(contact_sheet(titled), self.out / _SHEET)
        path = self._table(self.out)
        if self._file and (
            any("picture" in row or "file" in row for row in rows) or all("error" in row for row in rows)
        ):
            return
        if path.suffix.lower() not in (".json", ".csv"):
            raise UsageError(
                f"out={str(self.out)!r}: is a file, but these predictions are a table; give .json or .csv, or a folder."
            )
        if path.suffix.lower() == ".json":
            with write_atomically(path) as draft:
                write_json(draft, rows)
                self._ledger.note(path, draft)
            return
        tables = {path: [{key: value for key, value in row.items() if key not in self.listed} for row in rows]}
        for name in self.listed:  # each item of a list is a row, with the name of the image that it is of
            tables[self._beside(path, name)] = [
                {"name": row["name"], "number": k, **item}
                for row in rows
                for k, item in enumerate(row.get(name, ()), 1)
            ] or [{"name": "", "number": ""}]
        for place, lines in tables.items():
            with write_atomically(place) as draft:
                write_csv(draft, [flat(line) for line in lines])
                self._ledger.note(place, draft)

    def write(self, name: str, value: list[Any]) -> None:
        """Write JSON to a further file in the folder."""
        assert self.out is not None
        with write_atomically(self.out / name) as draft:
            write_json(draft, value)
            self._ledger.note(self.out / name, draft)

    @contextmanager
    def folder(self, name: str) -> Iterator[Path]:
        """A new folder to write files into; at the end of the block they lie below `out/name`, and those of earlier answers are gone.

        Files that predictions did not write stay.
        """
        assert self.out is not None
        target = self.out / name
        try:
            with tempfile.TemporaryDirectory(prefix=f".{name}.", dir=self.out) as temporary:
                draft = Path(temporary) / name
                draft.mkdir()
                yield draft
                files = sorted(file.relative_to(draft) for file in draft.rglob("*") if file.is_file())
                self._check_free([target / file for file in files])
                for old in self._ledger.below(target):
                    if old.relative_to(target) not in files and self._ledger.owns(old):
                        old.unlink()
                for file in files:
                    (target / file).parent.mkdir(parents=True, exist_ok=True)
                    self._ledger.note(target / file, draft / file)
                    os.replace(draft / file, target / file)
        except OSError as fault:
            raise UsageError(
                f"out={str(target)!r}: cannot be written ({fault.strerror or fault}); free some space, or name another folder."
            ) from fault

    def _check_folder(self, name: str) -> None:
        """Refuse answers as a folder where there is no place for one, or where something lies that predictions did not write."""
        if self.out is None or self._file:
            given = "out=None: there" if self.out is None else f"out={str(self.out)!r}: is one file, and there"
            raise UsageError(f"{given} will be a folder {name!r} of files; give --out with a folder.")
        target = self.out / name
        if os.path.lexists(target) and (target.is_symlink() or not target.is_dir()):
            raise UsageError(f"out={str(self.out)!r}: {name} is there and is no folder; name another place.")
        self._check_free([path for path in target.rglob("*") if not path.is_dir()] if target.is_dir() else [])

    def _beside(self, table: Path, name: str) -> Path:
        """The table of a listed entry."""
        return table.with_name(f"{table.stem}-{name}.csv" if self._file else f"{name}.csv")

    def _table(self, out: Path) -> Path:
        return out if self._file else out / f"predictions.{self.format}"

    def _kept(self, row: dict[str, Any], titles: Mapping[str, str]) -> dict[str, Any]:
        assert self.out is not None
        entries = {key: value for key, value in row.items() if key not in _PAYLOADS}
        for file, rows in row.get("tables", {}).items():
            self._tables[file][1].extend(rows)
        if "group" in row:
            self._groups[row["group"]] += 1
        if "tile" in row and self.lacks(row["group"]):
            self._tiles.setdefault(row["group"], []).append(row["tile"])
        path = self.out if self._file else self.out / titles[""]
        if "content" in row and self.takes_pictures:
            entries["file"] = self._filed(row["content"], path)
        elif "picture" in row:
            _save(row["picture"], path, self._ledger)
            entries["picture"] = str(path)
        if "files" in row and self.takes_pictures:
            entries["files"] = {
                form: self._filed(content, self.out / titles[form]) for form, content in row["files"].items()
            }
        return entries

    def _filed(self, content: bytes, path: Path) -> str:
        """Write a file, and return its path."""
        with write_atomically(path) as draft:
            draft.write_bytes(content)
            self._ledger.note(path, draft)
        return str(path)

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
                draft.write_bytes(in_16_bits(picture, path))
            else:
                Image.fromarray(picture[0] if picture.shape[0] == 1 else picture.transpose(1, 2, 0)).save(draft)
        except (ValueError, KeyError):
            raise UsageError(f"out={str(path)!r}: is not a format for pictures; give .png.") from None
        ledger.note(path, draft)


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


def flat(row: Mapping[str, Any]) -> dict[str, Any]:
    """Columns of what lies within: {"points": {"tip": {"x": 1}}} becomes "points.tip.x".

    >>> flat({"name": "a", "points": {"tip": {"x": 1, "y": 2}}})
    {'name': 'a', 'points.tip.x': 1, 'points.tip.y': 2}
    """
    columns: dict[str, Any] = {}
    for name, value in row.items():
        if isinstance(value, Mapping):
            columns |= {f"{name}.{key}": item for key, item in flat(value).items()}
        else:
            columns[name] = value
    return columns
