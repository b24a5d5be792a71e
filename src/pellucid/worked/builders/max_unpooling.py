# SPDX-License-Identifier: Apache-2.0
"""max_unpooling: each value goes back to the place of the maximum from which it came; the others are zero and give no gradient."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import KW_ONLY, dataclass, replace
from random import Random
from typing import Any, final

import numpy as np

from pellucid.errors import UsageError
from pellucid.worked.builders._objective import put_upstream
from pellucid.worked.builders._pooling import pooling_sheet
from pellucid.worked.expressions.expression import Const, Expr, Mul, Name, as_expr
from pellucid.worked.forms.contract import Builder
from pellucid.worked.forms.exercise import by_hand
from pellucid.worked.forms.numbers import read_tensor, typed
from pellucid.worked.notation.arrays import component_name
from pellucid.worked.showing.grids import Grid, Matrix, MatrixEquation
from pellucid.worked.worksheet.solution import Solution
from pellucid.worked.worksheet.tensors import Numbers, Tensor, as_tensor, ask_gradient, ask_values, define
from pellucid.worked.worksheet.windows import per_axis, unfold
from pellucid.worked.worksheet.worksheet import Worksheet

__all__ = ["MaxUnpooling"]


@final
@dataclass(frozen=True)
class MaxUnpooling(Builder):
    """Work a max-unpooling by hand: the maxima and their places, the values put back there, and the gradient that returns."""

    topic = "pooling and upsampling"
    question = "Where does max-unpooling put the values back, and what is the gradient?"
    keeps = ("size",)

    image: str = "1 3 2 0; 4 2 1 5; 0 1 7 2; 2 0 3 6"
    """rows of numbers, which are max-pooled on the way down; one row is a one-dimensional signal"""
    _: KW_ONLY
    values: str = "1 -2; 3 0.5"
    """rows of numbers on the way up, one a window, which go to the places of the maxima"""
    size: tuple[int, ...] = (2,)
    """size of the windows in pixels, which lie side by side; one number, or one per dimension"""
    delta: str | None = None
    """∂L/∂y in rows, which arrives from above; by default 1, 2, 3, … row by row"""
    target: str | None = None
    """target of the output, in rows, instead of delta; then L = Σ (y − t)²"""

    @staticmethod
    def build(
        image: Numbers,
        values: Numbers,
        size: int | Sequence[int] = 2,
        *,
        delta: Numbers | None = None,
        target: Numbers | None = None,
    ) -> Worksheet:
        """The worksheet of max-unpooling.

        >>> sheet = MaxUnpooling.build([[1, 5], [2, 3]], [[7]], delta=[[10, 20], [30, 40]])
        >>> [str(sheet.solve().value(name)) for name in ("z_1_1", "y_1_1", "y_1_2")]
        ['5', '0', '7']
        >>> str(sheet.solve().derivative("L", "v_1_1"))
        '20'

        Args:
            image: (L,) or (H, W): what is pooled, so that the places of its maxima are known.
            values: v, one a window: what goes to these places.
            size: of the windows, which lie side by side; pixels that fill no window stay zero.
            delta: δ = ∂L/∂y, which arrives from above, in the shape of the image; then L = Σ δ·y.
            target: of the output; then L = Σ (y − t)².

        Raises:
            UsageError: shapes that do not fit.
        """
        given = as_tensor(image, "image", 1, 2)
        sheet = pooling_sheet("max", image, size)  # x, and z = the maximum of each window
        window = per_axis(size, given.ndim, "size", 1)
        places = _places(given, window)
        ups = as_tensor(values, "values", given.ndim)
        if ups.shape != places.shape:
            raise UsageError(f"values.shape={ups.shape}: there are {places.shape} windows; give one number each.")
        v = define(sheet, "v", ups)
        whole: Tensor = np.full(given.shape, as_expr(0), dtype=object)
        for where in np.ndindex(*places.shape):
            value: Any = v[where]
            for offset in np.ndindex(*window):
                at = tuple(i * span + k for i, span, k in zip(where, window, offset, strict=True))
                whole[at] = Mul((as_expr(int(at == places[where])), value))
        y = define(sheet, "y", whole)
        for name in y.flat:  # where the maxima are is part of the answer
            sheet.hold_back(name.name)
        rule = " at the place where x was largest in the window of ", Name("z"), ", and 0 at its other places."
        sheet.remark(Name("y"), " has ", Name("v"), *rule)
        ask_values(sheet, y)
        if put_upstream(sheet, y, delta, target):
            ask_gradient(sheet, "L", v)
        return sheet

    def worksheet(self) -> Worksheet:
        """The worksheet of the options."""
        image = read_tensor(self.image, "image")
        delta: Numbers | None = None if self.delta is None else read_tensor(self.delta, "delta")
        target = None if self.target is None else read_tensor(self.target, "target")
        if delta is None and target is None:
            shape = as_tensor(image, "image", 1, 2).shape  # different numbers show which of them returns
            delta = np.arange(1, 1 + int(np.prod(shape))).reshape(shape).tolist()
        return self.build(image, read_tensor(self.values, "values"), self.size, delta=delta, target=target)

    def grids(self, solution: Solution) -> Sequence[Grid]:
        """The image with its maxima, and the values in their places."""
        image = as_tensor(read_tensor(self.image, "image"), "image", 1, 2)
        ups = as_tensor(read_tensor(self.values, "values"), "values", 1, 2)

        def shown(name: str, shape: tuple[int, ...]) -> Matrix:
            cells = np.empty(shape, dtype=object)
            for where in np.ndindex(*shape):
                cells[where] = Const(solution.value(component_name(name, [n + 1 for n in where])))
            return Matrix(tuple(tuple(row) for row in (cells if cells.ndim == 2 else cells[None])))

        down = (Name("x"), "=", shown("x", image.shape), " ", Name("z"), "=", shown("z", ups.shape))
        up = (Name("v"), "=", shown("v", ups.shape), " ", Name("y"), "=", shown("y", image.shape))
        return [
            MatrixEquation(
                "down: the largest of each window; up: a value at the place of each, zeros elsewhere", (down, up)
            )
        ]

    def draw(self, random: Random) -> MaxUnpooling:
        """An image of 4×4 whole numbers without ties in a window, and small whole numbers for the ways up and back."""

        def numbers(shape: tuple[int, ...], choices: Sequence[int]) -> str:
            rows = [[random.choice(choices) for _ in range(shape[1])] for _ in range(shape[0])]
            return typed(rows) if shape[0] > 1 else str(rows)  # one row needs brackets, else it reads as a vector

        def draw() -> MaxUnpooling:
            window = per_axis(self.size, 2, "size", 1)
            counts = (4 // window[0], 4 // window[1])
            values, delta = numbers(counts, (-3, -2, -1, 1, 2, 3)), numbers((4, 4), (-2, -1, 1, 2, 3))
            return replace(self, image=numbers((4, 4), range(10)), values=values, delta=delta)

        return by_hand(draw)


def _places(image: Tensor, window: Sequence[int]) -> Any:
    """The place in the image of the first largest number of each window, as an array of tuples."""
    still = [0] * image.ndim
    values = unfold(image[None], window, window, still, [1] * image.ndim)  # (positions…, 1, K…)
    counts = values.shape[: image.ndim]
    places = np.empty(counts, dtype=object)
    for where in np.ndindex(*counts):
        numbers = [_number(cell) for cell in values[where].reshape(-1)]
        inside = np.unravel_index(numbers.index(max(numbers)), window)
        places[where] = tuple(i * span + int(k) for i, span, k in zip(where, window, inside, strict=True))
    return places


def _number(cell: Expr) -> Any:
    assert isinstance(cell, Const)
    return cell.value
