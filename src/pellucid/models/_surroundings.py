# SPDX-License-Identifier: Apache-2.0
"""What is known around the holes of pictures, by which corrections to their fills are scaled."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

__all__ = ["relative", "surroundings"]

_REACH = 8  # px around a hole
_LEAST = 0.02  # added to the standard deviation, so that it can be a divisor


def surroundings(pictures: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
    """Mean (B, C, 1, 1) and standard deviation (B, 1, 1, 1) of the known pixels within 8 px of each picture's holes.

    >>> import torch
    >>> pictures, mask = torch.zeros(1, 1, 32, 32), torch.zeros(1, 1, 32, 32)
    >>> pictures[..., :16], mask[..., 12:20, 12:20] = 1.0, 1.0
    >>> [round(float(value), 2) for value in surroundings(pictures, mask)]
    [0.5, 0.52]
    """
    side = 2 * _REACH + 1
    # the maximum over a square is the maximum of its rows' maxima
    near = F.max_pool2d(mask, (side, 1), stride=1, padding=(_REACH, 0))
    ring = F.max_pool2d(near, (1, side), stride=1, padding=(0, _REACH)) * (1 - mask)
    count = ring.sum((2, 3), keepdim=True).clamp_min(1)
    mean = (pictures * ring).sum((2, 3), keepdim=True) / count
    variance = ((pictures - mean).square() * ring).sum((2, 3), keepdim=True) / count
    return mean, variance.mean(1, keepdim=True).sqrt() + _LEAST


def relative(features: Tensor, mask: Tensor, scale: Tensor) -> tuple[Tensor, Tensor]:
    """Normalised pictures with their mask as the last plane, in units of the contrast around the holes, and that unit.

    >>> given = torch.rand(2, 4, 16, 16)
    >>> [tuple(part.shape) for part in relative(given, (given[:, -1:] > 0.9).float(), torch.ones(1, 4, 1, 1))]
    [(2, 4, 16, 16), (2, 3, 1, 1)]

    Args:
        features: (B, C + 1, H, W).
        mask: (B, 1, H, W), 1 = missing.
        scale: (1, C + 1, 1, 1), by which the pictures were divided.

    Returns:
        The features, and the unit (B, C, 1, 1) in that of the images.
    """
    mean, deviation = surroundings(features[:, :-1], mask)
    return torch.cat([(features[:, :-1] - mean) / deviation, features[:, -1:]], dim=1), deviation * scale[:, :-1]
