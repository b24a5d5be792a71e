# SPDX-License-Identifier: Apache-2.0
"""The picture of a map: a point for each image, coloured by class, and the new images where they were placed."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

__all__ = ["ALONE", "OTHER", "colours", "figure"]

_PALETTE = (
    "#4e79a7", "#f28e2b", "#59a14f", "#e15759", "#b07aa1", "#9c755f", "#edc948", "#76b7b2", "#ff9da7", "#7f7f7f",
    "#1b6f8f", "#b5651d", "#2f6b2b", "#8c2d3c", "#5d3a80", "#4a3426", "#a38a12", "#2c7a74", "#c2577a", "#3d3d3d",
)  # fmt: skip
OTHER, ALONE = "#c8c8c8", "#4a6fa5"  # classes beyond the twenty most common; all images where there are no classes
_SHOWN = 12  # new images that are shown beside the map


def colours(labels: NDArray[np.int64]) -> dict[int, str]:
    """A colour for each of the twenty most common classes, by class number.

    >>> colours(np.array([3, 3, 1, -1]))
    {1: '#4e79a7', 3: '#f28e2b'}
    """
    known, counts = np.unique(labels[labels >= 0], return_counts=True)
    common = sorted(known[np.argsort(-counts, kind="stable")][: len(_PALETTE)].tolist())
    return dict(zip(common, _PALETTE, strict=False))


def figure(
    places: NDArray[np.float64],
    labels: NDArray[np.int64],
    name_of: Any,
    what: str,
    new: NDArray[np.float64],
    unlike: NDArray[np.bool_],
    thumbs: NDArray[np.uint8],
    titles: Sequence[str],
) -> Figure:
    """The map, and to its right the new images with their numbers on it.

    Args:
        places: (N, 2) of the map's images.
        labels: (N,) their classes, -1 for none.
        name_of: the name of a class.
        what: the name of the axes: "t-SNE", …
        new: (Q, 2) places of new images.
        unlike: (Q,) which of these are unlike any image of the map.
        thumbs: (Q, s, s, 1 or 3) uint8 of these.
        titles: (Q,) a line about each.
    """
    from matplotlib.figure import Figure
    from matplotlib.patheffects import Normal, Stroke

    # the unlike ones first: those are worth looking at
    first = np.argsort(~unlike, kind="stable")[:_SHOWN]
    shown = len(first)
    across, along = np.ptp(places, axis=0)
    tall = float(np.clip(5.2 * along / max(across, 1e-12), 3.6, 5.2)) + 0.4
    drawing = Figure(figsize=(7.4 if shown else 5.6, tall), dpi=150, layout="constrained")
    if shown:
        left, right = drawing.subfigures(1, 2, width_ratios=(5.1, 1.9), squeeze=False)[0]
        _strip(right, thumbs[first], [titles[i] for i in first], unlike[first])
        axes = left.subplots()
    else:
        axes = drawing.subplots()
    _scatter(axes, places, labels, name_of)
    edge = np.where(unlike, "#d01c1c", "black")
    axes.scatter(new[:, 0], new[:, 1], s=80, marker="*", c="#ffffffc0", edgecolors=edge, linewidths=0.9, zorder=5)
    for k, i in enumerate(first):
        axes.annotate(str(k + 1), new[i], (4, 4), textcoords="offset points", fontsize=7, weight="bold", color=edge[i],
                      zorder=6)  # fmt: skip
    for text in axes.texts:
        text.set_path_effects([Stroke(linewidth=2, foreground="white"), Normal()])
    axes.set(xticks=[], yticks=[], xlabel=f"{what} 1", ylabel=f"{what} 2")
    axes.set_aspect("equal", adjustable="datalim")
    axes.xaxis.label.set_fontsize(8)
    axes.yaxis.label.set_fontsize(8)
    axes.spines[["top", "right"]].set_visible(False)
    return drawing


def _scatter(axes: Axes, places: NDArray[np.float64], labels: NDArray[np.int64], name_of: Any) -> None:
    from matplotlib.lines import Line2D

    paint = colours(labels)
    size = float(np.clip(4000 / len(places), 2, 14))
    order = np.random.default_rng(0).permutation(len(places))  # no class lies on top of all others
    axes.scatter(
        places[order, 0],
        places[order, 1],
        s=size,
        c=[paint.get(int(i), OTHER if paint else ALONE) for i in labels[order]],
        lw=0,
        alpha=0.8,
    )
    if not paint:
        return
    keys = [
        Line2D([], [], ls="", marker="o", ms=5, mec="none", color=colour, label=name_of(i))
        for i, colour in paint.items()
    ]
    others = int((~np.isin(labels, list(paint))).sum())
    if others:
        keys.append(Line2D([], [], ls="", marker="o", ms=5, mec="none", color=OTHER, label=f"others ({others:,})"))
    legend = axes.legend(
        handles=keys, fontsize=6.5, frameon=False, loc="lower center", bbox_to_anchor=(0.5, 1.0),
        ncols=min(len(keys), 10 if max(len(str(k.get_label())) for k in keys) < 4 else 5),
        handletextpad=0.1, columnspacing=0.9, borderpad=0.1,
    )  # fmt: skip
    for text in legend.get_texts():
        text.set_parse_math(False)


def _strip(part: Any, thumbs: NDArray[np.uint8], titles: Sequence[str], unlike: NDArray[np.bool_]) -> None:
    """The new images below each other, each with its number."""
    columns = 1 if len(thumbs) <= 6 else 2
    rows = max(4, -(-len(thumbs) // columns))
    grid = part.subplots(rows, columns, squeeze=False)
    for k, axes in enumerate(grid.flat):
        axes.set_xticks([])
        axes.set_yticks([])
        if k >= len(thumbs):
            axes.set_axis_off()
            continue
        image = thumbs[k] if thumbs.shape[3] == 3 else thumbs[k, :, :, 0]
        axes.imshow(image, cmap="gray", vmin=0, vmax=255, interpolation="nearest" if len(image) < 48 else None)
        colour = "#d01c1c" if unlike[k] else "0.2"
        axes.set_title(f"{k + 1}  {titles[k]}", fontsize=5.5, pad=2, color=colour, parse_math=False)
        for spine in axes.spines.values():
            spine.set(color=colour if unlike[k] else "0.7", linewidth=1.6 if unlike[k] else 0.5)
