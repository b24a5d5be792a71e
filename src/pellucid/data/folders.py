# SPDX-License-Identifier: Apache-2.0
"""Folders of image files: class subfolders, splits above them, plain images, and Hugging Face's imagefolder with metadata."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from pellucid.data.dataset import Dataset, Images, Split
from pellucid.data.decoding import SUFFIXES, Files, Scan, decode, scan
from pellucid.data.splitting import finish, order
from pellucid.data.targets import Boxes, Label, Mask, Points, Target, Text
from pellucid.errors import DataError

__all__ = ["SPLITS", "labelled", "open_folder", "open_metadata", "table_targets"]

SPLITS = {
    "train": "train", "training": "train", "val": "val", "valid": "val", "validation": "val", "dev": "val",
    "test": "test", "testing": "test", "eval": "test",
}  # fmt: skip
"""Folder names that are taken for splits."""

METADATA = ("metadata.csv", "metadata.jsonl", "metadata.parquet")


def open_folder(path: Path) -> Dataset:
    """A folder of images, read by its shape.

    Folders named train, val and test (and their usual synonyms) are splits; below them, or at the top, each folder that
    holds images is a class; images that lie loose have no label.

    Raises:
        DataError: no image is there, there is one class only, or a class of val or test is not in train.
    """
    parts = {
        SPLITS[sub.name.lower()]: sub for sub in sorted(path.iterdir()) if sub.is_dir() and sub.name.lower() in SPLITS
    }
    if parts and "train" not in parts:
        raise DataError(f"data={str(path)!r}: has {', '.join(sorted(parts))} but no train; add a folder train.")
    tops = parts or {"train": path}
    metadata = {part: found for part, top in tops.items() if (found := _metadata(top)) is not None}
    if metadata:
        return open_metadata(path, tops, metadata)
    listed = {part: _listing(top) for part, top in tops.items()}
    if not any(listed.values()):
        raise DataError(f"data={str(path)!r}: holds no image; give a folder with {', '.join(sorted(SUFFIXES))} files.")
    names = {part: _classes(files, tops[part]) for part, files in listed.items()}
    labels = sorted({label for part in names.values() for label in part if label is not None})
    beside = ""
    loose = any(label is None for part in names.values() for label in part)
    if labels and loose:  # a folder of pictures that happens to have folders in it
        beside = f"Images lie beside the folders {', '.join(labels[:3])}: all are read without labels."
        labels, names = [], {part: [None] * len(files) for part, files in listed.items()}
    if len(labels) == 1:
        raise DataError(
            f"data={str(path)!r}: has a single class, {labels[0]!r}; give a folder for each of two or more classes."
        )
    classes = tuple(labels[i] for i in order(labels))
    for part in ("val", "test"):
        strange = sorted({str(label) for label in set(names.get(part, [])) - set(names["train"])}) if classes else []
        if strange:
            raise DataError(
                f"data={str(path)!r}: class {strange[0]!r} of {part} is not in train; add it there, or take it away."
            )
    splits, problems = {}, [beside] if beside else []
    for part, files in listed.items():
        titles = [file.relative_to(path).as_posix() for file in files]
        good, images, told = readable(files, titles)
        targets: dict[str, Target] = {}
        if classes:
            targets["label"] = Label(
                torch.tensor([classes.index(str(names[part][i])) for i in good], dtype=torch.int64)
            )
        splits[part] = Split(images, targets, [titles[i] for i in good])
        problems += told
    if not any(len(split) for split in splits.values()):
        raise DataError(f"data={str(path)!r}: holds no image that can be read; the first: {problems[0]}")
    return finish(str(path), splits, classes, problems)


def readable(
    sources: Sequence[Path | bytes], titles: Sequence[str], container: Path | None = None
) -> tuple[list[int], Files, list[str]]:
    """Positions of the files that are images, these as images, and a sentence for each of the others."""
    found = scan(sources, titles, container=container)
    good = [i for i in range(len(sources)) if i not in found.problems]
    kept = Scan(found.sizes[good], found.channels[good], [found.digests[i] for i in good], {})
    images = Files([sources[i] for i in good], [titles[i] for i in good], kept)
    return good, images, list(found.problems.values())


def labelled(names: Sequence[str], where: str) -> tuple[Label, tuple[str, ...]]:
    """Labels from class names, in natural order of the names.

    Raises:
        DataError: there is one class only.
    """
    unique = sorted(set(names))
    if len(unique) < 2:
        raise DataError(f"data={where!r}: has a single class, {unique[0]!r}; give two or more classes.")
    classes = tuple(unique[i] for i in order(unique))
    place = {name: i for i, name in enumerate(classes)}
    return Label(torch.tensor([place[name] for name in names], dtype=torch.int64)), classes


def _listing(top: Path) -> list[Path]:
    files = [f for f in top.rglob("*") if f.suffix.lower() in SUFFIXES and not f.name.startswith(".") and f.is_file()]
    titles = [file.relative_to(top).as_posix() for file in files]
    return [files[i] for i in order(titles)]


def _classes(files: Iterable[Path], top: Path) -> list[str | None]:
    """The class of each file: the first folder below the split; None for one that lies loose."""
    found = [file.relative_to(top).parts for file in files]
    return [parts[0] if len(parts) > 1 else None for parts in found]


# -- imagefolder with metadata: one table row an image


def _metadata(top: Path) -> Path | None:
    return next((top / name for name in METADATA if (top / name).is_file()), None)


def open_metadata(path: Path, tops: Mapping[str, Path], tables: Mapping[str, Path]) -> Dataset:
    """Hugging Face's imagefolder with metadata: a table with a `file_name` column and one row an image.

    Other columns become targets: `label`; `objects` with `bbox` (x, y, width, height in px) and `category(_id)`;
    `mask_file_name`; `points` (x and y pairs in px); `text`. A `split` column overrides the folders.

    Raises:
        DataError: a row names a file that is not there, or a mask is not of its image's size.
    """
    splits: dict[str, Split] = {}
    problems: list[str] = []
    classes: tuple[str, ...] = ()
    gathered: dict[str, list[tuple[Path, dict[str, Any]]]] = {}
    for part, table in tables.items():
        for row in _rows(table):
            if "file_name" not in row:
                raise DataError(f"data={str(table)!r}: has no column file_name; name each image's file in it.")
            file = tops[part] / str(row["file_name"])
            if not file.is_file():
                raise DataError(
                    f"data={str(table)!r}: names {row['file_name']!r}, which is not there; correct or remove the row."
                )
            gathered.setdefault(SPLITS.get(str(row.get("split", part)).lower(), part), []).append((file, row))
    everything = [row for rows in gathered.values() for _, row in rows]
    lookup = class_names(everything, str(path))
    for part, rows in gathered.items():
        titles = [file.relative_to(path).as_posix() for file, _ in rows]
        good, images, told = readable([file for file, _ in rows], titles)
        problems += told
        targets, classes = table_targets([rows[i][1] for i in good], images, lookup, tops.get(part, path), str(path))
        splits[part] = Split(images, targets, [titles[i] for i in good])
    if "train" not in splits:
        raise DataError(f"data={str(path)!r}: no row belongs to train; give images to train on.")
    return finish(str(path), splits, classes, problems)


def _rows(table: Path) -> list[dict[str, Any]]:
    import pandas as pd

    try:
        if table.suffix == ".csv":
            frame = pd.read_csv(table, dtype={"file_name": str, "label": str, "text": str}, keep_default_na=False)
        elif table.suffix == ".jsonl":
            frame = pd.DataFrame(
                [json.loads(line) for line in table.read_text(encoding="utf-8").splitlines() if line.strip()]
            )
        else:
            frame = pd.read_parquet(table)
    except Exception as fault:
        raise DataError(f"data={str(table)!r}: cannot be read ({fault}); correct the table.") from fault
    return list(frame.to_dict("records"))


def class_names(rows: Sequence[Mapping[str, Any]], where: str) -> tuple[str, ...]:
    """The class names that a table's labels or boxes use, in natural order."""
    found = {str(row["label"]) for row in rows if _has(row, "label")}
    for row in rows:
        objects = _parsed(row["objects"]) if _has(row, "objects") else {}
        found |= {str(c) for c in objects.get("category", objects.get("categories", objects.get("category_id", [])))}
    unique = sorted(found)
    if rows and _has(rows[0], "label") and len(unique) < 2:
        raise DataError(f"data={where!r}: has a single class, {unique[0]!r}; give two or more classes.")
    return tuple(unique[i] for i in order(unique))


