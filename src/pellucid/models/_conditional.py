# SPDX-License-Identifier: Apache-2.0
"""A density of codes given side information and the codes before them, which whole numbers can follow exactly."""

from __future__ import annotations

from collections.abc import Sequence
from typing import final

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from pellucid.models._prior import LARGEST, TOTAL, Prior
from pellucid.models._quantised import FAST, LEAST, Quantised, mass

__all__ = ["FRACTIONS", "LOWEST", "OCTAVE", "SCALES", "UNIT", "Conditional", "Stage", "phases"]

UNIT = 256
"""Whole numbers stand for codes, means and logarithms in units of 1/256."""
OCTAVE = 4
"""Tables for each doubling of the scale."""
LOWEST = -5
"""log₂ of the smallest scale, in quantisation steps."""
SCALES = 10 * OCTAVE + 1
"""Tables for the scales from 2⁻⁵ to 2⁵ steps."""
FRACTIONS = 8
"""Tables for each scale, by the place of the mean between two symbols."""

_DOWN = 4  # blocks to a side of what one place of the side information describes
_SHARES = (1 / 64, 6 / 64, 21 / 64, 1.0)  # of the channels, up to the end of each group
_WIDEST = 12.0  # log₂ of a scale is held between −12 and 12
_WIDER = 1 / 128  # units of the side information per grey level


@final
class Stage(nn.Module):
    """Means and scales of some channels at some phases, from the side information and from what is decoded already.

    The mean is linear in the codes around; the logarithm of the scale comes from the logarithms of their magnitudes through one
    hidden layer.

    Args:
        start: the first of its channels.
        end: the channel after the last one.
        now: the phases that it codes; those below the first of them are known of its own channels too.
        side: channels of the side information's features.
        hidden: units of the hidden layer.
        spread: initial scale of each of its channels.
        qualities: Q.
    """

    def __init__(
        self,
        start: int,
        end: int,
        now: tuple[int, ...],
        side: int,
        hidden: int,
        spread: Sequence[float],
        qualities: int,
    ) -> None:
        super().__init__()
        count = end - start
        self.start, self.end, self.now = start, end, now
        self.known = end if now[0] else start
        self.mean_side = nn.Conv2d(side, count, 1, bias=False)
        self.busy_side = nn.Conv2d(side, hidden, 1, bias=False)
        self.busy = nn.Conv2d(hidden, count, 1, bias=False)
        if self.known:
            self.mean_near = nn.Conv2d(self.known, count, 3, bias=False)
            self.busy_near = nn.Conv2d(self.known, hidden, 3, bias=False)
            with torch.no_grad():
                self.mean_near.weight.mul_(0.1)
                if start == 0:  # the first group: a mean starts as that of the four nearest that are known
                    corners = torch.tensor([[1.0, 0.0, 1.0], [0.0, 0.0, 0.0], [1.0, 0.0, 1.0]])
                    sides = torch.tensor([[0.0, 1.0, 0.0], [1.0, 0.0, 1.0], [0.0, 1.0, 0.0]])
                    nearest = corners if now[0] == 1 else sides
                    self.mean_near.weight.copy_(torch.eye(count)[:, :, None, None] * nearest / 4)
        self.offset = nn.Parameter(torch.zeros(qualities, hidden))
        self.level = nn.Parameter(torch.tensor(list(spread)).div(2).log2().div(FAST).repeat(qualities, 1))
        with torch.no_grad():
            self.mean_side.weight.mul_(0.1)
            self.busy.weight.mul_(0.3)

    def forward(self, features: Tensor, near: Tensor, busy: Tensor, quality: Tensor) -> tuple[Tensor, Tensor]:
        """Means and log₂ of scales, (B, channels, h, w) each, in units of the codes.

        Args:
            features: (B, side, h, w).
            near: the known codes (B, known, h + 2, w + 2), 0 where they are not known.
            busy: log₂ of 1 + their magnitudes.
            quality: (B,).
        """
        mean, hidden = self.mean_side(features), self.busy_side(features) + self.offset[quality][:, :, None, None]
        if self.known:
            mean, hidden = mean + self.mean_near(near), hidden + self.busy_near(busy)
        logs: Tensor = self.busy(hidden.relu()) + (self.level * FAST)[quality][:, :, None, None]
        return mean, logs.clamp(-_WIDEST, _WIDEST)


