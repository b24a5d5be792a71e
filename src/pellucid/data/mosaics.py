# SPDX-License-Identifier: Apache-2.0
"""Training images put together from parts of four, with the boxes of what is seen of each."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F
from torch.nn.utils.rnn import pad_sequence

from pellucid._boxes import areas, clip_to
from pellucid._processes import gathered, largest, overall, place
from pellucid.data.draws import Draws
from pellucid.data.geometry import LEAST_VISIBLE
from pellucid.data.targets import Boxes

__all__ = ["mosaic"]

_NEAREST, _FURTHEST = 0.25, 0.75  # where the four parts meet, in shares of the sides


def mosaic(images: Tensor, boxes: Boxes, draws: Draws, share: float) -> tuple[Tensor, Boxes]:
    """Images of which some are put together from parts of four of their batch, at their own scale (Bochkovskiy et al. 2020).

    The parts of a mosaic are rectangles that meet in a random point of its middle half. Each shows as much of its image as fits,
    from a random place of it: the first of the image itself, the others of the three before it in the batch. Objects are cut
    at the parts' borders. Where less than a quarter of one is left, it is ignored, and counts neither as an object nor as background.

    >>> images, boxes = torch.rand(4, 3, 32, 32), Boxes([torch.tensor([[4.0, 4, 28, 28]])] * 4, [torch.tensor([1])] * 4)
    >>> made, seen = mosaic(images, boxes, Draws.step(0, 0, slice(0, 4), 4), share=1.0)
    >>> made.shape, all(len(own) > 1 for own in seen.corners)
    (torch.Size([4, 3, 32, 32]), True)

    Args:
        images: (B, C, H, W).
        boxes: of their objects, in px, none beyond the frame.
        draws: random numbers for each image.
        share: of the images that become mosaics, in [0, 1]; the others stay as they are.

    Of several processes, each has the mosaics that one process would have: their parts come from the whole batch.
    """
    if not share:
        return images, boxes
    plan = _planned(images.shape, draws, share, images.device)
    return _pixels(images, plan), _objects(boxes, plan)


class _Plan(NamedTuple):
    """What each part of each mosaic shows. Of an image that stays as it is, the first part shows all, and the others nothing."""

    source: Tensor  # (B, 4) int64: the position of its image in the whole batch
    frame: Tensor  # (B, 4, 4) px, whole numbers: where it is in the mosaic
    shift: Tensor  # (B, 4, 2) px, whole numbers: from its image to the mosaic, as (x, y)


def _planned(shape: torch.Size, draws: Draws, share: float, device: torch.device) -> _Plan:
    batch, _, height, width = shape
    chosen = draws.uniform() < share  # (B,)
    sides = torch.tensor([width, height], dtype=torch.float32, device=device)
    middle = (draws.uniform(2, low=_NEAREST, high=_FURTHEST) * sides).round()
    middle = torch.where(chosen[:, None], middle, sides)  # (B, 2)
    # upper left, upper right, lower left, lower right
    right, lower = torch.tensor([0, 1, 0, 1], device=device), torch.tensor([0, 0, 1, 1], device=device)
    second = torch.stack([right, lower], 1).bool()  # (4, 2)
    low = torch.where(second, middle[:, None], 0.0)  # (B, 4, 2)
    high = torch.where(second, sides, middle[:, None])
    free = sides - (high - low)  # px by which the part of the image can vary
    start = (draws.uniform(4, 2) * (free + 1)).floor().minimum(free)
    return _Plan(_sources(batch, device), torch.cat([low, high], 2), low - start)


def _sources(batch: int, device: torch.device) -> Tensor:
    """(B, 4): the positions of each image and of the three before it in the whole batch."""
    first = place(batch)
    own = torch.arange(first, first + batch, device=device)
    return (own[:, None] - torch.arange(4, device=device)) % overall(batch)


def _pixels(images: Tensor, plan: _Plan) -> Tensor:
    """(B, C, H, W): each pixel from the part that it lies in."""
    height, width = images.shape[2:]
    whole = gathered(images)  # (T, C, H, W)
    middle = plan.frame[:, 0, 2:]  # (B, 2)
    right = torch.arange(width, device=images.device) >= middle[:, :1]  # (B, W)
    lower = torch.arange(height, device=images.device) >= middle[:, 1:]  # (B, H)
    part = (2 * lower[:, :, None] + right[:, None, :].long()).flatten(1)  # (B, H·W)
    shift = plan.shift.long()
    rows = torch.arange(height, device=images.device).repeat_interleave(width) - shift[..., 1].gather(1, part)
    columns = torch.arange(width, device=images.device).repeat(height) - shift[..., 0].gather(1, part)
    index = (plan.source.gather(1, part) * height + rows) * width + columns  # (B, H·W), of all pixels of a channel
    channels = whole.transpose(0, 1).reshape(images.shape[1], -1)  # (C, T·H·W)
    return (
        channels.index_select(1, index.flatten())
        .view(-1, *images.shape[:1], height, width)
        .transpose(0, 1)
        .contiguous()
    )


def _objects(boxes: Boxes, plan: _Plan) -> Boxes:
    """What is seen of each object in the parts that show its image."""
    rows = gathered(_rows_of(boxes, plan.frame.device))  # (T, G, 7)
    seen = rows[plan.source]  # (B, 4, G, 7)
    moved = seen[..., :4] + plan.shift.repeat(1, 1, 2)[:, :, None]
    frame = plan.frame[:, :, None].expand_as(moved)
    cut = clip_to(moved.flatten(0, 2), frame.flatten(0, 2)).view_as(moved)
    left = areas(cut)
    kept = (left > 0) & (seen[..., 6] > 0)  # (B, 4, G)
    ignored = (seen[..., 5] > 0) | (left < LEAST_VISIBLE * areas(moved))
    counts = kept.sum((1, 2)).tolist()
    return Boxes(
        list(cut[kept].split(counts)),
        list(seen[..., 4].long()[kept].split(counts)),
        ignored=list(ignored[kept].split(counts)),
    )


def _rows_of(boxes: Boxes, device: torch.device) -> Tensor:
    """(B, G, 7): corners, label, whether it is ignored, and 1; rows of 0 where an image has fewer than G objects."""
    ignored = boxes.ignored or [torch.zeros_like(own, dtype=torch.bool) for own in boxes.labels]
    rows = [
        torch.cat([corners.float(), torch.stack([labels, crowd.long(), torch.ones_like(labels)], 1).float()], 1)
        for corners, labels, crowd in zip(boxes.corners, boxes.labels, ignored, strict=True)
    ]
    made = pad_sequence(rows, batch_first=True)
    (most,) = largest(made.shape[1], device=made.device)
    return F.pad(made, (0, 0, 0, most - made.shape[1])).to(device)
