# SPDX-License-Identifier: Apache-2.0
"""One image file, or its bytes, to an array."""

from __future__ import annotations

import io
import os
import re
import warnings
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pellucid.data.colour import bytes_to_channels
from pellucid.data.decoding.deep import DEEP, LARGEST, Source, content_of, of_pillow, of_tiff
from pellucid.data.decoding.jpeg import content_of_jpeg, sound
from pellucid.data.fits import Filling, middle, scaled
from pellucid.data.scales import Bits, Levels, Scale, natural
from pellucid.errors import DataError

__all__ = [
    "FORMATS",
    "LARGEST",
    "SUFFIXES",
    "Source",
    "decode",
    "fault_sentence",
    "fitted",
    "from_pillow",
    "grey_palette",
    "is_image",
    "levels_of",
    "named_as_image",
    "opened",
    "orientation_of",
    "resize",
    "resize_by_pillow",
    "unknown_tiff",
    "values",
]

SUFFIXES = frozenset(
    {
        ".png",
        ".jpg",
        ".jpeg",
        ".jpe",
        ".jfif",
        ".tif",
        ".tiff",
        ".bmp",
        ".dib",
        ".pgm",
        ".ppm",
        ".pnm",
        ".webp",
        ".gif",
        ".avif",
    }
)
"""Endings of the files that are read as images in a folder."""

FORMATS = ("PNG", "JPEG", "TIFF", "BMP", "DIB", "PPM", "WEBP", "GIF", "AVIF")
"""Pillow's names of what is decoded: no other decoder sees a file, least of all one that starts a program, as EPS does."""

