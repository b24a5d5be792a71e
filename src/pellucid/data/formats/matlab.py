# SPDX-License-Identifier: Apache-2.0
"""MATLAB's .mat files of version 5 (SciPy) and 7.3 (HDF5): SVHN's layout, NIST36's layout, or named arrays."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pellucid.data.dataset import Dataset
from pellucid.data.formats.arrays import Part, from_arrays, siblings, unread_arrays
from pellucid.data.formats.matlab5 import check_elements
from pellucid.data.formats.rows import reason
from pellucid.data.problems import few
from pellucid.errors import DataError

__all__ = ["open_mat"]

_IMAGES = ("data", "images", "x")
_LABELS = ("labels", "label", "y", "targets")
_CLASSES = ("classes", "classnames")
_INFLATED = 2000  # times a file's size that an array in it may have: what HDF5's compression reaches at best


def open_mat(path: Path) -> Dataset:
    """A MATLAB file, with the files of the other splits beside it (`test_32x32.mat` beside `train_32x32.mat`).

    SVHN's layout: `X` (H, W, C, N) with `y` (N, 1); in a file with SVHN's name, the label 10 is the digit 0. NIST36's
    layout: `…_data` (N, S²), each row an S×S image in MATLAB's column order, with one-hot `…_labels` (N, K). Otherwise
    `images` (N, H, W) or (N, H, W, C), with `labels` (N,), numbers or names in a cell array or a matrix of characters;
    `classes` are the names of numbered ones, counted from 1 unless a label is 0.

    Raises:
        DataError: it is not a MATLAB file, or contains no images.
    """
    parts: dict[str, Part] = {}
    titles: list[str] | None = None
    problems: list[str] = []
    for part, file in siblings(path).items():
        try:
            arrays, unread = _load(file)
        except Exception as fault:
            raise DataError(
                f"data={str(file)!r}: cannot be read as a MATLAB file ({reason(fault)}); save it with -v7 or -v7.3."
            ) from fault
        parts[part] = _part(file, arrays, unread, problems)
        named = _named(file, arrays, _CLASSES)
        if named is not None and arrays[named].dtype.kind == "U":
            titles = [str(title) for title in arrays[named].reshape(-1)]
        used = {_named(file, arrays, role) for role in (_IMAGES, _LABELS, _CLASSES)}
        problems += unread_arrays([name for name in (*arrays, *unread) if name not in used], file.name)
    if titles is not None:
        parts = _from_one(parts)
    return from_arrays(str(path), parts, titles, list(dict.fromkeys(problems)))


def _part(file: Path, arrays: Mapping[str, NDArray[Any]], unread: list[str], problems: list[str]) -> Part:
    strange = next((name for name in unread if _role(name) in (*_IMAGES, *_LABELS)), None)
    if strange is not None:
        raise DataError(
            f"data={str(file)!r}: has {strange} of a type that cannot be read, such as a table, a struct or a categorical; "
            "save numbers, or names in a cell array (cellstr)."
        )
    image, label = _named(file, arrays, _IMAGES), _named(file, arrays, _LABELS)
    if image is None or arrays[image].ndim < 2 or arrays[image].dtype.kind not in "fiub":
        raise DataError(
            f"data={str(file)!r}: has {few(list(arrays), 8) or 'no arrays'}, but no images; name that array images."
        )
    data, labels = arrays[image], None if label is None else _flat(arrays[label])
    if data.ndim == 4 and data.shape[2] in (1, 3) and (labels is None or len(labels) == data.shape[3]):
        images = np.moveaxis(data, 3, 0)  # SVHN: (H, W, C, N) -> (N, H, W, C)
        svhn = re.fullmatch(r"(train|test|extra)_32x32", file.stem) and set(arrays) == {"X", "y"}
        if svhn and labels is not None and labels.dtype.kind in "iuf" and (labels == 10).any():
            problems.append("Label 10 is read as the digit 0, as the files of SVHN mean it.")
            labels = np.where(labels == 10, 0, labels)
        return Part(images, labels)
    if data.ndim == 2:
        side = round(data.shape[1] ** 0.5)
        if side * side != data.shape[1]:
            raise DataError(
                f"data={str(file)!r}: has rows of {data.shape[1]} numbers, which is not a square; save images as (N, H, W)."
            )
        data = data.reshape(-1, side, side).transpose(0, 2, 1)  # rows of images in MATLAB's column order
    return Part(data, labels)


def _from_one(parts: Mapping[str, Part]) -> dict[str, Part]:
    """The parts with labels counted from 0, where they count from 1 as MATLAB's indices do."""
    own = [part.labels for part in parts.values() if part.labels is not None]
    counted = all(labels.ndim == 1 and labels.dtype.kind in "iuf" for labels in own)
    if not counted or any((labels < 1).any() for labels in own):
        return dict(parts)
    return {
        name: part if part.labels is None else Part(part.images, part.labels - 1, part.extra)
        for name, part in parts.items()
    }


