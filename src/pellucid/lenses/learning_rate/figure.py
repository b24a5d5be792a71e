# SPDX-License-Identifier: Apache-2.0
"""The picture of a learning-rate range test: the loss over the rate, with the rates that are read from it."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

from pellucid.lenses._axes import plain
from pellucid.lenses.learning_rate.range import RangeTest

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["figure", "short"]

_LOSS, _GOOD, _BEST, _OWN, _WORST = "#4a6fa5", "#e4efe2", "#2a7f4f", "#8e5ba6", "#c23b22"


def figure(title: str, curve: RangeTest, own: float) -> Figure:
    """Each step's loss, the smoothed one, the range in which it falls, the suggestion, and the recipe's own rate."""
    from matplotlib.figure import Figure

    drawing = Figure(figsize=(6.4, 3.6), dpi=150, layout="constrained")
    axes = drawing.subplots()
    axes.set_xscale("log")
    axes.plot(curve.rates, curve.losses, ".", ms=3.5, color=_LOSS, alpha=0.4, label="each step")
    axes.plot(curve.rates, curve.smoothed, lw=1.8, color=_LOSS, label="smoothed")
    low, high = _height(curve)
    axes.set_ylim(low, high)
    axes.set_xlim(curve.rates[0] / 1.3, max(curve.rates[-1], own) * 1.3)
    if curve.falls:
        axes.axvspan(curve.begins, curve.lowest, color=_GOOD, lw=0, zorder=0, label="the loss falls")
        level = float(np.interp(math.log(curve.steepest), np.log(curve.rates), curve.smoothed))
        axes.plot([curve.steepest], [level], "o", ms=7, mfc="white", mec=_BEST, mew=1.8, zorder=4,
                  label=f"steepest: {short(curve.steepest)} (suggested)")  # fmt: skip
        axes.plot([curve.lowest], [curve.smoothed.min()], "s", ms=5.5, mfc="white", mec=_LOSS, mew=1.6, zorder=4,
                  label=f"lowest: {short(curve.lowest)}")  # fmt: skip
    axes.axvline(own, color=_OWN, lw=1.3, ls=(0, (4, 2)), label=f"the recipe's own: {short(own)}")
    if not math.isnan(curve.diverged):
        axes.axvline(curve.diverged, color=_WORST, lw=1.3, ls=":", label=f"diverged: {short(curve.diverged)}")
    axes.set_xlabel("learning rate of the step (logarithmic)", fontsize=9)
    axes.set_ylabel("loss of the next training batch", fontsize=9)
    axes.set_title(title or "learning-rate range test", fontsize=9.5, parse_math=False)
    plain(axes)
    drawing.legend(loc="outside right upper", fontsize=7.5, frameon=False)
    return drawing


def short(rate: float) -> str:
    """A rate to two digits, as it is written on a command line.

    >>> short(0.00213), short(0.5), short(3.2e-6), short(12.0)
    ('0.0021', '0.5', '3.2e-06', '12')
    """
    return f"{float(f'{rate:.2g}'):.10g}" if rate >= 1e-4 else f"{rate:.2g}"


def _height(curve: RangeTest) -> tuple[float, float]:
    """From below the lowest loss to well above the start; a loss that diverges leaves the picture at the top."""
    finite = curve.losses[np.isfinite(curve.losses)]
    low = min(float(curve.smoothed.min()), float(np.quantile(finite, 0.02)))
    usual = float(np.quantile(finite[: max(5, len(finite) // 2)], 0.98))
    high = max(curve.start, usual)
    room = max(high - low, 0.05 * abs(high), 1e-12)
    top = min(high + 0.8 * room, max(float(finite.max()), high) + 0.08 * room)
    return low - 0.08 * room, top
