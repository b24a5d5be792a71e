# SPDX-License-Identifier: Apache-2.0
"""Inputs of any size through a model of one size: overlapping windows around the holes, blended."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn import functional as F

from pellucid.tasks._tiling import triangle

__all__ = ["in_windows"]

_AT_ONCE = 4_000_000  # pixels of windows that go through a model together


def in_windows(model: Callable[[Tensor], Tensor], input: Tensor, window: tuple[int, int]) -> Tensor:
    """The model's pictures for inputs of any size, from overlapping windows that contain part of a hole.

    Windows overlap by half or more, and each counts most at its centre (a triangular weight), so that no seam shows. Pixels
    that no window covers are those of the input.

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
    padded = F.pad(input, (0, short[1], 0, short[0]), mode="replicate")  # at least as large as a window
    starts = [_starts(have, side) for have, side in zip(padded.shape[2:], window, strict=True)]
    weights = triangle(window[0], input)[:, None] * triangle(window[1], input)  # (h, w)
    total = torch.zeros_like(padded[:, :-1])  # sum of weighted answers, (B, C, H', W')
    weight = torch.zeros_like(padded[:, -1:])  # and of the weights, (B, 1, H', W')
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
    """Where windows begin, at every half window; the last one ends with the image."""
    return sorted({min(start, length - side) for start in range(0, length, max(1, side // 2))})