@final
class Conditional(Quantised):
    """Quantisation of codes (B, M, h, w) and their density given a hyperprior and the codes before, at several qualities.

    Side information z, one place for 4×4 blocks, tells where the codes are large (Ballé et al. 2018) and what they are about
    (Minnen et al. 2018). Channels follow in groups, and each in two or three phases like a chequerboard's (Minnen & Singh 2020;
    He et al. 2021, 2022), so that a later one sees the earlier, and all places of a phase are decoded at once. Each code has a
    logistic density. Files are coded with the same network in whole numbers (after Ballé et al. 2019), which chooses among
    integer tables; the task counts these and stores them in the buffers of this module.

    >>> prior = Conditional(codes=2, weights=[0.001, 0.1], spread=[8.0, 1.0])
    >>> codes = torch.randn(3, 2, 5, 4)
    >>> prior.symbols(codes, torch.tensor([1, 1, 1])).shape, prior.bits(codes, torch.tensor([0, 1, 1])).shape
    (torch.Size([3, 2, 5, 4]), torch.Size([3]))

    Args:
        codes: M, the channels of the code.
        weights: λ of each quality, increasing.
        spread: initial scale of each channel's codes, (M,).
        scale: units of a code per grey level.
        side: channels of z.
        hidden: units of the layers between.
    """

    frequencies: (
        Tensor  # (SCALES, FRACTIONS, 2·LARGEST + 2) int32, each table sums to TOTAL; the last entry is the escape
    )
    whole_steps: Tensor  # (Q, M) int64: Δ in units of 1/256
    whole_logs: Tensor  # (Q, M) int64: its log₂
    side_steps: Tensor  # (Q, side) int64: of the side information

    def __init__(
        self,
        codes: int,
        weights: Sequence[float],
        spread: Sequence[float],
        scale: float = 1 / 16,
        side: int = 12,
        hidden: int = 48,
    ) -> None:
        super().__init__(codes, weights, scale)
        self.side = Prior(side, weights, [2.0] * side, _WIDER)
        del self.side.log_gain  # side information is taken as it is
        self.side.register_buffer("log_gain", torch.zeros(self.qualities, side))
        self.summary = nn.Sequential(
            nn.Conv2d(2 * codes, hidden, 3, stride=2), nn.LeakyReLU(), nn.Conv2d(hidden, side, 3, stride=2)
        )
        self.unfold = nn.Conv2d(side, 4 * hidden, 3)
        self.detail = nn.Conv2d(hidden, 4 * hidden, 3)
        ends = sorted({max(1, round(codes * share)) for share in _SHARES})
        groups = zip([0, *ends[:-1]], ends, strict=True)
        self.stages = nn.ModuleList(
            Stage(start, end, now, hidden, hidden, spread[start:end], self.qualities)
            for start, end in groups
            for now in (((0,), (1,), (2,)) if start == 0 else ((0, 1), (2,)))
        )
        symbols = 2 * LARGEST + 2
        table = torch.full((symbols,), TOTAL // symbols, dtype=torch.int32)
        table[: TOTAL % symbols] += 1
        self.register_buffer("frequencies", table.repeat(SCALES, FRACTIONS, 1))
        for name in ("whole_steps", "whole_logs", "side_steps"):
            self.register_buffer(
                name, torch.zeros(self.qualities, side if name == "side_steps" else codes, dtype=torch.int64)
            )
        self.settle()

    @torch.no_grad()
    def settle(self) -> None:
        """Write the steps down as whole numbers: exp and log round differently on other machines."""
        for log_step, steps in ((self.log_step, self.whole_steps), (self.side.log_step, self.side_steps)):
            steps.copy_((log_step.double().exp() * UNIT).round().clamp(1, UNIT * 2**10))
        self.whole_logs.copy_((self.whole_steps.double() / UNIT).log2().mul(UNIT).round())

    def summarise(self, codes: Tensor) -> Tensor:
        """The side information (B, side, ⌈h/4⌉, ⌈w/4⌉) of codes, before quantisation."""
        first, between, last = self.summary
        features: Tensor = first(_padded(torch.cat([codes / 4, _logarithm(codes)], 1)))
        features = last(_padded(between(features)))
        return features

    def features(self, side: Tensor, size: tuple[int, int]) -> Tensor:
        """What quantised side information tells about each place of codes of a size, (B, hidden, h, w)."""
        features = F.pixel_shuffle(self.unfold(_padded(side)), 2).relu()
        features = F.pixel_shuffle(self.detail(_padded(features)), 2).relu()
        return features[:, :, : size[0], : size[1]]

    def cost(self, codes: Tensor, quality: Tensor) -> Tensor:
        """The bits (B,) that codes cost; in training those of noisy ones, told by what a decoder has: rounded ones.

        Noise as context, instead, would fill with values the many places that are 0 in a file.
        """
        known = self.rounded(codes, quality)
        return self.bits(self.noisy(codes, quality) if self.training else known, quality, known)

    def bits(self, codes: Tensor, quality: Tensor, known: Tensor | None = None) -> Tensor:
        """The bits (B,) that quantised or noisy codes cost under the learned density, with their side information.

        Args:
            codes: (B, M, h, w).
            quality: (B,).
            known: the quantised codes, where `codes` are not these.
        """
        with torch.autocast(codes.device.type, enabled=False):
            codes, known = codes.float(), codes.float() if known is None else known.float()
            side = self.summarise(known)
            rounded = self.side.rounded(side, quality)
            features = self.features(rounded, (codes.shape[2], codes.shape[3]))
            step = self.step(quality)
            total = self.side.bits(self.side.noisy(side, quality) if self.training else rounded, quality)
            phase = phases(codes.shape[2], codes.shape[3], codes.device)
            around, of_around = _padded(known), _padded(phase[None, None].float())[0, 0]
            busy = _logarithm(around)
            for stage in self.stages:
                assert isinstance(stage, Stage)
                own = slice(stage.start, stage.end)
                near, big = around[:, : stage.start], busy[:, : stage.start]
                if stage.now[0]:
                    earlier = of_around < stage.now[0]
                    near, big = (
                        torch.cat([before, part[:, own] * earlier], 1) for before, part in ((near, around), (big, busy))
                    )
                mean, logs = stage(features, near, big, quality)
                likely = mass(codes[:, own] - mean, step[:, own], (-logs).exp2()).clamp_min(LEAST)
                here = (phase >= stage.now[0]) & (phase <= stage.now[-1])
                total = total - (likely.log2() * here).sum((1, 2, 3))
        return total


def phases(height: int, width: int, device: torch.device | str = "cpu") -> Tensor:
    """The phase of each place: 0 where row and column are even, 1 where both are odd, 2 in between.

    >>> phases(2, 3).tolist()
    [[0, 2, 0], [2, 1, 2]]
    """
    row, column = torch.arange(height, device=device)[:, None] % 2, torch.arange(width, device=device) % 2
    return torch.where(row == column, row, 2)


def _padded(maps: Tensor) -> Tensor:
    """With a border of one that repeats the edge, which an image much larger than those of training has as little as they."""
    return F.pad(maps, (1, 1, 1, 1), mode="replicate")


def _logarithm(codes: Tensor) -> Tensor:
    """log₂(1 + |y|), linear between the powers of two, as whole numbers give it exactly."""
    grown = codes.abs() + 1
    power = grown.detach().log2().floor()
    return power + grown * (-power).exp2() - 1
