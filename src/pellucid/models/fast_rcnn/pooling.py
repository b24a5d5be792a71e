# SPDX-License-Identifier: Apache-2.0
"""What lies in a region of a map, at a fixed size: RoI pooling (Girshick 2015) and RoIAlign (He et al. 2017).

All regions of a batch are pooled at once, from one map or from several, each region from the map whose places suit its size.

Where torchvision takes one number after another, there are two ways here, both by rows of channels. With gradients, bins of about
the same number of places are taken together: the largest of these places' rows, and its position. Without, the maximum of
a bin is that of four windows whose sides are powers of two: the maxima of all such windows of a map cost little where there are
many regions.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from typing import Any, Literal, NamedTuple, TypeAlias, final

import torch
from torch import Tensor
from torch.nn import functional as F

from pellucid import _boxes

__all__ = ["POOLS", "Pool", "align", "max_pool", "pooled"]

Pool: TypeAlias = Literal["roi_pool", "roi_align"]
POOLS: tuple[Pool, ...] = ("roi_pool", "roi_align")

_SAMPLES = 2  # exact places a side of each bin of RoIAlign (He et al. 2017, section 3)
_AT_ONCE = 2**18  # numbers that are compared: they stay in the processor's cache
_BINS_AT_ONCE = 2048
_PLACES = (0, 1, 2, 3, 4, 6, 9, 12, 16, 20, 25, 30, 36)  # in a bin: bins with up to so many are taken together
_GROWTH = 1.25  # of the larger ones, from one group to the next


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
    rows = [own.permute(0, 2, 3, 1).reshape(-1, own.shape[1]) for own in maps]
    return rows[0] if len(rows) == 1 else torch.cat(rows)


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
    places, boxes = _places(maps, strides, corners, bins), corners.detach().float().flatten(0, 1)
    wanted = torch.is_grad_enabled() and any(own.requires_grad for own in maps)
    # other programs cannot sort bins by their number of places
    if torch.compiler.is_exporting():
        flat = _exported_windows(maps, places, boxes, bins)
    else:
        spans = _spans(places, boxes, bins)
        few = 2 * int(spans.total.sum()) < maps[0].shape[0] * _table_rows(maps, bins)
        if wanted or few:
            flat = _LargestOfPlaces.apply(spans, wanted, *maps)
        else:
            flat = _largest_windows(maps, _windows(maps, places, boxes, bins), bins)
    return flat.view(-1, bins, bins, maps[0].shape[1])


# -- by places


class _Spans(NamedTuple):
    """Where each bin lies, all (n,) int64."""

    first: Tensor  # its first place
    wide: Tensor  # places of a row of it
    total: Tensor  # of all of it; 0 beyond the edge of its map
    stride: Tensor  # places of a row of its map


def _spans(places: _Places, corners: Tensor, bins: int) -> _Spans:
    """The bins of all regions, row after row."""
    start, count = _bins(corners, places, bins)  # (n, 2, bins) each
    first = start[:, 0, :, None] * places.width[:, None, None] + start[:, 1, None, :] + places.base[:, None, None]
    wide = count[:, 1, None, :].expand(-1, bins, -1)
    stride = places.width[:, None, None].expand(-1, bins, bins)
    return _Spans(*(part.flatten() for part in (first, wide, count[:, 0, :, None] * wide, stride)))


@final
class _LargestOfPlaces(torch.autograd.Function):
    """The largest values of bins (n, C), and on request where they are.

    What is kept for the gradient is small, as new memory costs more than most of what is computed here: of each number its
    position in its bin.
    """

    @staticmethod
    def forward(ctx: Any, spans: _Spans, wanted: bool, *maps: Tensor) -> Tensor:
        rows = _rows(maps)  # (places, C)
        channels = rows.shape[1]
        order, groups = _grouped(spans.total)
        spans = _Spans(*torch.stack(spans, 1).index_select(0, order).unbind(1))
        found = rows.new_empty(len(order), channels)
        largest = max((most for _, most in groups), default=0)
        position = found.new_empty(
            found.shape if wanted else (0, 0), dtype=torch.uint8 if largest <= 256 else torch.int32
        )
        kept = []
        for (start, end), most in groups:
            if not most:
                found.index_fill_(0, order[start:end], 0)
                continue
            places = _places_of(_Spans(*(part[start:end] for part in spans)), most)  # (b, most)
            kept.append(places)
            for part in _parts(start, end, most * channels):
                best = rows.index_select(0, places[part.start - start : part.stop - start].flatten())
                if most > 1:  # a picture of one row for each bin: its maximum comes with its position
                    seen = best.view(-1, 1, most, channels).permute(0, 3, 1, 2)
                    best, which = (one.flatten(1) for one in F.max_pool2d_with_indices(seen, (1, most)))
                    if wanted:
                        position[part] = which
                found.index_copy_(0, order[part], best)
        ctx.save_for_backward(order, position, *kept)
        ctx.groups, ctx.shapes, ctx.types = groups, [own.shape for own in maps], [own.dtype for own in maps]
        return found

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Any:
        order, position, *kept = ctx.saved_tensors
        given = gradients[0].contiguous()  # that of a sum is one number, repeated
        counts, channels = [shape.numel() for shape in ctx.shapes], position.shape[1]
        total, lanes = torch.zeros(sum(counts), device=order.device), torch.arange(channels, device=order.device)
        groups = [(span, most) for span, most in ctx.groups if most]
        for ((start, end), most), places in zip(groups, kept, strict=True):
            for part in _parts(start, end, channels):
                own = places[part.start - start : part.stop - start]  # (b, most)
                own = own if most == 1 else own.gather(1, position[part].long())
                gradient = given.index_select(0, order[part]).float()
                total.scatter_add_(0, torch.add(lanes, own, alpha=channels).flatten(), gradient.flatten())
        flat = zip(total.split(counts), ctx.shapes, strict=True)
        shaped = (own.view(n, h, w, c).permute(0, 3, 1, 2) for own, (n, c, h, w) in flat)
        return None, None, *(own.to(kind) for own, kind in zip(shaped, ctx.types, strict=True))


def _grouped(counts: Tensor) -> tuple[Tensor, list[tuple[tuple[int, int], int]]]:
    """Bins by their number of places: an order (n,), and which of them have about the same number, at most so large.

    >>> order, groups = _grouped(torch.tensor([1, 5, 0, 6, 1]))
    >>> order.tolist(), groups
    ([2, 0, 4, 1, 3], [((0, 1), 0), ((1, 3), 1), ((3, 5), 6)])
    """
    most, limits = int(counts.max()) if len(counts) else 0, list(_PLACES)
    while limits[-1] < most:
        limits.append(int(_GROWTH * limits[-1]))
    group = torch.bucketize(counts, torch.tensor(limits, device=counts.device))
    sizes = group.bincount(minlength=len(limits)).tolist()
    ends = list(itertools.accumulate(sizes))
    groups = [((end - size, end), most) for end, size, most in zip(ends, sizes, limits, strict=True) if size]
    return group.sort(stable=True).indices, groups


def _parts(start: int, end: int, each: int) -> Iterator[slice]:
    """Bins from one position to another, in parts of a size that suits the processor; `each` numbers in a bin."""
    step = max(1, _AT_ONCE // each)
    return (slice(place, min(place + step, end)) for place in range(start, end, step))


def _places_of(spans: _Spans, most: int) -> Tensor:
    """(n, most): the places of bins, row after row; the last one again where there are fewer.

    >>> one = _Spans(*(torch.tensor([number]) for number in (20, 2, 4, 10)))
    >>> _places_of(one, 6).tolist()
    [[20, 21, 30, 31, 31, 31]]
    """
    if most == 1:
        return spans.first[:, None]
    step = torch.arange(most, dtype=torch.float32, device=spans.first.device)
    step = torch.minimum(step, spans.total[:, None] - 1.0)
    down = ((step + 0.5) / spans.wide[:, None]).floor()  # float32: faster, and exact for so few
    return spans.first[:, None] + (step + down * (spans.stride - spans.wide)[:, None]).long()


# -- by windows


def _largest_windows(maps: Sequence[Tensor], windows: Sequence[Tensor], bins: int) -> Tensor:
    """(n, C): the largest value of each bin, image after image, so that what is at work stays in the processor's cache."""
    (batch, count), channels = windows[0].shape, maps[0].shape[1]
    found = maps[0].new_empty(batch, count, channels)
    spare = maps[0].new_empty(min(count, _BINS_AT_ONCE), channels)
    tables = None
    for image in range(batch):
        tables = _tables([own[image : image + 1].permute(0, 2, 3, 1) for own in maps], bins, tables)
        for start in range(0, count, _BINS_AT_ONCE):
            part = slice(start, start + _BINS_AT_ONCE)
            best = found[image, part]
            torch.index_select(tables[0], 0, windows[0][image, part], out=best)
            for rows in windows[1:]:
                other = torch.index_select(tables[0], 0, rows[image, part], out=spare[: len(best)])
                torch.maximum(best, other, out=best)
    return found.flatten(0, 1)


def _exported_windows(maps: Sequence[Tensor], places: _Places, corners: Tensor, bins: int) -> Tensor:
    """The same for all images at once: other programs know the number of images no sooner than they run."""
    tables = _tables([own.float().permute(0, 2, 3, 1) for own in maps], bins)
    first = torch.arange(maps[0].shape[0], device=corners.device)[:, None] * tables.shape[1]
    flat, windows = tables.flatten(0, 1), _windows(maps, places, corners, bins)
    found = flat.index_select(0, (windows[0] + first).flatten())
    for rows in windows[1:]:
        found = torch.maximum(found, flat.index_select(0, (rows + first).flatten()))
    return found


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


def _table_rows(maps: Sequence[Tensor], bins: int) -> int:
    """How many windows there are, whose sides are powers of two."""
    sides = [own.shape[2:] for own in maps]
    return sum(h * w * _exponents(h, bins) * _exponents(w, bins) for h, w in sides)


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
