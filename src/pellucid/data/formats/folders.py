# SPDX-License-Identifier: Apache-2.0
"""Folders of image files: class subfolders, with or without splits above them, and plain images."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import torch

from pellucid.data.dataset import Dataset, Split
from pellucid.data.decoding import SUFFIXES
from pellucid.data.formats import tables
from pellucid.data.formats.finding import holds_images, images_below, readable
from pellucid.data.splitting import SPLITS, finish, order
from pellucid.data.targets import Label, Target
from pellucid.errors import DataError

__all__ = ["open_folder"]


def open_folder(path: Path) -> Dataset:
    """A folder of images, read by its layout.

    Folders named train, val and test (or a usual synonym) are splits. Below them, or at the top, each folder with images is
    a class; images outside of such folders have no label. A metadata table beside the images adds further targets.

    Raises:
        DataError: there are no images, none can be read, or val or test has a class that train lacks.
    """
    tops, problems = _splits(path)
    metadata = {part: table for part, top in tops.items() if (table := _metadata(top)) is not None}
    if metadata:
        bare = [part for part in tops if part not in metadata]
        if bare:
            raise DataError(
                f"data={str(path)!r}: has a {metadata[next(iter(metadata))].name}, but none in {bare[0]}; add one there."
            )
        return tables.open_table(path, tops, metadata)
    listed = {part: images_below(top) for part, top in tops.items()}
    if not any(listed.values()):
        raise DataError(
            f"data={str(path)!r}: contains no images; give a folder with {', '.join(sorted(SUFFIXES))} files."
        )
    labels = {part: [_class(name) for name in names] for part, names in listed.items()}
    for part in ("val", "test"):
        if any(labels["train"]) and labels.get(part) and not any(labels[part]):  # a competition's images to predict
            problems.append(f"The {part} folder has no class folders: its {len(labels[part]):,} images are left out.")
            del listed[part], labels[part]
    classes, unlabelled = _classes(labels)
    problems += unlabelled
    splits = {}
    for part, names in listed.items():
        below = tops[part].relative_to(path).as_posix()
        titles = names if below == "." else [f"{below}/{name}" for name in names]
        good, images, unreadable = readable([path / title for title in titles], titles)
        problems += unreadable
        targets: dict[str, Target] = {}
        if classes:
            place = {name: i for i, name in enumerate(classes)}
            targets["label"] = Label(torch.tensor([place[str(labels[part][i])] for i in good], dtype=torch.int64))
        splits[part] = Split(images, targets, [titles[i] for i in good])
    if not any(len(split) for split in splits.values()):
        raise DataError(f"data={str(path)!r}: contains no image that can be read; the first: {problems[-1]}")
    return finish(str(path), splits, classes, problems)


def _splits(path: Path) -> tuple[dict[str, Path], list[str]]:
    """The folder of each split, or the whole folder as train; and a sentence on what is ignored."""
    subs = [sub for sub in sorted(path.iterdir()) if sub.is_dir() and sub.name[0] != "."]
    named = [sub for sub in subs if sub.name.lower() in SPLITS]
    others = [sub for sub in subs if sub not in named and holds_images(sub)]
    parts = {SPLITS[sub.name.lower()]: sub for sub in named}
    if not named or (others and len(parts) < 2):  # a class may be called train, beside car and ship
        return {"train": path}, []
    if len(parts) < len(named):
        names = ", ".join(sub.name for sub in named)
        raise DataError(f"data={str(path)!r}: has folders {names}, two of them for the same split; keep one of each.")
    if "train" not in parts:
        raise DataError(f"data={str(path)!r}: has {', '.join(sorted(parts))} but no train; add a folder train.")
    ignored = [sub.name for sub in others] + [f.name for f in sorted(path.iterdir()) if f.suffix.lower() in SUFFIXES]
    sentence = (
        f"Images beside the split folders are ignored: {', '.join(ignored[:3])}{', …' if len(ignored) > 3 else ''}."
    )
    return parts, [sentence] if ignored else []


def _metadata(top: Path) -> Path | None:
    return next((top / name for name in tables.METADATA if (top / name).is_file()), None)


def _class(name: str) -> str | None:
    """The first folder below the split; None for a file that is in none."""
    first, slash, _ = name.partition("/")
    return first if slash else None


def _classes(labels: Mapping[str, Sequence[str | None]]) -> tuple[tuple[str, ...], list[str]]:
    """The class names in natural order; none, and a sentence, if images lie beside the class folders."""
    labels_used = {label for own in labels.values() for label in own}
    names = sorted(label for label in labels_used if label is not None)
    titles = tuple(names[i] for i in order(names))
    if names and None in labels_used:
        more = ", …" if len(names) > 3 else ""
        return (), [f"Some images lie beside the folders {', '.join(titles[:3])}{more}: all are read without labels."]
    return titles, []
