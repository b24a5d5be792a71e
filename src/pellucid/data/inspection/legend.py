# SPDX-License-Identifier: Apache-2.0
"""The legend of a contact sheet: what each colour, line and number stands for."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, final

import numpy as np

from pellucid.data.inspection.drawing import NUMBERED
from pellucid.data.inspection.tiles import Look, Tile, title_of
from pellucid.data.masks import VOID

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["Entry", "draw", "entries", "rows_of"]

_SIZE, _LINE, _SWATCH, _GAP = 7.0, 14, 11, 14  # points; px of a line, of a patch of colour, and between entries
_ROWS = 6  # at most
_LONGEST = 170  # px of an entry's words


@final
@dataclass(frozen=True)
class Entry:
    """A patch of colour and its meaning."""

    words: str
    colour: str = ""  # "" for words alone
    kind: Literal["plain", "void", "dashed", "order"] = "plain"


def entries(tiles: Sequence[Tile], look: Look, point_names: Sequence[str]) -> list[Entry]:
    """What the tiles show of classes, void and ignored regions, and keypoints."""
    shown = {box.name for tile in tiles for box in tile.boxes} | {name for tile in tiles for _, name in tile.outlines}
    numbers = {int(n) for tile in tiles if tile.classes is not None for n in np.unique(tile.classes)}
    shown |= {title_of(number, look.mask_classes) for number in numbers - {VOID}}
    found = [Entry(look.named(name), colour) for name, colour in look.colours.items() if name in shown]
    if VOID in numbers:
        found.append(Entry("void: counts for nothing", "#888888", "void"))
    if any(box.ignored for tile in tiles for box in tile.boxes):
        found.append(Entry("crowd or difficult: not counted", "#888888", "dashed"))
    counts = {len(tile.points) for tile in tiles if tile.points is not None}
    if counts and max(counts) > NUMBERED:
        found.append(Entry(f"keypoints from 1 to {max(counts)}", "#888888", "order"))
    elif counts:
        named = [f"{i} {look.fonts.shown(name)}" for i, name in enumerate(point_names, 1)]
        found += [Entry("keypoints:"), *map(Entry, named)] if named else []
    if counts and look.partners:
        found.append(Entry("dashed lines: mirror partners", "#888888", "dashed"))
    if look.fonts.lacking:
        found.append(
            Entry(
                "No installed font has some of the characters: numbers and “?” stand in their places; Noto Sans CJK may have them."
            )
        )
    return found


def rows_of(found: Sequence[Entry], width: float, look: Look) -> list[list[tuple[float, Entry]]]:
    """Entries in rows of `width` px, each with its place from the left; of very many, the first, and how many more there are."""
    rows: list[list[tuple[float, Entry]]] = []
    at = width + 1.0
    for i, entry in enumerate(found):
        words = entry.words if not entry.colour else look.fonts.fitted(entry.words, _SIZE, _LONGEST)
        entry = Entry(words, entry.colour, entry.kind)
        wide = look.fonts.width(words, _SIZE) + (_SWATCH + 5 if entry.colour else 0)
        left = len(found) - i
        room = 70 if len(rows) == _ROWS and left > 1 else 0  # for "… 12 more"
        if rows and at + wide + room > width and len(rows) == _ROWS:
            rows[-1].append((at, Entry(f"… {left} more")))
            break
        if at + wide > width:
            rows.append([])
            at = 0.0
        rows[-1].append((at, entry))
        at += wide + _GAP
    return rows


def draw(figure: Figure, rows: Sequence[Sequence[tuple[float, Entry]]], left: float, top: float, look: Look) -> None:
    """Draw rows of entries from a place in px from the figure's upper left corner."""
    from matplotlib.patches import Rectangle

    width, height = (figure.get_size_inches() * figure.dpi).tolist()
    for r, row in enumerate(rows):
        low = 1 - (top + r * _LINE + 11) / height
        for place, entry in row:
            x = left + place
            if entry.colour:
                style: dict[str, Any] = {"facecolor": entry.colour, "edgecolor": "none", "linewidth": 0.8}
                if entry.kind == "void":
                    style |= {"facecolor": "#bfbfbf", "edgecolor": "#262626", "hatch": "//////"}
                elif entry.kind == "dashed":
                    style |= {"facecolor": "none", "edgecolor": "#333333", "linestyle": "--"}
                extent = _SWATCH / width, 10 / height
                if entry.kind == "order":
                    _ramp(figure, (x / width, low, *extent))
                else:
                    figure.add_artist(Rectangle((x / width, low), *extent, **style))
                x += _SWATCH + 4
            style = {"va": "bottom", "color": "#333333"}
            figure.text(x / width, low - 1 / height, entry.words, **style, **look.fonts.style(_SIZE))


def _ramp(figure: Figure, place: tuple[float, float, float, float]) -> None:
    """The colours of keypoints in their order."""
    axes = figure.add_axes(place)
    axes.set_axis_off()
    axes.imshow(np.linspace(0, 1, 32)[None], cmap="plasma", aspect="auto")
