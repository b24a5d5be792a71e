# SPDX-License-Identifier: Apache-2.0
"""Picture files of masks as they are saved: numbers, indices of a palette, or colours."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from pellucid.data.decoding import Source, opened
from pellucid.data.decoding.pictures import orientation_of, values

__all__ = ["Kind", "Raw", "raw_of"]

Kind = Literal["bilevel", "number", "colour", "depth"]
"""1 bit; numbers or indices; colours 0xRRGGBB; or what is no class: no whole numbers, or colours of more than 8 bits."""

_LOSSY = ("JPEG", "MPO", "AVIF", "JPEG2000")
_STEPS = {"L;2": 85, "L;4": 17}
_TRANSPARENT = ("RGBA", "RGBa", "LA", "La", "PA")


class Raw(NamedTuple):
    """The values of one mask."""

    kind: Kind
    array: NDArray[Any]  # (H, W)
    lossy: bool = False
    palette: NDArray[np.int32] | None = None  # (256,) colours
    glass: bool = False
    step: int = 1  # from one number to the next where 2 or 4 bits are spread over 0 to 255


def raw_of(source: Source) -> Raw:
    """The values of a mask as they are saved."""
    from PIL import ImageOps

    with opened(source) as image:
        lossy = image.format in _LOSSY or (image.format == "WEBP" and not _lossless(source))
        if (deep := values(source, image)) is not None:
            return _of_depth(deep)
        layout = str(image.tile[0][3]) if image.tile else ""  # gone once the pixels are loaded
        if orientation_of(image) != 1:
            image = ImageOps.exif_transpose(image)
        if image.mode == "1":
            return Raw("bilevel", np.asarray(image).astype(np.uint8))
        if image.mode == "L":
            step = next((step for bits, step in _STEPS.items() if bits in layout), 1)
            return Raw("number", np.asarray(image), lossy, step=step)
        if image.mode == "P":
            rgb = np.zeros((256, 3), np.int32)
            entries = np.array(image.getpalette() or [], np.int32)[:768]
            rgb[: len(entries) // 3] = entries[: len(entries) // 3 * 3].reshape(-1, 3)
            return Raw("number", np.asarray(image), lossy, rgb @ np.array([1 << 16, 1 << 8, 1], np.int32))
        glass = False
        if image.mode in _TRANSPARENT:
            layer = np.array(image.convert("RGBA"))  # (H, W, 4)
            alpha = layer[..., 3]
            glass = bool(((alpha > 0) & (alpha < 255)).any())
            layer[alpha == 0] = 0  # what cannot be seen is black
            planes = layer[..., :3]
        else:
            planes = np.asarray(image if image.mode == "RGB" else image.convert("RGB"))
        return _of_planes(planes, lossy, glass)


def _lossless(source: Source) -> bool:
    head = source[:256] if isinstance(source, bytes) else _head(source)
    return b"VP8L" in head


def _head(file: Path) -> bytes:
    with file.open("rb") as stream:
        return stream.read(256)


def _of_planes(planes: NDArray[np.uint8], lossy: bool, glass: bool) -> Raw:
    """Colours (H, W, 3); grey ones are numbers."""
    red, green, blue = planes[..., 0], planes[..., 1], planes[..., 2]
    if (red == green).all() and (green == blue).all():
        return Raw("number", np.ascontiguousarray(red), lossy, None, glass)
    colours = (red.astype(np.int32) << 16) | (green.astype(np.int32) << 8) | blue
    return Raw("colour", colours, lossy, None, glass)


def _of_depth(deep: NDArray[Any]) -> Raw:
    """Values (C, H, W) of more than 8 bits."""
    if len(deep) > 1 and (deep == deep[:1]).all():
        deep = deep[:1]
    whole = deep.dtype.kind in "iu" or bool((np.isfinite(deep) & (deep == np.round(deep))).all())
    if len(deep) == 1 and whole and deep.min() >= 0 and deep.max() < 2**31:
        small = deep.max() <= 255
        return Raw("number", deep[0].astype(np.uint8 if small else np.int64))
    if len(deep) == 3 and deep.dtype == np.uint16 and (deep % 257 == 0).all():
        return _of_planes((deep // 257).astype(np.uint8).transpose(1, 2, 0), False, False)
    return Raw("depth", deep[0])
