# SPDX-License-Identifier: Apache-2.0
"""Contextual attention: missing parts of a feature map are put together from its known patches (Yu et al. 2018, section 4.1)."""

from __future__ import annotations

from contextlib import nullcontext

import torch
from torch import Tensor
from torch.nn import functional as F

__all__ = ["RATE", "attention", "filled", "pasted", "usable"]

RATE = 2
"""Patches are matched at half of the features' resolution, as in the paper."""

_SCALE = 10.0  # λ of the softmax, eq. 4
_AT_ONCE = 2**26  # weights that are kept at a time: 256 MB


def filled(features: Tensor, missing: Tensor | None) -> Tensor:
    """Features whose missing places are put together from patches of the known ones; the others are unchanged.

    Where nothing can be copied, because every patch of the map has a missing place, they become 0.

    >>> stripes = torch.tensor([1.0, 1.0, 0.0, 0.0]).repeat(6).expand(1, 1, 24, 24)
    >>> missing = torch.zeros(1, 1, 24, 24); missing[..., 8:12, 10:14] = 1
    >>> found = filled(stripes * (1 - missing) + 0.2 * missing, missing)
    >>> [round(value, 2) for value in found[0, 0, 9, 8:16].tolist()]
    [1.0, 1.0, 0.0, 0.0, 1.0, 1.0, 0.0, 0.0]

    Args:
        features: (B, C, H, W), with even H and W.
        missing: (B, 1, H, W), 1 = missing; None: each place is put together from all others.
    """
    if (
        missing is None or features.requires_grad or torch.compiler.is_compiling()
    ):  # a traced file takes any number of images
        return _filled(features, missing)
    places = features.shape[2] * features.shape[3] // RATE**2
    several = max(1, _AT_ONCE // places**2)
    parts = zip(features.split(several), missing.split(several), strict=True)
    return torch.cat([_filled(one, hole) for one, hole in parts])


def _filled(features: Tensor, missing: Tensor | None) -> Tensor:
    device = features.device.type
    exact = torch.autocast(device, enabled=False) if torch.is_autocast_enabled(device) else nullcontext()
    with exact:  # bf16's three digits are too few for the exponents of a softmax
        values = features.float() if features.dtype in (torch.bfloat16, torch.float16) else features
        small = values[:, :, ::RATE, ::RATE]
        if missing is None:
            others = 1 - torch.eye(small.shape[2] * small.shape[3], dtype=small.dtype, device=small.device)
            return pasted(values, attention(small, others[None])).to(features.dtype)
        weights = attention(small, usable(missing))
        return torch.where(missing > 0.5, pasted(values, weights), values).to(features.dtype)


def usable(missing: Tensor) -> Tensor:
    """Which patches can be copied, (B, 1, H/2·W/2): 1 for those of 3×3 places at half of the resolution with nothing missing."""
    coarse = F.max_pool2d(missing, RATE)
    return 1 - F.max_pool2d(coarse, 3, stride=1, padding=1).flatten(2)


def attention(features: Tensor, allowed: Tensor) -> Tensor:
    """How much each place takes from each patch, (B, N, N): the rows are places, and sum to 1, or 0 if no patch may be taken.

    The cosine similarity of patches of 3×3 (eq. 3); what neighbours on both sides look at, shifted by as much, is added along
    the rows and along the columns (eq. 5, attention propagation), and a softmax chooses among the patches. As in the paper's
    code, the softmax comes last; unlike there, a neighbour beyond the edge of the picture counts nothing.

    >>> weights = attention(torch.rand(2, 4, 5, 6), (torch.arange(30) > 10).float().expand(2, 1, 30))
    >>> weights.shape, round(float(weights[0, 3].sum()), 4), float(weights[..., :11].sum())
    (torch.Size([2, 30, 30]), 1.0, 0.0)

    Args:
        features: (B, C, h, w), with N = h·w.
        allowed: (B, 1, N), or (1, N, N) for each place by itself: 1 for patches that may be taken, else 0.
    """
    height, width = features.shape[2:]
    patches = F.normalize(_patches(features), dim=1, eps=1e-4)  # (B, 9·C, N)
    similar = patches.transpose(1, 2) @ patches  # (B, places, patches)
    grid = similar.unflatten(2, (height, width)).unflatten(1, (height, width))  # (B, h, w, h, w)
    scores = _propagated(_propagated(grid, (2, 4)), (1, 3)).flatten(3).flatten(1, 2)
    allowed = allowed.to(scores.dtype)
    # a finite number: were no patch allowed, a row of infinities would have no softmax
    return torch.softmax(_SCALE * scores - 1e4 * (1 - allowed), dim=2) * allowed


def pasted(features: Tensor, weights: Tensor) -> Tensor:
    """The features (B, C, H, W) put together from patches of 4×4 by their weights (B, N, N); the mean where they overlap.

    Patches overlap by half: 4×4 places are four blocks of 2×2, and one place of the weights is two places wide.

    >>> features = torch.rand(2, 3, 4, 6)
    >>> torch.allclose(pasted(features, torch.eye(6).expand(2, 6, 6)), features)
    True
    """
    height, width = features.shape[2] // RATE, features.shape[3] // RATE
    corners = [(row, column) for row in range(2) for column in range(2)]
    # one place around, so that patches have the middle of their place in their own middle
    blocks = F.pixel_unshuffle(F.pad(features, (1, 1, 1, 1)), RATE)  # (B, 4·C, h + 1, w + 1)
    raw = torch.cat([blocks[:, :, y : y + height, x : x + width] for y, x in corners], dim=1)  # (B, 16·C, h, w)
    taken = (raw.flatten(2) @ weights.transpose(1, 2)).unflatten(2, (height, width))
    parts = [
        F.pad(part, (x, 1 - x, y, 1 - y)) for part, (y, x) in zip(taken.chunk(4, dim=1), corners, strict=True)
    ]  # (B, 4·C, h + 1, w + 1) each
    ones = features.new_ones(1, 1, height, width)
    count = torch.stack([F.pad(ones, (x, 1 - x, y, 1 - y)) for y, x in corners]).sum(0)
    whole = F.pixel_shuffle(torch.stack(parts).sum(0) / count, RATE)
    return whole[:, :, 1:-1, 1:-1]


def _patches(features: Tensor) -> Tensor:
    """The 3×3 places around each place, zeros beyond the edge: (B, 9·C, N)."""
    height, width = features.shape[2:]
    around = F.pad(features, (1, 1, 1, 1))
    shifted = [around[:, :, y : y + height, x : x + width] for y in range(3) for x in range(3)]
    return torch.cat(shifted, dim=1).flatten(2)


def _propagated(grid: Tensor, axes: tuple[int, int]) -> Tensor:
    """Σ s(place + i, patch + i) over i = −1, 0, 1 along one direction of both: an identity convolution with a kernel of 3."""
    place, patch = axes
    length = grid.shape[place]
    edge = [0] * 10
    for axis in axes:  # F.pad counts from the last axis
        edge[2 * (4 - axis)] = edge[2 * (4 - axis) + 1] = 1
    around = F.pad(grid, edge)
    shifted = [around.narrow(place, i, length).narrow(patch, i, length) for i in range(3)]
    return shifted[0] + shifted[1] + shifted[2]
