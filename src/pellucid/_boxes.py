# SPDX-License-Identifier: Apache-2.0
"""Arithmetic on boxes (…, 4), given by their corners x0, y0, x1, y1 in px; the right and the lower end are exclusive."""

from __future__ import annotations

import math

import torch
from torch import Tensor

__all__ = [
    "areas",
    "clip",
    "clip_to",
    "decode",
    "encode",
    "giou",
    "iou",
    "kept",
    "overlap",
    "paired",
    "softened",
    "suppress",
]

_VARIANCES = (0.1, 0.1, 0.2, 0.2)  # offsets of a box that is nearly right have about unit variance (Girshick 2015, 2.3)
_LARGEST = math.log(1000 / 16)  # of a logarithmic change of size: e to the power of more would overflow at first
_SIGMA = 0.5  # of the Gaussian by which soft suppression lowers scores (Bodla et al. 2017, section 3)
_LEAST = 1e-3  # share of its first score below which soft suppression drops a box


def areas(corners: Tensor) -> Tensor:
    """(…,) px²; 0 of a box whose ends are before its starts.

    >>> areas(torch.tensor([[1.0, 1, 3, 4], [2, 2, 1, 5]]))
    tensor([6., 0.])
    """
    return (corners[..., 2:] - corners[..., :2]).clamp_min(0).prod(-1)


def overlap(one: Tensor, other: Tensor) -> Tensor:
    """(…, n, m) px²: the areas that each of n boxes shares with each of m."""
    a, b = one[..., :, None, :], other[..., None, :, :]
    width = torch.minimum(a[..., 2], b[..., 2]) - torch.maximum(a[..., 0], b[..., 0])
    height = torch.minimum(a[..., 3], b[..., 3]) - torch.maximum(a[..., 1], b[..., 1])
    return width.clamp_min(0) * height.clamp_min(0)


def iou(one: Tensor, other: Tensor) -> Tensor:
    """(…, n, m): the intersection over the union of each of n boxes with each of m; 0 where both are empty.

    >>> iou(torch.tensor([[0.0, 0, 2, 2]]), torch.tensor([[1.0, 0, 3, 2], [0, 0, 2, 2]]))
    tensor([[0.3333, 1.0000]])
    """
    shared = overlap(one, other)
    union = areas(one)[..., :, None] + areas(other)[..., None, :] - shared
    return shared / union.clamp_min(torch.finfo(union.dtype).tiny)


def paired(one: Tensor, other: Tensor) -> Tensor:
    """(…,): the intersection over the union of boxes with their partners; 0 where both are empty.

    >>> paired(torch.tensor([[0.0, 0, 2, 2]]), torch.tensor([[1.0, 0, 3, 2]]))
    tensor([0.3333])
    """
    low, high = torch.maximum(one[..., :2], other[..., :2]), torch.minimum(one[..., 2:], other[..., 2:])
    shared = (high - low).clamp_min(0).prod(-1)
    union = areas(one) + areas(other) - shared
    return torch.where(union > 0, shared / union.clamp_min(torch.finfo(union.dtype).tiny), 0.0)


def giou(one: Tensor, other: Tensor) -> Tensor:
    """(…,): the generalised IoU of boxes with their partners, in (−1, 1] (Rezatofighi et al. 2019, alg. 1).

    >>> giou(torch.tensor([[0.0, 0, 2, 2]]), torch.tensor([[3.0, 0, 4, 2]]))
    tensor([-0.2500])
    """
    low, high = torch.maximum(one[..., :2], other[..., :2]), torch.minimum(one[..., 2:], other[..., 2:])
    shared = (high - low).clamp_min(0).prod(-1)
    around = (torch.maximum(one[..., 2:], other[..., 2:]) - torch.minimum(one[..., :2], other[..., :2])).prod(-1)
    tiny = torch.finfo(around.dtype).tiny
    union = areas(one) + areas(other) - shared
    return shared / union.clamp_min(tiny) - (around - union) / around.clamp_min(tiny)


def encode(boxes: Tensor, references: Tensor) -> Tensor:
    """Offsets (…, 4) that lead from references to boxes: shifts of the centre in sizes, and logarithms of the sizes' ratios.

    These are Girshick et al. 2014, eqs. 6–9, divided by 0.1, 0.1, 0.2 and 0.2.

    >>> encode(torch.tensor([2.0, 0, 6, 2]), torch.tensor([0.0, 0, 4, 2])).tolist()
    [5.0, 0.0, 0.0, 0.0]
    """
    own, reference = _centred(boxes), _centred(references)
    shift = (own[0] - reference[0]) / reference[1]
    return torch.cat([shift, (own[1] / reference[1]).log()], -1) / boxes.new_tensor(_VARIANCES)


def decode(offsets: Tensor, references: Tensor) -> Tensor:
    """The corners (…, 4) to which offsets lead from references: the inverse of `encode`.

    >>> box, reference = torch.tensor([3.0, 1, 9, 5]), torch.tensor([2.0, 2, 6, 4])
    >>> torch.allclose(decode(encode(box, reference), reference), box)
    True
    """
    offsets = offsets * offsets.new_tensor(_VARIANCES)
    centre, size = _centred(references)
    centre = centre + offsets[..., :2] * size
    half = 0.5 * size * offsets[..., 2:].clamp_max(_LARGEST).exp()
    return torch.cat([centre - half, centre + half], -1)


