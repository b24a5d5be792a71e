# SPDX-License-Identifier: Apache-2.0
"""Large images in tiles that overlap as far as the model sees, so that the answer is that of the whole image."""

from __future__ import annotations

from collections.abc import Callable
from weakref import WeakKeyDictionary

import numpy as np
import torch
from torch import Tensor, nn

from pellucid.tasks._tiling import tiled
from pellucid.tasks._wrapping import unwrapped

__all__ = ["in_tiles", "reach"]

_STEP = 64  # px: tiles begin at its multiples, as a model's coarsest grid does
_PROBES = (64, 192, 512)  # px around the probed place
_AT_ONCE = 1_500_000  # px of a tile, at most
_BLENDED = 512  # px a side, of tiles through a model that sees all of its image

_known: WeakKeyDictionary[nn.Module, int | None] = WeakKeyDictionary()


def reach(model: nn.Module, channels: int) -> int | None:
    """How far beyond a cut at a multiple of 64 px an answer can depend on what was cut off, in px; None for more than 512.

    Values that are not numbers go through the model from a square of 64 px: wherever they arrive, the answer depends on it.

    >>> reach(nn.Conv2d(1, 2, 5, padding=2), 1)
    2
    """
    inner = unwrapped(model)
    if inner not in _known:
        _known[inner] = _probed(model, channels)
    return _known[inner]


@torch.no_grad()
def _probed(model: nn.Module, channels: int) -> int | None:
    device = next((value.device for value in model.parameters()), torch.device("cpu"))
    for margin in _PROBES:
        side = _STEP + 2 * margin
        image = torch.full((1, channels, side, side), 0.5, device=device)
        image[:, :, margin : margin + _STEP, margin : margin + _STEP] = torch.nan
        touched = model(image).isnan().any(1)[0].cpu().numpy()  # (side, side)
        rows, columns = np.flatnonzero(touched.any(1)), np.flatnonzero(touched.any(0))
        if not len(rows):  # a model that hides them
            return None
        ends = margin - min(rows[0], columns[0]), max(rows[-1], columns[-1]) - (margin + _STEP - 1)
        if max(ends) < margin:
            return int(max(*ends, 0))
    return None


def in_tiles(answer: Callable[[Tensor], Tensor], images: Tensor, margin: int | None) -> Tensor:
    """The answers (B, K, H, W) for images (B, C, H, W), tile by tile.

    Each tile is answered with a margin around it, which is cut off: a pixel's answer is that of the whole image where the
    model sees no farther than the margin. Without one (None), tiles are blended instead.

    >>> in_tiles(nn.Identity(), torch.ones(1, 1, 70, 90), 0).shape
    torch.Size([1, 1, 70, 90])

    Args:
        answer: takes images of any size.
        images: of any size.
        margin: px.
    """
    if margin is None:
        side = (min(_BLENDED, images.shape[2]), min(_BLENDED, images.shape[3]))
        return tiled(_Called(answer), images, side)
    # a maximum that is put back at its place can move within its window, which the probe does not show: half a step more
    around = -(-(margin + _STEP // 2) // _STEP) * _STEP
    core = max(_STEP, (int(_AT_ONCE**0.5) - 2 * around) // _STEP * _STEP)
    height, width = images.shape[2:]
    whole: Tensor | None = None
    for top in range(0, height, core):
        for left in range(0, width, core):
            y, x = max(0, top - around), max(0, left - around)
            part = answer(images[:, :, y : top + core + around, x : left + core + around])
            own = part[:, :, top - y : top - y + core, left - x : left - x + core]
            if whole is None:
                whole = own.new_empty(len(images), own.shape[1], height, width)
            whole[:, :, top : top + core, left : left + core] = own
    assert whole is not None, "an image has pixels"
    return whole


class _Called(nn.Module):
    """A function as a module."""

    def __init__(self, function: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self._function = function

    def forward(self, images: Tensor) -> Tensor:
        return self._function(images)
