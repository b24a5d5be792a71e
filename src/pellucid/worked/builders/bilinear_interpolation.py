# SPDX-License-Identifier: Apache-2.0
"""bilinear_interpolation: an image upsampled by weighing the four neighbours of each new pixel, and its gradient."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import KW_ONLY, dataclass, replace
from fractions import Fraction
from random import Random
from typing import Any, final

import numpy as np

from pellucid.errors import UsageError
from pellucid.worked.builders._objective import put_upstream
from pellucid.worked.builders._symbols import has_symbols, in_weights, only_numbers, read_symbols, weighted_images
from pellucid.worked.expressions.expression import Expr, Mul, as_expr
from pellucid.worked.forms.contract import Builder
from pellucid.worked.forms.exercise import by_hand
from pellucid.worked.forms.numbers import read_tensor, typed
from pellucid.worked.showing.grids import Grid
from pellucid.worked.worksheet.solution import Solution
from pellucid.worked.worksheet.tensors import Numbers, Tensor, as_tensor, ask_gradient, ask_values, define, summed
from pellucid.worked.worksheet.windows import per_axis
from pellucid.worked.worksheet.worksheet import Worksheet

__all__ = ["BilinearInterpolation"]

_MOST = 400  # numbers of an enlarged image


@final
@dataclass(frozen=True)
class BilinearInterpolation(Builder):
    """Work a bilinear interpolation by hand: every pixel of the larger image, the matrices of weights, and the gradient."""

    topic = "pooling and upsampling"
    question = "Which numbers does bilinear upsampling give, and with which weights?"
    keeps = ("factor", "corners")

    image: str = "1 3; 5 2"
    """rows of numbers, as in "1 2 3; 4 5 6"; one row is a one-dimensional signal; names such as "x_0 x_1" ask for the form alone"""
    _: KW_ONLY
    factor: tuple[int, ...] = (2,)
    """how many times as large the image becomes, one number, or one per dimension"""
    corners: bool = False
    """the centres of the corner pixels stay where they are, instead of the image's edges"""
    delta: str | None = None
    """∂L/∂y in rows, which arrives from above; by default 1 everywhere"""
    target: str | None = None
    """target of the output, in rows, instead of delta; then L = Σ (y − t)²"""

    @staticmethod
    def build(
        image: Numbers,
        factor: int | Sequence[int] = 2,
        *,
        corners: bool = False,
        delta: Numbers | None = None,
        target: Numbers | None = None,
    ) -> Worksheet:
        """The worksheet of a bilinear interpolation, linear for a signal.

        >>> sheet = BilinearInterpolation.build([[0, 8]], 2)
        >>> [str(sheet.solve().value(f"y_1_{j}")) for j in (1, 2, 3, 4)]
        ['0', '2', '6', '8']

        Args:
            image: (L,) or (H, W).
            factor: how many times as large it becomes, one number, or one per dimension.
            corners: keep the centres of the corner pixels in place, instead of the image's edges.
            delta: δ = ∂L/∂y, which arrives from above; then L = Σ δ·y.
            target: of the output; then L = Σ (y − t)².

        Raises:
            UsageError: shapes that do not fit, or too large an image.
        """
        given = as_tensor(image, "image", 1, 2)
        weights = _matrices(given.shape, factor, corners)
        sheet = Worksheet()
        x = define(sheet, "x", given)
        outputs = np.empty([len(rows) for rows in weights], dtype=object)
        for where in np.ndindex(*outputs.shape):
            outputs[where] = _mixed(x, [rows[n] for rows, n in zip(weights, where, strict=True)])
        y = define(sheet, "y", outputs)
        ask_values(sheet, y)
        if put_upstream(sheet, y, delta, target):
            ask_gradient(sheet, "L", x)
        return sheet

    def worksheet(self) -> Worksheet:
        """The worksheet of the options."""
        if has_symbols(self.image):
            only_numbers(delta=self.delta, target=self.target)
            return Worksheet()
        image = read_tensor(self.image, "image")
        delta: Numbers | None = None if self.delta is None else read_tensor(self.delta, "delta")
        target = None if self.target is None else read_tensor(self.target, "target")
        if delta is None and target is None:  # ones show how much of each pixel is in the larger image
            delta = np.ones(self._output_shape(), dtype=int)
        return self.build(image, self.factor, corners=self.corners, delta=delta, target=target)

    def grids(self, solution: Solution) -> Sequence[Grid]:
        """The interpolation as a product with one matrix of weights for the rows and one for the columns."""
        symbols = has_symbols(self.image)
        image = (
            read_symbols(self.image, "image") if symbols else as_tensor(read_tensor(self.image, "image"), "image", 1, 2)
        )
        weights = _matrices(image.shape, self.factor, self.corners)
        # those of the columns stand in columns
        title = "as a product of matrices: the weights of each output sum to 1"
        if symbols:
            return weighted_images(image, weights, "y", title)
        return [in_weights(solution, "x", image.shape, weights, "y", title)]

    def draw(self, random: Random) -> BilinearInterpolation:
        """An image of 2×2 whole numbers, and small whole numbers that arrive from above."""

        def draw() -> BilinearInterpolation:
            image = typed([[4 * random.randint(0, 3) for _ in range(2)] for _ in range(2)])
            rows, columns = replace(self, image=image)._output_shape()
            delta = [[random.choice([-2, -1, 1, 2]) for _ in range(columns)] for _ in range(rows)]
            return replace(self, image=image, delta=typed(delta))

        return by_hand(draw)

    def _output_shape(self) -> tuple[int, ...]:
        shape = as_tensor(read_tensor(self.image, "image"), "image", 1, 2).shape
        return tuple(n * f for n, f in zip(shape, per_axis(self.factor, len(shape), "factor", 1), strict=True))


def _weights(size: int, factor: int, corners: bool = False) -> list[list[Fraction]]:
    """The weight of each of `size` pixels in each of the `factor` times as many new ones along one axis.

    The centre of new pixel i, counted from 0, lies at (i + 1/2)/factor − 1/2 of the old ones, or with `corners` at
    i·(size − 1)/(size·factor − 1); beyond the outermost centres their value goes on.
    """
    rows = []
    for i in range(size * factor):
        at = (
            Fraction(i * (size - 1), max(size * factor - 1, 1))
            if corners
            else Fraction(2 * i + 1, 2 * factor) - Fraction(1, 2)
        )
        at = min(max(at, Fraction(0)), Fraction(size - 1))
        first = min(int(at), max(size - 2, 0))
        row = [Fraction(0)] * size
        row[first] += 1 - (at - first)
        if size > 1:
            row[first + 1] += at - first
        rows.append(row)
    return rows


def _matrices(shape: Sequence[int], factor: int | Sequence[int], corners: bool) -> list[list[list[Fraction]]]:
    factors = per_axis(factor, len(shape), "factor", 1)
    if np.prod(shape) * np.prod(factors) > _MOST:
        raise UsageError(f"factor={factor}: makes more than {_MOST} numbers; work a smaller image by hand.")
    return [_weights(n, f, corners) for n, f in zip(shape, factors, strict=True)]


def _mixed(x: Tensor, weights: Sequence[Sequence[Fraction]]) -> Expr:
    """The sum of the pixels with the products of their weights, without those that weigh nothing."""
    terms: list[Expr] = []
    for where in np.ndindex(*x.shape):
        weight = Fraction(1)
        for axis, n in enumerate(where):
            weight *= weights[axis][n]
        pixel: Any = x[where]
        if weight:
            terms.append(pixel if weight == 1 else Mul((as_expr(weight), pixel)))
    return summed(terms)