def _role(name: str) -> str:
    """The word that tells what an array is: the last one in its name, e.g. data in `valid_data`."""
    return name.lower().replace("class_names", "classnames").split("_")[-1]


def _named(file: Path, arrays: Mapping[str, NDArray[Any]], roles: tuple[str, ...]) -> str | None:
    """The name of the array with one of these roles.

    Raises:
        DataError: two arrays have it.
    """
    names = [name for name in arrays if _role(name) in roles]
    if len(names) > 1:
        raise DataError(
            f"data={str(file)!r}: has {names[0]} and {names[1]}, both of which mean {roles[1]}; remove or rename one."
        )
    return names[0] if names else None


def _flat(labels: NDArray[Any]) -> NDArray[Any]:
    """Labels as (N,) or one-hot (N, K): MATLAB has no vectors, only rows and columns."""
    return labels if labels.ndim == 2 and min(labels.shape) > 1 else labels.reshape(-1)


# -- the file's two formats


def _load(file: Path) -> tuple[dict[str, NDArray[Any]], list[str]]:
    """The arrays of numbers and of texts in a file by name, and the names of what is neither."""
    with file.open("rb") as stream:
        head = stream.read(128)
    if b"MATLAB 7.3" in head or head[:8] == b"\x89HDF\r\n\x1a\n":
        found = _load_hdf5(file)
    else:
        from scipy.io import loadmat

        if head[124:126] in (b"\0\1", b"\1\0"):  # version 5; SciPy reads version 4 too, and refuses others
            check_elements(file)
        found = {name: _plain(value) for name, value in loadmat(file).items() if not name.startswith("__")}
    return {n: v for n, v in found.items() if v is not None}, [n for n, v in found.items() if v is None]


def _plain(value: Any) -> NDArray[Any] | None:
    """An array of numbers, or of texts from a matrix of characters or a cell array; None for anything else."""
    if not isinstance(value, np.ndarray):
        return None
    if value.dtype.kind == "O":  # a cell array; each cell is an array
        cells = [cell.reshape(-1) if isinstance(cell, np.ndarray) else cell for cell in value.reshape(-1)]
        if not cells or not all(isinstance(c, np.ndarray) and c.dtype.kind == "U" and c.size <= 1 for c in cells):
            return None
        return np.array([cell[0] if cell.size else "" for cell in cells])
    if value.dtype.kind == "U":
        return np.char.rstrip(value)  # rows of a matrix are padded with spaces
    return value if value.dtype.kind in "fiub" else None


def _load_hdf5(file: Path) -> dict[str, NDArray[Any] | None]:
    """The arrays of version 7.3; in HDF5, MATLAB's arrays have their axes reversed."""
    import h5py

    most = _INFLATED * max(file.stat().st_size, 1 << 20)
    found: dict[str, NDArray[Any] | None] = {}
    with h5py.File(file) as content:
        for name, value in content.items():
            if name.startswith("#") or not isinstance(value, h5py.Dataset):
                if not name.startswith("#"):  # these hold the contents of cells
                    found[name] = None
                continue
            if value.nbytes > most:
                raise ValueError(f"{name} claims {value.nbytes:,} bytes, more than the file can hold")
            kind = value.attrs.get("MATLAB_class", b"")
            if kind == b"char":
                found[name] = np.array(_rows(value))
            elif kind == b"cell" and value.dtype.kind == "O":
                cells = [content[cell] for cell in np.asarray(value).T.reshape(-1)]
                texts = [(_rows(cell) or [""])[0] for cell in cells if cell.attrs.get("MATLAB_class") == b"char"]
                found[name] = np.array(texts) if len(texts) == len(cells) else None
            else:
                found[name] = np.asarray(value).T if value.dtype.kind in "fiub" else None
    return found


def _rows(characters: Any) -> list[str]:
    """The rows of a matrix of characters, which HDF5 keeps as numbers, transposed."""
    if "MATLAB_empty" in characters.attrs:
        return []
    return [
        "".join(map(chr, row)).rstrip() for row in np.asarray(characters).T.reshape(-1, characters.shape[0]).tolist()
    ]
