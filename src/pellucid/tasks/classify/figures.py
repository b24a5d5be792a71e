# SPDX-License-Identifier: Apache-2.0
"""Figures of all images together: ROC and precision–recall curves, and how far the probabilities can be trusted."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from pellucid._colours import MODEL, SIMPLE
from pellucid.tasks._contract import NamedFigure
from pellucid.tasks._figures import CHART, below
from pellucid.tasks._metrics import Floats
from pellucid.tasks._records import Records, rows_of
from pellucid.tasks.classify import decision, metrics
from pellucid.tasks.classify.ranking import Curve, Rankings, curve

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

__all__ = ["drawn"]

_MOST = 10  # classes that all have a curve of their own; of more, the lowest few
_LOWEST = 6
_OURS, _THEIRS = MODEL, SIMPLE
_STYLES = ("-", "--", ":", "-.")
_COLOURS = (
    "#1f77b4",
    "#2a7f4f",
    "#c0392b",
    "#8e5ea2",
    "#8c564b",
    "#e377c2",
    "#7f7f7f",
    "#b5a300",
    "#17becf",
    "#333333",
)
_GRID = np.linspace(0, 1, 501)  # of the mean of several curves


def drawn(
    records: Records, baselines: Mapping[str, Records], classes: Sequence[str], positive: int
) -> list[NamedFigure]:
    """The figures of a model's records, with those of simpler methods where they give probabilities."""
    rivals = {name: table for name, table in baselines.items() if "probabilities" in table}
    return [*_curves(records, rivals, classes, positive), _reliability(records)]


def _ranked(records: Records, classes: Sequence[str], positive: int) -> list[int]:
    """The classes whose curves are there: some images are of the class, and some are not."""
    counts = np.bincount(records["true"], minlength=len(classes))
    own = metrics.ranked_by(len(classes), records["probabilities"], positive)
    return [k for k in own if 0 < counts[k] < len(records["true"])]


def _curves(
    records: Records, baselines: Mapping[str, Records], classes: Sequence[str], positive: int
) -> list[NamedFigure]:
    known = _ranked(records, classes, positive)
    if not known:  # one class alone: there is nothing to be told apart
        return []
    parts = (
        (
            "roc",
            "ROC curve",
            0,
            ("false positive rate", "true positive rate"),
            _over_false_alarms,
            _over_false_alarms,
            "AUC",
        ),
        ("precision_recall", "Precision and recall", 1, ("recall", "precision"), _over_recall, _steps, "AP"),
    )
    figures = []
    for name, title, place, labels, line, steps, area in parts:
        figure, axes = _figure(CHART, CHART)
        axes.set(xlim=(-0.01, 1.01), ylim=(-0.01, 1.03))
        axes.set_box_aspect(1)
        axes.set_xlabel(labels[0], fontsize=9)
        axes.set_ylabel(labels[1], fontsize=9)
        if name == "roc":
            axes.plot([0, 1], [0, 1], color="0.75", lw=0.9, zorder=1)
        several = len(known) > 1
        # the model comes first in the legend, and lies on top
        own_name = f"this model{', mean' if several else ''}, {area} {_area(records, known, place):.3f}"
        own = _mean(records, known, line) if several else steps(_curve(records, known[0]))
        axes.plot(*own, color=_OURS, lw=2.2, label=own_name, zorder=4)
        if not several:
            _decisions(axes, records, positive, name)
        for k, (method, table) in enumerate(baselines.items()):
            theirs = _ranked(table, classes, positive)
            if theirs:
                axes.plot(*_mean(table, theirs, line), _STYLES[k % len(_STYLES)], color=_THEIRS, lw=1.2, alpha=0.8,
                          label=f"{_plain(method)}, {area} {_area(table, theirs, place):.3f}", zorder=2)  # fmt: skip
        if several:
            for shade, k in zip(_COLOURS, _shown(records, known, place), strict=False):
                axes.plot(*steps(_curve(records, k)), color=shade, lw=1.0, alpha=0.75, zorder=3,
                          label=f"{_short(classes[k])}, {area} {_area(records, [k], place):.3f}")  # fmt: skip
        below(figure, axes)
        words = _words(name, records, known, classes, positive)
        figures.append(
            NamedFigure("roc", title, words, figure)
            if name == "roc"
            else NamedFigure("precision_recall", title, words, figure)
        )
    return figures


