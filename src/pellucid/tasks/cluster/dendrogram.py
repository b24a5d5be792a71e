# SPDX-License-Identifier: Apache-2.0
"""A dendrogram with pictures: the upper part of a tree, with a thumbnail at every node."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from pellucid._spread import evenly_spread
from pellucid.tasks.cluster.hierarchy import Tree

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["COLOURS", "draw"]

_LEAVES = 24  # branches that are drawn; the codes below them are counted
_SAMPLES = 3  # thumbnails below a branch
COLOURS = (
    "#4a6fa5", "#c0772b", "#2a7f4f", "#a33b3b", "#7a5aa6", "#7d6048",
    "#c36a9c", "#5f6b73", "#98962c", "#2f9aa8",
)  # fmt: skip


def draw(tree: Tree, labels: NDArray[np.int64], pictures: Tensor) -> Figure:
    """The upper part of a tree, its branches coloured by the clusters of the cut, grey above it.

    Args:
        tree: of N codes.
        labels: (N,), the cluster of each code in the cut.
        pictures: (N, C, H, W) in [0, 1].
    """
    from matplotlib.figure import Figure

    count = len(tree)
    shown = min(max(_LEAVES, int(labels.max()) + 1), count, 40)
    nodes = _upper(tree, shown)
    order = _in_order(tree, 2 * count - 2, nodes)
    across = {node: float(place) for place, node in enumerate(order)}  # x of each drawn node
    figure = Figure(figsize=(0.52 * len(order) + 0.9, 6.4), dpi=150)
    axes = figure.add_axes((0.9 / (0.52 * len(order) + 0.9), 0.27, 1 - 0.95 / (0.52 * len(order) + 0.9), 0.7))
    height = dict.fromkeys(order, 0.0)  # and y
    marks: list[tuple[float, float, int]] = []
    for merger in range(count - len(order), count - 1):
        node, (left, right) = count + merger, tree.links[merger, :2].astype(np.int64)
        if int(left) not in across or int(right) not in across:
            continue
        level, colour = float(tree.links[merger, 2]), _colour(labels[tree.members[node]])
        for child in (int(left), int(right)):
            axes.plot([across[child]] * 2, [height[child], level], color=_colour(labels[tree.members[child]]), lw=1.4)
        axes.plot([across[int(left)], across[int(right)]], [level, level], color=colour, lw=1.4)
        across[node], height[node] = (across[int(left)] + across[int(right)]) / 2, level
        marks.append((across[node], level, node))
    top = max(float(tree.heights[-1]), 1e-9)  # equal codes merge at 0
    axes.set(xlim=(-0.6, len(order) - 0.4), ylim=(0, top * 1.12), xticks=[], ylabel=f"height ({tree.linkage} linkage)")
    for side in ("top", "right", "bottom"):
        axes.spines[side].set_visible(False)
    for x, level, node in sorted(marks, key=lambda mark: mark[1]):
        _thumbnail(figure, axes.transData.transform((x, level)), pictures[tree.medoid(node)], 24)
    for node in order:
        _below(figure, axes.transData.transform((across[node], 0.0)), tree, node, labels, pictures)
    return figure


def _upper(tree: Tree, leaves: int) -> set[int]:
    """The topmost nodes of the branches that the tree is cut into, `leaves` of them if there are so many."""
    count = len(tree)
    branches = {2 * count - 2}
    while len(branches) < leaves:
        inner = [node for node in branches if node >= count]
        if not inner:
            break
        node = max(inner)  # the highest merger: they are numbered by height
        branches.remove(node)
        branches |= {int(child) for child in tree.links[node - count, :2]}
    return branches


def _in_order(tree: Tree, node: int, leaves: set[int]) -> list[int]:
    """The branches from left to right, so that no lines cross."""
    order, stack = [], [node]
    while stack:
        node = stack.pop()
        if node in leaves:
            order.append(node)
        else:
            stack += [int(child) for child in tree.links[node - len(tree), 1::-1]]  # the left child comes off first
    return order


def _colour(labels: NDArray[np.int64]) -> str:
    """The colour of the cluster that codes share; grey where they do not."""
    return COLOURS[int(labels[0]) % len(COLOURS)] if (labels == labels[0]).all() else "0.6"


def _thumbnail(figure: Figure, place: NDArray[np.float64], picture: Tensor, side: float, edge: str = "0.3") -> None:
    """A picture centred at a position in px of the figure, with a side in points."""
    points = figure.dpi / 72
    width, height = figure.bbox.width, figure.bbox.height
    wide, tall = side * points / width, side * points / height
    axes = figure.add_axes((place[0] / width - wide / 2, place[1] / height - tall / 2, wide, tall))
    array = picture.detach().float().clamp(0, 1).cpu().numpy()
    axes.imshow(array[0] if len(array) == 1 else array.transpose(1, 2, 0), cmap="gray", vmin=0, vmax=1, aspect="auto")
    axes.set(xticks=[], yticks=[])
    for spine in axes.spines.values():
        spine.set_edgecolor(edge)
        spine.set_linewidth(0.8)


def _below(
    figure: Figure, place: NDArray[np.float64], tree: Tree, node: int, labels: NDArray[np.int64], pictures: Tensor
) -> None:
    """Thumbnails of a branch, evenly spread over its members, and the number of these."""
    own, points = tree.members[node], figure.dpi / 72
    chosen = own[evenly_spread(_SAMPLES, len(own), floor=True)]
    colour = _colour(labels[own])
    for row, member in enumerate(chosen):
        at = place - np.array([0.0, (20 + 30 * row) * points])
        _thumbnail(figure, at, pictures[int(member)], 28, colour)
    down = (20 + 30 * len(chosen) - 8) * points
    x, y = place[0] / figure.bbox.width, (place[1] - down) / figure.bbox.height
    text = f"{int(labels[own[0]])}" if (labels[own] == labels[own[0]]).all() else "–"
    figure.text(x, y, f"{len(own):,}\n[{text}]", ha="center", va="top", fontsize=7, color=colour)