_ORIENTATION = 0x0112  # the EXIF tag of an image's rotation
_SPARE = 1.4  # a JPEG decoded at a fraction of its size must stay larger than the wanted size by this factor
_TIFF = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")
_SIGNS = (b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff", b"BM", b"GIF87a", b"GIF89a", *_TIFF)

# LARGEST is our own limit; silencing Pillow's lower one around each file would cost as much as reading a small one
warnings.filterwarnings("ignore", message=r"Image size \(\d+ pixels\) exceeds limit")


def is_image(path: str | Path) -> bool:
    """Whether a file begins as an image does, whatever its name."""
    try:
        with open(path, "rb") as file:
            head = file.read(16)
    except OSError:
        return False
    return head.startswith(_SIGNS) or (head[:4] == b"RIFF" and head[8:12] == b"WEBP") or head[4:12] == b"ftypavif"


def named_as_image(path: str | Path) -> bool:
    """Whether a file's name ends as an image's does, or has no ending and the file begins as an image does."""
    ending = os.path.splitext(path)[1].lower()
    return ending in SUFFIXES or (not ending and is_image(path))


def opened(source: Source) -> Any:
    """A Pillow image that is not decoded yet.

    Raises:
        ValueError: it has more than `LARGEST` pixels.
    """
    from PIL import Image

    image = Image.open(io.BytesIO(source) if isinstance(source, bytes) else source, formats=FORMATS)
    if image.width * image.height > LARGEST:
        image.close()
        raise ValueError(f"it decodes to {image.width * image.height:,} px, more than the {LARGEST:,} allowed")
    return image


def from_pillow(
    image: Any,
    size: tuple[int, int] | None = None,
    scale: Scale | None = None,
    bits: Bits = 8,
    fit: Filling = "squash",
) -> NDArray[Any]:
    """A Pillow image as (C, H, W) uint8, C = 1 for grey modes, else 3; resized to (H, W) px if asked, antialiased.

    EXIF rotation is applied, palettes are resolved, transparent pixels are blended with white, and more than 8 bits become 8
    by a scale.

    >>> from PIL import Image
    >>> from_pillow(Image.new("RGBA", (2, 1), (255, 0, 0, 0)))[:, 0, 0].tolist()
    [255, 255, 255]

    Args:
        image: any Pillow image.
        size: (H, W) in px; by default its own.
        scale: of images with more than 8 bits; by default the natural one of this image.
        bits: 16 gives images of more than 8 bits as uint16.
        fit: squash scales height and width apart, crop both alike and takes the middle.
    """
    from PIL import Image, ImageOps

    if orientation_of(image) != 1:
        image = ImageOps.exif_transpose(image)  # copies even if there is nothing to rotate
    if image.mode in DEEP:
        return _scaled(np.asarray(image)[None], scale, bits, size, fit)
    if image.mode in ("RGBA", "LA", "PA", "La", "RGBa") or "transparency" in image.info:
        grey = image.mode in ("LA", "La") or (image.mode == "L" and "transparency" in image.info)
        layer = image.convert("RGBA")
        image = Image.alpha_composite(Image.new("RGBA", layer.size, "white"), layer).convert("L" if grey else "RGB")
    if image.mode == "1" or (image.mode == "P" and grey_palette(image)):
        image = image.convert("L")
    if image.mode == "L":
        return resize(np.asarray(image)[None], size, fit)
    if image.mode in ("LAB", "HSV"):
        raise ValueError(f"it is in the colour space {image.mode}, and only grey, RGB and CMYK are read")
    array = np.asarray(image if image.mode == "RGB" else image.convert("RGB"))
    return resize(array.transpose(2, 0, 1), size, fit)


def fitted(image: Any, size: tuple[int, int] | None, fit: Filling = "squash") -> Any:
    """A Pillow image, or its middle, resized to (H, W) px; Pillow's bilinear filter widens with the scale, as antialiasing needs."""
    from PIL import Image

    if size is None or image.size == size[::-1]:
        return image
    box = middle(image.size[::-1], size) if fit == "crop" else None  # need not begin at a whole px
    return image.resize(size[::-1], Image.Resampling.BILINEAR, box)


def grey_palette(image: Any) -> bool:
    """Whether all colours of a palette are shades of grey."""
    if image.palette is None:
        return False
    layout, entries = image.palette.getdata()
    planar = layout.endswith(";L")  # all reds, all greens, all blues
    width = len(layout.split(";")[0])  # a BMP has four bytes an entry, "BGRX"
    if width < 3:
        return False
    values = np.frombuffer(entries, np.uint8)
    values = values[: len(values) // width * width]
    table = values.reshape(width, -1).T if planar else values.reshape(-1, width)
    return bool((np.ptp(table[:, :3], 1) == 0).all())


def values(source: Source, image: Any) -> NDArray[Any] | None:
    """The values (C, H, W) of an opened image with more than 8 bits, upright, in its own numbers; None if it has 8 or fewer."""
    if image.format not in ("PNG", "TIFF", "PPM"):
        return None
    array = of_pillow(image, source)
    return None if array is None else upright(array, orientation_of(image))


def unknown_tiff(source: Source, fault: Exception) -> NDArray[Any]:
    """The values (C, H, W) of a TIFF that Pillow does not know, by another reader; any other file's fault is raised.

    Raises:
        ValueError: its channels or colours are not those of a grey or an RGB image.
    """
    if type(fault).__name__ != "UnidentifiedImageError":
        raise fault
    content = content_of(source)
    if content[:4] not in _TIFF:
        raise fault
    return of_tiff(content)


def levels_of(array: NDArray[Any]) -> Levels:
    """The smallest and the largest of an image's values.

    Raises:
        ValueError: values that are not finite.
    """
    low, high = float(array.min()), float(array.max())
    if not np.isfinite((low, high)).all():
        raise ValueError("some of its pixels are NaN or infinite")
    return Levels(np.array([low]), np.array([high]), np.array([array.dtype.kind == "f"]))


def decode(
    source: Source,
    channels: int | None = None,
    name: str = "",
    size: tuple[int, int] | None = None,
    scale: Scale | None = None,
    bits: Bits = 8,
    fit: Filling = "squash",
) -> NDArray[Any]:
    """One file, or its bytes, as (C, H, W) uint8, at its own size or resized.

    Args:
        source: a path, or the file's bytes.
        channels: 1 or 3; by default the file's own.
        name: its name in error messages.
        size: (H, W) in px, by antialiased interpolation; by default its own. A JPEG is first decoded at a half, a quarter
            or an eighth of its size, as long as both sides stay at least 1.4 times as long (the decoder inverts the discrete
            cosine transform on fewer frequencies).
        scale: black and white of images with more than 8 bits; by default the natural scale of this one.
        bits: 16 gives uint16; images of 8 bits are then widened.
        fit: squash scales height and width apart, crop both alike and takes the middle.

    Raises:
        DataError: it is not an image, is truncated, or decodes to more than `LARGEST` pixels.
    """
    try:
        array = _decoded(source, size, scale, bits, fit)
    except DataError:
        raise
    except Exception as fault:  # Pillow's decoders raise whatever their format brings: SyntaxError, struct.error, …
        raise DataError(fault_sentence(source, name, fault)) from fault
    if bits == 16 and array.dtype == np.uint8:
        array = array.astype(np.uint16) * 257
    return array if channels is None else bytes_to_channels(array, channels)


def _decoded(
    source: Source, size: tuple[int, int] | None, scale: Scale | None, bits: Bits, fit: Filling
) -> NDArray[Any]:
    try:
        content = content_of_jpeg(source)
        image = opened(content or source)
    except Exception as fault:
        array = unknown_tiff(source, fault)
        return resize(array, size, fit) if array.dtype == np.uint8 else _scaled(array, scale, bits, size, fit)
    with image:
        stored = image.size
        if size is not None and image.format == "JPEG":
            turned = orientation_of(image) > 4  # height and width will be swapped
            whole = scaled(image.size if turned else image.size[::-1], size, fit)
            longer = _SPARE * max(whole) if turned else 0
            image.draft(None, (int(max(longer, _SPARE * whole[1])), int(max(longer, _SPARE * whole[0]))))
        if content is not None and (planes := sound(content, image, stored)) is not None:
            return resize(upright(planes, orientation_of(image)), size, fit)
        deep = values(source, image)
        return from_pillow(image, size, fit=fit) if deep is None else _scaled(deep, scale, bits, size, fit)


def _scaled(
    array: NDArray[Any], scale: Scale | None, bits: Bits, size: tuple[int, int] | None, fit: Filling
) -> NDArray[Any]:
    """Values (C, H, W) on a scale, at a size."""
    levels = levels_of(array)
    scale = scale or natural(levels)
    if scale is None:
        raise ValueError(
            f"its floating-point pixels leave [0, 1]: they range from {levels.low:.4g} to {levels.high:.4g}"
        )
    return resize(scale.levels(array, bits), size, fit)


def resize(array: NDArray[Any], size: tuple[int, int] | None, fit: Filling = "squash") -> NDArray[Any]:
    """An image (C, H, W) uint8 or uint16, or its middle, resized to (H', W') px by antialiased bilinear interpolation.

    Bytes are squashed by torch, in whole numbers, so that every processor gives the same pixels. They differ from those of
    `resize_by_pillow` by two levels at most, as weights are rounded otherwise, and take a quarter of the time in colour.

    >>> resize(np.full((3, 8, 8), 7, np.uint8), (4, 2)).shape
    (3, 4, 2)
    """
    if size is None or array.shape[1:] == size:
        return array
    if array.dtype == np.uint8 and fit == "crop":  # torch knows no part that begins between two px
        return resize_by_pillow(array, size, fit)
    if array.dtype == np.uint8:
        import torch
        from torch.nn import functional as F

        layout = np.require(
            array.transpose(1, 2, 0), requirements=["C", "W"]
        )  # its kernel is made for channels that come last
        image = torch.from_numpy(layout).permute(2, 0, 1)[None]
        small: NDArray[Any] = F.interpolate(image, size, mode="bilinear", antialias=True)[0].numpy()
        return small
    from PIL import Image

    planes = [np.asarray(fitted(Image.fromarray(plane.astype(np.float32)), size, fit)) for plane in array]
    levels: NDArray[Any] = np.rint(np.clip(np.stack(planes), 0, 65535)).astype(np.uint16)
    return levels


def resize_by_pillow(array: NDArray[np.uint8], size: tuple[int, int], fit: Filling = "squash") -> NDArray[np.uint8]:
    """An image (C, H, W), or its middle, resized to (H', W') px in Pillow's arithmetic."""
    from PIL import Image

    # its layout is channels last
    flat = array[0] if array.shape[0] == 1 else np.ascontiguousarray(array.transpose(1, 2, 0))
    small = np.asarray(fitted(Image.fromarray(flat), size, fit))
    return small[None] if small.ndim == 2 else small.transpose(2, 0, 1)


def orientation_of(image: Any) -> int:
    """The EXIF orientation of an opened image, 1 to 8; 1, which is upright, also where it says something else."""
    said = image.getexif().get(_ORIENTATION, 1)
    return said if isinstance(said, int) and 1 <= said <= 8 else 1


def upright(array: NDArray[Any], orientation: int) -> NDArray[Any]:
    """Values (C, H, W) turned and mirrored as EXIF orientations 1 to 8 say."""
    if orientation in (5, 6, 7, 8):
        array = array.transpose(0, 2, 1)
    if orientation in (2, 3, 6, 7):
        array = array[:, :, ::-1]
    if orientation in (3, 4, 7, 8):
        array = array[:, ::-1]
    return array


def fault_sentence(source: Source, name: str, fault: Exception) -> str:
    """The error message for a file that cannot be read."""
    title = name or (str(source) if isinstance(source, Path) else "image")
    reason = str(fault).split("\n")[0].rstrip(".") or type(fault).__name__
    if type(fault).__name__.startswith("DecompressionBomb"):  # Pillow's own limit, before height and width are known
        count = next((int(word) for word in re.findall(r"\d+", reason)), LARGEST)
        reason = f"it decodes to {count:,} px, more than the {LARGEST:,} allowed"
    elif source == b"" or (isinstance(source, Path) and source.is_file() and source.stat().st_size == 0):
        reason = "it is empty"
    elif type(fault).__name__ == "UnidentifiedImageError":
        reason = "it is not an image, whatever its name says"
    elif "truncated" in reason or "Truncated" in reason or isinstance(fault, EOFError):
        reason = "it is truncated"
    return f"image={title!r}: cannot be read, because {reason}; replace or remove it."
