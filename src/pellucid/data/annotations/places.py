# SPDX-License-Identifier: Apache-2.0
"""Where the images lie that annotations name: annotations often come from another machine, or were moved without them."""

from __future__ import annotations

import posixpath
import re
import unicodedata
from collections import defaultdict
from typing import final

from pellucid.data.annotations.reading import Fault
from pellucid.data.formats.finding import Found
from pellucid.data.splitting import SPLITS

__all__ = ["ImageFiles", "inside", "kin", "part_of"]


def part_of(file: str) -> str | None:
    """The split that a path means: by its own name, or by the nearest of its folders that has a word for one.

    >>> part_of("annotations/instances_train2017.json"), part_of("valid/_annotations.coco.json"), part_of("a/all.json")
    ('train', 'val', None)
    """
    for name in reversed(file.split("/")):
        words = re.split(r"[\W_\d]+", name.lower())
        if found := next((SPLITS[word] for word in words if word in SPLITS), None):
            return found
    return None


def kin(file: str) -> tuple[str, ...]:
    """The folders of a file without those of splits: files of one kind for which they are equal are of one data set.

    >>> kin("labels/train/a.txt") == kin("labels/val/b.txt"), kin("train/a.txt")
    (True, ())
    """
    return tuple(step for step in file.split("/")[:-1] if step.lower() not in SPLITS)


def inside(name: str) -> str:
    """A name as a path that cannot leave its folder, for an image that is not there.

    >>> inside("/home/me/a.jpg"), inside("..\\\\a.jpg")
    ('home/me/a.jpg', 'a.jpg')
    """
    return posixpath.normpath("/" + _clean(name).replace("\0", "")).lstrip("/")


@final
class ImageFiles:
    """The images below a folder, found by the names that annotations give them.

    >>> files = ImageFiles(Found(images=["images/train/a.jpg", "images/train/b.jpg", "images/val/b.jpg"]))
    >>> files.find("/home/me/a.jpg"), files.find("b.jpg", part="val"), files.find("c.jpg")
    ('images/train/a.jpg', 'images/val/b.jpg', None)
    """

    def __init__(self, found: Found) -> None:
        self._every = frozenset((*found.images, *found.others))  # a file may be an image without the name of one
        self._by_name: dict[str, list[str]] = defaultdict(list)
        for name in found.images:
            self._by_name[_base(name)].append(name)
        self._folders = {folder.rpartition("/")[2] for folder in found.folders}

    def find(self, name: str, folder: str = "", part: str | None = None) -> str | None:
        """The image that annotations call `name`, None if it is not there.

        It is looked for beside the annotations, in a folder `images` there, and then below the whole folder: the path that
        shares most of its last folders with `name`. Where folders that do exist lack the image, no other of its name is taken.

        Args:
            name: as written: a path, also one of another machine, or an address.
            folder: the folder of the annotations, relative to the dataset's.
            part: the split of the annotations; among images of one name, those in a folder of that split are meant.

        Raises:
            Fault: several images can be meant.
        """
        if name in self._every and not folder:
            return name
        clean = _clean(name)
        for start in dict.fromkeys((folder, posixpath.join(folder, "images"), "", "images")):
            there = posixpath.normpath(posixpath.join(start, clean))
            if there in self._every:
                return there
        wanted = clean.split("/")
        same = self._by_name.get(_base(clean), [])
        shared = {one: _shared(one.split("/"), wanted) for one in same}
        most = max(shared.values(), default=0)
        if most <= 1 and len(wanted) > 1 and wanted[-2] in self._folders:
            return None
        nearest = [one for one, n in shared.items() if n == most]
        if len(nearest) > 1 and part is not None:
            nearest = [one for one in nearest if part_of(one) == part] or nearest
        if len(nearest) > 1:
            raise Fault(f"the image {name!r} can be {nearest[0]} or {nearest[1]}")
        return nearest[0] if nearest else None


def _clean(name: str) -> str:
    """A path with "/" alone, without what an address has around it."""
    text = name.strip().replace("\\", "/")
    if "://" in text:
        text = text.partition("://")[2].partition("?")[0]
    return text.lstrip("/") or "."


def _base(name: str) -> str:
    """The last part of a path; letters with marks may be written in two ways, and systems differ in it."""
    base = name.rpartition("/")[2]
    return base if base.isascii() else unicodedata.normalize("NFC", base)


def _shared(one: list[str], other: list[str]) -> int:
    """How many names two paths have in common at their ends; the last counts as common."""
    count = 1
    for a, b in zip(one[-2::-1], other[-2::-1], strict=False):
        if a != b:
            break
        count += 1
    return count
