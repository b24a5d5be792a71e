# SPDX-License-Identifier: Apache-2.0
"""max_pooling: the largest number of each window; the gradient goes to it alone, of equal ones to the first."""

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

__all__ = ["MaxPooling"]


@final
@dataclass(frozen=True)
class MaxPooling(Builder):
    """Work a max-pooling by hand: every output, and the gradient, which goes to the largest number of each window alone."""

    topic = "pooling and upsampling"
    question = "What is the largest number of each window, and where does its gradient go?"
    keeps = ("size", "stride", "padding", "dilation")

    image: str = "1 3 2 0; 4 2 1 5; 0 1 7 2; 2 0 3 6"
    """rows of numbers, as in "1 2 3; 4 5 6"; one row is a one-dimensional signal"""
    _: KW_ONLY
    size: tuple[int, ...] = (2,)
    """size of the window in pixels, one number, or one per dimension"""
    stride: tuple[int, ...] = ()
    """pixels from one window to the next; by default the window's size"""
    padding: tuple[int, ...] = (0,)
    """pixels of border at either end; they never win"""
    dilation: tuple[int, ...] = (1,)
    """pixels between the numbers of a window"""
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
        dilation: int | Sequence[int] = 1,
        delta: Numbers | None = None,
        target: Numbers | None = None,
    ) -> Worksheet:
        """The worksheet of max-pooling: the largest of each window; the gradient goes to it alone, of equal ones to the first.

        >>> sheet = MaxPooling.build([[1, 5], [2, 3]], delta=[[7]])
        >>> [str(sheet.solve().derivative("L", name)) for name in ("x_1_1", "x_1_2")]
        ['0', '7']

        Args:
            image: (L,), (H, W) or with channels (C, H, W).
            size: of the window, one number, or one per dimension.
            stride: from one window to the next; by default the window's size.
            padding: a border that never wins; at most half the window.
            dilation: from one number of the window to the next.
            delta: δ = ∂L/∂z, which arrives from above; then L = Σ δ·z.
            target: of the output; then L = Σ (z − t)².

        Raises:
            UsageError: shapes that do not fit.
        """
        options: dict[str, Any] = {"stride": stride, "padding": padding, "dilation": dilation}
        # torch returns the first of equal numbers too
        return pooling_sheet("max", image, size, **options, delta=delta, target=target)

    def worksheet(self) -> Worksheet:
        """The worksheet of the options."""
        return self._pooling().worksheet()

    def grids(self, solution: Solution) -> Sequence[Grid]:
        """The image, and the gradient in its places."""
        return self._pooling().grids(solution)

    def draw(self, random: Random) -> MaxPooling:
        """An image of 4×4 whole numbers without ties in a window, and small whole numbers that arrive from above."""
        drawn = self._pooling().draw(random)
        return replace(self, image=drawn.image, delta=drawn.delta)

    def _pooling(self) -> Pooling:
        options: dict[str, Any] = {"stride": self.stride, "padding": self.padding, "dilation": self.dilation}
        return Pooling(self.image, kind="max", size=self.size, **options, delta=self.delta, target=self.target)
