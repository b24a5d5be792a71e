# SPDX-License-Identifier: Apache-2.0
"""Windows of activations: which part of a map a change reaches, and cutting and pasting such parts for many places at once.

A place is a row and a column in the grid of patch positions. Kernels are separable, so intervals are kept for each axis: (N, 2)
arrays of [first, last + 1). All maps are channels_last, and a batch of windows is (R·C, channels, h, w): R rows of places times
C columns.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import final

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F

__all__ = ["Ints", "Span", "Window", "cut", "gridded", "padded", "paste", "slid", "span", "spread", "steps", "together"]

Ints = NDArray[np.int64]  # positions (N,) or intervals (N, 2)


@final
@dataclass(frozen=True)
class Span:
    """Along one axis: where the window of each place starts, and the size that all share."""

    starts: Ints  # (N,)
    size: int

    def moved(self, by: int) -> Span:
        """The same windows in the coordinates of a map padded (by > 0) or cropped (by < 0) at its start."""
        return Span(self.starts + by, self.size)


@final
@dataclass(frozen=True)
class Window:
    """The changed part of a map, for R × C places; the rest of the map is that of the uncovered image."""

    data: Tensor  # (R·C, channels, h, w), channels_last
    rows: Span
    columns: Span


def span(interval: Ints, length: int) -> Span:
    """Windows of one size, inside a map of `length`, that hold each interval.

    >>> span(np.array([[0, 3], [2, 6], [5, 8]]), 8)
    Span(starts=array([0, 2, 4]), size=4)
    """
    size = int((interval[:, 1] - interval[:, 0]).max())  # one size for all, so that they form one tensor
    return Span(np.minimum(interval[:, 0], length - size), size)


def slid(interval: Ints, kernel: int, stride: int, padding: int, dilation: int, length: int) -> Ints:
    """The outputs of a sliding kernel that see any part of each interval, in a map of `length`.

    >>> slid(np.array([[0, 1], [4, 6]]), kernel=3, stride=2, padding=1, dilation=1, length=8).tolist()
    [[0, 1], [2, 4]]
    """
    # output o sees the inputs o · stride − padding + {0, dilation, …, dilation · (kernel − 1)}; −(−a // b) rounds up
    first = -((-(interval[:, 0] + padding - dilation * (kernel - 1))) // stride)
    last = (interval[:, 1] - 1 + padding) // stride + 1
    return _inside(first, last, length)


def spread(interval: Ints, kernel: int, stride: int, padding: int, dilation: int, length: int) -> Ints:
    """The outputs of a transposed convolution that each interval reaches, in a map of `length`."""
    # input i reaches the outputs i · stride − padding + {0, dilation, …, dilation · (kernel − 1)}
    first = interval[:, 0] * stride - padding
    last = (interval[:, 1] - 1) * stride - padding + dilation * (kernel - 1) + 1
    return _inside(first, last, length)


def _inside(first: Ints, last: Ints, length: int) -> Ints:
    """Intervals inside [0, length), each with at least one element."""
    first = np.clip(first, 0, length - 1)
    return np.stack([first, np.clip(last, first + 1, length)], 1)


def steps(starts: Ints) -> Iterator[tuple[int, int, int]]:
    """Runs (from, to, step) in which starts grow by equal steps; a run can be cut out by strides alone.

    >>> list(steps(np.array([0, 0, 0, 1, 2, 3])))
    [(0, 3, 0), (3, 6, 1)]
    """
    begin = 0
    while begin < len(starts):
        end = begin + 1
        step = int(starts[end] - starts[begin]) if end < len(starts) else 0
        while end < len(starts) and step >= 0 and starts[end] - starts[end - 1] == step:
            end += 1
        yield begin, end, max(step, 0)
        begin = end


def cut(clean: Tensor, rows: Span, columns: Span) -> Tensor:
    """(R·C, channels, h, w): the windows of a map (1, channels, H, W) that is channels_last and contiguous.

    >>> map = torch.arange(16.0).reshape(1, 1, 4, 4).contiguous(memory_format=torch.channels_last)
    >>> cut(map, Span(np.array([0, 2]), 2), Span(np.array([1]), 1)).flatten(1).tolist()
    [[1.0, 5.0], [9.0, 13.0]]
    """
    channels, width = clean.shape[1], clean.shape[3]
    whole = torch.empty(
        (len(rows.starts), len(columns.starts), rows.size, columns.size, channels),
        dtype=clean.dtype,
        device=clean.device,
    )
    # a run of evenly spaced windows is a view of the map with overlapping strides: one copy for the whole run
    line = width * channels
    for top, bottom, down in steps(rows.starts):
        for left, right, across in steps(columns.starts):
            offset = clean.storage_offset() + int(rows.starts[top]) * line + int(columns.starts[left]) * channels
            whole[top:bottom, left:right] = clean.as_strided(
                (bottom - top, right - left, rows.size, columns.size, channels),
                (down * line, across * channels, line, channels, 1),
                offset,
            )
    return whole.flatten(0, 1).permute(0, 3, 1, 2)  # (R·C, channels, h, w), channels_last in memory


def paste(into: Tensor, rows: Span, columns: Span, window: Window) -> None:
    """Write a window's data into the windows `into` (R·C, channels, h, w) at rows and columns, where the two overlap."""
    shape = len(rows.starts), len(columns.starts)
    target = gridded(into, shape)  # (R, C, h, w, channels)
    source = gridded(window.data, shape)
    # places whose windows are offset equally are written at once
    for top, bottom, y in _alike(window.rows.starts - rows.starts):
        for left, right, x in _alike(window.columns.starts - columns.starts):
            here, there = _meeting(y, window.rows.size, rows.size)
            along, beside = _meeting(x, window.columns.size, columns.size)
            target[top:bottom, left:right, here, along] = source[top:bottom, left:right, there, beside]


