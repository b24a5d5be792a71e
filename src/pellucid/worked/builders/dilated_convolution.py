# SPDX-License-Identifier: Apache-2.0
"""dilated_convolution: a kernel whose numbers lie apart sees as far as a larger one with zeros between, at the smaller one's cost."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import KW_ONLY, dataclass, replace
from random import Random
from typing import Any, final

import numpy as np

from pellucid.worked.builders._symbols import has_symbols, read_symbols
from pellucid.worked.builders.convolution import Convolution
from pellucid.worked.expressions.expression import as_expr
from pellucid.worked.forms.contract import Builder
from pellucid.worked.forms.exercise import by_hand
from pellucid.worked.forms.numbers import read_tensor, typed
from pellucid.worked.showing.grids import Grid, Matrix, MatrixEquation
from pellucid.worked.worksheet.solution import Solution
from pellucid.worked.worksheet.tensors import Numbers, as_tensor
from pellucid.worked.worksheet.windows import per_axis, window_counts
from pellucid.worked.worksheet.worksheet import Worksheet

__all__ = ["DilatedConvolution"]


@final
@dataclass(frozen=True)
class DilatedConvolution(Builder):
    """Work a dilated convolution by hand: every output, the larger kernel with zeros that gives the same, and the gradients."""

    topic = "convolution"
    question = "What does a convolution with gaps in its kernel give, and how far does it see?"
    keeps = ("dilation", "stride", "padding")

    image: str = "1 2 0 1; 0 1 3 2; 2 1 0 0; 1 0 1 2"
    """rows of numbers, as in "1 2 3; 4 5 6", or of names, as in "x_0 x_1 x_2"; one row is a one-dimensional signal"""
    _: KW_ONLY
    kernel: str = "1 2; -1 3"
    """rows of numbers"""
    bias: str | None = None
    """one number; by default none"""
    dilation: tuple[int, ...] = (2,)
    """pixels from one number of the window to the next, one number, or one per dimension"""
    stride: tuple[int, ...] = (1,)
    """pixels from one window to the next, one number, or one per dimension"""
    padding: tuple[int, ...] = (0,)
    """zeros at either end, one number, or one per dimension"""
    delta: str | None = None
    """∂L/∂z in rows, which arrives from above; by default 1 everywhere"""
    target: str | None = None
    """target of the output, in rows, instead of delta; then L = Σ (z − t)²"""

    @staticmethod
    def build(
        image: Numbers,
        kernel: Numbers,
        bias: Numbers | None = None,
        *,
        dilation: int | Sequence[int] = 2,
        **options: Any,
    ) -> Worksheet:
        """The worksheet of a dilated convolution.

        >>> sheet = DilatedConvolution.build([1, 2, 3, 4], [1, -1])
        >>> [str(sheet.solve().value(name)) for name in ("z_1", "z_2")]
        ['-2', '-2']

        Args:
            image: (L,) or (H, W), or with channels (C, H, W).
            kernel: (K,), (K, K), or with channels (O, C, K, K).
            bias: a number, or one a filter; by default none.
            dilation: pixels from one number of the window to the next.
            options: stride, padding, and delta or target for a loss, as for `convolution`.

        Raises:
            UsageError: shapes that do not fit, or a window that is larger than the padded image.
        """
        return Convolution.build(image, kernel, bias, dilation=dilation, **options)

    def worksheet(self) -> Worksheet:
        """The worksheet of the options."""
        return self._convolution().worksheet()

    def grids(self, solution: Solution) -> Sequence[Grid]:
        """The kernel with zeros between, with which an ordinary convolution gives the same."""
        in_symbols = has_symbols(self.image, self.kernel)
        read = read_symbols(self.kernel, "kernel") if in_symbols else read_tensor(self.kernel, "kernel")
        kernel = as_tensor(read, "kernel")
        if kernel.ndim > 2:
            return []
        spread = per_axis(self.dilation, kernel.ndim, "dilation", 1)
        wide = [d * (size - 1) + 1 for d, size in zip(spread, kernel.shape, strict=True)]
        whole = np.full(wide, as_expr(0), dtype=object)
        whole[tuple(slice(None, None, d) for d in spread)] = kernel
        title = (
            f"the same as an ordinary convolution with this kernel, {'×'.join(map(str, wide))}: zeros between the numbers, "
            f"d·(f − 1) + 1 = {spread[0]}·({kernel.shape[0]} − 1) + 1 = {wide[0]} rows"
        )
        wider = MatrixEquation(title, ((_rows(kernel), "→", _rows(whole)),))
        return [wider, *(self._convolution().grids(solution) if in_symbols else [])]

    def draw(self, random: Random) -> DilatedConvolution:
        """A 4×4 image, a 2×2 kernel, a bias, and what arrives from above, all small whole numbers."""

        def numbers(rows: int, columns: int, choices: Sequence[int]) -> str:
            drawn = [[random.choice(choices) for _ in range(columns)] for _ in range(rows)]
            return typed(drawn) if rows > 1 else str(drawn)  # one row in brackets, else it would be a vector

        def draw() -> DilatedConvolution:
            image, kernel = numbers(4, 4, range(5)), numbers(2, 2, (-2, -1, 1, 2))
            sizes = [per_axis(each, 2, "size", least) for each, least in zip(self._sizes(), (1, 0, 1), strict=True)]
            rows, columns = window_counts((4, 4), (2, 2), *sizes)
            delta = numbers(rows, columns, (-2, -1, 1, 2, 3))
            return replace(self, image=image, kernel=kernel, bias=typed(random.choice([-2, -1, 1, 2])), delta=delta)

        return by_hand(draw)

    def _sizes(self) -> tuple[tuple[int, ...], ...]:
        return self.stride, self.padding, self.dilation

    def _convolution(self) -> Convolution:
        delta = self.delta
        if delta is None and self.target is None and not has_symbols(self.image, self.kernel):
            image, kernel = (as_tensor(read_tensor(text, "image"), "image") for text in (self.image, self.kernel))
            if image.ndim == kernel.ndim:  # ones show how often a number of the kernel is used
                least = zip(self._sizes(), (1, 0, 1), strict=True)
                sizes = [per_axis(each, image.ndim, "size", low) for each, low in least]
                delta = str(np.ones(window_counts(image.shape, kernel.shape, *sizes), dtype=int).tolist())
        stride, padding, dilation = self._sizes()
        return Convolution(self.image, kernel=self.kernel, bias=self.bias, stride=stride, padding=padding,
                           dilation=dilation, delta=delta, target=self.target)  # fmt: skip


def _rows(cells: Any) -> Matrix:
    return Matrix(tuple(tuple(row) for row in (cells if cells.ndim == 2 else cells[None])))
