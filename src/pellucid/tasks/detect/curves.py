# SPDX-License-Identifier: Apache-2.0
"""Figures of all images together: precision and recall by class, counts, kinds of error, and what the proposals cover."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from pellucid._colours import MODEL, SIMPLE
from pellucid.tasks._contract import NamedFigure
from pellucid.tasks._figures import CHART, below
from pellucid.tasks._records import Records
from pellucid.tasks.detect import counts, errors
from pellucid.tasks.detect.drawing import colour
from pellucid.tasks.detect.matching import HIT
from pellucid.tasks.detect.metrics import LEVELS, PROPOSALS
from pellucid.tasks.detect.precision import answered, curve

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

__all__ = ["drawn"]

_MOST = 8  # classes with a curve or a panel of their own
_OURS, _THEIRS, _RIGHT, _WRONG = MODEL, SIMPLE, "#2a7f4f", "#c0392b"
_DARKER = 0.72  # of a class's colour, which is made for boxes on photographs


def drawn(records: Records, baselines: Mapping[str, Records], classes: Sequence[str]) -> list[NamedFigure]:
    """The figures of a model's records, with those of simpler methods where they can be compared."""
    if not len(records["true_label"].values):  # nothing is there to be found
        return []
    common = _common(records, len(classes))
    figures = [_by_class(records, classes, common), _errors(records), _counts(records, classes, common)]
    if "rank" in records:
        figures.append(_proposals(records, baselines))
    return figures


def _common(records: Records, classes: int) -> list[int]:
    """The classes with most objects, in the data's order."""
    objects = np.bincount(records["true_label"].values, minlength=classes)
    most = np.argsort(-objects, kind="stable")[:_MOST]
    return [int(label) for label in np.sort(most) if objects[label]]


def _by_class(records: Records, classes: Sequence[str], common: Sequence[int]) -> NamedFigure:
    figure, axes = _figure(CHART, 3.0)
    for label in common:
        recall, precision = curve(records, label)
        own = answered(records) & (records["label"].values == label)
        # where no object was found, there is no line but still a name
        axes.step([0, *recall], [precision[0] if len(recall) else np.nan, *precision], color=_tint(label), where="pre", lw=1.6,
                  label=_short(classes[label]))  # fmt: skip
        right = int((own & (records["state"].values[:, 0, 0] == HIT)).sum())
        if own.any():
            there = int((records["true_label"].values == label).sum())
            axes.plot(right / there, right / int(own.sum()), "o", ms=6, mec="white", color=_tint(label))
    axes.set(xlim=(-0.01, 1.01), ylim=(-0.01, 1.03))
    axes.set_xlabel("recall", fontsize=9)
    axes.set_ylabel("precision", fontsize=9)
    axes.grid(alpha=0.25, lw=0.6)
    below(figure, axes)
    some = (
        f" The {len(common)} most frequent of {len(classes)} classes are drawn." if len(common) < len(classes) else ""
    )
    words = (
        "Precision and recall at an IoU of 0.5, from the surest detection on. A dot is where the threshold lies: what is above "
        f"it is answered. A curve that ends early has missed the other objects, however low the threshold.{some}"
    )
    return NamedFigure("precision_recall", "By class", words, figure)


def _errors(records: Records) -> NamedFigure:
    rows = errors.tally(records)
    own = answered(records)
    right = int((own & (records["kind"].values == errors.RIGHT)).sum())
    bars = [("right", right, _RIGHT), *((row["error"], row["n"], _WRONG) for row in rows)]
    figure, axes = _figure(CHART, 0.28 * len(bars) + 0.4)
    places = np.arange(len(bars))[::-1]
    axes.barh(places, [count for _, count, _ in bars], color=[colour for *_, colour in bars], height=0.66)
    longest = max(1, *(count for _, count, _ in bars))
    for place, (_, count, _) in zip(places, bars, strict=True):
        axes.text(count + 0.01 * longest, place, f"{count:,}", va="center", fontsize=8.5)
    axes.set_yticks(places, [name for name, *_ in bars], fontsize=9)
    axes.set(xlim=(0, 1.2 * longest), xticks=[])
    axes.tick_params(axis="y", length=0)
    axes.spines[["top", "right", "bottom"]].set_visible(False)
    words = (
        "What became of the answers, and how many objects were missed, by the kinds of Bolya et al. 2020 at an IoU of 0.5. "
        f"There are {int(own.sum()):,} answers and {len(records['true_label'].values):,} objects."
    )
    return NamedFigure("errors", "Errors", words, figure)


