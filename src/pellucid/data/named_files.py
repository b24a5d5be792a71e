# SPDX-License-Identifier: Apache-2.0
"""The files that a user's words mean (a file, a folder, a glob), each with a name below what was given."""

from __future__ import annotations

import glob
import os
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, final

from pellucid._ledger import Ledger
from pellucid.data.decoding import SUFFIXES
from pellucid.data.formats.finding import walk
from pellucid.errors import UsageError

__all__ = ["NamedFile", "all_files", "image_files", "is_litter", "names_of"]

# what systems leave beside images: macOS's forks of resources, Windows's thumbnails and folder settings
_LITTER = ("thumbs.db", "desktop.ini", "__macosx")


@final
@dataclass(frozen=True)
class NamedFile:
    """A file, and how many of its path's last parts lie below the folder that was given or the fixed part of a glob."""

    path: Path
    depth: int = 1


def image_files(text: str) -> list[NamedFile]:
    """The images of a folder and its subfolders, or all files that a glob matches, without hidden ones; or one named file.

    Answers that `predict` wrote below the folder (`predict … photos --out photos/clean`) are left out too.

    Raises:
        UsageError: there are none.
    """
    path = Path(text).expanduser()
    if os.path.isdir(path):  # unlike Path's own, it answers for names that no system takes, too
        names = [
            name for name in _apart_from_answers(path, walk(path).images) if os.path.isfile(os.path.join(path, name))
        ]
        if not names:
            raise UsageError(
                f"images={text!r}: contains no images; give a folder with {', '.join(sorted(SUFFIXES))} files."
            )
        return [NamedFile(path / name, name.count("/") + 1) for name in names]
    if os.path.isfile(path):
        return [NamedFile(path)]
    above = _absolute(_fixed(path))
    found = {os.path.relpath(name, above): name for name in sorted(glob.glob(str(path), recursive=True))}
    names = [name for name in _apart_from_answers(above, [*found]) if os.path.isfile(found[name])]
    if not names:
        raise UsageError(f"images={text!r}: is neither a file nor a folder and matches nothing; check the spelling.")
    return [NamedFile(Path(found[name]), name.count(os.sep) + 1) for name in names]


def names_of(files: Sequence[NamedFile]) -> list[str]:
    """Names below what was given; those of different files that would be equal get as many parent folders as part them.

    >>> names_of([NamedFile(Path("../in/a.png")), NamedFile(Path("/data/b/a.png"), 2), NamedFile(Path("/c.png"))])
    ['a.png', 'b/a.png', 'c.png']
    >>> names_of([NamedFile(Path("in/a.png")), NamedFile(Path("out/a.png"))])
    ['in/a.png', 'out/a.png']
    """
    # strings: a path object per file would take longer than everything else
    parts = [os.path.abspath(file.path).split(os.sep)[1:] for file in files]  # without `..` and without the root
    depths = [file.depth for file in files]
    while True:
        names = ["/".join(own[-depth:]) for own, depth in zip(parts, depths, strict=True)]
        places: dict[str, list[int]] = defaultdict(list)
        for place, name in enumerate(names):
            places[name].append(place)
        several = [same for same in places.values() if len(same) > 1]
        equal = [same for same in several if any(parts[place] != parts[same[0]] for place in same)]
        for place in (place for same in equal for place in same):
            depths[place] += 1
        if not equal:
            return names


def all_files(given: Any) -> Iterator[Path]:
    """Every file below the paths in what was given, whether it is an image or not; anything else is passed over."""
    for one in given if isinstance(given, (list, tuple)) else [given]:
        if not isinstance(one, (str, Path)) or not str(one):
            continue
        path = Path(one).expanduser()
        for name in [path] if os.path.exists(path) else map(Path, glob.glob(str(path), recursive=True)):
            if name.is_dir():
                below = [
                    os.path.relpath(Path(folder, file), name) for folder, _, files in os.walk(name) for file in files
                ]
                yield from (name / file for file in _apart_from_answers(name, below, litter=True))
            elif name.is_file():
                yield name


def _absolute(path: Path) -> Path:
    return Path(os.path.abspath(path))


def _fixed(pattern: Path) -> Path:
    """The folders of a glob above its first wildcard."""
    fixed = Path()
    for part in pattern.parts[:-1]:
        if glob.has_magic(part):
            break
        fixed /= part
    return fixed


def is_litter(name: str) -> bool:
    """Whether a file or a folder above it is one that systems leave beside images.

    >>> is_litter("in/._a.jpg"), is_litter("__MACOSX/in/a.jpg"), is_litter("in/a.jpg")
    (True, True, False)
    """
    return any(part[:2] == "._" or part in _LITTER for part in name.lower().replace(os.sep, "/").split("/"))


def _apart_from_answers(top: Path, names: Sequence[str], litter: bool = False) -> list[str]:
    """Those of these files below a folder that are no answers in one of its subfolders, and no litter unless asked for."""
    inner = map(Path, set(map(os.path.dirname, names)))
    folders = {folder for one in inner for folder in (one, *one.parents)} - {Path()}
    ledgers = {folder: Ledger(top / folder) for folder in folders if Ledger.lies_in(top / folder)}
    names = names if litter else [name for name in names if not is_litter(name)]
    if not ledgers:
        return [*names]
    return [
        name
        for name in names
        if not any(folder in ledgers and ledgers[folder].lists(top / name) for folder in Path(name).parents)
    ]
