# SPDX-License-Identifier: Apache-2.0
"""convolution: in one and two dimensions, with stride, padding and dilation, and its gradients."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import KW_ONLY, dataclass, replace
from random import Random
from typing import Any, Literal, final

from pellucid.errors import UsageError
from pellucid.worked.builders._objective import put_upstream
from pellucid.worked.builders._symbols import as_products, has_symbols, only_numbers, read_symbols
from pellucid.worked.builders.convolution.equations import Sizes, im2col, put_operands, put_outputs
from pellucid.worked.expressions.expression import Const, Name, Value
from pellucid.worked.forms.contract import Builder
from pellucid.worked.forms.exercise import by_hand
from pellucid.worked.forms.numbers import read_tensor, read_vector, typed
from pellucid.worked.showing.grids import Grid, Matrix, MatrixEquation
from pellucid.worked.worksheet.solution import Solution
from pellucid.worked.worksheet.tensors import Numbers, ask_gradient, ask_values
from pellucid.worked.worksheet.worksheet import Worksheet

__all__ = ["Convolution"]


@final
@dataclass(frozen=True)
class Convolution(Builder):
    """Work a convolution by hand: every output, the product of matrices (im2col) that gives the same, and the gradients."""

    topic = "convolution"
    question = "What does a convolution give, as sums and as a matrix product, and what are its gradients?"
    keeps = ("stride", "padding", "dilation", "matrix", "orientation")

    image: str = "1 2 0 1; 0 1 3 2; 2 1 0 0; 1 0 1 2"
    """
    rows of numbers, as in "1 2 3; 4 5 6"; one row is a one-dimensional signal; nested lists have channels; names such as
    "x_0 x_1 x_2" ask for the form alone
    """
    _: KW_ONLY
    kernel: str = "1 0 -1; 2 0 -2; 1 0 -1"
    """rows of numbers; with channels nested lists, filters first"""
    bias: str | None = None
    """one number per filter; by default none"""
    stride: tuple[int, ...] = (2,)
    """pixels from one window to the next, one number, or one per dimension"""
    padding: tuple[int, ...] = (1,)
    """zeros at either end, one number, or one per dimension"""
    dilation: tuple[int, ...] = (1,)
    """pixels between the numbers of a window, one number, or one per dimension"""
    delta: str | None = None
    """∂L/∂z in rows, which arrives from above; with it the gradients of kernel, bias and image are worked out"""
    target: str | None = None
    """target of the output, in rows; then L = Σ (z − t)², with its gradients"""
    matrix: bool = True
    """show the convolution as a product of matrices, with the zeros of the padding"""
    orientation: Literal["windows", "kernel", "both"] = "windows"
    """of that product: the windows as a matrix times the kernel, the kernel as a matrix times the image, or both"""

    @staticmethod
    def build(
        image: Numbers,
        kernel: Numbers,
        bias: Numbers | None = None,
        *,
        stride: Sizes = 1,
        padding: Sizes = 0,
        dilation: Sizes = 1,
        delta: Numbers | None = None,
        target: Numbers | None = None,
        as_matrix: bool = False,
    ) -> Worksheet:
        """The worksheet of a convolution: every output, and with `delta` or `target` the gradient of kernel, bias and image.

        >>> sheet = Convolution.build([[1, 2], [3, 4]], [[1, 0], [0, -1]], padding=1)
        >>> [str(sheet.solve().value(f"z_1_{j}")) for j in (1, 2, 3)]
        ['-1', '-2', '0']

        Args:
            image: (L,) or (H, W) with a kernel of as many dimensions, or channels first, (C, L) or (C, H, W).
            kernel: (K,), (K, K), or with channels (O, C, K), (O, C, K, K).
            bias: a number, or (O,); by default none is added.
            stride: s, pixels from one window to the next, one number, or one per dimension.
            padding: p, zeros at either end.
            dilation: d, pixels from one number of the window to the next.
            delta: δ = ∂L/∂z, which arrives from above, in the shape of the output; then L = Σ δ·z.
            target: of the output; then L = Σ (z − t)².
            as_matrix: write each output as a row of the im2col matrix times the kernel, with the zeros of the padding.

        Raises:
            UsageError: shapes that do not fit, or a window that is larger than the padded image.
        """
        sheet = Worksheet()
        given = put_operands(sheet, image, kernel, bias, stride, padding, dilation)
        z = put_outputs(sheet, "z", given, as_matrix=as_matrix)  # (O, positions…)
        ask_values(sheet, z)
        if put_upstream(sheet, z, delta, target):
            for names in (given.w, given.b, given.x):
                if names is not None:
                    ask_gradient(sheet, "L", names)
        return sheet

    def worksheet(self) -> Worksheet:
        """The worksheet of the options."""
        if has_symbols(self.image, self.kernel):
            only_numbers(bias=self.bias, delta=self.delta, target=self.target)
            return Worksheet()
        image, kernel, bias = self._operands()
        delta = None if self.delta is None else read_tensor(self.delta, "delta")
        target = None if self.target is None else read_tensor(self.target, "target")
        return self.build(image, kernel, bias, **self._sizes(), delta=delta, target=target)

    def grids(self, solution: Solution) -> Sequence[Grid]:
        """The convolution as a product of matrices."""
        if has_symbols(self.image, self.kernel):
            image, kernel = read_symbols(self.image, "image"), read_symbols(self.kernel, "kernel")
            return self._chosen(*as_products(image, kernel, **self._sizes()))
        if not self.matrix:
            return []
        image, kernel, bias = self._operands()
        windows = im2col(image, kernel, bias, **self._sizes())
        if self.orientation == "windows":
            return [windows]
        given = put_operands(Worksheet(), image, kernel, bias, **self._sizes())
        if not given.plain:
            raise UsageError("orientation=kernel: has one channel and one filter; leave it out, or give one channel.")
        numbers = dict(solution.values)
        symbols = as_products(given.x, given.w, **self._sizes())[1]
        (line,) = symbols.lines
        filled = tuple(_filled(part, numbers) if isinstance(part, Matrix) else part for part in line)
        return self._chosen(windows, MatrixEquation(symbols.title, (line, filled)))

    def _chosen(self, windows: Grid, kernel: Grid) -> Sequence[Grid]:
        """The products of the orientation that is asked for."""
        return {"windows": [windows], "kernel": [kernel], "both": [windows, kernel]}[self.orientation]

    def draw(self, random: Random) -> Convolution:
        """A 3×3 image, a 2×2 kernel, a bias, and what arrives from above, all small whole numbers."""

        def numbers(rows: int, columns: int, choices: Sequence[int]) -> str:
            drawn = [[random.choice(choices) for _ in range(columns)] for _ in range(rows)]
            return typed(drawn) if rows > 1 else str(drawn)  # one row in brackets, else it would be a vector

        def draw() -> Convolution:
            image, kernel = numbers(3, 3, range(5)), numbers(2, 2, (-2, -1, 1, 2))
            drawn = replace(self, image=image, kernel=kernel, bias=typed(random.choice([-2, -1, 1, 2])))
            # what arrives from above has the shape of the output, which follows from the sizes that were kept
            given = put_operands(Worksheet(), *drawn._operands(), **drawn._sizes())
            rows, columns = given.windows.shape[:2]  # positions
            return replace(drawn, delta=numbers(rows, columns, (-2, -1, 1, 2, 3)))

        return by_hand(draw)

    def _operands(self) -> tuple[Any, Any, Any]:
        """Image, kernel and bias."""
        bias = None if self.bias is None else read_vector(self.bias, "bias")
        return read_tensor(self.image, "image"), read_tensor(self.kernel, "kernel"), bias

    def _sizes(self) -> dict[str, Any]:
        return {"stride": self.stride, "padding": self.padding, "dilation": self.dilation}


def _filled(part: Matrix, numbers: Mapping[str, Value]) -> Matrix:
    """A matrix of names with their numbers."""
    return Matrix(tuple(tuple(Const(numbers[c.name]) if isinstance(c, Name) else c for c in row) for row in part.rows))
