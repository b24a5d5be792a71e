# SPDX-License-Identifier: Apache-2.0
"""What is in a dataset, in words, numbers and a contact sheet."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, final

import numpy as np
from numpy.typing import NDArray
from rich.console import Console, ConsoleOptions, Group, RenderResult
from rich.table import Table
from rich.text import Text

from pellucid.data.batches import resize
from pellucid.data.dataset import Dataset, Split
from pellucid.data.decoding import Files, scan
from pellucid.data.targets import Label
from pellucid.errors import DataError
from pellucid.files import write_atomically

__all__ = ["Inspection", "contact_sheet", "inspect"]


@final
@dataclass(frozen=True)
class Inspection:
    """What `inspect` found; printing it with rich shows tables."""

    name: str
    fingerprint: str
    channels: int
    images: dict[str, int]  # per split
    sizes: dict[str, str]  # per split, e.g. "28×28" or "120×90 … 480×640, median 256×256"
    counts: dict[str, dict[str, int]]  # per split and class
    targets: tuple[str, ...]
    warnings: tuple[str, ...]

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        total = sum(self.images.values())
        kinds = ", ".join(self.targets) or "no targets"
        yield Text.assemble(
            (self.name, "bold"), f"   {total:,} images, {'grey' if self.channels == 1 else 'colour'}, {kinds}"
        )
        yield Text(f"fingerprint {self.fingerprint}", style="dim")
        table = Table(box=None, header_style="dim", pad_edge=False)
        table.add_column("split")
        table.add_column("images", justify="right")
        table.add_column("size, h×w px")
        for split, n in self.images.items():
            table.add_row(split, f"{n:,}", self.sizes[split])
        yield Group(Text(), table, Text())
        if self.counts:
            yield self._class_table()
        for warning in self.warnings:
            yield Text.assemble(("warning  ", "yellow"), warning)
        if not self.warnings:
            yield Text("nothing wrong was found", style="green")

    def _class_table(self) -> Table:
        table = Table(box=None, header_style="dim", pad_edge=False)
        table.add_column("class")
        for split in self.counts:
            table.add_column(split, justify="right")
        most = max((n for per in self.counts.values() for n in per.values()), default=1)
        table.add_column("")
        for title in next(iter(self.counts.values())):
            row = [self.counts[split][title] for split in self.counts]
            bar = "▇" * max(1, round(20 * max(row) / max(1, most)))
            table.add_row(title, *(f"{n:,}" for n in row), Text(bar, style="cyan"))
        return table


def inspect(dataset: Dataset) -> Inspection:
    """Look at a dataset closely: every file is decoded once, so that damage inside shows too.

    >>> from pellucid.data import open
    >>> found = inspect(open("digits"))
    >>> found.sizes["train"], found.warnings
    ('8×8', ())
    """
    warnings = list(dataset.problems)
    for split in dataset.splits.values():
        if isinstance(split.images, Files):
            found = scan(split.images.sources, split.images.names, deep=True)
            warnings += list(found.problems.values())
    return Inspection(
        dataset.name,
        dataset.fingerprint,
        dataset.channels,
        {part: len(split) for part, split in dataset.splits.items()},
        {part: _sizes(split) for part, split in dataset.splits.items()},
        dataset.counts,
        tuple(sorted({kind for split in dataset.splits.values() for kind in split.targets})),
        tuple(dict.fromkeys(warnings)),
    )


def _sizes(split: Split) -> str:
    sizes = split.images.sizes
    if not len(sizes):
        return "–"
    if (sizes == sizes[0]).all():
        return f"{sizes[0, 0]}×{sizes[0, 1]}"
    area = sizes.prod(1)
    small, large = sizes[area.argmin()], sizes[area.argmax()]
    median = np.median(sizes, axis=0)
    return f"{small[0]}×{small[1]} … {large[0]}×{large[1]}, median {median[0]:.0f}×{median[1]:.0f}"


def contact_sheet(dataset: Dataset, out: Path, *, columns: int = 12, rows: int = 8, side: int = 96) -> Path:
    """Write a PNG of evenly spread images: a row a class where there are classes, else a grid; returns its path.

    Args:
        dataset: whose images.
        out: the file to write.
        columns: images a row.
        rows: the most rows; with more classes, evenly spread ones are shown.
        side: of each picture, px.
    """
    from matplotlib.figure import Figure

    split = next(split for split in dataset.splits.values() if len(split))
    label = split.targets.get("label")
    lines: list[tuple[str, NDArray[np.int64]]]
    if isinstance(label, Label) and dataset.classes:
        shown = np.unique(np.linspace(0, len(dataset.classes) - 1, min(rows, len(dataset.classes))).round().astype(int))
        index = label.index.numpy()
        lines = [(dataset.classes[c], _spread(np.flatnonzero(index == c), columns)) for c in shown]
    else:
        chosen = _spread(np.arange(len(split)), columns * rows)
        lines = [("", chosen[i : i + columns]) for i in range(0, len(chosen), columns)]
    wide = max(len(title) for title, _ in lines)
    margin = min(1.8, 0.1 * wide) if wide else 0.0  # inches for the class names
    inch = side / 100
    width, height = margin + columns * inch * 1.06 + 0.2, len(lines) * inch * 1.06 + 0.5
    figure = Figure(figsize=(width, height), dpi=100, facecolor="white")
    figure.text(0.1 / width, 1 - 0.3 / height, f"{dataset.name}   {len(split):,} images", fontsize=10, weight="bold")
    for r, (title, places) in enumerate(lines):
        bottom = 1 - (0.45 + (r + 1) * inch * 1.06) / height
        if title:
            figure.text((margin) / width, bottom + inch / 2 / height, title[:18], fontsize=8, ha="right", va="center")
        for c, place in enumerate(places):
            left = (margin + 0.1 + c * inch * 1.06) / width
            axes = figure.add_axes((left, bottom, inch / width, inch / height))
            axes.set_axis_off()
            try:
                image = _square(split.images.read(int(place), dataset.channels), side)
            except DataError:
                axes.text(0.5, 0.5, "cannot be\nread", fontsize=7, color="crimson", ha="center", va="center")
                continue
            axes.imshow(
                image, cmap="gray", vmin=0, vmax=255, interpolation="nearest" if side > 2 * max(image.shape) else None
            )
    with write_atomically(out) as draft:
        figure.savefig(draft, format="png")
    return out


def _spread(places: NDArray[Any], most: int) -> NDArray[np.int64]:
    if len(places) <= most:
        return np.asarray(places, np.int64)
    return np.asarray(places[np.linspace(0, len(places) - 1, most).round().astype(int)], np.int64)


def _square(image: NDArray[np.uint8], side: int) -> NDArray[np.uint8]:
    """An image for imshow, brought down so that its longer side is `side` px at most; small ones stay as they are."""
    height, width = image.shape[1:]
    scale = min(1.0, side / max(height, width))
    small = resize(image, (max(1, round(height * scale)), max(1, round(width * scale))))
    return small[0] if small.shape[0] == 1 else small.transpose(1, 2, 0)