def table_targets(
    rows: Sequence[Mapping[str, Any]], images: Images, classes: tuple[str, ...], folder: Path, where: str
) -> tuple[dict[str, Target], tuple[str, ...]]:
    """The targets that a table's columns give, and the class names."""
    targets: dict[str, Target] = {}
    if not rows:
        return targets, classes
    first, place = rows[0], {name: i for i, name in enumerate(classes)}
    if _has(first, "label"):
        targets["label"] = Label(torch.tensor([place[str(row["label"])] for row in rows], dtype=torch.int64))
    if _has(first, "objects"):
        corners, labels = [], []
        for row in rows:
            objects = _parsed(row["objects"])
            box = torch.tensor(np.array(objects["bbox"], np.float32).reshape(-1, 4))
            corners.append(torch.cat([box[:, :2], box[:, :2] + box[:, 2:]], 1))  # x, y, w, h -> x0, y0, x1, y1
            named = objects.get("category", objects.get("categories", objects.get("category_id", [])))
            labels.append(torch.tensor([place[str(c)] for c in named], dtype=torch.int64))
        targets["boxes"] = Boxes(corners, labels)
    if _has(first, "mask_file_name"):
        targets["mask"] = _masks([folder / str(row["mask_file_name"]) for row in rows], images, where)
    if _has(first, "points"):
        targets["points"] = Points(
            torch.tensor(np.array([_parsed(row["points"]) for row in rows], np.float32)).view(len(rows), -1, 2)
        )
    if _has(first, "text"):
        targets["text"] = Text([str(row["text"]) for row in rows])
    return targets, classes


def _masks(files: Sequence[Path], images: Images, where: str) -> Mask:
    masks = []
    for i, file in enumerate(files):
        mask = decode(file, 1, str(file))[0]
        height, width = (int(v) for v in images.sizes[i])
        if mask.shape != (height, width):
            raise DataError(
                f"mask={file.name!r}: is {mask.shape[0]}×{mask.shape[1]} px, its image {height}×{width}; give a mask of the image's size."
            )
        masks.append(torch.from_numpy(np.array(mask)))
    if len({mask.shape for mask in masks}) > 1:
        raise DataError(f"data={where!r}: has masks of several sizes; bring images and masks to one size first.")
    return Mask(torch.stack(masks))


def _has(row: Mapping[str, Any], column: str) -> bool:
    return column in row and row[column] is not None and str(row[column]) != ""


def _parsed(value: Any) -> Any:
    """A cell that holds a list or an object, as itself or as JSON text."""
    return json.loads(value) if isinstance(value, str) else value
