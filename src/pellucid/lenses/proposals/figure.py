# SPDX-License-Identifier: Apache-2.0
"""The picture of a detector's way: eight panels an image, in the order of the steps."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from pellucid.lenses._axes import bare
from pellucid.lenses._images import picture, show
from pellucid.lenses._parts import Network
from pellucid.lenses._wording import clipped
from pellucid.lenses.proposals.way import ENOUGH, Way

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

__all__ = ["figure"]

_MOST_DRAWN = 2  # images; the numbers hold all
_TILE, _GAP = 84, 8  # px of a region's square, and between two
_MOST_COLUMNS = 10  # classes in the table of scores
_GREEN, _GREY, _AMBER = "#1a9850", "#8a8a8a", "#ffb000"
_COLOURS = ("#e66101", "#1f78b4", "#33a02c", "#e31a1c", "#6a3d9a", "#b15928", "#d8c400", "#17becf")


def figure(network: Network, ways: Sequence[Way]) -> Figure:
    """Two rows of four panels for each image."""
    from matplotlib.figure import Figure

    drawn = ways[:_MOST_DRAWN]
    side = 2.5  # inches
    shape = float(np.clip(np.median([one.size[0] / one.size[1] for one in drawn]), 0.6, 1.5))
    tall = side * shape + 0.32
    drawing = Figure(figsize=(4 * side, 2 * tall * len(drawn)), dpi=150, layout="constrained")
    grid = drawing.subplots(2 * len(drawn), 4, squeeze=False)
    for place, one in enumerate(drawn):
        first, second = grid[2 * place], grid[2 * place + 1]
        _objects(first[0], network, one)
        _objectness(first[1], one)
        _candidates(first[2], one)
        _proposals(first[3], one)
        _cells(second[0], one)
        _pooled(second[1], one)
        _scores(second[2], network, one)
        _answers(second[3], network, one)
    return drawing


def _title(axes: Axes, words: str) -> None:
    axes.set_title(words, fontsize=7.2, pad=3, parse_math=False)


def _ground(axes: Axes, one: Way, title: str, grey: bool = True) -> None:
    """The image, pale and grey where boxes are drawn over it."""
    image = one.image[:3].mean(0, keepdim=True) if grey else one.image
    show(axes, image, title, fontsize=7.2)
    axes.set_anchor("N")
    axes.set_xlim(-0.5, one.size[1] - 0.5)
    axes.set_ylim(one.size[0] - 0.5, -0.5)


def _boxes(axes: Axes, corners: NDArray[Any], colours: Any, width: float, **style: Any) -> None:
    """Outlines; matplotlib's pixel j covers [j − ½, j + ½)."""
    from matplotlib.collections import LineCollection

    x0, y0, x1, y1 = np.asarray(corners, np.float64).reshape(-1, 4).T - 0.5
    rings = np.stack([x0, y0, x1, y0, x1, y1, x0, y1, x0, y0], 1).reshape(-1, 5, 2)
    axes.add_collection(LineCollection(list(rings), colors=colours, linewidths=width, **style))


def _objects(axes: Axes, network: Network, one: Way) -> None:
    title = clipped(one.name, 28)
    if one.truth is not None:
        title += f": {len(one.truth)} object{'s' * (len(one.truth) != 1)}"
    _ground(axes, one, title, grey=False)
    if one.truth is not None and len(one.truth):
        _boxes(axes, one.truth, "black", 1.4)
        _boxes(axes, one.truth, "white", 1.0, linestyles=(0, (3, 3)))


def _objectness(axes: Axes, one: Way) -> None:
    title = f"objectness of {len(one.grid):,} boxes of the grid"
    _ground(axes, one, "objectness of the grid, which is not used" if one.searched else title)
    height, width = one.size
    values = one.objectness_map
    drawn = axes.imshow(
        values, cmap="inferno", vmin=0, vmax=1, alpha=0.75, interpolation="nearest",
        extent=(-0.5, width - 0.5, height - 0.5, -0.5),
    )  # fmt: skip
    bar = axes.figure.colorbar(drawn, cax=axes.inset_axes((0.03, 0.05, 0.03, 0.4)), ticks=[0, 0.5, 1])
    bar.ax.tick_params(labelsize=6, length=0, pad=1.5, labelcolor="white")
    bar.outline.set_edgecolor("white")
    bar.outline.set_linewidth(0.4)


