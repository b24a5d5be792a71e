# SPDX-License-Identifier: Apache-2.0
"""Datasets from arrays in the usual layouts, and from NumPy's .npz files."""

from __future__ import annotations

import re
import zipfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, final

import numpy as np
import psutil
import torch
from numpy.typing import NDArray

from pellucid.data.dataset import Dataset, Pixels, Split
from pellucid.data.formats.rows import reason
from pellucid.data.partners import partners
from pellucid.data.problems import few
from pellucid.data.splitting import SPLITS, finish, order, split_word
from pellucid.data.targets import Label, Mask, Points, Target
from pellucid.errors import DataError
from pellucid.files import as_text

__all__ = ["Part", "from_arrays", "label_texts", "open_npz", "siblings", "to_classes", "to_pixels", "unread_arrays"]

_LARGE, _DENSE = 2**29, 200  # bytes, and times the size of its file: what unpacks to more is a bomb

_ROLES = {
    **dict.fromkeys(("images", "image", "x", "data", "pixels"), "images"),
    **dict.fromkeys(("labels", "label", "y", "targets", "target"), "labels"),
    **dict.fromkeys(("masks", "mask"), "masks"),
    **dict.fromkeys(("points", "keypoints", "landmarks"), "points"),
}


@final
@dataclass(frozen=True)
class Part:
    """The arrays of one split."""

    images: NDArray[Any]  # (N, H, W), (N, H, W, C) or (N, C, H, W)
    labels: NDArray[Any] | None = None  # (N,), (N, 1) or one-hot (N, K)
    extra: Mapping[str, NDArray[Any]] = field(default_factory=dict)  # "masks" (N, H, W), "points" (N, K, 2)


def siblings(path: Path) -> dict[str, Path]:
    """The files of all splits, by a word in their names: for train.npz also test.npz beside it.

    A file on its own is the training data, whatever its name.
    """
    word = split_word(path.stem)
    if word is None:
        return {"train": path}
    by_split = {SPLITS[word]: path}
    for other, part in SPLITS.items():
        name = re.sub(rf"(?<![a-z]){word}(?![a-z])", other, path.name, count=1, flags=re.IGNORECASE)
        if path.with_name(name).is_file():
            by_split.setdefault(part, path.with_name(name))
    return by_split if "train" in by_split else {"train": path}


def open_npz(path: Path) -> Dataset:
    """An .npz file: images under `images`, `x`, `data` or `pixels`, labels under `labels`, `y` or `targets`.

    Splits are part of the arrays' names (`x_train`, `train_images`, `y_test`, …), or of the names of files beside each other
    (train.npz, test.npz). `masks` (N, H, W), `points` (N, K, 2) and `classes` (K names) are read too.

    Raises:
        DataError: no images, Python objects (which need pickle), NaN pixels, or arrays of different lengths.
    """
    parts: dict[str, Part] = {}
    titles: list[str] | None = None
    problems: list[str] = []
    for part, file in siblings(path).items():
        arrays = _load(file)
        own, unread = _parts(file, arrays)
        own = {part: own["train"]} if set(own) == {"train"} else own
        if twice := sorted(set(own) & set(parts)):
            raise DataError(f"data={str(path)!r}: has images of {twice[0]} in {file.name} too; keep one of them.")
        parts.update(own)
        problems += unread_arrays(unread, file.name)
        if "classes" in arrays:
            titles = label_texts(arrays["classes"].reshape(-1), str(path), part)
    if "train" not in parts:
        raise DataError(f"data={str(path)!r}: has images for {', '.join(sorted(parts))}, but none for train; add them.")
    return from_arrays(str(path), parts, titles, problems)


def unread_arrays(names: Sequence[str], file: str) -> list[str]:
    """A sentence on the arrays of a file that mean nothing here, if there are any.

    >>> unread_arrays(["a", "b"], "x.npz")
    ['Arrays a, b of x.npz are not read.']
    """
    if not names:
        return []
    one = len(names) == 1
    return [f"Array{'' if one else 's'} {few(names, 6)} of {file} {'is' if one else 'are'} not read."]


def _load(path: Path) -> dict[str, NDArray[Any]]:
    try:
        _check_size(path)
        with np.load(path, allow_pickle=False) as file:
            arrays = {name: file[name] for name in file.files}
        if strange := next((name for name, array in arrays.items() if not isinstance(array, np.ndarray)), None):
            raise ValueError(f"{strange} is not an array")  # NumPy hands out the bytes of such members
        return arrays
    except DataError:
        raise
    except Exception as fault:
        raise DataError(
            f"data={str(path)!r}: cannot be read as .npz ({reason(fault)}); save plain arrays with numpy.savez."
        ) from fault


