# SPDX-License-Identifier: Apache-2.0
"""How the axes of a plot look, in all lenses."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from matplotlib.axes import Axes

__all__ = ["plain"]


def plain(axes: Axes, size: float = 8, grid: bool = True) -> None:
    """No frame at the top and the right, tick labels of a size in points, and a faint grid."""
    axes.spines[["top", "right"]].set_visible(False)
    axes.tick_params(labelsize=size, which="both")
    if grid:
        axes.grid(alpha=0.25, lw=0.6)
