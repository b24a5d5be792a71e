# SPDX-License-Identifier: Apache-2.0
"""Holes in pictures that somebody hands over: from a mask, or found by colour or transparency; what is known stays bit for bit."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, Protocol, final

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional as F

from pellucid.data.decoding import decode, from_pillow
from pellucid.data.given import gather
from pellucid.data.targets import Picture
from pellucid.errors import UsageError
from pellucid.tasks._contract import PredictOptions

__all__ = ["Mending", "mend"]

_DEEP = ("I;16", "I;16B", "I;16L", "I", "F")  # Pillow's modes of more than 8 bits
_ALPHA = ("RGBA", "LA", "PA", "La", "RGBa")
_WHITE, _BLACK = 250, 5  # of 255: JPEG does not keep the extremes exactly


@final
@dataclass(frozen=True)
class Mending(PredictOptions):
    """What is missing of the pictures that are handed over."""

    mask: tuple[str, ...] = ()
    """image of the same size, white where a pixel is missing: one for all pictures, or one for each"""
    detect: Literal["", "white", "black", "alpha"] = ""
    """find what is missing: white, black or transparent pixels"""


class Mender(Protocol):
    """What `mend` needs of a task."""

    @property
    def keeps_size(self) -> bool:
        """Whether pictures are answered at their own size."""

    def broken(self, images: Tensor, mask: Tensor) -> Tensor:
        """The input for images and a mask."""

    def predict(self, model: nn.Module, input: Tensor) -> Picture:
        """Pictures without holes."""


@final
@dataclass(frozen=True)
class _Given:
    """A picture as it was handed over."""

    name: str
    pixels: NDArray[Any]  # (C, H, W) uint8, or float32 in [0, 1]
    alpha: NDArray[np.bool_] | None = None  # (H, W): fully opaque
    missing: NDArray[np.bool_] | None = None  # (H, W), where it came along


def mend(task: Mender, model: nn.Module, images: Any, asked: Mending) -> list[dict[str, Any]]:
    """Rows with the pictures whose holes are filled; a file that cannot be read has an "error" instead.

    Raises:
        UsageError: what is missing was not told, or does not fit the picture, or the picture could not come back unchanged.
    """
    if asked.detect not in ("", "white", "black", "alpha"):
        raise UsageError(f"detect={asked.detect!r}: is not known; choose white, black or alpha.")
    given, faults = _pictures(images)
    holes = _holes(given, asked)
    rows: dict[str, dict[str, Any]] = {name: {"name": name, "error": fault} for name, fault in faults.items()}
    for one, hole in zip(given, holes, strict=True):
        answer = _mended(task, model, one.pixels, hole)
        rows[one.name] = {"name": one.name, "missing": round(float(hole.mean()), 6), "picture": answer}
    return list(rows.values())


def _mended(task: Mender, model: nn.Module, pixels: NDArray[Any], hole: NDArray[np.bool_]) -> NDArray[np.uint8]:
    """One picture (C, H, W) uint8 with its hole filled."""
    device = next(model.parameters()).device
    whole = torch.from_numpy(np.ascontiguousarray(pixels)).to(device)
    image = (whole.float() / 255 if whole.dtype == torch.uint8 else whole.float())[None]  # (1, C, H, W)
    mask = torch.from_numpy(hole).to(device).float()[None, None]
    description: dict[str, Any] = model.description  # type: ignore[assignment]
    channels = description["channels"] - 1
    if image.shape[1] > channels:  # a grey model answers each colour plane as a picture, so that known colours stay
        image = image.transpose(0, 1)
    elif image.shape[1] < channels:
        image = image.expand(-1, channels, -1, -1)
    input = task.broken(image, mask.expand(len(image), -1, -1, -1))
    size = tuple(description["size"])
    if not task.keeps_size and tuple(input.shape[2:]) != size:
        small = F.interpolate(input[:, :-1], size, mode="bilinear", antialias=True)
        gone = F.adaptive_max_pool2d(input[:, -1:], size)
        answer = task.predict(model, task.broken(small, gone)).pixels
        answer = F.interpolate(answer, image.shape[2:], mode="bilinear", antialias=True)
    else:
        answer = task.predict(model, input).pixels
    if len(answer) > 1:
        answer = answer.transpose(0, 1)
    elif answer.shape[1] > len(pixels):
        answer = answer.mean(1, keepdim=True)
    eight = whole if whole.dtype == torch.uint8 else (whole.clamp(0, 1) * 255).round().to(torch.uint8)
    found = torch.where(mask[0] > 0, (answer[0].clamp(0, 1) * 255).round().to(torch.uint8), eight)
    return found.cpu().numpy()


def _holes(given: Sequence[_Given], asked: Mending) -> list[NDArray[np.bool_]]:
    """What is missing of each picture, (H, W); refused where that is nothing or everything, or not told."""
    masks: Sequence[Any] = asked.mask if isinstance(asked.mask, (list, tuple)) else [asked.mask]
    if masks and asked.detect:
        raise UsageError("mask, detect: both say what is missing; give one of them.")
    if len(masks) > 1 and len(masks) != len(given):
        raise UsageError(f"mask=[{len(masks)} of them]: for {len(given)} pictures; give one for all, or one for each.")
    found = []
    for place, one in enumerate(given):
        size = one.pixels.shape[1:]
        if masks:
            title, hole = _mask(masks[place % len(masks)])
            if hole.shape != size:
                raise UsageError(
                    f"mask={title!r}: is {hole.shape[0]}×{hole.shape[1]} px, and {one.name} is {size[0]}×{size[1]} (height × "
                    "width); give a mask of the same size."
                )
            what = f"mask={title!r}"
        elif asked.detect:
            hole, what = _detected(one, asked.detect), f"detect={asked.detect!r}"
        elif one.missing is not None:
            hole, what = one.missing, f"images={one.name!r}"
        else:
            raise UsageError(
                "mask=(): does not say what is missing; give --mask MASK.png, white where a pixel is missing, or let "
                "--detect white, black or alpha find it."
            )
        if not hole.any():
            raise UsageError(f"{what}: leaves nothing missing in {one.name}; mark at least one pixel.")
        if hole.all():
            raise UsageError(f"{what}: covers all of {one.name}, so that nothing is known; leave some of it.")
        if one.alpha is not None and asked.detect != "alpha" and not one.alpha.all():
            raise UsageError(
                f"images={one.name!r}: has transparent pixels; give --detect alpha to fill them, or flatten the picture first."
            )
        found.append(hole)
    return found


def _mask(one: Any) -> tuple[str, NDArray[np.bool_]]:
    """A mask (H, W) from a file, or an array whose values above the middle are missing."""
    if isinstance(one, (str, Path)):
        if not Path(one).expanduser().is_file():
            raise UsageError(f"mask={str(one)!r}: is no file; name an image that is white where a pixel is missing.")
        return str(one), decode(Path(one).expanduser(), 1)[0] > 127
    array = np.asarray(one)
    if array.ndim == 3 and 1 in (array.shape[0], array.shape[2]):
        array = array[0] if array.shape[0] == 1 else array[..., 0]
    if array.ndim != 2:
        raise UsageError(
            f"mask of shape {array.shape}: is no mask; give (H, W), true or white where a pixel is missing."
        )
    return "array", array > (127 if array.dtype == np.uint8 and array.max(initial=0) > 1 else 0.5)


def _detected(one: _Given, what: str) -> NDArray[np.bool_]:
    if what == "alpha":
        if one.alpha is None:
            raise UsageError(
                f"detect='alpha': {one.name} has no transparency; give --mask, or --detect white or black."
            )
        return ~one.alpha
    pixels = one.pixels if one.pixels.dtype == np.uint8 else one.pixels * 255
    alike = pixels >= _WHITE if what == "white" else pixels <= _BLACK  # (C, H, W)
    return np.asarray(alike.all(axis=0))


def _pictures(images: Any) -> tuple[list[_Given], dict[str, str]]:
    """What was handed over, in its order, and a sentence for each file that is no image."""
    several = images if isinstance(images, (list, tuple)) else [images]
    own = [_with_mask(one, place) for place, one in enumerate(several)]
    if several and all(one is not None for one in own):
        return [one for one in own if one is not None], {}
    given = gather(images)
    faults = {given.names[place]: fault for place, fault in given.faults.items()}
    found: dict[int, _Given] = {}
    sources: Sequence[Any] = getattr(given.split.images, "sources", ())
    for row, place in enumerate(given.places):
        name = given.names[place]
        if row < len(sources):
            from PIL import Image

            with Image.open(sources[row]) as image:
                found[place] = _from_pillow(name, image)
        else:
            array: NDArray[np.uint8] = given.split.images.arrays[row]  # type: ignore[attr-defined]
            found[place] = _Given(name, array)
    found |= {place: _Given(given.names[place], image.numpy()) for place, image in given.floats.items()}
    return [found[place] for place in sorted(found)], faults


def _with_mask(one: Any, place: int) -> _Given | None:
    """A picture with transparency in memory, or an array whose last plane is a mask, as a model's input has it."""
    from PIL import Image

    name = f"image_{place}"
    if isinstance(one, Image.Image):
        return _from_pillow(name, one)
    if isinstance(one, Tensor):
        one = one.detach().cpu().movedim(-3, -1).numpy() if one.ndim == 3 else one.numpy()
    if not isinstance(one, np.ndarray) or one.ndim != 3 or one.shape[2] not in (2, 4):
        return None
    planes = np.ascontiguousarray(one.transpose(2, 0, 1))
    if planes.dtype == np.uint8:
        return _Given(name, planes[:-1], alpha=planes[-1] == 255)
    return _Given(name, planes[:-1].astype(np.float32), missing=planes[-1] > 0.5)


def _from_pillow(name: str, image: Any) -> _Given:
    """A Pillow image with its colours as they are, whatever its transparency; refused beyond 8 bits."""
    from PIL import ImageOps

    if image.mode in _DEEP:
        raise UsageError(
            f"images={name!r}: has more than 8 bits a channel, and what is known must come back bit for bit; save it with 8 bits."
        )
    if image.mode in _ALPHA or "transparency" in image.info:
        image = ImageOps.exif_transpose(image).convert("LA" if image.mode in ("LA", "La") else "RGBA")
        planes = np.asarray(image).transpose(2, 0, 1)
        return _Given(name, np.ascontiguousarray(planes[:-1]), alpha=planes[-1] == 255)
    return _Given(name, np.ascontiguousarray(from_pillow(image)))
