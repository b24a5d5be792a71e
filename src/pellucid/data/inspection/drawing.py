# SPDX-License-Identifier: Apache-2.0
"""Drawing one image of a contact sheet: its regions, outlines, boxes with names, and keypoints."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from pellucid.data.inspection.tiles import Box, Frame, Look, Tile, title_of
from pellucid.data.masks import VOID

if TYPE_CHECKING:
    from matplotlib.axes import Axes

__all__ = ["NUMBERED", "draw", "show"]


NUMBERED = 24
"""Keypoints of an image, up to which each has its number."""

_FEW_POINTS = 5  # up to which names keep clear of them
_TAGS, _TAG_SIZE = 6, 6.5  # of an image at most; points
_WIDEST = 0.6  # of a tile's width that a tag takes
_FAINT = 0.15  # opacity of a region's colour beside boxes
_EXCHANGED = "#ffd6f5"  # of dashed lines between two keypoints that a mirror exchanges
_STRIPE = 4  # px of a void region's stripes
_GREY: dict[str, Any] = {"cmap": "gray", "vmin": 0, "vmax": 255}  # of images with a single plane


def draw(axes: Axes, tile: Tile, look: Look, tall: int) -> None:
    """Draw a tile in the image's own coordinates, in the middle of its place, which is `tall` px high."""
    axes.set_axis_off()
    if tile.picture is None:
        axes.text(0.5, 0.5, "cannot be\nread", fontsize=7, color="crimson", ha="center", va="center")
        return
    height, width = tile.size
    longer = max(height, width)
    pixel = longer / look.side  # of the sheet, in px of the image
    left, top = (width - longer) / 2, (height - tall * pixel) / 2
    around = (left, top, left + longer, top + tall * pixel)
    frame: dict[str, Any] = {"extent": (0, width, height, 0)}
    axes.imshow(tile.picture, interpolation=_smoothing(tile, look), **_GREY, **frame)
    if tile.classes is not None:
        axes.imshow(_tint(tile, look), interpolation="nearest", **frame)
    _draw_outlines(axes, tile, look)
    _draw_boxes(axes, tile, look, around)
    if tile.points is not None:
        _draw_points(axes, tile.points, look)
    axes.set_xlim(around[0], around[2])
    axes.set_ylim(around[3], around[1])


def show(axes: Axes, tile: Tile, look: Look, place: tuple[float, float]) -> None:
    """Draw a tile without annotations into axes over the whole sheet, in px of the sheet; `place` is the middle of its left side."""
    assert tile.picture is not None
    tall, wide = (length * look.side / max(tile.size) for length in tile.size)
    left, top = place[0] + (look.side - wide) / 2, place[1] - tall / 2
    extent = (left, left + wide, top + tall, top)
    axes.imshow(tile.picture, interpolation=_smoothing(tile, look), extent=extent, aspect="auto", **_GREY)


def _smoothing(tile: Tile, look: Look) -> str | None:
    """Small images are shown with sharp pixels."""
    return "nearest" if look.side > 2 * max(tile.size) else None


def _tint(tile: Tile, look: Look) -> NDArray[np.float64]:
    """Colours (h, w, 4) over the image: one for each class, stripes where pixels are void.

    Edges of regions are strong, and beside boxes nothing else is: what they hold stays visible.
    """
    from matplotlib.colors import to_rgba

    assert tile.classes is not None
    table = np.zeros((VOID + 1, 4))
    strength = _FAINT if tile.boxes else 0.5
    for number in np.unique(tile.classes).tolist():
        if number != VOID and (name := title_of(number, look.mask_classes)):
            table[number] = to_rgba(look.colours[name], strength)
    tint: NDArray[np.float64] = table[tile.classes]
    if not tile.outlines:
        edge = _edges(tile.classes)
        tint[edge, 3] = np.where(tint[edge, 3] > 0, 0.9, 0)
    height, width = tile.classes.shape
    stripes = (np.arange(height)[:, None] + np.arange(width)) // _STRIPE % 2
    void = tile.classes == VOID
    tint[void] = np.where(stripes[void][:, None] == 1, (0.15, 0.15, 0.15, 0.75), (0.75, 0.75, 0.75, 0.75))
    return tint


def _edges(classes: NDArray[np.uint8]) -> NDArray[np.bool_]:
    """The pixels (h, w) beside one of another class."""
    across, down = classes[:, 1:] != classes[:, :-1], classes[1:] != classes[:-1]
    edge = np.zeros(classes.shape, np.bool_)
    for part, differs in ((edge[:, 1:], across), (edge[:, :-1], across), (edge[1:], down), (edge[:-1], down)):
        part |= differs
    return edge


def _halo(width: float) -> list[Any]:
    """A dark line below a bright one, which so shows on any image."""
    from matplotlib.patheffects import withStroke

    return [withStroke(linewidth=width, foreground="#00000060")]


def _draw_outlines(axes: Axes, tile: Tile, look: Look) -> None:
    from matplotlib.patches import Polygon

    for part, name in tile.outlines:
        style: dict[str, Any] = {"edgecolor": look.colours[name], "linewidth": 0.9, "path_effects": _halo(1.8)}
        axes.add_patch(Polygon(part, closed=True, fill=False, **style))


