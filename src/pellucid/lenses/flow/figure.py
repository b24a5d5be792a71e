# SPDX-License-Identifier: Apache-2.0
"""The picture of sizes by layer: a line for each moment, from light to dark."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from pellucid.lenses._axes import plain
from pellucid.lenses._parts import Network
from pellucid.lenses._wording import clipped_start
from pellucid.lenses.flow.moments import Moment, Probe
from pellucid.lenses.flow.rules import FAST

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

__all__ = ["figure", "ticks", "values"]

_TICKS = 14  # names of layers that fit below an axis
_LONGEST = 16  # letters in one
_LINEAR = 12  # factor by which sizes may differ on a linear axis


def figure(network: Network, moments: Sequence[Moment], probe: Probe) -> Figure:
    """Activations, gradients, units without a gradient, and how fast the weights change, each by layer."""
    from matplotlib import colormaps
    from matplotlib.figure import Figure

    chosen = moments[0].profile.path
    x = np.arange(int(chosen.sum()))
    names = [name for name, own in zip(moments[0].profile.names, chosen, strict=True) if own]
    shades = colormaps["viridis_r"](np.linspace(0.15, 1.0, max(2, len(moments))))[-len(moments) :]
    counted = any((moment.profile.units[chosen] > 0).any() for moment in moments)
    stepped = any(moment.update is not None for moment in moments)
    drawing = Figure(figsize=(8.2, 6.0), dpi=150, layout="constrained")
    [[forth, back], [silent, weights]] = drawing.subplots(2, 2, sharex=True)
    for moment, shade in zip(moments, shades, strict=True):
        profile = moment.profile
        label = f"{moment.name} (loss {profile.loss:.3g})"
        style = {"color": shade, "marker": "o", "ms": 2.6 if len(x) > 12 else 3.6, "lw": 1.3}
        forth.plot(x, profile.activation[chosen], label=label, **style)
        back.plot(x, profile.gradient[chosen], **style)
        with np.errstate(invalid="ignore", divide="ignore"):
            relative = profile.weight_gradient / profile.weight if moment.update is None else moment.update
            relative = np.where(np.isinf(relative), np.nan, relative)  # where weights are 0
            share = np.where(profile.units > 0, 100 * profile.dead / profile.units, np.nan)
        if moment.update is not None or not stepped:
            weights.plot(x, relative[chosen], **style)
        known = profile.units[chosen] > 0  # the lines continue over layers without a nonlinearity
        silent.plot(x[known], share[chosen][known], **style)
        silent.plot(x[known], 100 * profile.silent[chosen][known], **{**style, "marker": "", "ls": ":"})
    _titled(forth, "activation (root mean square)")
    _titled(back, "gradient with respect to the activation")
    _titled(silent, "units that pass no gradient" if counted else "no unit can fall silent", log=False)
    silent.set_ylabel("share of the layer, %", fontsize=9)
    silent.set_ylim(-4, 132)  # with room for the legend above
    silent.set_yticks(range(0, 101, 20))
    if counted:
        silent.plot([], [], color="0.35", marker="o", ms=3.6, label="units, for every image at every place")
        silent.plot([], [], color="0.35", ls=":", label="values of all units")
        silent.legend(frameon=False, fontsize=7.5, loc="upper right")
    _titled(weights, "change of the weights by one step / weights" if stepped else "gradient of the weights / weights")
    if stepped:
        weights.axhline(FAST, color="#b2182b", lw=0.9, ls="--")
        weights.annotate("too large", (0, FAST), (2, 3), textcoords="offset points", fontsize=7.5, color="#b2182b")
    for axes in (silent, weights):
        ticks(axes, names)
    drawing.legend(*forth.get_legend_handles_labels(), loc="outside lower center", frameon=False, fontsize=8, ncols=3)
    drawing.suptitle(f"{network.title or 'model'}: {probe.images:,} images", fontsize=10.5)
    return drawing


def _titled(axes: Axes, title: str, log: bool = True) -> None:
    axes.set_title(title, fontsize=9.5)
    sizes = np.concatenate([values(line.get_ydata()) for line in axes.lines] or [np.zeros(0)])
    sizes = sizes[sizes > 0]
    if log and len(sizes) and sizes.max() > _LINEAR * sizes.min():
        axes.set_yscale("log")
    elif log and len(sizes):
        axes.set_ylim(0, 1.1 * sizes.max())
    plain(axes)


def values(given: object) -> NDArray[np.float64]:
    """Numbers, with 0 for NaN and infinity."""
    return np.nan_to_num(np.asarray(given, np.float64), posinf=0.0, neginf=0.0)


def ticks(axes: Axes, names: Sequence[str]) -> None:
    """The layers' names below an axis, as many as fit."""
    step = -(-len(names) // _TICKS)
    shown = range(0, len(names), step)
    short = [clipped_start(name, _LONGEST) for name in names]
    axes.set_xticks([*shown], [short[i] for i in shown], rotation=45, ha="right", fontsize=7, rotation_mode="anchor")
