# SPDX-License-Identifier: Apache-2.0
"""Parquet files and hub ids, through Hugging Face `datasets` and its cache."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, final

from pellucid.data.annotations.mask_columns import with_masks
from pellucid.data.annotations.mending import Mended
from pellucid.data.dataset import Dataset, Split
from pellucid.data.decoding import Files, Source
from pellucid.data.formats.finding import join, readable
from pellucid.data.formats.objects import NOTE, doubts, object_classes, with_names
from pellucid.data.formats.rows import class_names, reason, row_objects, row_targets, short, unread_columns
from pellucid.data.splitting import SPLITS, finish, split_word
from pellucid.errors import DataError
from pellucid.files import as_text

__all__ = ["SHORT", "open_hub", "open_parquet", "parquet_files"]

SHORT = {
    "mnist": "ylecun/mnist",
    "fashion_mnist": "zalando-datasets/fashion_mnist",
    "svhn": "ufldl-stanford/svhn",
    "cifar10": "uoft-cs/cifar10",
}
"""Short names for hub ids."""

_CONFIGS = {"ufldl-stanford/svhn": "cropped_digits"}
_LABELS = ("label", "labels", "fine_label", "class", "target", "y")
_MASKS = ("mask", "annotation", "segmentation", "label")  # if they contain pictures
_OTHERS = ("objects", "points", "text")


@final
@dataclass
class _Rows:
    """The rows of one file or split as columns, and the file that they come from."""

    columns: Mapping[str, Sequence[Any]]
    names: Mapping[str, Sequence[str]] = field(default_factory=dict)  # class names by column
    file: Path | None = None
    others: Sequence[str] = ()  # columns that mean nothing here
    objects: Sequence[str] | None = None  # the names of the categories of objects


# -- parquet


def parquet_files(folder: Path) -> dict[str, list[Path]]:
    """The parquet files of a folder or its `data` folder by split, which a word in their names tells; without one it is train."""
    files = [*folder.glob("*.parquet"), *folder.glob("data/*.parquet")]
    by_split: dict[str, list[Path]] = {}
    for file in sorted(file for file in files if file.name != "metadata.parquet"):
        by_split.setdefault(SPLITS[split_word(file.stem) or "train"], []).append(file)
    return by_split


def open_parquet(path: Path, files: Mapping[str, Sequence[Path]]) -> Dataset:
    """Parquet files with an image column in Hugging Face's format, one or more files per split.

    Raises:
        DataError: one cannot be read, or has no image column.
    """
    return _from_rows(str(path), {part: [_read(file) for file in own] for part, own in files.items()})


def _read(file: Path) -> _Rows:
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        schema = pq.read_schema(file)
        wanted = [
            one.name
            for one in schema
            if one.name in (*_LABELS, *_MASKS, *_OTHERS) or pa.types.is_struct(one.type) or pa.types.is_binary(one.type)
        ]
        table = pq.read_table(file, columns=wanted or schema.names[:1])
    except Exception as fault:
        raise DataError(f"data={str(file)!r}: cannot be read as parquet ({reason(fault)}); write it again.") from fault
    try:
        columns = {name: table[name].to_pylist() for name in table.column_names}
    except Exception as fault:  # a string that is not UTF-8, a time out of range
        raise DataError(
            f"data={str(file)!r}: has a value that cannot be read ({reason(fault)}); correct it."
        ) from fault
    others = [name for name in schema.names if name not in columns]
    names, objects = _class_labels(file, schema.metadata or {})
    return _Rows(columns, names, file, others, objects)


def _class_labels(file: Path, metadata: Mapping[bytes, bytes]) -> tuple[dict[str, list[str]], list[str] | None]:
    """The class names by column, and those of objects, that Hugging Face's metadata of a parquet file give."""
    try:
        told = json.loads(metadata.get(b"huggingface", b"{}"))
        features = told.get("info", {}).get("features", {})
        names = {name: one["names"] for name, one in features.items() if isinstance(one, dict) and "names" in one}
        if not all(isinstance(own, list) and all(isinstance(title, str) for title in own) for own in names.values()):
            raise ValueError("names of classes are not a list of texts")
        objects = object_classes(features.get("objects"))
    except (ValueError, AttributeError, RecursionError) as fault:
        raise DataError(
            f"data={str(file)!r}: its metadata, in which Hugging Face keeps class names, cannot be read ({reason(fault)}); "
            "write the file again."
        ) from fault
    return {name: [as_text(title) for title in own] for name, own in names.items()}, objects


# -- the hub


