# SPDX-License-Identifier: Apache-2.0
"""How light varies between images of the same content, and from it the light that training varies."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Self, final

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from pellucid._spread import evenly_spread
from pellucid.data.batches import Store
from pellucid.data.transforms import polynomials
from pellucid.tasks.cluster.baselines import histograms

__all__ = ["Light", "differences"]

_IMAGES = 600  # that are compared
_SIDE = 32  # px: larger images are averaged down to this
_DARK = 1 / 64  # added to intensities before the logarithm, about the noise of a camera
_MATCH = 0.5  # stops: where two images differ by more than light explains, their content differs
_STEPS = 8  # of reweighted least squares
_RIDGE = 0.03  # share of the weight; it keeps a field small where nothing shows it
# stops from which shading shows that light varies; exposure and contrast alone differ by ink, paper and camera, too
_SHADED = 0.1
# the range of a uniform amount over the median difference of two of them, which is (2 − √2)/2 of it: a view must be able to
# bring an image from one end of the range to the other
_RANGE = 2 / (2 - math.sqrt(2))
# the largest absolute value of a linear field over its root mean square, for a random direction: √3·4/π
_PEAK = 4 * math.sqrt(3) / math.pi


@final
@dataclass(frozen=True)
class Light:
    """How far training images are brightened, shaded and changed in contrast; all are 0 where light does not vary."""

    exposure: float = 0.0  # stops each way
    shading: float = 0.0  # stops at most at any place
    contrast: float = 0.0  # share each way

    @classmethod
    def of(cls, images: Store) -> Self:
        """The light that varies between the images most alike, among at most 600."""
        index = torch.from_numpy(evenly_spread(_IMAGES, len(images)))
        if len(index) < 3:
            return cls()
        batches = [images.batch(part).images.float() / 255 for part in index.split(100)]
        shrunk = torch.cat([_shrink(batch) for batch in batches])
        exposure, shading, contrast = (float(value.median()) for value in differences(shrunk))
        if shading < _SHADED:
            return cls()
        # the amount of a field is drawn between 0 and its largest, so twice its mean; from one end to the other it is twice that
        return cls(
            round(min(exposure * _RANGE, 2.0), 2),
            round(min(shading * _PEAK * 4, 3.0), 2),
            round(min(contrast * _RANGE, 0.6), 2),
        )


def differences(images: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Differences between each image (N, C, H, W) and the one most alike: exposure, shading, contrast, (N,) each.

    Alike are images with the nearest histograms of oriented gradients, which are hardly changed by light. The logarithm of
    their ratio is fitted by a plane over the picture, by least squares with weights that fall where the plane does not
    explain the ratio (Geman & McClure 1987): there the content differs, not the light. Dark places count less, as they
    show less light. The exposure is the plane's mean in stops, the shading its root mean square around it, divided by √2
    as two images share in it; the contrast is the logarithm of the ratio of (high − low)/(high + low), between the 5 % and
    the 95 % quantile.

    >>> ramp = torch.exp2(torch.linspace(-0.5, 0.5, 16)).expand(16, 16)  # a plane of one stop from side to side
    >>> scene = 0.2 + 0.3 * (torch.arange(16) // 4 % 2).float()[:, None].expand(16, 16)
    >>> exposure, shading, contrast = differences(torch.stack([scene, scene * ramp])[:, None])
    >>> round(float(exposure[0]), 1), round(float(shading[0]) * 2**0.5, 1)  # a plane's root mean square is 1/√12
    (0.0, 0.3)
    """
    from scipy.spatial import cKDTree

    found = histograms(images.numpy())
    nearest = torch.from_numpy(np.asarray(cKDTree(found).query(found, 2)[1][:, 1]))
    grey = images.mean(1).flatten(1)  # (N, H·W)
    other = grey[nearest]
    planes = polynomials(*images.shape[2:])[:3]  # (3, H·W): 1, x, y
    ratio = torch.log2((grey + _DARK) / (other + _DARK))
    shown = torch.minimum(grey, other)
    weight = shown
    for _ in range(_STEPS):
        ridge = (_RIDGE * weight.sum(1) + 1e-6)[:, None, None] * torch.eye(3)
        products = torch.einsum("kp,np,lp->nkl", planes, weight, planes) + ridge
        amounts = torch.linalg.solve(products, torch.einsum("kp,np->nk", planes, weight * ratio))  # (N, 3)
        field = amounts @ planes
        weight = shown / (1 + ((ratio - field) / _MATCH) ** 2)
    weight = weight / weight.sum(1, keepdim=True).clamp_min(1e-9)
    exposure = (weight * field).sum(1)
    shading = (weight * (field - exposure[:, None]) ** 2).sum(1).sqrt() / math.sqrt(2)
    low, high = torch.quantile(grey, torch.tensor([0.05, 0.95]), dim=1)
    relative = torch.log((high - low + _DARK) / (high + low + _DARK))
    return exposure.abs(), shading, (relative - relative[nearest]).abs()


def _shrink(images: Tensor) -> Tensor:
    """Images whose longer side is at most 32 px, averaged over the pixels."""
    scale = _SIDE / max(images.shape[2:])
    if scale >= 1:
        return images
    height, width = (max(1, round(side * scale)) for side in images.shape[2:])
    return F.adaptive_avg_pool2d(images, (height, width))
