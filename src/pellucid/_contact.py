# SPDX-License-Identifier: Apache-2.0
"""A contact sheet: small pictures in lines, each line under its name."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["TILES", "as_bytes", "contact_sheet"]

TILES = 12
"""Pictures of a line, at most."""

_SIDE, _GAP, _TEXT = 64, 4, 18  # px: of a picture's longer side, between two, and of a line's name
_LINES = 100  # at most


def contact_sheet(groups: Mapping[str, Sequence[NDArray[np.uint8]]]) -> bytes:
    """A PNG with the pictures (C, H, W) of each group in a line under its name, in the order of the names' numbers.

    Pictures are enlarged by whole pixels or made smaller, up to 64 px.

    >>> grey = np.full((1, 8, 8), 99, np.uint8)
    >>> contact_sheet({"cluster 0: 2": [grey, grey], "cluster 1: 1": [grey]})[1:4]
    b'PNG'
    """
    from PIL import Image, ImageDraw, ImageFont

    font = ImageFont.load_default(size=12)
    names = sorted(groups, key=_order)[:_LINES]
    lines = [[_tile(picture) for picture in groups[name]] for name in names]
    width = max(sum(tile.width + _GAP for tile in line) for line in lines)
    width = max(width, *(round(font.getlength(name)) + _GAP for name in names)) + _GAP
    heights = [_TEXT + max(tile.height for tile in line) + _GAP for line in lines]
    sheet = Image.new("RGB", (width, sum(heights) + _GAP), "white")
    draw, top = ImageDraw.Draw(sheet), _GAP
    for name, line, height in zip(names, lines, heights, strict=True):
        draw.text((_GAP, top), name, fill="black", font=font)
        left = _GAP
        for tile in line:
            sheet.paste(tile, (left, top + _TEXT))
            left += tile.width + _GAP
        top += height
    written = io.BytesIO()
    sheet.save(written, "PNG")
    return written.getvalue()


def as_bytes(picture: Any) -> NDArray[np.uint8]:
    """A picture (C, H, W) float in [0, 1], on any device, as uint8 with 1 or 3 channels."""
    values = np.asarray(picture.detach().float().cpu())
    values = values if len(values) in (1, 3) else values[:1]
    return np.asarray((values.clip(0, 1) * 255).round(), np.uint8)


def _tile(picture: NDArray[np.uint8]) -> Any:
    from PIL import Image

    image = Image.fromarray(picture[0] if len(picture) == 1 else picture.transpose(1, 2, 0)).convert("RGB")
    factor = _SIDE / max(image.size)
    factor = int(factor) if factor >= 1 else factor
    size = (max(1, round(image.width * factor)), max(1, round(image.height * factor)))
    return image.resize(size, Image.Resampling.NEAREST if factor >= 1 else Image.Resampling.LANCZOS)


def _order(name: str) -> tuple[int, str]:
    """Groups by the first number in their name: cluster 2 before cluster 10.

    >>> sorted(["cluster 10: 3", "cluster 2: 5"], key=_order)
    ['cluster 2: 5', 'cluster 10: 3']
    """
    digits = "".join(c if c.isdigit() else " " for c in name).split()
    return int(digits[0]) if digits else 0, name
