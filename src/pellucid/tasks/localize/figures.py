# SPDX-License-Identifier: Apache-2.0
"""Boxes drawn: on an image at its own size, and for a report the true box beside the answer."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from pellucid import _boxes
from pellucid.tasks._figures import show
from pellucid.tasks.localize.metrics import ENOUGH
from pellucid.tasks.localize.objects import Located

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

__all__ = ["drawn", "figure"]

_TRUE, _RIGHT, _WRONG, _NEUTRAL = "#ffffff", "#2a7f4f", "#c0392b", "#ffb000"
_LETTERS = 28  # a side is at least so many letters' heights, so that a name fits beside its box
_SMALLEST = 9  # px of a letter


def drawn(image: NDArray[np.uint8], answer: Located, classes: Sequence[str]) -> NDArray[np.uint8]:
    """An image (3, H, W) with the box of its answer, which is in its px, and the class and its probability."""
    from PIL import Image, ImageDraw, ImageFont

    canvas = Image.fromarray(np.ascontiguousarray(image.transpose(1, 2, 0)))
    pen = ImageDraw.Draw(canvas)
    height, width = image.shape[1:]
    letter = max(_SMALLEST, max(height, width) // _LETTERS)
    font = ImageFont.truetype(_font(), letter)
    words, (x0, y0, x1, y1) = _words(answer, 0, classes), answer.corners[0].tolist()
    if bool(answer.found[0]):
        line = max(1, min(height, width) // 100)
        # a line is drawn inside of its box, whose right and lower ends are the first px outside
        pen.rectangle((x0, y0, max(x0, x1 - 1), max(y0, y1 - 1)), outline=_NEUTRAL, width=line)
    else:
        x0, y0 = 0, 0
    left, top, right, bottom = pen.textbbox((0, 0), words, font=font)
    tall, wide = bottom - top + 2, right - left + 2
    x = max(0, min(round(x0), width - wide))
    y = round(y0) - tall if y0 >= tall else round(y0)  # above the box where there is room
    pen.rectangle((x, y, x + wide, y + tall), fill=_NEUTRAL)
    pen.text((x + 1 - left, y + 1 - top), words, fill="#000000", font=font)
    return np.ascontiguousarray(np.asarray(canvas).transpose(2, 0, 1))


def _font() -> str:
    """Matplotlib's own font, which has the letters of many scripts."""
    from matplotlib import font_manager

    return str(font_manager.findfont("DejaVu Sans"))


def _words(answer: Located, place: int, classes: Sequence[str]) -> str:
    """The answer for an image in a few words."""
    if not bool(answer.found[place]):
        return f"no object {100 * (1 - float(answer.present[place])):.0f} %"
    assert answer.probabilities is not None
    index = int(answer.index[place])
    return f"{classes[index]} {100 * float(answer.probabilities[place, index]):.0f} %"


def figure(
    input: Tensor, answer: Located, truth: Located | None, names: Sequence[str], classes: Sequence[str]
) -> Figure:
    """One cell per image: the true box dashed, the answer's in green where class and place are right, else in red."""
    from matplotlib.figure import Figure

    columns = min(4, len(names))
    rows = -(-len(names) // columns)
    shape = input.shape[2] / input.shape[3]
    drawing = Figure(figsize=(2.0 * columns, (2.0 * min(1.6, shape) + 0.45) * rows), dpi=150, layout="constrained")
    grid = drawing.subplots(rows, columns, squeeze=False)
    for axes in grid.flat:
        axes.set_axis_off()
    answer, truth = answer.to("cpu"), None if truth is None else truth.to("cpu")
    for i, axes in enumerate(grid.flat[: len(names)]):
        show(axes, input[i])
        _frames(axes, i, answer, truth)
        axes.set_title(_words(answer, i, classes), fontsize=7.5, pad=3, parse_math=False)
        axes.set_axis_on()
        if truth is not None:
            named = classes[int(truth.index[i])] if float(truth.present[i]) > 0.5 else "no object"
            axes.set_xlabel(_compared(i, answer, truth, named), fontsize=6.5, color="0.4", labelpad=2, parse_math=False)
    return drawing


def _frames(axes: Axes, place: int, answer: Located, truth: Located | None) -> None:
    from matplotlib.patches import Rectangle

    def outline(corners: Tensor, **style: Any) -> None:
        # matplotlib's pixel j covers [j − ½, j + ½)
        x0, y0, x1, y1 = (float(end) - 0.5 for end in corners)
        axes.add_patch(Rectangle((x0, y0), x1 - x0, y1 - y0, fill=False, **style))

    if truth is not None and float(truth.present[place]) > 0.5:
        for colour, style in (("#000000", "-"), (_TRUE, (0, (3, 3)))):  # seen on dark and on light
            outline(truth.corners[place], edgecolor=colour, linestyle=style, linewidth=1.0)
    if bool(answer.found[place]):
        colour = _NEUTRAL if truth is None else _RIGHT if _fits(place, answer, truth) else _WRONG
        outline(answer.corners[place], edgecolor=colour, linewidth=1.6)


def _fits(place: int, answer: Located, truth: Located) -> bool:
    fit = float(_boxes.paired(answer.corners[[place]], truth.corners[[place]])[0])
    return bool(truth.present[place] > 0.5) and bool(answer.index[place] == truth.index[place]) and fit >= ENOUGH


def _compared(place: int, answer: Located, truth: Located, named: str) -> str:
    """The truth in a few words, and how well the box fits it."""
    if not (bool(answer.found[place]) and float(truth.present[place]) > 0.5):
        return f"truth: {named}"
    return f"truth: {named}, IoU {float(_boxes.paired(answer.corners[[place]], truth.corners[[place]])[0]):.2f}"
