# SPDX-License-Identifier: Apache-2.0
"""Grey and colour: images brought to one channel or to three, as whole numbers and as floats."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

__all__ = ["LUMA", "bytes_to_channels", "luma", "to_channels", "unit"]

LUMA = (0.299, 0.587, 0.114)
"""Weights of red, green and blue in the brightness of a pixel (ITU-R BT.601)."""


def luma(images: Tensor) -> Tensor:
    """The brightness of float colour images: (…, 3, H, W) to (…, 1, H, W).

    >>> luma(torch.ones(2, 3, 4, 4)).shape
    torch.Size([2, 1, 4, 4])
    """
    return (images * torch.tensor(LUMA, device=images.device).view(3, 1, 1)).sum(-3, keepdim=True)


def to_channels(images: Tensor, channels: int) -> Tensor:
    """Float images (…, C, H, W) with 1 or 3 channels: grey repeated without a copy, colour weighed by `LUMA`.

    >>> to_channels(torch.zeros(1, 4, 4), 3).shape
    torch.Size([3, 4, 4])
    """
    if images.shape[-3] == channels:
        return images
    if channels == 3:
        return images.expand(*images.shape[:-3], 3, -1, -1)
    return luma(images)


def unit(images: Tensor) -> Tensor:
    """uint8 and uint16 images as float32 in [0, 1]; float ones as they are.

    >>> unit(torch.tensor([0, 255], dtype=torch.uint8)).tolist()
    [0.0, 1.0]
    """
    if images.dtype == torch.uint8:
        return images.float().div_(255)
    return images.float().div_(65535) if images.dtype == torch.uint16 else images


def bytes_to_channels(image: NDArray[Any], channels: int) -> NDArray[Any]:
    """One image (C, H, W) uint8 or uint16 with 1 or 3 channels; colour becomes grey as in Pillow's `convert("L")`.

    >>> bytes_to_channels(np.full((3, 1, 1), 200, np.uint8), 1).tolist()
    [[[200]]]
    """
    if image.shape[0] == channels:
        return image
    if channels == 3:
        return np.repeat(image, 3, axis=0)
    # `LUMA` in units of 1/65536, rounded: the whole-number form that Pillow uses
    weights = np.array([19595, 38470, 7471], np.uint32)
    grey = (np.tensordot(weights, image.astype(np.uint32), axes=1) + 0x8000) >> 16
    return grey.astype(image.dtype)[None]
