# SPDX-License-Identifier: Apache-2.0
"""The pixels near the borders between classes, where segmentation is hardest."""

from __future__ import annotations

import torch
from torch import Tensor

from pellucid.data.targets import VOID

__all__ = ["NEAR", "near_borders"]

NEAR = 3  # px


def near_borders(truth: Tensor, radius: int = NEAR) -> Tensor:
    """(B, H, W) bool: the pixels with a pixel of another class within so many px (Kohli et al. 2009, section 4.2).

    Distances are between the centres of pixels. Void pixels are no class: their borders do not count, nor do they themselves.

    >>> near_borders(torch.tensor([[[0, 0, 0, 1, 1, VOID]]], dtype=torch.uint8), radius=1)[0, 0].tolist()
    [False, False, True, True, False, False]

    Args:
        truth: (B, H, W) uint8.
        radius: px.
    """
    height, width = truth.shape[1:]
    near = torch.zeros(truth.shape, dtype=torch.bool, device=truth.device)
    known = truth != VOID
    for down in range(radius + 1):
        for right in range(-radius, radius + 1):
            # each pair of pixels once
            if (down, right) <= (0, 0) or down**2 + right**2 > radius**2 or down >= height or abs(right) >= width:
                continue
            one = (..., slice(0, height - down), slice(max(0, -right), width - max(0, right)))
            other = (..., slice(down, height), slice(max(0, right), width - max(0, -right)))
            differ = (truth[one] != truth[other]) & known[one] & known[other]
            near[one] |= differ
            near[other] |= differ
    return near
