# SPDX-License-Identifier: Apache-2.0
"""Images far larger than those of the training: overlapping tiles at the training's scale, and their boxes merged.

An object near a border is seen in several tiles: whole in some, and cut in those whose border it crosses. What a tile finds
nearer to its border than half of the overlap is left to its neighbour, which sees it deeper inside: an object that is no
larger than the overlap is whole there. Of what is left, two boxes of different tiles are the same object if they agree where
both tiles see it. Then a whole box stays and a cut one goes; of whole ones, one that is clear of its tile's borders stays,
the surer of two such, else the larger; and boxes that are all cut, as the object is larger than the overlap, become the box around them.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F

from pellucid import _boxes
from pellucid.data.batches import resize
from pellucid.data.colour import unit

__all__ = ["Found", "merged", "starts", "tiled"]

_AT_ONCE = 16  # tiles
_AGREE = 0.5  # IoU, where two tiles see the same, from which their boxes are one object
_ADDS = 1.4  # a cut box belongs to a whole one if the box around both is at most so many times as large
_NEAR = 2.0, 0.015  # px that the model sees, and share of a tile: a box that ends so near a border may be cut by it
_CLEAR = 4.0  # times as far: a detector's box of a cut object may end a little before the border


class Found(NamedTuple):
    """Boxes with their classes and scores."""

    corners: Tensor  # (n, 4) px
    labels: Tensor  # (n,) int64
    scores: Tensor  # (n,)


def starts(length: int, tile: int, overlap: float) -> list[int]:
    """Where tiles begin along a side, evenly spread; neighbours share at least a part of `overlap`.

    >>> starts(100, 40, 0.25), starts(30, 40, 0.25)
    ([0, 30, 60], [0])
    """
    if length <= tile:
        return [0]
    step = max(1, tile - math.ceil(overlap * tile))
    gaps = math.ceil((length - tile) / step)
    return [round(k * (length - tile) / gaps) for k in range(gaps + 1)]


def tiled(
    see: Callable[[Tensor], Sequence[Found]],
    image: Tensor,
    tile: tuple[int, int],
    size: tuple[int, int],
    overlap: float,
    device: torch.device | str = "cpu",
) -> Found:
    """What is found in an image of any size, in its px.

    Args:
        see: what is found in tiles (n, C, H, W), float32 in [0, 1], in their px.
        image: (C, H, W), uint8 or float32 in [0, 1].
        tile: (H, W) in px of the image; where the image is smaller, its edge is repeated.
        size: (H, W) to which a tile is resized for `see`.
        overlap: the share of a tile that the next one sees too, at least.
        device: of the tiles for `see`.
    """
    height, width = image.shape[1:]
    rows, columns = starts(height, tile[0], overlap), starts(width, tile[1], overlap)
    places = [(top, left) for top in rows for left in columns]
    near = [max(_NEAR[0] * one / seen, _NEAR[1] * one) for one, seen in zip(tile, size, strict=True)]
    cores = torch.tensor(
        [
            [x[0], y[0], x[1], y[1]]
            for y in _cores(rows, tile[0], height, near[0])
            for x in _cores(columns, tile[1], width, near[1])
        ]
    )
    scale = torch.tensor([tile[1] / size[1], tile[0] / size[0]]).repeat(2)
    frame = torch.tensor([width, height], dtype=torch.float32)
    found: list[Found] = []
    for start in range(0, len(places), _AT_ONCE):
        own = places[start : start + _AT_ONCE]
        tiles = _cut(image, own, tile, size).to(device)
        for (top, left), core, seen in zip(own, cores[start:], see(tiles), strict=False):
            shift = torch.tensor([left, top], dtype=torch.float32).repeat(2)
            corners = seen.corners.cpu() * scale + shift
            centre = (corners[:, :2] + corners[:, 2:]) / 2
            inside = ((centre >= core[:2]) & (centre <= core[2:])).all(1)
            corners = _boxes.clip(corners, (height, width))
            found.append(Found(corners[inside], seen.labels.cpu()[inside], seen.scores.cpu()[inside]))
    frames = torch.tensor([[x, y, x + tile[1], y + tile[0]] for y, x in places], dtype=torch.float32)
    return merged(found, torch.minimum(frames, frame.repeat(2)), (height, width), (near[0], near[1]))


def _cores(begun: Sequence[int], tile: int, length: int, near: float) -> list[tuple[float, float]]:
    """From where to where the centres lie that each tile of a side answers for: to the middle of the overlap, and a little more.

    >>> _cores([0, 30, 60], 40, 100, 1.0)
    [(0.0, 36.0), (34.0, 66.0), (64.0, 100.0)]
    """
    middles = [(after + before + tile) / 2 for before, after in itertools.pairwise(begun)]
    lows, highs = [0.0, *(middle - near for middle in middles)], [*(middle + near for middle in middles), float(length)]
    return list(zip(lows, highs, strict=True))


def _cut(image: Tensor, places: Sequence[tuple[int, int]], tile: tuple[int, int], size: tuple[int, int]) -> Tensor:
    """The tiles (n, C, H, W) of an image that begin at these rows and columns, float32, at the size that the model takes."""
    cuts, lacking = [], []
    for top, left in places:
        cuts.append(image[:, top : top + tile[0], left : left + tile[1]])
        lacking.append((tile[0] - cuts[-1].shape[1], tile[1] - cuts[-1].shape[2]))
    if image.dtype == torch.uint8:  # resized as images of 8 bits are everywhere else
        pixels: NDArray[np.uint8] = np.empty((len(places), image.shape[0], *size), np.uint8)
        for row, part, (down, right) in zip(pixels, cuts, lacking, strict=True):
            row[:] = resize(np.pad(part.numpy(), ((0, 0), (0, down), (0, right)), mode="edge"), size)
        return unit(torch.from_numpy(pixels))
    whole = [
        F.pad(part[None], (0, right, 0, down), mode="replicate")
        for part, (down, right) in zip(cuts, lacking, strict=True)
    ]
    return torch.cat([F.interpolate(part, size, mode="bilinear", antialias=True) for part in whole])


def merged(found: Sequence[Found], frames: Tensor, size: tuple[int, int], near: tuple[float, float]) -> Found:
    """The boxes of all tiles with each object once, from the best score to the least.

    >>> left, right = torch.tensor([[30.0, 5, 50, 25]]), torch.tensor([[40.0, 5, 60, 25], [70, 5, 80, 25]])
    >>> one = [Found(boxes, torch.zeros(len(boxes), dtype=torch.int64), torch.full((len(boxes),), 0.9)) for boxes in (left, right)]
    >>> frames = torch.tensor([[0.0, 0, 50, 50], [40, 0, 90, 50]])  # the first object is 30 px wide, and each tile sees 20
    >>> merged(one, frames, (50, 90), (1, 1)).corners.tolist()
    [[30.0, 5.0, 60.0, 25.0], [70.0, 5.0, 80.0, 25.0]]

    Args:
        found: the boxes of each tile, in px of the image.
        frames: (T, 4), the tiles.
        size: (H, W) of the image.
        near: px up and down, and px across: a box that ends so near a border inside the image counts as cut by it.
    """
    corners, labels, scores = (torch.cat(column) for column in zip(*found, strict=True))
    tiles = list(zip(found, frames, strict=True))
    cut = torch.cat([_ends_near(own.corners, frame, size, near) for own, frame in tiles])
    far = (_CLEAR * near[0], _CLEAR * near[1])
    doubtful = torch.cat([_ends_near(own.corners, frame, size, far) for own, frame in tiles])
    partners: dict[int, list[int]] = {}
    for one, other in _same(found, frames, cut):
        partners.setdefault(one, []).append(other)
        partners.setdefault(other, []).append(one)
    # whole boxes first, those that are clear of borders before others, and each kind from the best on; of boxes that end near
    # a border the larger ones, as a part is smaller than the whole
    quality = torch.where(doubtful & ~cut, _boxes.areas(corners), scores)
    order = np.lexsort((-quality.numpy(), doubtful.numpy(), cut.numpy())).tolist()
    gone: set[int] = set()
    kept: list[int] = []
    for row in order:
        if row in gone:
            continue
        if not cut[row]:
            kept.append(row)
            gone.update(other for other in partners.get(row, ()) if not cut[other])
            continue
        if any(not cut[other] for other in partners.get(row, ())):
            continue
        kept.append(row)
        parts, left = {row}, [row]  # parts of one object, each of which agrees with another
        while left:
            new = {other for other in partners.get(left.pop(), ()) if other not in parts | gone and cut[other]}
            parts |= new
            left += new
        gone |= parts
        pieces = corners[sorted(parts)]
        corners[row] = torch.cat([pieces[:, :2].amin(0), pieces[:, 2:].amax(0)])
    best = torch.tensor(sorted(kept, key=lambda row: (-float(scores[row]), row)), dtype=torch.int64)
    return Found(corners[best], labels[best], scores[best])


def _ends_near(corners: Tensor, frame: Tensor, size: tuple[int, int], near: tuple[float, float]) -> Tensor:
    """(n,): whether boxes (n, 4) end so near a border of their tile that is none of the image's."""
    ends = torch.tensor([size[1], size[0]], dtype=torch.float32)
    close = torch.tensor([near[1], near[0]])
    low = (corners[:, :2] - frame[:2] < close) & (frame[:2] > 0)
    high = (frame[2:] - corners[:, 2:] < close) & (frame[2:] < ends)
    return (low | high).any(1)


