# SPDX-License-Identifier: Apache-2.0
"""What the places and names of files say: which image an annotation belongs to, and which split an image."""

from __future__ import annotations

import os
import unicodedata
from collections import defaultdict
from collections.abc import Iterable, Sequence
from typing import final

from pellucid.data.decoding import SUFFIXES
from pellucid.data.splitting import SPLITS

__all__ = ["Images", "bare", "parent", "part_of", "same"]

_KINDS = frozenset(
    {
        "annotation", "annotations", "annot", "annots", "xml", "xmls", "label", "labels", "bboxes",
        "image", "images", "img", "imgs", "jpegimages", "jpgs", "pictures", "photos",
    }
)  # fmt: skip
"""Names of folders that say what lies in them, and nothing of which images these are."""


def same(name: str) -> str:
    """A name in the form in which two are compared: some systems write ë as one character, others as two."""
    return name if name.isascii() else unicodedata.normalize("NFC", name)


def parent(name: str) -> str:
    """The folder of a file, "" for the top.

    >>> parent("a/b/c.jpg"), parent("c.jpg")
    ('a/b', '')
    """
    return name.rpartition("/")[0]


def bare(name: str) -> str:
    """A file's name without its folder, and without its ending if that is an image's or an annotation's.

    >>> bare("a/b.c.jpg"), bare("x.xml"), bare("frame.0001")
    ('b.c', 'x', 'frame.0001')
    """
    name = name.rpartition("/")[2]
    stem, ending = os.path.splitext(name)
    return stem if ending.lower() in SUFFIXES or ending.lower() in {".xml", ".txt"} else name


def part_of(name: str) -> str | None:
    """The split that one of a file's folders names.

    >>> part_of("images/valid/a.jpg"), part_of("a/test.jpg")
    ('val', None)
    """
    return next((SPLITS[folder] for folder in parent(name).lower().split("/") if folder in SPLITS), None)


def _whose(folder: str) -> tuple[str, ...]:
    """What is left of a folder's path without the names that only say what lies there."""
    return tuple(step for step in folder.split("/") if step and step.lower() not in _KINDS)


@final
class Images:
    """The images of a folder, to be found by the names of their annotations."""

    def __init__(self, names: Iterable[str]) -> None:
        self._by_name: dict[str, list[str]] = defaultdict(list)
        for name in names:
            file = same(name.rpartition("/")[2])
            self._by_name[os.path.splitext(file)[0]].append(name)
            self._by_name[file].append(name)  # a.jpg.xml

    def of(self, annotation: str) -> Sequence[str]:
        """The images of an annotation's name: those beside it, or in the corresponding folder, or else anywhere.

        One in a folder of another split is none. Several are a contradiction.

        >>> Images(["train/images/a.jpg", "test/images/a.jpg"]).of("test/labels/a.txt")
        ['test/images/a.jpg']

        Args:
            annotation: the path of its file, relative to the same folder as those of the images.
        """
        folder = parent(annotation)
        named = self._by_name.get(same(os.path.splitext(annotation.rpartition("/")[2])[0]), [])
        if beside := [name for name in named if parent(name) == folder]:
            return beside
        if corresponding := [name for name in named if _whose(parent(name)) == _whose(folder)]:
            return corresponding
        part = part_of(annotation)
        return [name for name in named if part is None or part_of(name) in {None, part}]
