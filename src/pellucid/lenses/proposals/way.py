# SPDX-License-Identifier: Apache-2.0
"""The way of one image through a detector: what each step leaves, as arrays."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Protocol, final, runtime_checkable

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from pellucid._boxes import iou
from pellucid.errors import UsageError
from pellucid.lenses._parts import Network

__all__ = ["ENOUGH", "STRICT", "ShowsSteps", "Way", "way_of"]

ENOUGH, STRICT = 0.5, 0.7  # IoU from which a proposal counts as one of an object
_SHOWN = 6  # regions whose pooled values and probabilities are drawn


class Ranked(Protocol):
    """Boxes of a batch."""

    @property
    def corners(self) -> Tensor:
        """(B, P, 4) px."""

    @property
    def scores(self) -> Tensor:
        """(B, P) logits of an object."""


class Steps(Protocol):
    """What a detector's `steps` gives of a batch of images."""

    @property
    def maps(self) -> Sequence[Tensor]:
        """(B, C, h, w) each, the finest first."""

    @property
    def strides(self) -> Sequence[int]:
        """px of the image from one place of a map to the next, for each map."""

    @property
    def grid(self) -> Tensor:
        """(A, 4) px, the boxes from which proposals are made."""

    @property
    def objectness(self) -> Tensor:
        """(B, A) logits of an object in each of them."""

    @property
    def candidates(self) -> Ranked:
        """The best boxes of the grid, moved to where the objects seem to be, the best first."""

    @property
    def covered(self) -> Tensor:
        """(B, M) bool: the candidates that a better one covers."""

    @property
    def regions(self) -> Ranked:
        """The ones that are classified."""

    @property
    def pooled(self) -> Tensor:
        """(B, R, C, bins, bins) values of each region."""

    @property
    def logits(self) -> Tensor:
        """(B, R, K + 1) scores of the background and of the classes."""

    @property
    def searched(self) -> bool:
        """Whether the candidates are those of selective search; −∞ is then the score of a mere repetition."""


@runtime_checkable
class ShowsSteps(Protocol):
    """A model that can show the steps from an image to its answer."""

    def steps(self, images: Tensor) -> Any:
        """`Steps` of images (B, C, H, W)."""


class Detections(Protocol):
    """What a task answers about objects, for a batch."""

    corners: Sequence[Tensor]  # B of (n, 4) px
    labels: Sequence[Tensor]  # B of (n,) int64
    scores: Sequence[Tensor]  # B of (n,)
    threshold: Tensor  # (B,)