def _same(found: Sequence[Found], frames: Tensor, cut: Tensor) -> Iterator[tuple[int, int]]:
    """Pairs of boxes of different tiles that are one object, by their positions among all boxes."""
    counts = [len(own.labels) for own in found]
    first = np.cumsum([0, *counts]).tolist()
    meet = (_boxes.overlap(frames, frames) > 0).triu(1)
    for i, j in meet.nonzero().tolist():
        if not counts[i] or not counts[j]:
            continue
        (a, our_labels, _), (b, their_labels, _) = found[i], found[j]
        ours, theirs = cut[first[i] : first[i + 1], None], cut[None, first[j] : first[j + 1]]
        low, high = torch.maximum(frames[i, :2], frames[j, :2]), torch.minimum(frames[i, 2:], frames[j, 2:])
        seen = [
            torch.cat([torch.maximum(own[:, :2], low), torch.minimum(own[:, 2:], high)], 1) for own in (a, b)
        ]  # what both tiles see of each box
        agree = _boxes.iou(seen[0], seen[1]) >= _AGREE
        around = (torch.maximum(a[:, None, 2:], b[None, :, 2:]) - torch.minimum(a[:, None, :2], b[None, :, :2])).prod(
            2
        )  # (n, m) px² of the box around both
        touch = _boxes.overlap(a, b) > 0
        rest = touch & (
            (theirs & ~ours & (around <= _ADDS * _boxes.areas(a)[:, None]))
            | (ours & ~theirs & (around <= _ADDS * _boxes.areas(b)[None]))
        )
        # what a border cuts may look like another class
        alike = (our_labels[:, None] == their_labels) | (ours ^ theirs)
        for k, m in ((agree | rest) & alike).nonzero().tolist():
            yield first[i] + k, first[j] + m
