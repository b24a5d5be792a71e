# SPDX-License-Identifier: Apache-2.0
"""Figures of generative models: sheets of samples, rows of pairs, shares of modes, and the latent loss by dimension."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from pellucid.tasks._figures import place

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["as_bytes", "bars", "grid", "rows", "shares"]

_REAL, _GENERATED, _COLLAPSED = "#4a6fa5", "#d1662b", "#c0392b"
_CELL, _NAMES = 0.62, 0.9  # inches: of a picture, and of the names before rows
_APART = 0.06  # of a picture's side, between two


def as_bytes(pictures: Tensor) -> NDArray[np.uint8]:
    """(N, C, H, W) in [0, 1] as uint8."""
    return (pictures.clamp(0, 1) * 255).round().to(torch.uint8).cpu().numpy()


def grid(pictures: Tensor, columns: int = 20) -> Figure:
    """Pictures (N, C, H, W) side by side."""
    lines = pictures.split(columns)
    tall = _CELL * pictures.shape[2] / pictures.shape[3]
    figure, _ = _sheet(lines, columns, _CELL * columns, tall * len(lines))
    return figure


def rows(lines: Mapping[str, Tensor]) -> Figure:
    """Named rows of pictures, one below the other."""
    columns = max(len(line) for line in lines.values())
    first = next(iter(lines.values()))
    tall = _CELL * first.shape[2] / first.shape[3] + 0.05
    figure, middles = _sheet([*lines.values()], columns, _CELL * columns, tall * len(lines), left=_NAMES)
    for name, middle in zip(lines, middles, strict=True):
        figure.axes[0].text(_NAMES - 0.12 * _CELL, middle, name, ha="right", va="center", fontsize=8)
    return figure


def _sheet(
    lines: Sequence[Tensor], columns: int, width: float, height: float, left: float = 0.0
) -> tuple[Figure, list[float]]:
    """Lines of pictures in inches from the upper left corner, and the middle of each line.

    All are on one pair of axes: with axes for each of them, a hundred pictures take seconds.
    """
    from matplotlib.figure import Figure

    figure = Figure(figsize=(left + width, height), dpi=150)
    axes = figure.add_axes((0, 0, 1, 1))
    axes.set_axis_off()
    wide = width / (columns + _APART * (columns - 1))
    tall = height / (len(lines) + _APART * (len(lines) - 1))
    for row, line in enumerate(lines):
        # as large as the cell allows, and in the middle of it
        side = min(wide, tall * line.shape[3] / line.shape[2])
        high = side * line.shape[2] / line.shape[3]
        top = row * tall * (1 + _APART) + (tall - high) / 2
        for column, picture in enumerate(line):
            x = left + column * wide * (1 + _APART) + (wide - side) / 2
            place(axes, picture, (x, x + side, top + high, top))
    axes.set(xlim=(0, left + width), ylim=(height, 0))
    return figure, [row * tall * (1 + _APART) + tall / 2 for row in range(len(lines))]


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
