# SPDX-License-Identifier: Apache-2.0
"""Ridge regression from the surroundings of a hole at a fixed place to what belongs in it: the simple method for aligned pictures."""

from __future__ import annotations

import math
from typing import NamedTuple, Self, final

import torch
from torch import Tensor
from torch.nn import functional as F

from pellucid.tasks.inpaint.fill import diffused

__all__ = ["Ridge"]

_CELLS = 4000  # of the coarse picture that is seen, at most
_RING = 6  # px around the hole that are seen one by one
_SHARE = 0.5  # of the coarse cells' weight that each of them has
_LEAST = 0.02  # of a picture's contrast, so that it can be a divisor
_FLOOR = 1e-5  # mean squared error of 50 dB, as in the training's loss
_PENALTIES = torch.logspace(-5, 0, 11, dtype=torch.float64)  # of the largest eigenvalue


class _Seen(NamedTuple):
    """What is seen of pictures with a hole, and what their fills lack."""

    features: Tensor  # (N, F) in units of each picture's contrast
    filled: Tensor  # (N, C·M): the diffusion fill of the M missing pixels
    contrast: Tensor  # (N, 1)


@final
class Ridge:
    """What the diffusion fill of a hole lacks, as a linear function of its surroundings (Hoerl & Kennard 1970).

    The surroundings are the picture in blocks, at most 4,000, and the pixels within 6 px of the hole, in units of the
    picture's contrast. The penalty is the one with the least error of pictures that are left out, one at a time, in closed
    form (Allen 1974): the geometric mean over them of the mean squared error, as PSNR counts it.

    >>> mask = torch.zeros(1, 1, 16, 16); mask[..., 6:10, 6:10] = 1
    >>> draws = torch.Generator().manual_seed(0)
    >>> rows = torch.rand(40, 1, 16, 1, generator=draws).expand(-1, -1, -1, 16)  # a hole in stripes: its sides tell all
    >>> ridge = Ridge.fit(rows[:30], mask)
    >>> bool((ridge(rows[30:]) - rows[30:]).abs().max() < 0.05)
    True
    """

    def __init__(self, mask: Tensor, centre: Tensor, mean: Tensor, weights: Tensor, penalty: float) -> None:
        self.mask = mask  # (1, 1, H, W), 1 = missing
        self.penalty = penalty  # share of the largest eigenvalue
        self._centre, self._mean, self._weights = centre, mean, weights  # (F,), (C·M,), (F, C·M)

    @classmethod
    def fit(cls, images: Tensor, mask: Tensor) -> Self:
        """From complete pictures (N, C, H, W) in [0, 1], at least three, and the one mask (1, 1, H, W) of all holes."""
        seen = _seen(images, mask)
        wanted = ((_missing(images, mask) - seen.filled) / seen.contrast).double()
        centre, mean = seen.features.double().mean(0), wanted.mean(0)
        features, wanted = seen.features.double() - centre, wanted - mean
        # the solution lies in the span of the pictures, which are fewer than what is seen of them
        values, vectors = torch.linalg.eigh(features @ features.T)
        values, inside = values.clamp_min(0), vectors.T @ wanted
        scale = (seen.contrast**2).double()  # errors count in [0, 1] units
        best, penalty = math.inf, 0.0
        for share in _PENALTIES.tolist():
            kept = values / (values + share * values.max().clamp_min(1e-12))
            # of the picture's own share in its answer, which leaving it out takes away; the mean has 1/N
            own = 1 - (vectors.square() @ kept)[:, None] - 1 / len(images)
            errors = (
                ((wanted - vectors @ (kept[:, None] * inside)) / own.clamp_min(1e-6)).square().mean(1, keepdim=True)
            )
            score = float((errors * scale + _FLOOR).log().mean())
            if score < best:
                best, penalty = score, share
        divisor = values + penalty * values.max().clamp_min(1e-12)
        weights = features.T @ (vectors @ (inside / divisor[:, None]))
        return cls(mask, centre.float(), mean.float(), weights.float(), penalty)

    def __call__(self, images: Tensor) -> Tensor:
        """Pictures (B, C, H, W) with their holes filled; what lies in the holes does not count."""
        seen = _seen(images, self.mask)
        found = seen.filled + seen.contrast * ((seen.features - self._centre) @ self._weights + self._mean)
        whole = images.clone()
        whole[(self.mask > 0).expand_as(images)] = found.clamp(0, 1).flatten()
        return whole


def _seen(images: Tensor, mask: Tensor) -> _Seen:
    filled = diffused(images, mask.expand(len(images), -1, -1, -1))
    height, width = mask.shape[2:]
    side = max(1, math.ceil(math.sqrt(images.shape[1] * height * width / _CELLS)))
    known = F.max_pool2d(mask, side, ceil_mode=True)[0, 0] == 0  # blocks without a missing pixel
    coarse = F.avg_pool2d(filled, side, ceil_mode=True)[:, :, known].flatten(1)  # (N, C·cells)
    ring = (F.max_pool2d(mask, 2 * _RING + 1, stride=1, padding=_RING) - mask)[0, 0] > 0
    near = filled[:, :, ring].flatten(1)  # (N, C·pixels)
    seen = torch.cat([coarse, near], dim=1)
    mean = seen.mean(1, keepdim=True)
    contrast = seen.std(1, keepdim=True) + _LEAST
    features = (seen - mean) / contrast
    features[:, coarse.shape[1] :] *= _SHARE
    return _Seen(features, _missing(filled, mask), contrast)


def _missing(images: Tensor, mask: Tensor) -> Tensor:
    """The values in the hole, (N, C·M)."""
    return images[:, :, mask[0, 0] > 0].flatten(1)
