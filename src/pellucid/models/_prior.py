# SPDX-License-Identifier: Apache-2.0
"""What codecs share: quantisation steps per quality, a learned density per channel, and the integer entropy tables."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Protocol, final

import torch
from torch import Tensor, nn

from pellucid.errors import UsageError
from pellucid.models._contract import Compressed

__all__ = ["LARGEST", "STATES", "TOTAL", "Codec", "Prior", "trade_offs"]

LARGEST = 64
"""The largest magnitude of a symbol in the tables; larger ones are coded by an escape symbol."""
STATES = 10
"""Tables per channel, by the activity of a symbol's neighbours, from quiet to busy."""
TOTAL = 2**20
"""The sum of the frequencies in each table."""

_FAST = 10.0  # the density's parameters are stored as a tenth, so that Adam moves them ten times as fast as weights
_LEAST = 1e-9  # smallest probability: an outlier costs 30 bits, and its gradient stays finite
_EVEN = 8.66  # Δ² = 8.66/λ: the step at which a coefficient's distortion λ·Δ²/12 costs as much as its rounding saves in rate


class Codec(Protocol):
    """The analysis and synthesis transforms of a model with the output "code"."""

    def analyse(self, images: Tensor) -> Tensor: ...

    def synthesise(self, codes: Tensor, size: tuple[int, int]) -> Tensor: ...


@final
class Prior(nn.Module):
    """Quantisation and the learned factorised density of codes (B, M, h, w), at several qualities in one model.

    A code y of channel m is divided by the step Δ[q, m] of quality q and rounded (gains per quality and channel: Cui et al.
    2021, "Asymmetric gained deep image compression"). The density of y does not depend on the quality: it is a mixture of
    logistics per channel, a learned factorised prior as in Ballé et al. 2018, appendix 6.1, with another family of functions.
    Files are coded with integer tables, which the task counts and stores in the buffers of this module.

    >>> prior = Prior(codes=2, weights=[0.001, 0.1], spread=[8.0, 1.0])
    >>> codes = torch.randn(3, 2, 4, 4)
    >>> prior.symbols(codes, torch.tensor([1, 1, 1])).shape, prior.bits(codes, torch.tensor([0, 1, 1])).shape
    (torch.Size([3, 2, 4, 4]), torch.Size([3]))

    Args:
        codes: M, the channels of the code.
        weights: λ of each quality, increasing: the bits per pixel that a squared error of one grey level (of 255) is worth.
        spread: initial scale of each channel's codes, (M,).
        scale: units of a code per grey level.
        logistics: components of each mixture.
    """

    weights: Tensor  # (Q,)
    frequencies: Tensor  # (Q, M, STATES, 2·LARGEST + 2) int32, each table sums to TOTAL; the last entry is the escape
    nearby: Tensor  # (Q, M, 2, M) int32: weights of earlier channels' magnitudes, here and beside, in the state
    edges: Tensor  # (Q, M, STATES − 1) int64: upper ends of the states
    predicted: Tensor  # (Q, M) uint8: 1 if codes are stored minus the mean of those above and to the left

    def __init__(
        self, codes: int, weights: Sequence[float], spread: Sequence[float], scale: float = 1 / 16, logistics: int = 3
    ) -> None:
        super().__init__()
        trade = torch.tensor(list(weights), dtype=torch.float32)
        qualities = len(trade)
        self.register_buffer("weights", trade)
        self.log_step = nn.Parameter((_EVEN / trade).sqrt().mul(scale).log()[:, None].repeat(1, codes))
        self.log_gain = nn.Parameter(torch.zeros(qualities, codes))  # of the dequantisation
        shape = (codes, logistics)
        width = torch.linspace(-1.2, 1.2, logistics) if logistics > 1 else torch.zeros(1)
        self.place = nn.Parameter(torch.zeros(shape))
        self.width = nn.Parameter((torch.tensor(list(spread)).div(2).log()[:, None] + width) / _FAST)
        self.share = nn.Parameter(torch.zeros(shape))
        self.register_buffer("frequencies", _flat_tables(qualities, codes))
        self.register_buffer("nearby", torch.zeros(qualities, codes, 2, codes, dtype=torch.int32))
        self.register_buffer("edges", torch.full((qualities, codes, STATES - 1), 2**62))
        self.register_buffer("predicted", torch.zeros(qualities, codes, dtype=torch.uint8))

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
        step = self.step(quality)
        steps = codes / step
        rounded = steps + (steps.round() - steps).detach()
        return rounded * step * self.log_gain.exp()[quality][:, :, None, None]

    def noisy(self, codes: Tensor, quality: Tensor) -> Tensor:
        """Codes with uniform noise as wide as a step, which replaces rounding in the rate term (Ballé et al. 2017, eq. 6)."""
        return codes + (torch.rand_like(codes) - 0.5) * self.step(quality)

    def bits(self, codes: Tensor, quality: Tensor) -> Tensor:
        """The bits (B,) that quantised or noisy codes cost under the learned density."""
        return -self.probability(codes, self.step(quality)).log2().sum((1, 2, 3))

    def probability(self, codes: Tensor, step: Tensor) -> Tensor:
        """The probability of the quantisation step around each code, (B, M, h, w)."""
        share = (self.share * _FAST).softmax(1)  # (M, logistics)
        total = torch.zeros_like(codes)
        for k in range(share.shape[1]):
            place, sharp, part = (
                value[:, k, None, None] for value in (self.place * _FAST, (-self.width * _FAST).exp(), share)
            )
            away = (codes - place).abs()  # by symmetry; both sigmoids are then near 0, where floats are most precise
            mass = torch.sigmoid((step / 2 - away) * sharp) - torch.sigmoid((-step / 2 - away) * sharp)
            total = total + part * mass
        return total.clamp_min(_LEAST)

    def forward(self, codec: Codec, images: Tensor, quality: Tensor | None) -> Tensor | Compressed:
        """Images restored from their quantised codes, (B, C, H, W); with qualities (B,) also the bits (B,)."""
        asked = quality
        if asked is None:
            asked = torch.full((images.shape[0],), self.qualities // 2, device=images.device)
        codes = codec.analyse(images)
        answer = codec.synthesise(self.quantised(codes, asked), (images.shape[2], images.shape[3]))
        if quality is None:
            return answer
        coded = self.noisy(codes, quality) if self.training else self.symbols(codes, quality) * self.step(quality)
        return Compressed(answer, self.bits(coded, quality))


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


def _flat_tables(qualities: int, codes: int) -> Tensor:
    """Tables for an untrained model, in which all symbols are equally frequent."""
    symbols = 2 * LARGEST + 2
    table = torch.full((symbols,), TOTAL // symbols, dtype=torch.int32)
    table[: TOTAL % symbols] += 1
    return table.repeat(qualities, codes, STATES, 1)
