# SPDX-License-Identifier: Apache-2.0
"""The largest value of each bin as that of four windows whose sides are powers of two.

The maxima of all such windows of a map cost little where there are many regions.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from pellucid.models.fast_rcnn.regions import Bins, Places, channels_last

__all__ = ["covered", "exported_windows", "largest_windows", "table_rows", "windows_of"]

_BINS_AT_ONCE = 2048


def largest_windows(maps: Sequence[Tensor], windows: Sequence[Tensor], bins: int) -> Tensor:
    """(n, C): the largest value of each bin, image after image, so that what is at work stays in the processor's cache."""
    (batch, count), channels = windows[0].shape, maps[0].shape[1]
    found = maps[0].new_empty(batch, count, channels)
    spare = maps[0].new_empty(min(count, _BINS_AT_ONCE), channels)
    tables = None
    for image in range(batch):
        tables = _tables([channels_last(own[image : image + 1]) for own in maps], bins, tables)
        for start in range(0, count, _BINS_AT_ONCE):
            part = slice(start, start + _BINS_AT_ONCE)
            best = found[image, part]
            torch.index_select(tables[0], 0, windows[0][image, part], out=best)
            for rows in windows[1:]:
                other = torch.index_select(tables[0], 0, rows[image, part], out=spare[: len(best)])
                torch.maximum(best, other, out=best)
    return found.flatten(0, 1)


def exported_windows(maps: Sequence[Tensor], places: Places, found: Bins) -> Tensor:
    """The same for all images at once: other programs know the number of images no sooner than they run."""
    bins = found.length.shape[2]
    tables = _tables([own.float().permute(0, 2, 3, 1) for own in maps], bins)
    first = torch.arange(maps[0].shape[0], device=tables.device)[:, None] * tables.shape[1]
    flat, windows = tables.flatten(0, 1), windows_of(maps, places, found)
    best = flat.index_select(0, (windows[0] + first).flatten())
    for rows in windows[1:]:
        best = torch.maximum(best, flat.index_select(0, (rows + first).flatten()))
    return best


def covered(maps: Sequence[Tensor], places: Places, found: Bins) -> bool:
    """Whether four windows cover each bin; a region that reaches far beyond its map can have larger ones."""
    bins = found.length.shape[2]
    most = [[2 ** _exponents(side, bins) for side in own.shape[2:]] for own in maps]
    limit = torch.tensor(most, device=found.length.device)[places.level]  # (n, 2)
    return bool((found.length.amax(2) <= limit).all())


def windows_of(maps: Sequence[Tensor], places: Places, found: Bins) -> list[Tensor]:
    """Four windows that cover each bin: rows of the tables of its image, four of (B, R·bins²) int64.

    A bin without a place, beyond the edge of its map, has the last row.
    """
    start, count = found  # (n, 2, bins) each
    device, bins = count.device, count.shape[2]
    sizes = [(own.shape[2], own.shape[3]) for own in maps]
    most = max(max(size) for size in sizes)
    exponent = torch.tensor([_power(side) for side in range(most + 1)], device=device)[count]  # (n, 2, bins)
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
        device=device,
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


def _exponents(side: int, bins: int) -> int:
    """How many powers of two the sides of windows need: two of them cover a bin, which has up to ⌈side / bins⌉ + 1 places."""
    return 1 + _power(min(side, -(-side // bins) + 1))


def _power(count: int) -> int:
    """The exponent of the least power of two that is at least half of a number of places.

    >>> [_power(count) for count in (1, 2, 3, 4, 5, 8, 9)]
    [0, 0, 1, 1, 2, 2, 3]
    """
    return max(0, (count - 1).bit_length() - 1)


def table_rows(maps: Sequence[Tensor], bins: int) -> int:
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
