# SPDX-License-Identifier: Apache-2.0
"""What inpainting is measured by, the classical ways to do it, and pictures of any size in overlapping windows."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F

from pellucid.data.decoding import workers
from pellucid.tasks._fidelity import ssim_map
from pellucid.tasks._tiling import triangle
from pellucid.tasks.inpaint.fill import diffused, mean_filled

__all__ = ["CLASSICAL", "columns", "fill", "in_windows"]

_LEAST = 1e-10  # mean squared error of 100 dB
_RADIUS = 3  # px, the neighbourhood of OpenCV's methods, as in its own examples
_AT_ONCE = 4_000_000  # pixels of windows that go through a model together

Image = NDArray[np.float32]  # (C, H, W) in [0, 1]
Hole = NDArray[np.bool_]  # (H, W)
CLASSICAL = ("mean fill", "diffusion", "biharmonic", "Telea", "Navier–Stokes")
"""The ways of `fill`."""


def columns(answer: Tensor, truth: Tensor, mask: Tensor) -> dict[str, NDArray[Any]]:
    """What is measured of each picture, inside its hole only: PSNR in dB, SSIM, mean absolute error, share of the area.

    >>> truth, mask = torch.zeros(1, 1, 16, 16), torch.zeros(1, 1, 16, 16)
    >>> mask[..., 4:8, 4:8] = 1
    >>> found = columns(truth + 0.1 * mask, truth, mask)
    >>> round(float(found["psnr"][0]), 2), round(float(found["mae"][0]), 2), float(found["missing"][0])
    (20.0, 0.1, 0.0625)

    Args:
        answer: (B, C, H, W) in [0, 1], the known pixels being the true ones.
        truth: (B, C, H, W) in [0, 1].
        mask: (B, 1, H, W), 1 = missing. SSIM is the mean over the windows whose centre is missing.
    """
    missing = mask.sum((1, 2, 3)).clamp_min(1)
    values, difference = missing * truth.shape[1], (answer - truth) * mask
    squared = difference.square().sum((1, 2, 3)) / values
    found = {
        "psnr": -10 * squared.clamp_min(_LEAST).log10(),
        "ssim": (ssim_map(answer, truth) * mask).sum((1, 2, 3)) / missing,
        "mae": difference.abs().sum((1, 2, 3)) / values,
        "missing": mask.mean((1, 2, 3)),
    }
    return {name: value.cpu().numpy() for name, value in found.items()}


def fill(way: str, images: Sequence[Image], holes: Sequence[Hole]) -> list[Image]:
    """Pictures with their holes filled in one of the classical ways, in parallel; values in [0, 1].

    biharmonic: scikit-image's (Damelin & Hoang 2018); Telea (2004) and Navier–Stokes (Bertalmio et al. 2001): OpenCV's, on
    8 bits; diffusion: Laplace's equation, which is also what stands in the hole when a network begins.

    >>> image, hole = np.full((1, 9, 9), 0.5, np.float32), np.zeros((9, 9), bool)
    >>> hole[3:5, 3:6] = True
    >>> [round(float(fill(way, [image], [hole])[0][0, 4, 4]), 2) for way in CLASSICAL]
    [0.5, 0.5, 0.5, 0.5, 0.5]
    """
    with ThreadPoolExecutor(workers()) as pool:
        found = pool.map(_WAYS[way], images, holes)
        return [
            np.where(hole, np.clip(one, 0, 1), image).astype(np.float32)
            for one, image, hole in zip(found, images, holes, strict=True)
        ]


def _by(rule: Callable[[Tensor, Tensor], Tensor]) -> Callable[[Image, Hole], Image]:
    def run(image: Image, hole: Hole) -> Image:
        filled: Image = rule(torch.from_numpy(image)[None], torch.from_numpy(hole).float()[None, None])[0].numpy()
        return filled

    return run


def _biharmonic(image: Image, hole: Hole) -> Image:
    from skimage.restoration import inpaint_biharmonic

    return inpaint_biharmonic(image, hole, channel_axis=0, split_into_regions=True)  # type: ignore[no-any-return]


def _opencv(flag: str) -> Callable[[Image, Hole], Image]:
    def run(image: Image, hole: Hole) -> Image:
        import cv2

        pixels = np.ascontiguousarray((image * 255).round().astype(np.uint8).transpose(1, 2, 0))
        filled: NDArray[Any] = cv2.inpaint(pixels, hole.astype(np.uint8), _RADIUS, getattr(cv2, flag))
        return (filled.reshape(pixels.shape).transpose(2, 0, 1) / 255).astype(np.float32)

    return run


_WAYS: dict[str, Callable[[Image, Hole], Image]] = {
    "mean fill": _by(mean_filled),
    "diffusion": _by(diffused),
    "biharmonic": _biharmonic,
    "Telea": _opencv("INPAINT_TELEA"),
    "Navier–Stokes": _opencv("INPAINT_NS"),
}


def in_windows(model: Callable[[Tensor], Tensor], input: Tensor, window: tuple[int, int]) -> Tensor:
    """The model's pictures for inputs of any size, from overlapping windows that have a part of a hole in them.

    Windows overlap by half or more, and each counts most at its centre (a triangular weight), so that no seam shows. Where no
    window is needed, the image itself stands in the answer.

    >>> input = torch.zeros(1, 2, 30, 21); input[:, 1, 10:20, 3:9] = 1
    >>> in_windows(lambda part: part[:, :1] + 0.5 * part[:, 1:], input, (8, 8))[0, 0, 15, 3:5]
    tensor([0.5000, 0.5000])

    Args:
        model: takes (n, C + 1, h, w) and gives (n, C, h, w).
        input: (B, C + 1, H, W); the last plane is the mask, 1 = missing.
        window: (h, w) in px.
    """
    height, width = input.shape[2:]
    if (height, width) == tuple(window):
        return model(input).float()
    short = [max(0, side - have) for side, have in zip(window, (height, width), strict=True)]
    padded = F.pad(input, (0, short[1], 0, short[0]), mode="replicate")
    starts = [_starts(have, side) for have, side in zip(padded.shape[2:], window, strict=True)]
    weights = triangle(window[0], input)[:, None] * triangle(window[1], input)  # (h, w)
    total = torch.zeros_like(padded[:, :-1])
    weight = torch.zeros_like(padded[:, -1:])
    places = [
        (row, top, left)
        for row in range(len(input))
        for top in starts[0]
        for left in starts[1]
        if bool(padded[row, -1, top : top + window[0], left : left + window[1]].any())
    ]
    group = max(1, _AT_ONCE // (window[0] * window[1]))
    for start in range(0, len(places), group):
        some = places[start : start + group]
        parts = torch.stack([padded[b, :, y : y + window[0], x : x + window[1]] for b, y, x in some])
        for (b, y, x), answer in zip(some, model(parts).float(), strict=True):
            total[b, :, y : y + window[0], x : x + window[1]] += answer * weights
            weight[b, :, y : y + window[0], x : x + window[1]] += weights
    answered = torch.where(weight > 0, total / weight.clamp_min(1e-6), padded[:, :-1])
    return answered[:, :, :height, :width]


def _starts(length: int, side: int) -> list[int]:
    """Where windows begin, so that the last one ends with the image."""
    return sorted({min(start, length - side) for start in range(0, length, max(1, side // 2))})
