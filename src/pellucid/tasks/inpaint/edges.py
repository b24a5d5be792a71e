# SPDX-License-Identifier: Apache-2.0
"""Differences between neighbouring pixels in a hole and across its border: what edges are made of."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

__all__ = ["border_error", "gradient_sums"]

_STRIP = 4  # px inside the hole along its border
_LEAST = 0.1 / 255  # mean difference of the true neighbours, below which a picture counts as flat


def gradient_sums(answer: Tensor, truth: Tensor, where: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """For each picture (B,): the sums of |∇answer − ∇truth| and of |∇truth| over neighbours, and the number of their values.

    Neighbours lie side by side or one above the other, and at least one of the two lies in `where`.

    >>> truth, where = torch.zeros(1, 1, 1, 4), torch.tensor([[[[0.0, 1.0, 0.0, 0.0]]]])
    >>> truth[..., 2:] = 1.0
    >>> [float(part) for part in gradient_sums(truth + 0.5 * where, truth, where)]
    [1.0, 1.0, 2.0]

    Args:
        answer: (B, C, H, W).
        truth: (B, C, H, W).
        where: (B, 1, H, W), 1 or 0.
    """
    wrong, there, number = truth.new_zeros(len(truth)), truth.new_zeros(len(truth)), truth.new_zeros(len(truth))
    for axis in (2, 3):
        pairs = torch.maximum(_later(where, axis), _earlier(where, axis))
        ours, theirs = (_later(image, axis) - _earlier(image, axis) for image in (answer, truth))
        wrong = wrong + ((ours - theirs).abs() * pairs).sum((1, 2, 3))
        there = there + (theirs.abs() * pairs).sum((1, 2, 3))
        number = number + pairs.sum((1, 2, 3)) * truth.shape[1]
    return wrong, there, number


def border_error(answer: Tensor, truth: Tensor, mask: Tensor) -> Tensor:
    """How far edges do not go on across a hole's border, (B,): Σ |∇answer − ∇truth| / Σ |∇truth| along it.

    The sums run over neighbouring pixels of which at least one is missing and at most 4 px (in rows and columns) away from a known one.
    0: as in the truth; about 1: no edge goes on, as in an even fill of the right brightness; above 1: false edges. The mean
    of |∇truth| counts as at least a tenth of 1/255, so that flat pictures have a measure. A hole at the picture's edge has no border there.

    >>> truth, mask = torch.zeros(1, 1, 12, 12), torch.zeros(1, 1, 12, 12)
    >>> truth[:, :, :, 6:], mask[:, :, 4:8, 4:8] = 1.0, 1.0
    >>> [round(float(border_error(answer, truth, mask)), 2) for answer in (truth, truth * (1 - mask))]
    [0.0, 3.0]

    Args:
        answer: (B, C, H, W) in [0, 1], with the true values where pixels are known.
        truth: (B, C, H, W) in [0, 1].
        mask: (B, 1, H, W), 1 = missing.
    """
    near = F.max_pool2d(1 - mask, 2 * _STRIP + 1, stride=1, padding=_STRIP)  # of a known pixel
    wrong, there, number = gradient_sums(answer, truth, mask * near)
    return wrong / torch.maximum(there, _LEAST * number).clamp_min(1e-12)


def _later(images: Tensor, axis: int) -> Tensor:
    return images.narrow(axis, 1, images.shape[axis] - 1)


def _earlier(images: Tensor, axis: int) -> Tensor:
    return images.narrow(axis, 0, images.shape[axis] - 1)
