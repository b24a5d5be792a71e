# SPDX-License-Identifier: Apache-2.0
"""Predictions as files: pictures, other files and a table of them in a folder, or a single file."""

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

_PAYLOADS = ("picture", "content", "suffix")  # entries of a row that are not in the table


@final
class Answers:
    """Writes predictions to a folder or file, which is checked before the work begins.

    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     row = {"name": "a.jpg", "picture": np.zeros((1, 4, 4), np.uint8)}
    ...     kept = Answers(Path(folder), "json", []).keep([row])
    ...     print(Path(kept[0]["picture"]).name, *sorted(path.name for path in Path(folder).iterdir()))
    a.png a.png

    Args:
        out: a folder, or a file for a single prediction; None writes nothing.
        format: the format of the table in the folder.
        sources: the files of the images, which no prediction may overwrite.
    """

    def __init__(self, out: Path | None, format: Literal["json", "csv"], sources: Iterable[Any]) -> None:
        self.out, self.format = out, format
        self._sources = {Path(source).resolve() for source in sources if isinstance(source, (str, Path))}
        # a name with an ending is a file, unless a folder of that name exists
        self._file = out is not None and bool(out.suffix) and not out.is_dir()
        if out is not None:
            make_folder(out.parent if self._file else out)

    def keep(self, rows: Sequence[dict[str, Any]], titles: Sequence[str] | None = None) -> list[dict[str, Any]]:
        """Write the pictures and files in these rows, and return the rows with the files' names in their place.

        Args:
            rows: the rows of a task's predictions.
            titles: the pictures' file names, made by `picture_names` for all rows together; by default for these rows.
        """
        if self.out is None:
            return list(rows)
        titles = picture_names([row["name"] for row in rows]) if titles is None else titles
        return [self._kept(row, title) for row, title in zip(rows, titles, strict=True)]

    def finish(self, rows: list[dict[str, Any]]) -> None:
        """Write all rows to predictions.json or predictions.csv, or to the given .json or .csv file."""
        if self.out is None:
            return
        path, format = self.out / f"predictions.{self.format}", str(self.format)
        if self._file:
            path, format = self.out, self.out.suffix[1:].lower()
            if any("picture" in row or "file" in row for row in rows):
                return
            if format not in ("json", "csv"):
                raise UsageError(
                    f"out={str(self.out)!r}: is a file, but these predictions are a table; give .json or .csv, or a folder."
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
        """Refuse a single file for several pictures, before they are computed."""
        if self._file and answers > 1:
            raise UsageError(f"out={str(self.out)!r}: is one file for {answers:,} predictions; name a folder.")

    def _kept(self, row: dict[str, Any], title: str) -> dict[str, Any]:
        assert self.out is not None
        entries = {key: value for key, value in row.items() if key not in _PAYLOADS}
        if "content" in row:
            path = self.out if self._file else self.out / Path(title).with_suffix(row["suffix"])
            self._spare(path)
            with write_atomically(path) as draft:
                draft.write_bytes(row["content"])
            return {**entries, "file": str(path)}
        if "picture" in row:
            path = self.out if self._file else self.out / title
            self._spare(path)
            _save(row["picture"], path)
            return {**entries, "picture": str(path)}
        return entries

    def _spare(self, path: Path) -> None:
        if path.resolve() in self._sources:
            raise UsageError(
                f"out={str(self.out)!r}: a prediction would overwrite the image {path.name}; name another folder."
            )


def _save(picture: NDArray[np.uint8], path: Path) -> None:
    """Write a picture (C, H, W) in the format of the file's ending."""
    from PIL import Image

    with write_atomically(path) as draft:
        try:
            Image.fromarray(picture[0] if picture.shape[0] == 1 else picture.transpose(1, 2, 0)).save(draft)
        except (ValueError, KeyError):
            raise UsageError(f"out={str(path)!r}: is not a format for pictures; give .png.") from None


def picture_names(names: Sequence[str]) -> list[str]:
    """The name of each image's PNG; if two would collide (a.jpg, a.tif), the old ending is kept (a.jpg.png)."""
    plain = [str(Path(name).with_suffix(".png")) for name in names]
    count = Counter(plain)
    return [short if count[short] == 1 else f"{name}.png" for name, short in zip(names, plain, strict=True)]


def _flatten(row: Mapping[str, Any]) -> dict[str, Any]:
    """One level of columns: {"probabilities": {"a": 1}} becomes "probabilities.a"."""
    flat: dict[str, Any] = {}
    for name, value in row.items():
        flat |= {f"{name}.{key}": item for key, item in value.items()} if isinstance(value, Mapping) else {name: value}
    return flat
