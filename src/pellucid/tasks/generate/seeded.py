# SPDX-License-Identifier: Apache-2.0
"""Random numbers as a function of one seed per row, for whole batches at once: the same in any batch and on any device."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor

__all__ = ["codes", "normal", "uniform"]

# SplitMix64 (Steele et al. 2014, fig. 16). Its constants as signed 64-bit integers: torch has no unsigned ones that
# multiply, and signed products wrap around in the same way.
_STEP = -7046029254386353131  # 0x9E3779B97F4A7C15
_FIRST = -4658895280553007687  # 0xBF58476D1CE4E5B9
_SECOND = -7723592293110705685  # 0x94D049BB133111EB


def uniform(seeds: Tensor, count: int, stream: int = 0) -> Tensor:
    """(B, count) float32 in (0, 1); each row is a function of its seed in `seeds` (B,) int64 and of `stream`.

    >>> drawn = uniform(torch.tensor([3, 4]), 1000)
    >>> bool((drawn[1:] == uniform(torch.tensor([4]), 1000)).all()), round(float(drawn.mean()), 1)
    (True, 0.5)
    """
    rows = _mixed(_mixed(seeds.to(torch.int64) + 1) + stream)[:, None]  # (B, 1)
    state = _mixed(rows + torch.arange(1, count + 1, device=seeds.device) * _STEP)  # (B, count)
    # the upper 24 bits are what a float32 holds exactly; the half keeps 0 and 1 out, for the logarithm in `normal`
    return (_shifted(state, 40).float() + 0.5) / 2.0**24


def normal(seeds: Tensor, count: int, stream: int = 0) -> Tensor:
    """(B, count) standard normal float32, each row a function of its seed (Box & Muller 1958).

    >>> drawn = normal(torch.arange(100), 100)
    >>> round(float(drawn.mean()), 1) + 0.0, round(float(drawn.std()), 1)
    (0.0, 1.0)
    """
    half = -(-count // 2)  # two uniform numbers make two normal ones
    drawn = uniform(seeds, 2 * half, stream)
    radius = (-2 * torch.log(drawn[:, :half])).sqrt()
    angle = 2 * math.pi * drawn[:, half:]
    return torch.cat([radius * angle.cos(), radius * angle.sin()], dim=1)[:, :count]


def codes(model: Any, count: int, seed: int) -> Tensor:
    """(count, latent) standard normal codes for a model, on its device; a larger count only adds codes at the end."""
    device = next(model.parameters()).device
    # the seed in the upper half of the 64 bits: codes of different seeds never coincide
    return normal(torch.arange(count, device=device) + (seed << 32), model.latent)


def _shifted(values: Tensor, by: int) -> Tensor:
    """A logical right shift; torch's own copies the sign bit."""
    return (values >> by) & ((1 << (64 - by)) - 1)


def _mixed(values: Tensor) -> Tensor:
    """SplitMix64's finaliser: every input bit flips about half of the output bits."""
    values = (values ^ _shifted(values, 30)) * _FIRST
    values = (values ^ _shifted(values, 27)) * _SECOND
    return values ^ _shifted(values, 31)
