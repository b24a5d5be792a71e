# SPDX-License-Identifier: Apache-2.0
"""The same regions in several views of each image: the mean of what is said of them."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from pellucid.models import Proposals, Regions
from pellucid.tasks._views import Views
from pellucid.tasks.detect.objects import Scored, scored

__all__ = ["mean_over"]


def mean_over(model: nn.Module, images: Tensor, views: Views) -> tuple[Scored, Proposals]:
    """The mean probabilities of the classes, and the mean boxes, of the regions that the model proposes in the plain view.

    Each view is a pass of its own, in which the heads score these regions, at their places there. So no boxes of different views
    have to be matched before they are averaged, as Solovyev et al. 2021 do: one suppression follows, as for a single view.

    Args:
        model: as `FastRcnn`.
        images: (B, C, H, W).
        views: the first is the plain one.
    """
    size = (images.shape[2], images.shape[3])
    plain: Regions = model(images)
    own = scored(plain, size)
    shares, weighted = own.shares.clone(), own.corners * own.shares[..., None]
    for view in [*views][1:]:
        seen, there = view.seen(images), view.placed(plain.corners, size)
        found: Regions = model(seen, lambda proposals, there=there: there)
        again = scored(found, (seen.shape[2], seen.shape[3]))
        shares += again.shares
        weighted += view.placed_back(again.corners, size) * again.shares[..., None]
    # a view that is surer of a class knows more of its place
    corners = weighted / shares.clamp_min(torch.finfo(shares.dtype).tiny)[..., None]
    # selective search finds fewer regions in some images: the others repeat one, and are background whatever a view says of them
    there = plain.proposals.scores[:, : shares.shape[1]].isfinite()[..., None]
    return Scored(torch.where(there, shares / len(views), own.shares), corners), plain.proposals
