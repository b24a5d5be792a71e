# SPDX-License-Identifier: Apache-2.0
"""What `predict` answers for inpainting: pictures with the holes that a mask, a colour or transparency marks; known pixels stay."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, final

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional as F

from pellucid.data.colour import unit
from pellucid.data.decoding import Files, decode, fault_sentence, from_pillow, opened
from pellucid.data.decoding.deep import DEEP
from pellucid.data.given import Encoded, gather
from pellucid.data.scales import Scale
from pellucid.errors import UsageError
from pellucid.models import _building
from pellucid.tasks._planes import through_planes
from pellucid.tasks._wrapping import scale_of
from pellucid.tasks.inpaint.options import InpaintOptions, InpaintTask

__all__ = ["answer"]

_ALPHA = ("RGBA", "LA", "PA", "La", "RGBa")
_WHITE, _BLACK = 250, 5  # of 255: JPEG does not keep the extremes exactly


@final
@dataclass(frozen=True)
class _Source:
    """A picture as it was given."""

    name: str
    pixels: NDArray[Any]  # (C, H, W) uint8, uint16 from black to white, or float32 in [0, 1]
    opaque: NDArray[np.bool_] | None = None  # (H, W), of a picture with transparency
    missing: NDArray[np.bool_] | None = None  # (H, W), of an array whose last plane is a mask
    scale: Scale | None = None  # of a picture with more than 8 bits


def answer(task: InpaintTask, model: nn.Module, images: Any, options: InpaintOptions) -> list[dict[str, Any]]:
    """Rows with the filled pictures; a file that cannot be read, or one of several that cannot be filled, has an "error" instead.

    Raises:
        UsageError: a mask that is no file, or for the only picture: nothing says which pixels are missing, the mask does not
            fit, or known pixels could not come back unchanged.
    """
    masks = _masks(options)
    sources, rows = _pictures(images, scale_of(model))
    count = len(sources) + len(rows)
    if len(masks) > 1 and len(masks) != count:
        raise UsageError(f"mask=[{len(masks)} masks]: for {count} pictures; give one for all, or one for each.")
    for place, source in sources.items():
        try:
            hole = _hole(source, masks[place % len(masks)] if masks else None, options.detect)
        except UsageError as fault:
            if count == 1:
                raise
            rows[place] = {"name": source.name, "error": str(fault)}
            continue
        picture = _filled(task, model, source.pixels, hole)
        about: dict[str, Any] = {"name": source.name, "missing": round(float(hole.mean()), 6)}
        if source.scale is not None:
            picture = source.scale.values(picture / np.float64(65535))
            about["range"] = [source.scale.low, source.scale.high]
        rows[place] = {**about, "picture": picture}
    return [rows[place] for place in sorted(rows)]


def _filled(task: InpaintTask, model: nn.Module, pixels: NDArray[Any], hole: NDArray[np.bool_]) -> NDArray[Any]:
    """One picture (C, H, W) uint8 or uint16 with its hole filled."""
    device = next(model.parameters()).device
    image = unit(torch.tensor(pixels, device=device))[None]  # (1, C, H, W); a copy: Pillow's own memory is read-only
    mask = torch.from_numpy(hole).to(device).float()[None, None]  # (1, 1, H, W)
    description = _building.describe(model)
    size = tuple(description["size"])

    def rule(planes: Tensor) -> Tensor:
        input = task.model_input(planes, mask)
        if task.keeps_size or tuple(input.shape[2:]) == size:
            return task.predict(model, input).pixels
        small = F.interpolate(input[:, :-1], size, mode="bilinear", antialias=True)
        missing = F.adaptive_max_pool2d(input[:, -1:], size)  # a pixel is missing where any of its sources is
        answer = task.predict(model, task.model_input(small, missing)).pixels
        return F.interpolate(answer, planes.shape[2:], mode="bilinear", antialias=True)

    answer = through_planes(rule, image, description["channels"] - 1)  # without the mask
    # known pixels are copied, not computed: they come back bit for bit
    top, kind = (65535, np.uint16) if pixels.dtype == np.uint16 else (255, np.uint8)
    known = pixels if pixels.dtype == kind else np.rint(np.clip(pixels, 0, 1) * top).astype(kind)
    found = (answer[0].clamp(0, 1) * top).round().cpu().numpy().astype(kind)
    return np.where(hole, found, known)


def _masks(options: InpaintOptions) -> Sequence[Any]:
    """The masks that were given; refuses a file that is not there before any work."""
    masks: Sequence[Any] = options.mask if isinstance(options.mask, (list, tuple)) else [options.mask]
    if masks and options.detect:
        raise UsageError("mask, detect: both say what is missing; give one of them.")
    for mask in masks:
        if isinstance(mask, (str, Path)) and not Path(mask).expanduser().is_file():
            raise UsageError(
                f"mask={str(mask)!r}: is not a file; name an image that is white where a pixel is missing."
            )
    return masks


def _hole(source: _Source, mask: Any, detect: str) -> NDArray[np.bool_]:
    """The missing pixels (H, W) of a picture; refuses one without any, or without known ones."""
    size = source.pixels.shape[1:]
    if mask is not None:
        title, hole = _mask(mask)
        if hole.shape != size:
            raise UsageError(
                f"mask={title!r}: is {hole.shape[0]}×{hole.shape[1]} px, and {source.name} is {size[0]}×{size[1]} "
                "(height × width); give a mask of the same size."
            )
        origin = f"mask={title!r}"
    elif detect:
        hole, origin = _detected(source, detect), f"detect={detect!r}"
    elif source.missing is not None:
        hole, origin = source.missing, f"images={source.name!r}"
    else:
        raise UsageError(
            "mask=(): does not say what is missing; give --mask MASK.png, white where a pixel is missing, or let "
            "--detect white, black or alpha find it."
        )
    if not hole.any():
        raise UsageError(f"{origin}: leaves nothing missing in {source.name}; mark at least one pixel.")
    if hole.all():
        raise UsageError(f"{origin}: covers all of {source.name}; leave at least one pixel known.")
    if source.opaque is not None and detect != "alpha" and not source.opaque.all():
        raise UsageError(
            f"images={source.name!r}: has transparent pixels; give --detect alpha to fill them, or flatten the picture first."
        )
    return hole


def _mask(mask: Any) -> tuple[str, NDArray[np.bool_]]:
    """A mask (H, W) with its title, from a file, a file's bytes, or an array whose values above the middle are missing."""
    if isinstance(mask, (str, Path)):
        return str(mask), decode(Path(mask).expanduser(), 1)[0] > 127
    if isinstance(mask, Encoded):
        return mask.name, decode(mask.content, 1, mask.name)[0] > 127
    array = np.asarray(mask)
    if array.ndim == 3 and 1 in (array.shape[0], array.shape[2]):
        array = array[0] if array.shape[0] == 1 else array[..., 0]
    if array.ndim != 2:
        raise UsageError(
            f"mask of shape {array.shape}: is not a mask; give (H, W), true or white where a pixel is missing."
        )
    # uint8 holds 0 and 255, or 0 and 1
    return "array", array > (127 if array.dtype == np.uint8 and array.max(initial=0) > 1 else 0.5)