def _counts(records: Records, classes: Sequence[str], common: Sequence[int]) -> NamedFigure:
    from matplotlib.figure import Figure

    columns = min(2, len(common))
    rows = -(-len(common) // columns)
    figure = Figure(figsize=(CHART, (1.9 if columns == 2 else 3.0) * rows + 0.3), dpi=130, layout="constrained")
    grid = figure.subplots(rows, columns, squeeze=False)
    for axes in grid.flat[len(common) :]:
        axes.set_axis_off()
    for label, axes in zip(common, grid.flat, strict=False):
        found, true = counts.numbers(records, label)
        pairs, images = np.unique(np.stack([true, found], 1), axis=0, return_counts=True)
        top = max(1, int(pairs.max()))
        axes.plot([0, top], [0, top], color="0.6", lw=0.9, zorder=1)
        axes.scatter(*pairs.T, s=8 + 12 * np.sqrt(images), color=_tint(label), alpha=0.7, lw=0, zorder=2)
        axes.set_title(_short(classes[label]), fontsize=9, parse_math=False)
        axes.set(xlim=(-0.04 * top - 0.3, 1.04 * top + 0.3), ylim=(-0.04 * top - 0.3, 1.04 * top + 0.3), aspect="equal")
        axes.tick_params(labelsize=7.5)
        axes.xaxis.get_major_locator().set_params(integer=True)
        axes.yaxis.get_major_locator().set_params(integer=True)
    figure.supxlabel("objects in the image", fontsize=9)
    figure.supylabel("found", fontsize=9)
    words = "Objects in an image and answers, by class; a larger dot stands for more images. On the line, the count is right."
    return NamedFigure("counts", "Counts", words, figure)


def _proposals(records: Records, baselines: Mapping[str, Records]) -> NamedFigure:
    figure, axes = _figure(CHART, 3.0)
    numbers = np.unique(np.geomspace(1, PROPOSALS[-1], 60).round().astype(int))
    for name, table, shade in [
        ("this model", records, _OURS),
        *((name, table, _THEIRS) for name, table in baselines.items() if "rank" in table),
    ]:
        for level, (iou, style) in enumerate(zip(LEVELS, ("-", "--"), strict=True)):
            ranks = np.sort(table["rank"].values[:, level])
            recall = np.searchsorted(ranks, numbers, "right") / max(1, len(ranks))
            axes.plot(numbers, recall, style, color=shade, lw=1.6, label=f"{_plain(name)}, IoU {iou}")
    axes.set(xscale="log", xlim=(1, PROPOSALS[-1]), ylim=(0, 1.02))
    axes.set_xlabel("proposals of an image, the best first", fontsize=9)
    axes.set_ylabel("share of the objects covered", fontsize=9)
    axes.set_xticks([1, 10, *PROPOSALS], [f"{number:,}" for number in (1, 10, *PROPOSALS)])
    axes.minorticks_off()
    axes.grid(alpha=0.25, lw=0.6)
    below(figure, axes)
    words = "The share of the objects that one of the best proposals overlaps with an IoU of at least 0.5, or 0.7, whatever its class."
    return NamedFigure("proposal_recall", "Recall of the proposals", words, figure)


def _figure(wide: float, tall: float) -> tuple[Figure, Axes]:
    from matplotlib.figure import Figure

    figure = Figure(figsize=(wide, tall), dpi=130, layout="constrained")
    axes = figure.subplots()
    axes.spines[["top", "right"]].set_visible(False)
    axes.tick_params(labelsize=8.5)
    return figure, axes


def _tint(label: int) -> Any:
    from matplotlib.colors import to_rgb

    return tuple(_DARKER * part for part in to_rgb(colour(label)))


def _plain(name: str) -> str:
    """The name of a method without what follows in a table."""
    return name.split(" with ")[0].split(" (on ")[0]


def _short(name: str, longest: int = 24) -> str:
    return name if len(name) <= longest else f"{name[: longest - 1]}…"
