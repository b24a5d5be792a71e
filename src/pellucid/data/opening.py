# SPDX-License-Identifier: Apache-2.0
"""`open`: from a name or a path to a dataset."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

from pellucid.data.dataset import Dataset
from pellucid.data.decoding import SUFFIXES
from pellucid.errors import DataError, UnknownNameError

__all__ = ["open"]

_FILES = {".npz", ".mat", ".parquet", ".gz", ".zip", ".csv", ".json", *SUFFIXES}  # no hub id ends with one of these


def open(what: str | Path) -> Dataset:
    """Images with what is known of them, from an embedded name, a path, or a hub id.

    >>> open("digits").counts["test"]["0"] > 20
    True

    A path may be a folder of class folders (with or without train, val, test above them), a folder of plain images,
    Hugging Face's imagefolder with a metadata table, MNIST-style idx files, a .npz, a .mat, or a parquet file. A split
    that is missing is cut by content hash: 20 % of train for test, then 10 % of what is left for val.

    Args:
        what: an embedded name (`pellucid list data`), a path, a short name (mnist, fashion_mnist, svhn, cifar10) or a
            hub id `owner/name` (`owner/name:configuration` where it has several).

    Raises:
        DataError: nothing is there, or it cannot be used; the sentence says why, and what to do.
        UnknownNameError: a single word that is neither a name nor a path.
    """
    from pellucid.data.embedded import embedded
    from pellucid.data.formats import hub

    text = str(what)
    path = Path(text).expanduser()
    if isinstance(what, str) and text in embedded.names():
        return embedded.load(text)
    if path.is_dir():
        return _open_directory(path)
    if path.is_file():
        return _open_file(path)
    if text in hub.SHORT or (re.fullmatch(r"[\w.-]+/[\w.-]+(:[\w.-]+)?", text) and Path(text).suffix not in _FILES):
        return hub.open_hub(text)
    if re.fullmatch(r"[\w-]+", text):
        raise UnknownNameError("data", text, [*embedded.names(), *hub.SHORT])
    raise DataError(f"data={text!r}: is not there; check the path, or give a name from `pellucid list data`.")


def _open_directory(path: Path) -> Dataset:
    from pellucid.data.formats import arrays, folders, hub, idx, matlab
    from pellucid.data.formats.finding import holds_images

    if found := idx.idx_files(path):
        return idx.open_idx(path, found)
    if tables := hub.parquet_files(path):
        return hub.open_parquet(path, tables)
    for suffix, reader in ((".npz", arrays.open_npz), (".mat", matlab.open_mat)):
        if (files := sorted(path.glob(f"*{suffix}"))) and not holds_images(path):
            return _open_one_of(path, files, reader)
    return folders.open_folder(path)


def _open_one_of(path: Path, files: list[Path], reader: Callable[[Path], Dataset]) -> Dataset:
    """The file that holds train, with those of the other splits beside it; a single file needs no such name."""
    from pellucid.data.formats.arrays import siblings
    from pellucid.data.splitting import SPLITS, split_word

    train = [file for file in files if SPLITS.get(split_word(file.stem) or "") == "train"]
    if len(files) > 1 and len(train) != 1:
        raise DataError(
            f"data={str(path)!r}: holds {len(files)} files {files[0].name}, {files[1].name} … and not one that is named for "
            "train; give one of them."
        )
    first = (train or files)[0]
    passed = [file.name for file in files if file not in siblings(first).values()]
    dataset = reader(first).replace(name=str(path))
    told = (
        [f"{', '.join(passed)} beside {first.name} {'is' if len(passed) == 1 else 'are'} passed over."]
        if passed
        else []
    )
    return dataset.replace(problems=(*dataset.problems, *told))


def _open_file(path: Path) -> Dataset:
    from pellucid.data.formats import arrays, hub, idx, matlab

    if path.stat().st_size == 0:
        raise DataError(f"data={str(path)!r}: is empty; fetch or write it again.")
    if path.suffix == ".npz":
        return arrays.open_npz(path)
    if path.suffix == ".mat":
        return matlab.open_mat(path)
    if path.suffix == ".parquet":
        return hub.open_parquet(path, {part: [file] for part, file in arrays.siblings(path).items()})
    found = idx.idx_files(path.parent)
    if any(path in own.values() for own in found.values()):
        return idx.open_idx(path.parent, found)
    raise DataError(
        f"data={str(path)!r}: is a {path.suffix or 'file without a suffix'}, which cannot be read as a dataset; "
        "give a folder of images, idx, .npz, .mat or .parquet."
    )
