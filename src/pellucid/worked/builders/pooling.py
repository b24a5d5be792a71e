# SPDX-License-Identifier: Apache-2.0
"""pooling: by the maximum or the average of each window, and where the gradient goes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import KW_ONLY, dataclass, replace
from fractions import Fraction
from random import Random
from typing import Any, final

import numpy as np

from pellucid.errors import UsageError
from pellucid.worked.builders._pooling import Kind, gradient_map, output_shape, pooling_sheet, pooling_sizes
from pellucid.worked.builders._symbols import as_products, first_index, has_symbols, only_numbers, read_symbols
from pellucid.worked.expressions.expression import Const, Name
from pellucid.worked.forms.contract import Builder
from pellucid.worked.forms.exercise import by_hand
from pellucid.worked.forms.numbers import read_tensor, typed
from pellucid.worked.showing.grids import Grid, MatrixEquation
from pellucid.worked.worksheet.solution import Solution
from pellucid.worked.worksheet.tensors import Numbers
from pellucid.worked.worksheet.windows import pooled, unfold
from pellucid.worked.worksheet.worksheet import Worksheet

__all__ = ["Pooling"]


@final
@dataclass(frozen=True)
class Pooling(Builder):
    """Work a pooling by hand: every output, and where the gradient goes."""

    topic = "pooling and upsampling"
    question = "What does pooling give, and where does its gradient go?"
    keeps = ("kind", "size", "stride", "padding", "dilation")

    image: str = "1 3 2 0; 4 2 1 5; 0 1 7 2; 2 0 3 6"
    """rows of numbers, as in "1 2 3; 4 5 6", or of names, as in "x_0 x_1 x_2"; one row is a one-dimensional signal"""
    _: KW_ONLY
    kind: Kind = "max"
    """take the largest number of each window, or the mean"""
    size: tuple[int, ...] = (2,)
    """size of the window in pixels, one number, or one per dimension"""
    stride: tuple[int, ...] = ()
    """pixels from one window to the next; by default the window's size"""
    padding: tuple[int, ...] = (0,)
    """pixels of border at either end; they never win, and count as 0 in a mean"""
    dilation: tuple[int, ...] = (1,)
    """pixels between the numbers of a window; for max only"""
    delta: str | None = None
    """∂L/∂z in rows, which arrives from above; by default 1 everywhere"""
    target: str | None = None
    """target of the output, in rows, instead of delta; then L = Σ (z − t)²"""

    @staticmethod
    def build(image: Numbers, size: int | Sequence[int] = 2, *, kind: Kind = "max", **options: Any) -> Worksheet:
        """The worksheet of a pooling.

        >>> print(Pooling.build([[1, 5], [2, 4]], kind="average").solve().value("z_1_1"))
        3

        Args:
            image: (L,), (H, W) or with channels (C, H, W).
            size: of the window, one number, or one per dimension.
            kind: max or average.
            options: stride, padding, dilation, and delta or target for a loss, as for `max_pooling`.

        Raises:
            UsageError: shapes that do not fit.
        """
        return pooling_sheet(kind, image, size, **options)

    def worksheet(self) -> Worksheet:
        """The worksheet of the options."""
        if has_symbols(self.image):
            only_numbers(delta=self.delta, target=self.target)
            return Worksheet()
        image = read_tensor(self.image, "image")
        # torch's average pooling has no dilation
        if self.kind == "average" and set(self.dilation) != {1}:
            raise UsageError(
                f"dilation={self.dilation}: an average is taken over neighbours; leave it at 1, or take kind max."
            )
        delta: Numbers | None = None if self.delta is None else read_tensor(self.delta, "delta")
        target = None if self.target is None else read_tensor(self.target, "target")
        if delta is None and target is None:
            # ones show how often a pixel is counted
            delta = np.ones(self._output_shape(), dtype=int)
        # no stride given means windows side by side
        stride = self.stride or None
        options: dict[str, Any] = {"stride": stride, "padding": self.padding, "dilation": self.dilation}
        return pooling_sheet(self.kind, image, self.size, **options, delta=delta, target=target)

    def grids(self, solution: Solution) -> Sequence[Grid]:
        """The image, and the gradient in its places; an image with channels has no such map."""
        if has_symbols(self.image):
            return [self._in_symbols()]
        return [gradient_map(solution)] if np.ndim(read_tensor(self.image, "image")) < 3 else []

    def draw(self, random: Random) -> Pooling:
        """An image of 4×4 whole numbers without ties in a window, and small whole numbers that arrive from above."""

        def draw() -> Pooling:
            image = [[random.randint(0, 9) for _ in range(4)] for _ in range(4)]
            shape = replace(self, image=typed(image))._output_shape()
            delta = [[random.choice([-2, -1, 1, 2, 3]) for _ in range(shape[1])] for _ in range(shape[0])]
            # one row needs brackets, else it reads as a vector
            return replace(self, image=typed(image), delta=typed(delta) if shape[0] > 1 else f"[{delta[0]}]")

        return by_hand(draw)

    def _in_symbols(self) -> Grid:
        """Every output as a maximum of names, or all of them as a product with a matrix of shares."""
        image = read_symbols(self.image, "image")
        sizes = pooling_sizes(image.ndim, self.size, self.stride or None, self.padding, self.dilation)
        window, step, border, _ = sizes
        if self.kind == "average":
            share = np.full(window, Const(Fraction(1, int(np.prod(window)))), dtype=object)
            (line,) = as_products(image, share, step, border, 1)[1].lines
            return MatrixEquation("each output is the mean of a window: a matrix of equal shares", (line,))
        outputs = pooled(unfold(image[None], *sizes), "max")[0]
        first = first_index(image)
        names = [Name("_".join(["z", *(str(n + first) for n in place)])) for place in np.ndindex(*outputs.shape)]
        lines = tuple((name, "=", output) for name, output in zip(names, outputs.flat, strict=True))
        return MatrixEquation("each output is the largest of a window", lines)

    def _output_shape(self) -> tuple[int, ...]:
        image = read_tensor(self.image, "image")
        return output_shape(image, self.size, self.stride or None, self.padding, self.dilation)
