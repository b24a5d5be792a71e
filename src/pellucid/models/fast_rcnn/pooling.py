# SPDX-License-Identifier: Apache-2.0
"""What lies in a region of a map, at a fixed size: RoI pooling (Girshick 2015) and RoIAlign (He et al. 2017)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, TypeAlias

import torch
from torch import Tensor

__all__ = ["POOLS", "Pool", "pooled"]

Pool: TypeAlias = Literal["roi_pool", "roi_align"]
POOLS: tuple[Pool, ...] = ("roi_pool", "roi_align")


def pooled(kind: Pool, maps: Sequence[Tensor], strides: Sequence[int], corners: Tensor, bins: int) -> Tensor:
    """(B, R, C, bins, bins): what each map has in R regions of each image (B, R, 4), in px of the image."""
    from torchvision.ops import roi_align, roi_pool

    batch, regions = corners.shape[:2]
    images = torch.arange(batch, device=corners.device, dtype=corners.dtype)
    rois = torch.cat([images.repeat_interleave(regions)[:, None], corners.flatten(0, 1)], 1)
    if kind == "roi_pool":
        found = roi_pool(maps[0].float(), rois, bins, 1 / strides[0])
    else:
        found = roi_align(maps[0].float(), rois, bins, 1 / strides[0], 2, aligned=True)
    return found.view(batch, regions, *found.shape[1:])
