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

from pellucid._processes import gathered
from pellucid.tasks.cluster import methods
from pellucid.tasks.cluster.soft import by_place, log_shares, move_centres

__all__ = ["losses", "update_table"]


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
            kept["shares"].index_copy_(0, places, shares.view(views, len(places), -1).mean(0))
            move_centres(kept, shares, code, unit)
    return apart, unequal


def update_table(kept: Any, codes: Tensor, places: Tensor, unit: bool) -> None:
    """Compute each training image's neighbours and assignment from all codes (N, D), by its position `places` (N,) in the data."""
    near = torch.from_numpy(methods.neighbours(codes.cpu().numpy())[:, 1:]).to(codes.device)  # (N, 10), without itself
    kept.put(near=by_place(places[near], places), shares=by_place(log_shares(codes, kept, unit).exp(), places))