def _words(name: str, records: Records, known: Sequence[int], classes: Sequence[str], positive: int) -> str:
    if len(classes) == 2:
        what = f"Images ranked by the probability of {classes[positive]}, the positive class."
        dots = " The dots are decisions: the most probable class, and the thresholds of the table."
    else:
        what = "Images ranked by the probability of each class against the rest; the thick line is the mean over the classes."
        dots = ""
    words = {
        "roc": "The true positive rate is the share of a class's images that are answered as it, the false positive rate that of "
        "the other images; the grey line is chance.",
        "precision_recall": "Precision is the share of the images answered as a class that belong to it, recall the share of the "
        "class's images that are answered so.",
    }[name]
    some = f" The {_LOWEST} lowest of {len(known)} classes are drawn." if len(known) > _MOST else ""
    absent = [classes[k] for k in range(len(classes)) if not (records["true"] == k).any()]
    few = f"{', '.join(map(_short, absent[:5]))}{' …' if len(absent) > 5 else ''}"
    left_out = f" Not in these images and left out of the mean: {few}." if absent and len(classes) > 2 else ""
    return f"{what} {words}{dots}{some}{left_out}"


def _shown(records: Records, known: Sequence[int], place: int) -> list[int]:
    """The classes with a curve of their own, in the data's order: all of a few, of many the lowest."""
    if len(known) <= _MOST:
        return list(known)
    areas = [_area(records, [k], place) for k in known]
    return sorted(known[i] for i in np.argsort(areas, kind="stable")[:_LOWEST])


def _curve(records: Records, k: int) -> Curve:
    return curve(records["true"] == k, records["probabilities"][:, k])


def _area(records: Records, known: Sequence[int], place: int) -> float:
    """The mean ROC AUC or average precision of these classes."""
    found = Rankings.of(records["true"], records["probabilities"], known).measures(np.ones((1, rows_of(records))))
    return float(found[place].mean())


def _over_false_alarms(one: Curve) -> tuple[Floats, Floats]:
    return one.false_alarms, one.recall


def _steps(one: Curve) -> tuple[Floats, Floats]:
    """Precision at every score, in steps whose area is the average precision."""
    return np.repeat(one.recall, 2)[1:-1], np.repeat(one.precision[1:], 2)


def _over_recall(one: Curve) -> tuple[Floats, Floats]:
    """The same steps with one precision at each recall, the one that counts."""
    rising = np.flatnonzero(np.diff(one.recall, prepend=-1.0) > 0)[1:]
    recall, precision = one.recall[rising], one.precision[rising]
    return np.repeat(np.concatenate([[0.0], recall]), 2)[1:-1], np.repeat(precision, 2)


def _mean(records: Records, known: Sequence[int], line: Callable[[Curve], tuple[Floats, Floats]]) -> tuple[Any, Any]:
    """The curve of one class, or the mean of those of several at equal places of the first axis."""
    lines = [line(_curve(records, k)) for k in known]
    if len(lines) == 1:
        return lines[0]
    heights = np.mean([np.interp(_GRID, across, up) for across, up in lines], 0)
    if line is _over_recall:
        return _GRID, heights
    return np.concatenate([[0.0], _GRID]), np.concatenate([[0.0], heights])


