# SPDX-License-Identifier: Apache-2.0
"""The contact sheet: evenly spread images of a dataset with what is annotated on them, and a legend."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from pellucid._spread import evenly_spread
from pellucid.data.dataset import Dataset, Split
from pellucid.data.formats.finding import SHEET
from pellucid.data.inspection.drawing import draw, show
from pellucid.data.inspection.fonts import DPI, Fonts, fonts_for
from pellucid.data.inspection.legend import draw as draw_legend
from pellucid.data.inspection.legend import entries, rows_of
from pellucid.data.inspection.tiles import Look, Tile, colours, prepared, title_of
from pellucid.data.masks import VOID
from pellucid.data.problems import counted
from pellucid.data.targets import Boxes, Label, Points
from pellucid.files import as_text, write_atomically

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

__all__ = ["contact_sheet"]

_GAP = 6  # px between the images
_ANNOTATED = frozenset({"boxes", "mask", "points", "text"})
_HEAD, _LINE, _EDGE = 40, 14, 12  # px: the title's height, a line of text, the margin
_LINES = 3  # of an image's text that are shown
_TITLE, _TEXT = 8.0, 6.5  # points
_NAME = 130  # px of a class's name beside its row, at most


@dataclass(frozen=True)
class _Row:
    """Images side by side, with the name of their class."""

    name: str
    places: NDArray[np.int64]


def contact_sheet(dataset: Dataset, out: Path | str, *, columns: int = 12, rows: int = 12, side: int = 96) -> Path:
    """Write a PNG of evenly spread images with their boxes, masks, points and texts; returns its path.

    Each row shows a class if the images have classes; otherwise they form a grid, in which classes of objects that few images
    hold, and images without any, are not forgotten. Annotated images are shown twice as large, and fewer of them.

    Args:
        dataset: the dataset; its training images are shown, or those of the first split that has any.
        out: the file to write.
        columns: largest number of images in a row.
        rows: largest number of rows; of more classes, evenly spread ones are shown.
        side: size of each image on the sheet, px.
    """
    out = Path(out)
    part, split = next((part, split) for part, split in dataset.splits.items() if len(split))
    annotated = _ANNOTATED & set(split.targets)
    for _ in range(2 if annotated == {"text"} else 1 if annotated else 0):  # lines of text are long
        side, columns = 2 * side, max(1, columns // 2)
    about = f"{counted(len(split))} of {part}"
    label = split.targets.get("label")
    if isinstance(label, Label) and dataset.classes:
        index = label.index.numpy()
        present = np.flatnonzero(np.bincount(index, minlength=len(dataset.classes)))
        shown = present[evenly_spread(rows, len(present))]
        members = [(c, np.flatnonzero(index == c)) for c in shown]
        grid = [_Row(dataset.classes[c], own[evenly_spread(columns, len(own))]) for c, own in members]
        about += f", {len(shown)} of {len(dataset.classes)} classes" if len(shown) < len(dataset.classes) else ""
    else:
        lines = max(1, min(rows, 8) // 2) if annotated else min(rows, 8)
        chosen = _telling(split, columns * lines)
        grid = [_Row("", chosen[i : i + columns]) for i in range(0, len(chosen), columns)]
    tiles = [[prepared(dataset, split, int(place), side) for place in row.places] for row in grid]
    every = [tile for row in tiles for tile in row]
    names = [
        *(dataset.classes if dataset.classes != dataset.mask_classes else ()),  # of pixels alone
        *dataset.mask_classes[dataset.mask_classes[:1] == ("background",) :],
        *_named(every, dataset),
    ]
    title = as_text(dataset.name)
    title = title if len(title) <= 60 else f"…{title[-59:]}"
    fonts = fonts_for([title, *names, *dataset.point_names, *(tile.text or "" for tile in every)])
    own = {name: f"#{colour:06x}" for name, colour in zip(dataset.mask_classes, dataset.mask_colours, strict=False)}
    look = Look(fonts, side, colours(names) | own, dataset.mask_classes, dataset.skeleton, _partners(split))
    figure = _figure(grid, tiles, (title, about), look, dataset.point_names)
    with write_atomically(out) as draft:
        figure.savefig(draft, format="png", metadata={"Software": SHEET})
    return out


def _partners(split: Split) -> tuple[tuple[int, int], ...]:
    """The pairs of keypoints that a mirror exchanges, as far as that is known."""
    points = split.targets.get("points")
    mirror = points.mirror if isinstance(points, Points) else None
    return tuple((own, to) for own, to in enumerate(mirror or ()) if own < to)


def _telling(split: Split, count: int) -> NDArray[np.int64]:
    """Evenly spread images, up to half of them exchanged for some of the classes, and of none, that would not be shown."""
    chosen = evenly_spread(count, len(split))
    boxes = split.targets.get("boxes")
    if not isinstance(boxes, Boxes) or len(chosen) == len(split):
        return chosen
    holders: dict[int, list[int]] = {}
    for place, own in enumerate(boxes.labels):
        for number in own.unique().tolist() or [-1]:  # -1: no object
            holders.setdefault(number, []).append(place)
    shown = {number for place in chosen.tolist() for number in boxes.labels[place].tolist() or [-1]}
    missing = sorted(set(holders) - shown, key=lambda number: len(holders[number]))[: count // 2]
    more = {holders[number][len(holders[number]) // 2] for number in missing}
    return np.array(sorted({*evenly_spread(count - len(more), len(split)).tolist(), *more}), np.int64)


def _named(tiles: Sequence[Tile], dataset: Dataset) -> list[str]:
    """The classes that tiles show, in the order of their numbers."""
    numbers = {int(n) for tile in tiles if tile.classes is not None for n in np.unique(tile.classes) if n != VOID}
    names = [title_of(number, dataset.mask_classes) for number in sorted(numbers)]
    objects = {box.name for tile in tiles for box in tile.boxes} | {name for tile in tiles for _, name in tile.outlines}
    return [*(name for name in dataset.classes if name in objects), *filter(None, names), *sorted(objects)]


def _figure(
    grid: Sequence[_Row],
    tiles: Sequence[Sequence[Tile]],
    heading: tuple[str, str],
    look: Look,
    point_names: Sequence[str],
) -> Figure:
    """The sheet: a heading, the rows of tiles, and the legend below them, laid out in px from the upper left corner."""
    from matplotlib.figure import Figure

    fonts, side = look.fonts, look.side
    titles = [fonts.fitted(row.name, _TITLE, _NAME) for row in grid]
    margin = _EDGE + max(_wide(title, fonts) for title in titles)
    talls = [max(tile.height(side) for tile in row) for row in tiles]
    starts = [_HEAD]
    for row, tall in zip(tiles, talls, strict=True):
        starts.append(starts[-1] + tall + _text_height(row) + _GAP)
    title, about = fonts.shown(heading[0]), heading[1]
    across = max(5 * (96 + _GAP), max(len(row) for row in tiles) * (side + _GAP))
    head = fonts.width(title, 10) * 1.1 + fonts.width(about, 9)  # the title is bold
    width = max(margin + across + _EDGE - _GAP, int(head) + 4 * _EDGE)
    legend = rows_of(entries([tile for row in tiles for tile in row], look, point_names), width - 2 * _EDGE, look)
    height = starts[-1] + (len(legend) * _LINE + _EDGE if legend else 0)
    figure = Figure(figsize=(width / DPI, height / DPI), dpi=DPI, facecolor="white")
    base: dict[str, Any] = {"va": "baseline"}
    figure.text(_EDGE / width, 1 - 25 / height, title, weight="bold", **base, **fonts.style(10))
    beside = _EDGE + fonts.width(title, 10) * 1.1 + 12
    figure.text(beside / width, 1 - 25 / height, about, color="#666666", **base, **fonts.style(9))
    backdrop: Axes | None = None
    for r, (name, row) in enumerate(zip(titles, tiles, strict=True)):
        top, tall = starts[r], talls[r]
        middle = 1 - (top + tall / 2) / height
        figure.text((margin - 7) / width, middle, name, ha="right", va="center", **fonts.style(_TITLE))
        for c, tile in enumerate(row):
            left = margin + c * (side + _GAP)
            place = (left / width, 1 - (top + tall) / height, side / width, tall / height)
            if tile.plain:
                backdrop = backdrop or _whole(figure, width, height)
                show(backdrop, tile, look, (left, top + tall / 2))
            else:
                draw(figure.add_axes(place), tile, look, tall)
            for k, line in enumerate(_text_lines(tile)):
                words = fonts.fitted(line, _TEXT, side)
                figure.text(
                    left / width, 1 - (top + tall + (k + 1) * _LINE - 2) / height, words, **base, **fonts.style(_TEXT)
                )
    draw_legend(figure, legend, _EDGE, starts[-1] + _EDGE // 2, look)
    return figure


def _whole(figure: Figure, width: int, height: int) -> Axes:
    """Axes over all of a figure, in its px from the upper left corner: a hundred images in axes of their own take seconds."""
    axes = figure.add_axes((0, 0, 1, 1))
    axes.set_axis_off()
    axes.set(xlim=(0, width), ylim=(height, 0))
    return axes


def _wide(title: str, fonts: Fonts) -> int:
    return int(fonts.width(title, _TITLE)) + 8 if title else 0


def _text_lines(tile: Tile) -> list[str]:
    """The first lines of what is written on an image; "no text" where nothing is, on others something."""
    if tile.text is None:
        return []
    lines = [line for line in tile.text.split("\n") if line.strip()]
    if len(lines) > _LINES:
        lines = [*lines[: _LINES - 1], f"… {len(lines) - _LINES + 1} more lines"]
    return lines or ["(no text)"]


def _text_height(row: Sequence[Tile]) -> int:
    most = max((len(_text_lines(tile)) for tile in row), default=0)
    return most * _LINE + 4 if most else 0
