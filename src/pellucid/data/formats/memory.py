# SPDX-License-Identifier: Apache-2.0
"""Datasets from what Python already holds: arrays, lists of samples, torch datasets and Hugging Face datasets."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, final

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from pellucid.data.dataset import Dataset, Split
from pellucid.data.formats.arrays import Part, from_arrays, label_texts
from pellucid.data.given import Arrays, gather
from pellucid.data.splitting import SPLITS, finish, order, split_word
from pellucid.data.targets import Label
from pellucid.errors import DataError, UsageError, brief

__all__ = ["NAME", "from_memory", "recalled"]

NAME = "memory:"
"""The beginning of the name of such a dataset; a part of its fingerprint follows."""

_KEPT = 4
_known: dict[str, Dataset] = {}  # the latest datasets by name, so that a run finds its own again in this process
_WAYS = "give arrays (x, y), a list of (image, label), a torch or Hugging Face dataset, or a dict of these by split, train among them"


def from_memory(what: Any) -> Dataset:
    """A dataset from arrays or samples in memory.

    >>> x, y = np.arange(200, dtype=np.uint8).reshape(50, 2, 2), np.arange(50) % 2
    >>> from_memory((x, y)).classes, from_memory([(image, label) for image, label in zip(x, y)]).classes
    (('0', '1'), ('0', '1'))

    Args:
        what: arrays or tensors `(x, y)`, or `x` alone: x (N, H, W), (N, H, W, C) or (N, C, H, W) of whole numbers or floats in
            [0, 1], y (N,) numbers or names, or class masks (N, H, W); a list of images with their targets; anything
            with a length whose items are such pairs, as torch's datasets are; a Hugging Face dataset with a column of images; or a
            dict of these by split.

    Raises:
        DataError: it is none of these, an image is not one, or a target is neither a label nor a mask.
    """
    by_split = _by_split(what)
    gathered = {part: _gathered(own, part) for part, own in by_split.items()}
    titles = next((own.titles for own in gathered.values() if own.titles), None)
    arrays = {part: own.stacked for part, own in gathered.items()}
    if all(array is not None for array in arrays.values()):
        parts = {
            part: Part(array, None if own.labels is None else np.asarray(own.labels), own.masks)
            for (part, own), array in zip(gathered.items(), arrays.values(), strict=True)
            if array is not None
        }
        dataset = from_arrays("memory", parts, titles)
    else:
        dataset = _of_any_size(gathered, titles)
    dataset = dataset.replace(name=NAME + dataset.fingerprint[:12])
    _known.pop(dataset.name, None)
    _known[dataset.name] = dataset
    for old in [*_known][:-_KEPT]:
        del _known[old]
    return dataset


def recalled(name: str) -> Dataset:
    """A dataset that this process was given before.

    Raises:
        DataError: it was not, or several others were given since.
    """
    if name not in _known:
        raise DataError(
            f"data={name!r}: was given in Python and lies in no file; open the same arrays again with "
            "pellucid.data.open(…) in this process, then repeat the call."
        )
    return _known[name]


@final
@dataclass(frozen=True)
class _Given:
    """The samples of one split."""

    images: Any  # an array (N, …), or a list of (C, H, W) arrays
    labels: Sequence[Any] | NDArray[Any] | None
    masks: Mapping[str, NDArray[Any]]  # {} or {"masks": (N, H, W)}
    titles: Sequence[str] | None  # the names of the classes, where the samples say them

    @property
    def stacked(self) -> NDArray[Any] | None:
        """All images as one array; None where their sizes differ."""
        if isinstance(self.images, np.ndarray):
            return self.images
        alike = len({(image.shape, image.dtype) for image in self.images}) == 1
        return np.stack(self.images) if alike else None


def _by_split(what: Any) -> dict[str, Any]:
    """What was given, by split; all of it for training where it names none."""
    if not isinstance(what, Mapping):
        return {"train": what}
    words = {key: split_word(str(key)) for key in what}
    if strange := [key for key, word in words.items() if word is None]:
        raise DataError(f"data={{{strange[0]!r}: …}}: is not the name of a split; name them train, val and test.")
    found = {SPLITS[word]: what[key] for key, word in words.items() if word is not None}
    if len(found) < len(words):
        raise DataError(f"data={{{', '.join(map(repr, words))}}}: names a split twice; keep one of them.")
    if "train" not in found:
        raise DataError(f"data={{{', '.join(map(repr, words))}}}: has nothing for train; add it.")
    return found


def _gathered(what: Any, part: str) -> _Given:
    """The samples of a split."""
    if isinstance(what, tuple):  # a list has samples
        return _pair(what, part)
    if _is_array(what):
        return _Given(_array(what), None, {}, None)
    titles = getattr(what, "classes", None)
    if hasattr(what, "features") and hasattr(what, "column_names"):
        samples, titles = _columns(what)
    elif hasattr(what, "__getitem__") and hasattr(what, "__len__") and not isinstance(what, (str, bytes)):
        samples = (what[i] for i in range(len(what)))
    else:
        raise DataError(f"data={type(what).__name__}: cannot be read as a dataset; {_WAYS}.")
    known = [str(title) for title in titles] if isinstance(titles, (list, tuple)) else None
    return _collected(samples, part, known)


def _pair(what: tuple[Any, ...], part: str) -> _Given:
    """Images and their targets, as arrays or lists."""
    if len(what) != 2 or not all(_is_array(own) or isinstance(own, (list, tuple)) for own in what):
        raise DataError(f"data=({', '.join(type(own).__name__ for own in what)}): is not (x, y); {_WAYS}.")
    x, y = what
    if len(x) != len(y):
        raise DataError(f"data=(x, y): has {len(x)} images and {len(y)} targets in {part}; give one for each.")
    if not _is_array(x):
        return _collected(zip(x, y, strict=True), part, None)
    y = _array(y)
    masks = y.ndim >= 3
    return _Given(_array(x), None if masks else y, {"masks": y} if masks else {}, None)


def _collected(samples: Iterable[Any], part: str, titles: Sequence[str] | None) -> _Given:
    """Samples one by one: an image, or an image and its target."""
    images, labels, masks = [], [], []
    for place, sample in enumerate(samples):
        image, target = sample if isinstance(sample, (tuple, list)) and len(sample) == 2 else (sample, None)
        where = f"data: sample {place} of {part}"
        images.append(_image(image, where))
        plane = _array(target) if isinstance(target, Image.Image) or _is_array(target) else None
        if plane is not None and plane.ndim >= 2:
            masks.append(plane.reshape(plane.shape[-2:]))
        elif isinstance(target, (Mapping, list, tuple)):
            raise DataError(
                f"{where}: has a target of type {type(target).__name__}, and labels and masks are read; write objects and points as "
                "a folder with a table, such as COCO."
            )
        elif target is not None:
            labels.append(target if plane is None else plane.item() if plane.size == 1 else plane.tolist())
    if not images:
        raise DataError(f"data: has no images in {part}; give at least one.")
    for what, found in (("labels", labels), ("masks", masks)):
        if found and len(found) < len(images):
            raise DataError(f"data: has {len(images)} images and {len(found)} {what} in {part}; give one for each.")
    if masks and len({mask.shape for mask in masks}) > 1:
        raise DataError(
            f"data: has masks of several sizes in {part}; give all one size, or a folder of images and masks."
        )
    return _Given(images, np.asarray(labels) if labels else None, {"masks": np.stack(masks)} if masks else {}, titles)


def _columns(table: Any) -> tuple[Iterator[Any], Sequence[str] | None]:
    """The samples of a Hugging Face dataset, and the names of its classes."""
    kinds = {name: type(feature).__name__ for name, feature in table.features.items()}
    images = [name for name, kind in kinds.items() if kind == "Image"]
    labels = [name for name, kind in kinds.items() if kind == "ClassLabel"] or [
        name for name in ("label", "labels") if name in kinds
    ]
    if len(images) != 1:
        raise DataError(
            f"data={type(table).__name__}: has the columns {', '.join(kinds)}, of which {len(images) or 'none'} "
            f"{'is' if len(images) < 2 else 'are'} of images; keep exactly one, e.g. with select_columns."
        )
    names = getattr(table.features[labels[0]], "names", None) if labels else None
    pairs = ((row[images[0]], row[labels[0]]) if labels else row[images[0]] for row in table)
    return pairs, names


def _image(image: Any, where: str) -> NDArray[Any]:
    """One image (C, H, W): uint8, or whole numbers of more bits."""
    try:
        given = gather([image])
    except UsageError as fault:
        raise DataError(f"{where}: {brief(fault)}") from None
    if 0 in given.floats:  # in [0, 1], as torchvision's ToTensor makes them of 8 bits
        levels: NDArray[Any] = np.rint(given.floats[0].numpy() * 255)
        return levels.astype(np.uint8)
    if 0 in given.faults:
        raise DataError(f"{where}: {given.faults[0]}")
    stored = given.split.images
    image = stored.arrays[0] if isinstance(stored, Arrays) else stored.read(0, stored.channels)  # of a path
    return np.asarray(image)


def _of_any_size(gathered: Mapping[str, _Given], titles: Sequence[str] | None) -> Dataset:
    """A dataset whose images have sizes of their own."""
    if any(own.masks for own in gathered.values()):
        raise DataError(
            "data: has masks, and images of several sizes; give all one size, or a folder of images and masks."
        )
    texts = {
        part: label_texts(np.asarray(own.labels), "memory", part)
        for part, own in gathered.items()
        if own.labels is not None
    }
    if texts and len(texts) < len(gathered):
        bare = next(part for part in gathered if part not in texts)
        raise DataError(f"data: has labels, but none for {bare}; give them for all splits, or for none.")
    unique = sorted({text for own in texts.values() for text in own})
    ordered = [unique[i] for i in order(unique)]
    numbers = {str(i) for i in range(len(titles))} if titles is not None else set()
    named = titles is not None and set(unique) <= numbers
    classes = tuple(titles) if titles is not None and named else tuple(ordered)
    place = {str(i): i for i in range(len(classes))} if named else {text: i for i, text in enumerate(classes)}
    splits = {}
    for part, own in gathered.items():
        targets = {"label": Label(torch.tensor([place[text] for text in texts[part]]))} if part in texts else {}
        images = list(own.images)
        splits[part] = Split(Arrays(images), targets, [f"{part}/{i}" for i in range(len(images))])
    return finish("memory", splits, classes)


def _is_array(what: Any) -> bool:
    return isinstance(what, (np.ndarray, np.generic, Tensor))


def _array(what: Any) -> NDArray[Any]:
    array: NDArray[Any] = what.detach().cpu().numpy() if isinstance(what, Tensor) else np.asarray(what)
    return array
