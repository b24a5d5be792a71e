# SPDX-License-Identifier: Apache-2.0
"""Semantic clustering by adopting nearest neighbours (Van Gansbeke et al. 2020): an image belongs where its neighbours do.

The paper's network answers two images a step, one and a neighbour of it. Here the assignments of all training images lie in a
table that each step brings up to date for its own images, so that a neighbour's assignment is looked up: half the work, and all
ten neighbours count at once.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from pellucid._processes import gathered
from pellucid.tasks.cluster import methods
from pellucid.tasks.cluster.soft import log_shares

__all__ = ["losses", "update_table"]

_MOMENTUM = 0.05  # of the centres, in a step whose images would replace them


def losses(inner: Any, code: Tensor, places: Tensor, unit: bool) -> tuple[Tensor, Tensor]:
    """How far images disagree with their neighbours, and how unequal the clusters are, both in nats and at least 0.

    The first is −log⟨p, p̄⟩, where p is the soft assignment of a view and p̄ the mean one of the image's neighbours; the second is
    log k less the entropy of the batch's mean assignment (the paper's eq. 2, with its signs). In training, the table of the
    assignments and the centres follow the batch.

    Args:
        inner: the model, which keeps the centres (k, D), the assignments "shares" (M, k) and the neighbours "near" (M, 10) of the
            training images.
        code: (V·B, D), first the first view of all images, then the second one.
        places: (B,), positions of the images in the training data.
        unit: codes have length 1.
    """
    kept, views = inner.kept, len(code) // len(places)
    code, places = torch.cat([gathered(view) for view in code.chunk(views)]), gathered(places)
    shares = log_shares(code, kept, unit).exp()  # (V·B, k)
    near = kept["shares"][kept["near"][places]].mean(1)  # (B, k)
    apart = -(shares * near.repeat(views, 1)).sum(1).clamp_min(1e-6).log().mean()
    mean = shares.mean(0)
    unequal = (mean * (mean.clamp_min(1e-6) * len(mean)).log()).sum()
    if inner.training:
        with torch.no_grad():
            _follow(kept, code, shares, places, views, unit)
    return apart, unequal


def _follow(kept: Any, code: Tensor, shares: Tensor, places: Tensor, views: int, unit: bool) -> None:
    """Write the images' assignments into the table, and move the centres towards the mean codes, weighted by them."""
    kept["shares"].index_copy_(0, places, shares.view(views, len(places), -1).mean(0))
    centres, weight = kept["centres"], shares.sum(0)[:, None]  # (k, D), (k, 1)
    # a cluster without an image in this batch stays where it is
    means = torch.where(weight > 0.5, shares.T @ code / weight.clamp_min(0.5), centres)
    moved = torch.lerp(centres, means, _MOMENTUM)
    kept.put(centres=F.normalize(moved, dim=1) if unit else moved)


def update_table(kept: Any, codes: Tensor, places: Tensor, unit: bool) -> None:
    """Compute each training image's neighbours and assignment from all codes (N, D), by its position `places` (N,) in the data."""
    near = torch.from_numpy(methods.neighbours(codes.cpu().numpy())[:, 1:]).to(codes.device)  # (N, 10), without itself
    rows = int(places.max()) + 1
    shares = log_shares(codes, kept, unit).exp()  # (N, k)
    kept.put(
        near=torch.zeros(rows, near.shape[1], dtype=torch.int64, device=codes.device).index_copy(
            0, places, places[near]
        ),
        shares=torch.zeros(rows, shares.shape[1], device=codes.device).index_copy(0, places, shares),
    )
