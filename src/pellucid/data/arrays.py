# SPDX-License-Identifier: Apache-2.0
"""Files that hold many images as arrays: MNIST-style idx, .npz, and MATLAB's .mat of version 5 and 7.3."""

from __future__ import annotations

import gzip
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from pellucid.data.dataset import Dataset, Pixels, Split
from pellucid.data.folders import SPLITS, labelled
from pellucid.data.splitting import finish
from pellucid.data.targets import Label, Mask, Points, Target
from pellucid.errors import DataError

__all__ = ["idx_files", "open_idx", "open_mat", "open_npz"]

_IDX_TYPES = {8: ">u1", 9: ">i1", 11: ">i2", 12: ">i4", 13: ">f4", 14: ">f8"}
_IDX_NAME = re.compile(
    r"(?P<part>.*?)[-_.]?(?P<what>images|labels)[-_.]idx\d[-_.]?u?byte(\.gz)?$|(?P<part2>.*)[-_](?P<what2>images|labels)(\.idx)?(\.gz)?$"
)
_ORIENTED = "(N, H, W), (N, H, W, C) or (N, C, H, W)"


# -- idx: LeCun's format, http://yann.lecun.com/exdb/mnist


def idx_files(folder: Path) -> dict[str, dict[str, Path]]:
    """The idx files of a folder: {"train": {"images": …, "labels": …}, "test": …}; t10k is test."""
    found: dict[str, dict[str, Path]] = {}
    for file in sorted(folder.iterdir()):
        match = _IDX_NAME.match(file.name)
        if match and file.is_file():
            part = (match["part"] or match["part2"] or "train").lower()
            part = "test" if part == "t10k" else SPLITS.get(part, part)
            found.setdefault(part, {}).setdefault(match["what"] or match["what2"], file)
    return {part: files for part, files in found.items() if "images" in files and part in ("train", "val", "test")}


def open_idx(path: Path, files: Mapping[str, Mapping[str, Path]]) -> Dataset:
    """MNIST-style idx files, plain or gzipped.

    Raises:
        DataError: a file is cut off or no idx file, or images and labels differ in number.
    """
    if "train" not in files:
        raise DataError(
            f"data={str(path)!r}: has idx files of {', '.join(sorted(files))} but none of train; add train-images and train-labels."
        )
    arrays = {part: {what: _read_idx(file) for what, file in own.items()} for part, own in files.items()}
    return _from_arrays(str(path), {part: (own["images"], own.get("labels"), {}) for part, own in arrays.items()})


def _read_idx(file: Path) -> NDArray[Any]:
    try:
        with gzip.open(file) if file.suffix == ".gz" else file.open("rb") as stream:
            content = stream.read()
    except (OSError, EOFError) as fault:
        raise DataError(f"data={str(file)!r}: cannot be read ({fault}); fetch it again.") from fault
    if len(content) < 4 or content[:2] != b"\0\0" or content[2] not in _IDX_TYPES:
        raise DataError(f"data={str(file)!r}: is no idx file; give one that begins with the idx magic number.")
    kind, dimensions = np.dtype(_IDX_TYPES[content[2]]), content[3]
    shape = np.frombuffer(content, ">i4", dimensions, 4)
    expected = 4 + 4 * dimensions + int(np.prod(shape, dtype=np.int64)) * kind.itemsize
    if len(content) != expected:
        raise DataError(
            f"data={str(file)!r}: has {len(content):,} bytes where its header tells {expected:,}; fetch it again."
        )
    return np.frombuffer(content, kind, offset=4 + 4 * dimensions).reshape(shape)


# -- npz


def open_npz(path: Path) -> Dataset:
    """An .npz file: images under `images`, `x`, `data` or `X`, labels under `labels`, `y` or `targets`.

    With splits, the names carry them (`x_train`, `train_images`, `y_test`, …). `masks` (N, H, W), `points` (N, K, 2) and
    `classes` (names) are taken along.

    Raises:
        DataError: no images, objects that would need pickle, NaN pixels, or arrays of different lengths.
    """
    try:
        with np.load(path, allow_pickle=False) as file:
            arrays = {name: file[name] for name in file.files}
    except Exception as fault:
        raise DataError(
            f"data={str(path)!r}: cannot be read as .npz ({fault}); save plain arrays with numpy.savez."
        ) from fault
    return _from_named(str(path), arrays)


_IMAGES, _LABELS = ("images", "image", "x", "data", "pixels"), ("labels", "label", "y", "targets", "target")
_EXTRA = ("masks", "mask", "points", "keypoints")


