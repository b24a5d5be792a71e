# SPDX-License-Identifier: Apache-2.0
"""Noise on whole batches, seeded: gaussian, speckle, salt-and-pepper, poisson, missing patches."""

from __future__ import annotations

from typing import Any, Literal, get_args

import torch
from torch import Tensor

from pellucid.data.draws import Draws
from pellucid.errors import UnknownNameError, UsageError

__all__ = ["KINDS", "Kind", "corrupt"]

Kind = Literal["gaussian", "speckle", "salt_and_pepper", "poisson", "missing"]
KINDS: tuple[str, ...] = get_args(Kind)
_PHOTON = 1e-6  # a photon that is darker than this leaves an image as it is, to a thousandth
_MOST = {"gaussian": 4.0, "speckle": 4.0, "salt_and_pepper": 1.0, "poisson": 1.0, "missing": 1.0}


def corrupt(images: Tensor, kind: Kind, level: float | Tensor, draws: Draws, *, clip: bool = False) -> Tensor:
    """Add noise to images.

    >>> clean = torch.full((2, 1, 8, 8), 0.5)
    >>> noisy = corrupt(clean, "gaussian", 0.1, Draws.step(0, 0, slice(0, 2), 2))
    >>> noisy.shape, bool((noisy != clean).all())
    (torch.Size([2, 1, 8, 8]), True)
    >>> noisy = corrupt(clean, "gaussian", torch.tensor([0.0, 0.1]), Draws.step(0, 0, slice(0, 2), 2))
    >>> [bool((one != whole).any()) for one, whole in zip(noisy, clean)]
    [False, True]

    Args:
        images: (B, C, H, W) float32 in [0, 1].
        kind: gaussian: x + σ·n with n standard normal; speckle: x + σ·x·n; salt_and_pepper: a share of the pixels becomes
            black or white, in all channels at once; poisson: level·k with photon counts k ~ Poisson(x / level), so that the
            variance is level·x; missing: black squares with a quarter of the image's shorter side, as many as would cover
            that share of the area without overlaps.
        level: gaussian and speckle: σ in [0, 1] units; salt_and_pepper and missing: a share in [0, 1]; poisson: the
            brightness of one photon in [0, 1] units. One for all images, or (B,) with one for each.
        draws: the source of random numbers, one row per image.
        clip: clip the result to [0, 1], as an 8-bit camera does; by default gaussian, speckle and poisson noise may leave
            that range, so that its mean is zero everywhere.

    Returns:
        (B, C, H, W) float32; a new tensor.

    Raises:
        UnknownNameError: an unknown kind.
        UsageError: a level out of range.
    """
    if kind not in KINDS:
        raise UnknownNameError("noise", kind, KINDS)
    for one in level.tolist() if isinstance(level, Tensor) else [level]:
        if not 0 <= one <= _MOST[kind]:
            raise UsageError(f"level={one!r}: must lie in [0, {_MOST[kind]:g}] for {kind} noise; give another value.")
    noisy = _NOISES[kind](images, level.view(-1, 1, 1, 1) if isinstance(level, Tensor) else level, draws)
    return noisy.clamp_(0, 1) if clip else noisy


# a level of each image is (B, 1, 1, 1)


def _gaussian(images: Tensor, level: Any, draws: Draws) -> Tensor:
    return draws.normal(*images.shape[1:]).mul_(level).add_(images)


def _speckle(images: Tensor, level: Any, draws: Draws) -> Tensor:
    return draws.normal(*images.shape[1:]).mul_(level).add_(1).mul_(images)


def _salt_and_pepper(images: Tensor, level: Any, draws: Draws) -> Tensor:
    chance = draws.uniform(1, *images.shape[2:])  # (B, 1, H, W): [0, level/2) black, [level/2, level) white
    return torch.where(chance < level, (chance >= level / 2).to(images.dtype), images)


def _poisson(images: Tensor, level: Any, draws: Draws) -> Tensor:
    if isinstance(level, Tensor):  # without light from no image
        counted = draws.poisson(images.clamp_min(0) / level.clamp_min(_PHOTON)).mul_(level)
        return torch.where(level > _PHOTON, counted, images)
    if level == 0:
        return images.clone()
    return draws.poisson(images.clamp_min(0) / level).mul_(level)


def _missing(images: Tensor, level: Any, draws: Draws) -> Tensor:
    """Black squares, as many as would cover the share without overlaps."""
    height, width = images.shape[2:]
    side = max(1, min(height, width) // 4)
    levels = level.flatten().tolist() if isinstance(level, Tensor) else [level] * len(images)
    counts = [max(1, round(own * height * width / side**2)) if own else 0 for own in levels]
    wanted = torch.tensor(counts, device=images.device)[:, None, None]
    rows, columns = torch.arange(height, device=images.device), torch.arange(width, device=images.device)
    hole = torch.zeros(len(images), height, width, dtype=torch.bool, device=images.device)
    for k in range(max(counts, default=0)):
        top, left = draws.integers(0, height - side + 1), draws.integers(0, width - side + 1)  # (B,)
        inside_rows = (rows >= top[:, None]) & (rows < top[:, None] + side)  # (B, H)
        inside_columns = (columns >= left[:, None]) & (columns < left[:, None] + side)  # (B, W)
        hole |= inside_rows[:, :, None] & inside_columns[:, None, :] & (k < wanted)
    return images.masked_fill(hole[:, None], 0.0)


_NOISES = {
    "gaussian": _gaussian,
    "speckle": _speckle,
    "salt_and_pepper": _salt_and_pepper,
    "poisson": _poisson,
    "missing": _missing,
}