def gridded(windows: Tensor, shape: tuple[int, int]) -> Tensor:
    """(R·C, channels, h, w) as (R, C, h, w, channels), without a copy where it is channels_last."""
    lines = windows.permute(0, 2, 3, 1)
    return lines.reshape(*shape, *lines.shape[1:])


def _alike(offsets: Ints) -> Iterator[tuple[int, int, int]]:
    """Runs (from, to, value) of equal offsets."""
    edges = [0, *(np.flatnonzero(np.diff(offsets)) + 1).tolist(), len(offsets)]
    for begin, end in itertools.pairwise(edges):
        yield begin, end, int(offsets[begin])


def _meeting(offset: int, size: int, room: int) -> tuple[slice, slice]:
    """Where a piece of `size` at `offset` overlaps [0, room), and which part of the piece that is."""
    first, last = max(offset, 0), min(offset + size, room)
    last = max(first, last)
    return slice(first, last), slice(first - offset, last - offset)


def padded(clean: Tensor, pads: Sequence[int], fill: float = 0.0) -> Tensor:
    """A map (1, C, H, W) with (left, right, top, bottom) px around it, channels_last."""
    whole = F.pad(clean, list(pads), value=fill) if any(pads) else clean
    return whole.contiguous(memory_format=torch.channels_last)


def together(sizes: Ints, weight: NDArray[np.float64], most: int) -> list[Ints]:
    """At most so many groups of places; the largest window in a group (N, layers) sets its size, and the waste is kept low.

    >>> [group.tolist() for group in together(np.array([[3], [9], [4], [9]]), np.ones(1), 2)]
    [[1, 3], [0, 2]]
    """
    # places with equal windows at every layer first, then the two groups whose merging costs least, and so on
    chains, member = np.unique(sizes, axis=0, return_inverse=True)
    groups = [(chain, np.flatnonzero(member.reshape(-1) == i)) for i, chain in enumerate(chains)]

    def cost(chain: Ints, places: Ints) -> float:
        return float((chain * weight).sum()) * len(places)

    while len(groups) > most:
        merged = [
            (cost(np.maximum(a[0], b[0]), np.concatenate([a[1], b[1]])) - cost(*a) - cost(*b), i, j)
            for i, a in enumerate(groups)
            for j, b in enumerate(groups[:i])
        ]
        _, i, j = min(merged)
        a, b = groups.pop(i), groups.pop(j)
        groups.append((np.maximum(a[0], b[0]), np.sort(np.concatenate([a[1], b[1]]))))
    return [places for _, places in groups]
