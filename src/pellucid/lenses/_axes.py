# SPDX-License-Identifier: Apache-2.0
"""How the axes of a plot look, in all lenses."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from matplotlib.axes import Axes

__all__ = ["bare", "plain"]


def bare(axes: Axes) -> None:
    """Nothing but what is drawn in it: no frame, no ticks and no labels.

    Where they are only switched off, matplotlib measures the ticks of all of them again and again to place the titles: on a figure
    of many images that is most of the work.
    """
    axes.set_axis_off()
    axes.xaxis.set_visible(False)
    axes.yaxis.set_visible(False)


def plain(axes: Axes, size: float = 8, grid: bool = True) -> None:
    """No frame at the top and the right, tick labels of a size in points, and a faint grid."""
    axes.spines[["top", "right"]].set_visible(False)
    axes.tick_params(labelsize=size, which="both")
    if grid:
        axes.grid(alpha=0.25, lw=0.6)
