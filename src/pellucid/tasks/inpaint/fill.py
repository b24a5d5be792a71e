# SPDX-License-Identifier: Apache-2.0
"""What stands in a hole before a network has answered: the known pixels' colours, spread into it, or their mean."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

__all__ = ["diffused", "mean_filled"]

_SWEEPS = 12  # of averaging at each scale
_RADIUS = 0.99  # the spectral radius of Jacobi's iteration in a hole of 22 px: cos(π/22)


def mean_filled(images: Tensor, mask: Tensor) -> Tensor:
    """Images (B, C, H, W) whose holes (mask (B, 1, H, W), 1 = missing) have the mean colour of their known pixels.

    >>> mean_filled(torch.tensor([[[[0.2, 0.4, 9.0]]]]), torch.tensor([[[[0.0, 0.0, 1.0]]]]))
    tensor([[[[0.2000, 0.4000, 0.3000]]]])
    """
    known = 1 - mask
    mean = (images * known).sum((2, 3), keepdim=True) / known.sum((2, 3), keepdim=True).clamp_min(1)
    return torch.where(mask > 0, mean, images)


def diffused(images: Tensor, mask: Tensor) -> Tensor:
    """Images whose holes are filled as heat spreads from their edges: each pixel near the mean of its four neighbours.

    From the coarsest scale of a pyramid, where no hole is left, to the finest, with a dozen sweeps of Jacobi's iteration at
    each, accelerated by Chebyshev's polynomials (Golub & Varga 1961): Laplace's equation, nearly, in a time that does not
    depend on the holes.

    >>> ramp = torch.linspace(0, 1, 16).expand(1, 1, 16, 16)
    >>> mask = torch.zeros(1, 1, 16, 16); mask[..., 4:10, 4:10] = 1
    >>> bool((diffused(ramp * (1 - mask), mask) - ramp).abs().max() < 0.02)
    True

    Args:
        images: (B, C, H, W); what stands in the holes is not looked at.
        mask: (B, 1, H, W), 1 = missing.
    """
    known = 1 - mask
    scales = [(images * known, known)]
    while (
        max(scales[-1][0].shape[2:]) > 1
    ):  # a fixed number of scales, so that no answer waits for another image's hole
        values, known = scales[-1]
        height, width = values.shape[2:]
        odd = (0, width % 2, 0, height % 2)
        values, known = F.avg_pool2d(F.pad(values, odd), 2), F.avg_pool2d(F.pad(known, odd), 2)
        scales.append((values / known.clamp_min(0.25), (known > 0).to(values.dtype)))
    filled = scales[-1][0]
    for values, known in reversed(scales[:-1]):
        height, width = values.shape[2:]
        filled = F.interpolate(filled, scale_factor=2.0, mode="bilinear")[:, :, :height, :width]
        keep = known > 0
        filled = torch.where(keep, values, filled)
        before, weight = filled, 1.0
        for sweep in range(_SWEEPS if max(height, width) > 2 else 0):
            edge = F.pad(filled, (1, 1, 1, 1), mode="replicate")  # no heat leaves the picture
            sides = edge[:, :, :-2, 1:-1] + edge[:, :, 2:, 1:-1] + edge[:, :, 1:-1, :-2] + edge[:, :, 1:-1, 2:]
            weight = 1 / (1 - (_RADIUS**2 / (2 if sweep == 1 else 4 / weight))) if sweep else 1.0
            filled, before = torch.where(keep, values, before + weight * (sides / 4 - before)), filled
    return _within(filled, *scales[0])


def _within(filled: Tensor, values: Tensor, known: Tensor) -> Tensor:
    """No warmer and no colder than what is known: the accelerated sweeps can overshoot, and heat never does."""
    there = known > 0
    low = torch.where(there, values, torch.inf).amin((2, 3), keepdim=True)  # (B, C, 1, 1)
    high = torch.where(there, values, -torch.inf).amax((2, 3), keepdim=True)
    return torch.where(low <= high, torch.maximum(torch.minimum(filled, high), low), filled)
