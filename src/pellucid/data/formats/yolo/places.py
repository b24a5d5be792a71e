# SPDX-License-Identifier: Apache-2.0
"""The images of each split, by what a file of settings says, by lists, or by their folders."""

from __future__ import annotations

import fnmatch
import os
import posixpath
from collections import defaultdict
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import final

from pellucid.data.annotations.pairing import parent, part_of, same
from pellucid.data.annotations.reading import lines_of
from pellucid.data.formats.finding import Found
from pellucid.data.formats.yolo.config import Config
from pellucid.data.problems import counted, few
from pellucid.data.splitting import SPLITS
from pellucid.errors import DataError
from pellucid.files import as_text

__all__ = ["Places", "by_folder", "lists_of_images"]

_DEPTH = 1  # folders below the top in which lists of images are looked for


def lists_of_images(path: Path, found: Found) -> dict[str, str]:
    """Text files named train, val or test that list images, by split."""
    lists = {}
    for name in found.others:
        title, ending = os.path.splitext(name.rpartition("/")[2].lower())
        if ending == ".txt" and title in SPLITS and name.count("/") <= _DEPTH:
            try:
                with (path / name).open("rb") as stream:
                    first = stream.readline(4096).decode("utf-8", "replace").strip()
            except OSError:
                continue
            if os.path.splitext(first)[1].lower() in {os.path.splitext(image)[1].lower() for image in found.images}:
                lists[SPLITS[title]] = name
    return lists