def open_hub(what: str) -> Dataset:
    """A dataset of the Hugging Face hub, by short name, `owner/name`, or `owner/name:configuration`.

    It is read from the cache if it is there, also without a network. The encoded files stay in memory and are decoded when
    they are read.

    Raises:
        DataError: it is not in the cache and the hub cannot be reached, or no dataset has that id.
    """
    import datasets

    name, _, config = SHORT.get(what, what).partition(":")
    datasets.disable_progress_bars()
    try:
        with _offline_without_network():
            loaded = datasets.load_dataset(name, config or _CONFIGS.get(name))
    except Exception as fault:  # the library and its dependencies raise a dozen kinds
        raise DataError(_hub_sentence(what, fault)) from fault
    finally:
        datasets.enable_progress_bars()
    parts: dict[str, list[_Rows]] = {}
    for part, table in loaded.items():
        names = {}
        for column, feature in table.features.items():
            if isinstance(feature, datasets.Image):
                table = table.cast_column(column, datasets.Image(decode=False))
            elif isinstance(feature, datasets.ClassLabel):
                names[column] = [as_text(title) for title in feature.names]
            elif column not in (*_LABELS, *_OTHERS):
                table = table.remove_columns(column)
        word = "train" if len(loaded) == 1 else str(part).lower()
        if word in SPLITS:
            columns = {column: table[column][:] for column in table.column_names}
            objects = object_classes(table.features.to_dict().get("objects"))
            parts.setdefault(SPLITS[word], []).append(_Rows(columns, names, objects=objects))
    return _from_rows(what, parts)


def _hub_sentence(what: str, fault: Exception) -> str:
    reason = str(fault).strip().splitlines()[0].rstrip(".") if str(fault).strip() else type(fault).__name__
    if "Config name is missing" in str(fault) or "BuilderConfig" in str(fault):
        known = re.search(r"\[(.*?)\]", str(fault))
        names = known[1].replace("'", "") if known else "those on its page"
        return f"data={what!r}: has several configurations; give one of them, as in owner/name:configuration: {names}."
    if type(fault).__name__ == "DatasetNotFoundError" and "accessed" not in reason:
        return f"data={what!r}: is neither a path nor a dataset of the hub; check the spelling."
    return (
        f"data={what!r}: is neither a path nor in the hub's cache, and the hub cannot be reached "
        f"({type(fault).__name__}); connect once to fetch it, or give a folder, a file, or an embedded name such as digits."
    )


@contextmanager
def _offline_without_network() -> Iterator[None]:
    """Set the hub's libraries to offline if its host name cannot be resolved; else they retry for half a minute."""
    import socket
    import urllib.request
    from urllib.parse import urlsplit

    import datasets
    import huggingface_hub.constants

    host = urlsplit(os.environ.get("HF_ENDPOINT", "https://huggingface.co")).hostname
    before = datasets.config.HF_HUB_OFFLINE, huggingface_hub.constants.HF_HUB_OFFLINE
    try:
        if not urllib.request.getproxies():  # a proxy resolves names itself
            socket.getaddrinfo(host, 443)
    except OSError:
        datasets.config.HF_HUB_OFFLINE = huggingface_hub.constants.HF_HUB_OFFLINE = True
    try:
        yield
    finally:
        datasets.config.HF_HUB_OFFLINE, huggingface_hub.constants.HF_HUB_OFFLINE = before


# -- rows to a dataset


def _from_rows(where: str, parts: Mapping[str, Sequence[_Rows]]) -> Dataset:
    if "train" not in parts:
        raise DataError(f"data={where!r}: has {', '.join(sorted(parts)) or 'no split'} but no train; add train.")
    first = parts["train"][0]
    pictures = [column for column, values in first.columns.items() if _pictures(values)]
    image = next((column for column in pictures if column not in _MASKS), None)
    if image is None:
        raise DataError(
            f"data={where!r}: has {', '.join(first.columns)}, but no image column; "
            "give one of bytes, or of path and bytes."
        )
    mask = next((column for column in _MASKS if column in pictures), None)
    label = next((c for c in (*_LABELS, *first.names) if c in first.columns and c not in (*pictures, *_OTHERS)), None)
    named = first.names.get(label or "")
    rows = {
        part: [row for own in several for row in _dictionaries(own, label, named, where)]
        for part, several in parts.items()
    }
    others = dict.fromkeys(name for several in parts.values() for own in several for name in own.others)
    problems = unread_columns(list(others), where)
    if label is not None:
        rows, parts = _labelled(rows, parts, problems)
    every = [row for own in rows.values() for row in own]
    titles = [f"{part}/{i}" for part, own in rows.items() for i in range(len(own))]
    known = [*(named or ()), *(first.objects or ())]
    classes = tuple(dict.fromkeys((*known, *(() if named is not None else class_names(every, titles, where)))))
    splits: dict[str, Split] = {}
    masks: dict[str, list[Source]] = {}
    mended = Mended()
    for part, several in parts.items():
        images, titles, good, unreadable = _images(several, image, part, where)
        problems += unreadable
        own_rows = [rows[part][i] for i in good]
        records, boxes = row_objects(own_rows, titles, images.sizes, classes, part, where, mended)
        splits[part] = Split(images, {**row_targets(own_rows, titles, classes, where), **boxes}, titles, records)
        if mask is not None:
            cells = [cell for own in several for cell in _column(own, mask, part, where)]
            masks[part] = [_source(cells[i], where) for i in good]
    notes = [NOTE] if any(split.annotations for split in splits.values()) else []
    splits, mask_classes, said = with_masks(splits, masks, where)
    return finish(
        where,
        splits,
        classes,
        [*problems, *mended.sentences, *doubts(mended)],
        mask_classes=mask_classes,
        notes=[*notes, *said],
    )