def _shaded(scores: NDArray[Any]) -> Any:
    """Colours (n, 4) from pale for the worst to strong for the best."""
    from matplotlib import colormaps

    order = np.argsort(np.argsort(scores, kind="stable"), kind="stable") / max(1, len(scores) - 1)
    colours = colormaps["plasma"](0.15 + 0.8 * order)
    colours[:, 3] = 0.15 + 0.65 * order**3
    return colours


def _candidates(axes: Axes, one: Way) -> None:
    count = len(one.candidates)
    _ground(axes, one, f"{count:,} by selective search" if one.searched else f"the best {count:,}, before suppression")
    _boxes(axes, one.candidates[::-1], _shaded(one.candidate_scores[::-1]), 0.5)  # the best on top


def _proposals(axes: Axes, one: Way) -> None:
    """Those that fit an object in green, where the truth is known."""
    proposals, scores = one.proposals, one.candidate_scores[~one.covered]
    if one.truth is None:
        _ground(axes, one, f"{len(proposals):,} proposals{'' if one.searched else ' after suppression'}")
        _boxes(axes, proposals[::-1], _shaded(scores[::-1]), 0.6)
        return
    fits = one.fit(proposals).max(1, initial=0.0) >= ENOUGH
    _ground(axes, one, f"{len(proposals):,} proposals; {int(fits.sum()):,} fit an object (IoU ≥ {ENOUGH})")
    _boxes(axes, proposals[~fits], _GREY, 0.4, alpha=0.55)
    _boxes(axes, proposals[fits], _GREEN, 0.9)


def _cells(axes: Axes, one: Way) -> None:
    """The mean activation of each cell of the map, and the regions there."""
    channels, rows, columns = one.map.shape
    axes.imshow(np.abs(one.map).mean(0), cmap="gray", interpolation="nearest", aspect="auto" if rows == 1 else "equal")
    bare(axes)
    axes.set_anchor("N")
    _title(axes, f"regions on the map: {channels} × {rows} × {columns}, stride {one.stride}")
    for number, region in enumerate(one.shown, 1):
        colour = _COLOURS[(number - 1) % len(_COLOURS)]
        _boxes(axes, one.regions[region] / one.stride, colour, 1.4)
        x, y = one.regions[region, :2] / one.stride
        _number(axes, number, float(x) - 0.5, float(y) - 0.5, colour)


def _number(axes: Axes, number: int, x: float, y: float, colour: str) -> None:
    axes.text(
        x, y, str(number), fontsize=6, color="white", ha="left", va="top", clip_on=True,
        bbox={"facecolor": colour, "edgecolor": "none", "pad": 0.8},
    )  # fmt: skip


