# SPDX-License-Identifier: Apache-2.0
"""Many small pictures on one page: tiles side by side as one array, placed in inches."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, final

import numpy as np
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F

from pellucid.lenses._images import picture

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["Page", "coloured", "montage", "signed", "thumb"]

Pixels = NDArray[np.float32]  # (H, W, 3) in [0, 1]

_LEAST = 48  # px: the smallest tile in a montage
_LINES = (0.50, 0.58, 0.68)  # between tiles
_BEYOND = (0.80, 0.87, 0.93)  # beyond the border of an image
_SMOOTH = 40  # px: larger tiles are drawn smoothly, smaller ones with visible pixels


@final
class Page:
    """A figure that grows downwards: pictures and text at places in inches from its upper left corner."""

    def __init__(self, width: float) -> None:
        self.width, self.bottom = width, 0.0
        self._pictures: list[tuple[Any, ...]] = []
        self._words: list[tuple[Any, ...]] = []

    def place(self, pixels: Pixels, x: float, y: float, width: float) -> float:
        """Put a picture at a place; its height in inches."""
        height = width * float(pixels.shape[0]) / float(pixels.shape[1])
        self._pictures.append((pixels, x, y, width, height, max(pixels.shape[:2]) > _SMOOTH))
        self.bottom = max(self.bottom, y + height)
        return height

    def write(self, words: str, x: float, y: float, size: float = 6.0, **style: Any) -> None:
        """Put text at a place: its lower left corner unless the style says otherwise."""
        self._words.append((words, x, y, size, style))
        self.bottom = max(self.bottom, y)

    def drawn(self) -> Figure:
        """The page as a figure."""
        from matplotlib.figure import Figure
        from matplotlib.image import AxesImage

        tall = self.bottom + 0.05
        figure = Figure(figsize=(self.width, tall), dpi=150)
        axes = figure.add_axes((0, 0, 1, 1))
        for pixels, x, y, width, height, smooth in self._pictures:  # imshow would also fit the axes to each of them
            place = (x, x + width, y + height, y)
            shown = AxesImage(axes, extent=place, interpolation=None if smooth else "nearest")
            shown.set_data(pixels)
            axes.add_artist(shown)
        for words, x, y, size, style in self._words:
            axes.text(x, y, words, fontsize=size, parse_math=False, **{"va": "bottom", **style})
        axes.set(xlim=(0, self.width), ylim=(tall, 0))
        axes.set_axis_off()
        return figure


def montage(tiles: Sequence[Pixels], columns: int) -> Pixels:
    """Tiles row by row with thin lines between them; small tiles are enlarged, so that the lines stay thin.

    >>> montage([np.zeros((2, 2, 3), np.float32)] * 3, columns=2).shape
    (98, 98, 3)
    """
    high, wide = (max(tile.shape[axis] for tile in tiles) for axis in (0, 1))
    grown = max(1, -(-_LEAST // max(high, wide)))
    between = max(1, round(max(high, wide) * grown / 24))
    rows = -(-len(tiles) // columns)
    down, across = high * grown + between, wide * grown + between
    whole = np.full((rows * down - between, columns * across - between, 3), _LINES, np.float32)
    whole[(rows - 1) * down :, (len(tiles) - 1) % columns * across + wide * grown :] = 1.0  # the rest of the last row
    for place, tile in enumerate(tiles):
        large = tile.repeat(grown, 0).repeat(grown, 1)
        y, x = place // columns * down, place % columns * across
        whole[y : y + large.shape[0], x : x + large.shape[1]] = large
    return whole


def signed(weights: Tensor, most: float) -> Pixels:
    """A filter (C, k, k) as a picture: three planes as colours around grey, a single one from blue to red."""
    own = weights.numpy() / max(most, 1e-30)
    if len(own) >= 3:
        return np.clip(0.5 + 0.5 * own[:3].transpose(1, 2, 0), 0, 1).astype(np.float32)
    return coloured(0.5 + 0.5 * own[0], "RdBu_r")


def coloured(flat: NDArray[Any], name: str) -> Pixels:
    """An array (H, W) in [0, 1] in the colours of a colormap."""
    import matplotlib

    pixels: Pixels = matplotlib.colormaps[name](np.clip(flat, 0, 1))[..., :3].astype(np.float32)
    return pixels


def thumb(image: Tensor, most: int = 96) -> Pixels:
    """(h, w, 3): an image (C, H, W) in [0, 1], at most so many px; NaN, beyond its border, is pale blue."""
    side = max(image.shape[1:])
    if side > most:
        sides = [max(1, round(length * most / side)) for length in image.shape[1:]]
        image = F.interpolate(image[None].float(), sides, mode="bilinear", antialias=True)[0]
    beyond = image.isnan().any(0).cpu().numpy()
    flat = picture(image.nan_to_num(1.0))
    whole: Pixels = np.repeat(flat[..., None], 3, 2) if flat.ndim == 2 else flat.copy()
    whole[beyond] = _BEYOND
    return whole
