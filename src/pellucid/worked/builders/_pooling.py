# SPDX-License-Identifier: Apache-2.0
"""Pooling by the maximum or the average of each window, and where the gradient goes: to the winner, or to all in equal parts."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Literal, TypeAlias

from pellucid.errors import UsageError
from pellucid.worked.builders._objective import put_upstream
from pellucid.worked.expressions.expression import Const, Expr, Name, Partial
from pellucid.worked.showing.grids import Matrix, MatrixEquation
from pellucid.worked.worksheet.solution import Solution
from pellucid.worked.worksheet.tensors import Numbers, as_tensor, ask_gradient, ask_values, define
from pellucid.worked.worksheet.windows import per_axis, pooled, unfold, window_counts
from pellucid.worked.worksheet.worksheet import Worksheet

__all__ = ["Kind", "gradient_map", "output_shape", "pooling_sheet", "pooling_sizes"]

Kind: TypeAlias = Literal["max", "average"]
Sizes: TypeAlias = "int | Sequence[int]"


def pooling_sheet(
    kind: Kind,
    image: Numbers,
    size: Sizes = 2,
    *,
    stride: Sizes | None = None,
    padding: Sizes = 0,
    dilation: Sizes = 1,
    delta: Numbers | None = None,
    target: Numbers | None = None,
) -> Worksheet:
    """The worksheet of a pooling.

    >>> sheet = pooling_sheet("max", [[1, 5], [2, 3]], delta=[[7]])
    >>> [str(sheet.solve().derivative("L", name)) for name in ("x_1_1", "x_1_2")]
    ['0', '7']

    Args:
        kind: max or average.
        image: (L,), (H, W) or with channels (C, H, W).
        size: of the window, one number, or one per dimension.
        stride: from one window to the next; by default the window's size.
        padding: a border that never wins and counts as zeros in a mean; at most half the window.
        dilation: from one number of the window to the next.
        delta: δ = ∂L/∂z, which arrives from above; then L = Σ δ·z.
        target: of the output; then L = Σ (z − t)².

    Raises:
        UsageError: shapes that do not fit.
    """
    given = as_tensor(image, "image", 1, 2, 3)
    window, step, border, spread = pooling_sizes(
        min(given.ndim, 2), size, stride, padding, dilation
    )  # channels are pooled one by one
    sheet = Worksheet()
    x = define(sheet, "x", given)
    windows = unfold(x if x.ndim == 3 else x[None], window, step, border, spread)  # (positions…, C, K…)
    outputs = pooled(windows, kind)  # (C, positions…)
    z = define(sheet, "z", outputs if x.ndim == 3 else outputs[0])
    ask_values(sheet, z)
    if put_upstream(sheet, z, delta, target):
        ask_gradient(sheet, "L", x)
    return sheet


def output_shape(
    image: Numbers, size: Sizes, stride: Sizes | None = None, padding: Sizes = 0, dilation: Sizes = 1
) -> tuple[int, ...]:
    """The shape of a pooling's output.

    >>> output_shape([[1, 2, 3, 4], [5, 6, 7, 8]], 2)
    (1, 2)
    """
    shape = as_tensor(image, "image", 1, 2, 3).shape
    dimensions = min(len(shape), 2)
    sizes = pooling_sizes(dimensions, size, stride, padding, dilation)
    return (*shape[:-dimensions], *window_counts(shape[-dimensions:], *sizes))


def gradient_map(solution: Solution, name: str = "x") -> MatrixEquation:
    """Where the gradient of a pooling's loss goes: ∂L/∂x beside x, each in its place of the image.

    >>> from pellucid.worked.showing.grids import show_grid
    >>> sheet = pooling_sheet("max", [[1, 5, 4], [2, 3, 6]], [2, 1], delta=[[7, 8, 9]])
    >>> print(show_grid(gradient_map(sheet.solve())))
    the image, and the gradient at the same places: 0 where none arrives
    <BLANKLINE>
          ⎡ 1  5  4 ⎤           ⎡ 0  8  0 ⎤
      x = ⎣ 2  3  6 ⎦   ∂L/∂x = ⎣ 7  0  9 ⎦

    Args:
        solution: of a pooling with a loss.
        name: of the image.

    Raises:
        UsageError: the image has channels or does not exist, or there is no loss.
    """
    # the values are in the order of writing: row by row
    pixels = [key for key in solution.values if re.fullmatch(rf"{name}(_\d+){{1,2}}", key)]
    if "L" not in solution.values or not pixels:
        raise UsageError(f"name={name!r}: has no gradient here; give delta or target, and an image without channels.")
    columns = max(int(pixel.rpartition("_")[2]) for pixel in pixels)  # the last index of x_i_j counts columns
    slopes = solution.gradient("L", pixels)

    def in_rows(cells: list[Expr]) -> Matrix:
        return Matrix(tuple(tuple(cells[n : n + columns]) for n in range(0, len(cells), columns)))

    values = in_rows([Const(solution.value(pixel)) for pixel in pixels])
    gradient = in_rows([Const(slopes[pixel]) for pixel in pixels])
    line = (Name(name), "=", values, " ", Partial("L", name), "=", gradient)
    return MatrixEquation("the image, and the gradient at the same places: 0 where none arrives", (line,))


def pooling_sizes(
    dimensions: int, size: Sizes, stride: Sizes | None, padding: Sizes, dilation: Sizes
) -> tuple[tuple[int, ...], ...]:
    """Window, stride, padding and dilation, one number per dimension.

    >>> pooling_sizes(2, 2, None, 0, 1)
    ((2, 2), (2, 2), (0, 0), (1, 1))

    Raises:
        UsageError: a padding of more than half the window.
    """
    window = per_axis(size, dimensions, "size", 1)
    step = window if stride is None else per_axis(stride, dimensions, "stride", 1)
    border, spread = per_axis(padding, dimensions, "padding", 0), per_axis(dilation, dimensions, "dilation", 1)
    # as torch demands: a window of nothing but border has no maximum
    if any(2 * edge > extent for edge, extent in zip(border, window, strict=True)):
        raise UsageError(
            f"padding={padding}: is more than half the window {size}; take less, so that no window is all border."
        )
    return window, step, border, spread
