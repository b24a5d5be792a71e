# SPDX-License-Identifier: Apache-2.0
"""The largest value of each bin from all its places, and the gradient to where it is.

Bins of about the same number of places are taken together: the largest of these places' rows, and its position.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from typing import Any, NamedTuple, final

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from pellucid.models.fast_rcnn.regions import Bins, Places, rows_of

__all__ = ["LargestOfPlaces", "Spans", "spans_of"]

_AT_ONCE = 2**18  # numbers that are compared: they stay in the processor's cache
_PLACES = (0, 1, 2, 3, 4, 6, 9, 12, 16, 20, 25, 30, 36)  # in a bin: bins with up to so many are taken together
_GROWTH = 1.25  # of the larger ones, from one group to the next


class Spans(NamedTuple):
    """Where each bin lies, all (n,) int64."""

    first: Tensor  # its first place
    wide: Tensor  # places of a row of it
    total: Tensor  # of all of it; 0 beyond the edge of its map
    stride: Tensor  # places of a row of its map


def spans_of(places: Places, found: Bins) -> Spans:
    """The bins of all regions, row after row."""
    start, count = found  # (n, 2, bins) each
    bins = count.shape[2]
    first = start[:, 0, :, None] * places.width[:, None, None] + start[:, 1, None, :] + places.base[:, None, None]
    wide = count[:, 1, None, :].expand(-1, bins, -1)
    stride = places.width[:, None, None].expand(-1, bins, bins)
    return Spans(*(part.flatten() for part in (first, wide, count[:, 0, :, None] * wide, stride)))


@final
class LargestOfPlaces(torch.autograd.Function):
    """The largest values of bins (n, C), and on request where they are.

    What is kept for the gradient is small, as new memory costs more than most of what is computed here: of each number its
    position in its bin.
    """

    @staticmethod
    def forward(ctx: Any, spans: Spans, wanted: bool, *maps: Tensor) -> Tensor:
        rows = rows_of(maps)  # (places, C)
        channels = rows.shape[1]
        order, groups = _grouped(spans.total)
        spans = Spans(*torch.stack(spans, 1).index_select(0, order).unbind(1))
        found = rows.new_empty(len(order), channels)  # in this order, as are the positions
        largest = max((most for _, most in groups), default=0)
        position = found.new_empty(
            found.shape if wanted else (0, 0), dtype=torch.uint8 if largest <= 256 else torch.int32
        )
        kept = []
        for (start, end), most in groups:
            if not most:
                found[start:end] = 0
                continue
            places = _places_of(Spans(*(part[start:end] for part in spans)), most)  # (b, most)
            if wanted:
                kept.append(places * channels if most > 1 else places)  # of a single number, of a row
            for part in _parts(start, end, most * channels):
                best = rows.index_select(0, places[part.start - start : part.stop - start].flatten())
                if most > 1:  # a picture of one row for each bin: its maximum comes with its position
                    seen = best.view(-1, 1, most, channels).permute(0, 3, 1, 2)
                    best, which = (one.flatten(1) for one in F.max_pool2d_with_indices(seen, (1, most)))
                    if wanted:
                        position[part] = which
                found[part] = best
        # rows are gathered much faster than they are put somewhere
        found = found.index_select(
            0, torch.empty_like(order).index_copy_(0, order, torch.arange(len(order), device=order.device))
        )
        ctx.save_for_backward(order, position, *kept)
        ctx.groups, ctx.shapes, ctx.types = groups, [own.shape for own in maps], [own.dtype for own in maps]
        ctx.by_channel = [own.is_contiguous() for own in maps]
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
                gradient = given.index_select(0, order[part]).float()
                if most == 1:
                    total.view(-1, channels).index_add_(0, own[:, 0], gradient)
                    continue
                into = own.gather(1, position[part].long()).add_(lanes)
                total.scatter_add_(0, into.flatten(), gradient.flatten())
        flat = zip(total.split(counts), ctx.shapes, ctx.by_channel, strict=True)
        shaped = (_shaped(own.view(n, h * w, c), (n, c, h, w), by_channel) for own, (n, c, h, w), by_channel in flat)
        return None, None, *(own.to(kind) for own, kind in zip(shaped, ctx.types, strict=True))


def _shaped(rows: Tensor, shape: tuple[int, int, int, int], by_channel: bool) -> Tensor:
    """Rows (n, H·W, C) as a map, in the order that its map has: else it is put into this order later, and slowly."""
    if not by_channel:
        return rows.view(shape[0], shape[2], shape[3], shape[1]).permute(0, 3, 1, 2)
    found = rows.new_empty(shape)
    for into, own in zip(found.flatten(2), rows, strict=True):
        into.copy_(own.t())
    return found


def _grouped(counts: Tensor) -> tuple[Tensor, list[tuple[tuple[int, int], int]]]:
    """Bins by their number of places: an order (n,), and which of them have about the same number, at most so large.

    >>> order, groups = _grouped(torch.tensor([1, 5, 0, 6, 1]))
    >>> order.tolist(), groups
    ([2, 0, 4, 1, 3], [((0, 1), 0), ((1, 3), 1), ((3, 5), 6)])
    """
    most, limits = int(counts.max()) if len(counts) else 0, list(_PLACES)
    while limits[-1] < most:
        limits.append(int(_GROWTH * limits[-1]))
    limits_of = torch.bucketize(torch.arange(most + 1), torch.tensor(limits)).to(torch.uint8).to(counts.device)
    group = limits_of.index_select(0, counts)
    sizes = group.bincount(minlength=len(limits)).tolist()
    ends = list(itertools.accumulate(sizes))
    groups = [((end - size, end), most) for end, size, most in zip(ends, sizes, limits, strict=True) if size]
    if group.device.type == "cpu":  # NumPy sorts numbers of a byte by counting, in a twentieth of the time
        return torch.from_numpy(np.argsort(group.numpy(), kind="stable")), groups
    return group.sort(stable=True).indices, groups


def _parts(start: int, end: int, each: int) -> Iterator[slice]:
    """Bins from one position to another, in parts of a size that suits the processor; `each` numbers in a bin."""
    step = max(1, _AT_ONCE // each)
    return (slice(place, min(place + step, end)) for place in range(start, end, step))


def _places_of(spans: Spans, most: int) -> Tensor:
    """(n, most): the places of bins, row after row; the last one again where there are fewer.

    >>> one = Spans(*(torch.tensor([number]) for number in (20, 2, 4, 10)))
    >>> _places_of(one, 6).tolist()
    [[20, 21, 30, 31, 31, 31]]
    """
    if most == 1:
        return spans.first[:, None]
    step = torch.arange(most, dtype=torch.float32, device=spans.first.device)
    step = torch.minimum(step, spans.total[:, None] - 1.0)
    down = ((step + 0.5) / spans.wide[:, None]).floor()  # float32: faster, and exact for so few
    return spans.first[:, None] + (step + down * (spans.stride - spans.wide)[:, None]).long()
