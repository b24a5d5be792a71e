# SPDX-License-Identifier: Apache-2.0
"""A training with several players, such as a GAN: each one's losses, and what else it logged."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from pellucid.lenses._axes import plain
from pellucid.lenses.curves.verdict import Rows, column

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["figure", "parts", "words"]

_COLOURS = ("#4a6fa5", "#d1662b", "#2a7f4f", "#8e5ba6")
_POINTS = 60  # means that are drawn


def parts(history: Rows) -> list[str]:
    """The columns "<player>/<part>" of a training's rows, in their order; none for a single player.

    >>> parts([{"split": "train", "loss": 2.0, "a/loss": 1.0, "b/loss": 1.0}])
    ['a/loss', 'b/loss']
    """
    first = next((row for row in history if row["split"] == "train"), {})
    return [name for name in first if "/" in name]


def figure(train: Rows, names: list[str]) -> Figure:
    """The players' losses, and everything else that they logged, as means over the epochs."""
    from matplotlib.figure import Figure

    losses = [name for name in names if name.endswith("/loss")]
    others = [name for name in names if name not in losses]
    drawing = Figure(figsize=(8.2 if others else 4.6, 3.1), dpi=150, layout="constrained")
    grid = drawing.subplots(1, 2 if others else 1, squeeze=False)[0]
    for axes, chosen, title in zip(grid, (losses, others), ("loss by player", "other columns"), strict=False):
        for place, name in enumerate(chosen):
            rows = [row for row in train if name in row]
            # a game's losses swing from step to step; their means show where it is going
            pieces = np.array_split(np.arange(len(rows)), min(_POINTS, len(rows)))
            x, y = (np.array([column(rows, key)[piece].mean() for piece in pieces]) for key in ("epoch", name))
            axes.plot(
                x, y, lw=1.5, color=_COLOURS[place % len(_COLOURS)], label=name.replace("/", ": ", 1).replace("_", " ")
            )
        axes.set_title(title, fontsize=10)
        axes.set_xlabel("epoch", fontsize=9)
        axes.legend(frameon=False, fontsize=8)
        plain(axes)
    return drawing


def words(train: Rows, names: list[str]) -> str:
    """Each player's loss at the end. One's loss rises as the other improves, so that neither says how good it is.

    >>> rows = [{"a/loss": 1.0, "b/loss": 2.0}] * 20
    >>> words(rows, ["a/loss", "b/loss"])
    'Players: a/loss 1, b/loss 2 over the last tenth; one loss rises as the other player improves, so neither measures quality.'
    """
    last = train[-max(1, len(train) // 10) :]
    means = []
    for name in names:
        values = [row[name] for row in last if name in row]
        if values:
            means.append(f"{name} {np.mean(values):.3g}")
    return (
        f"Players: {', '.join(means)} over the last tenth; one loss rises as the other player improves, "
        "so neither measures quality."
    )
