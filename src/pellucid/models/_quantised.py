# SPDX-License-Identifier: Apache-2.0
"""What codecs share: several qualities in one model, each with its quantisation steps, and the two stand-ins for rounding."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Protocol

import torch
from torch import Tensor, nn

from pellucid.errors import UsageError
from pellucid.models._contract import Compressed

__all__ = ["FAST", "LEAST", "Codec", "Quantised", "mass", "trade_offs"]

FAST = 10.0
"""A density's parameters are stored as a tenth, so that Adam moves them ten times as fast as weights."""
LEAST = 1e-9
"""Smallest probability: an outlier costs 30 bits, and its gradient stays finite."""

_EVEN = 8.66  # Δ² = 8.66/λ: the step at which a coefficient's distortion λ·Δ²/12 costs as much as its rounding saves in rate


class Codec(Protocol):
    """The analysis and synthesis transforms of a model with the output "code"."""

    def analyse(self, images: Tensor) -> Tensor: ...

    def synthesise(self, codes: Tensor, size: tuple[int, int]) -> Tensor: ...


class Quantised(nn.Module, ABC):
    """Steps per quality and channel for codes (B, M, h, w), to which a density is added.

    Args:
        codes: M, the channels of the code.
        weights: λ of each quality, increasing: the bits per pixel that a squared error of one grey level (of 255) is worth.
        scale: units of a code per grey level.
    """

    weights: Tensor  # (Q,)

    def __init__(self, codes: int, weights: Sequence[float], scale: float) -> None:
        super().__init__()
        trade = torch.tensor(list(weights), dtype=torch.float32)
        self.register_buffer("weights", trade)
        self.log_step = nn.Parameter((_EVEN / trade).sqrt().mul(scale).log()[:, None].repeat(1, codes))
        self.log_gain = nn.Parameter(torch.zeros(len(trade), codes))  # of the dequantisation

    @property
    def qualities(self) -> int:
        """Q, the number of qualities."""
        return len(self.weights)

    def step(self, quality: Tensor) -> Tensor:
        """Δ for each image's quality (B,), per channel: (B, M, 1, 1)."""
        return self.log_step.exp()[quality][:, :, None, None]

    def symbols(self, codes: Tensor, quality: Tensor) -> Tensor:
        """The quantised codes, whole numbers as floats, (B, M, h, w)."""
        return (codes / self.step(quality)).round()

    def restored(self, symbols: Tensor, quality: Tensor) -> Tensor:
        """Codes from symbols, (B, M, h, w): times the step and a learned gain, which shrinks rare values."""
        return symbols * (self.log_step + self.log_gain).exp()[quality][:, :, None, None]

    def quantised(self, codes: Tensor, quality: Tensor) -> Tensor:
        """Quantised and dequantised codes; the gradient ignores the rounding (a straight-through estimator)."""
        return self.rounded(codes, quality) * self.log_gain.exp()[quality][:, :, None, None]

    def rounded(self, codes: Tensor, quality: Tensor) -> Tensor:
        """The same without the gain: symbols times the step."""
        step = self.step(quality)
        steps = codes / step
        return (steps + (steps.round() - steps).detach()) * step

    def noisy(self, codes: Tensor, quality: Tensor) -> Tensor:
        """Codes with uniform noise as wide as a step, which replaces rounding in the rate term (Ballé et al. 2017, eq. 6)."""
        return codes + (torch.rand_like(codes) - 0.5) * self.step(quality)

    @abstractmethod
    def bits(self, codes: Tensor, quality: Tensor) -> Tensor:
        """The bits (B,) that quantised or noisy codes cost under the learned density."""

    def forward(self, codec: Codec, images: Tensor, quality: Tensor | None) -> Tensor | Compressed:
        """Images restored from their quantised codes, (B, C, H, W); with qualities (B,) also the bits (B,)."""
        asked = quality
        if asked is None:
            asked = torch.full((images.shape[0],), self.qualities // 2, device=images.device)
        codes = codec.analyse(images)
        answer = codec.synthesise(self.quantised(codes, asked), (images.shape[2], images.shape[3]))
        if quality is None:
            return answer
        return Compressed(answer, self.cost(codes, quality))

    def cost(self, codes: Tensor, quality: Tensor) -> Tensor:
        """The bits (B,) that codes cost: in training those of noisy ones, else those of quantised ones."""
        coded = self.noisy(codes, quality) if self.training else self.symbols(codes, quality) * self.step(quality)
        return self.bits(coded, quality)


def mass(away: Tensor, step: Tensor, sharp: Tensor) -> Tensor:
    """The probability of the interval of width `step` around a point that is `away` from a logistic's mean, at 1/scale `sharp`."""
    away = away.abs()  # by symmetry; both sigmoids are then near 0, where floats are most precise
    return torch.sigmoid((step / 2 - away) * sharp) - torch.sigmoid((-step / 2 - away) * sharp)


def trade_offs(lowest: float, highest: float, qualities: int) -> list[float]:
    """λ of each quality, in a geometric sequence."""
    if not 0 < lowest <= highest < math.inf:
        raise UsageError(
            f"lowest={lowest!r}: λ must be above 0 and at most highest={highest!r}; give e.g. 0.001 and 0.1."
        )
    if not 1 <= qualities <= 64:
        raise UsageError(f"qualities={qualities!r}: must lie between 1 and 64; give e.g. 8.")
    if qualities == 1:
        return [highest]
    return [lowest * (highest / lowest) ** (q / (qualities - 1)) for q in range(qualities)]
