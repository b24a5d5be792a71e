# SPDX-License-Identifier: Apache-2.0
"""The lists of images in a VOC folder's ImageSets, which say the splits."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import final

from pellucid.data.annotations.pairing import bare, parent, same
from pellucid.data.annotations.reading import lines_of
from pellucid.data.formats.finding import Found
from pellucid.data.problems import counted, few
from pellucid.data.splitting import SPLITS
from pellucid.errors import DataError

__all__ = ["Lists", "lists_of"]

_FLAGGED = re.compile(r"(.*\S)\s+(?:-1|0|1)")  # with a class's flag after the name


@final
class Lists:
    """The lists of one ImageSets folder.

    Args:
        path: the dataset's folder.
        top: the folder that holds ImageSets, relative to `path`, "" for that itself.
        files: the list of each split, relative to `path`; "trainval" among them.
        names: of the annotated images there, without folder and ending.
    """

    def __init__(self, path: Path, top: str, files: dict[str, str], names: set[str]) -> None:
        self._top = top
        self._files = files
        self._parts: dict[str, str] = {}
        self._strange: list[str] = []
        self._twice: list[tuple[str, str, str]] = []
        listed: dict[str, list[str]] = {}
        for part, file in files.items():
            entries = [_entry(line, names) for line in lines_of(path / file) if line.strip()]
            self._strange += [entry for entry in entries if entry not in names]
            listed[part] = [entry for entry in dict.fromkeys(entries) if entry in names]
        # what is measured on must not be trained on: the last to claim an image keeps it
        for part in ("train", "val", "test"):
            for entry in listed.get(part, ()):
                if entry in self._parts:
                    self._twice.append((self._parts[entry], part, entry))
                self._parts[entry] = part
        for entry in listed.get("trainval", ()):
            self._parts.setdefault(entry, "train")
        if names and not self._parts and self._strange:
            raise DataError(
                f"data={str(path)!r}: none of the names in {next(iter(files.values()))} ({few(self._strange)}) has an annotation; "
                "list the images by name, without the ending."
            )

    def part(self, name: str) -> str | None:
        """The split of an image by its name; None where no list has it."""
        return self._parts.get(name)

    def holds(self, name: str) -> bool:
        """Whether a file lies in the folder that these lists are of."""
        return not self._top or name.startswith(f"{self._top}/")

    @property
    def whole(self) -> bool:
        """Whether an image in no list is in no split: there are lists of the training images, and they are not empty."""
        return "train" in self._parts.values()

    @property
    def problems(self) -> list[str]:
        """What the lists lack or have twice, a sentence each."""
        where, sentences = parent(next(iter(self._files.values()))), []
        if strange := list(dict.fromkeys(self._strange)):
            verb = "has" if len(strange) == 1 else "have"
            sentences.append(f"{counted(len(strange), 'name')} in {where} {verb} no annotation ({few(strange)}).")
        for (one, other), total in Counter((one, other) for one, other, _ in self._twice).items():
            own = few([entry for *parts, entry in self._twice if parts == [one, other]])
            are, count = ("is", "counts") if total == 1 else ("are", "count")
            sentences.append(
                f"{counted(total)} {are} listed in {one} and in {other} and {count} in {other} alone ({own})."
            )
        return sentences


def _entry(line: str, names: set[str]) -> str:
    """The name that a line of a list means: it may have a flag, an ending or a folder."""
    line = same(line.strip().replace("\\", "/"))
    if line in names:
        return line
    flagged = _FLAGGED.fullmatch(line)
    if flagged and (bare(flagged[1]) in names or bare(line) not in names):
        line = flagged[1]
    return bare(line)


def lists_of(path: Path, found: Found, names: Sequence[str]) -> tuple[list[Lists], list[str]]:
    """The lists of every ImageSets folder, and all the files there.

    Args:
        path: the dataset's folder.
        found: what lies there.
        names: the annotation files, relative to `path`.
    """
    lists, read = [], []
    for folder in found.folders:
        if folder.rpartition("/")[2].lower() != "imagesets":
            continue
        top = parent(folder)
        files = [name for name in found.others if name.startswith(f"{folder}/") and name.lower().endswith(".txt")]
        read += files
        own = {same(bare(name)) for name in names if not top or name.startswith(f"{top}/")}
        for place in ("main", ""):
            here = [name for name in files if parent(name)[len(folder) + 1 :].lower() == place]
            by_part = {part: name for name in here if (part := _part(bare(name))) is not None}
            if by_part:
                lists.append(Lists(path, top, by_part, own))
                break
    return lists, read


def _part(stem: str) -> str | None:
    """The split that a list's name says; None for the list of a class, `cat_train`."""
    return "trainval" if stem.lower() == "trainval" else SPLITS.get(stem.lower())
