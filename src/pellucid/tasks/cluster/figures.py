# SPDX-License-Identifier: Apache-2.0
"""Figures of a clustering: images by cluster, a map of the codes, clusters against classes, the choice of their number."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from pellucid.tasks._figures import CHART, show
from pellucid.tasks.cluster.dendrogram import COLOURS
from pellucid.tasks.cluster.partition import matching
from pellucid.tasks.cluster.training import ClusterPrediction, Views

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["answers", "criterion", "filters", "outliers", "plane", "rows", "table"]

_NEAR, _FAR = 10, 4  # images nearest to and farthest from the centre
_ROWS = 20  # clusters that are drawn
_FILTERS = 100


def answers(input: Tensor, prediction: ClusterPrediction, truth: Views | None, classes: Sequence[str]) -> Figure:
    """One cell per image, with its cluster, its distance, its class where it is known, and whether it is an outlier."""
    from matplotlib.figure import Figure

    columns = min(6, len(input))
    lines = -(-len(input) // columns)
    figure = Figure(figsize=(1.5 * columns, 1.95 * lines), dpi=150, layout="constrained")
    for place, axes in enumerate(figure.subplots(lines, columns, squeeze=False).flat):
        axes.set_axis_off()
        if place >= len(input):
            continue
        axes.set_axis_on()
        show(axes, input[place])
        cluster = int(prediction.cluster[place])
        axes.set_title(f"cluster {cluster}", fontsize=8, color=COLOURS[cluster % len(COLOURS)])
        caption = f"distance {float(prediction.distance[place]):.3g}"
        if truth is not None and int(truth.label[place]) >= 0 and classes:
            caption = f"true: {classes[int(truth.label[place])]}\n{caption}"
        axes.set_xlabel(caption + ("\noutlier" if bool(prediction.unlike[place]) else ""), fontsize=7, labelpad=2)
    return figure


def rows(
    images: Tensor, clusters: NDArray[np.int64], distances: NDArray[np.floating], k: int, outlier: NDArray[np.bool_]
) -> Figure:
    """One row per cluster: the images (N, C, H, W) nearest to its centre, and the farthest ones that are not outliers."""
    from matplotlib.figure import Figure

    shown = min(k, _ROWS)
    height, width = images.shape[2:]
    gap = width // 3
    line = np.ones((images.shape[1], height + 2, (width + 2) * (_NEAR + _FAR) + gap), np.float32)
    figure = Figure(figsize=(8.2, 0.56 * shown + 0.1), dpi=150, layout="constrained")
    grid = figure.subplots(shown, 1, squeeze=False)[:, 0]
    for cluster, axes in enumerate(grid):
        own = np.flatnonzero((clusters == cluster) & ~outlier)
        own = own[distances[own].argsort()]
        strip = line.copy()
        for place, member in enumerate(own[:_NEAR]):
            strip[:, 1:-1, (width + 2) * place : (width + 2) * place + width] = images[int(member)].numpy()
        for place, member in enumerate(own[_NEAR:][-_FAR:]):
            start = (width + 2) * (_NEAR + place) + gap
            strip[:, 1:-1, start : start + width] = images[int(member)].numpy()
        show(axes, torch.from_numpy(strip))
        title = f"{cluster}: {int((clusters == cluster).sum()):,}" if len(own) else f"{cluster}: empty"
        axes.set_ylabel(title, fontsize=8, rotation=0, ha="right", va="center", labelpad=4)
    return figure


def plane(codes: NDArray[np.floating], clusters: NDArray[np.int64], images: Tensor) -> Figure:
    """The codes (N, D) on their two principal axes, with the image nearest to the middle of each cluster."""
    from matplotlib.figure import Figure
    from matplotlib.offsetbox import AnnotationBbox, OffsetImage

    centred = codes - codes.mean(0)
    principal = np.linalg.svd(centred[:2000], full_matrices=False)[2][:2]  # (2, D)
    flat = centred @ principal.T
    flat = np.pad(flat, ((0, 0), (0, 2 - flat.shape[1])))  # codes of one number have a single axis
    figure = Figure(figsize=(6.4, 5.2), dpi=150, layout="constrained")
    axes = figure.subplots()
    dot = float(np.clip(6000 / len(flat), 2, 14))
    for cluster in np.unique(clusters):
        own = clusters == cluster
        colour = COLOURS[int(cluster) % len(COLOURS)]
        axes.scatter(flat[own, 0], flat[own, 1], s=dot, color=colour, alpha=0.5, linewidths=0, rasterized=True)
    for cluster in np.unique(clusters):
        own = np.flatnonzero(clusters == cluster)
        middle = own[np.square(codes[own] - codes[own].mean(0)).sum(1).argmin()]
        picture = images[int(middle)].clamp(0, 1).numpy()
        flat_picture = picture[0] if len(picture) == 1 else picture.transpose(1, 2, 0)
        zoom = 22 / max(picture.shape[1:])
        box = OffsetImage(flat_picture, zoom=zoom, cmap="gray", norm=None)
        edge = {"edgecolor": COLOURS[int(cluster) % len(COLOURS)], "linewidth": 1.5}
        axes.add_artist(AnnotationBbox(box, tuple(np.median(flat[own], 0)), bboxprops=edge, pad=0.1))
    axes.set(xlabel="first principal axis", ylabel="second principal axis")
    return figure


def table(counts: NDArray[np.int64]) -> Figure:
    """Counts (k, classes) of images by cluster and class; the class that is matched to a cluster has a frame."""
    from matplotlib.figure import Figure
    from matplotlib.patches import Rectangle

    k, classes = counts.shape
    figure = Figure(figsize=(0.5 * classes + 1.2, 0.36 * k + 0.9), dpi=150, layout="constrained")
    axes = figure.subplots()
    share = counts / np.maximum(counts.sum(1, keepdims=True), 1)
    axes.imshow(share, cmap="Blues", vmin=0, vmax=1, aspect="auto")
    match = matching(counts)
    for row in range(k):
        for column in range(classes):
            if counts[row, column] and classes <= 40:
                colour = "white" if share[row, column] > 0.6 else "0.2"
                axes.text(column, row, f"{counts[row, column]}", ha="center", va="center", fontsize=6.5, color=colour)
        if match[row] >= 0:
            frame = Rectangle(
                (match[row] - 0.5, row - 0.5), 1, 1, fill=False, edgecolor="#c0772b", linewidth=1.6, clip_on=False
            )
            axes.add_patch(frame)
    axes.set(xlabel="class", ylabel="cluster", yticks=range(k), xticks=range(classes) if classes <= 40 else [])
    axes.tick_params(labelsize=7)
    return figure


def criterion(values: NDArray[np.floating], chosen: int, name: str) -> Figure:
    """A criterion at each number of clusters from 2 on, with the chosen one marked."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(CHART, 2.6), dpi=150, layout="constrained")
    axes = figure.subplots()
    counts = np.arange(2, len(values) + 2)
    axes.plot(counts, values, marker="o", ms=4, color=COLOURS[0])
    axes.axvline(chosen, color=COLOURS[1], lw=1, ls="--")
    axes.text(chosen, axes.get_ylim()[1], f" chosen: {chosen}", va="top", fontsize=8, color=COLOURS[1])
    label = {"silhouette": "mean silhouette", "gap": "gap", "bic": "−BIC per code"}[name]
    axes.set_xlabel("clusters", fontsize=9)
    axes.set_ylabel(label, fontsize=9)
    axes.set_xticks(counts)
    axes.tick_params(labelsize=8.5)
    return figure


