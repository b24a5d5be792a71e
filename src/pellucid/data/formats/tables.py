# SPDX-License-Identifier: Apache-2.0
"""Targets from the rows of a table: Hugging Face's image folder with a metadata table, and rows of parquet files."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from pellucid.data.dataset import Dataset, Images, Split
from pellucid.data.decoding import Source, fault_sentence
from pellucid.data.formats.arrays import to_classes
from pellucid.data.formats.finding import images_below, readable
from pellucid.data.splitting import SPLITS, finish, order
from pellucid.data.targets import Boxes, Label, Mask, Points, Target, Text
from pellucid.errors import DataError

__all__ = ["METADATA", "class_names", "open_table", "read_masks", "row_targets", "with_masks"]

METADATA = ("metadata.csv", "metadata.jsonl", "metadata.parquet")
Row = Mapping[str, Any]


# -- imagefolder: https://huggingface.co/docs/datasets/image_dataset#imagefolder


def open_table(path: Path, tops: Mapping[str, Path], tables: Mapping[str, Path]) -> Dataset:
    """Folders with a table each, which has a `file_name` column and one row per image.

    Other columns become targets: `label`; `objects` with `bbox` (x, y, width, height in px) and `category`;
    `mask_file_name` (class numbers, 255 is void); `points` (x, y pairs in px); `text`. A `split` column takes precedence
    over the folders.

    Args:
        path: the dataset's folder.
        tops: the folder of each split.
        tables: the table of each split.

    Raises:
        DataError: a row names a missing file, lacks a value that others have, or has a mask of another size.
    """
    by_split: dict[str, list[tuple[Path, Row]]] = {}
    masks: dict[Path, Path] = {}  # image -> mask
    problems = []
    for part, table in tables.items():
        for row in _read(table):
            word = str(row.get("split") or part).lower()
            if word not in SPLITS:
                raise DataError(f"data={str(table)!r}: has split={word!r}; write train, val or test.")
            file = _beside(table, row, "file_name")
            by_split.setdefault(SPLITS[word], []).append((file, row))
            if _has(row, "mask_file_name"):
                masks[file] = _beside(table, row, "mask_file_name")
        named = {file.resolve() for own in by_split.values() for file, _ in own} | {
            file.resolve() for file in masks.values()
        }
        below = [tops[part] / name for name in images_below(tops[part])]
        left = [file.relative_to(path).as_posix() for file in below if file.resolve() not in named]
        if left:
            more = ", …" if len(left) > 3 else ""
            problems.append(
                f"{len(left):,} images have no row in {table.name} and are ignored ({', '.join(left[:3])}{more})."
            )
    if "train" not in by_split:
        raise DataError(f"data={str(path)!r}: no row belongs to train; give images to train on.")
    classes = class_names([row for own in by_split.values() for _, row in own])
    splits: dict[str, Split] = {}
    arrays: dict[str, NDArray[np.uint8]] = {}
    for part, own in by_split.items():
        titles = [file.relative_to(path).as_posix() if file.is_relative_to(path) else str(file) for file, _ in own]
        good, images, unreadable = readable([file for file, _ in own], titles)
        problems += unreadable
        rows, names = [own[i][1] for i in good], [titles[i] for i in good]
        splits[part] = Split(images, row_targets(rows, names, classes, str(path)), names)
        if any(own[i][0] in masks for i in good):
            _same(names, [own[i][0] in masks for i in good], "mask_file_name", str(path))
            arrays[part] = read_masks([masks[own[i][0]] for i in good], images, str(path))
    return finish(str(path), with_masks(splits, arrays, str(path)), classes, problems)


def _read(table: Path) -> list[Row]:
    """The rows of a table as dictionaries."""
    try:
        if table.suffix == ".parquet":
            import pyarrow.parquet as pq

            rows: list[Row] = pq.read_table(table).to_pylist()
        elif table.suffix == ".jsonl":
            rows = [json.loads(line) for line in table.read_text(encoding="utf-8").splitlines() if line.strip()]
        else:
            with table.open(encoding="utf-8-sig", newline="") as stream:
                rows = list(csv.DictReader(stream))
        if not all(isinstance(row, dict) for row in rows):
            raise ValueError("a line is not a JSON object")
    except Exception as fault:  # whatever the format's parser raises
        reason = str(fault).splitlines()[0].rstrip(".")
        raise DataError(f"data={str(table)!r}: cannot be read ({reason}); correct the table.") from fault
    if not rows:
        raise DataError(f"data={str(table)!r}: has no rows; add one per image.")
    return rows


def _beside(table: Path, row: Row, column: str) -> Path:
    """The file that a row names, relative to its table."""
    if not _has(row, column):
        raise DataError(f"data={str(table)!r}: has a row without {column}; name each image's file in that column.")
    file = table.parent / str(row[column])
    if not file.is_file():
        raise DataError(f"data={str(table)!r}: names {row[column]!r}, which does not exist; correct or remove the row.")
    return file


# -- rows to targets


def class_names(rows: Sequence[Row]) -> tuple[str, ...]:
    """The class names that occur in the labels and boxes of rows, in natural order.

    >>> class_names([{"label": 10}, {"label": 2}, {"objects": {"bbox": [[0, 0, 1, 1]], "category": ["cell"]}}])
    ('2', '10', 'cell')
    """
    used = {_text(row["label"]) for row in rows if _has(row, "label")}
    for row in rows:
        if _has(row, "objects"):
            used.update(_objects(row["objects"])[1])
    unique = sorted(used)
    return tuple(unique[i] for i in order(unique))


def row_targets(rows: Sequence[Row], names: Sequence[str], classes: Sequence[str], where: str) -> dict[str, Target]:
    """The targets in the columns label, objects, points and text.

    Args:
        rows: one per image.
        names: the images' names, for errors.
        classes: the names of all classes; a target holds their positions.
        where: the dataset's name, for errors.

    Raises:
        DataError: a row lacks a value that others have, or has one that cannot be parsed; the sentence names it.
    """
    targets: dict[str, Target] = {}
    place = {name: i for i, name in enumerate(classes)}
    for column in ("label", "points", "text"):
        filled = [_has(row, column) for row in rows]
        if any(filled):
            _same(names, filled, column, where)
            values = [row[column] for row in rows]
            if column == "label":
                targets["label"] = Label(torch.tensor([place[_text(value)] for value in values], dtype=torch.int64))
            elif column == "points":
                targets["points"] = _points(values, names, where)
            else:
                targets["text"] = Text([str(value) for value in values])
    if any(_has(row, "objects") for row in rows):
        corners: list[Tensor] = []
        labels: list[Tensor] = []
        for row, name in zip(rows, names, strict=True):
            try:
                boxes, titles = _objects(row["objects"]) if _has(row, "objects") else ([], [])
                box = torch.tensor(np.array(boxes, np.float32).reshape(len(boxes), 4))
                if len(titles) != len(boxes) or not bool((box[:, 2:] >= 0).all()):
                    raise ValueError("each box needs a category and a size that is not negative")
            except (ValueError, TypeError, KeyError) as fault:
                raise DataError(
                    f"data={where!r}: objects of {name!r} cannot be parsed ({fault}); give bbox as [x, y, width, height] "
                    "lists in px and as many names in category."
                ) from fault
            corners.append(torch.cat([box[:, :2], box[:, :2] + box[:, 2:]], 1))  # x, y, w, h -> x0, y0, x1, y1
            labels.append(torch.tensor([place[title] for title in titles], dtype=torch.int64))
        targets["boxes"] = Boxes(corners, labels)
    return targets


def _objects(cell: Any) -> tuple[list[Any], list[str]]:
    """Boxes and their categories: a dictionary of lists, a list of dictionaries, or either as JSON text."""
    objects = json.loads(cell) if isinstance(cell, str) else cell
    if isinstance(objects, list):
        objects = {key: [one[key] for one in objects] for key in (objects[0] if objects else ())}
    boxes = objects.get("bbox", objects.get("bboxes", []))
    titles = next((objects[key] for key in ("category", "categories", "category_id", "label") if key in objects), None)
    return list(boxes), [_text(title) for title in (["object"] * len(boxes) if titles is None else titles)]


def _points(cells: Sequence[Any], names: Sequence[str], where: str) -> Points:
    """The (x, y) pairs of each image; null where a point is not visible."""
    rows = []
    for cell, name in zip(cells, names, strict=True):
        try:
            values = np.array(json.loads(cell) if isinstance(cell, str) else cell, np.float32)
            rows.append(torch.tensor(values.reshape(-1, 2)))
        except (ValueError, TypeError) as fault:
            raise DataError(f"data={where!r}: points of {name!r} cannot be parsed; give [[x, y], …] in px.") from fault
        if len(rows[-1]) != len(rows[0]):
            raise DataError(
                f"data={where!r}: {name!r} has {len(rows[-1])} points, {names[0]!r} {len(rows[0])}; give all the same number."
            )
    return Points(torch.stack(rows))


def _has(row: Row, column: str) -> bool:
    value = row.get(column)
    return value is not None and value != "" and not (isinstance(value, float) and np.isnan(value))


def _same(names: Sequence[str], filled: Sequence[bool], column: str, where: str) -> None:
    if not all(filled):
        raise DataError(
            f"data={where!r}: the row of {names[list(filled).index(False)]!r} has no {column}; fill it in, or remove the column."
        )


def _text(value: Any) -> str:
    """A label as text: whole numbers without a decimal point, whatever their type."""
    return str(int(value)) if isinstance(value, float) and value.is_integer() else str(value)


# -- masks


def read_masks(sources: Sequence[Source], images: Images, where: str) -> NDArray[np.uint8]:
    """Mask files as class numbers (N, H, W): the grey values, palette indices, or 0 and 1 in the file.

    Raises:
        DataError: a mask cannot be read, is in colour, or differs in size from its image.
    """
    masks = []
    for i, source in enumerate(sources):
        name = source.name if isinstance(source, Path) else f"mask {i}"
        mask = _read_mask(source, name)
        height, width = (int(v) for v in images.sizes[i])
        if mask.shape != (height, width):
            raise DataError(
                f"mask={name!r}: is {mask.shape[0]}×{mask.shape[1]} px, its image {height}×{width}; "
                "give a mask of the image's size."
            )
        masks.append(mask)
    if len({mask.shape for mask in masks}) > 1:
        raise DataError(f"data={where!r}: has masks of different sizes; resize images and masks to one size first.")
    return np.stack(masks)


def _read_mask(source: Source, name: str) -> NDArray[np.uint8]:
    from PIL import Image

    try:
        with Image.open(io.BytesIO(source) if isinstance(source, bytes) else source) as picture:
            mask = np.asarray(picture)  # a palette's indices are the classes, not its colours
    except Exception as fault:
        raise DataError(fault_sentence(source, name, fault)) from fault
    if mask.ndim == 3 and (mask[..., :3] == mask[..., :1]).all():
        mask = mask[..., 0]
    if mask.ndim != 2 or mask.dtype.kind == "f" or mask.max(initial=0) > 255:
        raise DataError(f"mask={name!r}: is not a picture of class numbers; give a grey or palette PNG, 0 to 255.")
    return mask.astype(np.uint8)


def with_masks(splits: Mapping[str, Split], masks: Mapping[str, NDArray[Any]], where: str) -> dict[str, Split]:
    """The splits with their masks (N, H, W) as targets."""
    as_targets = {part: Mask(torch.from_numpy(array)) for part, array in to_classes(masks, where).items()}
    return {
        part: Split(
            own.images, {**own.targets, "mask": as_targets[part]} if part in as_targets else own.targets, own.names
        )
        for part, own in splits.items()
    }
