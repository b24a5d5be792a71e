# SPDX-License-Identifier: Apache-2.0
"""Which regions a training image shows to the two heads: some with an object, a stated share of all, and some without."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple, final

import torch
from torch import Tensor

from pellucid import _boxes
from pellucid.models import Proposals
from pellucid.tasks.detect.objects import Padded, Sought, padded_rows

__all__ = ["Chosen", "Sampler", "matched"]

ENOUGH = 0.5
"""IoU with an object from which a region has it (Girshick 2015, section 2.3)."""
CROWDED = 0.5
"""Share of a box inside a crowd from which it is neither object nor background."""
_GOLDEN = 0.6180339887498949  # its multiples, modulo 1, are spread more evenly than those of any other number


class Chosen(NamedTuple):
    """The regions of a batch that were sampled, with what is to be said of them."""

    corners: Tensor  # (B, R, 4)
    labels: Tensor  # (B, R) int64: 0 is the background, else 1 + class
    boxes: Tensor  # (B, R, 4) the object of each region that has one
    counts: Tensor  # (B, R) bool: False for regions that count for nothing


def matched(corners: Tensor, truth: Padded) -> tuple[Tensor, Tensor]:
    """The IoU of boxes (B, n, 4) with the object that they fit best, and its position, (B, n) each; −1 in crowds.

    A box whose larger part lies in a crowd is in it unless it fits an object.
    """
    if not truth.counts.shape[1]:
        none = corners.new_zeros(corners.shape[:2])
        return none, none.long()
    shared = torch.where(truth.counts[:, None], _boxes.iou(corners, truth.corners), 0.0)  # (B, n, G)
    fit, place = shared.max(2)
    if bool(truth.ignored.any()):
        inside = _boxes.overlap(corners, truth.corners) / _boxes.areas(corners).clamp_min(1e-6)[:, :, None]
        crowded = torch.where(truth.ignored[:, None], inside, 0.0).amax(2) >= CROWDED
        fit = torch.where(crowded & (fit < ENOUGH), -1.0, fit)
    return fit, place


@final
@dataclass
class Sampler:
    """Chooses regions of a batch among the proposals, the objects themselves, and boxes near them.

    Where an image has too few regions with an object, others fill its place. Which ones are chosen is systematic sampling:
    every so many of the ranked proposals from a random start, so that good and bad ones are seen.
    """

    truth: Sought
    objects: Padded
    regions: int  # of each image
    share: float  # of regions with an object
    chosen: Chosen | None = None  # what the last call chose

    def __call__(self, proposals: Proposals) -> Tensor:
        """(B, R, 4): the regions that the model is to score."""
        near = padded_rows(self.truth.near) if self.truth.near else self.objects.corners[:, :0]
        parts = [self.objects.corners, near, proposals.corners]
        corners = torch.cat([part.to(proposals.corners.dtype) for part in parts], 1)  # (B, n, 4)
        fit, place = matched(corners, self.objects)
        count = corners.shape[1]
        keys = (self.truth.start[:, None] + _GOLDEN * torch.arange(count, device=corners.device)) % 1  # (B, n)
        usable = (fit >= 0) & (_boxes.areas(corners) > 0)
        positive = usable & (fit >= ENOUGH)
        # the rank of each region among those with an object, by its key
        rank = torch.where(positive, keys, -1.0).argsort(1, descending=True).argsort(1)
        wanted = positive & (rank < round(self.regions * self.share))
        # first the wanted ones, then background, then further objects, at last what counts for nothing
        order = torch.where(wanted, 3.0, torch.where(positive, 1.0, torch.where(usable, 2.0, 0.0))) + keys
        chosen = order.topk(min(self.regions, count), dim=1).indices  # (B, R)
        labels = self._labels(place, positive)
        index = chosen[:, :, None].expand(-1, -1, 4)
        boxes = self._objects(place)
        self.chosen = Chosen(
            corners.gather(1, index), labels.gather(1, chosen), boxes.gather(1, index), usable.gather(1, chosen)
        )
        return self.chosen.corners

    def _labels(self, place: Tensor, positive: Tensor) -> Tensor:
        if not self.objects.labels.shape[1]:
            return torch.zeros_like(place)
        return torch.where(positive, self.objects.labels.gather(1, place) + 1, 0)

    def _objects(self, place: Tensor) -> Tensor:
        if not self.objects.corners.shape[1]:
            return torch.zeros(*place.shape, 4, device=place.device)
        return self.objects.corners.gather(1, place[:, :, None].expand(-1, -1, 4))
