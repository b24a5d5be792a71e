# SPDX-License-Identifier: Apache-2.0
"""The proof that a frozen backbone stayed as it was, in words, a picture and a table."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from pellucid import weights
from pellucid.measures import WEIGHTS
from pellucid.reporting import pictures
from pellucid.run import FIRST_FILTERS, Run

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["section"]

_MOST = 64  # filters drawn


def section(run: Run) -> dict[str, Any] | None:
    """What the report says of the frozen part of a model; None where nothing is frozen."""
    record = run.info["frozen"]
    if record is None:
        return None
    same = record["before"] == record["after"]
    kept = "is bit for bit what it was" if same else "was not compared with what it was: the training has not ended"
    words = f"Each of the {record['tensors']:,} frozen tensors, batch-norm statistics among them, {kept}."
    if "fixed" in record:
        words += f" {record['fixed']:,} parameters are frozen, and {record['trained']:,} were trained."
    now = weights.found(run.path / WEIGHTS["last"]) or {}
    each = record.get("each", {})
    rows = [
        {"name": name, "before": before[:16], "after": weights.digest({name: now[name]})[:16] if name in now else "–"}
        for name, before in each.items()
    ]
    begun = weights.found(run.path / FIRST_FILTERS) or {}
    name = next((one for one in begun if one in now), None)
    if name is None:
        return {"words": words, "rows": rows, "picture": None}
    before, after = begun[name].float().numpy(), now[name].float().numpy()
    apart = float(np.abs(after - before).max())
    changed = "none of them changed" if apart == 0 else f"the largest change of a weight is {apart:.3g}"
    shown = f"the first {_MOST} of {len(before)}" if len(before) > _MOST else f"all {len(before)}"
    caption = f"Filters of the first convolution ({name}, {shown}) before and after the training: {changed}."
    return {"words": words, "rows": rows, "picture": pictures.png(_drawn(before, after)), "caption": caption}


def _drawn(before: NDArray[np.float32], after: NDArray[np.float32]) -> Figure:
    """Filters (K, C, h, w) in two rows of tiles on one scale: in colour where they read three channels."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(8, 2.6), layout="constrained")
    reach = float(max(np.abs(before).max(), np.abs(after).max())) or 1.0
    for axes, (title, filters) in zip(figure.subplots(2, 1), (("before", before), ("after", after)), strict=True):
        axes.imshow(_tiles(filters[:_MOST], reach), cmap="gray", vmin=0, vmax=1, interpolation="nearest")
        axes.set_title(title, fontsize=9, loc="left")
        axes.set_axis_off()
    return figure


def _tiles(filters: NDArray[np.float32], reach: float) -> NDArray[np.float32]:
    """Filters side by side, 32 in a row, white between them: zero is middle grey."""
    if filters.shape[1] != 3:
        filters = filters.mean(1, keepdims=True)
    tiles = np.pad((filters / (2 * reach) + 0.5), ((0, 0), (0, 0), (0, 1), (0, 1)), constant_values=1.0)
    across = min(32, len(tiles))
    down = -(-len(tiles) // across)
    tiles = np.concatenate([tiles, np.ones((down * across - len(tiles), *tiles.shape[1:]), np.float32)])
    _, channels, height, width = tiles.shape
    grid = tiles.reshape(down, across, channels, height, width).transpose(0, 3, 1, 4, 2)
    page: NDArray[np.float32] = grid.reshape(down * height, across * width, channels).squeeze()
    return page