def _from_named(where: str, arrays: Mapping[str, NDArray[Any]]) -> Dataset:
    """A dataset out of named arrays."""
    found: dict[str, dict[str, NDArray[Any]]] = {}
    for name, array in arrays.items():
        words = [word for word in re.split(r"[_\W]+", name.lower()) if word]
        part = next((SPLITS[word] for word in words if word in SPLITS), "train")
        rest = [word for word in words if word not in SPLITS]
        for role, names in {"images": _IMAGES, "labels": _LABELS, "extra": _EXTRA}.items():
            if rest and rest[-1] in names:
                found.setdefault(part, {})[rest[-1] if role == "extra" else role] = array
    parts = {part: own for part, own in found.items() if "images" in own}
    if "train" not in parts:
        raise DataError(
            f"data={where!r}: has {', '.join(sorted(arrays)) or 'nothing'} and no images among them; name the arrays images and labels."
        )
    titles = [str(name) for name in arrays["classes"]] if "classes" in arrays else None
    extras = {part: {k: v for k, v in own.items() if k in _EXTRA} for part, own in parts.items()}
    return _from_arrays(where, {p: (own["images"], own.get("labels"), extras[p]) for p, own in parts.items()}, titles)


# -- MATLAB


def open_mat(path: Path) -> Dataset:
    """A MATLAB file of version 5 or 7.3.

    SVHN-style: `X` (32, 32, 3, N) with `y` (N, 1), where class 10 is the digit 0. NIST36-style: `valid_data` (N, 1024) =
    32×32 in column order with one-hot `valid_labels`. Else named arrays as in .npz. If the folder holds the other splits
    (`test_32x32.mat` beside `train_32x32.mat`, `nist36_test.mat` beside `nist36_train.mat`) they belong to it.

    Raises:
        DataError: it is no MATLAB file, or holds no images.
    """
    word = next((word for word in re.split(r"[_\W]+", path.stem.lower()) if word in SPLITS), None)
    files = {"train": path}
    if word is not None:
        for other, part in SPLITS.items():
            sibling = path.with_name(re.sub(word, other, path.name, flags=re.IGNORECASE))
            if (sibling.is_file() and part not in files) or sibling == path:
                files[part] = sibling
        if SPLITS[word] != "train" and files["train"] == path:
            files = {"train": path}  # a single file is what there is to train on, whatever its name says
    return _from_arrays(str(path), {part: _read_mat(file) for part, file in files.items()})


def _read_mat(file: Path) -> tuple[NDArray[Any], NDArray[Any] | None, dict[str, NDArray[Any]]]:
    try:
        arrays = _load_mat(file)
    except Exception as fault:
        raise DataError(
            f"data={str(file)!r}: cannot be read as a MATLAB file ({fault}); save it with -v7 or -v7.3."
        ) from fault
    if "X" in arrays and arrays["X"].ndim == 4:  # SVHN: (H, W, C, N)
        labels = arrays["y"].reshape(-1).astype(np.int64) if "y" in arrays else None
        svhn = labels is not None and labels.max() == 10 and labels.min() == 1
        return np.moveaxis(arrays["X"], 3, 0), labels % 10 if svhn and labels is not None else labels, {}
    data = next((a for n, a in arrays.items() if n.lower().endswith(("data", "images", "x")) and a.ndim >= 2), None)
    marks = next((a for n, a in arrays.items() if n.lower().endswith(("labels", "label", "y"))), None)
    if data is None:
        raise DataError(
            f"data={str(file)!r}: has {', '.join(arrays) or 'nothing'} and no images among them; name the array images."
        )
    if data.ndim == 2:  # rows of square images in MATLAB's column order
        side = round(data.shape[1] ** 0.5)
        if side * side != data.shape[1]:
            raise DataError(
                f"data={str(file)!r}: has rows of {data.shape[1]} numbers, no square; save images as (N, H, W)."
            )
        data = data.reshape(-1, side, side).transpose(0, 2, 1)
    if marks is not None and marks.ndim == 2 and min(marks.shape) > 1:
        marks = marks.argmax(1)
    return data, None if marks is None else marks.reshape(-1), {}


def _load_mat(file: Path) -> dict[str, NDArray[Any]]:
    with file.open("rb") as stream:
        head = stream.read(128)
    if b"MATLAB 7.3" in head:
        import h5py

        with h5py.File(file) as content:  # HDF5 keeps MATLAB's arrays with their axes reversed
            return {name: np.asarray(value).T for name, value in content.items() if isinstance(value, h5py.Dataset)}
    from scipy.io import loadmat

    return {
        name: value for name, value in loadmat(file).items() if not name.startswith("__") and value.dtype.kind in "fiub"
    }


# -- from arrays to a dataset


