# SPDX-License-Identifier: Apache-2.0
"""The picture of variants: gradients by layer, with a panel for each activation and a colour for each initialisation."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from pellucid.lenses._axes import plain
from pellucid.lenses._parts import Network
from pellucid.lenses.flow.figure import values
from pellucid.lenses.flow.moments import Probe
from pellucid.lenses.flow.rules import ratio
from pellucid.lenses.flow.variants import Variant, option_words

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["figure"]

# Okabe & Ito 2008: the colour-blind can tell them apart
_COLOURS = ("#d55e00", "#0072b2", "#009e73", "#cc79a7", "#e69f00", "#56b4e9")
_LINES = ("-", "--", ":", "-.")
_LEAST = 1e-14  # smaller gradients are drawn at the lower border


def figure(network: Network, variants: Sequence[Variant], options: Mapping[str, Sequence[Any]], probe: Probe) -> Figure:
    """Panels by option: columns for one, colours for another, rows for the rest; below them the loss over the steps."""
    from matplotlib.figure import Figure
    from matplotlib.lines import Line2D

    across, colour, down = _places(options)
    columns: Sequence[Any] = options[across] if across else [None]
    rows = [dict(zip(down, chosen, strict=True)) for chosen in itertools.product(*(options[name] for name in down))]
    trained = any(len(one.losses) for one in variants)
    count = len(rows) + trained
    drawing = Figure(figsize=(max(4.6, 2.75 * len(columns) + 0.6), 2.15 * count + 0.9), dpi=150, layout="constrained")
    grid = drawing.subplots(count, len(columns), squeeze=False, sharey="row")
    low, high = _range(variants)
    for r, c in itertools.product(range(len(rows)), range(len(columns))):
        axes = grid[r][c]
        wanted = ({across: columns[c]} if across else {}) | rows[r]
        own = [one for one in variants if all(one.options[name] == value for name, value in wanted.items())]
        for place, one in enumerate(own):
            shade = _COLOURS[place % len(_COLOURS)]
            on = one.profile.path
            x = np.arange(1, int(on.sum()) + 1)
            axes.plot(x, _kept(one.profile.gradient[on]), color=shade, lw=1.4, marker="o", ms=2.2)
            axes.plot(x, _kept(one.profile.activation[on]), color=shade, lw=0.9, ls=":")
            axes.annotate(
                ratio(one.reading.gradient), (0.99, 0.03 + 0.085 * (len(own) - 1 - place)), xycoords="axes fraction",
                ha="right", va="bottom", fontsize=7, color=shade, bbox={"fc": "white", "ec": "none", "pad": 0.6, "alpha": 0.75},
            )  # fmt: skip
        axes.set(yscale="log", ylim=(low, high))
        axes.set_title(", ".join(option_words(name, value) for name, value in wanted.items()), fontsize=9)
        axes.locator_params(axis="x", integer=True, min_n_ticks=1)
        plain(axes)
    for line in grid[: len(rows)]:
        line[0].set_ylabel("root mean square", fontsize=8.5)
    for axes in grid[len(rows) - 1]:
        axes.set_xlabel("layer", fontsize=8.5)
    if trained:
        _losses(grid[-1], variants, across, colour, columns, rows)
    handles = [Line2D([], [], color=_COLOURS[i % len(_COLOURS)], lw=1.8) for i in range(len(options[colour]))]
    labels = [option_words(colour, value) for value in options[colour]]
    handles += [Line2D([], [], color="0.3", marker="o", ms=2.2, lw=1.4), Line2D([], [], color="0.3", ls=":", lw=0.9)]
    labels += ["gradient of the loss with respect to the activation", "activation"]
    drawing.legend(handles, labels, loc="outside lower center", frameon=False, fontsize=8, ncols=3)
    corners = "in the corners: the first hidden layer's gradient over the last one's"
    corners = corners if len(columns) > 2 else f"\n{corners}"
    drawing.suptitle(f"{network.title}, untrained, {probe.images:,} images; {corners}", fontsize=9.5)
    return drawing


def _losses(
    grid: Sequence[Any],
    variants: Sequence[Variant],
    across: str | None,
    colour: str,
    columns: Sequence[Any],
    rows: Sequence[Mapping[str, Any]],
) -> None:
    """The loss of each variant over its steps: colours as above, a line style for each row above."""
    for c, axes in enumerate(grid):
        own = [one for one in variants if across is None or one.options[across] == columns[c]]
        shades = {str(value): i for i, value in enumerate(dict.fromkeys(str(one.options[colour]) for one in own))}
        for one in own:
            row = next(i for i, wanted in enumerate(rows) if all(one.options[n] == v for n, v in wanted.items()))
            known = one.losses[np.isfinite(one.losses)]
            shade = _COLOURS[shades[str(one.options[colour])] % len(_COLOURS)]
            axes.plot(_smooth(known), color=shade, lw=1.2, ls=_LINES[row % len(_LINES)])
        for i, wanted in enumerate(rows):
            if wanted and c == 0:
                label = ", ".join(option_words(name, value) for name, value in wanted.items())
                axes.plot([], [], color="0.3", ls=_LINES[i % len(_LINES)], label=label)
        if c == 0 and len(rows) > 1:
            axes.legend(frameon=False, fontsize=7)
        axes.set_xlabel("step", fontsize=8.5)
        plain(axes)
    # a loss that explodes would flatten all the others
    start = max(float(one.losses[0]) for one in variants if len(one.losses))
    grid[0].set_ylim(0, 1.15 * start)
    grid[0].set_ylabel("training loss", fontsize=8.5)


def _places(options: Mapping[str, Sequence[Any]]) -> tuple[str | None, str, list[str]]:
    """The options for the columns, the colours and the rows."""
    left = [*options]
    across = "activation" if "activation" in left and len(left) > 1 else None
    left = [name for name in left if name != across]
    colour = "initialisation" if "initialisation" in left else left[0]
    left.remove(colour)
    if across is None and left:
        across = left.pop(0)
    return across, colour, left


def _kept(sizes: NDArray[np.float64]) -> NDArray[np.float64]:
    kept: NDArray[np.float64] = np.where(np.isnan(sizes), np.nan, np.maximum(sizes, _LEAST))
    return kept


def _range(variants: Sequence[Variant]) -> tuple[float, float]:
    """One range of sizes for all panels."""
    sizes = np.concatenate([values(a) for one in variants for a in (one.profile.gradient, one.profile.activation)])
    sizes = sizes[(sizes > 0) & np.isfinite(sizes)]
    if not len(sizes):
        return 1e-3, 1e3
    return max(_LEAST, float(sizes.min()) / 3), min(1e14, float(sizes.max()) * 3)


def _smooth(losses: NDArray[np.float64]) -> NDArray[np.float64]:
    """(steps,): running means over the last twentieth of the steps, by differences of the cumulative sum."""
    width = max(1, len(losses) // 20)
    total = np.cumsum(np.insert(losses, 0, 0.0))
    ends = np.arange(1, len(losses) + 1)
    begins = np.maximum(0, ends - width)
    smooth: NDArray[np.float64] = (total[ends] - total[begins]) / (ends - begins)
    return smooth