def _pooled(axes: Axes, one: Way) -> None:
    """Each shown region's part of the image, and the mean of its pooled values over the channels: squares both, as pooled."""
    from matplotlib import colormaps

    bare(axes)
    if not len(one.shown):
        _title(axes, "no region was scored")
        return
    bins = one.pooled.shape[-2:]
    _title(axes, f"pooled to {one.pooled.shape[1]} × {bins[0]} × {bins[1]} (mean of the channels)")
    means = np.abs(one.pooled).mean(1)  # (S, b, b)
    whole = np.asarray(picture(one.image))
    whole = whole if whole.ndim == 3 else np.repeat(whole[..., None], 3, 2)
    across = 2 if len(one.shown) > 3 else 1  # pairs side by side
    down = -(-len(one.shown) // across)
    canvas = np.ones((down * (_TILE + _GAP), across * (2 * _TILE + 3 * _GAP), 3), np.float32)
    for place, region in enumerate(one.shown):
        y, x = place % down * (_TILE + _GAP), place // down * (2 * _TILE + 3 * _GAP)
        canvas[y : y + _TILE, x : x + _TILE] = _stretched(whole, one.regions[region])
        shade = colormaps["magma"](means[place] / (float(means.max()) or 1.0))[..., :3]
        at = np.arange(_TILE)
        canvas[y : y + _TILE, x + _TILE + _GAP : x + 2 * _TILE + _GAP] = shade[
            (at * bins[0] // _TILE)[:, None], at * bins[1] // _TILE
        ]
        _number(axes, place + 1, x - 0.5, y - 0.5, _COLOURS[place % len(_COLOURS)])
    axes.imshow(canvas, interpolation="nearest")
    axes.set_anchor("N")


def _stretched(whole: NDArray[Any], corners: NDArray[Any]) -> NDArray[Any]:
    """(_TILE, _TILE, 3): what an image (H, W, 3) has in a box, by the nearest pixels."""
    x0, y0, x1, y1 = (float(end) for end in corners)
    steps = (np.arange(_TILE) + 0.5) / _TILE
    rows = np.clip(y0 + steps * (y1 - y0), 0, whole.shape[0] - 1).astype(np.int64)
    columns = np.clip(x0 + steps * (x1 - x0), 0, whole.shape[1] - 1).astype(np.int64)
    return np.asarray(whole[rows[:, None], columns])


def _scores(axes: Axes, network: Network, one: Way) -> None:
    """The probabilities of the shown regions, as a table."""
    _title(axes, "probabilities of the classes, %")
    if not len(one.shown):
        bare(axes)
        return
    shares = 100 * one.probabilities[one.shown]  # (S, K + 1)
    columns = np.arange(shares.shape[1])
    if len(columns) > _MOST_COLUMNS:  # the background, and the classes that matter here
        strongest = np.argsort(-shares[:, 1:].max(0), kind="stable")[: _MOST_COLUMNS - 1]
        columns = np.array([0, *sorted(1 + strongest)])
    axes.imshow(shares[:, columns], cmap="Blues", vmin=0, vmax=110, aspect="auto")
    for row in range(len(shares)):
        for column, index in enumerate(columns):
            value = float(shares[row, index])
            ink = "white" if value > 60 else "0.25"
            axes.text(
                column, row, f"{value:.0f}" if value >= 0.5 else "0", ha="center", va="center", fontsize=6.5, color=ink
            )
    names = ["background" if index == 0 else network.label(int(index) - 1, 14) for index in columns]
    axes.set_xticks(range(len(columns)), names, fontsize=6.5, rotation=35, ha="right", parse_math=False)
    axes.set_yticks(range(len(shares)), [str(i + 1) for i in range(len(shares))], fontsize=6.5)
    axes.tick_params(length=0)
    for place, label in enumerate(axes.get_yticklabels()):
        label.set_color(_COLOURS[place % len(_COLOURS)])
        label.set_fontweight("bold")
    axes.spines[:].set_visible(False)


def _answers(axes: Axes, network: Network, one: Way) -> None:
    """What is left after suppression, a colour for each class."""
    above = one.answered
    count = int(above.sum())
    words = f"left after suppression: {count} of score ≥ {one.threshold:.2g}"
    _ground(axes, one, words)
    present = sorted({*one.answer_labels[above].tolist()})
    for place, index in enumerate(present):
        colour = _COLOURS[place % len(_COLOURS)] if place < len(_COLOURS) else _AMBER
        own = one.answers[above & (one.answer_labels == index)]
        _boxes(axes, own, colour, 1.3)
        axes.plot([], [], color=colour, lw=2, label=f"{network.label(index, 18)}: {len(own)}")
    if present:
        axes.legend(fontsize=6, loc="lower right", framealpha=0.85, borderpad=0.3, handlelength=1.2, labelspacing=0.2)