def _check_size(path: Path) -> None:
    """Refuse a file that unpacks to more than the memory holds, or to what only a bomb does, before it is unpacked."""
    if not zipfile.is_zipfile(path):  # NumPy says what it is
        return
    with zipfile.ZipFile(path) as archive:
        unpacked = sum(entry.file_size for entry in archive.infolist())
    free = psutil.virtual_memory().available
    if unpacked > free:
        raise DataError(
            f"data={str(path)!r}: unpacks to {unpacked / 2**30:.1f} GiB, and {free / 2**30:.1f} GiB of memory are free; "
            "split it into image files."
        )
    if unpacked > _LARGE and unpacked > _DENSE * path.stat().st_size:
        raise DataError(
            f"data={str(path)!r}: unpacks to {unpacked / 2**30:.1f} GiB, {unpacked / path.stat().st_size:,.0f} times its size, as no "
            "images do; save it again, or without compression if it is right."
        )


def _parts(path: Path, arrays: Mapping[str, NDArray[Any]]) -> tuple[dict[str, Part], list[str]]:
    """The arrays of each split, and the names of those that mean nothing."""
    by_split: dict[str, dict[str, NDArray[Any]]] = {}
    named: dict[tuple[str, str], str] = {}
    for name, array in arrays.items():
        words = [word for word in re.split(r"[_\W]+", name.lower()) if word and word not in SPLITS]
        if words and words[-1] in _ROLES:
            part, role = SPLITS[split_word(name) or "train"], _ROLES[words[-1]]
            if other := named.get((part, role)):
                raise DataError(
                    f"data={str(path)!r}: has {other} and {name}, both of which mean {role}; remove or rename one."
                )
            named[part, role] = name
            by_split.setdefault(part, {})[role] = array
    parts = {part: own for part, own in by_split.items() if "images" in own}
    if not parts:
        raise DataError(
            f"data={str(path)!r}: has {few(sorted(arrays), 8) or 'no arrays'}, but no images; "
            "name the arrays images and labels."
        )
    found = {
        part: Part(own["images"], own.get("labels"), {k: own[k] for k in ("masks", "points") if k in own})
        for part, own in parts.items()
    }
    used = {name for (part, _), name in named.items() if part in parts} | {"classes"}
    return found, [name for name in arrays if name not in used]


def from_arrays(
    where: str, parts: Mapping[str, Part], titles: Sequence[str] | None = None, problems: Sequence[str] = ()
) -> Dataset:
    """A dataset from the arrays of its splits.

    >>> grey = np.arange(200, dtype=np.uint8).reshape(50, 2, 2)
    >>> from_arrays("mine", {"train": Part(grey, np.arange(50) % 2)}).classes
    ('0', '1')

    Args:
        where: its name.
        parts: the arrays by split, train among them.
        titles: the names of the classes, if the labels are their positions, or are these names.
        problems: what the reader has to say already.

    Raises:
        DataError: the arrays do not match each other.
    """
    # all splits are read alike, by the range of their pixels together
    ends = [pixel_range(_oriented(own.images, where), where) for own in parts.values()]
    reach = min(low for low, _ in ends), max(high for _, high in ends)
    pixels = {part: to_pixels(own.images, where, reach) for part, own in parts.items()}
    if len({array.shape[1] for array in pixels.values()}) > 1:
        raise DataError(f"data={where!r}: is grey in one split and in colour in another; convert one of them.")
    marks = {part: label_texts(own.labels, where, part) for part, own in parts.items() if own.labels is not None}
    if marks and len(marks) < len(parts):
        bare = next(part for part in parts if part not in marks)
        raise DataError(f"data={where!r}: has labels, but none for {bare}; give them for all splits, or for none.")
    unique = sorted({mark for own in marks.values() for mark in own})
    classes = tuple(unique[i] for i in order(unique))
    place = {mark: i for i, mark in enumerate(classes)}
    texts = {own.labels.dtype.kind for own in parts.values() if own.labels is not None} <= {"S", "U"}
    if marks and titles is not None and texts and set(classes) <= set(titles):
        classes = tuple(dict.fromkeys(titles))
        place = {title: i for i, title in enumerate(classes)}
    elif marks and titles is not None:
        strange = [mark for mark in classes if mark not in {str(i) for i in range(len(titles))}]
        if strange:
            raise DataError(f"data={where!r}: has a label {strange[0]!r} and {len(titles)} classes; count from 0.")
        if len(set(titles)) < len(titles):
            raise DataError(f"data={where!r}: has two classes of one name; give each its own.")
        classes, place = tuple(titles), {str(i): i for i in range(len(titles))}
    # as one too: whether 255 is void or a class depends on all masks
    masks = to_classes({part: own.extra["masks"] for part, own in parts.items() if "masks" in own.extra}, where)
    splits = {}
    for part, images in pixels.items():
        targets: dict[str, Target] = {}
        if part in marks:
            _as_many(where, part, len(images), len(marks[part]), "labels")
            targets["label"] = Label(torch.tensor([place[mark] for mark in marks[part]], dtype=torch.int64))
        if part in masks:
            _as_many(where, part, len(images), len(masks[part]), "masks")
            targets["mask"] = Mask(torch.from_numpy(masks[part]))
            if masks[part].shape[1:] != images.shape[2:]:
                shape, own = ("×".join(map(str, array.shape[-2:])) for array in (masks[part], images))
                raise DataError(
                    f"masks={shape} px: do not fit the images of {own} px in data={where!r}; give masks of the images' size."
                )
        if "points" in parts[part].extra:
            targets["points"] = _points(parts[part].extra["points"], len(images), where, part)
        splits[part] = Split(Pixels(images), targets, [f"{part}/{i}" for i in range(len(images))])
    return finish(where, splits, classes, problems)


