# SPDX-License-Identifier: Apache-2.0
"""Soft assignments of codes to clusters."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

__all__ = ["log_shares", "squared_distances"]

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
