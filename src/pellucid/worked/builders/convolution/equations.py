# SPDX-License-Identifier: Apache-2.0
"""A convolution's quantities put into a worksheet, the windows of its image, and its equations; also as a product (im2col).

As in every library of networks the kernel is not flipped: z_i = b + Σ_k w_k x_{(i−1)s + (k−1)d + 1 − p}, x being 0 outside
(Dumoulin and Visin 2016, "A guide to convolution arithmetic for deep learning").
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final, TypeAlias, final

import numpy as np

from pellucid.errors import UsageError
from pellucid.worked.expressions.expression import Const, Expr, Name, as_expr
from pellucid.worked.showing.grids import Matrix, MatrixEquation
from pellucid.worked.worksheet.tensors import Numbers, Tensor, as_tensor, define, dot
from pellucid.worked.worksheet.windows import per_axis, size_formula, unfold
from pellucid.worked.worksheet.worksheet import Worksheet

__all__ = ["Operands", "Sizes", "im2col", "put_operands", "put_outputs"]

ZERO: Final = as_expr(0)
Sizes: TypeAlias = "int | Sequence[int]"


@final
@dataclass(frozen=True)
class Operands:
    """The names of a convolution's quantities in a worksheet."""

    x: Tensor  # the image: (H, W), or (C, H, W); one dimension less for a signal
    w: Tensor  # the kernel: (K, K), or (O, C, K, K)
    b: Tensor | None  # the bias: (O,)
    windows: Tensor  # (positions…, C, K…) of x, None in the padding
    sizes: str  # how many windows there are, as a formula with numbers

    @property
    def plain(self) -> bool:
        """Whether there is one channel, which is not counted: the output is z_i_j instead of z_1_i_j."""
        return self.x.ndim == self.w.ndim


def put_operands(
    sheet: Worksheet,
    image: Numbers,
    kernel: Numbers,
    bias: Numbers | None,
    stride: Sizes,
    padding: Sizes,
    dilation: Sizes,
) -> Operands:
    """Write down image, kernel and bias, and cut the image into windows.

    Raises:
        UsageError: shapes that do not fit, or a window that is larger than the padded image.
    """
    given, weights = as_tensor(image, "image", 1, 2, 3), as_tensor(kernel, "kernel", 1, 2, 3, 4)
    plain = given.ndim == weights.ndim and given.ndim < 3
    if not plain and given.ndim + 1 != weights.ndim:
        raise UsageError(
            f"kernel.shape={weights.shape}: does not fit image.shape={given.shape}; give both without channels, or the "
            "image as (channels, …) and the kernel as (filters, channels, …)."
        )
    if not plain and weights.shape[1] != given.shape[0]:
        raise UsageError(
            f"kernel.shape={weights.shape}: is for {weights.shape[1]} channels and the image has {given.shape[0]}; "
            "make them equal."
        )
    dimensions = given.ndim if plain else given.ndim - 1
    x, w = define(sheet, "x", given), define(sheet, "w", weights)
    steps = per_axis(stride, dimensions, "stride", 1)
    border, spread = per_axis(padding, dimensions, "padding", 0), per_axis(dilation, dimensions, "dilation", 1)
    window = weights.shape[-dimensions:]
    windows = unfold(x[None] if plain else x, window, steps, border, spread)
    sizes = size_formula(given.shape[-dimensions:], window, steps, border, spread)
    return Operands(x, w, _put_bias(sheet, bias, w), windows, sizes)


def put_outputs(sheet: Worksheet, name: str, given: Operands, *, as_matrix: bool = False) -> Tensor:
    """Write down the equations of the outputs; returns their names, (O, positions…).

    >>> sheet = Worksheet()
    >>> given = put_operands(sheet, [1, 2], [3], 0.5, 1, 0, 1)
    >>> _ = put_outputs(sheet, "z", given)
    >>> [str(sheet.solve().value(name)) for name in ("z_1", "z_2")]
    ['7/2', '13/2']

    Args:
        sheet: gets the equations.
        name: of the output.
        given: image, kernel and bias.
        as_matrix: keep the zeros of the padding in the sums.
    """
    filters = given.w[None, None] if given.plain else given.w  # (O, C, K…)
    kernels = filters.reshape(filters.shape[0], -1)  # (O, C·K)
    positions = given.windows.shape[: given.windows.ndim - (filters.ndim - 1)]
    outputs = np.empty((filters.shape[0], *positions), dtype=object)
    for channel, *where in np.ndindex(*outputs.shape):
        window = given.windows[tuple(where)].reshape(-1)
        total: Expr
        if as_matrix:
            total = dot([ZERO if pixel is None else pixel for pixel in window], list(kernels[channel]))
        else:
            inside = [(k, pixel) for k, pixel in zip(kernels[channel], window, strict=True) if pixel is not None]
            total = dot([k for k, _ in inside], [pixel for _, pixel in inside])
        if given.b is not None:
            bias: Any = given.b[channel]
            total = bias if total == ZERO else total + bias
        outputs[(channel, *where)] = total
    return define(sheet, name, outputs[0] if given.plain else outputs)


