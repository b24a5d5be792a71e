# SPDX-License-Identifier: Apache-2.0
"""The loss and its parts: of the proposals, objectness and place; of the regions, class and place."""

from __future__ import annotations

from typing import Literal, TypeAlias

import torch
from torch import Tensor
from torch.nn import functional as F

from pellucid import _boxes
from pellucid.models import Regions
from pellucid.tasks.detect.objects import Padded
from pellucid.tasks.detect.sampling import Chosen, matched

__all__ = ["BOX_LOSSES", "BoxLoss", "losses"]

BoxLoss: TypeAlias = Literal["smooth_l1", "giou"]
BOX_LOSSES: tuple[BoxLoss, ...] = ("smooth_l1", "giou")

_NEARLY = 0.8  # of an object's best IoU with a box of the grid: other boxes that fit so well are its own too


def losses(regions: Regions, chosen: Chosen, truth: Padded, kind: BoxLoss, weight: float) -> dict[str, Tensor]:
    """The loss and its parts, each a mean over the images of the batch, so that the mean over processes is that of the whole.

    Args:
        regions: what the model says of the chosen regions.
        chosen: what is true of them.
        truth: the objects.
        kind: of the error of the regions' boxes.
        weight: of that error.
    """
    objectness, proposal_box = _of_grid(regions, truth)
    named = F.cross_entropy(regions.logits.flatten(0, 1), chosen.labels.flatten(), reduction="none")
    among = chosen.counts.sum(1).clamp_min(1)  # (B,) regions that count
    classes = (named.view(chosen.labels.shape) * chosen.counts).sum(1) / among
    present = chosen.counts & (chosen.labels > 0)  # (B, R)
    # of the offsets for each class, those for the true one
    place = (chosen.labels - 1).clamp_min(0)[:, :, None, None].expand(-1, -1, 1, 4)
    offsets = regions.offsets.gather(2, place)[:, :, 0]  # (B, R, 4)
    box = (_error(kind, offsets, chosen) * present).sum(1) / among
    parts = {"objectness": objectness, "proposal_box": proposal_box, "class": classes.mean(), "box": box.mean()}
    return {"loss": objectness + proposal_box + parts["class"] + weight * parts["box"], **parts}


def _error(kind: BoxLoss, offsets: Tensor, chosen: Chosen) -> Tensor:
    """(B, R): how far the boxes to which offsets lead are from the true ones."""
    if kind == "giou":
        return 1 - _boxes.giou(_boxes.decode(offsets, chosen.corners), chosen.boxes)
    return F.smooth_l1_loss(offsets, _boxes.encode(chosen.boxes, chosen.corners), reduction="none").sum(2)


def _of_grid(regions: Regions, truth: Padded) -> tuple[Tensor, Tensor]:
    """The losses of the objectness and of the proposals' boxes.

    The objectness is to be the IoU that the moved box will have (Li et al. 2020, eq. 2), for boxes of the grid that fit an
    object about as well as the best one does; 0 for all others. The place is measured by 1 − GIoU.
    """
    batch, boxes = regions.objectness.shape
    if not truth.counts.shape[1]:
        return _quality(regions.objectness, torch.zeros_like(regions.objectness)).sum(1).mean(), _nothing(regions)
    with torch.no_grad():  # image after image: the grid has many boxes, and images differ in their numbers of objects
        pairs = [_owned(regions.grid, own, counts) for own, counts in zip(truth.corners, truth.counts, strict=True)]
        fit, place = (torch.stack(part) for part in zip(*pairs, strict=True))  # (B, A) each
        positive = fit > 0
        counted = matched(regions.grid.expand(batch, boxes, 4), truth)[0] >= 0 if truth.ignored.any() else None
    images, places = positive.nonzero(as_tuple=True)
    corners = _boxes.decode(regions.grid_offsets[images, places], regions.grid[places])  # (n, 4)
    objects = truth.corners[images, place[images, places]]
    fits = _boxes.giou(corners, objects)
    target = torch.zeros_like(regions.objectness)
    with torch.no_grad():
        target[images, places] = _boxes.paired(corners, objects)
    known = _quality(regions.objectness, target)
    if counted is not None:
        known = known * (counted | positive)
    number = positive.sum(1).clamp_min(1)  # (B,)
    placed = torch.zeros_like(number, dtype=fits.dtype).index_add(0, images, 1 - fits)
    return (known.sum(1) / number).mean(), (placed / number).mean()


def _owned(grid: Tensor, corners: Tensor, counts: Tensor) -> tuple[Tensor, Tensor]:
    """The IoU (A,) of each box of the grid with the object that it belongs to, and which one; 0 of boxes without an object.

    Args:
        grid: (A, 4).
        corners: (G, 4) of one image.
        counts: (G,) which of them are objects.
    """
    which = counts.nonzero()[:, 0]
    if not len(which):
        return grid.new_zeros(len(grid)), counts.new_zeros(len(grid), dtype=torch.int64)
    shared = _boxes.iou(grid, corners[which])  # (A, g)
    fit, place = torch.where(shared >= _NEARLY * shared.amax(0), shared, 0.0).max(1)
    return fit, which[place]


def _quality(logits: Tensor, target: Tensor) -> Tensor:
    """Cross entropy with a target in [0, 1], weighted by the square of what is missing (Li et al. 2020, eq. 2)."""
    error = F.binary_cross_entropy_with_logits(logits, target, reduction="none")
    return (target - logits.sigmoid()).square() * error


def _nothing(regions: Regions) -> Tensor:
    """0, with a gradient of 0: no box is wrongly placed where there is no object."""
    return regions.grid_offsets.sum() * 0.0
