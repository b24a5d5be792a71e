# SPDX-License-Identifier: Apache-2.0
"""The one object of each image: what is known of it, and which of several boxes it is."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import final

import torch
from torch import Tensor

from pellucid import _boxes
from pellucid.data.targets import Boxes, Target

__all__ = ["Located", "largest"]


@final
@dataclass(frozen=True)
class Located(Target):
    """Whether each image has an object, which class it is of, and its box.

    Of a truth without an object, class and box are 0; of an answer they are always there, as what the object would be.
    """

    present: Tensor  # (N,) float32: the probability of an object; of a truth 0 or 1
    index: Tensor  # (N,) int64: its class
    corners: Tensor  # (N, 4) float32: x0, y0, x1, y1 in px; pixel (i, j) covers [j, j+1) × [i, i+1)
    probabilities: Tensor | None = None  # (N, K) float32 of the classes, if there is an object; answers only
    frame: Tensor | None = None  # (N, 4) float32: where the whole image lies, if not just in its frame; of a truth

    def scaled(self, scale: Tensor) -> Located:
        twice = scale.repeat(1, 2)
        frame = None if self.frame is None else self.frame * twice
        return replace(self, corners=self.corners * twice, frame=frame)

    def unfitted(self, scale: Tensor, offset: Tensor, sides: Tensor) -> Located:
        corners = (self.corners - offset.repeat(1, 2)) / scale.repeat(1, 2)
        return replace(self, corners=_boxes.clip_to(corners, torch.cat([torch.zeros_like(sides), sides], 1)))

    def within(self, frame: Tensor | None) -> Located:
        """The same with boxes cut to where the whole images lie: what an answer has in the padding counts nowhere."""
        return self if frame is None else replace(self, corners=_boxes.clip_to(self.corners, frame))

    @property
    def found(self) -> Tensor:
        """(N,) bool: whether there is an object, c₀ > 0."""
        return self.present > 0.5


def largest(boxes: Boxes, size: tuple[int, int], frame: Tensor | None = None) -> Located:
    """The largest box of each image among those that count and are at least partly inside, cut to the image.

    >>> corners = [torch.tensor([[0.0, 0, 2, 2], [1, 1, 9, 5]]), torch.zeros(0, 4)]
    >>> truth = largest(Boxes(corners, [torch.tensor([3, 5]), torch.zeros(0, dtype=torch.int64)]), (8, 8))
    >>> truth.present.tolist(), truth.index.tolist(), truth.corners[0].tolist()
    ([1.0, 0.0], [5, 0], [1.0, 1.0, 8.0, 5.0])

    Args:
        boxes: of N images, any number in each.
        size: (H, W) of the images in px.
        frame: (N, 4) where each image lies, if not from 0 to its size.
    """
    flat, labels = torch.cat(boxes.corners).float(), torch.cat(boxes.labels)  # (total, 4), (total,)
    counts = torch.tensor([len(own) for own in boxes.corners], device=flat.device)  # (N,)
    flat = _boxes.clip(flat, size) if frame is None else _boxes.clip_to(flat, frame.repeat_interleave(counts, 0))
    area = (flat[:, 2:] - flat[:, :2]).prod(1)
    counted = area > 0
    if boxes.ignored is not None:
        counted &= ~torch.cat(boxes.ignored)
    owner = torch.arange(len(counts), device=flat.device).repeat_interleave(counts)
    # the first of each owner's boxes in the order of falling areas; of equal ones, the first in the data
    order = torch.where(counted, area, -1.0).argsort(descending=True, stable=True)
    order = order[owner[order].argsort(stable=True)]
    some = counts > 0
    first = order[(counts.cumsum(0) - counts)[some]]
    present = some.clone()
    present[some] = counted[first]
    index, corners = labels.new_zeros(len(counts)), flat.new_zeros(len(counts), 4)
    index[some], corners[some] = labels[first], flat[first]
    return Located(present.float(), index * present, corners * present[:, None], frame=frame)