def _draw_boxes(axes: Axes, tile: Tile, look: Look, around: Frame) -> None:
    from matplotlib.patches import Rectangle

    pixel = (around[2] - around[0]) / look.side  # of the sheet, in px of the image
    line = 0.7 if tile.outlines else 1.1
    for box in tile.boxes:
        x0, y0, x1, y1 = box.corners
        style: dict[str, Any] = {
            "edgecolor": look.colours[box.name],
            "linewidth": line,
            "path_effects": _halo(line + 1),
        }
        dashed = "--" if box.ignored else "-"
        axes.add_patch(Rectangle((x0, y0), x1 - x0, y1 - y0, fill=False, linestyle=dashed, **style))
    taken = _numbers(tile.points, pixel)
    for box in _tagged(tile.boxes):
        words = look.fonts.fitted(look.named(box.name), _TAG_SIZE, look.side * _WIDEST)
        wide, tall = (look.fonts.width(words, _TAG_SIZE) + 4) * pixel, 12 * pixel
        place = _free(box.corners, (wide, tall), around, taken)
        if place is not None:
            taken.append((*place, place[0] + wide, place[1] + tall))
            _tag(axes, words, place, (wide, tall), look.colours[box.name], look)
    if tile.bare:
        words = "no object"
        wide, tall = (look.fonts.width(words, _TAG_SIZE) + 4) * pixel, 12 * pixel
        _tag(axes, words, (0, tile.size[0] - tall), (wide, tall), "#555555", look)


def _numbers(points: NDArray[np.float32] | None, pixel: float) -> list[Frame]:
    """The rectangles that few keypoints and their numbers take."""
    if points is None or len(points) > _FEW_POINTS:
        return []
    shown = points[~np.isnan(points).any(1)].tolist()
    return [(x - 3 * pixel, y - 10 * pixel, x + 12 * pixel, y + 3 * pixel) for x, y in shown]


def _tagged(boxes: Sequence[Box]) -> list[Box]:
    """The boxes that get a tag: the largest of each class, then the other ones by their size."""
    by_size = sorted(boxes, key=lambda box: -(box.corners[2] - box.corners[0]) * (box.corners[3] - box.corners[1]))
    first: dict[str, Box] = {}
    for box in by_size:
        first.setdefault(box.name, box)
    leading = list(first.values())
    ids = {id(box) for box in leading}
    return [*leading, *(box for box in by_size if id(box) not in ids)][:_TAGS]


def _free(
    corners: Frame,
    extent: tuple[float, float],
    around: Frame,
    taken: Sequence[Frame],
) -> tuple[float, float] | None:
    """The upper left corner of a tag beside a box: within the tile's place, over no other tag; None if there is none."""
    (x0, y0, x1, y1), (wide, tall) = corners, extent
    for x, y in ((x0, y0 - tall), (x0, y0), (x0, y1), (x0, y1 - tall), (x1 - wide, y0 - tall), (x1 - wide, y1)):
        x = min(max(x, around[0]), around[2] - wide)
        inside = around[1] <= y and y + tall <= around[3]
        if inside and not any(x < right and x + wide > a and y < low and y + tall > b for a, b, right, low in taken):
            return x, y
    return None


def _tag(
    axes: Axes, words: str, place: tuple[float, float], extent: tuple[float, float], colour: str, look: Look
) -> None:
    """A word on a coloured ground, black or white, whichever reads better."""
    from matplotlib.colors import to_rgb
    from matplotlib.patches import Rectangle

    red, green, blue = to_rgb(colour)
    ink = "black" if 0.299 * red + 0.587 * green + 0.114 * blue > 0.5 else "white"
    axes.add_patch(Rectangle(place, *extent, facecolor=colour, edgecolor="none", clip_on=False))
    x, y = place[0] + extent[1] / 6, place[1] + extent[1] / 2  # 2 px from the left
    axes.text(x, y, words, color=ink, ha="left", va="center_baseline", clip_on=False, **look.fonts.style(_TAG_SIZE))


def _draw_points(axes: Axes, points: NDArray[np.float32], look: Look) -> None:
    """Dots with numbers, or where there are many, dots from dark to bright in their order."""
    from matplotlib.collections import LineCollection

    shown = np.flatnonzero(~np.isnan(points).any(1))
    seen = set(shown.tolist())
    joined = [points[[a, b]] for a, b in look.skeleton if {a, b} <= seen]
    axes.add_collection(LineCollection(joined, colors="#00e5ff", linewidths=0.8, path_effects=_halo(1.6)))
    exchanged = [points[[a, b]] for a, b in look.partners if {a, b} <= seen]
    axes.add_collection(LineCollection(exchanged, colors=_EXCHANGED, linewidths=0.5, linestyles=(0, (2, 2))))
    x, y = points[shown].T
    numbers = shown + 1
    style: dict[str, Any] = {"linewidths": 0.4, "edgecolors": "black"}
    if len(points) > NUMBERED:
        axes.scatter(x, y, s=7, c=numbers, cmap="plasma", vmin=1, vmax=len(points), **style)
        return
    axes.scatter(x, y, s=9, c="#00e5ff", **style)
    for number, at in zip(numbers.tolist(), zip(x, y, strict=True), strict=True):
        axes.annotate(
            str(number), at, (2.5, 1.5), textcoords="offset points", color="white", path_effects=_halo(1.6),
            **look.fonts.style(_TAG_SIZE),
        )  # fmt: skip
