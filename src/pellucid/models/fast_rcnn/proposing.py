# SPDX-License-Identifier: Apache-2.0
"""Region proposals: a dense grid of boxes, how likely each has an object, and the best of them."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import final

import torch
from torch import Tensor, nn

from pellucid import _boxes
from pellucid.models._contract import Proposals
from pellucid.models._layers import initialise
from pellucid.models._selective import searched

__all__ = ["Grid", "Proposer", "best", "covered_at_once", "dropped", "sides", "sought"]

_RARE = (
    0.01  # the share of the grid's boxes that have an object, as the training begins (Lin et al. 2017b, section 3.3)
)
_CHAIN = 32  # boxes, each of which covers the next: more than are seen among a thousand
_RATIO = 1.6  # of one side of the grid's boxes to the next, about
_SMALLEST = 2.0  # strides: the side of the smallest boxes, and at least 8 px
_LARGEST = 0.75  # of the image's shorter side: the side of the largest boxes


def sides(size: tuple[int, int], finest: int) -> tuple[float, ...]:
    """The sides in px of the grid's boxes where none are given: a geometric series for images of this size (H, W).

    >>> sides((64, 64), 4)
    (8.0, 12.5, 19.6, 30.7, 48.0)
    """
    low, high = max(8.0, _SMALLEST * finest), _LARGEST * min(size)
    if high <= low:
        return (round(low, 1),)
    steps = max(1, math.ceil(math.log(high / low) / math.log(_RATIO) - 0.5))
    return tuple(round(low * (high / low) ** (step / steps), 1) for step in range(steps + 1))


@final
class Grid:
    """The boxes at each place of the maps: every scale with every aspect, small ones on the fine maps, large on the coarse.

    Args:
        strides: of the maps, px, from the finest on.
        scales: square roots of the boxes' areas, px.
        aspects: height over width.
    """

    def __init__(self, strides: Sequence[int], scales: Sequence[float], aspects: Sequence[float]) -> None:
        self.strides = list(strides)
        ordered, maps = sorted(scales), len(strides)
        shares = [len(ordered) * (i + 1) // maps for i in range(maps)]
        self.shapes = [  # for each map (height, width) of its boxes
            [(scale * aspect**0.5, scale / aspect**0.5) for scale in ordered[start:end] for aspect in aspects]
            for start, end in zip([0, *shares], shares, strict=False)
        ]

    def corners(self, maps: Sequence[Tensor]) -> Tensor:
        """(A, 4): map after map, row after row, and all boxes of one place together."""
        parts = []
        for own, stride, shapes in zip(maps, self.strides, self.shapes, strict=True):
            rows, columns = (
                (torch.arange(side, device=own.device, dtype=torch.float32) + 0.5) * stride for side in own.shape[2:]
            )
            centres = torch.stack(torch.meshgrid(columns, rows, indexing="xy"), -1)[
                :, :, None
            ]  # (H, W, 1, 2) as (x, y)
            half = 0.5 * torch.tensor(shapes, dtype=torch.float32, device=own.device).flip(1)  # (n, 2) as (x, y)
            parts.append(torch.cat([centres - half, centres + half], -1).flatten(0, 2))
        return torch.cat(parts)


@final
class Proposer(nn.Module):
    """The objectness of each box of the grid and the offsets to a better one, from a 3×3 neighbourhood of the map."""

    def __init__(self, width: int, boxes: Sequence[int]) -> None:
        super().__init__()
        self.seen = nn.Sequential(nn.Conv2d(width, width, 3, padding=1), nn.ReLU(inplace=True))
        self.objectness = nn.ModuleList(nn.Conv2d(width, count, 1) for count in boxes)
        self.offsets = nn.ModuleList(nn.Conv2d(width, 4 * count, 1) for count in boxes)
        initialise(self.seen, "he")
        for name, value in self.named_parameters():
            if name.startswith("seen"):
                continue
            if name.endswith("weight"):
                nn.init.normal_(value, std=0.01)
            else:
                nn.init.constant_(value, math.log(_RARE / (1 - _RARE)) if name.startswith("objectness") else 0.0)

    def forward(self, maps: Sequence[Tensor]) -> tuple[Tensor, Tensor]:  # (B, A), (B, A, 4)
        scores, offsets = [], []
        for place, own in enumerate(maps):
            seen = self.seen(own)
            # (B, n, H, W) -> (B, H·W·n): all boxes of one place together, as in the grid
            scores.append(self.objectness[place](seen).permute(0, 2, 3, 1).flatten(1))
            offsets.append(self.offsets[place](seen).permute(0, 2, 3, 1).flatten(1))
        return torch.cat(scores, 1).float(), torch.cat(offsets, 1).float().unflatten(1, (-1, 4))


def best(
    scores: Tensor,
    offsets: Tensor,
    grid: Tensor,
    size: tuple[int, int],
    count: int,
    limit: float,
    enough: int | None = None,
) -> Proposals:
    """The boxes of the highest objectness, moved by their offsets; those that a better one covers come after all others.

    Args:
        scores: (B, A), logits.
        offsets: (B, A, 4).
        grid: (A, 4).
        size: (H, W) of the images, at which boxes are cut.
        count: how many, at most.
        limit: IoU from which a better box covers one.
        enough: how many of them are wanted first of all; the order of the others means nothing then.
    """
    scores, places = scores.topk(min(count, scores.shape[1]), dim=1)  # (B, P), from the best on
    index = places[:, :, None].expand(-1, -1, 4)
    corners = _boxes.clip(_boxes.decode(offsets.gather(1, index), grid[places]), size)
    covered = dropped(corners, scores, limit, enough)
    ranks = torch.arange(covered.shape[1], device=covered.device)
    order = torch.where(covered, ranks + len(ranks), ranks).argsort(dim=1)  # a stable sort cannot be exported
    return Proposals(corners.gather(1, order[:, :, None].expand(-1, -1, 4)), scores.gather(1, order))


def dropped(corners: Tensor, scores: Tensor, limit: float, enough: int | None = None) -> Tensor:
    """(B, P): which boxes (B, P, 4), best first, greedy suppression drops: those that a kept better one covers.

    Where `enough` boxes are kept, it stops: the worse ones count as dropped.

    >>> boxes = torch.tensor([[[0.0, 0, 9, 9], [0, 0, 9, 8], [20, 0, 29, 9], [40, 0, 49, 9]]])
    >>> scores = torch.tensor([[4.0, 3, 2, 1]])
    >>> dropped(boxes, scores, 0.7).tolist(), dropped(boxes, scores, 0.7, enough=1).tolist()
    ([[False, True, False, False]], [[False, True, True, True]])
    """
    if torch.compiler.is_exporting():
        return covered_at_once(corners, limit)
    covered = torch.ones(scores.shape, dtype=torch.bool, device=scores.device)
    for own, boxes, row in zip(covered, corners, scores, strict=True):
        own[_kept(boxes, row, limit, len(row) if enough is None else enough)] = False
    return covered


def _kept(corners: Tensor, scores: Tensor, limit: float, enough: int) -> Tensor:
    """(n,): the positions of boxes (P, 4), best first, that greedy suppression keeps, at least `enough` if there are so many."""
    from torchvision.ops import nms

    seen = 2 * enough  # its time grows with the square, and often these are sufficient
    kept: Tensor = nms(corners[:seen], scores[:seen], limit)
    while len(kept) < enough and seen < len(scores):  # what is kept stays so: it is the best of the next round
        row = torch.arange(seen, min(seen + enough // 2 + 1, len(scores)), device=kept.device)
        both = torch.cat([kept, row])
        kept = both[nms(corners[both], scores[both], limit)]
        seen += len(row)
    return kept


def covered_at_once(corners: Tensor, limit: float) -> Tensor:
    """The same for all images at once, by a fixed number of steps: what other programs can do.

    A box is covered if a better one covers it that is not covered itself. Each step is right about one more box of a chain
    of boxes in which each covers the next, so that the last step is right about all chains of that many boxes.

    >>> boxes = torch.tensor([[[0.0, 0, 10, 10], [1, 0, 11, 10], [2, 0, 12, 10]]])
    >>> covered_at_once(boxes, 0.7)
    tensor([[False,  True, False]])
    """
    # (B, P, P): whether the box of a column, which is better, covers that of a row
    covers = (_boxes.iou(corners, corners) > limit).tril(-1).float()
    kept = corners.new_ones(corners.shape[0], corners.shape[1], 1)
    for _ in range(_CHAIN):
        kept = ((covers @ kept) == 0).float()  # a number of covering boxes, exactly
    return kept[:, :, 0] == 0


def sought(images: Tensor, count: int) -> Proposals:
    """The proposals of selective search instead, (B, count): scores are falling ranks, and −∞ of those that repeat the first.

    Args:
        images: (B, C, H, W) in [0, 1].
        count: how many.
    """
    corners, scores = images.new_zeros(len(images), count, 4), images.new_full((len(images), count), -torch.inf)
    pixels = (images.detach().float() * 255).round().clamp(0, 255).to(torch.uint8)
    for row, rank, found in zip(corners, scores, searched(pixels, count), strict=True):
        row[:] = found[0]
        row[: len(found)] = found
        rank[: len(found)] = -torch.arange(len(found), dtype=rank.dtype) / count
    return Proposals(corners, scores)
