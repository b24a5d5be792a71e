# SPDX-License-Identifier: Apache-2.0
"""Figures of the errors: how many images err by less than each amount, and which points err most."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from pellucid._colours import MODEL, OTHER, SIMPLE
from pellucid.tasks._contract import NamedFigure
from pellucid.tasks._figures import CHART, below
from pellucid.tasks._records import Records
from pellucid.tasks.landmarks.baselines import MEAN, ON_FEATURES
from pellucid.tasks.landmarks.metrics import FAILURES, by_point, key, nme, numbered
from pellucid.tasks.landmarks.normalisers import Normaliser, title

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["cumulative", "pictures", "point_map", "pooled"]

_COLOURS = ("#6b8f5e", "#8a6bab", "#9a8c5a", "#777777")  # of simpler methods other than the best
_KNOWS = 0.8  # of the mean shape's error: features that leave more know hardly anything of places


def pictures(
    records: Mapping[str, Records], by: Normaliser, names: Sequence[str], lines: Sequence[tuple[int, int]]
) -> list[NamedFigure]:
    """The cumulative curve of the model and the baselines, and the map of the model's errors by point."""
    own = nme(records["model"], by)
    known = own[~np.isnan(own)]
    if not len(known):  # no image has a distance to divide by
        return []
    shares = [f"{100 * np.mean(known <= limit):.0f} % below {limit} %" for limit in FAILURES]
    words = f"The share of the {len(known):,} images whose error is below each amount: with this model {' and '.join(shares)}."
    errors = by_point(records["model"], by)
    titles = numbered(names, len(errors))
    worst, best = (titles[int(end)] for end in (np.nanargmax(errors), np.nanargmin(errors)))
    told = (
        f"The mean shape of the test images, with the model's mean error at each point as a circle of that radius: largest at "
        f"{worst} ({np.nanmax(errors):.1f} % of the {title(by)}), smallest at {best} ({np.nanmin(errors):.1f} %)."
    )
    told_apart = " ".join(filter(None, [words, pooled(records, by)]))
    return [
        NamedFigure("cumulative_errors", "Cumulative errors", told_apart, cumulative(records, by)),
        NamedFigure("errors_by_point", "Error by point", told, point_map(records["model"], by, lines)),
    ]


def pooled(records: Mapping[str, Records], by: Normaliser) -> str:
    """What ridge regression on pooled frozen features says of them, in words; "" where they were not measured, or know the places."""
    rivals = {name.partition(" (")[0]: own for name, own in records.items()}
    if ON_FEATURES not in rivals or MEAN not in rivals or key(by) not in rivals[MEAN]:
        return ""
    pooled, shape = (float(np.nanmean(nme(rivals[name], by))) for name in (ON_FEATURES, MEAN))
    if not pooled > _KNOWS * shape:
        return ""
    return (
        f"Features that are averaged over the image know hardly anything of places: by ridge regression on them the error is "
        f"{pooled:.1f} %, and the mean shape, which sees no image, has {shape:.1f} %. A head on maps keeps the places: --model heatmap."
    )


def cumulative(records: Mapping[str, Records], by: Normaliser) -> Figure:
    """The share of the images whose error is at most each amount, as steps; the model's curve is the thick one."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(CHART, 3.0), dpi=150, layout="constrained")
    axes = figure.subplots()
    own = nme(records["model"], by)
    most = max(1.5 * FAILURES[-1], min(3 * FAILURES[-1], float(np.nanquantile(own, 0.98)) * 1.2))
    rivals = {owner: float(np.nanmean(nme(rows, by))) for owner, rows in records.items() if owner != "model"}
    ranked = sorted(rivals, key=lambda owner: rivals[owner])  # the best first
    colours = {"model": MODEL, **dict(zip(ranked, (SIMPLE, *_COLOURS, *[OTHER] * len(ranked)), strict=False))}
    for owner, rows in records.items():
        values = nme(rows, by)
        values = np.sort(values[~np.isnan(values)])
        if not len(values):
            continue
        x = np.concatenate([[0.0], values, [max(most, values[-1])]])
        y = np.concatenate([[0.0], np.arange(1, len(values) + 1) / len(values), [1.0]])
        model = owner == "model"
        axes.step(
            x, y, where="post", label="this model" if model else owner, linewidth=2.0 if model else 1.2,
            color=colours[owner], zorder=3 if model else 2,
        )  # fmt: skip
    for limit in FAILURES:
        axes.axvline(limit, color="0.75", linewidth=0.8, linestyle=(0, (3, 3)), zorder=1)
    axes.set(xlim=(0, most), ylim=(0, 1.02))
    axes.set_xlabel(f"error, % of the {title(by)}", fontsize=8.5)
    axes.set_ylabel("share of the images", fontsize=8.5)
    axes.tick_params(labelsize=8)
    axes.spines[["top", "right"]].set_visible(False)
    below(figure, axes)
    return figure


def point_map(records: Records, by: Normaliser, lines: Sequence[tuple[int, int]]) -> Figure:
    """The mean shape of the true points, each with a circle whose radius and colour are its mean error."""
    from matplotlib.collections import EllipseCollection, LineCollection
    from matplotlib.figure import Figure

    shape = _shape(
        np.asarray(records["truth"], np.float64), np.asarray(records[key(by)], np.float64)
    )  # in % of the normaliser
    errors = by_point(records, by)
    shown = ~np.isnan(shape).any(1) & ~np.isnan(errors)
    figure = Figure(figsize=(CHART, 3.2), dpi=150, layout="constrained")
    axes = figure.subplots()
    known = [shape[[a, b]] for a, b in lines if shown[a] and shown[b]]
    axes.add_collection(LineCollection(known, colors="0.8", linewidths=1.0, zorder=1))
    twice = 2 * errors[shown]
    circles = EllipseCollection(
        twice, twice, np.zeros(len(twice)), units="xy", offsets=shape[shown], transOffset=axes.transData,
        array=errors[shown], cmap="viridis", alpha=0.75, linewidths=0, zorder=2,
    )  # fmt: skip
    axes.add_collection(circles)
    axes.scatter(shape[shown, 0], shape[shown, 1], s=2.5, color="black", linewidths=0, zorder=3)
    low, high = shape[shown].min(0) - errors[shown].max(), shape[shown].max(0) + errors[shown].max()
    room = 0.03 * max(high - low)
    axes.set(
        xlim=(low[0] - room, high[0] + room), ylim=(high[1] + room, low[1] - room), aspect="equal", xticks=[], yticks=[]
    )
    axes.spines[:].set_visible(False)
    bar = figure.colorbar(circles, ax=axes, shrink=0.8)
    bar.set_label(f"error, % of the {title(by)}", fontsize=8)
    bar.ax.tick_params(labelsize=7.5)
    return figure


def _shape(truth: NDArray[np.float64], distance: NDArray[np.float64]) -> NDArray[np.float64]:
    """(K, 2): the mean of the true points (N, K, 2) about their middle, in % of each image's normaliser (N,)."""
    with np.errstate(divide="ignore", invalid="ignore"):
        middle = np.stack([_mean(own) for own in truth])[:, None]
        scaled = 100 * (truth - middle) / np.where(distance > 0, distance, np.nan)[:, None, None]
    return np.asarray(_mean(scaled), np.float64)


def _mean(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """The mean over the first axis of what is known; NaN where nothing is."""
    known = ~np.isnan(values)
    with np.errstate(invalid="ignore"):
        return np.asarray(np.where(known, values, 0.0).sum(0) / known.sum(0))
