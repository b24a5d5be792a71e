# SPDX-License-Identifier: Apache-2.0
"""Image files below a folder, and which of them can be read."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import chain
from pathlib import Path
from typing import final

from pellucid._ledger import Ledger
from pellucid.data.decoding import Files, Scan, Source, named_as_image, scan
from pellucid.data.problems import counted, few
from pellucid.data.splitting import order
from pellucid.files import as_text

__all__ = ["SHEET", "Found", "hidden", "join", "left_out", "readable", "walk", "without_answers"]


_JUNK = frozenset({"__macosx", "@eadir", "$recycle.bin", "system volume information", "lost+found"})
_JUNK_FILES = frozenset({"thumbs.db", "desktop.ini", "ehthumbs.db"})


SHEET = "Pellucid contact sheet"
"""What a contact sheet's PNG names as its software."""


@final
@dataclass
class Found:
    """What lies below a folder, by paths relative to it; without hidden files and folders, and those of systems."""

    images: list[str] = field(default_factory=list)  # in natural order
    others: list[str] = field(default_factory=list)  # files without the name of an image
    folders: list[str] = field(default_factory=list)
    closed: list[str] = field(default_factory=list)  # folders that cannot be opened
    answers: list[str] = field(default_factory=list)  # files that `predict` wrote into one of the folders

    def below(self, folder: str) -> Found:
        """What lies in one of the folders, relative to that."""
        start = len(folder) + 1
        images, others, folders = (
            [name[start:] for name in own if name.startswith(f"{folder}/")]
            for own in (self.images, self.others, self.folders)
        )
        return Found(images, others, folders)

    @property
    def subfolders(self) -> dict[str, int]:
        """The folders at the top, sorted, with the number of images in each, at any depth."""
        count = Counter(name.partition("/")[0] for name in self.images if "/" in name)
        return {name: count[name] for name in sorted(self.folders) if "/" not in name}

    @property
    def beside(self) -> list[str]:
        """The images in no folder."""
        return [name for name in self.images if "/" not in name]


def hidden(name: str) -> bool:
    """Whether a file or folder is hidden, or is one that systems leave behind.

    >>> hidden(".DS_Store"), hidden("__MACOSX"), hidden("Thumbs.db"), hidden("photos")
    (True, True, True, False)
    """
    return name[0] == "." or name.lower() in _JUNK or name.lower() in _JUNK_FILES


def walk(top: Path) -> Found:
    """List what lies below a folder; linked folders are followed, unless that would go round in circles."""
    images: list[str] = []
    others: list[str] = []
    folders: list[str] = []
    real = {str(top): os.path.realpath(top)}
    above = {str(top): frozenset(real.values())}  # folder -> real paths of it and of the folders that lead to it
    unopened: list[OSError] = []
    # strings: path objects would cost more than the rest
    for folder, subs, files in os.walk(top, followlinks=True, onerror=unopened.append):
        before = "" if folder == str(top) else f"{os.path.relpath(folder, top)}/".replace(os.sep, "/")
        visible = []
        for sub in subs:
            inner = os.path.join(folder, sub)
            target = os.path.realpath(inner) if os.path.islink(inner) else os.path.join(real[folder], sub)
            if not hidden(sub) and target not in above[folder]:
                real[inner], above[inner] = target, above[folder] | {target}
                visible.append(sub)
        subs[:] = visible
        folders += [before + sub for sub in visible]
        for file in files:
            if not hidden(file) and not _is_sheet(os.path.join(folder, file)):
                (images if named_as_image(os.path.join(folder, file)) else others).append(before + file)
    closed = [os.path.relpath(fault.filename, top).replace(os.sep, "/") for fault in unopened]
    return Found([images[i] for i in order(images)], sorted(others), folders, closed)


def without_answers(top: Path, found: Found) -> Found:
    """What lies below a folder without the answers that `predict` wrote into its subfolders, which are counted apart."""
    ledgers = {folder: Ledger(top / folder) for folder in found.folders if Ledger.lies_in(top / folder)}

    def written(name: str) -> bool:
        above = (folder for folder in ledgers if name.startswith(f"{folder}/"))
        return any(ledgers[folder].lists(top / name) for folder in above)

    if not ledgers:
        return found
    images, others = ([name for name in names if not written(name)] for names in (found.images, found.others))
    answers = [name for name in found.images if written(name)]
    return Found(images, others, found.folders, found.closed, answers)


def _is_sheet(file: str) -> bool:
    """Whether a file is a contact sheet of this package's, which stands where `pellucid data .` was called."""
    if not (os.path.basename(file).startswith("contact-") and file.endswith(".png")):
        return False
    try:
        with open(file, "rb") as stream:
            return SHEET.encode() in stream.read(512)
    except OSError:
        return False


def left_out(names: Sequence[str], closed: Sequence[str] = (), answers: Sequence[str] = ()) -> list[str]:
    """Sentences on files that are no images, and on folders that are not looked into, if there are any.

    >>> left_out(["a/notes.txt", "b.TXT", "b/a"])
    ['3 files are not read as images and are left out: 2 .txt, 1 without a suffix.']
    """
    if answers:
        verb = "is an answer of predict" if len(answers) == 1 else "are answers of predict"
        return [f"{counted(len(answers))} {verb} and left out ({few(answers)}).", *left_out(names, closed)]
    if closed:
        verb = "cannot be opened and is" if len(closed) == 1 else "cannot be opened and are"
        return [f"{counted(len(closed), 'folder')} {verb} left out: {few(closed)}.", *left_out(names)]
    if not names:
        return []
    kinds = Counter(os.path.splitext(name)[1].lower() for name in names)
    shown = few([f"{n:,} {suffix or 'without a suffix'}" for suffix, n in kinds.most_common()], 6)
    if len(names) == 1:
        return [f"1 file is not read as an image and is left out: {as_text(names[0])}."]
    return [f"{len(names):,} files are not read as images and are left out: {shown}."]


def readable(
    sources: Sequence[Source], titles: Sequence[str], container: Path | None = None
) -> tuple[list[int], Files, list[str]]:
    """The positions of the files that can be read, their images, and a sentence for each of the others.

    Args:
        sources: paths, or files' bytes.
        titles: their names.
        container: the file that holds the bytes, under which their scan is cached.
    """
    scanned = scan(sources, titles, container=container)
    problems = scanned.problems
    good = [i for i in range(len(sources)) if i not in problems]
    images = Files([sources[i] for i in good], [titles[i] for i in good], scanned.select(good))
    return good, images, list(problems.values())


def join(parts: Sequence[Files]) -> Files:
    """Images of several containers as one sequence."""
    return Files(
        [*chain.from_iterable(part.sources for part in parts)],
        [*chain.from_iterable(part.names for part in parts)],
        Scan([*chain.from_iterable(part.scanned.seen for part in parts)]),
    )