def _decisions(axes: Axes, records: Records, positive: int, name: str) -> None:
    """Where the most probable class, and each threshold in the records, lies on the curve."""
    own, score = records["true"] == positive, records["probabilities"][:, positive]
    best = records["probabilities"].argmax(1) == positive
    places = {"most probable class": (best, "o")}
    for words, value in decision.thresholds(records).items():
        mark = "D" if words == decision.GIVEN else "s"
        places[f"threshold {value:.3g}, {words}"] = score.astype(np.float64) >= value, mark
    for words, (said, mark) in places.items():
        recall, false = (said & own).sum() / own.sum(), (said & ~own).sum() / (~own).sum()
        if name == "roc":
            axes.plot(false, recall, mark, ms=6, mec="white", color=_OURS, label=words, zorder=5)
        elif said.any():
            axes.plot(
                recall, (said & own).sum() / said.sum(), mark, ms=6, mec="white", color=_OURS, label=words, zorder=5
            )


def _wilson(share: NDArray[Any], n: NDArray[Any]) -> tuple[NDArray[Any], NDArray[Any]]:
    """The middle and the half width of the 95 % interval of shares by the score test (Wilson 1927).

    >>> middle, half = _wilson(np.array([0.5]), np.array([10]))
    >>> (middle - half).round(3).tolist(), (middle + half).round(3).tolist()
    ([0.237], [0.763])
    """
    z = 1.959964
    shrunk = 1 + z**2 / n
    half = z / shrunk * np.sqrt(share * (1 - share) / n + (z / (2 * n)) ** 2)
    return (share + z**2 / (2 * n)) / shrunk, half


def _reliability(records: Records) -> NamedFigure:
    from matplotlib.ticker import PercentFormatter

    bins, counts, confidence, accuracy = metrics.reliability(records)
    error = float(metrics.calibration_error(records, np.ones((1, rows_of(records))))[0])
    figure, axes = _figure(CHART, CHART)
    wide = 1 / metrics.BINS
    middle = (bins + 0.5) * wide
    centre, half = _wilson(accuracy, counts)
    ends = np.stack([accuracy - (centre - half), centre + half - accuracy])  # (2, bins) below and above
    axes.bar(middle, accuracy, 0.9 * wide, color=_OURS, alpha=0.35, lw=0)
    axes.plot([0, 1], [0, 1], color="0.55", lw=0.9, zorder=1)
    axes.errorbar(confidence, accuracy, np.abs(ends), fmt="o", ms=4, color=_OURS, elinewidth=1.0)
    for x, n in zip(middle.tolist(), counts.tolist(), strict=True):
        axes.text(x, -0.11, f"{n:,}", ha="center", va="center", fontsize=7.5, color="0.35", rotation=90)
    axes.text(-0.01, -0.11, "n", ha="right", va="center", fontsize=7.5, color="0.35")
    axes.set(xlim=(-0.05, 1.01), ylim=(-0.22, 1.03))
    axes.set_xlabel("probability of the most probable class", fontsize=9)
    axes.set_ylabel("share that is right", fontsize=9)
    axes.xaxis.set_major_formatter(PercentFormatter(1.0, symbol=" %"))
    axes.yaxis.set_major_formatter(PercentFormatter(1.0, symbol=" %"))
    axes.set_yticks(np.linspace(0, 1, 6))
    words = (
        f"The most probable classes by their probability, in {metrics.BINS} bins with n images each: the share that is right with "
        "its 95 % interval (Wilson), against the mean probability. On the line, probabilities are as good as they say; below it, "
        f"they are too high. The expected calibration error is {error:.3f}."
    )
    return NamedFigure("reliability", "Reliability", words, figure)


def _figure(wide: float, tall: float) -> tuple[Figure, Axes]:
    from matplotlib.figure import Figure

    figure = Figure(figsize=(wide, tall), dpi=150, layout="constrained")
    axes = figure.subplots()
    axes.spines[["top", "right"]].set_visible(False)
    axes.tick_params(labelsize=8.5)
    axes.grid(alpha=0.25, lw=0.6)
    return figure, axes


def _plain(name: str) -> str:
    """The name of a method without what follows in a table."""
    return name.split(" (")[0]


def _short(name: str, longest: int = 24) -> str:
    return name if len(name) <= longest else f"{name[: longest - 1]}…"
