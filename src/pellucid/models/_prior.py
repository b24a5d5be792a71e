# SPDX-License-Identifier: Apache-2.0
"""A learned density for each channel of a code, and the integer entropy tables that files are coded by."""

from __future__ import annotations

from collections.abc import Sequence
from typing import final

import torch
from torch import Tensor, nn

from pellucid.models._quantised import FAST, LEAST, Quantised, mass

__all__ = ["LARGEST", "STATES", "TOTAL", "Prior"]

LARGEST = 64
"""The largest magnitude of a symbol in the tables; larger ones are coded by an escape symbol."""
STATES = 10
"""Tables per channel, by the activity of a symbol's neighbours, from quiet to busy."""
TOTAL = 2**20
"""The sum of the frequencies in each table."""


@final
class Prior(Quantised):
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

    frequencies: Tensor  # (Q, M, STATES, 2·LARGEST + 2) int32, each table sums to TOTAL; the last entry is the escape
    nearby: Tensor  # (Q, M, 2, M) int32: weights of earlier channels' magnitudes, here and beside, in the state
    edges: Tensor  # (Q, M, STATES − 1) int64: upper ends of the states
    predicted: Tensor  # (Q, M) uint8: 1 if codes are stored minus the mean of those above and to the left

    def __init__(
        self, codes: int, weights: Sequence[float], spread: Sequence[float], scale: float = 1 / 16, logistics: int = 3
    ) -> None:
        super().__init__(codes, weights, scale)
        shape = (codes, logistics)
        width = torch.linspace(-1.2, 1.2, logistics) if logistics > 1 else torch.zeros(1)
        self.place = nn.Parameter(torch.zeros(shape))
        self.width = nn.Parameter((torch.tensor(list(spread)).div(2).log()[:, None] + width) / FAST)
        self.share = nn.Parameter(torch.zeros(shape))
        self.register_buffer("frequencies", _flat_tables(self.qualities, codes))
        self.register_buffer("nearby", torch.zeros(self.qualities, codes, 2, codes, dtype=torch.int32))
        self.register_buffer("edges", torch.full((self.qualities, codes, STATES - 1), 2**62))
        self.register_buffer("predicted", torch.zeros(self.qualities, codes, dtype=torch.uint8))

    def bits(self, codes: Tensor, quality: Tensor) -> Tensor:
        """The bits (B,) that quantised or noisy codes cost under the learned density."""
        return -self.probability(codes, self.step(quality)).log2().sum((1, 2, 3))

    def probability(self, codes: Tensor, step: Tensor) -> Tensor:
        """The probability of the quantisation step around each code, (B, M, h, w)."""
        share = (self.share * FAST).softmax(1)  # (M, logistics)
        total = torch.zeros_like(codes)
        for k in range(share.shape[1]):
            place, sharp, part = (
                value[:, k, None, None] for value in (self.place * FAST, (-self.width * FAST).exp(), share)
            )
            total = total + part * mass(codes - place, step, sharp)
        return total.clamp_min(LEAST)


def _flat_tables(qualities: int, codes: int) -> Tensor:
    """Tables for an untrained model, in which all symbols are equally frequent."""
    symbols = 2 * LARGEST + 2
    table = torch.full((symbols,), TOTAL // symbols, dtype=torch.int32)
    table[: TOTAL % symbols] += 1
    return table.repeat(qualities, codes, STATES, 1)
