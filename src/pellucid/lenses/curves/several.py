# SPDX-License-Identifier: Apache-2.0
"""Several trainings in one picture: their losses, measures and regions, and the measure against the number of training images."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from pellucid.lenses._parts import TrainingLog
from pellucid.lenses._wording import clipped_start
from pellucid.lenses.curves.figure import SHADES, finished, of_split, scaled, smoothed, title
from pellucid.lenses.curves.regions import regions
from pellucid.lenses.curves.verdict import column, verdict

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

__all__ = ["figure", "learning_curve", "words"]

# Okabe & Ito 2008: the colour-blind can tell them apart; further runs repeat them
_COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#555555")
_LONGEST = 34  # letters of a run's name


def figure(runs: Sequence[TrainingLog], measure: str | None, log: bool) -> Figure:
    """Losses (training dashed, validation solid) with the regions below them, the measure, and the learning curve; a colour a run."""
    from matplotlib.figure import Figure
    from matplotlib.lines import Line2D

    shaded = any(regions(run.history, run.chance) for run in runs)
    curve = learning_curve(runs)
    panels = 1 + (measure is not None) + (len(curve) > 1)
    strip = (0.14 * len(runs) + 0.42) if shaded else 0.0
    drawing = Figure(figsize=(4.3 * panels, 3.3 + strip + 0.2 * len(runs)), dpi=150, layout="constrained")
    grid = drawing.add_gridspec(2, panels, height_ratios=[3.0, max(strip, 1e-3)])
    losses = drawing.add_subplot(grid[0 if strip else slice(None), 0])
    for run, colour in zip(runs, _COLOURS * len(runs), strict=False):
        _one(losses, run, colour)
    values = [column(run.history, "loss") for run in runs]
    scaled(losses, np.concatenate(values), log)
    losses.set(title="loss (dashed: training, solid: validation)")
    losses.set_xlabel("" if strip else "epoch")
    finished(losses)
    if strip:
        below = drawing.add_subplot(grid[1, 0], sharex=losses)
        _strips(below, runs)
        losses.tick_params(labelbottom=False)
    place = 1
    if measure is not None:
        axes = drawing.add_subplot(grid[:, place])
        place += 1
        for run, colour in zip(runs, _COLOURS * len(runs), strict=False):
            val = of_split(run.history, "val")
            axes.plot(column(val, "epoch"), column(val, measure), color=colour, marker="o", ms=2.5, lw=1.4)
        axes.set(xlabel="epoch", title=title(measure))
        finished(axes)
    if len(curve) > 1:
        _learning(drawing.add_subplot(grid[:, place]), runs, curve)
    keys = [
        Line2D([], [], color=colour, lw=1.8, label=clipped_start(run.title, _LONGEST))
        for run, colour in zip(runs, _COLOURS * len(runs), strict=False)
    ]
    legend = drawing.legend(
        handles=keys, loc="outside lower left", frameon=False, fontsize=8, ncols=max(1, 2 * panels - 1)
    )
    for text in legend.get_texts():
        text.set_parse_math(False)
    return drawing


def _one(axes: Axes, run: TrainingLog, colour: str) -> None:
    train, val = of_split(run.history, "train"), of_split(run.history, "val")
    axes.plot(*(smoothed(column(train, name)) for name in ("epoch", "loss")), color=colour, lw=1.0, ls=(0, (4, 2)))
    axes.plot(*(column(val, name) for name in ("epoch", "loss")), color=colour, lw=1.6, marker="o", ms=2.5)


def _strips(axes: Axes, runs: Sequence[TrainingLog]) -> None:
    """A bar for each run, with its regions in their colours."""
    from matplotlib.patches import Patch

    for row, (run, colour) in enumerate(zip(runs, _COLOURS * len(runs), strict=False)):
        epochs = column(of_split(run.history, "val"), "epoch")
        half = float(np.diff(epochs).min()) / 2 if len(epochs) > 1 else 0.5
        for region in regions(run.history, run.chance):
            start = region.first - half if region.first > epochs[0] else 0.0
            end = region.last + half if region.last < epochs[-1] else region.last
            axes.barh(row, end - start, left=start, height=0.7, color=SHADES[region.kind][0])
        axes.plot([epochs[-1] if len(epochs) else 0], [row], marker="|", ms=5, color=colour, clip_on=False)
        axes.text(
            -0.01, row, "■", color=colour, transform=axes.get_yaxis_transform(), ha="right", va="center", fontsize=7
        )
    axes.set(ylim=(len(runs) - 0.4, -0.6), yticks=[], xlabel="epoch")
    axes.legend(handles=[Patch(color=SHADES[kind][0], label=kind) for kind in SHADES], frameon=False, fontsize=7, ncols=2,
                loc="lower left", bbox_to_anchor=(0, 0.96), borderpad=0, handlelength=1.2)  # fmt: skip
    finished(axes)
    axes.spines["left"].set_visible(False)


def learning_curve(runs: Sequence[TrainingLog]) -> list[tuple[int, int, float, float, float]]:
    """(training images, run, measure, low, high) of the evaluated runs, if they differ in the number of training images."""
    points = []
    main = next((run.metrics["main"] for run in runs if run.metrics), None)
    for place, run in enumerate(runs):
        own = run.metrics.get("model", {}).get(main) if run.metrics.get("main") == main else None
        if own and own["value"] is not None and run.trained_on:
            value = float(own["value"])
            low, high = (value if own[end] is None else float(own[end]) for end in ("low", "high"))
            points.append((run.trained_on, place, value, low, high))
    return sorted(points) if len({images for images, *_ in points}) > 1 else []


def _learning(axes: Axes, runs: Sequence[TrainingLog], curve: Sequence[tuple[int, int, float, float, float]]) -> None:
    images = [count for count, *_ in curve]
    if len(set(images)) == len(images):
        axes.plot(images, [value for _, _, value, _, _ in curve], color="0.7", lw=1.2, zorder=1)
    for count, place, value, low, high in curve:
        colour = _COLOURS[place % len(_COLOURS)]
        axes.plot([count, count], [low, high], color=colour, lw=3, alpha=0.4, solid_capstyle="round")
        axes.plot(count, value, "o", color=colour, ms=5)
    own = next(run.metrics for run in runs if run.metrics)
    unit = own["model"][own["main"]]["unit"]
    axes.set_xscale("log")
    axes.set_xticks(sorted(set(images)), [f"{count:,}" for count in sorted(set(images))])
    axes.minorticks_off()
    measure = title(own["main"]).replace("validation", own["split"]) + (f", {unit}" if unit else "")
    axes.set(xlabel="training images", title=f"{measure} (95 % interval)")
    finished(axes, epochs=False)


def words(runs: Sequence[TrainingLog]) -> str:
    """Each run's verdict, the lowest validation loss, and what more training images changed."""
    verdicts = []
    for run in runs:
        kind = verdict(run.history, run.chance).kind
        late = next((region for region in regions(run.history, run.chance) if region.kind == "overfitting"), None)
        verdicts.append(f"{clipped_start(run.title, _LONGEST)}: {kind}{f' from epoch {late.first:g}' if late else ''}")
    lowest = []
    for run in runs:
        val = of_split(run.history, "val")
        if val:
            losses = column(val, "loss")
            best = int(np.nanargmin(losses)) if np.isfinite(losses).any() else 0
            lowest.append((float(losses[best]), float(column(val, "epoch")[best]), run.title))
    line = f"{'; '.join(verdicts)}."
    if len(lowest) > 1:
        loss, epoch, name = min(lowest)
        line += f" {clipped_start(name, _LONGEST)} has the lowest validation loss, {loss:.3g} after epoch {epoch:g}."
    curve = learning_curve(runs)
    if curve:
        own = next(run.metrics for run in runs if run.metrics)
        name, split = own["main"].replace("_", " "), own["split"]
        first, last = curve[0], curve[-1]
        line += f" From {first[0]:,} to {last[0]:,} training images {name} on {split} went from {first[2]:.3g} to {last[2]:.3g}."
    missing = [run.title for run in runs if not run.metrics]
    if missing and len({run.trained_on for run in runs}) > 1:
        names = ", ".join(clipped_start(name, _LONGEST) for name in missing)
        line += f" Not evaluated, so not on the learning curve: {names}."
    return line
