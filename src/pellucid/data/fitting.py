# SPDX-License-Identifier: Apache-2.0
"""How images of other sizes come to the size of a training, and where their pixels are then.

Of an image (h, w) and a size (H, W), "squash" scales height and width apart; "crop" scales both by max(H/h, W/w) and takes the
middle; "pad" scales both by min(H/h, W/w) and adds what is missing in the median colour of the image's border.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F

from pellucid.data.dataset import Dataset, Split
from pellucid.data.decoding.pictures import resize
from pellucid.data.fits import Fit, inside
from pellucid.data.targets import Frames

__all__ = ["border", "fit_array", "fit_floats", "fit_maps", "framed", "frames", "placements", "with_fit"]

Floats = NDArray[np.float32]


def placements(sizes: NDArray[Any], size: tuple[int, int], fit: Fit) -> tuple[Floats, Floats]:
    """Where pixels of images are after they were fitted: x' = scale·x + offset, both (N, 2) as (x, y).

    >>> [part.tolist() for part in placements(np.array([[10, 20]]), (8, 8), "pad")]
    [[[0.4000000059604645, 0.4000000059604645]], [[0.0, 2.0]]]

    Args:
        sizes: (N, 2), height and width of the images in px.
        size: (H, W) that they get.
        fit: how.
    """
    own, wanted = np.asarray(sizes, np.float32).reshape(-1, 2), np.asarray(size, np.float32)
    scale: NDArray[Any]
    offset: NDArray[Any]
    if fit == "squash":
        scale, offset = wanted / own, np.zeros_like(own)
    elif fit == "crop":
        scale = np.repeat((wanted / own).max(1, keepdims=True), 2, 1)
        offset = (wanted - scale * own) / 2
    else:
        inner = np.array([inside(one, size) for one in np.asarray(sizes).tolist()], np.float32).reshape(-1, 2)
        scale, offset = inner / own, np.trunc((wanted - inner) / 2)
    return np.ascontiguousarray(scale[:, ::-1]), np.ascontiguousarray(offset[:, ::-1])


def fit_array(image: NDArray[Any], size: tuple[int, int], fit: Fit) -> NDArray[Any]:
    """An image (C, H, W) uint8 or uint16 fitted to a size; both are scaled with antialiasing.

    >>> image = np.tile(np.arange(8, dtype=np.uint8), (1, 4, 1))  # 4×8 px
    >>> fit_array(image, (4, 4), "crop")[0, 0].tolist(), fit_array(image, (4, 4), "pad").shape
    ([2, 3, 4, 5], (1, 4, 4))
    """
    if fit != "pad":
        return resize(image, size, fit)
    inner = resize(image, inside(image.shape[1:], size))
    return framed(inner, size, border(inner))


def border(image: NDArray[Any]) -> NDArray[Any]:
    """(C,): the median of each channel along the border of an image (C, H, W)."""
    edges = [image[:, :1], image[:, -1:], image[:, :, :1], image[:, :, -1:]]
    median: NDArray[Any] = np.median(np.concatenate([edge.reshape(len(image), -1) for edge in edges], 1), 1)
    return median.astype(image.dtype)


def framed(image: NDArray[Any], size: tuple[int, int], colour: NDArray[Any]) -> NDArray[Any]:
    """An image (C, h, w) in the middle of (H, W) px of a colour (C,)."""
    frame = np.tile(colour[:, None, None], (1, *size))
    top, left = ((want - have) // 2 for have, want in zip(image.shape[1:], size, strict=True))
    frame[:, top : top + image.shape[1], left : left + image.shape[2]] = image
    return frame


def fit_floats(images: Tensor, size: tuple[int, int], fit: Fit) -> Tensor:
    """Images (B, C, h, w) float in [0, 1], which are not rounded, fitted to a size."""
    if tuple(images.shape[2:]) == size:
        return images
    if fit == "squash":
        return F.interpolate(images, size, mode="bilinear", antialias=True)
    if fit == "pad":
        return fit_maps(images, size)[0]
    from PIL import Image

    from pellucid.data.decoding.pictures import fitted

    planes = images.detach().cpu().float().flatten(0, 1).numpy()  # (B·C, h, w)
    cut = np.stack([np.asarray(fitted(Image.fromarray(plane), size, fit)) for plane in planes])
    return torch.from_numpy(cut).view(*images.shape[:2], *size).to(images.device)


def fit_maps(images: Tensor, size: tuple[int, int]) -> tuple[Tensor, tuple[slice, slice]]:
    """Images (B, C, h, w) float padded to a size, and the rows and columns where they are in it."""
    inner = inside(images.shape[2:], size)
    small = (
        images if tuple(images.shape[2:]) == inner else F.interpolate(images, inner, mode="bilinear", antialias=True)
    )
    edges = [small[:, :, :1], small[:, :, -1:], small[..., :1], small[..., -1:]]
    colour = torch.cat([edge.flatten(2) for edge in edges], 2).quantile(0.5, 2)  # (B, C)
    top, left = ((want - have) // 2 for have, want in zip(inner, size, strict=True))
    rows, columns = slice(top, top + inner[0]), slice(left, left + inner[1])
    frame = colour[:, :, None, None].repeat(1, 1, *size)
    frame[:, :, rows, columns] = small
    return frame, (rows, columns)


def frames(split: Split, size: tuple[int, int]) -> Tensor | None:
    """(N, 4): where the whole of each image lies in px of a size; None where all of it fills that size."""
    if split.fit == "squash":
        return None
    scale, offset = map(torch.from_numpy, placements(split.images.sizes, size, split.fit))
    return Frames.of(scale, offset, torch.from_numpy(split.images.sizes.astype(np.float32)).flip(1)).corners


def with_fit(dataset: Dataset, fit: Fit) -> Dataset:
    """The dataset whose images come to one size in this way."""
    if all(split.fit == fit for split in dataset.splits.values()):
        return dataset
    return dataset.replace(splits={part: replace(split, fit=fit) for part, split in dataset.splits.items()})