def _detected(source: _Source, what: str) -> NDArray[np.bool_]:
    if what == "alpha":
        if source.opaque is None:
            raise UsageError(
                f"detect='alpha': {source.name} has no transparency; give --mask, or --detect white or black."
            )
        return ~source.opaque
    depth = {"u1": 1.0, "u2": 257.0}.get(source.pixels.dtype.str[1:], 1 / 255)
    pixels = source.pixels / depth  # in 8 bits
    matching = pixels >= _WHITE if what == "white" else pixels <= _BLACK  # (C, H, W)
    return np.asarray(matching.all(axis=0))


def _pictures(images: Any, scale: Scale | None) -> tuple[dict[int, _Source], dict[int, dict[str, Any]]]:
    """The given pictures by their position, and a row with the fault for each file that is not an image."""
    several = images if isinstance(images, (list, tuple)) else [images]
    arrays = [_with_mask(image, place) for place, image in enumerate(several)]
    if several and all(source is not None for source in arrays):
        return {place: source for place, source in enumerate(arrays) if source is not None}, {}
    given = gather(images, scale)
    sources = {place: _Source(given.names[place], image.numpy()) for place, image in given.floats.items()}
    faults = dict(given.faults)
    stored = given.split.images
    for row, place in enumerate(given.places):
        name = given.names[place]
        if not isinstance(stored, Files) or place in given.scales:
            own = stored.select([row])  # with the channels of this image alone
            deep = given.scales.get(place)
            sources[place] = _Source(name, own.read(0, own.channels, 8 if deep is None else 16), scale=deep)
            continue
        try:
            with opened(stored.sources[row]) as image:
                sources[place] = _from_pillow(name, image)
        except UsageError as fault:
            if len(given.names) == 1:
                raise
            faults[place] = str(fault)
        except Exception as fault:  # Pillow's decoders raise whatever their format brings
            faults[place] = fault_sentence(stored.sources[row], name, fault)
    rows = {place: {"name": given.names[place], "error": fault} for place, fault in faults.items()}
    return dict(sorted(sources.items())), rows


def _with_mask(image: Any, place: int) -> _Source | None:
    """A picture with transparency in memory, or an array whose last plane is a mask, as in a model's input."""
    from PIL import Image

    name = f"image_{place}"
    if isinstance(image, Image.Image):
        return None if image.mode in DEEP else _from_pillow(name, image)
    if isinstance(image, Tensor):
        image = image.detach().cpu().movedim(-3, -1).numpy() if image.ndim == 3 else image.numpy()
    if not isinstance(image, np.ndarray) or image.ndim != 3 or image.shape[2] not in (2, 4):
        return None
    planes = np.ascontiguousarray(image.transpose(2, 0, 1))
    if planes.dtype == np.uint8:
        return _Source(name, planes[:-1], opaque=planes[-1] == 255)
    return _Source(name, planes[:-1].astype(np.float32), missing=planes[-1] > 0.5)


def _from_pillow(name: str, image: Any) -> _Source:
    """A Pillow image with its colours unchanged, whatever its transparency."""
    from PIL import ImageOps

    if image.mode in _ALPHA or "transparency" in image.info:
        image = ImageOps.exif_transpose(image).convert("LA" if image.mode in ("LA", "La") else "RGBA")
        planes = np.asarray(image).transpose(2, 0, 1)
        return _Source(name, np.ascontiguousarray(planes[:-1]), opaque=planes[-1] == 255)
    return _Source(name, np.ascontiguousarray(from_pillow(image)))
