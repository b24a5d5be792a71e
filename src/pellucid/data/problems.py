# SPDX-License-Identifier: Apache-2.0
"""What is wrong with the images, labels and splits of a dataset, a sentence each."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import torch
from numpy.typing import NDArray

from pellucid.data.dataset import Split
from pellucid.data.decoding import Files
from pellucid.data.targets import Boxes, Label
from pellucid.errors import DataError
from pellucid.files import as_text

__all__ = ["check_known", "counted", "few", "sentences"]

_FEW = 10  # training images of a class, below which it is named
_IMBALANCE = 10  # times as many training images as the smallest class has
_COARSE = 50  # images of a split, below which accuracy moves in steps of more than 2 points
_LONG = 80  # characters of a name in a sentence
_NEARLY = 0.95  # share of a class's images that makes a property its own


def counted(n: int, word: str = "image") -> str:
    """A number with its noun.

    >>> counted(1), counted(2300, "folder")
    ('1 image', '2,300 folders')
    """
    return f"{n:,} {word}" if n == 1 else f"{n:,} {word}s"


def few(names: Sequence[str], most: int = 3) -> str:
    """The first of several names.

    >>> few(["a", "b", "c", "d"])
    'a, b, c, …'
    """
    shown = ("".join(c if c.isprintable() else "\ufffd" for c in as_text(name)) for name in names[:most])
    return ", ".join(name if len(name) <= _LONG else name[:_LONG] + "…" for name in shown) + (
        ", …" if len(names) > most else ""
    )


def check_known(name: str, labels: Mapping[str, torch.Tensor], classes: Sequence[str]) -> None:
    """Refuse labels, of images or of objects, of classes that have no training images.

    Args:
        name: the dataset's name.
        labels: (n,) classes of each split.
        classes: their names.

    Raises:
        DataError: val or test has a class that train lacks.
    """
    if "train" not in labels or not len(labels["train"]):
        return
    most = max(len(classes), *(int(own.max()) + 1 for own in labels.values() if len(own)), 0)
    present = torch.bincount(labels["train"], minlength=most) > 0
    for part in ("val", "test"):
        strange = [i for i in sorted(set(labels[part].tolist() if part in labels else ())) if not present[i]]
        if strange:
            title = classes[strange[0]] if strange[0] < len(classes) else str(strange[0])
            title = title if len(title) <= _LONG else f"{title[:_LONG]}…"
            raise DataError(
                f"data={name!r}: class {title!r} of {part} is missing from train; add images of it there, or remove it."
            )


def sentences(
    splits: Mapping[str, Split], digests: Mapping[str, Sequence[bytes]], classes: tuple[str, ...]
) -> list[str]:
    """All that is wrong with a dataset's splits.

    Args:
        splits: train, val and test.
        digests: hashes of each image's pixels.
        classes: the names of the classes.
    """
    return [
        *_straddling(splits, digests),
        *_contradicting(splits, digests, classes),
        *_mixed(splits),
        *_pages(splits),
        *_thin(splits, classes),
        *_bare(splits),
        *_scarce(splits, classes),
        *_coarse(splits),
        *_leaks(splits, classes),
    ]


def _straddling(splits: Mapping[str, Split], digests: Mapping[str, Sequence[bytes]]) -> list[str]:
    """A sentence for each pair of splits that share exact duplicates."""
    sets, parts, found = {part: set(own) for part, own in digests.items()}, list(splits), []
    for i, one in enumerate(parts):
        for other in parts[i + 1 :]:
            shared = sets[one] & sets[other]
            if shared:
                places = [k for k, digest in enumerate(digests[other]) if digest in shared]
                names = [splits[other].names[k] for k in places[:4]]
                found.append(
                    f"{counted(len(places))} of {other} {'is' if len(places) == 1 else 'are'} duplicated in {one}, pixel for pixel "
                    f"({few(names)}): measures on {other} are too optimistic."
                )
    return found


def _contradicting(
    splits: Mapping[str, Split], digests: Mapping[str, Sequence[bytes]], classes: Sequence[str]
) -> list[str]:
    """A sentence if identical images have different labels."""
    seen: dict[bytes, tuple[int, str]] = {}
    pairs: list[tuple[str, str, int, int]] = []
    for part, split in splits.items():
        label = split.targets.get("label")
        if isinstance(label, Label):
            for digest, own, name in zip(digests[part], label.index.tolist(), split.names, strict=True):
                other, title = seen.setdefault(digest, (own, name))
                if other != own:
                    pairs.append((title, name, other, own))
    if not pairs:
        return []
    title, name, other, own = pairs[0]
    return [
        f"{counted(len(pairs))} occur{'s' if len(pairs) == 1 else ''} in two classes, pixel for pixel; the first: {title} "
        f"({classes[other]}) and {name} ({classes[own]})."
    ]


def _mixed(splits: Mapping[str, Split]) -> list[str]:
    grey = total = 0
    for split in splits.values():
        if isinstance(split.images, Files):
            grey += int((split.images.scanned.channels == 1).sum())
            total += len(split)
    if 0 < grey < total:
        return [
            f"{grey:,} of {total:,} images {'is' if grey == 1 else 'are'} grey, the others in colour: all are read in colour."
        ]
    return []


def _pages(splits: Mapping[str, Split]) -> list[str]:
    """Stacks and animations, of which only the first page or frame is an image."""
    several = [
        (name, int(pages))
        for split in splits.values()
        if isinstance(split.images, Files)
        for name, pages in zip(split.names, split.images.scanned.pages.tolist(), strict=True)
        if pages > 1
    ]
    if not several:
        return []
    name, pages = several[0]
    return [
        f"{counted(len(several), 'file')} {'has' if len(several) == 1 else 'have'} several pages or frames ({name}: {pages:,}): "
        "the first one is read; save the others as files of their own to use them."
    ]


def _thin(splits: Mapping[str, Split], classes: tuple[str, ...]) -> list[str]:
    """Splits that are empty or of a single class, and classes that train lacks."""
    found = []
    for part, split in splits.items():
        if not len(split):
            found.append(f"The {part} split is empty.")
        elif (tally := _tally(split, classes)) is not None:
            if (tally > 0).sum() == 1:
                found.append(f"The {part} split has a single class, {classes[int(tally.argmax())]!r}.")
            elif absent := [c for c, n in zip(classes, tally, strict=True) if not n]:
                lacks = few(absent, 5)
                if part == "train":
                    found.append(f"The train split has no images of {lacks}.")
                else:
                    found.append(
                        f"The {part} split has no images of {lacks}: nothing is measured there for these classes."
                    )
    return found


def _bare(splits: Mapping[str, Split]) -> list[str]:
    """Splits whose images show no object, where there are boxes."""
    found = []
    for part, split in splits.items():
        boxes = split.targets.get("boxes")
        if isinstance(boxes, Boxes) and len(split) and not any(len(own) for own in boxes.labels):
            meaning = "nothing about objects can be learned" if part == "train" else "no objects are measured there"
            found.append(f"No image of the {part} split has an object: {meaning}.")
    return found


def _scarce(splits: Mapping[str, Split], classes: tuple[str, ...]) -> list[str]:
    """Classes with few training images, and classes with many more than others."""
    tally = _tally(splits["train"], classes)
    if tally is None or not tally.any():
        return []
    found = []
    scarce = [f"{c}: {n}" for c, n in zip(classes, tally.tolist(), strict=True) if 0 < n < _FEW]
    if scarce:
        about = f"{len(scarce)} of {len(classes)} classes {'has' if len(scarce) == 1 else 'have'}"
        found.append(
            f"{about} fewer than {_FEW} training images ({few(scarce, 5)}): too few to learn from or to measure; add images."
        )
    present = np.flatnonzero(tally)
    most, least = int(tally.argmax()), int(present[tally[present].argmin()])
    if tally[most] >= _IMBALANCE * tally[least] and "label" not in splits["train"].targets:
        found.append(
            f"The objects are imbalanced, from {counted(int(tally[least]))} with {classes[least]!r} to {tally[most]:,} with "
            f"{classes[most]!r} in train: a model learns the common ones best; add images of the rare ones."
        )
    elif tally[most] >= _IMBALANCE * tally[least]:
        found.append(
            f"The classes are imbalanced, from {counted(int(tally[least]))} of {classes[least]!r} to {tally[most]:,} of "
            f"{classes[most]!r} in train: accuracy favours the large ones; classify weights all alike with --class-weights."
        )
    return found


def _coarse(splits: Mapping[str, Split]) -> list[str]:
    """Splits that are too small to tell one model from another."""
    found = []
    for part in ("val", "test"):
        n = len(splits[part])
        if 0 < n < _COARSE:
            labelled = isinstance(splits[part].targets.get("label"), Label)
            steps = f"accuracy moves in steps of {100 / n:.2g} points, too coarse" if labelled else "too few"
            found.append(f"The {part} split has {counted(n)}: {steps} to tell similar models apart.")
    return found


def _leaks(splits: Mapping[str, Split], classes: tuple[str, ...]) -> list[str]:
    """Sizes, and grey or colour, that go with a class: a model may learn these instead of what the images show."""
    parts = [
        (split.images, label.index.numpy())
        for split in splits.values()
        if len(split) and isinstance(split.images, Files) and isinstance(label := split.targets.get("label"), Label)
    ]
    if not parts or len(classes) < 2:
        return []
    labels = np.concatenate([own for _, own in parts])  # (N,)
    sizes = np.concatenate([images.sizes for images, _ in parts])  # (N, 2)
    grey = np.concatenate([images.scanned.channels == 1 for images, _ in parts])  # (N,)
    found = []
    unique, code = np.unique(sizes, axis=0, return_inverse=True)
    whose = _of_some_classes(code.reshape(-1), labels, len(classes))
    if whose is not None:
        value, own, rest = whose
        height, width = unique[value]
        found.append(
            f"Nearly all images of {_named(own, classes)} have {height}×{width} px, and hardly any of the other "
            f"{counted(len(rest), 'class').replace('classs', 'classes')}: the size tells the class, which a model may learn instead."
        )
    whose = _of_some_classes(grey.astype(np.int64), labels, len(classes))
    if whose is not None:
        value, own, rest = whose
        found.append(
            f"Nearly all images of {_named(own, classes)} are {'grey' if value else 'in colour'}, and hardly any of the "
            "others: that tells the class, which a model may learn instead."
        )
    return found


def _of_some_classes(
    code: NDArray[np.int64], labels: NDArray[np.int64], classes: int
) -> tuple[int, list[int], list[int]] | None:
    """A value that nearly all images of some classes have and hardly any of the others, with these classes and the others.

    Args:
        code: (N,) the value of each image, from 0.
        labels: (N,) the class of each image.
        classes: how many there are.
    """
    total = np.bincount(labels, minlength=classes)  # (K,)
    common = np.bincount(code)
    for value in np.argsort(-common, kind="stable")[:classes]:  # a value that fills a class is among the most common
        share = np.bincount(labels[code == value], minlength=classes) / np.maximum(total, 1)  # (K,)
        own, rest = (
            np.flatnonzero((share >= _NEARLY) & (total > 0)),
            np.flatnonzero((share <= 1 - _NEARLY) & (total > 0)),
        )
        enough = min(total[own].sum(), total[rest].sum()) >= _FEW if len(own) and len(rest) else False
        if enough and len(own) + len(rest) == (total > 0).sum():
            return int(value), own.tolist(), rest.tolist()
    return None


def _named(own: Sequence[int], classes: Sequence[str]) -> str:
    names = [classes[i] for i in own]
    return f"class {names[0]!r}" if len(names) == 1 else f"{len(names)} classes ({few(names)})"


def _tally(split: Split, classes: Sequence[str]) -> NDArray[np.int64] | None:
    """(K,) images of each class, or images that hold an object of it, if there are classes to tell apart."""
    label, boxes = split.targets.get("label"), split.targets.get("boxes")
    if len(classes) < 2:
        return None
    if isinstance(label, Label):
        return np.bincount(label.index.numpy(), minlength=len(classes))
    if isinstance(boxes, Boxes):
        return boxes.holders(len(classes)).numpy()
    return None
