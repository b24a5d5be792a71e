# SPDX-License-Identifier: Apache-2.0
"""average_pooling: the mean of each window; the gradient goes to all of it in equal parts."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import KW_ONLY, dataclass, replace
from random import Random
from typing import Any, final

from pellucid.worked.builders._pooling import pooling_sheet
from pellucid.worked.builders.pooling import Pooling
from pellucid.worked.forms.contract import Builder
from pellucid.worked.showing.grids import Grid
from pellucid.worked.worksheet.solution import Solution
from pellucid.worked.worksheet.tensors import Numbers
from pellucid.worked.worksheet.worksheet import Worksheet

__all__ = ["AveragePooling"]


@final
@dataclass(frozen=True)
class AveragePooling(Builder):
    """Work an average-pooling by hand: every output, and the gradient, which goes to the whole window in equal parts."""

    topic = "pooling and upsampling"
    question = "What is the mean of each window, and how is its gradient shared?"
    keeps = ("size", "stride", "padding")

    image: str = "1 3 2 0; 4 2 1 5; 0 1 7 2; 2 0 3 6"
    """rows of numbers, as in "1 2 3; 4 5 6"; one row is a one-dimensional signal"""
    _: KW_ONLY
    size: tuple[int, ...] = (2,)
    """size of the window in pixels, one number, or one per dimension"""
    stride: tuple[int, ...] = ()
    """pixels from one window to the next; by default the window's size"""
    padding: tuple[int, ...] = (0,)
    """pixels of border at either end, which count as 0 in the mean"""
    delta: str | None = None
    """∂L/∂z in rows, which arrives from above; by default 1 everywhere"""
    target: str | None = None
    """target of the output, in rows, instead of delta; then L = Σ (z − t)²"""

    @staticmethod
    def build(
        image: Numbers,
        size: int | Sequence[int] = 2,
        *,
        stride: int | Sequence[int] | None = None,
        padding: int | Sequence[int] = 0,
        delta: Numbers | None = None,
        target: Numbers | None = None,
    ) -> Worksheet:
        """The worksheet of average-pooling: the mean of each window; the gradient goes to all of it in equal parts.

        >>> sheet = AveragePooling.build([[1, 5], [2, 4]], delta=[[8]])
        >>> str(sheet.solve().value("z_1_1")), str(sheet.solve().derivative("L", "x_1_2"))
        ('3', '2')

        Args:
            image: (L,), (H, W) or with channels (C, H, W).
            size: of the window, one number, or one per dimension.
            stride: from one window to the next; by default the window's size.
            padding: zeros, which count in the mean; at most half the window.
            delta: δ = ∂L/∂z, which arrives from above; then L = Σ δ·z.
            target: of the output; then L = Σ (z − t)².

        Raises:
            UsageError: shapes that do not fit.
        """
        return pooling_sheet("average", image, size, stride=stride, padding=padding, delta=delta, target=target)

    def worksheet(self) -> Worksheet:
        """The worksheet of the options."""
        return self._pooling().worksheet()

    def grids(self, solution: Solution) -> Sequence[Grid]:
        """The image, and the gradient in its places."""
        return self._pooling().grids(solution)

    def draw(self, random: Random) -> AveragePooling:
        """An image of 4×4 whole numbers, and small whole numbers that arrive from above."""
        drawn = self._pooling().draw(random)
        return replace(self, image=drawn.image, delta=drawn.delta)

    def _pooling(self) -> Pooling:
        options: dict[str, Any] = {"stride": self.stride, "padding": self.padding}
        return Pooling(self.image, kind="average", size=self.size, **options, delta=self.delta, target=self.target)
