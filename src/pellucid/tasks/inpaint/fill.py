# SPDX-License-Identifier: Apache-2.0
"""What fills the hole of a network's input: the colours around it, diffused into it, or the mean of the known pixels."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

__all__ = ["diffused", "mean_filled"]

_SWEEPS = 12  # of averaging at each scale
_RADIUS = 0.99  # the spectral radius of Jacobi's iteration in a hole of 22 px: cos(π/22)


def mean_filled(images: Tensor, mask: Tensor) -> Tensor:
    """Images (B, C, H, W) with the mean colour of their known pixels in the holes (mask (B, 1, H, W), 1 = missing).

    >>> mean_filled(torch.tensor([[[[0.2, 0.4, 9.0]]]]), torch.tensor([[[[0.0, 0.0, 1.0]]]]))
    tensor([[[[0.2000, 0.4000, 0.3000]]]])
    """
    known = 1 - mask
    mean = (images * known).sum((2, 3), keepdim=True) / known.sum((2, 3), keepdim=True).clamp_min(1)  # (B, C, 1, 1)
    return torch.where(mask > 0, mean, images)


def diffused(images: Tensor, mask: Tensor) -> Tensor:
    """Images with their holes filled as heat spreads from the edges: each pixel close to the mean of its four neighbours.

    An approximate solution of Laplace's equation, in a time that does not depend on the holes: from the coarsest scale of a
    pyramid, where no hole is left, to the finest, with a dozen Jacobi sweeps at each, accelerated by Chebyshev polynomials
    (Golub & Varga 1961).

    >>> ramp = torch.linspace(0, 1, 16).expand(1, 1, 16, 16)
    >>> mask = torch.zeros(1, 1, 16, 16); mask[..., 4:10, 4:10] = 1
    >>> bool((diffused(ramp * (1 - mask), mask) - ramp).abs().max() < 0.02)
    True

    Args:
        images: (B, C, H, W); the values in the holes are ignored.
        mask: (B, 1, H, W), 1 = missing.
    """
    known = 1 - mask
    scales = [(images * known, known)]
    # a fixed number of scales, so that an answer does not depend on the other images of its batch
    while max(scales[-1][0].shape[2:]) > 1:
        values, known = scales[-1]
        height, width = values.shape[2:]
        odd = (0, width % 2, 0, height % 2)
        # means of the known pixels of each 2×2 block: a block with one known pixel has the weight ¼
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
            # Chebyshev's weights: ω₁ = 1, ω₂ = 1/(1 − ρ²/2), ωₖ₊₁ = 1/(1 − ρ²ωₖ/4)
            weight = 1 / (1 - (_RADIUS**2 / (2 if sweep == 1 else 4 / weight))) if sweep else 1.0
            filled, before = torch.where(keep, values, before + weight * (sides / 4 - before)), filled
    return _within(filled, *scales[0])


def _within(filled: Tensor, values: Tensor, known: Tensor) -> Tensor:
    """The fill, no brighter and no darker than the known pixels: accelerated sweeps can overshoot, heat never does."""
    there = known > 0
    low = torch.where(there, values, torch.inf).amin((2, 3), keepdim=True)  # (B, C, 1, 1)
    high = torch.where(there, values, -torch.inf).amax((2, 3), keepdim=True)
    # an image without any known pixel has low > high, and no bounds
    return torch.where(low <= high, torch.maximum(torch.minimum(filled, high), low), filled)