def _as_many(where: str, part: str, images: int, others: int, what: str) -> None:
    if images != others:
        raise DataError(
            f"data={where!r}: has {images} images and {others} {what} in {part}; give one {what[:-1]} per image."
        )


def label_texts(labels: NDArray[Any], where: str, part: str) -> list[str]:
    """Labels as text: numbers as they are, whole ones without a decimal point; one-hot rows as the position of the one.

    >>> label_texts(np.array([10.0, 2.0]), "x.npz", "train"), label_texts(np.eye(2), "x.npz", "train")
    (['10', '2'], ['0', '1'])

    Args:
        labels: (N,), (N, 1) or one-hot (N, K).
        where: the dataset's name, for errors.
        part: the split, for errors.

    Raises:
        DataError: labels that are no whole numbers from 0, or that are not one per image; the sentence names the first.
    """
    if labels.ndim == 2 and labels.shape[1] > 1 and labels.dtype.kind in "biuf":
        one_hot = (labels != 0).sum(1) == 1
        if not one_hot.all():
            raise DataError(
                f"data={where!r}: has labels of shape {labels.shape} in {part} that are not one-hot, the first at position "
                f"{int(one_hot.argmin())}; give one label per image."
            )
        labels = labels.argmax(1)  # (N, K) -> (N,)
    if labels.ndim == 0 or labels.size != len(labels):
        raise DataError(f"data={where!r}: has labels of shape {labels.shape} in {part}; give one label per image.")
    labels = labels.reshape(-1)
    if labels.dtype.kind in "iuf":
        # comparisons with NaN are false; from 2⁵³ on, floats skip whole numbers
        with np.errstate(invalid="ignore"):
            good = (labels >= 0) & (labels < 2**53) & (labels == np.floor(labels))
        if not good.all():
            first = int(good.argmin())
            raise DataError(
                f"data={where!r}: has label {labels[first]:.9g} at position {first} of {part}; give each image a whole number "
                "from 0, or a name."
            )
        labels = labels.astype(np.int64)
    elif labels.dtype.kind not in "bSU":
        raise DataError(f"data={where!r}: has labels of type {labels.dtype} in {part}; give whole numbers or names.")
    own = labels.tolist()
    texts = [as_text(one.decode(errors="surrogateescape") if isinstance(one, bytes) else str(one)) for one in own]
    if "" in texts:
        raise DataError(f"data={where!r}: has no label at position {texts.index('')} of {part}; give each image one.")
    return texts


def _points(array: NDArray[Any], images: int, where: str, part: str) -> Points:
    _as_many(where, part, images, len(array), "points")
    if array.ndim not in (2, 3) or array.shape[-1] % 2 or (array.ndim == 3 and array.shape[-1] != 2):
        raise DataError(f"points={array.shape}: are not points in data={where!r}; give (N, K, 2) as x and y in px.")
    xy = torch.from_numpy(array.astype(np.float32).reshape(images, -1, 2))
    return Points(xy, partners((), xy))


