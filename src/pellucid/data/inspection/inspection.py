# SPDX-License-Identifier: Apache-2.0
"""What a dataset contains and what is wrong with it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import final

import numpy as np
from rich.console import Console, ConsoleOptions, Group, RenderResult
from rich.text import Text

from pellucid._notebooks import as_html
from pellucid.data.copies import near_copies, picture_digests
from pellucid.data.dataset import Dataset, Split
from pellucid.data.decoding import Files
from pellucid.data.inspection import counting, tables
from pellucid.data.inspection.counting import Keypoints, Objects, Regions, Texts
from pellucid.data.inspection.fonts import fonts_for
from pellucid.data.problems import few
from pellucid.files import as_text

__all__ = ["Inspection", "inspect"]

_EUROPEAN = 0x500  # up to here matplotlib's own font has nearly every character: Latin, Greek, Cyrillic
_WARNINGS = 30  # lines printed at most; an Inspection has all of them


@final
@dataclass(frozen=True)
class Inspection:
    """The result of `inspect`; rich prints it as tables."""

    name: str
    fingerprint: str
    channels: int
    images: dict[str, int]  # per split
    sizes: dict[str, str]  # per split, e.g. "28×28" or "120×90 … 480×640, median 256×256"
    counts: dict[str, dict[str, int]]  # images per split and class
    targets: tuple[str, ...]
    warnings: tuple[str, ...]
    notes: tuple[str, ...] = ()  # how the images and their annotations are read
    objects: Objects | None = None  # None where there are no boxes
    regions: Regions | None = None  # None where there are no masks
    keypoints: Keypoints | None = None
    texts: Texts | None = None
    point_names: tuple[str, ...] = ()

    def _repr_html_(self) -> str:
        return as_html(self)

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        total = sum(self.images.values())
        kinds = ", ".join(self.targets) or "no targets"
        yield Text.assemble(
            (as_text(self.name), "bold"), f"   {total:,} images, {'grey' if self.channels == 1 else 'colour'}, {kinds}"
        )
        yield Text(f"fingerprint {self.fingerprint}", style="dim")
        yield Group(Text(), tables.split_table(self.images, self.sizes, self.objects), Text())
        if self.counts:
            yield tables.label_table(self.counts)
        if self.objects is not None:
            if self.objects.classes:
                yield Group(tables.object_table(self.objects), Text())
            yield Group(*tables.size_table(self.objects), Text())
        if self.regions is not None:
            yield Group(tables.region_table(self.regions), Text())
        if self.keypoints is not None:
            yield Group(*tables.keypoint_table(self.keypoints, self.point_names), Text())
        if self.texts is not None:
            yield Group(*tables.text_table(self.texts), Text())
        for note in self.notes:
            yield Text.assemble(("note  ", "dim"), note)
        for warning in self.warnings[:_WARNINGS]:
            yield Text.assemble(("warning  ", "yellow"), warning)
        if len(self.warnings) > _WARNINGS:
            yield Text(f"… and {len(self.warnings) - _WARNINGS:,} more", style="yellow")
        if not self.warnings:
            yield Text("no problems found", style="green")


def inspect(dataset: Dataset) -> Inspection:
    """Inspect a dataset closely: every image is decoded, which also finds damage inside; masks are, unless there are very many.

    >>> from pellucid.data import open
    >>> inspection = inspect(open("digits"))
    >>> inspection.sizes["train"], inspection.warnings
    ('8×8', ())
    """
    warnings = list(dataset.problems)
    sound: dict[str, Split] = {}
    for part, split in dataset.splits.items():
        sound[part] = split
        if isinstance(split.images, Files) and (damaged := split.images.decoded.problems):
            warnings += list(damaged.values())
            sound[part] = split.select([i for i in range(len(split)) if i not in damaged])
    hashes = {part: split.images.hashes for part, split in sound.items()}
    warnings += near_copies(sound, hashes, picture_digests(sound))
    regions = counting.regions(dataset)
    if regions is not None:
        warnings += regions.problems
        if regions.strange:
            warnings.append(
                f"No training mask holds {few(regions.strange, 5)}, which val or test has: nothing can be learned about it."
            )
    return Inspection(
        dataset.name,
        dataset.fingerprint,
        dataset.channels,
        {part: len(split) for part, split in dataset.splits.items()},
        {part: _sizes(split) for part, split in dataset.splits.items()},
        dataset.counts,
        tuple(sorted({kind for split in dataset.splits.values() for kind in split.targets})),
        tuple(dict.fromkeys(warnings)),
        (*dataset.notes, *_unreadable(dataset)),
        counting.objects(dataset),
        regions,
        counting.keypoints(dataset),
        counting.texts(dataset),
        dataset.point_names,
    )


def _unreadable(dataset: Dataset) -> list[str]:
    """A sentence on names that the contact sheet cannot write."""
    names = [*dict.fromkeys((*dataset.classes, *dataset.mask_classes))]
    if all(ord(c) < _EUROPEAN for name in names for c in name):
        return []  # without a look for fonts, which takes a moment
    fonts = fonts_for(names)
    lacking = [name for name in names if not fonts.readable(name)]
    return (
        [f"No installed font has the characters of {few(lacking, 5)}: numbers stand for them on pictures."]
        if lacking
        else []
    )


def _sizes(split: Split) -> str:
    sizes = split.images.sizes
    if not len(sizes):
        return "–"
    if (sizes == sizes[0]).all():
        return f"{sizes[0, 0]}×{sizes[0, 1]}"
    area = sizes.prod(1)  # (N,) px²
    small, large = sizes[area.argmin()], sizes[area.argmax()]
    median = np.median(sizes, axis=0)
    return f"{small[0]}×{small[1]} … {large[0]}×{large[1]}, median {median[0]:.0f}×{median[1]:.0f}"