@final
class Places:
    """Finds the images that a data set's settings mean, on whatever machine they were written.

    Args:
        path: the dataset's folder.
        found: what lies there.
        config: the settings.
    """

    def __init__(self, path: Path, found: Found, config: Config) -> None:
        self._path, self._found, self._config = path, found, config
        self._images = {same(name): name for name in found.images}
        self._folders = {*found.folders, ""}
        self._files = set(found.others)
        self._by_title: dict[str, list[str]] = defaultdict(list)
        for name in self._images:
            self._by_title[name.rpartition("/")[2]].append(name)
        self.problems: list[str] = []
        self.notes: list[str] = []
        self.read: list[str] = []
        self._moved: dict[str, str] = {}
        self._top = self._base()

    def parts(self) -> dict[str, list[str]] | None:
        """The images of each split; None where nothing but folders says any."""
        if self._config.parts is None:
            return None
        source = as_text(self._config.source)
        parts: dict[str, list[str]] = {}
        for part in ("train", "val", "test"):
            if not (entries := self._config.parts.get(part)):
                continue
            images, missing = [], []
            for entry in entries:
                place = self._place(entry)
                images += [] if place is None else self._below(place)
                missing += [entry] if place is None else []
            if missing and (part == "train" or len(self._config.parts) == 1):
                raise DataError(
                    f"data={str(self._path)!r}: {source} names the {part} images in {few(missing)}, which is not there; "
                    "correct the path, or put the images there."
                )
            if missing:
                verb = "is" if len(missing) == 1 else "are"
                self.problems.append(f"{source} names {part} images in {few(missing)}, which {verb} not there.")
            if images:
                parts[part] = list(dict.fromkeys(images))
        if not parts:
            raise DataError(f"data={str(self._path)!r}: no image is where {source} says; put the images there.")
        train = set(parts.get("train", ()))
        for part in ("val", "test"):
            if part in parts and train and train.issuperset(parts[part]):
                self.problems.append(
                    f"{source} names images of train for {part}: they stay in train, and {part} is cut from it."
                )
                del parts[part]
        if self._moved:
            shown = few([f"{entry}: {place or '.'}" for entry, place in self._moved.items()])
            self.notes.append(f"{source} names places that are not here; others of their names are read ({shown}).")
        return parts

    def _base(self) -> str | None:
        """The folder that settings call `path`, relative to the dataset's; None where it is not there."""
        config = self._config
        own = parent(config.source)
        if not config.folder:
            return own
        folder = config.folder.replace("\\", "/")
        here = self._relative(folder) if folder.startswith("/") else posixpath.normpath(posixpath.join(own, folder))
        here = "" if here == "." else here
        if here in self._folders:
            return here
        # what follows may stand beside the file of settings, or the folder has another name by now
        if not folder.startswith("/") and folder.strip("./") in {"", (self._path / own).absolute().name}:
            return own
        self.notes.append(
            f"{as_text(config.source)} says path: {few([config.folder])}, which is not here: its own folder counts."
        )
        return own

    def _relative(self, absolute: str) -> str | None:
        """A path of this machine, relative to the dataset's folder; None where it is none of its files."""
        try:
            relative = os.path.relpath(os.path.realpath(absolute), os.path.realpath(self._path))
        except ValueError:
            return None
        return None if relative.startswith("..") else relative.replace(os.sep, "/")

    def _candidates(self, entry: str) -> Iterator[tuple[str, bool]]:
        """Where a path may lie, the likeliest first, and whether that is as written."""
        own = parent(self._config.source)
        entry = entry.replace("\\", "/")
        if entry.startswith("/"):
            if (relative := self._relative(entry)) is not None:
                yield relative, True
        else:
            for base in dict.fromkeys((self._top or "", own, "")):
                yield posixpath.normpath(posixpath.join(base, entry)), True
        steps = [step for step in entry.split("/") if step not in {"", ".", ".."}]
        for i in range(len(steps)):  # of another machine: the longest end of it that is here
            for base in dict.fromkeys((self._top or "", own, "")):
                yield posixpath.normpath(posixpath.join(base, *steps[i:])), False

    def _place(self, entry: str) -> str | None:
        """A folder, list or pattern of images that is there, by what is written."""
        for candidate, exact in self._candidates(entry):
            place = "" if candidate == "." else candidate
            if self._exists(place):
                if not exact:
                    self._moved[entry] = place
                return place
        return None

    def _exists(self, place: str) -> bool:
        if any(sign in place for sign in "*?["):
            return bool(fnmatch.filter(self._images, same(place)))
        return place in self._folders or place in self._files or same(place) in self._images

    def _below(self, place: str) -> list[str]:
        """The images in a folder, on a list, or of a pattern."""
        if place in self._folders:
            return [name for name in self._found.images if not place or name.startswith(f"{place}/")]
        if same(place) in self._images:
            return [self._images[same(place)]]
        if place in self._files:
            return self.listed(place)
        return [self._images[name] for name in fnmatch.filter(self._images, same(place))]

    def listed(self, file: str) -> list[str]:
        """The images on a list, a path a line."""
        self.read.append(file)
        entries = [same(line.strip()) for line in lines_of(self._path / file) if line.strip()]
        images, missing = [], []
        for entry in dict.fromkeys(entries):
            if (image := self._image(entry, file)) is not None:
                images.append(image)
            else:
                missing.append(entry)
        if missing and not images:
            raise DataError(
                f"data={str(self._path)!r}: none of the images in {as_text(file)} is there ({few(missing)}); "
                "put them there, or correct the list."
            )
        if missing:
            verb = "is" if len(missing) == 1 else "are"
            self.problems.append(f"{counted(len(missing))} in {as_text(file)} {verb} not there ({few(missing)}).")
        return images

    def _image(self, entry: str, file: str) -> str | None:
        """The image that a line means: from the list's own folder or that of the data set, or by the end of its path."""
        entry = entry.replace("\\", "/")
        if not entry.startswith("/"):
            for base in dict.fromkeys((self._top or "", parent(file), "")):
                here = posixpath.normpath(posixpath.join(base, entry))
                if here in self._images:
                    return self._images[here]
        wanted = [step for step in entry.split("/") if step not in {"", ".", ".."}][::-1]
        alike = (
            {name: _shared(name.split("/")[::-1], wanted) for name in self._by_title.get(wanted[0], ())}
            if wanted
            else {}
        )
        best = [name for name, n in alike.items() if n == max(alike.values())]
        return self._images[best[0]] if len(best) == 1 else None


def _shared(one: Sequence[str], other: Sequence[str]) -> int:
    """How many entries at the start of two lists are the same."""
    return next((i for i, (a, b) in enumerate(zip(one, other, strict=False)) if a != b), min(len(one), len(other)))


def by_folder(images: Sequence[str]) -> dict[str | None, list[str]]:
    """Images by the split that their folders name."""
    parts: dict[str | None, list[str]] = defaultdict(list)
    for name in images:
        parts[part_of(name)].append(name)
    return parts
