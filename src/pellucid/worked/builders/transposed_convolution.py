# SPDX-License-Identifier: Apache-2.0
"""transposed_convolution: each number spreads over its kernel's window, as the transposed matrix of a convolution says."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import KW_ONLY, dataclass, replace
from fractions import Fraction
from random import Random
from typing import Any, final

import numpy as np

from pellucid.errors import UsageError
from pellucid.worked.builders._objective import put_upstream
from pellucid.worked.builders._symbols import first_index, fitting_symbols, has_symbols, only_numbers
from pellucid.worked.expressions.arithmetic import times
from pellucid.worked.expressions.expression import Const, Expr, Mul, Name, as_expr
from pellucid.worked.forms.contract import Builder
from pellucid.worked.forms.exercise import by_hand
from pellucid.worked.forms.numbers import read_number, read_tensor, typed
from pellucid.worked.notation.arrays import component_name
from pellucid.worked.showing.grids import Grid, Matrix, MatrixEquation
from pellucid.worked.worksheet.solution import Solution
from pellucid.worked.worksheet.tensors import Numbers, Tensor, as_tensor, ask_gradient, ask_values, define, summed
from pellucid.worked.worksheet.windows import per_axis
from pellucid.worked.worksheet.worksheet import Worksheet

__all__ = ["TransposedConvolution"]

Sizes = int | Sequence[int]

_WIDEST = 24  # columns of matrices side by side


@final
@dataclass(frozen=True)
class TransposedConvolution(Builder):
    """Work a transposed convolution by hand: every output, the transposed matrix that gives the same, and the gradients."""

    topic = "pooling and upsampling"
    question = "What does a transposed convolution give, by spreading and by the transposed matrix?"
    keeps = ("stride", "padding", "matrix")

    image: str = "1 2; 3 -1"
    """rows of numbers, as in "1 2 3; 4 5 6", or of names, as in "x_0 x_1 x_2"; one row is a one-dimensional signal"""
    _: KW_ONLY
    kernel: str = "1 2; 0 -1"
    """rows of numbers"""
    bias: str | None = None
    """one number; by default none"""
    stride: tuple[int, ...] = (1,)
    """pixels of the output from one window to the next, one number, or one per dimension"""
    padding: tuple[int, ...] = (0,)
    """pixels that are cut off at either end of the output, one number, or one per dimension"""
    delta: str | None = None
    """∂L/∂y in rows, which arrives from above; with it the gradients of kernel, bias and image are worked out"""
    target: str | None = None
    """target of the output, in rows; then L = Σ (y − t)², with its gradients"""
    matrix: bool = True
    """show the matrix of the convolution with this kernel, and its transpose, with which this one multiplies"""

    @staticmethod
    def build(
        image: Numbers,
        kernel: Numbers,
        bias: Numbers | None = None,
        *,
        stride: Sizes = 1,
        padding: Sizes = 0,
        delta: Numbers | None = None,
        target: Numbers | None = None,
    ) -> Worksheet:
        """The worksheet of a transposed convolution: every output, and with `delta` or `target` the gradients.

        >>> sheet = TransposedConvolution.build([1, 2], [3, 5], stride=1)
        >>> [str(sheet.solve().value(f"y_{i}")) for i in (1, 2, 3)]
        ['3', '11', '10']

        Args:
            image: (L,) or (H, W).
            kernel: of as many dimensions.
            bias: a number; by default none is added.
            stride: s, pixels of the output from one window to the next, one number, or one per dimension.
            padding: p, pixels that are cut off at either end of the output.
            delta: δ = ∂L/∂y, which arrives from above, in the shape of the output; then L = Σ δ·y.
            target: of the output; then L = Σ (y − t)².

        Raises:
            UsageError: shapes that do not fit, or nothing is left of the output.
        """
        sheet = Worksheet()
        x, w = _operands(sheet, image, kernel)
        size = _output_shape(x.shape, w.shape, stride, padding)
        terms: dict[tuple[int, ...], list[Expr]] = {place: [] for place in np.ndindex(*size)}
        for where, offset, place in _spread(x.shape, w.shape, size, stride, padding):
            terms[place].append(Mul((w[offset], x[where])))
        if bias is not None:
            sheet["b"] = as_tensor(bias, "bias", 0, 1).flat[0]
        outputs = np.empty(size, dtype=object)
        for place, products in terms.items():
            total = summed(products)
            if bias is not None:
                total = total + sheet["b"] if products else sheet["b"]
            outputs[place] = total
        y = define(sheet, "y", outputs)
        ask_values(sheet, y)
        if put_upstream(sheet, y, delta, target):
            ask_gradient(sheet, "L", w)
            if bias is not None:
                sheet.ask("dL/db")
            ask_gradient(sheet, "L", x)
        return sheet

    def worksheet(self) -> Worksheet:
        """The worksheet of the options."""
        if has_symbols(self.image, self.kernel):
            only_numbers(bias=self.bias, delta=self.delta, target=self.target)
            return Worksheet()
        bias: Any = None if self.bias is None else read_number(self.bias, "bias")
        delta = None if self.delta is None else read_tensor(self.delta, "delta")
        target = None if self.target is None else read_tensor(self.target, "target")
        sizes: dict[str, Any] = {"stride": self.stride, "padding": self.padding}
        image, kernel = read_tensor(self.image, "image"), read_tensor(self.kernel, "kernel")
        return self.build(image, kernel, bias, **sizes, delta=delta, target=target)

    def grids(self, solution: Solution) -> Sequence[Grid]:
        """The windows that add up to the output; the matrix C of the convolution with this kernel and stride, and its transpose."""
        if has_symbols(self.image, self.kernel):
            return self._matrices(solution)
        return [*self._windows(solution), *(self._matrices(solution) if self.matrix else [])]

    def draw(self, random: Random) -> TransposedConvolution:
        """A 2×2 image, a 2×2 kernel, a bias, and what arrives from above, all small whole numbers."""

        def numbers(shape: Sequence[int], choices: Sequence[int]) -> str:
            rows = [[random.choice(choices) for _ in range(shape[1])] for _ in range(shape[0])]
            return typed(rows) if shape[0] > 1 else str(rows)  # one row in brackets, else it would be a vector

        def draw() -> TransposedConvolution:
            image, kernel = numbers((2, 2), range(5)), numbers((2, 2), (-2, -1, 1, 2))
            delta = numbers(_output_shape((2, 2), (2, 2), self.stride, self.padding), (-2, -1, 1, 2, 3))
            return replace(self, image=image, kernel=kernel, bias=typed(random.choice([-2, -1, 1, 2])), delta=delta)

        return by_hand(draw)

    def _windows(self, solution: Solution) -> Sequence[Grid]:
        """What each number of the image adds to the output; nothing where so many matrices would not fit on a line."""
        x, w = _operands(Worksheet(), read_tensor(self.image, "image"), read_tensor(self.kernel, "kernel"))
        size = _output_shape(x.shape, w.shape, self.stride, self.padding)
        if x.size * size[-1] > _WIDEST:
            return []
        windows = {where: np.full(size, Fraction(0), dtype=object) for where in np.ndindex(*x.shape)}
        for where, offset, place in _spread(x.shape, w.shape, size, self.stride, self.padding):
            windows[where][place] = times(solution.value(w[offset].name), solution.value(x[where].name))
        shown = [
            _rows(np.atleast_2d(np.vectorize(Const, otypes=[object])(window))) for window in windows.values()
        ]  # (H', W') each
        line: list[Matrix | Expr | str] = [Name("y"), "="]
        for n, window in enumerate(shown):
            line += ["+", window] if n else [window]
        if self.bias is not None:
            line += ["+", Name("b")]
        title = "each number is multiplied by the kernel and spreads over a window of the output; the windows add up"
        return [MatrixEquation(title, (tuple(line),))]

    def _matrices(self, solution: Solution) -> Sequence[Grid]:
        in_symbols = has_symbols(self.image, self.kernel)
        if in_symbols:
            x, w = fitting_symbols(self.image, self.kernel)
        else:
            x, w = _operands(Worksheet(), read_tensor(self.image, "image"), read_tensor(self.kernel, "kernel"))
        size = _output_shape(x.shape, w.shape, self.stride, self.padding)
        matrix = np.full((x.size, int(np.prod(size))), as_expr(0), dtype=object)  # C: (inputs, outputs)
        for where, offset, place in _spread(x.shape, w.shape, size, self.stride, self.padding):
            matrix[np.ravel_multi_index(where, x.shape), np.ravel_multi_index(place, size)] = w[offset]
        y: Tensor = np.empty(size, dtype=object)
        for place in np.ndindex(*size):
            y[place] = Name(component_name("y", [n + (first_index(x) if in_symbols else 1) for n in place]))
        down = (Name("C"), "=", _rows(matrix))
        added: list[Matrix | Expr | str] = [] if self.bias is None else ["+", Name("b")]

        def number(cell: Expr) -> Expr:
            return Const(solution.value(cell.name)) if isinstance(cell, Name) and not in_symbols else cell

        symbols: list[Matrix | Expr | str] = [_column(y), "=", _rows(matrix.T), "·", _column(x), *added]
        values: list[Matrix | Expr | str] = [
            Matrix(tuple(tuple(map(number, row)) for row in part.rows)) if isinstance(part, Matrix) else part
            for part in symbols
        ]
        return [
            MatrixEquation("the convolution with this kernel multiplies by C, one window per row", (down,)),
            MatrixEquation(
                "the transposed convolution multiplies by Cᵀ: each column spreads a number over its window",
                (tuple(symbols),) if in_symbols else (tuple(symbols), tuple(values)),
            ),
        ]


def _operands(sheet: Worksheet, image: Numbers, kernel: Numbers) -> tuple[Tensor, Tensor]:
    """Write down image and kernel; their names."""
    given, weights = as_tensor(image, "image", 1, 2), as_tensor(kernel, "kernel", 1, 2)
    if given.ndim != weights.ndim:
        raise UsageError(
            f"kernel.shape={weights.shape}: does not fit image.shape={given.shape}; give as many dimensions to both."
        )
    return define(sheet, "x", given), define(sheet, "w", weights)


def _output_shape(size: Sequence[int], kernel: Sequence[int], stride: Sizes, padding: Sizes) -> tuple[int, ...]:
    """(n − 1)·s + f − 2p along each axis (Dumoulin and Visin 2016, relationship 14)."""
    steps, border = per_axis(stride, len(size), "stride", 1), per_axis(padding, len(size), "padding", 0)
    shape = tuple((n - 1) * s + f - 2 * p for n, f, s, p in zip(size, kernel, steps, border, strict=True))
    if min(shape) < 1:
        raise UsageError(f"padding={padding}: nothing is left of the output; cut off less.")
    return shape


def _spread(
    shape: Sequence[int], kernel: Sequence[int], size: Sequence[int], stride: Sizes, padding: Sizes
) -> list[tuple[tuple[int, ...], tuple[int, ...], tuple[int, ...]]]:
    """Each place of the image with each offset in the kernel, and the place of the output where their product goes."""
    steps, border = per_axis(stride, len(size), "stride", 1), per_axis(padding, len(size), "padding", 0)
    found = []
    for where in np.ndindex(*shape):
        for offset in np.ndindex(*kernel):
            place = tuple(i * s + k - p for i, k, s, p in zip(where, offset, steps, border, strict=True))
            if all(0 <= at < n for at, n in zip(place, size, strict=True)):
                found.append((where, offset, place))
    return found


def _rows(cells: Tensor) -> Matrix:
    return Matrix(tuple(tuple(row) for row in cells))


def _column(cells: Tensor) -> Matrix:
    return Matrix(tuple((cell,) for cell in cells.flat))
