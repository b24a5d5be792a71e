# SPDX-License-Identifier: Apache-2.0
"""The picture of an attack: each image, what was added, and the new answer; and accuracy against ε."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, final

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from pellucid.lenses._axes import bare, plain
from pellucid.lenses._images import show
from pellucid.lenses._parts import Network
from pellucid.lenses.adversarial.attacks import LEVELS, written

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

__all__ = ["Curve", "Fooled", "figure"]

_MOST_DRAWN = 36  # images of a folder; the numbers hold all
_RED, _GREY = "#b2182b", "#666666"


@final
@dataclass(frozen=True)
class Fooled:
    """What an attack did to one image."""

    clean: Tensor  # (C, H, W), stored values / 255
    adversarial: Tensor  # (C, H, W), stored values / 255
    before: int  # the class of the clean image's answer
    score: float
    after: int  # that of the adversarial one
    new_score: float
    score_after: float  # the probability of the first class under attack
    random: int  # the answer under random signs of the same size
    fooled: bool
    smallest: int | None  # /255; None: nothing that was tried fools
    target: int | None


@final
@dataclass(frozen=True)
class Curve:
    """Accuracy against ε over test images: value, low and high of each."""

    epsilons: NDArray[np.float64]
    n: int
    attacked: NDArray[np.float64]  # (3, epsilons)
    random: NDArray[np.float64]  # (3, epsilons)


def figure(network: Network, attacked: Sequence[Fooled], curve: Curve | None, method: str, epsilon: float) -> Figure:
    """Three panels for each image, and below them the accuracy over a test set and the smallest ε."""
    from matplotlib.figure import Figure

    drawn = attacked[:_MOST_DRAWN]
    across = 1 if len(drawn) <= 3 else 2
    rows = -(-len(drawn) // across)
    side = 2.3 if len(drawn) <= 3 else 1.6  # inches
    tall = float(np.median([one.clean.shape[1] / one.clean.shape[2] for one in drawn])) * side
    below = [curve is not None, len(attacked) > 3]
    height = rows * (tall + 0.55)
    extra = 2.5 if any(below) else 0.0
    drawing = Figure(
        figsize=(max(across * 3 * side, 5.0 if extra else 0), height + extra), dpi=150, layout="constrained"
    )
    parts = drawing.subfigures(2, 1, height_ratios=[height, extra], squeeze=False) if extra else None
    upper = drawing if parts is None else parts[0, 0]
    grid = upper.subplots(rows, 3 * across, squeeze=False)
    for axes in grid.flat:
        bare(axes)
    for k, one in enumerate(drawn):
        _row(network, k, [*grid[k // across, 3 * (k % across) : 3 * (k % across) + 3]], one, method, epsilon)
    if parts is not None:
        panels = iter(np.ravel(parts[1, 0].subplots(1, sum(below), squeeze=False)))
        if curve is not None:
            _accuracy(next(panels), curve, method)
        if below[1]:
            _smallest(next(panels), attacked, method)
    return drawing


def _row(network: Network, place: int, axes: Sequence[Axes], one: Fooled, method: str, epsilon: float) -> None:
    from matplotlib.patches import Rectangle

    show(axes[0], one.clean, network.titled(place, f"{network.label(one.before)}\n{100 * one.score:.1f} %"))
    # what was added, magnified: −ε is black, +ε white
    times = 1 / (2 * epsilon)
    enlarged = 0.5 + times * (one.adversarial - one.clean)
    show(axes[1], enlarged, f"{method}, ±{written(epsilon)}\nmagnified {times:.0f}×", color="0.35")
    frame: dict[str, Any] = {"fill": False, "edgecolor": "0.7", "linewidth": 0.5, "clip_on": False}
    axes[1].add_patch(Rectangle((0, 0), 1, 1, transform=axes[1].transAxes, **frame))
    least = f"smallest ε that fools: {one.smallest}/{LEVELS}" if one.smallest else ""
    least = "no ε that was tried fools" if one.smallest is None else least
    colour = _RED if one.fooled else "0.15"
    show(axes[2], one.adversarial, f"{network.label(one.after)}\n{100 * one.new_score:.1f} %", color=colour)
    axes[2].text(
        0.5, -0.03, least, transform=axes[2].transAxes, ha="center", va="top", fontsize=6.5, color="0.35"
    )  # fmt: skip


def _accuracy(axes: Axes, curve: Curve, method: str) -> None:
    x = LEVELS * curve.epsilons
    for (value, low, high), colour, name in ((curve.random, _GREY, "random signs"), (curve.attacked, _RED, method)):
        axes.fill_between(x, 100 * low, 100 * high, color=colour, alpha=0.18, linewidth=0)
        axes.plot(x, 100 * value, "o-", color=colour, markersize=3, linewidth=1.2, label=name)
    axes.set_xlabel("ε, in 1/255", fontsize=8)
    axes.set_ylabel("accuracy, %", fontsize=8)
    axes.set_ylim(-3, 103)
    axes.set_title(f"{curve.n:,} test images, 95 % intervals", fontsize=8)
    axes.legend(fontsize=7, frameon=False)
    plain(axes, 7, grid=False)


def _smallest(axes: Axes, attacked: Sequence[Fooled], method: str) -> None:
    """How many of the images each ε fools, as a cumulative share."""
    values = np.sort([one.smallest if one.smallest is not None else np.inf for one in attacked])
    known = values[np.isfinite(values)]
    shares = 100 * np.arange(1, len(known) + 1) / len(values)
    end = max(known.max() * 1.1 + 1, 2) if len(known) else 2
    axes.step([0, *known, end], [0, *shares, shares[-1] if len(shares) else 0], where="post", color=_RED, linewidth=1.2)
    axes.set_xlim(0, end)
    axes.set_ylim(-3, 103)
    axes.set_xlabel("smallest ε, in 1/255", fontsize=8)
    axes.set_ylabel("images fooled, %", fontsize=8)
    axes.set_title(f"{method}: {len(attacked)} images shown", fontsize=8)
    plain(axes, 7, grid=False)
