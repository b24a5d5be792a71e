# SPDX-License-Identifier: Apache-2.0
"""Images with more than 8 bits a channel, in their own numbers: 16-bit PNG and TIFF, whole or floating-point, grey or colour."""

from __future__ import annotations

import io
import logging
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["DEEP", "LARGEST", "Source", "content_of", "of_pillow", "of_tiff"]

Source = Path | bytes

LARGEST = 100_000_000
"""Pixels; a file that decodes to more is refused as a decompression bomb."""

DEEP = ("I;16", "I;16B", "I;16L", "I;16N", "I", "F")
"""Pillow's modes of more than 8 bits, all grey."""

_PHOTOMETRIC, _BITS, _KIND = 262, 258, 339  # TIFF tags
_COLOURS = {0: "grey", 1: "grey", 2: "RGB"}
_NAMES = {3: "a palette", 5: "CMYK", 6: "YCbCr", 8: "the colour space CIELAB", 9: "the colour space ICCLAB"}
logging.getLogger("tifffile").setLevel(logging.CRITICAL)  # its warnings about a damaged file would reach the terminal


def content_of(source: Source) -> bytes:
    """The bytes of a file."""
    return source if isinstance(source, bytes) else source.read_bytes()


def of_pillow(image: Any, source: Source) -> NDArray[Any] | None:
    """The values (C, H, W) of an opened image with more than 8 bits, whole or floating-point; None if it has 8 or fewer."""
    if image.mode in DEEP:
        tags = getattr(image, "tag_v2", {})
        if image.format == "TIFF" and _bits(tags) >= 32 and tags.get(_KIND, (1,))[0] == 1:
            return of_tiff(content_of(source))  # Pillow reads them as signed numbers
        array = np.asarray(image)
        if image.format == "TIFF" and tags.get(_PHOTOMETRIC) == 0:  # white is 0
            array = _inverted(array, _bits(tags))
        return array[None]
    if image.format == "PNG" and image.tile and "16" in str(image.tile[0][3]):  # the layout of its bytes, "RGB;16B"
        image.load()  # finds damage, in words, before a decoder that has none
        return _of_opencv(content_of(source))
    if image.format == "TIFF" and _bits(image.tag_v2) > 8:
        return of_tiff(content_of(source))
    return None


def of_tiff(content: bytes) -> NDArray[Any]:
    """The first page (C, H, W) of a TIFF that Pillow cannot read, or not with all its bits.

    Raises:
        ValueError: its channels or colours are not those of a grey or an RGB image.
    """
    import tifffile

    with tifffile.TiffFile(io.BytesIO(content)) as file:
        page: Any = file.pages[0]
        if page.imagewidth * page.imagelength * page.imagedepth > LARGEST:
            raise ValueError(
                f"it decodes to {page.imagewidth * page.imagelength:,} px, more than the {LARGEST:,} allowed"
            )
        colour, extra = int(page.photometric or 0), len(page.extrasamples or ())
        count = page.samplesperpixel - extra
        if colour not in _COLOURS and colour in _NAMES:
            raise ValueError(
                f"it is in {_NAMES[colour]}, and only grey and RGB are read with this many bits or channels"
            )
        if count not in (1, 3) or extra > 1 or page.samplesperpixel > 4:
            raise ValueError(f"it has {page.samplesperpixel} channels, and only grey (1) and RGB (3) images are read")
        if page.dtype is None or page.dtype.kind not in "uif":
            raise ValueError(
                f"its pixels are {page.dtype or 'of an unknown type'}, and only whole and floating-point numbers are read"
            )
        try:
            array = np.asarray(page.asarray())
        except ValueError as fault:
            if "imagecodecs" not in str(fault):  # a compression that tifffile leaves to another package
                raise
            return _of_opencv(content)
        planar = page.planarconfig == 2 and page.samplesperpixel > 1
    array = array.reshape(-1, *array.shape[-2:]) if planar or array.ndim == 2 else np.moveaxis(array, -1, 0)
    if colour == 0:
        array = _inverted(array, page.bitspersample)
    return _opaque(array, count)


def _of_opencv(content: bytes) -> NDArray[Any]:
    """Values by OpenCV, which keeps 16 bits of colours where Pillow does not; its order is blue, green, red, alpha."""
    import cv2

    array = cv2.imdecode(np.frombuffer(content, np.uint8), cv2.IMREAD_UNCHANGED)
    if array is None:
        raise ValueError("it is damaged or of a kind that cannot be decoded")
    if array.ndim == 2:
        return np.asarray(array)[None]
    planes = np.asarray(array).transpose(2, 0, 1)  # (C, H, W)
    if len(planes) not in (3, 4):
        raise ValueError(f"it has {len(planes)} channels, and only grey (1) and RGB (3) images are read")
    planes = planes[[2, 1, 0, 3][: len(planes)]]
    if content[:4] == b"\x89PNG" and content[25:26] == b"\x04":  # grey with transparency, which OpenCV gives as colour
        return _opaque(planes[[0, 3]], 1)
    return _opaque(planes, 3)


def _opaque(planes: NDArray[Any], colours: int) -> NDArray[Any]:
    """The colours (C, H, W), blended with white by the plane of opacity after them, if there is one."""
    if len(planes) == colours:
        return planes
    if planes.dtype.kind == "f":
        return planes[:colours]
    white = int(np.iinfo(planes.dtype).max)
    alpha = planes[colours]
    if (alpha == white).all():
        return planes[:colours]
    share = alpha / np.float64(white)
    blended: NDArray[Any] = np.rint(planes[:colours] * share + white * (1 - share)).astype(planes.dtype)
    return blended


def _inverted(array: NDArray[Any], bits: int) -> NDArray[Any]:
    if array.dtype.kind == "f":
        return array
    inverted: NDArray[Any] = (2**bits - 1 - array.astype(np.int64)).astype(array.dtype)
    return inverted


def _bits(tags: Any) -> int:
    bits = tags.get(_BITS, (1,))
    return int(max(bits)) if isinstance(bits, tuple) else int(bits)
