# SPDX-License-Identifier: Apache-2.0
"""Detections drawn on an image at its own size, a colour for each class."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from pellucid.tasks.detect.objects import Detected

__all__ = ["colour", "drawn", "letter_of"]

# told apart by people with any colour vision (Okabe & Ito 2008), the brightest first
_COLOURS = ("#ffb000", "#56b4e9", "#009e73", "#f0e442", "#cc79a7", "#d55e00", "#0072b2", "#ffffff")
_LETTERS = 45  # a side is at least so many letters' heights
_SMALLEST, _LARGEST = 9, 40  # px of a letter
_BOX = 5  # letters' heights in the side of most boxes: in a large image of many small objects names would hide the neighbours
_ROOM = 0.8  # of a box's width that its name may take beyond it; a longer one loses its score


def colour(label: int) -> str:
    """The colour of a class."""
    return _COLOURS[label % len(_COLOURS)]


def drawn(image: NDArray[np.uint8], answer: Detected, classes: Sequence[str]) -> NDArray[np.uint8]:
    """An image (3, H, W) with the box of each detection, in its px, and the class with its score in %.

    Args:
        image: uint8.
        answer: of this image alone.
        classes: their names.
    """
    from PIL import Image, ImageDraw, ImageFont

    canvas = Image.fromarray(np.ascontiguousarray(image.transpose(1, 2, 0)))
    pen = ImageDraw.Draw(canvas)
    height, width = image.shape[1:]
    found = answer.answered
    assert found.scores is not None
    boxes = list(zip(found.corners[0].tolist(), found.labels[0].tolist(), found.scores[0].tolist(), strict=True))
    letter = letter_of((height, width), [box for box, *_ in boxes])
    font = ImageFont.truetype(_font(), letter)
    line = max(1, letter // 6)
    for (x0, y0, x1, y1), label, _ in boxes:
        # a line is drawn inside of its box, whose right and lower ends are the first px outside
        pen.rectangle((x0, y0, max(x0, x1 - 1), max(y0, y1 - 1)), outline=colour(label), width=line)
    for (x0, y0, x1, _), label, score in reversed(boxes):  # the surest last, so that no other covers its words
        words = f"{classes[label]} {100 * score:.0f}" if len(classes) > 1 else f"{100 * score:.0f}"
        left, top, right, bottom = pen.textbbox((0, 0), words, font=font)
        if right - left > (1 + _ROOM) * max(x1 - x0, 3 * letter):
            words = classes[label]
            left, top, right, bottom = pen.textbbox((0, 0), words, font=font)
        tall, wide = bottom - top + 2, right - left + 2
        x = max(0, min(round(x0), width - wide))
        y = round(y0) - tall if y0 >= tall else round(y0)  # above the box where there is room
        pen.rectangle((x, y, x + wide, y + tall), fill=colour(label))
        pen.text((x + 1 - left, y + 1 - top), words, fill="#000000", font=font)
    return np.ascontiguousarray(np.asarray(canvas).transpose(2, 0, 1))


def letter_of(size: tuple[int, int], boxes: Sequence[Sequence[float]]) -> int:
    """The height in px of the letters on an image of this size (H, W) with these boxes.

    >>> letter_of((1920, 2560), [(0, 0, 100, 100)]), letter_of((480, 640), [(0, 0, 100, 100)]), letter_of((480, 640), [])
    (20, 14, 14)
    """
    letter = min(_LARGEST, max(size) // _LETTERS)
    if boxes:
        letter = min(letter, round(float(np.median([min(x1 - x0, y1 - y0) for x0, y0, x1, y1 in boxes])) / _BOX))
    return max(_SMALLEST, letter)


def _font() -> str:
    """Matplotlib's own font, which has the letters of many scripts."""
    from matplotlib import font_manager

    return str(font_manager.findfont("DejaVu Sans"))
