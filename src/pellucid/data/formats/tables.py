# SPDX-License-Identifier: Apache-2.0
"""Hugging Face's image folder with a metadata table."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path

from pellucid.data.annotations.mask_columns import with_masks
from pellucid.data.annotations.mending import Mended
from pellucid.data.dataset import Dataset, Split
from pellucid.data.decoding import Source
from pellucid.data.formats.finding import readable
from pellucid.data.formats.objects import NOTE, doubts
from pellucid.data.formats.rows import (
    KNOWN,
    Row,
    check_same,
    class_names,
    has,
    read_table,
    row_objects,
    row_targets,
    short,
    unread_columns,
)
from pellucid.data.problems import counted, few
from pellucid.data.splitting import SPLITS, finish
from pellucid.errors import DataError
from pellucid.files import as_text

__all__ = ["METADATA", "open_table"]

METADATA = ("metadata.csv", "metadata.tsv", "metadata.jsonl", "metadata.parquet")


# -- imagefolder: https://huggingface.co/docs/datasets/image_dataset#imagefolder


def open_table(
    path: Path,
    tops: Mapping[str, Path],
    tables: Mapping[str, Path],
    images: Mapping[str, Sequence[str]],
    problems: Sequence[str] = (),
    name: str = "",
) -> Dataset:
    """Folders with a table each, which has a `file_name` column and one row per image.

    Other columns become targets: `label`; `objects` with `bbox` (x, y, width, height in px) and `category`;
    `mask_file_name` (class numbers, 255 is void); `points` (x, y pairs in px); `text`. A `split` column takes precedence
    over the folders; a table above folders of splits takes these.

    Args:
        path: the dataset's folder.
        tops: the folder of each split.
        tables: the table of each split.
        images: the images below each split's folder.
        problems: what is known already.
        name: the dataset's name, by default its path.

    Raises:
        DataError: a row names a missing file, lacks a value that others have, or has a mask of another size.
    """
    by_split: dict[str, list[tuple[Path, Row]]] = {}
    masks: dict[Path, Path] = {}  # image -> mask
    problems, name = list(problems), name or str(path)
    for part, table in tables.items():
        read = read_table(table)
        columns = dict.fromkeys(column for row in read for column in row)
        problems += unread_columns([column for column in columns if column and column not in KNOWN], table.name)
        files: Counter[Path] = Counter()
        for i, row in enumerate(read, 1):
            above = str(row.get("file_name")).replace("\\", "/").partition("/")[0]  # one table above folders of splits
            default = above if table.parent == path and above.lower() in SPLITS else part
            word = str(row["split"] if has(row, "split") else default).strip().lower()
            if word not in SPLITS:
                raise DataError(f"data={str(table)!r}: has split={word!r} in row {i}; write train, val or test.")
            file = _beside(table, i, row, "file_name")
            files[file] += 1
            by_split.setdefault(SPLITS[word], []).append((file, row))
            if has(row, "mask_file_name"):
                masks[file] = _beside(table, i, row, "mask_file_name")
        named = {file.resolve() for own in by_split.values() for file, _ in own} | {
            file.resolve() for file in masks.values()
        }
        if again := [one for one, n in files.items() if n > 1]:
            verb = "is named by several rows" if len(again) == 1 else "are named by several rows"
            titles = [_title(one, path) for one in again]
            problems.append(f"{counted(len(again))} {verb} of {table.name} and counted for each ({few(titles)}).")
        folders = sorted({one.partition("/")[0] for one in images[part] if "/" in one})
        if len(folders) > 1 and not {"label", "mask_file_name", "objects"} & set(columns):
            problems.append(f"{table.name} has no column label: the folders {few(folders)} are not read as classes.")
        below = [tops[part] / one for one in images[part]]
        left = [file.relative_to(path).as_posix() for file in below if file.resolve() not in named]
        if left:
            verb = "has no row in" if len(left) == 1 else "have no row in"
            problems.append(
                f"{counted(len(left))} {verb} {table.name} and {'is' if len(left) == 1 else 'are'} ignored ({few(left)})."
            )
    if "train" not in by_split:
        raise DataError(f"data={name!r}: no row belongs to train; give images to train on.")
    names = {part: [_title(file, path) for file, _ in own] for part, own in by_split.items()}
    every = [row for own in by_split.values() for _, row in own]
    classes = class_names(every, [one for own in names.values() for one in own], name)
    splits: dict[str, Split] = {}
    sources: dict[str, list[Source]] = {}
    mended = Mended()
    for part, own in by_split.items():
        good, decoded, unreadable = readable([file for file, _ in own], names[part])
        problems += unreadable
        rows, titles = [own[i][1] for i in good], [names[part][i] for i in good]
        records, boxes = row_objects(rows, titles, decoded.sizes, classes, part, name, mended)
        splits[part] = Split(decoded, {**row_targets(rows, titles, classes, name), **boxes}, titles, records)
        if any(own[i][0] in masks for i in good):
            check_same(titles, [own[i][0] in masks for i in good], "mask_file_name", name)
            sources[part] = [masks[own[i][0]] for i in good]
    notes = [NOTE] if any(split.annotations for split in splits.values()) else []
    splits, mask_classes, said = with_masks(splits, sources, name)
    return finish(
        name,
        splits,
        classes,
        [*problems, *mended.sentences, *doubts(mended)],
        mask_classes=mask_classes,
        notes=[*notes, *said],
    )


def _title(file: Path, path: Path) -> str:
    return as_text(file.relative_to(path).as_posix() if file.is_relative_to(path) else str(file))


def _beside(table: Path, i: int, row: Row, column: str) -> Path:
    """The file that a row names, relative to its table."""
    if not has(row, column):
        raise DataError(f"data={str(table)!r}: has no {column} in row {i}; name each image's file in that column.")
    text = str(row[column]).strip()
    for named in (text, text.replace("\\", "/")):  # tables written on Windows have backslashes
        file = table.parent / named
        try:
            if file.is_file():
                return file
        except (OSError, ValueError):  # too long for a name, or a null byte
            break
    raise DataError(
        f"data={str(table)!r}: names {short(text)} in row {i}, which does not exist; correct or remove the row."
    )