def _from_arrays(
    where: str,
    parts: Mapping[str, tuple[NDArray[Any], NDArray[Any] | None, Mapping[str, NDArray[Any]]]],
    names: Sequence[str] | None = None,
) -> Dataset:
    pixels = {part: to_pixels(images, where) for part, (images, _, _) in parts.items()}
    if len({array.shape[1] for array in pixels.values()}) > 1:
        raise DataError(f"data={where!r}: is grey in one split and coloured in another; bring both to the same.")
    marked = [labels for _, labels, _ in parts.values() if labels is not None]
    classes: tuple[str, ...] = ()
    if marked:
        if len(marked) < len(parts):
            raise DataError(f"data={where!r}: has labels for some splits only; give them for all, or for none.")
        classes = _class_names(marked[0] if len(marked) == 1 else np.concatenate(marked), names, where)
        own = set(_texts(parts["train"][1]))  # type: ignore[arg-type]
        for part, (_, labels, _) in parts.items():
            strange = sorted(set(_texts(labels)) - own) if part != "train" else []  # type: ignore[arg-type]
            if strange:
                raise DataError(
                    f"data={where!r}: class {strange[0]!r} of {part} is not in train; add it there, or take it away."
                )
    splits = {}
    for part, (_, labels, extra) in parts.items():
        targets: dict[str, Target] = {}
        images = pixels[part]
        if labels is not None:
            if len(labels) != len(images):
                raise DataError(
                    f"data={where!r}: has {len(images)} images and {len(labels)} labels in {part}; give one label an image."
                )
            place = (
                {name: i for i, name in enumerate(classes)}
                if names is None
                else {str(i): i for i in range(len(classes))}
            )
            targets["label"] = Label(torch.tensor([place[text] for text in _texts(labels)], dtype=torch.int64))
        targets |= _extras(extra, images, where)
        splits[part] = Split(Pixels(images), targets, [f"{part}/{i}" for i in range(len(images))])
    return finish(where, splits, classes)


def _texts(labels: NDArray[Any]) -> list[str]:
    """Labels as text; whole numbers without a point."""
    if labels.dtype.kind == "f" and (labels == labels.astype(np.int64)).all():
        labels = labels.astype(np.int64)
    return [label.decode() if isinstance(label, bytes) else str(label) for label in labels.tolist()]


def _class_names(labels: NDArray[Any], names: Sequence[str] | None, where: str) -> tuple[str, ...]:
    if names is not None:
        return tuple(names)
    return labelled(_texts(labels), where)[1]


def _extras(extra: Mapping[str, NDArray[Any]], images: NDArray[np.uint8], where: str) -> dict[str, Target]:
    targets: dict[str, Target] = {}
    for name, array in extra.items():
        if len(array) != len(images):
            raise DataError(f"data={where!r}: has {len(images)} images and {len(array)} {name}; give one an image.")
        if name.startswith("mask"):
            array = array[:, 0] if array.ndim == 4 and array.shape[1] == 1 else array
            if array.shape[1:] != images.shape[2:]:
                shape, own = "×".join(map(str, array.shape[1:])), "×".join(map(str, images.shape[2:]))
                raise DataError(
                    f"masks={shape} px: do not fit the images of {own} px in data={where!r}; give masks of the images' size."
                )
            targets["mask"] = Mask(torch.from_numpy(np.ascontiguousarray(array).astype(np.uint8)))
        else:
            targets["points"] = Points(torch.from_numpy(array.astype(np.float32).reshape(len(images), -1, 2)))
    return targets


def to_pixels(images: NDArray[Any], where: str) -> NDArray[np.uint8]:
    """Arrays of images as (N, C, H, W) uint8: whole numbers as they are, floats in [0, 1] times 255.

    >>> to_pixels(np.ones((2, 4, 5)), "x.npz").shape
    (2, 1, 4, 5)

    Raises:
        DataError: NaN or infinite pixels, a shape that is none of images, or numbers out of range.
    """
    if images.ndim == 3:
        images = images[:, None]
    elif images.ndim == 4 and images.shape[1] not in (1, 3) and images.shape[3] in (1, 3):
        images = images.transpose(0, 3, 1, 2)
    if images.ndim != 4 or images.shape[1] not in (1, 3) or 0 in images.shape:
        raise DataError(f"images={images.shape}: are no images in data={where!r}; give {_ORIENTED} with C = 1 or 3.")
    if images.dtype == np.uint8:
        return np.ascontiguousarray(images)
    if images.dtype.kind == "f":
        bad = ~np.isfinite(images).all(axis=(1, 2, 3))
        if bad.any():
            raise DataError(
                f"images={int(bad.sum())} of {len(images)}: hold NaN or infinite pixels in data={where!r}, the first at position "
                f"{int(bad.argmax())}; replace them, or take these images out."
            )
        low, high = float(images.min()), float(images.max())
        if low >= -0.5 and high <= 1.5:  # resampling overshoots [0, 1] a little
            return np.round(np.clip(images, 0, 1) * 255).astype(np.uint8)
        if low >= 0 and high <= 255:
            return np.round(images).astype(np.uint8)
    else:
        low, high = int(images.min()), int(images.max())
        if images.dtype == np.bool_ or (low >= 0 and high <= 1):
            return np.where(images.astype(bool), np.uint8(255), np.uint8(0))
        if low >= 0 and high <= 255:
            return np.asarray(images, np.uint8)
        if low >= 0 and high <= 65535:
            scaled: NDArray[np.uint8] = ((images.astype(np.uint32) + 128) // 257).astype(np.uint8)
            return scaled
    raise DataError(
        f"images from {low:g} to {high:g}: are out of range in data={where!r}; give 0 to 255, 0 to 65,535, or floats in [0, 1]."
    )
