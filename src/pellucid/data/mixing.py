# SPDX-License-Identifier: Apache-2.0
"""Training images mixed with others of their batch, with the shares of the classes in them."""

from __future__ import annotations

import torch
from torch import Tensor

from pellucid._processes import before
from pellucid.data.draws import Draws

__all__ = ["STRONGEST", "mixed"]

STRONGEST = 30
"""The highest magnitude of RandAugment's operations."""


def mixed(
    images: Tensor, shares: Tensor, draws: Draws, mixup: float = 0.0, cutmix: float = 0.0
) -> tuple[Tensor, Tensor]:
    """Each image with the one before it in the batch, and the shares of both in what it shows; one of the two ways for each image.

    mixup: λ·x + (1 − λ)·x′ with λ from Beta(α, α), and the same of their shares (Zhang et al. 2018, section 2).
    cutmix: a rectangle of x′, of 1 − λ of the area, in x; the shares are those of the areas (Yun et al. 2019, eq. 1 and 2).

    >>> images, shares = torch.rand(4, 3, 8, 8), torch.eye(4)
    >>> made, of_each = mixed(images, shares, Draws.step(0, 0, slice(0, 4), 4), mixup=0.4)
    >>> made.shape, [round(total, 4) for total in of_each.sum(1).tolist()]
    (torch.Size([4, 3, 8, 8]), [1.0, 1.0, 1.0, 1.0])

    Args:
        images: (B, C, H, W).
        shares: (B, K) of the classes in each image.
        draws: random numbers for each image.
        mixup: α of mixup; 0 for none.
        cutmix: α of cut-mix; 0 for none.

    Of several processes, each mixes its images as one process would: before its first comes the last of the process before it.
    """
    if not mixup and not cutmix:
        return images, shares
    others, other_shares = before(images), before(shares)
    height, width = images.shape[2:]
    weights = torch.zeros(len(images), 1, height, width, device=images.device)  # of the image itself at each pixel
    if mixup:
        weights = weights + _beta(draws, mixup)[:, None, None, None]
    if cutmix:
        cut = _outside(draws, _beta(draws, cutmix), height, width)
        chosen = draws.uniform() < 0.5 if mixup else torch.ones(len(images), dtype=torch.bool, device=images.device)
        weights = torch.where(chosen[:, None, None, None], cut, weights)
    kept = weights.mean((1, 2, 3))[:, None]  # (B, 1)
    return torch.lerp(others, images, weights), torch.lerp(other_shares, shares, kept)


def _outside(draws: Draws, share: Tensor, height: int, width: int) -> Tensor:
    """(B, 1, H, W): 0 in a rectangle of 1 − share of the area about a random centre, cut at the edges; 1 outside of it."""
    side = (1 - share).sqrt()  # (B,) of the rectangle, as a share of the image's
    inside = []
    for length in (height, width):
        centre, half = draws.uniform() * length, side * length / 2
        places = torch.arange(length, device=share.device)
        first, last = (centre - half).round()[:, None], (centre + half).round()[:, None]
        inside.append((places >= first) & (places < last))  # (B, length)
    return 1 - (inside[0][:, :, None] & inside[1][:, None, :])[:, None].float()


def _beta(draws: Draws, alpha: float) -> Tensor:
    """(B,) numbers from Beta(α, α), by the inverse of its distribution function: one uniform number for each."""
    from scipy.special import betaincinv

    chance = draws.uniform()
    values = betaincinv(alpha, alpha, chance.double().cpu().numpy())
    return torch.from_numpy(values).to(chance)
