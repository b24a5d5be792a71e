# SPDX-License-Identifier: Apache-2.0
"""Soft assignments of codes to clusters, and what follows from them."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

__all__ = ["by_place", "log_shares", "move_centres", "squared_distances"]

_MOMENTUM = 0.05  # of the centres' running means
_SHARPNESS = 0.1  # temperature, in squared units of length 1, or of the codes' scale where they have no such length


def log_shares(code: Tensor, kept: Any, unit: bool, scale: Tensor | None = None) -> Tensor:
    """Logarithms of the soft assignments q (B, k) of codes (B, D): the soft-max of −d²/2 over the temperature.

    >>> shares = log_shares(torch.tensor([[0.0], [1.0]]), {"centres": torch.tensor([[0.0], [1.0]])}, unit=True).exp()
    >>> [round(share, 3) for share in shares[:, 0].tolist()]
    [0.993, 0.007]

    Args:
        code: (B, D).
        kept: the "centres" (k, D), and their "scale".
        unit: codes have length 1, and so the scale is 1.
        scale: the squared distance in whose units the temperature is, if it is not the kept one.
    """
    centres: Tensor = kept["centres"]
    if scale is None:
        scale = torch.ones((), device=centres.device) if unit else kept["scale"]
    return (-squared_distances(code, centres) / (2 * _SHARPNESS * scale)).log_softmax(1)


def squared_distances(code: Tensor, centres: Tensor) -> Tensor:
    """(B, k), from codes (B, D) and centres (k, D)."""
    return (code.square().sum(1, keepdim=True) - 2 * code @ centres.T + centres.square().sum(1)).clamp_min(0)


def move_centres(kept: Any, shares: Tensor, code: Tensor, unit: bool) -> None:
    """Move the kept centres towards the mean codes (B, D) of a whole batch, weighted by the codes' shares (B, k) in the clusters."""
    centres, weight = kept["centres"], shares.sum(0)[:, None]  # (k, D), (k, 1)
    # a cluster without an image in this batch stays where it is
    means = torch.where(weight > 0.5, shares.T @ code / weight.clamp_min(0.5), centres)
    moved = torch.lerp(centres, means, _MOMENTUM)
    kept.put(centres=F.normalize(moved, dim=1) if unit else moved)


def by_place(rows: Tensor, places: Tensor) -> Tensor:
    """A table of rows (N, …) by the image's position `places` (N,) in the training data, where a step looks it up.

    >>> by_place(torch.tensor([5, 6]), torch.tensor([2, 0])).tolist()
    [6, 0, 5]
    """
    return rows.new_zeros(int(places.max()) + 1, *rows.shape[1:]).index_copy(0, places, rows)
