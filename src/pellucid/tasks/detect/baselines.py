# SPDX-License-Identifier: Apache-2.0
"""Trivial answers: the mean box of the most common class, the whole image, nothing at all."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from pellucid.data.dataset import Split
from pellucid.data.targets import Boxes, target_of
from pellucid.tasks._records import Records
from pellucid.tasks.detect import metrics
from pellucid.tasks.detect.objects import Detected

__all__ = ["measured"]


def measured(train: Split, test: Split, size: tuple[int, int], seed: int = 0) -> dict[str, Records]:
    """The records of each method on test images of this size (H, W)."""
    known, truth = _truth(train, size), _truth(test, size)
    labels, corners = torch.cat(known.labels), torch.cat(known.corners)
    common = int(labels.bincount().argmax()) if len(labels) else 0
    whole = torch.tensor([[0.0, 0, size[1], size[0]]])
    mean = corners[labels == common].mean(0, keepdim=True) if len(labels) else whole
    answers = {"mean box of the most common class": mean, "the whole image": whole, "no object": whole[:0]}
    return {name: metrics.columns(_every(box, common, len(test)), truth) for name, box in answers.items()}


def _every(boxes: Tensor, label: int, images: int) -> Detected:
    count = len(boxes)
    labels, scores = torch.full((count,), label), torch.ones(count)
    return Detected([boxes] * images, [labels] * images, [scores] * images, torch.full((images,), 0.5))


def _truth(split: Split, size: tuple[int, int]) -> Boxes:
    """The objects of images that become this size; no image is decoded."""
    sizes = torch.from_numpy(split.images.sizes.astype(np.float32))  # (N, 2) height, width
    scale = (torch.tensor(size, dtype=torch.float32) / sizes).flip(1)
    return target_of(split.targets, "boxes", Boxes).scaled(scale)
