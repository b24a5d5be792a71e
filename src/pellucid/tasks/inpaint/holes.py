# SPDX-License-Identifier: Apache-2.0
"""Masks of holes, drawn for whole batches at once: rectangles, brush strokes, scattered pixels, and mask files."""

from __future__ import annotations

import functools
import hashlib
import math
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from pellucid.data.decoding import SUFFIXES, decode
from pellucid.data.draws import Draws
from pellucid.errors import UsageError

__all__ = ["clear_cache", "fingerprint", "from_files", "mask_files", "rectangles", "scattered", "strokes"]

_ASPECT = math.log(2)  # rectangles are at most twice as long as wide
_VERTICES = 4  # of a brush stroke
_TURN = math.pi / 2  # a stroke bends by up to a quarter turn at a vertex
_LEFT = 1  # least number of known pixels


def rectangles(
    draws: Draws,
    size: tuple[int, int],
    area: Sequence[float],
    count: Sequence[int],
    hole: Sequence[int] = (),
    place: Sequence[int] = (),
) -> Tensor:
    """Rectangles, (B, 1, H, W) float32 with 1 = missing.

    >>> draws = Draws.step(0, 0, slice(0, 3), 3)
    >>> rectangles(draws, (32, 32), (0.25,), (1,)).mean((1, 2, 3)).round(decimals=1)
    tensor([0.3000, 0.2000, 0.2000])
    >>> rectangles(draws, (6, 6), (0.1,), (1,), hole=(2, 3), place=(1, 2))[0, 0, 1].tolist()
    [0.0, 0.0, 1.0, 1.0, 1.0, 0.0]

    Args:
        draws: one row per image.
        size: (H, W) in px.
        area: share of the image that all rectangles together would cover if none overlapped: one number, or a range.
        count: rectangles per image: one number, or a range.
        hole: (height, width) of each in px; by default random, at most twice as long as wide.
        place: (row, column) of the upper left corner in px; by default at random.
    """
    height, width = size
    most = max(count)
    number = draws.integers(min(count), most + 1)  # (B,)
    share = draws.uniform(low=min(area), high=max(area))
    form = draws.uniform(most, low=-_ASPECT, high=_ASPECT)  # (B, most): log of height over width
    corner = draws.uniform(most, 2)  # (B, most, 2), of the room that is left
    if hole:
        tall, wide = (torch.full_like(number, side)[:, None].expand(-1, most) for side in hole)
    else:
        pixels = (share * height * width / number)[:, None]  # of each rectangle, (B, 1)
        tall = (pixels * form.exp()).sqrt().clamp(max=height).clamp(min=pixels / width).round().long()
        tall = tall.clamp(1, height)
        wide = (pixels / tall).round().long().clamp(1, width)
    if place:
        top, left = (torch.full_like(tall, start) for start in place)
    else:
        top = (corner[..., 0] * (height - tall + 1)).long().clamp(min=0).minimum(height - tall)
        left = (corner[..., 1] * (width - wide + 1)).long().clamp(min=0).minimum(width - wide)
    rows = torch.arange(height, device=number.device)
    columns = torch.arange(width, device=number.device)
    # all images draw `most` rectangles, and those beyond an image's own number have no height
    tall = torch.where(torch.arange(most, device=number.device) < number[:, None], tall, 0)
    down = (rows >= top[..., None]) & (rows < (top + tall)[..., None])  # (B, most, H)
    along = (columns >= left[..., None]) & (columns < (left + wide)[..., None])  # (B, most, W)
    return torch.einsum("bkh,bkw->bhw", down.float(), along.float()).clamp_(max=1)[:, None]


def strokes(draws: Draws, size: tuple[int, int], area: Sequence[float], count: Sequence[int]) -> Tensor:
    """Bending brush strokes, as of a scratch or a pen, (B, 1, H, W) float32 with 1 = missing (after Yu et al. 2019, alg. 1).

    All pixels within the brush's radius of a line with four vertices; the radius follows from the area.

    >>> mask = strokes(Draws.step(0, 0, slice(0, 4), 4), (32, 32), (0.2,), (2,))
    >>> mask.mean((1, 2, 3)).round(decimals=2)
    tensor([0.2000, 0.2000, 0.2000, 0.2000])
    """
    height, width = size
    most = max(count)
    number = draws.integers(min(count), most + 1)
    share = draws.uniform(low=min(area), high=max(area))
    place = draws.uniform(most, 2)
    angle = draws.uniform(most, low=0, high=2 * math.pi)
    bend = draws.uniform(most, _VERTICES - 1, low=-_TURN, high=_TURN)
    length = draws.uniform(most, _VERTICES - 1, low=0.1, high=0.35) * min(size)
    heading = angle[..., None] + bend.cumsum(2)  # (B, most, V - 1)
    steps = torch.stack([heading.sin() * length, heading.cos() * length], dim=3)  # (B, most, V - 1, 2)
    extent = torch.tensor([height, width], dtype=torch.float32, device=place.device)
    ends = torch.cat([(place * extent)[:, :, None], steps], dim=2).cumsum(2).clamp(min=0).minimum(extent)
    rows = torch.arange(height, device=place.device)[:, None] + 0.5
    columns = torch.arange(width, device=place.device) + 0.5
    nearest = torch.full((len(place), height, width), math.inf, device=place.device)
    for k in range(most):  # one segment at a time, so that no array is larger than the batch
        used = (number > k)[:, None, None]
        for v in range(_VERTICES - 1):
            (y0, x0), (y1, x1) = (ends[:, k, v + i].T[..., None, None] for i in (0, 1))  # each (B, 1, 1)
            dy, dx = y1 - y0, x1 - x0
            # the nearest point of the segment, from 0 at its start to 1 at its end
            along = ((rows - y0) * dy + (columns - x0) * dx) / (dy * dy + dx * dx).clamp_min(1e-6)
            along = along.clamp_(0, 1)
            distance = (rows - y0 - along * dy) ** 2 + (columns - x0 - along * dx) ** 2
            nearest = torch.where(used, torch.minimum(nearest, distance), nearest)
    return _lowest(nearest, share)