@final
@dataclass(frozen=True)
class Way:
    """One image's arrays; corners are x0, y0, x1, y1 in px of the image as the model takes it."""

    name: str
    image: Tensor  # (C, H, W)
    map: NDArray[np.float32]  # (C, h, w), the finest
    stride: int  # px
    grid: NDArray[np.float32]  # (A, 4)
    objectness: NDArray[np.float32]  # (A,) probabilities
    candidates: NDArray[np.float32]  # (M, 4), the best first
    candidate_scores: NDArray[np.float32]  # (M,) probabilities
    covered: NDArray[np.bool_]  # (M,) by a better one
    regions: NDArray[np.float32]  # (R, 4), those that are classified
    region_scores: NDArray[np.float32]  # (R,) probabilities
    probabilities: NDArray[np.float32]  # (R, K + 1), the background first
    answers: NDArray[np.float32]  # (n, 4)
    answer_labels: NDArray[np.int64]  # (n,)
    answer_scores: NDArray[np.float32]  # (n,)
    threshold: float  # the score from which a detection is answered
    shown: NDArray[np.int64]  # (S,) the regions of the best answers
    pooled: NDArray[np.float32]  # (S, C, bins, bins) values of these
    truth: NDArray[np.float32] | None  # (m, 4) the true boxes, where they are known
    searched: bool  # whether selective search proposes the regions, and not the grid

    @property
    def size(self) -> tuple[int, int]:
        """(H, W) px."""
        return int(self.image.shape[1]), int(self.image.shape[2])

    @property
    def proposals(self) -> NDArray[np.float32]:
        """(P, 4): the candidates that no better one covers."""
        return self.candidates[~self.covered]

    @property
    def answered(self) -> NDArray[np.bool_]:
        """(n,): which detections reach the threshold."""
        return np.asarray(self.answer_scores >= self.threshold)

    @cached_property
    def objectness_map(self) -> NDArray[np.float32]:
        """(h, w): the highest probability among the grid's boxes whose centre lies in each cell; NaN where none does."""
        height, width = (-(-side // self.stride) for side in self.size)
        x, y = ((self.grid[:, :2] + self.grid[:, 2:]) / 2 / self.stride).T.astype(np.int64)
        values = np.full((height, width), -1.0, np.float32)
        np.maximum.at(values, (y.clip(0, height - 1), x.clip(0, width - 1)), self.objectness)
        return np.where(values >= 0, values, np.nan).astype(np.float32)

    def fit(self, corners: NDArray[np.float32]) -> NDArray[np.float32]:
        """(n, m): the IoU of boxes with the true ones."""
        truth = np.zeros((0, 4), np.float32) if self.truth is None else self.truth
        return _array(iou(torch.from_numpy(corners), torch.from_numpy(truth)))

    def found(self, corners: NDArray[np.float32], least: float) -> int:
        """How many true boxes have one of these with an IoU of at least so much."""
        return int((self.fit(corners).max(0, initial=0.0) >= least).sum())


@torch.no_grad()
def way_of(network: Network, place: int) -> Way:
    """The way of the image at a place.

    Raises:
        UsageError: the model proposes no regions, or nobody knows how its answers are read.
    """
    model, answer = network.model, network.answer
    if not isinstance(model, ShowsSteps):
        raise UsageError("model: proposes no regions; look at a run of detect.")
    if answer is None:
        raise UsageError("model: only a task knows what is left after suppression; look at a run of detect.")
    image = network.images[place].to(network.device)
    steps: Steps = model.steps(image[None])
    found: Detections = answer(model, image[None])
    known, scored = (boxes.scores[0].isfinite() for boxes in (steps.candidates, steps.regions))  # (M,), (R,)
    shares = steps.logits[0, scored].float().softmax(1).cpu()  # (R, K + 1)
    corners, labels, scores = (own[0].cpu() for own in (found.corners, found.labels, found.scores))
    regions = steps.regions.corners[0, scored].float().cpu()
    shown = _regions_of(regions, shares, corners[:_SHOWN], labels[:_SHOWN])
    truth = network.truth[place] if place < len(network.truth) else None
    return Way(
        network.name(place),
        image.cpu(),
        _array(steps.maps[0][0]),
        int(steps.strides[0]),
        _array(steps.grid),
        _array(steps.objectness[0].sigmoid()),
        _array(steps.candidates.corners[0, known]),
        _array(steps.candidates.scores[0, known].sigmoid()),
        steps.covered[0, known].cpu().numpy(),
        _array(regions),
        _array(steps.regions.scores[0, scored].sigmoid()),
        _array(shares),
        _array(corners),
        labels.numpy(),
        _array(scores),
        float(found.threshold[0]),
        shown,
        _array(steps.pooled[0, torch.from_numpy(shown).to(network.device)]),
        None if truth is None else _array(truth.corners[0]),
        steps.searched,
    )


def _regions_of(regions: Tensor, shares: Tensor, corners: Tensor, labels: Tensor) -> NDArray[np.int64]:
    """(S,): for each answer the region that speaks most for it, by its probability of the class times its overlap."""
    if not len(regions) or not len(corners):
        return np.arange(min(_SHOWN, len(regions)))
    speaks = shares[:, 1 + labels] * iou(regions, corners)  # (R, S)
    _, first = np.unique(speaks.argmax(0).numpy(), return_index=True)  # each once, in the order of the answers
    return np.asarray(speaks.argmax(0).numpy()[np.sort(first)], np.int64)


def _array(values: Tensor) -> NDArray[np.float32]:
    return np.asarray(values.detach().float().cpu().numpy(), np.float32)
