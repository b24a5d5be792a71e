# SPDX-License-Identifier: Apache-2.0
"""What lies in a region of a map, at a fixed size: RoI pooling (Girshick 2015) and RoIAlign (He et al. 2017).

All regions of a batch are pooled at once, from one map or from several, each region from the map whose places suit its size.

Where torchvision takes one number after another, there are two ways here, both by rows of channels: by places (`by_places`, with
gradients, and for few regions) and by windows (`by_windows`).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, TypeAlias

import torch
from torch import Tensor
from torch.nn import functional as F

from pellucid.models.fast_rcnn.by_places import LargestOfPlaces, Spans, spans_of
from pellucid.models.fast_rcnn.by_windows import covered, exported_windows, largest_windows, table_rows, windows_of
from pellucid.models.fast_rcnn.regions import bins_of, places_of_regions, rows_of

__all__ = ["POOLS", "Pool", "align", "max_pool", "pooled"]

Pool: TypeAlias = Literal["roi_pool", "roi_align"]
POOLS: tuple[Pool, ...] = ("roi_pool", "roi_align")

_CACHED = 2**25  # bytes of an image's windows up to which they are found and read quickly
_DEARER, _DEARER_BEYOND = 3.0, 1.3  # the time that a row of a place takes over that of a row of a window, as measured
_SAMPLES = 2  # exact places a side of each bin of RoIAlign (He et al. 2017, section 3)


def pooled(kind: Pool, maps: Sequence[Tensor], strides: Sequence[int], corners: Tensor, bins: int) -> Tensor:
    """What R regions of each image (B, R, 4), in its px, have in the map that suits their size: (B, R, C, bins, bins).

    >>> maps = [torch.rand(2, 3, 8, 8)]
    >>> pooled("roi_pool", maps, [4], torch.tensor([[[0.0, 0, 16, 31]], [[8, 8, 12, 12]]]), 2).shape
    torch.Size([2, 1, 3, 2, 2])
    """
    found = (max_pool if kind == "roi_pool" else align)(maps, strides, corners, bins)
    return found.view(*corners.shape[:2], bins, bins, -1).permute(0, 1, 4, 2, 3)


# -- RoI pooling


def max_pool(maps: Sequence[Tensor], strides: Sequence[int], corners: Tensor, bins: int) -> Tensor:
    """(B·R, bins, bins, C): the largest value of each bin, by Girshick's rule: bins are rounded to places, and may overlap.

    The gradient goes to the place of the largest value; of equal ones, to the first by row and column.

    Args:
        maps: (B, C, H_i, W_i) each.
        strides: px from one place to the next, for each map.
        corners: (B, R, 4) in px.
        bins: of each side.
    """
    places = places_of_regions(maps, strides, corners, bins)
    found = bins_of(corners.detach().float().flatten(0, 1), places, bins)
    wanted = torch.is_grad_enabled() and any(own.requires_grad for own in maps)
    # other programs cannot sort bins by their number of places
    if torch.compiler.is_exporting():
        flat = exported_windows(maps, places, found)
    else:
        spans = spans_of(places, found)
        if wanted or _few(maps, spans, bins) or not covered(maps, places, found):
            flat = LargestOfPlaces.apply(spans, wanted, *maps)
        else:
            flat = largest_windows(maps, windows_of(maps, places, found), bins)
    return flat.view(-1, bins, bins, maps[0].shape[1])


def _few(maps: Sequence[Tensor], spans: Spans, bins: int) -> bool:
    """Whether the places of all bins cost less than windows do: the maxima of an image's windows, then four of them for each bin."""
    rows = table_rows(maps, bins)
    cached = rows * maps[0].shape[1] * maps[0].element_size() < _CACHED
    windows = maps[0].shape[0] * rows + 4 * len(spans.total)
    return (_DEARER if cached else _DEARER_BEYOND) * int(spans.total.sum()) < windows


# -- RoIAlign


def align(maps: Sequence[Tensor], strides: Sequence[int], corners: Tensor, bins: int) -> Tensor:
    """(B·R, bins, bins, C): the mean of each bin at 2 × 2 exact places, between the map's places by linear interpolation.

    A place of a map stands for the middle of its px, as torchvision's `aligned=True` has it. The arguments are those of
    `max_pool`.
    """
    places = places_of_regions(maps, strides, corners, bins)
    scaled = corners.detach().float().flatten(0, 1) * places.scale - 0.5
    first, size = scaled[:, [1, 0]], scaled[:, [3, 2]] - scaled[:, [1, 0]]  # (n, 2) y, x
    steps = (torch.arange(bins * _SAMPLES, device=corners.device) + 0.5) / (bins * _SAMPLES)
    exact = first[:, :, None] + size[:, :, None] * steps  # (n, 2, bins·2)
    limit = torch.stack([places.height, places.width], 1)[:, :, None]
    inside = (exact >= -1) & (exact <= limit)  # what lies further outside counts as 0
    exact = torch.minimum(exact.clamp_min(0), (limit - 1).float())
    low = exact.floor()
    share = exact - low
    low = low.long()
    high = torch.minimum(low + 1, limit - 1)
    # (n, 2, bins, 4): the places on both sides of both samples of a bin, and their weights
    index = torch.stack([low, high], -1).unflatten(2, (bins, _SAMPLES)).flatten(3)
    weight = (torch.stack([1 - share, share], -1) * inside[..., None] / _SAMPLES).unflatten(2, (bins, _SAMPLES))
    weight = weight.flatten(3)
    rows = places.base[:, None, None] + index[:, 0] * places.width[:, None, None]  # (n, bins, 4) of y
    rows = rows[:, :, None, :, None] + index[:, 1][:, None, :, None, :]  # (n, bins, bins, 4, 4)
    shares = weight[:, 0][:, :, None, :, None] * weight[:, 1][:, None, :, None, :]
    values = _weighted(rows_of(maps).float(), rows.reshape(-1, 16), shares.reshape(-1, 16))
    return values.view(-1, bins, bins, values.shape[1])


def _weighted(rows: Tensor, index: Tensor, weights: Tensor) -> Tensor:
    """(n, C): sums of rows with weights; `index` and `weights` (n, k)."""
    if torch.compiler.is_exporting():  # other programs know no bags
        found = rows.index_select(0, index[:, 0]) * weights[:, :1]
        for term in range(1, index.shape[1]):
            found = found + rows.index_select(0, index[:, term]) * weights[:, term : term + 1]
        return found
    return F.embedding_bag(index, rows, per_sample_weights=weights, mode="sum")
