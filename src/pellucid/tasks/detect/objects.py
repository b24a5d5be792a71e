# SPDX-License-Identifier: Apache-2.0
"""The objects of images: what is sought, what was found, and how the model's regions become detections."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple, final

import torch
from torch import Tensor
from torch.nn import functional as F
from torch.nn.utils.rnn import pad_sequence

from pellucid import _boxes
from pellucid._processes import largest
from pellucid.data.targets import Boxes, Target
from pellucid.models import Proposals, Regions

__all__ = ["Detected", "Padded", "Scored", "Sought", "detections", "padded", "padded_rows", "scored", "suppressed"]

FLOOR = 0.01
"""The lowest score of a detection: below, it changes neither the curve of precision and recall nor what is seen."""
MOST = 100
"""Detections an image, as in COCO."""


@final
@dataclass(frozen=True)
class Detected(Target):
    """The objects that were found in each image, with the proposals among which they were."""

    corners: list[Tensor]  # N of (n, 4) float32: x0, y0, x1, y1 in px; pixel (i, j) covers [j, j+1) × [i, i+1)
    labels: list[Tensor]  # N of (n,) int64
    scores: list[Tensor]  # N of (n,) float32, falling: the softmax's probability
    threshold: Tensor  # (N,) the score from which a detection is answered
    proposals: list[Tensor] | None = None  # N of (P, 4), best first
    proposal_scores: list[Tensor] | None = None  # N of (P,) logits

    def scaled(self, scale: Tensor) -> Detected:
        twice = list(scale.repeat(1, 2))  # N of (4,)

        def larger(boxes: list[Tensor]) -> list[Tensor]:
            return [own * factor for own, factor in zip(boxes, twice, strict=True)]

        proposals = None if self.proposals is None else larger(self.proposals)
        return replace(self, corners=larger(self.corners), proposals=proposals)

    def unfitted(self, scale: Tensor, offset: Tensor, sides: Tensor) -> Detected:
        factors, shifts = list(scale.repeat(1, 2)), list(offset.repeat(1, 2))  # N of (4,)

        def back(boxes: list[Tensor]) -> list[Tensor]:
            return [(own - shift) / factor for own, factor, shift in zip(boxes, factors, shifts, strict=True)]

        proposals = None if self.proposals is None else back(self.proposals)
        whole = torch.cat([torch.zeros_like(sides), sides], 1)
        return replace(self, corners=back(self.corners), proposals=proposals).within(whole)

    def within(self, frame: Tensor | None) -> Detected:
        """The same with boxes cut to where the whole images lie (N, 4), and without those that lie in the padding alone."""
        if frame is None:
            return self
        cut = [_boxes.clip_to(own, one.expand(len(own), 4)) for own, one in zip(self.corners, frame, strict=True)]
        kept = [_boxes.areas(own) > 0 for own in cut]

        def those(column: list[Tensor]) -> list[Tensor]:
            return [own[rows] for own, rows in zip(column, kept, strict=True)]

        proposals = self.proposals
        if proposals is not None:
            proposals = [
                _boxes.clip_to(own, one.expand(len(own), 4)) for own, one in zip(proposals, frame, strict=True)
            ]
        return replace(
            self, corners=those(cut), labels=those(self.labels), scores=those(self.scores), proposals=proposals
        )

    @property
    def answered(self) -> Boxes:
        """The detections whose score reaches the threshold."""
        kept = [own >= least for own, least in zip(self.scores, self.threshold, strict=True)]

        def chosen(column: list[Tensor]) -> list[Tensor]:
            return [own[rows] for own, rows in zip(column, kept, strict=True)]

        return Boxes(chosen(self.corners), chosen(self.labels), chosen(self.scores))


@final
@dataclass(frozen=True)
class Sought(Target):
    """The true objects of each image, and what a training draws at random about them."""

    corners: list[Tensor]  # N of (n, 4)
    labels: list[Tensor]  # N of (n,) int64
    ignored: list[Tensor]  # N of (n,) bool
    near: list[Tensor]  # N of (m, 4): boxes about as right as good proposals, as further examples
    start: Tensor  # (N,) in [0, 1): where the choice of regions begins
    frame: Tensor | None = None  # (N, 4) where the whole image lies, if not just in its frame

    @property
    def boxes(self) -> Boxes:
        return Boxes(self.corners, self.labels, ignored=self.ignored)


@final
@dataclass(frozen=True)
class Padded:
    """The same number of boxes in each image, so that a batch is computed at once."""

    corners: Tensor  # (B, G, 4); 0 where there are fewer
    labels: Tensor  # (B, G) int64
    counts: Tensor  # (B, G) bool: an object that is to be found
    ignored: Tensor  # (B, G) bool: a crowd, which is neither object nor background


def padded(truth: Sought) -> Padded:
    """The objects of a batch in tensors.

    >>> box = torch.tensor([[0.0, 0, 2, 2]])
    >>> one = Sought([box], [torch.tensor([2])], [torch.tensor([False])], [torch.ones(0, 4)], torch.zeros(1))
    >>> padded(one).counts.tolist()
    [[True]]
    """
    corners, labels, ignored = (padded_rows(rows) for rows in (truth.corners, truth.labels, truth.ignored))
    lengths = torch.tensor([len(own) for own in truth.labels], device=corners.device)
    there = torch.arange(corners.shape[1], device=corners.device) < lengths[:, None]
    # an object of no area is nowhere
    return Padded(corners, labels, there & ~ignored & (_boxes.areas(corners) > 0), ignored)


def padded_rows(rows: Sequence[Tensor]) -> Tensor:
    """Rows of each image in one tensor, 0 where there are fewer; as many as any image of the whole batch has."""
    made = pad_sequence([*rows], batch_first=True)  # (B, G, …)
    (most,) = largest(made.shape[1], device=made.device)
    return F.pad(made, (0, 0) * (made.ndim - 2) + (0, most - made.shape[1]))


def detections(regions: Regions, size: tuple[int, int], overlap: float, soft: bool, threshold: Tensor) -> Detected:
    """The objects of each image: boxes of each class that are scored high enough and that no better one covers.

    Args:
        regions: what the model says.
        size: (H, W) of its images, at which boxes are cut.
        overlap: IoU above which a better box of the same class suppresses one.
        soft: lower the scores of such boxes instead.
        threshold: a scalar, the score from which detections are answered.
    """
    return suppressed(scored(regions, size), regions.proposals, overlap, soft, threshold)


class Scored(NamedTuple):
    """What is said of each region, for each class."""

    shares: Tensor  # (B, R, K) the softmax's probabilities, without that of the background
    corners: Tensor  # (B, R, K, 4)


def scored(regions: Regions, size: tuple[int, int]) -> Scored:
    """The probabilities of the classes and their boxes, cut at the frame of the images (H, W)."""
    shares = regions.logits.float().softmax(2)[:, :, 1:]
    corners = _boxes.decode(regions.offsets.float(), regions.corners.float()[:, :, None])
    return Scored(shares, _boxes.clip(corners, size))


def suppressed(said: Scored, proposals: Proposals, overlap: float, soft: bool, threshold: Tensor) -> Detected:
    """The detections among the boxes of all regions and classes; the arguments are those of `detections`."""
    found: list[tuple[Tensor, Tensor, Tensor]] = []
    for own, boxes in zip(*said, strict=True):
        places, labels = (own >= FLOOR).nonzero(as_tuple=True)
        candidates, scores = boxes[places, labels], own[places, labels]
        kept, scores = _boxes.suppress(candidates, scores, labels, overlap, soft)
        kept, scores = kept[:MOST], scores[:MOST]
        high = scores >= FLOOR  # soft suppression has lowered some
        kept, scores = kept[high], scores[high]
        found.append((candidates[kept], labels[kept], scores))
    return Detected(
        [row[0] for row in found],
        [row[1] for row in found],
        [row[2] for row in found],
        threshold.float().expand(len(found)),
        list(proposals.corners),
        list(proposals.scores),
    )