def to_classes(masks: Mapping[str, NDArray[Any]], where: str) -> dict[str, NDArray[np.uint8]]:
    """Masks by split as (N, H, W) uint8 class numbers, where 255 is void.

    If all masks contain only 0 and 255, they are black-and-white pictures of a single class, and 255 is class 1.

    >>> to_classes({"train": np.array([[[0, 255]]])}, "x.npz")["train"].tolist()
    [[[0, 1]]]

    Raises:
        DataError: numbers that are not classes, or a shape that is not that of masks.
    """
    classes = {}
    for part, array in masks.items():
        if array.ndim == 4 and 1 in (array.shape[1], array.shape[3]):
            array = array[:, 0] if array.shape[1] == 1 else array[..., 0]
        if array.ndim != 3:
            raise DataError(
                f"masks={array.shape}: are not masks in data={where!r}; give (N, H, W) with a class per pixel."
            )
        if array.size and not ((array >= 0) & (array <= 255) & (array == np.round(array))).all():
            raise DataError(
                f"masks={part}: contain numbers that are not classes in data={where!r}; give whole ones from 0 to 255."
            )
        classes[part] = np.ascontiguousarray(array).astype(np.uint8)
    values = {int(value) for array in classes.values() for value in np.flatnonzero(np.bincount(array.reshape(-1)))}
    if 255 in values and values <= {0, 255}:
        classes = {part: np.minimum(array, 1).astype(np.uint8) for part, array in classes.items()}
    return classes


def to_pixels(images: NDArray[Any], where: str, reach: tuple[float, float] | None = None) -> NDArray[Any]:
    """Arrays of images as (N, C, H, W): uint8 where 8 bits hold them, else in their own numbers, which need a scale.

    Whole numbers up to 255 stay as they are, and up to 1 they are multiplied by 255.

    >>> to_pixels(np.ones((2, 4, 5), bool), "x.npz")[0, 0, 0].tolist()
    [255, 255, 255, 255, 255]
    >>> to_pixels(np.full((2, 4, 5), 4095), "x.npz").dtype
    dtype('uint16')

    Args:
        images: (N, H, W), (N, H, W, C) or (N, C, H, W), C = 1 or 3.
        where: the dataset's name, for errors.
        reach: the smallest and the largest number over all splits, which decide the kind; by default those of `images`.

    Raises:
        DataError: NaN or infinite pixels, or a shape that is not that of images.
    """
    images = _oriented(images, where)
    low, high = reach or pixel_range(images, where)
    if images.dtype.kind == "f":
        return np.ascontiguousarray(images, dtype=np.float32)
    if low >= 0 and high <= 1:
        return np.ascontiguousarray(images).astype(np.uint8) * np.uint8(255)
    if low >= 0 and high <= 65535:
        return np.ascontiguousarray(images, dtype=np.uint8 if high <= 255 else np.uint16)
    return np.ascontiguousarray(images)


def pixel_range(images: NDArray[Any], where: str) -> tuple[float, float]:
    """The smallest and the largest number in an array of images.

    Raises:
        DataError: a number is NaN or infinite.
    """
    ends = [(float(block.min()), float(block.max())) for block in _blocks(images)]
    if not np.isfinite(ends).all():  # the extremes of a block are finite if and only if all of it is
        bad = np.concatenate([~np.isfinite(block).all(axis=tuple(range(1, block.ndim))) for block in _blocks(images)])
        raise DataError(
            f"images={int(bad.sum())} of {len(images)}: contain NaN or infinite pixels in data={where!r}, the first at "
            f"position {int(bad.argmax())}; replace them, or remove these images."
        )
    return min(low for low, _ in ends), max(high for _, high in ends)


def _blocks(images: NDArray[Any], rows: int = 1024) -> Iterator[NDArray[Any]]:
    """A few images at a time, as views, so that no wider copy of all of them is ever made."""
    return (images[start : start + rows] for start in range(0, len(images), rows))


def _oriented(images: NDArray[Any], where: str) -> NDArray[Any]:
    """The images as (N, C, H, W), from any of the usual orders."""
    shape = images.shape
    if images.ndim == 3:
        images = images[:, None]
    elif images.ndim == 4 and images.shape[1] not in (1, 3) and images.shape[3] in (1, 3):
        images = images.transpose(0, 3, 1, 2)
    if images.ndim != 4 or images.shape[1] not in (1, 3) or 0 in images.shape or images.dtype.kind not in "biuf":
        raise DataError(
            f"images={shape}: are not images in data={where!r}; "
            "give numbers of shape (N, H, W), (N, H, W, C) or (N, C, H, W) with C = 1 or 3."
        )
    return images
