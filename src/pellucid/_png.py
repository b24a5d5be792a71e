# SPDX-License-Identifier: Apache-2.0
"""Pictures of 8 and 16 bits, and figures, as the bytes of a file."""

from __future__ import annotations

import io
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from pellucid.errors import UsageError

if TYPE_CHECKING:
    from matplotlib.figure import Figure
    from matplotlib.transforms import Bbox

__all__ = ["drawn", "in_16_bits", "png"]

_MARGIN = 0.1  # inches that are left around a figure, as by matplotlib's own tight boxes


def png(picture: NDArray[Any]) -> bytes:
    """The PNG file of a picture (C, H, W) uint8 or uint16, as `predict` writes it.

    >>> png(np.zeros((1, 2, 3), np.uint8))[1:4]
    b'PNG'
    """
    from PIL import Image

    if picture.dtype == np.uint16:
        return in_16_bits(picture, Path("answer.png"))
    file = io.BytesIO()
    Image.fromarray(picture[0] if picture.shape[0] == 1 else picture.transpose(1, 2, 0)).save(file, "PNG")
    return file.getvalue()


def drawn(figure: Figure, dpi: float | None = None, words: Mapping[str, str] | None = None) -> bytes:
    """The PNG file of a figure, cut to what is on it.

    Matplotlib draws a figure twice to find its tight box. One that is laid out by constraints holds all that is drawn, and is cut
    once it is in pixels; of another one the pictures, which take longest, are drawn once.

    Args:
        figure: any.
        dpi: dots per inch; by default its own.
        words: for the file's text chunks.
    """
    from PIL import Image, PngImagePlugin

    held = io.BytesIO()
    if figure.get_layout_engine() is None:
        options: dict[str, Any] = {"dpi": figure.dpi if dpi is None else dpi, "metadata": dict(words or {})}
        figure.savefig(held, format="png", bbox_inches=_tight(figure, options["dpi"]), facecolor="white", **options)
        return held.getvalue()
    from matplotlib.backends.backend_agg import FigureCanvasAgg

    canvas: Any = FigureCanvasAgg(figure)
    usual = figure.dpi
    figure.set_facecolor("white")
    try:
        figure.set_dpi(dpi or usual)
        canvas.draw()
        pixels = np.asarray(canvas.buffer_rgba())[..., :3]  # (H, W, 3)
        margin = round(_MARGIN * figure.dpi)
        inked = pixels.min(2) < 255
        ends = [np.flatnonzero(inked.any(axis))[[0, -1]] if inked.any() else (0, -1) for axis in (1, 0)]
        cut = tuple(slice(max(0, first - margin), last + 1 + margin) for first, last in ends)
        texts = PngImagePlugin.PngInfo()
        for name, text in (words or {}).items():
            texts.add_text(name, text)
        picture = Image.fromarray(np.ascontiguousarray(pixels[cut]))
        picture.save(held, "PNG", pnginfo=texts, dpi=(figure.dpi, figure.dpi))
    finally:
        figure.set_dpi(usual)
    return held.getvalue()


def _tight(figure: Figure, dpi: float) -> Bbox:
    """The box in inches around what is on a figure, with a margin, as `bbox_inches="tight"` finds it."""
    from matplotlib.image import AxesImage

    pictures: list[Any] = [one for one in figure.findobj(AxesImage) if one.get_visible()]
    usual = figure.dpi
    figure.set_dpi(dpi)
    try:
        for one in pictures:
            one.set_visible(False)
        try:
            figure.draw_without_rendering()  # after which everything is at its place
        finally:
            for one in pictures:
                one.set_visible(True)
        return figure.get_tightbbox().padded(_MARGIN)
    finally:
        figure.set_dpi(usual)


def in_16_bits(picture: NDArray[np.uint16], path: Path) -> bytes:
    """The file of a picture of 16 bits, in colour too, which Pillow cannot write."""
    import cv2

    if path.suffix.lower() not in (".png", ".tif", ".tiff"):
        raise UsageError(f"out={str(path)!r}: is not a format for 16 bits; give .png or .tif.")
    planes = picture if picture.shape[0] == 1 else picture[::-1]  # OpenCV's order is blue, green, red
    _, content = cv2.imencode(path.suffix.lower(), np.ascontiguousarray(planes.transpose(1, 2, 0)))
    return content.tobytes()
