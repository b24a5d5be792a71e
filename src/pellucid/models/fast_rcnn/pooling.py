# SPDX-License-Identifier: Apache-2.0
"""What lies in a region of a map, at a fixed size: RoI pooling (Girshick 2015) and RoIAlign (He et al. 2017).

All regions of a batch are pooled at once, from one map or from several, each region from the map whose places suit its size.
Where torchvision compares the numbers of each bin one by one, the maximum of a bin is that of four windows here, whose sides
are powers of two: the maxima of all such windows of a map cost little, and four rows of channels are taken for each bin.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal, NamedTuple, TypeAlias, final

import torch
from torch import Tensor
from torch.nn import functional as F

from pellucid import _boxes

__all__ = ["POOLS", "Pool", "align", "max_pool", "pooled"]

Pool: TypeAlias = Literal["roi_pool", "roi_align"]
POOLS: tuple[Pool, ...] = ("roi_pool", "roi_align")

_SAMPLES = 2  # exact places a side of each bin of RoIAlign (He et al. 2017, section 3)
_AT_ONCE = 2048  # bins
_LOW = 0xFFFFFFFF  # the lower half of 64 bits


def pooled(kind: Pool, maps: Sequence[Tensor], strides: Sequence[int], corners: Tensor, bins: int) -> Tensor:
    """What R regions of each image (B, R, 4), in its px, have in the map that suits their size: (B, R, C, bins, bins).

    >>> maps = [torch.rand(2, 3, 8, 8)]
    >>> pooled("roi_pool", maps, [4], torch.tensor([[[0.0, 0, 16, 31]], [[8, 8, 12, 12]]]), 2).shape
    torch.Size([2, 1, 3, 2, 2])
    """
    found = (max_pool if kind == "roi_pool" else align)(maps, strides, corners, bins)
    return found.view(*corners.shape[:2], bins, bins, -1).permute(0, 1, 4, 2, 3)


class _Places(NamedTuple):
    """Where regions lie; all maps of all images are one list of places, each with a row of channels."""

    base: Tensor  # (n,) int64: the first place of each region's image in its map
    height: Tensor  # (n,) int64, of its map
    width: Tensor  # (n,)
    scale: Tensor  # (n, 1) places a px
    level: Tensor  # (n,) int64: which map


def _places(maps: Sequence[Tensor], strides: Sequence[int], corners: Tensor, bins: int) -> _Places:
    """Each region belongs to the coarsest map that still has a place for each of its bins (as in Lin et al. 2017, eq. 1)."""
    device, (batch, regions) = corners.device, corners.shape[:2]
    shapes = torch.tensor([list(own.shape[2:]) for own in maps], device=device)  # (L, 2)
    counts = [batch * own.shape[2] * own.shape[3] for own in maps]
    starts = torch.tensor([sum(counts[:i]) for i in range(len(counts))], device=device)
    image = torch.arange(batch, device=device)[:, None].expand(-1, regions).flatten()  # (n,)
    level = torch.zeros_like(image)
    if len(maps) > 1:
        sides = _boxes.areas(corners).flatten().clamp_min(1e-6).sqrt()
        level = (sides / (bins * strides[0])).log2().floor().clamp(0, len(maps) - 1).long()
    height, width = shapes[level].unbind(1)
    scale = 1 / torch.tensor(strides, dtype=torch.float32, device=device)[level][:, None]
    return _Places(starts[level] + image * height * width, height, width, scale, level)


def _rows(maps: Sequence[Tensor]) -> Tensor:
    """(places, C): the channels at each place, map after map, image after image."""
    return torch.cat([own.permute(0, 2, 3, 1).reshape(-1, own.shape[1]) for own in maps])


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
    batch, channels = maps[0].shape[:2]
    windows = _windows(maps, _places(maps, strides, corners, bins), corners.detach().float().flatten(0, 1), bins)
    if torch.compiler.is_exporting():  # other programs know the number of images no sooner than they run
        tables = _tables([own.float().permute(0, 2, 3, 1) for own in maps], bins)
        first = torch.arange(batch, device=corners.device)[:, None] * tables.shape[1]
        flat = _largest(tables.flatten(0, 1), [(rows + first).flatten() for rows in windows])
    else:
        flat = _LargestOfWindows.apply(windows, bins, torch.is_grad_enabled(), *maps)
    return flat.view(-1, bins, bins, channels)


def _windows(maps: Sequence[Tensor], places: _Places, corners: Tensor, bins: int) -> list[Tensor]:
    """Four windows that cover each bin: rows of the tables of its image, four of (B, R·bins²) int64.

    A bin without a place, beyond the edge of its map, has the last row.
    """
    start, count = _bins(corners, places, bins)  # (n, 2, bins) each
    sizes = [(own.shape[2], own.shape[3]) for own in maps]
    most = max(max(size) for size in sizes)
    exponent = torch.tensor([_power(side) for side in range(most + 1)], device=corners.device)[count]  # (n, 2, bins)
    # the first window begins with the bin, the second ends with it
    other = start + (count - 2**exponent).clamp_min(0)
    # the tables of a map lie one after another: exponents of x, those of y, maps
    areas = [height * width for height, width in sizes]
    shares = [(_exponents(height, bins), _exponents(width, bins)) for height, width in sizes]
    before = [0]
    for area, (tall, wide) in zip(areas, shares, strict=True):
        before.append(before[-1] + area * tall * wide)
    known = torch.tensor(
        [(start, area, area * wide) for start, area, (_, wide) in zip(before, areas, shares, strict=False)],
        device=corners.device,
    )
    origin, per_x, per_y = known[places.level][:, :, None].unbind(1)  # (n, 1) each
    last = torch.stack([places.height, places.width], 1)[:, :, None] - 1
    there = (count[:, 0, :, None] > 0) & (count[:, 1, None, :] > 0)  # (n, bins, bins)
    rows = []
    for y in (start, other):
        down = origin + exponent[:, 0] * per_y + y[:, 0].minimum(last[:, 0]) * places.width[:, None]
        for x in (start, other):
            right = exponent[:, 1] * per_x + x[:, 1].minimum(last[:, 1])
            row = torch.where(there, down[:, :, None] + right[:, None, :], before[-1])
            rows.append(row.view(maps[0].shape[0], -1))
    return rows


def _bins(corners: Tensor, places: _Places, bins: int) -> tuple[Tensor, Tensor]:
    """The first row and column of each region's bins, and how many there are, (n, 2, bins) int64 each (y before x)."""
    scaled = corners * places.scale
    ends = scaled.sign() * (scaled.abs() + 0.5).floor()  # halves are rounded away from 0, as in C
    first, last = ends[:, [1, 0]], ends[:, [3, 2]]  # (n, 2) y, x; the last place belongs to the region
    step = ((last - first + 1).clamp_min(1) / bins)[:, :, None]
    edges = torch.arange(bins + 1, dtype=torch.float32, device=corners.device)
    limit = torch.stack([places.height, places.width], 1)[:, :, None]
    start = (edges[:-1] * step).floor() + first[:, :, None]
    end = (edges[1:] * step).ceil() + first[:, :, None]
    low, high = (torch.minimum(side.long().clamp_min(0), limit) for side in (start, end))
    return low, (high - low).clamp_min(0)


