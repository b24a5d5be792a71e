# SPDX-License-Identifier: Apache-2.0
"""Pictures of 8 and 16 bits as the bytes of a file."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pellucid.errors import UsageError

__all__ = ["in_16_bits", "png"]


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


def in_16_bits(picture: NDArray[np.uint16], path: Path) -> bytes:
    """The file of a picture of 16 bits, in colour too, which Pillow cannot write."""
    import cv2

    if path.suffix.lower() not in (".png", ".tif", ".tiff"):
        raise UsageError(f"out={str(path)!r}: is not a format for 16 bits; give .png or .tif.")
    planes = picture if picture.shape[0] == 1 else picture[::-1]  # OpenCV's order is blue, green, red
    _, content = cv2.imencode(path.suffix.lower(), np.ascontiguousarray(planes.transpose(1, 2, 0)))
    return content.tobytes()