def outliers(images: Tensor, prediction: ClusterPrediction) -> Figure:
    """Up to 12 outliers, the worst reconstructed first."""
    own = torch.nonzero(prediction.unlike)[:, 0]
    own = own[prediction.error[own].argsort(descending=True)][:12]
    return answers(images[own], prediction[own], None, ())


def filters(weights: Tensor, shape: tuple[int, int, int] | None) -> Figure:
    """Filters (F, C, h, w), or (F, C·H·W) of dense layers with the images' shape (C, H, W), as a grid of at most 100."""
    from matplotlib.figure import Figure

    tiles = weights.float().reshape(len(weights), *shape) if shape is not None else weights.float()
    tiles = tiles if tiles.shape[1] in (1, 3) else tiles.mean(1, keepdim=True)
    tiles = tiles[:_FILTERS]
    low, high = tiles.flatten(1).amin(1)[:, None, None, None], tiles.flatten(1).amax(1)[:, None, None, None]
    tiles = (tiles - low) / (high - low).clamp_min(1e-12)
    columns = min(len(tiles), 16)
    lines = -(-len(tiles) // columns)
    side = 0.45 if tiles.shape[2] <= 16 else 0.6
    figure = Figure(figsize=(side * columns, side * lines), dpi=150)
    figure.subplots_adjust(0.01, 0.01, 0.99, 0.99, 0.08, 0.08)
    for place, axes in enumerate(figure.subplots(lines, columns, squeeze=False).flat):
        axes.set_axis_off()
        if place < len(tiles):
            show(axes, tiles[place])
    return figure
