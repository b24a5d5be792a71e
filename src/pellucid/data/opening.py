# SPDX-License-Identifier: Apache-2.0
"""`open`: from a name or a path to a dataset."""

from __future__ import annotations

import re
from pathlib import Path

from pellucid.data.dataset import Dataset
from pellucid.errors import DataError, UnknownNameError

__all__ = ["open"]


def open(what: str | Path) -> Dataset:
    """Images with what is known of them, from an embedded name, a path, or a hub id.

    >>> open("digits").counts["test"]["0"] > 20
    True

    A path may be a folder of class folders (with or without train, val, test above them), a folder of plain images,
    Hugging Face's imagefolder with a metadata table, MNIST-style idx files, a .npz, a .mat, or a parquet file. A split
    that is missing is cut by content hash: 20 % of train for test, 10 % for val.

    Args:
        what: an embedded name (`pellucid list data`), a path, a short name (mnist, fashion_mnist, svhn, cifar10) or a
            hub id `owner/name`.

    Raises:
        DataError: nothing is there, or it cannot be used; the sentence says why, and what to do.
        UnknownNameError: a single word that is neither a name nor a path.
    """
    from pellucid.data import embedded, hub

    text = str(what)
    path = Path(text).expanduser()
    if isinstance(what, str) and text in embedded.names():
        return embedded.load(text)
    if path.is_dir():
        return _open_directory(path)
    if path.is_file():
        return _open_file(path)
    if text in hub.SHORT or (re.fullmatch(r"[\w.-]+/[\w.-]+", text) and not Path(text).suffix):
        return hub.open_hub(text)
    if re.fullmatch(r"[\w-]+", text):
        raise UnknownNameError("data", text, [*embedded.names(), *hub.SHORT])
    raise DataError(f"data={text!r}: is not there; check the path, or give a name from `pellucid list data`.")


def _open_directory(path: Path) -> Dataset:
    from pellucid.data import arrays, folders, hub

    idx = arrays.idx_files(path)
    if idx:
        return arrays.open_idx(path, idx)
    tables = {hub_part(file): file for file in sorted(path.glob("*.parquet")) if file.name not in folders.METADATA}
    if tables:
        return hub.open_parquet(path, tables if "train" in tables else {"train": next(iter(tables.values())), **tables})
    for suffix, reader in ((".npz", arrays.open_npz), (".mat", arrays.open_mat)):
        files = sorted(path.glob(f"*{suffix}"))
        if files and not any(sub.is_dir() for sub in path.iterdir()):
            return reader(next((file for file in files if "train" in file.name), files[0]))
    return folders.open_folder(path)


def _open_file(path: Path) -> Dataset:
    from pellucid.data import arrays, hub

    if path.suffix == ".npz":
        return arrays.open_npz(path)
    if path.suffix == ".mat":
        return arrays.open_mat(path)
    if path.suffix == ".parquet":
        return hub.open_parquet(path, {"train": path})
    idx = {
        part: files
        for part, files in arrays.idx_files(path.parent).items()
        if path in files.values() or part != "train"
    }
    if any(path in files.values() for files in idx.values()):
        return arrays.open_idx(path.parent, arrays.idx_files(path.parent))
    raise DataError(
        f"data={str(path)!r}: is a {path.suffix or 'file without a suffix'}, which cannot be read as a dataset; "
        "give a folder of images, idx, .npz, .mat or .parquet."
    )


def hub_part(file: Path) -> str:
    """The split that a parquet file's name tells: train-00000-of-00001.parquet is train."""
    from pellucid.data.folders import SPLITS

    return next((SPLITS[word] for word in re.split(r"[\W_]+", file.stem.lower()) if word in SPLITS), "train")
