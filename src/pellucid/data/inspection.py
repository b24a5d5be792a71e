# SPDX-License-Identifier: Apache-2.0
"""What a dataset contains and what is wrong with it, as tables, sentences and a contact sheet."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, final

import numpy as np
from numpy.typing import NDArray
from rich.console import Console, ConsoleOptions, Group, RenderResult
from rich.table import Table
from rich.text import Text

from pellucid._spread import evenly_spread
from pellucid.data.batches import resize
from pellucid.data.copies import near_copies, picture_digests
from pellucid.data.dataset import Dataset, Split
from pellucid.data.decoding import Files
from pellucid.data.formats.finding import SHEET
from pellucid.data.targets import Boxes, Label, Mask, Points
from pellucid.errors import DataError
from pellucid.files import as_text, write_atomically

if TYPE_CHECKING:
    from matplotlib.axes import Axes

__all__ = ["Inspection", "contact_sheet", "inspect"]

_WARNINGS, _CLASSES = 30, 60  # lines printed at most; an Inspection has all of them
_GAP = 0.06  # inches between the images of a contact sheet
_COLOURS = ("#ff2d55", "#34c759", "#0a84ff", "#ffcc00", "#af52de", "#ff9500", "#5ac8fa", "#a2845e")


@final
@dataclass(frozen=True)
class Inspection:
    """The result of `inspect`; rich prints it as tables."""

    name: str
    fingerprint: str
    channels: int
    images: dict[str, int]  # per split
    sizes: dict[str, str]  # per split, e.g. "28×28" or "120×90 … 480×640, median 256×256"
    counts: dict[str, dict[str, int]]  # per split and class
    targets: tuple[str, ...]
    warnings: tuple[str, ...]
    notes: tuple[str, ...] = ()  # how the images are read

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        total = sum(self.images.values())
        kinds = ", ".join(self.targets) or "no targets"
        yield Text.assemble(
            (as_text(self.name), "bold"), f"   {total:,} images, {'grey' if self.channels == 1 else 'colour'}, {kinds}"
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
        for note in self.notes:
            yield Text.assemble(("note  ", "dim"), note)
        for warning in self.warnings[:_WARNINGS]:
            yield Text.assemble(("warning  ", "yellow"), warning)
        if len(self.warnings) > _WARNINGS:
            yield Text(f"… and {len(self.warnings) - _WARNINGS:,} more", style="yellow")
        if not self.warnings:
            yield Text("no problems found", style="green")

    def _class_table(self) -> Table:
        table = Table(box=None, header_style="dim", pad_edge=False)
        table.add_column("class")
        for split in self.counts:
            table.add_column(split, justify="right")
        most = max((n for per in self.counts.values() for n in per.values()), default=1)
        table.add_column("")
        titles = list(next(iter(self.counts.values())))
        for title in titles[:_CLASSES]:
            row = [self.counts[split][title] for split in self.counts]
            bar = "▇" * max(1, round(20 * max(row) / max(1, most)))
            table.add_row(Text(title), *(f"{n:,}" for n in row), Text(bar, style="cyan"))
        if len(titles) > _CLASSES:
            table.add_row(f"… {len(titles) - _CLASSES:,} more", *("" for _ in self.counts), "")
        return table


def inspect(dataset: Dataset) -> Inspection:
    """Inspect a dataset closely: every file is decoded, which also finds damage inside.

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
    return Inspection(
        dataset.name,
        dataset.fingerprint,
        dataset.channels,
        {part: len(split) for part, split in dataset.splits.items()},
        {part: _sizes(split) for part, split in dataset.splits.items()},
        dataset.counts,
        tuple(sorted({kind for split in dataset.splits.values() for kind in split.targets})),
        tuple(dict.fromkeys(warnings)),
        dataset.notes,
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


def contact_sheet(dataset: Dataset, out: Path, *, columns: int = 12, rows: int = 12, side: int = 96) -> Path:
    """Write a PNG of evenly spread images with their boxes, masks and points; returns its path.

    Each row shows a class if the dataset has classes; otherwise the images form a grid.

    Args:
        dataset: the dataset; its training images are shown, or those of the first split that has any.
        out: the file to write.
        columns: largest number of images in a row.
        rows: largest number of rows; of more classes, evenly spread ones are shown.
        side: size of each image on the sheet, px.
    """
    from matplotlib.figure import Figure
    from matplotlib.text import Annotation

    part, split = next((part, split) for part, split in dataset.splits.items() if len(split))
    label = split.targets.get("label")
    lines: list[tuple[str, NDArray[np.int64]]]
    about = f"{len(split):,} images of {part}"
    if isinstance(label, Label) and dataset.classes:
        index = label.index.numpy()
        present = np.flatnonzero(np.bincount(index, minlength=len(dataset.classes)))
        shown = present[evenly_spread(rows, len(present))]
        members = [(c, np.flatnonzero(index == c)) for c in shown]
        lines = [(dataset.classes[c], own[evenly_spread(columns, len(own))]) for c, own in members]
        about += f", {len(shown)} of {len(dataset.classes)} classes" if len(shown) < len(dataset.classes) else ""
    else:
        chosen = evenly_spread(columns * min(rows, 8), len(split))
        lines = [("", chosen[i : i + columns]) for i in range(0, len(chosen), columns)]
    inch = side / 100  # the sheet has 100 px an inch
    wide = max(len(title[:18]) for title, _ in lines)
    margin = 0.12 + (0.075 * wide + 0.05 if wide else 0.0)  # inches for the class names
    title = as_text(dataset.name)
    title = title if len(title) <= 60 else f"…{title[-59:]}"
    across = max(5, *(len(places) for _, places in lines)) * (inch + _GAP)
    width, height = max(margin + across + 0.06, 0.09 * len(title) + 2.6), len(lines) * (inch + _GAP) + 0.46
    figure = Figure(figsize=(width, height), dpi=100, facecolor="white")
    heading = figure.text(0.12 / width, 1 - 0.27 / height, title, fontsize=10, weight="bold", parse_math=False)
    beside: dict[str, Any] = {"xycoords": heading, "textcoords": "offset points", "fontsize": 9, "color": "#666666"}
    figure.add_artist(Annotation(about, (1, 0), (10, 0), va="bottom", **beside))
    for r, (name, places) in enumerate(lines):
        bottom = 1 - (0.4 + (r + 1) * (inch + _GAP) - _GAP) / height
        middle = bottom + inch / 2 / height
        style: dict[str, Any] = {"fontsize": 8, "ha": "right", "va": "center", "parse_math": False}
        figure.text((margin - 0.07) / width, middle, name[:18], **style)
        for c, place in enumerate(places):
            left = (margin + c * (inch + _GAP)) / width
            _picture(figure.add_axes((left, bottom, inch / width, inch / height)), dataset, split, int(place), side)
    with write_atomically(out) as draft:
        figure.savefig(draft, format="png", metadata={"Software": SHEET})
    return out


def _picture(axes: Axes, dataset: Dataset, split: Split, place: int, side: int) -> None:
    """One image with its targets, drawn in the image's own coordinates at any size."""
    from matplotlib.colors import to_rgba_array
    from matplotlib.patches import Rectangle

    axes.set_axis_off()
    try:
        image = split.images.read(place, dataset.channels)
    except DataError:
        axes.text(0.5, 0.5, "cannot be\nread", fontsize=7, color="crimson", ha="center", va="center")
        return
    height, width = image.shape[1:]
    frame: dict[str, Any] = {"extent": (0, width, height, 0)}
    small = "nearest" if side > 2 * max(height, width) else None
    axes.imshow(_fitted(image, side), cmap="gray", vmin=0, vmax=255, interpolation=small, **frame)
    for target in split.targets.values():
        if (
            isinstance(target, Mask) and "boxes" not in split.targets
        ):  # with boxes, a tint adds little and hides colours
            classes = target.classes[place].numpy()
            tint = to_rgba_array(_COLOURS)[classes % len(_COLOURS)]
            tint[..., 3] = np.where((classes == 0) | (classes == 255), 0, 0.4)
            axes.imshow(tint, interpolation="nearest", **frame)
        elif isinstance(target, Boxes):
            for box, own in zip(target.corners[place].tolist(), target.labels[place].tolist(), strict=True):
                corner, extent = box[:2], (box[2] - box[0], box[3] - box[1])
                colour = _COLOURS[own % len(_COLOURS)]
                axes.add_patch(Rectangle(corner, *extent, fill=False, edgecolor=colour, linewidth=1))
        elif isinstance(target, Points):
            x, y = target.xy[place].numpy().T
            axes.scatter(x, y, s=5, c="#00e5ff", linewidths=0)
    axes.set_xlim(0, width)
    axes.set_ylim(height, 0)


def _fitted(image: NDArray[np.uint8], side: int) -> NDArray[np.uint8]:
    """An image for imshow, scaled down until its longer side is at most `side` px; small ones keep their size."""
    height, width = image.shape[1:]
    scale = min(1.0, side / max(height, width))
    small = resize(image, (max(1, round(height * scale)), max(1, round(width * scale))))
    return small[0] if small.shape[0] == 1 else small.transpose(1, 2, 0)
