# SPDX-License-Identifier: Apache-2.0
"""A first convolution that is computed from training images rather than learned: it whitens their patches."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

__all__ = ["fit_whitening", "whitening"]

_SIDE = 2  # px of a patch
_EPSILON = 5e-4  # added to each variance: patches of a plain ground hardly vary along most directions
_PATCHES = 2_000_000  # that are looked at, at most


def whitening(channels: int) -> nn.Conv2d:
    """A convolution of 2×2 px whose weights stay as they are; until `fit_whitening` is called, each filter is a pixel, or its negative.

    >>> whitening(1)(torch.eye(2)[None, None]).flatten().tolist()
    [1.0, 0.0, 0.0, 1.0, -1.0, 0.0, 0.0, -1.0]
    """
    count = _SIDE**2 * channels
    layer = nn.Conv2d(channels, 2 * count, _SIDE, bias=False).requires_grad_(False)
    _set(layer, torch.eye(count, dtype=torch.float64))
    return layer


@torch.no_grad()
def fit_whitening(layer: nn.Conv2d, images: Tensor) -> None:
    """Set the filters to the principal components of the images' patches, each scaled to unit variance, and to their negatives.

    With both signs, a ReLU behind it loses nothing (Page 2019; Jordan 2024, section 3.2).

    Args:
        layer: as `whitening` gives it.
        images: (N, C, H, W), normalised. Of many and large ones, some spread evenly are looked at.
    """
    height, width = images.shape[2:]
    number = max(1, min(len(images), _PATCHES // (height * width)))
    chosen = images[torch.linspace(0, len(images) - 1, number).round().long()]
    patches = F.unfold(chosen.float(), _SIDE).transpose(1, 2).flatten(0, 1).double()  # (N·(H - 1)·(W - 1), 4·C)
    variances, directions = torch.linalg.eigh(torch.cov(patches.T))  # ascending; a column is a direction
    largest = directions.gather(0, directions.abs().argmax(0, keepdim=True))
    directions = directions * largest.sign()  # of the two signs, the one whose largest part is positive
    _set(layer, (directions / (variances.clamp_min(0) + _EPSILON).sqrt()).T.flip(0))


def _set(layer: nn.Conv2d, filters: Tensor) -> None:
    """The filters (4·C, 4·C), a row each, and their negatives."""
    layer.weight.data.copy_(torch.cat([filters, -filters]).view_as(layer.weight))