def _exponents(side: int, bins: int) -> int:
    """How many powers of two the sides of windows need: two of them cover a bin, which has up to ⌈side / bins⌉ + 1 places."""
    return 1 + _power(min(side, -(-side // bins) + 1))


def _power(count: int) -> int:
    """The exponent of the least power of two that is at least half of a number of places.

    >>> [_power(count) for count in (1, 2, 3, 4, 5, 8, 9)]
    [0, 0, 1, 1, 2, 2, 3]
    """
    return max(0, (count - 1).bit_length() - 1)


def _tables(maps: Sequence[Tensor], bins: int, whole: Tensor | None = None) -> Tensor:
    """(B, rows, C): the largest values of all windows of maps (B, H, W, C) whose sides are powers of two.

    At the lower and right edges, where a window would leave the map, its number means nothing and is not asked for. The last
    row is 0. `whole` has room for them, where there is some already.
    """
    shares = [(_exponents(own.shape[1], bins), _exponents(own.shape[2], bins)) for own in maps]
    areas = [own.shape[1] * own.shape[2] for own in maps]
    if whole is None:
        count = sum(y * x * area for (y, x), area in zip(shares, areas, strict=True))
        whole = maps[0].new_empty(maps[0].shape[0], count + 1, maps[0].shape[3])
        whole[:, -1] = 0
    start = 0
    for own, (tall, wide), area in zip(maps, shares, areas, strict=True):
        tables = [whole[:, start + k * area : start + (k + 1) * area].view(own.shape) for k in range(tall * wide)]
        tables[0].copy_(own)
        for y in range(tall):
            if y:
                _merge(tables[(y - 1) * wide], tables[y * wide], 1, 2 ** (y - 1))
            for x in range(1, wide):
                _merge(tables[y * wide + x - 1], tables[y * wide + x], 2, 2 ** (x - 1))
        start += tall * wide * area
    return whole


def _merge(half: Tensor, into: Tensor, axis: int, step: int) -> None:
    """Windows of twice the length along an axis, from those of the length `step`."""
    inner = half.shape[axis] - step
    first, second, best = half.narrow(axis, 0, inner), half.narrow(axis, step, inner), into.narrow(axis, 0, inner)
    if torch.compiler.is_exporting():  # whoever runs the file may want gradients, which `out` refuses
        best.copy_(torch.maximum(first, second))
    else:
        torch.maximum(first, second, out=best)
    into.narrow(axis, inner, step).copy_(half.narrow(axis, inner, step))


def _largest(tables: Tensor, rows: Sequence[Tensor], into: Tensor | None = None, spare: Tensor | None = None) -> Tensor:
    """(n, C): the largest of several rows of the tables (rows, C)."""
    found = torch.index_select(tables, 0, rows[0], out=into)
    for other in rows[1:]:
        found = torch.maximum(found, torch.index_select(tables, 0, other, out=spare), out=into)
    return found


@final
class _LargestOfWindows(torch.autograd.Function):
    """The largest values of the bins, image after image, so that what is at work stays in the processor's cache.

    Where there is a gradient to come, value and place are one whole number, so that one comparison decides about both.
    """

    @staticmethod
    def forward(ctx: Any, windows: Sequence[Tensor], bins: int, wanted: bool, *maps: Tensor) -> Tensor:
        (batch, count), channels = windows[0].shape, maps[0].shape[1]
        found = torch.empty(batch, count, channels, device=maps[0].device)
        place = torch.empty(batch, count, channels, dtype=torch.int32, device=maps[0].device) if wanted else None
        spares = found.new_empty(2, min(count, _AT_ONCE), channels, dtype=torch.int64 if wanted else torch.float32)
        tables = None
        for image in range(batch):
            own = [one[image : image + 1].float().permute(0, 2, 3, 1) for one in maps]
            order = wanted and any(bool((one < 0).any()) for one in own)
            tables = _tables(_keys(own, order) if wanted else own, bins, tables)
            if wanted and image == 0:
                lanes = torch.arange(channels, device=found.device)
                tables[0, -1] = _LOW - lanes - sum(one.numel() for one in own)  # beyond the maps
            for start in range(0, count, _AT_ONCE):
                part = slice(start, start + _AT_ONCE)
                rows = [each[image, part] for each in windows]
                one, other = spares[:, : len(rows[0])]
                if place is None:
                    _largest(tables[0], rows, found[image, part], other)
                else:
                    best = _largest(tables[0], rows, one, other)
                    place[image, part] = best  # the lower half of it
                    bits = best.bitwise_right_shift_(32)
                    found[image, part].view(torch.int32).copy_(_ordered(bits.int()) if order else bits)
        ctx.save_for_backward(place)
        ctx.shapes, ctx.types = [own.shape for own in maps], [own.dtype for own in maps]
        return found.flatten(0, 1)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Any:
        place: Tensor = ctx.saved_tensors[0]  # (B, n, C)
        batch, _, channels = place.shape
        areas = [shape[2] * shape[3] for shape in ctx.shapes]
        total = gradients[0].new_zeros(batch, (sum(areas) + 1) * channels)  # the last place is none of the map's
        gradient = gradients[0].view(batch, -1)
        for image in range(batch):
            total[image].scatter_add_(0, place[image].bitwise_not().long().flatten(), gradient[image])
        parts = total.view(batch, -1, channels)[:, :-1].split(areas, 1)
        maps = zip(parts, ctx.shapes, ctx.types, strict=True)
        return None, None, None, *(part.transpose(1, 2).reshape(shape).to(kind) for part, shape, kind in maps)


def _keys(maps: Sequence[Tensor], order: bool) -> list[Tensor]:
    """Whole numbers in the order of the maps' values, and of equal ones the first place the largest.

    The lower half of each is −1 less its number in the list of all. Without values below 0, bits need no order.
    """
    keys, before = [], 0
    for own in maps:
        bits = (own + 0.0).contiguous().view(torch.int32)  # + 0: there are two zeros
        bits = _ordered(bits) if order else bits
        number = torch.arange(before, before + own[0].numel(), device=own.device).view(own.shape)
        keys.append((bits.long() << 32) | (_LOW - number))
        before += own[0].numel()
    return keys


def _ordered(bits: Tensor) -> Tensor:
    """Whole numbers in the order of the floating-point numbers of these 32 bits, and back."""
    return bits ^ ((bits >> 31) & 0x7FFFFFFF)


# -- RoIAlign


def align(maps: Sequence[Tensor], strides: Sequence[int], corners: Tensor, bins: int) -> Tensor:
    """(B·R, bins, bins, C): the mean of each bin at 2 × 2 exact places, between the map's places by linear interpolation.

    A place of a map stands for the middle of its px, as torchvision's `aligned=True` has it. The arguments are those of
    `max_pool`.
    """
    places = _places(maps, strides, corners, bins)
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
    values = _weighted(_rows(maps).float(), rows.reshape(-1, 16), shares.reshape(-1, 16))
    return values.view(-1, bins, bins, values.shape[1])


def _weighted(rows: Tensor, index: Tensor, weights: Tensor) -> Tensor:
    """(n, C): sums of rows with weights; `index` and `weights` (n, k)."""
    if torch.compiler.is_exporting():  # other programs know no bags
        found = rows.index_select(0, index[:, 0]) * weights[:, :1]
        for term in range(1, index.shape[1]):
            found = found + rows.index_select(0, index[:, term]) * weights[:, term : term + 1]
        return found
    return F.embedding_bag(index, rows, per_sample_weights=weights, mode="sum")