def _pictures(values: Sequence[Any]) -> bool:
    cell = next((value for value in values if value is not None), None)
    return isinstance(cell, bytes) or (isinstance(cell, dict) and "bytes" in cell)


def _dictionaries(own: _Rows, label: str | None, names: Sequence[str] | None, where: str) -> list[dict[str, Any]]:
    """The rows with their labels under `label`, as class names; −1, which means that there is none, becomes None."""
    count = len(next(iter(own.columns.values())))
    columns = {name: own.columns[name] for name in _OTHERS if name in own.columns}
    if own.objects is not None and "objects" in columns:
        cells = enumerate(columns["objects"])
        columns["objects"] = [with_names(cell, own.objects, f"row {i}", where) for i, cell in cells]
    if label is not None:
        values = own.columns.get(label, [None] * count)  # the images of a competition's test split have none
        columns["label"] = values if names is None else [_class(v, i, names, where) for i, v in enumerate(values)]
    return [{name: values[i] for name, values in columns.items()} for i in range(count)]


def _class(value: Any, i: int, names: Sequence[str], where: str) -> str | None:
    if value is None or value == -1:
        return None
    if isinstance(value, (int, float)) and value in range(len(names)):
        return names[int(value)]
    if isinstance(value, str) and as_text(value) in names:
        return as_text(value)
    raise DataError(
        f"data={where!r}: has label {short(value)} in row {i}, but names for {len(names)} classes; give 0 to {len(names) - 1}."
    )


def _labelled(
    rows: dict[str, list[dict[str, Any]]], parts: Mapping[str, Sequence[_Rows]], problems: list[str]
) -> tuple[dict[str, list[dict[str, Any]]], dict[str, Sequence[_Rows]]]:
    """Without the splits that have no labels at all, such as a competition's images to predict."""
    bare = [part for part in rows if part != "train" and not any(row.get("label") is not None for row in rows[part])]
    problems += [f"The {part} split has no labels: its {len(rows[part]):,} images are left out." for part in bare]
    return {p: own for p, own in rows.items() if p not in bare}, {p: own for p, own in parts.items() if p not in bare}


def _images(
    several: Sequence[_Rows], image: str, part: str, where: str
) -> tuple[Files, list[str], list[int], list[str]]:
    """The images of one split, their names, their positions among all rows, and a sentence for each that cannot be read."""
    parts: list[Files] = []
    titles: list[str] = []
    places: list[int] = []
    problems: list[str] = []
    start = 0
    for own in several:
        cells = _column(own, image, part, where)
        names = [f"{part}/{_title(cell, start + i)}" for i, cell in enumerate(cells)]
        good, images, unreadable = readable([_source(cell, where) for cell in cells], names, own.file)
        parts.append(images)
        titles += [names[i] for i in good]
        places += [start + i for i in good]
        problems += unreadable
        start += len(cells)
    return parts[0] if len(parts) == 1 else join(parts), titles, places, problems


def _column(own: _Rows, name: str, part: str, where: str) -> Sequence[Any]:
    if name not in own.columns:
        raise DataError(f"data={where!r}: lacks the column {name} in {part}; give all files the same columns.")
    return own.columns[name]


def _source(cell: Any, where: str) -> Source:
    content = cell.get("bytes") if isinstance(cell, dict) else cell
    path = cell.get("path") if isinstance(cell, dict) else None
    if isinstance(content, bytes):
        return content
    if content is None and path is None:
        raise DataError(f"data={where!r}: has a row without an image; remove it.")
    if content is not None or not isinstance(path, str):
        raise DataError(f"data={where!r}: has an image that is {short(cell)}; give its file's bytes, or a path.")
    return Path(path)


def _title(cell: Any, i: int) -> str:
    path = cell.get("path") if isinstance(cell, dict) else None
    return re.sub(r"^.*/", "", path) if path and isinstance(path, str) else str(i)
