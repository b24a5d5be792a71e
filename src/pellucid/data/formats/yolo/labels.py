# SPDX-License-Identifier: Apache-2.0
"""Where the label files of images lie: in a folder `labels` in place of the last `images`, or beside them."""

from __future__ import annotations

import os
from collections import defaultdict
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import final

from pellucid.data.annotations.pairing import parent, same
from pellucid.data.formats.finding import Found
from pellucid.data.formats.yolo.rows import looks_like_rows

__all__ = ["Labels"]

_IMAGES = frozenset({"images", "jpegimages", "image", "imgs", "img"})
_LABELS = frozenset({"labels", "label"})
_LOOKS = 10  # files of a folder that are looked into


def _stem(name: str) -> str:
    return same(os.path.splitext(name.rpartition("/")[2])[0])


@final
class Labels:
    """The label files below a folder, and the folders of images that they belong to.

    Args:
        path: the dataset's folder.
        found: what lies there.
        apart: text files that are something else: lists, names.
    """

    def __init__(self, path: Path, found: Found, apart: Sequence[str] = ()) -> None:
        self._path = path
        self._texts: dict[str, dict[str, str]] = defaultdict(dict)
        for name in found.others:
            if name.lower().endswith(".txt") and name not in apart:
                self._texts[parent(name)][_stem(name)] = name
        # folders as they are written, by their names in small letters
        self._folders = {folder.lower(): folder for folder in self._texts}
        self._images: dict[str, list[str]] = defaultdict(list)
        for name in found.images:
            self._images[parent(name)].append(name)
        self.folders: dict[str, str] = {}
        """The folder of the labels of each folder of images that has any."""
        self.strange: dict[str, str] = {}
        """Folders of images, and of labels of which none has the name of an image there."""
        for folder, own in self._images.items():
            stems = {_stem(name) for name in own}
            places = [place for place in self._places(folder) if place in self._texts]
            fitting = next((place for place in places if not stems.isdisjoint(self._texts[place])), None)
            if fitting is not None:
                self.folders[folder] = fitting
            elif named := [place for place in places if _LABELS & set(place.lower().split("/"))]:
                self.strange[folder] = named[0]
        # a picture beside the folder of the images needs no label
        used = set(self.folders.values())
        self.strange = {folder: place for folder, place in self.strange.items() if place not in used}

    def _places(self, folder: str) -> Iterator[str]:
        """Where the labels of a folder's images may lie, the likeliest first."""
        steps = folder.split("/") if folder else []
        last = next((i for i in reversed(range(len(steps))) if steps[i].lower() in _IMAGES), None)
        inner = "/".join(steps[-1:])
        for word in sorted(_LABELS, reverse=True):
            if last is not None:
                yield self._as_written("/".join([*steps[:last], word, *steps[last + 1 :]]))
        yield folder
        for word in sorted(_LABELS, reverse=True):
            yield self._as_written("/".join([*steps, word]))
            yield self._as_written("/".join([*steps[:-1], word, inner]))

    def _as_written(self, folder: str) -> str:
        return self._folders.get(folder.lower(), folder)

    def of(self, image: str) -> str | None:
        """The label file of an image, if it has one."""
        folder = self.folders.get(parent(image))
        return None if folder is None else self._texts[folder].get(_stem(image))

    @property
    def evidence(self) -> list[str]:
        """The folders of labels; of those at the top or beside images, the files themselves."""
        found: dict[str, None] = {}
        for folder, place in self.folders.items():
            matched = [file for name in self._images[folder] if (file := self.of(name)) is not None]
            apart = bool(_LABELS & set(place.lower().split("/")))
            if self._shows(matched, apart):
                found.update(dict.fromkeys([place] if place and place != folder else matched))
        for place in self.strange.values():
            if self._shows(list(self._texts[place].values()), False):
                found[place] = None
        return list(found)

    def _shows(self, files: Sequence[str], empty: bool) -> bool:
        """Whether files hold rows; `empty`: it is enough that they do not hold anything else."""
        looks = [looks_like_rows(self._path / name) for name in files[:: max(1, len(files) // _LOOKS)]]
        return True in looks or (empty and False not in looks and bool(looks))

    def unmatched(self, folders: Sequence[str]) -> list[str]:
        """The label files in the folders of labels of these folders of images that belong to no image of theirs."""
        left: dict[str, set[str]] = {}
        for folder in dict.fromkeys(folders):
            if (place := self.folders.get(folder)) is not None:
                stems = {_stem(name) for name in self._images[folder]}
                left[place] = left.get(place, set(self._texts[place])) - stems
        names = [self._texts[place][stem] for place, own in left.items() for stem in own]
        inside = {folder for folder in folders if self.folders.get(folder) == folder}
        return sorted(name for name in names if parent(name) not in inside or looks_like_rows(self._path / name))