def scattered(draws: Draws, size: tuple[int, int], area: Sequence[float]) -> Tensor:
    """Scattered single pixels, (B, 1, H, W) float32 with 1 = missing.

    >>> scattered(Draws.step(0, 0, slice(0, 2), 2), (10, 10), (0.3,)).sum((1, 2, 3))
    tensor([30., 30.])
    """
    return _lowest(draws.uniform(*size), draws.uniform(low=min(area), high=max(area)))


def _lowest(values: Tensor, share: Tensor) -> Tensor:
    """Where the lowest share (B,) of each image's values (B, H, W) lies, (B, 1, H, W); at least one pixel, and never all."""
    flat = values.flatten(1)
    wanted = (share * flat.shape[1]).round().long().clamp(1, max(1, flat.shape[1] - _LEFT))
    rank = flat.argsort(dim=1, stable=True).argsort(dim=1)  # of each pixel; a threshold would let ties change the count
    return (rank < wanted[:, None]).float().view(len(values), 1, *values.shape[1:])


@functools.lru_cache(maxsize=4)
def mask_files(folder: str) -> tuple[NDArray[np.uint8], ...]:
    """The masks (H, W) in a folder of images, 1 where a pixel is missing: lighter than middle grey in the file.

    Raises:
        UsageError: the folder does not exist or holds no image, or a mask has no hole or nothing but a hole.
    """
    path = Path(folder).expanduser()
    files = sorted(file for file in path.rglob("*") if file.suffix.lower() in SUFFIXES) if path.is_dir() else []
    if not files:
        raise UsageError(
            f"masks={folder!r}: is not a folder with images; name one whose images are white where a pixel is missing."
        )
    masks = []
    for file in files:
        mask = (decode(file, 1)[0] > 127).astype(np.uint8)
        if not mask.any() or mask.all():
            fault = (
                "has no white pixel, so nothing is missing"
                if not mask.any()
                else "is white everywhere, so nothing is known"
            )
            raise UsageError(f"masks={folder!r}: {file.name} {fault}; remove it, or draw it again.")
        masks.append(mask)
    return tuple(masks)


def clear_cache() -> None:
    """Read mask files again the next time they are needed."""
    mask_files.cache_clear()
    _fitted.cache_clear()


def fingerprint(masks: Sequence[NDArray[np.uint8]], data: str) -> str:
    """The fingerprint, in hex, of a dataset together with masks; it changes when either does.

    >>> one, other = np.eye(2, dtype=np.uint8), np.ones((2, 1), np.uint8)
    >>> fingerprint([one], "ab") == fingerprint([one], "ab"), fingerprint([one], "ab") == fingerprint([other], "ab")
    (True, False)
    """
    digest = hashlib.blake2b(data.encode(), digest_size=16)
    for mask in masks:
        digest.update(str(mask.shape).encode() + mask.tobytes())
    return digest.hexdigest()


@functools.lru_cache(maxsize=8)
def _fitted(folder: str, size: tuple[int, int]) -> Tensor:
    """All masks of a folder, resized by nearest neighbour, (M, H, W) float32; those that lose their hole are left out."""
    fitted = []
    for mask in mask_files(folder):
        # the source pixel under the centre of each target pixel
        rows, columns = ((np.arange(to) * 2 + 1) * of // (2 * to) for to, of in zip(size, mask.shape, strict=True))
        scaled = mask[rows[:, None], columns]
        if scaled.any() and not scaled.all():
            fitted.append(scaled)
    if not fitted:
        raise UsageError(
            f"masks={folder!r}: no mask keeps a hole at {size[0]}×{size[1]} px; give masks with larger holes."
        )
    return torch.from_numpy(np.stack(fitted)).float()


def from_files(draws: Draws, size: tuple[int, int], folder: str) -> Tensor:
    """A random mask of the folder for each image, resized to it, (B, 1, H, W) float32 with 1 = missing."""
    masks = _fitted(folder, size)
    chosen = draws.integers(0, len(masks))
    return masks.to(chosen.device)[chosen][:, None]