def im2col(
    image: Numbers,
    kernel: Numbers,
    bias: Numbers | None = None,
    *,
    stride: Sizes = 1,
    padding: Sizes = 0,
    dilation: Sizes = 1,
) -> MatrixEquation:
    """A convolution as a product of matrices: a row of X is a window, 0 where it reaches into the padding.

    >>> from pellucid.worked.showing.grids import show_grid
    >>> print(show_grid(im2col([1, 2, 3], [1, -1], padding=1)))
    as a product of matrices: one window per row, 0 where it reaches into the padding; size: ⌊(3 + 2·1 − 1·(2 − 1) − 1)/1⌋ + 1 = 4
    <BLANKLINE>
      ⎡ z₁ ⎤   ⎡  0  x₁ ⎤
      ⎢ z₂ ⎥   ⎢ x₁  x₂ ⎥   ⎡ w₁ ⎤
      ⎢ z₃ ⎥ = ⎢ x₂  x₃ ⎥ · ⎣ w₂ ⎦
      ⎣ z₄ ⎦   ⎣ x₃   0 ⎦
    <BLANKLINE>
      ⎡ −1 ⎤   ⎡ 0  1 ⎤
      ⎢ −1 ⎥   ⎢ 1  2 ⎥   ⎡  1 ⎤
      ⎢ −1 ⎥ = ⎢ 2  3 ⎥ · ⎣ −1 ⎦
      ⎣  3 ⎦   ⎣ 3  0 ⎦

    Args:
        image: (L,) or (H, W), or channels first.
        kernel: of as many dimensions, or filters and channels first.
        bias: a number, or one a filter.
        stride: pixels from one window to the next.
        padding: zeros at either end.
        dilation: pixels from one number of the window to the next.

    Raises:
        UsageError: shapes that do not fit, or a window that is larger than the padded image.
    """
    sheet = Worksheet()
    given = put_operands(sheet, image, kernel, bias, stride, padding, dilation)
    z = put_outputs(sheet, "z", given)
    filters = 1 if given.plain else given.w.shape[0]
    left = z.reshape(filters, -1).T  # (positions, O)
    rows = given.windows.reshape(left.shape[0], -1)  # (positions, C·K)
    X = np.array([[ZERO if pixel is None else pixel for pixel in row] for row in rows])
    right = given.w.reshape(filters, -1).T  # (C·K, O)
    symbols: list[Matrix | str] = [_matrix(left), "=", _matrix(X), "·", _matrix(right)]
    if given.b is not None:
        symbols += ["+", _matrix(np.broadcast_to(given.b.reshape(1, -1), left.shape))]
    values = sheet.solve().values

    def number(cell: Expr) -> Expr:
        return Const(values[cell.name]) if isinstance(cell, Name) else cell

    numbers = [
        part if isinstance(part, str) else Matrix(tuple(tuple(map(number, row)) for row in part.rows))
        for part in symbols
    ]
    title = f"as a product of matrices: one window per row, 0 where it reaches into the padding; {given.sizes}"
    return MatrixEquation(title, (tuple(symbols), tuple(numbers)))


def _put_bias(sheet: Worksheet, bias: Numbers | None, w: Tensor) -> Tensor | None:
    if bias is None:
        return None
    given = as_tensor(bias, "bias", 0, 1)
    filters = w.shape[0] if w.ndim > 2 else 1
    if given.size != filters:
        raise UsageError(f"bias.shape={given.shape}: there are {filters} filters; give one number each.")
    if w.ndim < 3:
        sheet["b"] = given.flat[0]
        return np.array([sheet["b"]], dtype=object)
    return define(sheet, "b", given.reshape(-1))


def _matrix(names: Tensor) -> Matrix:
    return Matrix(tuple(tuple(row) for row in names))
