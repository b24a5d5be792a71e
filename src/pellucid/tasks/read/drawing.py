# SPDX-License-Identifier: Apache-2.0
"""A page with its letters drawn on it: a box each, in its line's colour, and what was read above it."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from pellucid._pages import UNSURE
from pellucid.tasks.read.alphabet import character
from pellucid.tasks.read.answers import Page

__all__ = ["drawn"]

# told apart by people with any colour vision (Okabe & Ito 2008)
_COLOURS = ("#0072b2", "#009e73")  # of lines in turn: its paler ones vanish on paper
_UNSURE = "#d55e00"


def drawn(image: NDArray[np.uint8], page: Page, classes: Sequence[str]) -> NDArray[np.uint8]:
    """An image (3, H, W) with the box of each letter and its character; letters that are not sure have a double box."""
    from matplotlib import font_manager
    from PIL import Image, ImageDraw, ImageFont

    canvas = Image.fromarray(np.ascontiguousarray(image.transpose(1, 2, 0)))
    pen = ImageDraw.Draw(canvas)
    size = max(9, round(0.5 * page.tall))
    font = ImageFont.truetype(str(font_manager.findfont("DejaVu Sans")), size)
    line = max(1, round(page.tall / 30))
    for letter in page.letters:
        x0, y0, x1, y1 = letter.box
        unsure = letter.probability < UNSURE
        colour = _UNSURE if unsure else _COLOURS[letter.line % len(_COLOURS)]
        for away in (line, 3 * line) if unsure else (line,):
            pen.rectangle((x0 - away, y0 - away, x1 + away, y1 + away), outline=colour, width=line)
        name = character(classes[letter.index])
        pen.text((x0, max(0, y0 - 1.25 * size - 2 * line)), name, fill=colour, font=font)
    return np.ascontiguousarray(np.asarray(canvas).transpose(2, 0, 1))
