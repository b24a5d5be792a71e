# SPDX-License-Identifier: Apache-2.0
"""The picture of an attribution: each image, its map and the two tests of it; and the finding in words."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, final

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from pellucid._following import Followed
from pellucid.lenses._axes import bare, plain
from pellucid.lenses._images import outline, show
from pellucid.lenses._parts import Network
from pellucid.lenses.attribution.checks import Deletion, Depth
from pellucid.lenses.attribution.maps import Method

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

__all__ = ["Mapped", "figure", "half", "kept", "words"]

_MOST_DRAWN = 48  # images of a folder; the numbers hold all
_ALIKE = 0.5  # similarity to the map of a half random network at which a map no longer depends on the weights
_NOISE = 0.01  # of a logit, or of the score's size: a map that adds up to less shows noise, and is drawn pale
_TITLE = 24  # letters that fit above a map
_RED, _BLUE, _GREY = "#b2182b", "#2166ac", "#777777"


@final
@dataclass(frozen=True)
class Mapped:
    """What a method ascribes to one image, and the results of the tests."""

    place: int
    image: Tensor  # (C, H, W)
    followed: int  # class; -1: evidence, -2: a layer
    score: float  # the class's probability, else the score
    values: NDArray[np.float32]  # (C, H, W), or (1, H, W)
    map: NDArray[np.float32]  # (H, W)
    deletion: Deletion | None
    chosen: Followed | None = None  # what is followed, if it is the task's evidence
    randomised: list[NDArray[np.float32]] = field(default_factory=list)  # (H, W) at each depth
    similar: list[tuple[float, float]] = field(default_factory=list)  # SSIM and rank correlation at each depth


def noise(one: Mapped, method: Method) -> bool:
    """Whether all pixels together hardly move the score, though the map need not be empty."""
    return 0 < _total(one) < _least(one) and "score" in method.unit


def _total(one: Mapped) -> float:
    return float(np.abs(one.map).sum())


def _least(one: Mapped) -> float:
    return _NOISE * (1.0 if one.followed >= 0 else abs(one.score))


def half(depths: Sequence[Depth]) -> int:
    """The place of the first depth at which half of the layers are random."""
    return next(i for i, depth in enumerate(depths) if 2 * depth.count >= depth.of)


def kept(one: Mapped, depths: Sequence[Depth]) -> float:
    """How similar a map stays: the least mean of SSIM and rank correlation, down to where half of the layers are random.

    A method that does not need the weights gives a similar map at every depth; a coarse map may be similar at one by chance.
    """
    pairs = np.array(one.similar[: half(depths) + 1], np.float64)
    known = [float(np.nanmean(pair)) for pair in pairs if np.isfinite(pair).any()]
    return min(known) if known else float("nan")


def figure(network: Network, mapped: Sequence[Mapped], depths: Sequence[Depth], method: Method, what: str) -> Figure:
    """A row an image that was tested; the others on a contact sheet below. All maps share one scale, so that they can be compared."""
    from matplotlib.figure import Figure

    tested = [one for one in mapped if one.deletion is not None or one.similar]
    known = {one.place for one in tested}
    top = max(_top(one, one.map, method) for one in mapped)
    others = [one for one in mapped if one.place not in known][: max(0, _MOST_DRAWN - len(tested))]
    # a row of pixels leaves no room for titles
    shape = max(0.4, float(np.median([one.map.shape[0] / one.map.shape[1] for one in mapped])))
    panels = 2 + (2 if depths else 0) + 1
    side, small = 2.0, 1.35
    across = 4
    heights = [len(tested) * (0.9 * side * shape + 0.45), -(-len(others) // across) * (small * shape + 0.3)]
    width = (panels * side + 0.8) if tested else across * 2 * small
    drawing = Figure(figsize=(width, sum(heights)), dpi=150, layout="constrained")
    shares = [height for height in heights if height]
    parts = iter(np.ravel(drawing.subfigures(len(shares), 1, height_ratios=shares, squeeze=False)))
    if tested:
        grid = next(parts).subplots(len(tested), panels, squeeze=False)
        for axes, one in zip(grid, tested, strict=True):
            _row(network, axes, one, depths, method, what, top)
    if others:
        cells = next(parts).subplots(-(-len(others) // across), 2 * across, squeeze=False)
        for axes in cells.flat:
            bare(axes)
        for k, one in enumerate(others):
            own = cells[k // across, 2 * (k % across) : 2 * (k % across) + 2]
            show(own[0], one.image, network.titled(one.place, _answer(network, one, 16)))
            outline(own[0], one.chosen)
            strongest = float(np.abs(one.map).max())
            _map(own[1], one, one.map, method, f"at most {strongest:.2g}, scale to {top:.2g}", top)
    return drawing


def _row(
    network: Network, axes: Any, one: Mapped, depths: Sequence[Depth], method: Method, what: str, top: float
) -> None:
    show(axes[0], one.image, network.titled(one.place, _answer(network, one, 24)))
    outline(axes[0], one.chosen)
    # a long name of a layer would run into the scale's power of ten
    apart = "\n" if len(method.title + what) > _TITLE else " "
    drawn = _map(axes[1], one, one.map, method, f"{method.title}{apart + what if what else ''}", top)
    bar = axes[1].figure.colorbar(drawn, ax=axes[1], fraction=0.05, pad=0.02, aspect=18)
    bar.ax.tick_params(labelsize=7, length=2, pad=1)
    bar.formatter.set_powerlimits((-2, 3))
    bar.ax.yaxis.get_offset_text().set_fontsize(7)
    bar.set_label(method.unit, fontsize=7)
    bar.outline.set_linewidth(0.4)
    bar.ax.xaxis.set_visible(False)  # it has no ticks, which are measured all the same
    if bar.solids is not None:
        bar.solids.set_alpha(1.0)
    if depths:
        depth = depths[half(depths)]
        title = f"{depth.count} of {depth.of} layers random, own scale"
        random = one.randomised[half(depths)]
        _map(axes[2], one, random, method, title, _top(one, random, method))
        _weights(axes[3], one, depths)
    _deletion(axes[-1], one)


def _answer(network: Network, one: Mapped, longest: int) -> str:
    if one.followed >= 0:
        return f"{network.label(one.followed, longest)}: {100 * one.score:.1f} %"
    return one.chosen.titled(one.score) if one.chosen is not None else f"output: {one.score:.3g}"


def _map(axes: Axes, one: Mapped, values: NDArray[Any], method: Method, title: str, top: float) -> Any:
    """A map on a scale that ends at `top`: signed values in red and blue, magnitudes in grey, and a coarse one over its image."""
    if not method.fine:
        show(axes, one.image, title)
        return axes.imshow(values, cmap="magma", vmin=0, vmax=top, alpha=0.15 + 0.7 * np.clip(values / top, 0, 1))
    style: dict[str, Any] = {"cmap": "gray_r", "vmin": 0, "vmax": top}
    if method.signed:
        style = {"cmap": "RdBu_r", "vmin": -top, "vmax": top}
    drawn = axes.imshow(values, interpolation="nearest" if values.shape[0] <= 96 else None, **style)
    bare(axes)
    if title:
        axes.set_title(title, fontsize=7.5, pad=3, parse_math=False)
    return drawn


def _top(one: Mapped, values: NDArray[Any], method: Method) -> float:
    """Where the scale of a map ends: at its largest values, or above them where they are noise."""
    top = float(np.percentile(np.abs(values), 99.5)) or float(np.abs(values).max()) or 1e-12
    return top * _least(one) / _total(one) if noise(one, method) else top


def _weights(axes: Axes, one: Mapped, depths: Sequence[Depth]) -> None:
    """How similar the map is to those of a network of which more and more layers are random."""
    shares = [0.0, *(100 * depth.count / depth.of for depth in depths)]
    for k, (colour, name) in enumerate((("#e08214", "SSIM"), (_BLUE, "rank correlation"))):
        values = [1.0, *(pair[k] for pair in one.similar)]
        axes.plot(shares, values, "o-", color=colour, markersize=2.5, linewidth=1.1, label=name)
    axes.axhline(0, color="0.8", linewidth=0.6, zorder=0)
    axes.set_ylim(min(-0.12, *(np.nanmin([*pair, 0.0]) - 0.05 for pair in one.similar)), 1.05)
    axes.set_xlabel("layers randomised, from the output, %", fontsize=6)
    axes.set_ylabel("similarity to the map", fontsize=6)
    left, depth = kept(one, depths), depths[half(depths)]
    fails, rounded = left >= _ALIKE, round(left, 2) + 0.0  # no -0.00
    share = f"similarity {'stays above' if fails else 'falls to'} {rounded:.2f} within {depth.count} of {depth.of}"
    title = f"FAILS: does not need the weights\n{share}" if fails else f"depends on the weights\n{share}"
    if np.isnan(left):
        title = "the map is empty"
    axes.set_title(title, fontsize=6.5, pad=3, color=_RED if fails else "0.15")
    axes.legend(fontsize=5.5, frameon=False, loc="lower left" if fails else "upper right")
    _plain(axes)


def _deletion(axes: Axes, one: Mapped) -> None:
    if one.deletion is None:
        bare(axes)
        return
    curve, percent = one.deletion, one.followed >= 0
    scale, x = 100.0 if percent else 1.0, 100 * one.deletion.shares
    for rows, colour, name in ((curve.random, _GREY, "random orders"), (curve.shifted, _BLUE, "the map shifted")):
        axes.fill_between(x, scale * rows.min(0), scale * rows.max(0), color=colour, alpha=0.18, linewidth=0)
        axes.plot(x, scale * rows.mean(0), color=colour, linewidth=1.0, label=name)
    axes.plot(x, scale * curve.score, color=_RED, linewidth=1.4, label="the map's order")
    axes.set_xlabel("image deleted, %", fontsize=6)
    axes.set_ylabel("probability, %" if percent else "score", fontsize=6)
    total, (random, shifted) = len(curve.random), map(curve.beaten, ("random", "shifted"))
    fails = min(random, shifted) < total
    title = f"faster than {random} of {total} random orders,\n{shifted} of {total} shifted maps"
    axes.set_title(f"FAILS: {title}" if fails else title, fontsize=6.5, pad=3, color=_RED if fails else "0.15")
    axes.legend(fontsize=5.5, frameon=False)
    _plain(axes)


def _plain(axes: Axes) -> None:
    plain(axes, 5.5, grid=False)
    axes.tick_params(length=2, pad=1.5)
    axes.set_box_aspect(0.85)


def words(network: Network, mapped: Sequence[Mapped], depths: Sequence[Depth], method: Method, what: str) -> str:
    """What was followed, and what the two tests found."""
    first = mapped[0]
    start = method.title[0].upper() + method.title[1:]
    if first.followed >= 0:
        start += f" of {network.label(first.followed)} ({100 * first.score:.1f} %) in {network.name(first.place)}"
    clauses = [f"{start}{', ' + what if what else ''}"]
    tested = [one for one in mapped if one.deletion is not None]
    curves = [one.deletion for one in tested if one.deletion is not None]
    empty = sum(not one.map.any() for one in mapped)
    if curves and empty < len(mapped):
        own = float(np.mean([curve.area for curve in curves]))
        against = []
        for kind, name in (("random", "random orders"), ("shifted", "shifted maps")):
            beaten = sum(curve.beaten(kind) for curve in curves)
            total = sum(len(curve.random) for curve in curves)
            mean = float(np.mean([curve.areas(kind) for curve in curves]))
            against.append(f"{beaten} of {total} {name} ({mean:.3g})")
        clauses.append(
            f"deleted in the map's order the score falls faster (area {own:.3g}) than in {' and '.join(against)}"
        )
    left = [value for one in tested if one.similar and np.isfinite(value := kept(one, depths))]
    if depths and tested and empty < len(mapped):
        depth = depths[half(depths)]
        mean = float(np.mean(left)) if left else 0.0
        verdict = "it hardly depends on what was learned" if mean >= _ALIKE else "it depends on the weights"
        start = f"with up to {depth.count} of {depth.of} layers randomised its similarity falls to {round(mean, 2) + 0.0:.2f}"
        clauses.append(f"{start}: {verdict}" if left else "such maps are too small or too plain to be compared")
    if empty:
        which = "the map is" if len(mapped) == 1 else f"{empty} of {len(mapped)} maps are"
        clauses.append(f"{which} empty: no pixel changes the score, as where all units of a layer are dead")
    quiet = sum(noise(one, method) for one in mapped)
    if quiet:
        which = "the map shows" if len(mapped) == 1 else f"{quiet} of {len(mapped)} maps show"
        clauses.append(
            f"{which} noise, since all pixels together change the score by less than {_least(mapped[0]):.2g}"
        )
    if method.title == "guided backprop":
        clauses.append(
            "guided backprop is known to reproduce the image's edges whatever the weights (Adebayo et al. 2018; Nie et al. 2018)"
        )
    return "; ".join(clauses) + "."
