# SPDX-License-Identifier: Apache-2.0
"""Picture quality against file size."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from pellucid._colours import MODEL, SIMPLE
from pellucid.tasks._figures import CHART, below
from pellucid.tasks.compress.curves import decibels

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["rate_distortion"]

_MARKS = {
    "this model": ("o-", MODEL),
    "PCA": ("s--", "#8e5ba6"),
    "JPEG": ("^-", SIMPLE),
    "WebP": ("v-", "#2a7f4f"),
    "AVIF": ("D-", "#b3446c"),
    "PNG": ("x:", "#8a6d3b"),
}


def rate_distortion(table: Sequence[dict[str, Any]]) -> Figure:
    """PSNR and MS-SSIM against bits per pixel, one curve for each codec.

    Args:
        table: a row for each setting of each codec: "codec", "setting", "bpp", "psnr", "ms_ssim".
    """
    from matplotlib.figure import Figure

    figure = Figure(figsize=(CHART, 6.0), dpi=150, layout="constrained")
    first, second = figure.subplots(2, 1)
    for name in dict.fromkeys(row["codec"] for row in table):
        rows = sorted((row for row in table if row["codec"] == name), key=lambda row: float(row["bpp"]))
        lossless = [row["bpp"] for row in rows if row["setting"] == "lossless"]
        if lossless:  # far to the right of all others: in words instead
            name = f"{name} (lossless at {lossless[0]:.1f})"
            rows = [row for row in rows if row["setting"] != "lossless"]
        mark, colour = _MARKS[name.split(",")[0].split(" (")[0]]
        for part, style in _parts(rows, mark):
            bits = [row["bpp"] for row in part]
            look = {"color": colour, "markersize": 3.5, "linewidth": 1.4}
            first.plot(bits, [row["psnr"] for row in part], style, label=name if style == mark else None, **look)
            second.plot(bits, [decibels(row["ms_ssim"]) for row in part], style, **look)
    widest = max(row["bpp"] for row in table if row["codec"] == "this model") * 1.35
    for axes, label in ((first, "PSNR, dB"), (second, "−10·log₁₀(1 − MS-SSIM), dB")):
        axes.set_xlabel("file size, bits per pixel", fontsize=9)
        axes.set_ylabel(label, fontsize=9)
        axes.set_xlim(0, widest)
        axes.tick_params(labelsize=8.5)
        axes.grid(color="0.9")
        for side in ("top", "right"):
            axes.spines[side].set_visible(False)
    for axes, key in ((first, "psnr"), (second, "ms_ssim")):
        # PNG's palettes would stretch the axis downwards
        shown = [row[key] for row in table if row["bpp"] <= widest and row["codec"] != "PNG"]
        if key == "ms_ssim":
            shown = [decibels(value) for value in shown]
        axes.set_ylim(min(shown) - 0.5, max(shown) + 0.5)
    below(figure, first)
    return figure


def _parts(rows: list[dict[str, Any]], mark: str) -> list[tuple[list[dict[str, Any]], str]]:
    """JPEG's two ways to store colour as two curves, the second one dotted."""
    half = [row for row in rows if row["setting"].endswith("4:2:0")]
    if not half:
        return [(rows, mark)]
    return [([row for row in rows if not row["setting"].endswith("4:2:0")], mark), (half, mark[0] + ":")]
