# SPDX-License-Identifier: Apache-2.0
"""What a report shows of a denoiser: how its answers depend on the strength of the noise."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from pellucid._colours import MODEL, SIMPLE
from pellucid.tasks._figures import CHART, below

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["levels"]

_RIVALS = ("#2a7f4f", "#8e5ea2", "#8c564b", "#b5a300", "#17becf", "#7f7f7f")  # of filters that are not the best
_OTHERS = ("level", "level × 255", "images", "from", "to")  # columns that are no method


def levels(rows: Sequence[Mapping[str, Any]]) -> Figure:
    """PSNR against the level of the noise, a line for each method; `rows` as in the details of metrics.json."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(CHART, 3.0), dpi=150, layout="constrained")
    axes = figure.subplots()
    axes.set_prop_cycle(color=_RIVALS)
    places = [row["level × 255"] for row in rows]
    methods = [key for key in rows[0] if key not in _OTHERS]
    best = max(
        (name for name in methods if name != "model"), key=lambda name: sum(row[name] for row in rows), default=""
    )
    for name in methods:
        own = name == "model"
        style: dict[str, Any] = {"linewidth": 2.5, "zorder": 3} if own else {"linewidth": 1.2, "linestyle": "--"}
        if own or name == best:
            style["color"] = MODEL if own else SIMPLE
        axes.plot(places, [row[name] for row in rows], marker="o", markersize=4 if own else 3, label=name, **style)
    axes.fill_between(
        places, [row["from"] for row in rows], [row["to"] for row in rows], alpha=0.15, linewidth=0, color=MODEL
    )
    axes.set_xlabel("level of the noise × 255", fontsize=9)
    axes.set_ylabel("PSNR [dB]", fontsize=9)
    axes.tick_params(labelsize=8.5)
    axes.grid(alpha=0.3)
    below(figure, axes)
    return figure
