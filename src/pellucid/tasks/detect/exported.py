# SPDX-License-Identifier: Apache-2.0
"""The module that an exported file holds: from images to detections, with proposals and suppression inside."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import final

import torch
from torch import Tensor, nn

from pellucid import _boxes
from pellucid.models import Regions
from pellucid.tasks.detect.objects import MOST

__all__ = ["NAMES", "Exported", "disagreement", "meaning"]

NAMES = ("boxes", "scores", "labels", "count")

_TIE = 1e-15  # a million of them are less than the step from one float32 to the next, for scores that count
_CANDIDATES = 1000  # of an image, the surest boxes of all classes, which are suppressed
_PX, _SCORE = 0.1, 1e-3  # by which two computations of one detection may differ
_FLIPS = (
    0.02  # share of the detections that may: two nearly equal scores change places, and with them what is suppressed
)


@final
class Exported(nn.Module):
    """The same number of detections for every image of a batch, the surest first.

    Args:
        model: of the output kind "regions", in eval mode.
        overlap: IoU above which a better detection of the same class suppresses another one.
        soft: lower the scores of such detections instead.
    """

    def __init__(self, model: nn.Module, overlap: float, soft: bool) -> None:
        super().__init__()
        self.model, self.overlap, self.soft = model, overlap, soft
        self.eval()

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Boxes (B, N, 4) px, scores (B, N) and labels (B, N) int64, and how many of the first are answered, (B,) int64."""
        regions: Regions = self.model(images)
        shares = regions.logits.float().softmax(2)[:, :, 1:]  # (B, R, K)
        corners = _boxes.decode(regions.offsets.float(), regions.corners.float()[:, :, None])
        corners = _boxes.clip(corners, (images.shape[2], images.shape[3]))  # (B, R, K, 4)
        count = shares.shape[1] * shares.shape[2]
        places = _best(shares.flatten(1), _CANDIDATES)  # (B, C)
        scores = shares.flatten(1).gather(1, places)
        labels = places % shares.shape[2]
        boxes = corners.flatten(1, 2).gather(1, places[:, :, None].expand(-1, -1, 4))
        most = min(MOST, _CANDIDATES, count)
        if self.soft:
            scores, order = _softly(boxes, scores, labels, most)
        else:
            kept = _boxes.kept(boxes, scores, labels, self.overlap)
            scores = torch.where(kept, scores, 0.0)
            order = _best(scores, most)
            scores = scores.gather(1, order)
        answered = (scores >= self.model.get_buffer("threshold")).sum(1)
        return boxes.gather(1, order[:, :, None].expand(-1, -1, 4)), scores, labels.gather(1, order), answered


def _best(scores: Tensor, count: int) -> Tensor:
    """The places (B, n) of the highest scores (B, m); of equal ones, the first comes first, as in `predict`.

    Regions that are pooled from the same places of a map have equal scores, and `topk` alone takes any of them.
    """
    key = scores.double() - _TIE * torch.arange(scores.shape[1], device=scores.device)
    return key.topk(min(count, scores.shape[1]), dim=1).indices


def _softly(corners: Tensor, scores: Tensor, labels: Tensor, count: int) -> tuple[Tensor, Tensor]:
    """The scores (B, count) and places of the best boxes, each of which lowers the others of its class (Bodla et al. 2017)."""
    found, order = [], []
    for _ in range(count):  # a known number of choices: no loop is left in the graph
        best = scores.argmax(1, keepdim=True)  # (B, 1)
        found.append(scores.gather(1, best))
        order.append(best)
        box = corners.gather(1, best[:, :, None].expand(-1, -1, 4))
        factor = _boxes.softened(_boxes.iou(box, corners)[:, 0])  # (B, C)
        lowered = torch.where(labels == labels.gather(1, best), scores * factor, scores)
        scores = lowered.scatter(1, best, 0.0)
    return torch.cat(found, 1), torch.cat(order, 1)


def meaning(overlap: float, threshold: float) -> Mapping[str, str]:
    """What the outputs are, for the metadata of a file."""
    return {
        "output": "boxes (batch, n, 4) as x0, y0, x1, y1 in px of the input; scores (batch, n), falling; labels (batch, n), "
        "positions in classes; count (batch,): so many of the first reach the threshold",
        "size": "images of another size are resized to that of the input first; boxes times the ratio of the sizes are px of theirs",
        "threshold": f"{threshold:.9g}",
        "overlap": f"{overlap:.9g}",
    }


def disagreement(wanted: Sequence[Tensor], got: Sequence[Tensor]) -> str | None:
    """In how many detections two computations differ; None where these are as few as rounding explains.

    >>> one = (torch.ones(1, 2, 4), torch.tensor([[0.9, 0.8]]), torch.zeros(1, 2, dtype=torch.int64), torch.tensor([2]))
    >>> other = (2 + one[0], *one[1:])
    >>> print(disagreement(one, one), disagreement(one, other))
    None in 2 of 2 detections

    Args:
        wanted: the four outputs.
        got: the same of another computation.
    """
    boxes, scores, labels, _ = wanted
    apart = (boxes[:, :, None] - got[0][:, None]).abs().amax(3)  # (B, n, n) px
    same = (apart <= _PX) & ((scores[:, :, None] - got[1][:, None]).abs() <= _SCORE)
    found = (same & (labels[:, :, None] == got[2][:, None])).any(2) | (scores <= 0)
    lacking, every = int((~found).sum()), found.numel()
    off = (wanted[3] - got[3]).abs().sum() > _FLIPS * every
    if lacking <= _FLIPS * every and not bool(off):
        return None
    return f"in {lacking:,} of {every:,} detections"
