# SPDX-License-Identifier: Apache-2.0
"""Seeded random numbers for a batch, the same however its rows are split over processes or batches."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import final

import torch
from torch import Tensor

__all__ = ["Draws", "mix"]

_MASK = (1 << 64) - 1


def mix(*parts: int) -> int:
    """One 63-bit seed from several integers (the finaliser of SplitMix64, Steele et al. 2014, applied in a chain).

    >>> mix(0, 1) == mix(0, 1), mix(0, 1) == mix(1, 0)
    (True, False)
    """
    state = 0x9E3779B97F4A7C15
    for part in parts:
        state = (state ^ (part & _MASK)) + 0x9E3779B97F4A7C15 & _MASK
        state = (state ^ state >> 30) * 0xBF58476D1CE4E5B9 & _MASK
        state = (state ^ state >> 27) * 0x94D049BB133111EB & _MASK
        state ^= state >> 31
    return state >> 1


@final
class Draws:
    """Random numbers with one leading row per image of a batch.

    In training (`Draws.step`) one generator draws all rows of the global batch, and a process keeps its own: two processes
    with half a batch each see the numbers that a single process sees. In evaluation (`Draws.images`) each image has its own
    generator, so that its numbers do not depend on the batch around it.

    >>> whole = Draws.step(seed=0, step=3, rows=slice(0, 4), total=4).normal(2)
    >>> half = Draws.step(seed=0, step=3, rows=slice(2, 4), total=4).normal(2)
    >>> bool((whole[2:] == half).all())
    True
    """

    def __init__(self, generators: Sequence[torch.Generator], rows: slice, total: int) -> None:
        self._generators, self._rows, self._total = generators, rows, total
        self.used = False  # whether any number was drawn: what was made without one is the same every time

    @classmethod
    def step(
        cls, seed: int, step: int, rows: slice, total: int, device: torch.device | str = "cpu", purpose: int = 0
    ) -> Draws:
        """The draws of training step `step`, for the rows `rows` of a global batch of `total` images."""
        # the state is a function of the step, so that a resumed training draws the same numbers
        generator = torch.Generator(device).manual_seed(mix(seed, step, purpose))
        return cls([generator], rows, total)

    @classmethod
    def images(cls, seed: int, index: Tensor, device: torch.device | str = "cpu") -> Draws:
        """The draws for the images at positions `index` (B,) of a split, in whatever batch they come."""
        generators = [torch.Generator(device).manual_seed(mix(seed, int(i))) for i in index]
        return cls(generators, slice(0, len(generators)), len(generators))

    def __len__(self) -> int:
        return len(range(*self._rows.indices(self._total)))

    def normal(self, *shape: int) -> Tensor:
        """Standard normal numbers, (B, *shape) float32."""
        return self._draw(torch.Tensor.normal_, shape)

    def uniform(self, *shape: int, low: float = 0.0, high: float = 1.0) -> Tensor:
        """Uniform numbers in [low, high), (B, *shape) float32."""
        values = self._draw(torch.Tensor.uniform_, shape)
        return values if (low, high) == (0.0, 1.0) else values.mul_(high - low).add_(low)

    def integers(self, low: int, high: int, *shape: int) -> Tensor:
        """Integers in [low, high), (B, *shape) int64."""
        # rounding can bring the product to `high`, which is not among them
        return (low + (self.uniform(*shape) * (high - low)).long()).clamp_(max=high - 1)

    def poisson(self, rates: Tensor) -> Tensor:
        """Poisson numbers with the means `rates` (B, …), float32.

        How many numbers are drawn depends on the rates, so that rows cannot share a generator: each has its own, seeded
        from the batch's.
        """
        seeds = self.integers(0, 2**23)  # (B,); float32 holds integers up to 2²⁴
        values = torch.empty_like(rates)
        for row, rate, seed in zip(values, rates, seeds.tolist(), strict=True):
            row.copy_(torch.poisson(rate, torch.Generator(rates.device).manual_seed(mix(seed))))
        return values

    def _draw(self, fill: Callable[..., Tensor], shape: tuple[int, ...]) -> Tensor:
        self.used = True
        device = self._generators[0].device if self._generators else torch.device("cpu")
        values = torch.empty((self._total, *shape), device=device)  # all rows of the batch, of which `rows` are kept
        if len(self._generators) == 1:
            fill(values, generator=self._generators[0])
        else:
            for row, generator in zip(values, self._generators, strict=True):
                fill(row, generator=generator)
        return values[self._rows]
