# SPDX-License-Identifier: Apache-2.0
"""Answers as files: pictures, other files and a table of them in a folder, or one file under the name that was asked for."""

from __future__ import annotations

import csv
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, final

import numpy as np
from numpy.typing import NDArray

from pellucid.errors import UsageError
from pellucid.files import make_folder, write_atomically, write_json

__all__ = ["Answers", "picture_names"]

_PAYLOADS = ("picture", "content", "suffix")  # what a row holds besides what stands in the table


@final
class Answers:
    """Where answers go; made before the work, so that a place that cannot be written to is known at once.

    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     row = {"name": "a.jpg", "picture": np.zeros((1, 4, 4), np.uint8)}
    ...     kept = Answers(Path(folder), "json", []).keep([row])
    ...     print(Path(kept[0]["picture"]).name, *sorted(path.name for path in Path(folder).iterdir()))
    a.png a.png

    Args:
        out: a folder, or the file that a single answer is written to; None keeps nothing.
        format: of the table in the folder.
        sources: the images' own files, which no answer may replace.
    """

    def __init__(self, out: Path | None, format: Literal["json", "csv"], sources: Iterable[Any]) -> None:
        self.out, self.format = out, format
        self._sources = {Path(source).resolve() for source in sources if isinstance(source, (str, Path))}
        # a name with an ending is a file's, unless such a folder is there
        self._file = out is not None and bool(out.suffix) and not out.is_dir()
        if out is not None:
            make_folder(out.parent if self._file else out)

    def keep(self, rows: Sequence[dict[str, Any]], titles: Sequence[str] | None = None) -> list[dict[str, Any]]:
        """Write what these rows hold; each comes back with its file's name in the place of what was in it.

        Args:
            rows: of `Task.write` or `Task.respond`.
            titles: the pictures' file names, as `picture_names` gives them for all rows together; by default for these.
        """
        if self.out is None:
            return list(rows)
        titles = picture_names([row["name"] for row in rows]) if titles is None else titles
        return [self._kept(row, title) for row, title in zip(rows, titles, strict=True)]

    def finish(self, rows: list[dict[str, Any]]) -> None:
        """Write all rows as predictions.json or predictions.csv, or as the .json or .csv file that was asked for."""
        if self.out is None:
            return
        path, format = self.out / f"predictions.{self.format}", str(self.format)
        if self._file:
            path, format = self.out, self.out.suffix[1:].lower()
            if any("picture" in row or "file" in row for row in rows):
                return
            if format not in ("json", "csv"):
                raise UsageError(
                    f"out={str(self.out)!r}: is the name of a file, and these answers are a table; give .json or .csv, or a folder."
                )
        if format == "json":
            write_json(path, rows)
            return
        flat = [_flatten(row) for row in rows]
        with write_atomically(path) as draft, draft.open("w", newline="", encoding="utf-8") as file:
            table = csv.DictWriter(file, fieldnames=list(dict.fromkeys(name for row in flat for name in row)))
            table.writeheader()
            table.writerows(flat)

    def check(self, answers: int) -> None:
        """Refuse a single file for several pictures, before they are made."""
        if self._file and answers > 1:
            raise UsageError(f"out={str(self.out)!r}: is one file for {answers:,} answers; name a folder.")

    def _kept(self, row: dict[str, Any], title: str) -> dict[str, Any]:
        assert self.out is not None
        told = {key: value for key, value in row.items() if key not in _PAYLOADS}
        if "content" in row:
            path = self.out if self._file else self.out / Path(title).with_suffix(row["suffix"])
            self._spare(path)
            with write_atomically(path) as draft:
                draft.write_bytes(row["content"])
            return {**told, "file": str(path)}
        if "picture" in row:
            path = self.out if self._file else self.out / title
            self._spare(path)
            _save(row["picture"], path)
            return {**told, "picture": str(path)}
        return told

    def _spare(self, path: Path) -> None:
        if path.resolve() in self._sources:
            raise UsageError(
                f"out={str(self.out)!r}: an answer would replace the image {path.name}; name another folder."
            )


def _save(picture: NDArray[np.uint8], path: Path) -> None:
    """(C, H, W) in the format that the name says."""
    from PIL import Image

    with write_atomically(path) as draft:
        try:
            Image.fromarray(picture[0] if picture.shape[0] == 1 else picture.transpose(1, 2, 0)).save(draft)
        except (ValueError, KeyError):
            raise UsageError(f"out={str(path)!r}: is no format that pictures are written in; give .png.") from None


def picture_names(names: Sequence[str]) -> list[str]:
    """Each image's name as that of a PNG; where two would be one (a.jpg, a.tif), the old ending stays (a.jpg.png)."""
    plain = [str(Path(name).with_suffix(".png")) for name in names]
    count = Counter(plain)
    return [short if count[short] == 1 else f"{name}.png" for name, short in zip(names, plain, strict=True)]


def _flatten(row: Mapping[str, Any]) -> dict[str, Any]:
    """One level of columns: {"probabilities": {"a": 1}} becomes "probabilities.a"."""
    flat: dict[str, Any] = {}
    for name, value in row.items():
        flat |= {f"{name}.{key}": item for key, item in value.items()} if isinstance(value, Mapping) else {name: value}
    return flat