def _centred(corners: Tensor) -> tuple[Tensor, Tensor]:
    """Centre and size (…, 2) each; sizes are positive, so that they can be divided by."""
    size = (corners[..., 2:] - corners[..., :2]).clamp_min(1e-3)
    return 0.5 * (corners[..., :2] + corners[..., 2:]), size


def clip(corners: Tensor, size: tuple[int, int]) -> Tensor:
    """The parts of boxes that lie inside images of this size (H, W).

    >>> clip(torch.tensor([-1.0, 2, 5, 9]), (8, 4)).tolist()
    [0.0, 2.0, 4.0, 8.0]
    """
    height, width = size
    return torch.minimum(corners.clamp_min(0), corners.new_tensor([width, height, width, height]))


def clip_to(corners: Tensor, frames: Tensor) -> Tensor:
    """The parts of boxes (n, 4) that lie inside other ones (n, 4) each.

    >>> clip_to(torch.tensor([[-1.0, 2, 5, 9]]), torch.tensor([[0.0, 3, 9, 6]])).tolist()
    [[0.0, 3.0, 5.0, 6.0]]
    """
    low, high = frames[:, :2].repeat(1, 2), frames[:, 2:].repeat(1, 2)
    return torch.minimum(torch.maximum(corners, low), high)


def suppress(
    corners: Tensor, scores: Tensor, labels: Tensor, limit: float, soft: bool = False
) -> tuple[Tensor, Tensor]:
    """The boxes of one image that no better box of their class covers: their positions, best first, and their scores.

    Going from the best to the worst, a box is dropped where its IoU with a kept one of its class is above `limit`. Soft
    suppression lowers its score instead, by exp(−IoU² / 0.5) for each better box (Bodla et al. 2017), whatever the limit.

    >>> corners = torch.tensor([[0.0, 0, 9, 9], [0, 0, 9, 8], [0, 0, 9, 8], [20, 0, 29, 9]])
    >>> kept, _ = suppress(corners, torch.tensor([0.8, 0.7, 0.6, 0.9]), torch.tensor([0, 0, 1, 0]), 0.5)
    >>> kept.tolist()
    [3, 0, 2]

    Args:
        corners: (n, 4).
        scores: (n,), above 0 for soft suppression.
        labels: (n,) int64, the classes.
        limit: IoU.
        soft: lower scores instead of dropping boxes.
    """
    if soft:
        return _softly(corners, scores, labels)
    from torchvision.ops import batched_nms

    if not len(scores):
        return labels, scores
    # it moves the classes apart by the largest coordinate, and takes for granted that none is below 0
    kept: Tensor = batched_nms(corners.float() - corners.amin(), scores.float(), labels, limit)
    return kept, scores[kept]


def kept(corners: Tensor, scores: Tensor, labels: Tensor, limit: float) -> Tensor:
    """(B, n): which boxes of each image greedy suppression by class keeps, in one call for the batch, as exported files need it.

    Images and classes are moved apart, so that their boxes do not meet.

    >>> corners = torch.tensor([[[0.0, 0, 9, 9], [0, 0, 9, 8], [0, 0, 9, 8]]])
    >>> kept(corners, torch.tensor([[0.8, 0.7, 0.6]]), torch.tensor([[0, 0, 1]]), 0.5).tolist()
    [[True, False, True]]

    Args:
        corners: (B, n, 4), from 0 on.
        scores: (B, n).
        labels: (B, n) int64.
        limit: IoU.
    """
    from torchvision.ops import nms

    images = torch.arange(corners.shape[0], device=corners.device)[:, None]
    group = images * (labels.max() + 1) + labels  # (B, n)
    # across and down in turn: the numbers stay small, and floats exact
    side = (group.max() + 1).float().sqrt().ceil()
    place = torch.stack([group.float() % side, (group.float() / side).floor()], -1)
    apart = corners + (place * (corners.max() + 1)).repeat(1, 1, 2)
    found = nms(apart.flatten(0, 1), scores.flatten(), limit)
    return torch.zeros_like(scores, dtype=torch.bool).flatten().index_fill(0, found, True).view(scores.shape)


def softened(overlap: Tensor) -> Tensor:
    """The factor by which a better box lowers the score of one that it overlaps with this IoU (Bodla et al. 2017)."""
    return torch.exp(-overlap.square() / _SIGMA)


def _softly(corners: Tensor, scores: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
    if not len(scores):
        return torch.zeros(0, dtype=torch.int64, device=scores.device), scores
    # (n, n): the factor by which one box lowers another; boxes of other classes leave it as it is
    lowering = torch.where(labels[:, None] == labels, softened(iou(corners, corners)), 1.0)
    left, found = scores.clone(), torch.empty_like(scores)
    order = torch.empty(len(scores), dtype=torch.int64, device=scores.device)
    for rank in range(len(scores)):  # each choice depends on those before it
        best = left.argmax()
        order[rank], found[rank] = best, left[best]
        left = left * lowering[best]
        left[order[: rank + 1]] = -torch.inf
    kept = found > _LEAST * scores[order]
    return order[kept], found[kept]
