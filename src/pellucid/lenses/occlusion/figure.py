# SPDX-License-Identifier: Apache-2.0
"""The picture of an occlusion: each image, the drop of its score by place, and which class takes over."""

from __future__ import annotations

import textwrap
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, final

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from pellucid._following import Followed
from pellucid.lenses._axes import bare
from pellucid.lenses._images import outline, picture, show
from pellucid.lenses._parts import Network

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.colors import ListedColormap
    from matplotlib.figure import Figure

__all__ = ["NOISE", "Occluded", "figure", "points", "scale_of"]

NOISE = 0.01  # of the probability, or of the score's size: smaller changes are named and drawn as noise
# of the probability: ends of the colour bar; the first keeps noise pale
_SCALES = (0.05, 0.07, 0.1, 0.15, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1.0)
_MOST_DRAWN = 48  # images of a folder; the numbers hold all
_MOST_WINNERS = 5  # classes that take over and have a colour of their own
_LETTERS = {
    1: 8.5,
    2: 11.5,
}  # points by images side by side: 10 px in a report, whose pictures are 864 px wide in a window of 1280
_LINE = 14  # letters of a title with two images side by side
_FALLS, _RISES = "#e31a1c", "#1f5fff"
_COLOURS = ("#1b9e77", "#d95f02", "#7570b3", "#e7298a", "#a6761d")


@final
@dataclass(frozen=True)
class Occluded:
    """What covering did to one image."""

    image: Tensor  # (C, H, W)
    tops: Sequence[int]  # px
    lefts: Sequence[int]  # px
    patch: int  # px
    stride: int  # px
    followed: int  # class, -1: evidence
    score: float  # of the uncovered image
    drop: NDArray[np.float64]  # (rows, columns)
    winner: NDArray[np.int64]  # (rows, columns): the most probable class, -1: none
    map: NDArray[np.float64]  # (H, W)
    agreement: float | None = None  # rank correlation with fp32, where it was computed in bf16
    chosen: Followed | None = None  # what is followed instead of a class

    @property
    def what(self) -> str:
        """What is followed, where it is no class, in a sentence about it."""
        chosen = self.chosen
        if chosen is None or chosen.name == "score":
            return "the score"
        return f"the {chosen.unit} of {chosen.name}" if chosen.unit else f"the score ({chosen.name})"

    @property
    def noise(self) -> bool:
        """Whether no window changes the score by more than noise would."""
        return float(np.abs(self.drop).max()) < NOISE * (1.0 if self.followed >= 0 else abs(self.score))


def scale_of(occluded: Sequence[Occluded]) -> float:
    """The end of the colour bar, one for all images: the first round number from 5 points on that holds every map.

    That of a score that is no probability is 1, 2 or 5 times a power of ten, and at least a twentieth of the score.
    """
    most = max(float(np.abs(one.map).max()) for one in occluded)
    if occluded[0].followed >= 0:
        return next((scale for scale in _SCALES if most <= scale), _SCALES[-1])
    least = max(most, 0.05 * max(abs(one.score) for one in occluded), 1e-12)
    unit = 10.0 ** np.floor(np.log10(least))
    return float(next((step * unit for step in (1, 2, 5) if least <= step * unit), 10 * unit))


def points(share: float) -> str:
    """A change of a probability in percentage points, rounded up to one decimal.

    >>> points(0.0021), points(0.5), points(0.0)
    ('0.3', '50.0', '0.1')
    """
    return f"{max(0.1, np.ceil(1000 * share - 1e-9) / 10):.1f}"


