# SPDX-License-Identifier: Apache-2.0
"""Sound JPEGs in grey and RGB by libjpeg-turbo alone: the pixels that Pillow decodes with it, bit for bit, and sooner.

Pillow reads the header and says what a file is. It also decodes what is unusual or damaged, so that which files are refused, and
in which words, does not depend on this decoder: it answers for those alone in which it finds nothing to warn of.
"""

from __future__ import annotations

from functools import cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pellucid.data.decoding.deep import Source

__all__ = ["content_of_jpeg", "sound"]

_START = b"\xff\xd8\xff"
_FORMS = {"L": "GRAY", "RGB": "RGB"}  # Pillow's modes, and the decoder's names for them
_LEAST = 8  # px: a shorter side is as long at one scale as at another


def content_of_jpeg(source: Source) -> bytes | None:
    """The bytes of a file that begins as a JPEG does; None for any other."""
    if isinstance(source, bytes):
        return source if source.startswith(_START) else None
    with open(source, "rb", buffering=0) as file:
        head = file.read(len(_START))
        return head + file.read() if head == _START else None


def sound(content: bytes, image: Any, whole: tuple[int, int]) -> NDArray[np.uint8] | None:
    """The pixels (C, H, W) of a JPEG before its EXIF rotation; None if Pillow has to decode it.

    That are files in CMYK, with a side shorter than 8 px, with the least damage or of a kind that the decoder does not know, and
    all of them where simplejpeg is not installed.

    Args:
        content: the file.
        image: the same, opened by Pillow and not decoded, at the size that its `draft` has chosen.
        whole: the width and height that Pillow read from its header.
    """
    decoder, form = _decoder(), _FORMS.get(image.mode)
    if decoder is None or form is None or image.format != "JPEG" or min(image.size) < _LEAST:
        return None
    width, height = image.size
    try:
        # what the decoder allocates is what Pillow's limits were asked about
        if decoder.decode_jpeg_header(content)[:2] != whole[::-1]:
            return None
        array = decoder.decode_jpeg(content, form, min_height=height, min_width=width)
    except (KeyError, ValueError):  # a sampling of colours without a name; an error, or as little as a warning
        return None
    planes: NDArray[np.uint8] = array.transpose(2, 0, 1)
    return planes if planes.shape[1:] == (height, width) else None


@cache
def _decoder() -> Any:
    """The module simplejpeg; None where Python has no package of it, or where Pillow does not decode by libjpeg-turbo itself."""
    from PIL import features

    try:
        import simplejpeg
    except ImportError:
        return None
    return simplejpeg if features.check_feature("libjpeg_turbo") else None
