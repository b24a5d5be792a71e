# SPDX-License-Identifier: Apache-2.0
"""Image files below a folder, and which of them can be read."""

from __future__ import annotations

import os
from collections.abc import Sequence
from itertools import chain
from pathlib import Path

from pellucid.data.decoding import Files, Scan, Source, named_as_image, scan
from pellucid.data.splitting import order

__all__ = ["holds_images", "images_below", "join", "readable"]


def images_below(top: Path) -> list[str]:
    """Files below a folder with the name of an image, relative to it, in natural order; hidden ones are ignored."""
    names = []
    for folder, subs, files in os.walk(top):  # strings: a path object per file would take longer than everything else
        subs[:] = [sub for sub in subs if sub[0] != "."]
        before = "" if folder == str(top) else f"{os.path.relpath(folder, top)}/".replace(os.sep, "/")
        names += [before + file for file in files if file[0] != "." and named_as_image(f"{folder}/{file}")]
    return [names[i] for i in order(names)]


def holds_images(folder: Path) -> bool:
    """Whether a folder contains a file with the name of an image, at any depth."""
    return any(named_as_image(file) for file in folder.rglob("*"))


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
    good = [i for i in range(len(sources)) if i not in scanned.problems]
    images = Files([sources[i] for i in good], [titles[i] for i in good], scanned.select(good))
    return good, images, list(scanned.problems.values())


def join(parts: Sequence[Files]) -> Files:
    """Images of several containers as one sequence."""
    return Files(
        [*chain.from_iterable(part.sources for part in parts)],
        [*chain.from_iterable(part.names for part in parts)],
        Scan([*chain.from_iterable(part.scanned.seen for part in parts)]),
    )