def figure(network: Network, occluded: Sequence[Occluded]) -> Figure:
    """A block an image: the image, the drop over it on the scale of all, and the class that takes over where one does."""
    from matplotlib.figure import Figure

    most = sorted(range(len(occluded)), key=lambda i: -occluded[i].drop.max())[:_MOST_DRAWN]
    places = sorted(most)
    drawn = [occluded[i] for i in places]
    scale = scale_of(occluded)
    taken = any(_taken(one) for one in drawn)
    panels = 3 if taken else 2
    across = 1 if len(drawn) <= 3 else 2
    rows = -(-len(drawn) // across)
    side = 2.3 if len(drawn) <= 3 else 1.7  # inches
    tall = float(np.median([one.map.shape[0] / one.map.shape[1] for one in drawn])) * side
    size = (across * (panels * side + 0.9 + (1.1 if taken else 0)), rows * (tall + (0.45 if across == 1 else 0.6)))
    drawing = Figure(figsize=size, dpi=150, layout="constrained")
    grid = drawing.subplots(rows, panels * across, squeeze=False)
    for axes in grid.flat:
        bare(axes)
    for k, one in enumerate(drawn):
        own = grid[k // across, panels * (k % across) : panels * (k % across + 1)]
        answer = network.titled(places[k], _answer(network, one))
        show(own[0], one.image, _broken(answer, across), fontsize=_LETTERS[across])
        outline(own[0], one.chosen)
        _drop(drawing, own[1], one, scale, across)
        if taken:
            _winners(network, own[2], one, across)
    return drawing


def _broken(title: str, across: int) -> str:
    """In lines as long as a small picture is wide."""
    return title if across == 1 else "\n".join(textwrap.wrap(title, _LINE, break_long_words=False))


def _answer(network: Network, one: Occluded) -> str:
    if one.chosen is not None:
        return one.chosen.titled(one.score)
    return f"{network.label(one.followed, 22)}: {100 * one.score:.1f} %"


def _drop(drawing: Figure, axes: Axes, one: Occluded, most: float, across: int) -> None:
    """The drop over the image, with a colour bar in percentage points, or in the score's own units."""
    percent = one.followed >= 0
    scale = 100.0 if percent else 1.0
    letters, grey = _LETTERS[across], one.image[:3].mean(0, keepdim=True)  # grey, so that all colour is the map's
    show(axes, grey, _broken(_title(one), across), color="0.35", fontsize=letters)
    drawn = axes.imshow(scale * one.map, cmap=_tinted(), vmin=-scale * most, vmax=scale * most, interpolation="nearest")
    outline(axes, one.chosen)
    bar = drawing.colorbar(drawn, ax=axes, fraction=0.05, pad=0.02, aspect=18)
    end = scale * most
    bar.set_ticks([-end, 0, end], labels=[f"−{end:g}", "0", f"+{end:g}"])
    bar.set_label("drop, points" if percent else "drop of the score", fontsize=letters)
    bar.ax.tick_params(labelsize=letters, length=2, pad=1.5)
    bar.outline.set_linewidth(0.4)
    bar.ax.xaxis.set_visible(False)  # it has no ticks, which are measured all the same


def _tinted() -> ListedColormap:
    """Blue below 0, red above, as opaque as the value is large: where covering changes nothing the image stays as it is."""
    from matplotlib.colors import ListedColormap, to_rgba

    values = np.linspace(-1, 1, 255)
    colours = [to_rgba(_FALLS if value > 0 else _RISES, 0.85 * abs(value) ** 0.7) for value in values]
    return ListedColormap(colours)


def _title(one: Occluded) -> str:
    """The largest change that a window makes."""
    falls, rises = float(one.drop.max()), float(-one.drop.min())
    size, verb = max((falls, "falls"), (rises, "rises"))
    amount = f"{points(size)} points" if one.followed >= 0 else f"{size:.3g}"
    return f"no change above {amount}" if one.noise else f"{verb} by up to {amount}"


def _taken(one: Occluded) -> bool:
    return bool(((one.winner != one.followed) & (one.winner >= 0)).any())


def _winners(network: Network, axes: Axes, one: Occluded, across: int) -> None:
    """Which class is most probable where the image is covered: a colour for each of the commonest."""
    from matplotlib.patches import Patch

    changed = (one.winner != one.followed) & (one.winner >= 0)
    commonest = [index for index, _ in Counter(one.winner[changed].tolist()).most_common()]
    layer = np.zeros((*one.winner.shape, 4))
    keys: list[Any] = []
    for place, index in enumerate(commonest):
        colour = _COLOURS[place] if place < _MOST_WINNERS else "#555555"
        rgb = [int(colour[j : j + 2], 16) / 255 for j in (1, 3, 5)]
        layer[one.winner == index] = [*rgb, 0.75]
        if place < _MOST_WINNERS:
            keys.append(Patch(color=colour, label=network.label(index, 18)))
    if len(commonest) > _MOST_WINNERS:
        keys.append(Patch(color="#555555", label=f"{len(commonest) - _MOST_WINNERS} others"))
    layer[~changed] = 0
    title = _broken("which class takes over" if keys else "no class takes over", across)
    show(axes, one.image, title, color="0.35", fontsize=_LETTERS[across])
    flat = picture(one.image)
    rows, columns = (
        np.abs(np.arange(length)[:, None] - (np.array(starts)[None] + (one.patch - 1) / 2)).argmin(1)
        for starts, length in ((one.tops, flat.shape[0]), (one.lefts, flat.shape[1]))
    )
    axes.imshow(layer[rows][:, columns], interpolation="nearest")
    if keys:
        legend = axes.legend(
            handles=keys, fontsize=_LETTERS[across], frameon=False, loc="upper left", bbox_to_anchor=(1.01, 1.02),
            handlelength=0.8, handleheight=0.8, handletextpad=0.4, borderpad=0, labelspacing=0.35,
        )  # fmt: skip
        for text in legend.get_texts():
            text.set_parse_math(False)
