# SPDX-License-Identifier: Apache-2.0
"""Folders of image files: class subfolders, with or without splits above them, and plain images."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

import torch

from pellucid.data.dataset import Dataset, Split
from pellucid.data.decoding import SUFFIXES
from pellucid.data.formats import tables
from pellucid.data.formats.finding import Found, left_out, readable
from pellucid.data.problems import counted, few
from pellucid.data.splitting import SPLITS, finish, order
from pellucid.data.targets import Label, Target
from pellucid.errors import DataError
from pellucid.files import as_text

__all__ = ["has_classes", "open_folder"]

_TARGETS = frozenset({"mask", "masks", "annotations", "annotation", "annot", "groundtruth", "ground_truth", "gt"})
_NO_CLASSES = frozenset({"unlabelled", "unlabeled", "unsupervised", "extra"})  # beside folders of splits


def has_classes(found: Found) -> bool:
    """Whether images lie in folders that mean something: at least two classes, or splits."""
    filled = [name for name, images in found.subfolders.items() if images]
    return len(filled) > 1 or any(name.lower() in SPLITS for name in filled)


def open_folder(path: Path, found: Found) -> Dataset:
    """A folder of images, read by its layout.

    Folders named train, val and test (or a usual synonym) are splits. Below them, or at the top, each folder with images is
    a class. A metadata table beside the images adds further targets. Whatever is left out is named.

    Args:
        path: the folder.
        found: what lies below it.

    Raises:
        DataError: there are no images, none can be read, or val or test has a class that train lacks.
    """
    name, whole, others, apart = str(path), path, found.others, (found.closed, found.answers)
    path, found = _unwrapped(path, found)
    tops, problems = _splits(name, found)
    metadata = {part: table for part, top in tops.items() if (table := _metadata(path / top)) is not None}
    if not metadata and (table := _metadata(path)) is not None:  # one table above the folders of the splits
        tops, metadata, problems = {"train": ""}, {"train": table}, []
    own = {table.relative_to(whole).as_posix() for table in metadata.values()}
    problems += left_out([other for other in others if other not in own], *apart)
    if metadata:
        bare = [part for part in tops if part not in metadata]
        if bare:
            raise DataError(
                f"data={name!r}: has a {metadata[next(iter(metadata))].name}, but none in {bare[0]}; add one there."
            )
        below_tops = {part: found.below(top).images if top else found.images for part, top in tops.items()}
        return tables.open_table(
            path, {part: path / top for part, top in tops.items()}, metadata, below_tops, problems, name
        )
    below = {part: found.below(top) if top else found for part, top in tops.items()}
    if not any(own.images for own in below.values()):
        more = f" ({' '.join(told)[:-1]})" if (told := left_out(others, *apart)) else ""
        raise DataError(
            f"data={name!r}: contains no images{more}; give a folder with {', '.join(sorted(SUFFIXES))} files."
        )
    listed = {part: own.images for part, own in below.items()}
    labels, unlabelled = _labels(listed, problems)
    used = {label for own in labels.values() for label in own if label is not None}
    classes = () if unlabelled else tuple(_ordered(used))
    if len(classes) > 1:
        problems += _strange_classes(classes, below.values())
        empty = _ordered({sub for own in below.values() for sub, n in own.subfolders.items() if not n} - used)
        if empty:
            verb = "has no images and is no class" if len(empty) == 1 else "have no images and are no classes"
            problems.append(f"{counted(len(empty), 'folder')} {verb}: {few(empty)}.")
    splits = {}
    place = {title: i for i, title in enumerate(classes)}
    for part, names in listed.items():
        files = [f"{tops[part]}/{one}" if tops[part] else one for one in names]
        titles = [as_text(file) for file in files]
        good, images, unreadable = readable([path / file for file in files], titles)
        problems += unreadable
        targets: dict[str, Target] = {}
        if classes:
            targets["label"] = Label(torch.tensor([place[str(labels[part][i])] for i in good], dtype=torch.int64))
        splits[part] = Split(images, targets, [titles[i] for i in good])
    if not any(len(split) for split in splits.values()):
        raise DataError(f"data={name!r}: contains no image that can be read; the first: {problems[-1]}")
    return finish(name, splits, classes, problems)


def _strange_classes(classes: Sequence[str], below: Iterable[Found]) -> list[str]:
    """Sentences on folders that are read as classes, though they may be meant otherwise."""
    sentences = []
    if masks := [title for title in classes if title.lower() in _TARGETS]:
        sentences.append(
            f"{'The folder' if len(masks) == 1 else 'The folders'} {few(masks)} {'is' if len(masks) == 1 else 'are'} read as "
            f"{'a class' if len(masks) == 1 else 'classes'}: masks need the names of their images, or a metadata table with mask_file_name."
        )
    seconds = {name.split("/")[1] for own in below for name in own.images if name.count("/") > 1}
    if splits := _ordered({second for second in seconds if second.lower() in SPLITS}):
        sentences.append(
            f"The folders {few(splits)} within the classes are not read as splits, and their images are split again: to keep "
            "them, put the folders of the classes into those of the splits."
        )
    return sentences


def _unwrapped(path: Path, found: Found) -> tuple[Path, Found]:
    """The folder that holds the dataset: an archive often unpacks into a single folder within the one that was given."""
    while True:
        filled = [sub for sub, images in found.subfolders.items() if images]
        inner = found.below(filled[0]) if len(filled) == 1 and not found.beside else Found()
        wrapped = filled and filled[0].lower() not in SPLITS and _metadata(path) is None
        if not wrapped or not (has_classes(inner) or _metadata(path / filled[0]) is not None):
            return path, found
        path, found = path / filled[0], inner


def _splits(name: str, found: Found) -> tuple[dict[str, str], list[str]]:
    """The folder of each split, or "", the whole folder, as train; and sentences on what is left out."""
    subs = found.subfolders
    named = [sub for sub in subs if sub.lower() in SPLITS]
    others = [sub for sub, images in subs.items() if images and sub not in named]
    parts = {SPLITS[sub.lower()]: sub for sub in named}
    if not named or (others and not any(subs[sub] for sub in named)):
        return {"train": ""}, []
    if others and len(parts) < 2 and not _is_split(name, found, named[0], others):
        return {"train": ""}, [f"The folder {named[0]} is read as a class, like {few(others)} beside it."]
    if len(parts) < len(named):
        raise DataError(
            f"data={name!r}: has folders {', '.join(named)}, two of them for the same split; keep one of each."
        )
    if "train" not in parts:
        raise DataError(f"data={name!r}: has {', '.join(sorted(parts))} but no train; add a folder train.")
    problems = []
    if others:
        total = sum(subs[sub] for sub in others)
        problems.append(
            f"{counted(total)} in {few(others)} beside the split folders {'is' if total == 1 else 'are'} left out."
        )
    if found.beside:
        problems.append(_loose(found.beside, "beside the split folders"))
    return parts, problems


def _is_split(name: str, found: Found, only: str, others: Sequence[str]) -> bool:
    """Whether a single folder called train, val or test is a split: a class may be called train, beside car and ship."""
    inner = [sub for sub, images in found.below(only).subfolders.items() if images]
    if SPLITS[only.lower()] != "train":
        if set(inner) & set(others):
            raise DataError(
                f"data={name!r}: has the folder {only} beside {few(others)}, which are classes in it; move these into a folder train."
            )
        return False
    return len(inner) > 1 or all(other.lower() in _NO_CLASSES for other in others)


def _loose(names: Sequence[str], where: str) -> str:
    return f"{counted(len(names))} {where} {'is' if len(names) == 1 else 'are'} left out ({few(names)})."


def _metadata(top: Path) -> Path | None:
    return next((top / name for name in tables.METADATA if (top / name).is_file()), None)


def _labels(listed: dict[str, list[str]], problems: list[str]) -> tuple[Mapping[str, Sequence[str | None]], bool]:
    """The class of each image, the first folder below its split; and whether images are read without labels.

    Images that have none, beside the folders of classes, are removed from `listed`.
    """
    labels = {part: [_class(name) for name in names] for part, names in listed.items()}
    known = {label for label in labels["train"] if label is not None}
    if not known:
        strange = {label for own in labels.values() for label in own if label is not None}
        if strange:
            problems.append(
                f"No folder of train is a class, as {few(_ordered(strange))} are: all are read without labels."
            )
        return labels, True
    for part in ("val", "test"):
        if labels.get(part) and not any(labels[part]):  # a competition's images to predict
            problems.append(f"The {part} folder has no class folders: its {len(labels[part]):,} images are left out.")
            del listed[part], labels[part]
    for part, names in listed.items():
        beside = [name for name, label in zip(names, labels[part], strict=True) if label is None]
        if not beside:
            continue
        if len(known) < 2 or 2 * len(beside) > len(names):
            folders = f"folder{'' if len(known) == 1 else 's'} {few(_ordered(known))}"
            problems.append(f"Some images lie beside the {folders}: all are read without labels.")
            return labels, True
        problems.append(_loose(beside, "beside the class folders" + ("" if len(listed) == 1 else f" of {part}")))
        listed[part] = [name for name, label in zip(names, labels[part], strict=True) if label is not None]
        labels[part] = [label for label in labels[part] if label is not None]
    return labels, False


def _class(name: str) -> str | None:
    """The first folder below the split; None for a file that is in none."""
    first, slash, _ = name.partition("/")
    return as_text(first) if slash else None


def _ordered(names: set[str]) -> list[str]:
    unique = sorted(names)
    return [unique[i] for i in order(unique)]
