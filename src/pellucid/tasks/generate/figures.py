# SPDX-License-Identifier: Apache-2.0
"""Figures of generative models: sheets of samples, rows of pairs, shares of modes, and the latent loss by dimension."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from pellucid.tasks._figures import show

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["as_bytes", "bars", "grid", "rows", "shares"]

_REAL, _GENERATED, _COLLAPSED = "#4a6fa5", "#d1662b", "#c0392b"
_CELL = 0.62  # inches


def as_bytes(pictures: Tensor) -> NDArray[np.uint8]:
    """(N, C, H, W) in [0, 1] as uint8."""
    return (pictures.clamp(0, 1) * 255).round().to(torch.uint8).cpu().numpy()


def grid(pictures: Tensor, columns: int = 20) -> Figure:
    """Pictures (N, C, H, W) side by side."""
    from matplotlib.figure import Figure

    count = -(-len(pictures) // columns)
    tall = _CELL * pictures.shape[2] / pictures.shape[3]
    figure = Figure(figsize=(_CELL * columns, tall * count), dpi=150)
    cells = figure.subplots(count, columns, squeeze=False, gridspec_kw={"wspace": 0.06, "hspace": 0.06})
    figure.subplots_adjust(0, 0, 1, 1)
    for axes in cells.flat:
        axes.set_axis_off()
    for axes, picture in zip(cells.flat, pictures, strict=False):
        show(axes, picture)
    return figure


def rows(lines: Mapping[str, Tensor]) -> Figure:
    """Named rows of pictures, one below the other."""
    from matplotlib.figure import Figure

    columns = max(len(line) for line in lines.values())
    first = next(iter(lines.values()))
    tall = _CELL * first.shape[2] / first.shape[3]
    figure = Figure(figsize=(_CELL * columns + 0.9, (tall + 0.05) * len(lines)), dpi=150)
    cells = figure.subplots(len(lines), columns, squeeze=False, gridspec_kw={"wspace": 0.06, "hspace": 0.06})
    figure.subplots_adjust(0.9 / (_CELL * columns + 0.9), 0, 1, 1)
    for line, (name, pictures) in zip(cells, lines.items(), strict=True):
        for axes in line:
            axes.set_axis_off()
        for axes, picture in zip(line, pictures, strict=False):
            show(axes, picture)
        line[0].text(-0.12, 0.5, name, transform=line[0].transAxes, ha="right", va="center", fontsize=8)
    return figure


def shares(modes: Sequence[str], real: NDArray[Any], generated: NDArray[Any]) -> Figure:
    """How often each mode occurs among real images and among samples."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(min(9.0, 1.6 + 0.5 * len(modes)), 2.2), dpi=150, layout="constrained")
    axes = figure.subplots()
    places = np.arange(len(modes))
    axes.bar(places - 0.2, 100 * real, 0.38, color=_REAL, label="held-out images")
    axes.bar(places + 0.2, 100 * generated, 0.38, color=_GENERATED, label="samples")
    turned = 90 if max(map(len, modes)) * len(modes) > 60 else 0
    axes.set_xticks(places, modes, fontsize=7.5, rotation=turned)
    axes.set_ylabel("share, %", fontsize=8.5)
    axes.set_ylim(0, 100 * max(float(real.max()), float(generated.max())) * 1.25)
    axes.tick_params(axis="y", labelsize=8)
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(frameon=False, fontsize=8, ncols=2, loc="upper right")
    return figure


def bars(nats: NDArray[Any], threshold: float) -> Figure:
    """The latent loss of each dimension in nats (latent,), largest first, on a logarithmic axis; collapsed ones in red."""
    from matplotlib.figure import Figure

    order = np.argsort(-nats)
    figure = Figure(figsize=(min(10.0, 1.6 + 0.16 * len(nats)), 2.2), dpi=150, layout="constrained")
    axes = figure.subplots()
    values = nats[order].clip(1e-5)  # zero has no place on a logarithmic axis
    axes.bar(np.arange(len(nats)), values, color=[_REAL if v >= threshold else _COLLAPSED for v in values], width=0.8)
    axes.axhline(threshold, color="0.4", lw=0.8, ls=":")
    axes.annotate("collapsed below this", (1, threshold), (-2, 2), xycoords=("axes fraction", "data"), fontsize=7,
                  textcoords="offset points", ha="right", color="0.3")  # fmt: skip
    axes.set_yscale("log")
    axes.set_xticks(np.arange(len(nats)), order, fontsize=6 if len(nats) <= 70 else 4, rotation=90)
    axes.set_xlabel("dimension of the code", fontsize=8.5)
    axes.set_ylabel("nats", fontsize=8.5)
    axes.tick_params(axis="y", labelsize=8)
    axes.spines[["top", "right"]].set_visible(False)
    return figure
