# SPDX-License-Identifier: Apache-2.0
"""The one rule of all tasks that restore pictures: a picture comes back with the planes that it had, grey or colour."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

__all__ = ["through_planes"]


def through_planes(rule: Callable[[Tensor], Tensor], images: Tensor, channels: int) -> Tensor:
    """Restore pictures (B, C, H, W) with a rule for pictures of `channels` planes; the answer has C planes again.

    A model of grey pictures restores each plane of a colour picture by itself, so that colours stay. A model of colour
    pictures gets a grey one as three equal planes, and the mean of what it answers is the grey answer.

    >>> halved = lambda images: images / 2
    >>> through_planes(halved, torch.ones(1, 3, 2, 2), 1).shape, through_planes(halved, torch.ones(1, 1, 2, 2), 3).shape
    (torch.Size([1, 3, 2, 2]), torch.Size([1, 1, 2, 2]))

    Args:
        rule: (B, channels, H, W) to (B, channels, H, W), in [0, 1].
        images: with 1 or 3 planes.
        channels: 1 or 3.
    """
    planes = images.shape[1]
    if planes == channels:
        return rule(images)
    if planes > channels:  # one after another: together they would take three times the memory
        return torch.cat([rule(images[:, i : i + 1]) for i in range(planes)], dim=1)
    return rule(images.expand(-1, channels, -1, -1)).mean(1, keepdim=True)
