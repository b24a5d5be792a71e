# SPDX-License-Identifier: Apache-2.0
"""Parquet files and hub ids, through Hugging Face `datasets` and its cache."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from pellucid.data.dataset import Dataset, Split
from pellucid.data.folders import SPLITS, class_names, labelled, readable, table_targets
from pellucid.data.splitting import finish
from pellucid.data.targets import Label, Target
from pellucid.errors import DataError

__all__ = ["SHORT", "open_hub", "open_parquet"]

SHORT = {
    "mnist": "ylecun/mnist",
    "fashion_mnist": "zalando-datasets/fashion_mnist",
    "svhn": "ufldl-stanford/svhn",
    "cifar10": "uoft-cs/cifar10",
}
"""Short names of hub ids."""

_CONFIGS = {"ufldl-stanford/svhn": "cropped_digits"}


def open_parquet(path: Path, files: Mapping[str, Path]) -> Dataset:
    """Parquet files with an image column in Hugging Face's form, one file a split.

    Raises:
        DataError: it cannot be read, or has no image column.
    """
    import pyarrow.parquet as pq

    tables = {}
    for part, file in files.items():
        try:
            tables[part] = pq.read_table(file)
        except Exception as fault:
            raise DataError(
                f"data={str(file)!r}: cannot be read as parquet ({str(fault).splitlines()[0]}); write it again."
            ) from fault
    names = _feature_names(next(iter(tables.values())).schema)
    columns = {part: {n: table[n].to_pylist() for n in table.column_names} for part, table in tables.items()}
    return _from_columns(str(path), columns, names, files)


def _feature_names(schema: Any) -> dict[str, list[str]]:
    """Class names by column, from the description that `datasets` leaves in a parquet file."""
    import json

    told = json.loads((schema.metadata or {}).get(b"huggingface", b"{}"))
    features = told.get("info", {}).get("features", {})
    return {
        name: feature["names"] for name, feature in features.items() if isinstance(feature, dict) and "names" in feature
    }


def open_hub(what: str) -> Dataset:
    """A dataset of the Hugging Face hub, by short name or `owner/name`; its cache is used with the network off.

    Raises:
        DataError: it is not in the cache and the hub cannot be reached, or there is no such dataset.
    """
    _go_offline_without_network()
    import datasets

    name = SHORT.get(what, what)
    datasets.disable_progress_bars()
    try:
        loaded = datasets.load_dataset(name, _CONFIGS.get(name))
    except Exception as fault:
        raise DataError(
            f"data={what!r}: is not in the cache, and the hub gave no answer ({type(fault).__name__}); connect once to fetch it, "
            "or give a folder, a file, or an embedded name such as digits."
        ) from fault
    finally:
        datasets.enable_progress_bars()
    names: dict[str, list[str]] = {}
    columns = {}
    for part, table in loaded.items():
        for column, feature in table.features.items():
            if isinstance(feature, datasets.Image):
                table = table.cast_column(column, datasets.Image(decode=False))
            elif isinstance(feature, datasets.ClassLabel):
                names[column] = feature.names
        if str(part).lower() in SPLITS:
            columns[SPLITS[str(part).lower()]] = {column: table[column][:] for column in table.column_names}
    return _from_columns(what, columns, names)


def _go_offline_without_network() -> None:
    """Where the hub's name cannot be looked up, tell its libraries, which else try again for half a minute."""
    import os
    import socket
    from urllib.parse import urlsplit

    host = urlsplit(os.environ.get("HF_ENDPOINT", "https://huggingface.co")).hostname
    try:
        socket.getaddrinfo(host, 443)
    except OSError:
        os.environ["HF_HUB_OFFLINE"] = "1"
        import datasets
        import huggingface_hub.constants

        datasets.config.HF_HUB_OFFLINE = True
        huggingface_hub.constants.HF_HUB_OFFLINE = True


def _from_columns(
    where: str,
    parts: Mapping[str, Mapping[str, list[Any]]],
    names: Mapping[str, list[str]],
    files: Mapping[str, Path] | None = None,
) -> Dataset:
    if "train" not in parts:
        raise DataError(f"data={where!r}: has no train split; name the file train….parquet.")
    first = parts["train"]
    image = next(
        (c for c, v in first.items() if v and isinstance(v[0], dict) and {"bytes", "path"} & v[0].keys()), None
    )
    image = image or next((c for c, v in first.items() if v and isinstance(v[0], bytes)), None)
    if image is None:
        raise DataError(
            f"data={where!r}: has {', '.join(first)} and no image column among them; give one of bytes, or of path and bytes."
        )
    label = next((c for c in ("label", "labels", "fine_label", "class", "target", "y") if c in first), None)
    splits: dict[str, Split] = {}
    problems: list[str] = []
    classes: tuple[str, ...] = tuple(names.get(label or "", ()))
    for part, own in parts.items():
        if label is not None and not classes:
            every = [str(v) for columns in parts.values() for v in columns[label]]
            classes = labelled(every, where)[1]
        sources = [_source(cell, where) for cell in own[image]]
        titles = [f"{part}/{_title(cell, i)}" for i, cell in enumerate(own[image])]
        good, images, told = readable(sources, titles, files[part] if files else None)
        problems += told
        targets: dict[str, Target] = {}
        if label is not None:
            values = [own[label][i] for i in good]
            whole = all(isinstance(v, int) for v in values) and label in names
            place = {name: i for i, name in enumerate(classes)}
            targets["label"] = Label(torch.tensor([v if whole else place[str(v)] for v in values], dtype=torch.int64))
        elif "objects" in own:
            rows = [{"objects": own["objects"][i]} for i in good]
            found = class_names(rows, where)
            targets, classes = table_targets(rows, images, classes or found, Path(), where)
        splits[part] = Split(images, targets, [titles[i] for i in good])
    return finish(where, splits, classes, problems)


def _source(cell: Any, where: str) -> bytes | Path:
    if isinstance(cell, bytes):
        return cell
    if cell is None:
        raise DataError(f"data={where!r}: has a row without an image; take it out.")
    return cell["bytes"] if cell.get("bytes") is not None else Path(cell["path"])


def _title(cell: Any, i: int) -> str:
    path = cell.get("path") if isinstance(cell, dict) else None
    return re.sub(r"^.*/", "", path) if path else str(i)
