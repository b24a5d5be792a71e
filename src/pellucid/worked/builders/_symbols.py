# SPDX-License-Identifier: Apache-2.0
"""A convolution as a product of matrices in symbols, x_0 x_1 …, in either orientation: windows times kernel, kernel times image."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from fractions import Fraction
from typing import Any, Final

import numpy as np

from pellucid.errors import UsageError
from pellucid.worked.expressions.expression import Add, Const, Expr, Mul, Name
from pellucid.worked.expressions.spelling import canonical
from pellucid.worked.notation.arrays import component_name
from pellucid.worked.showing.grids import Matrix, MatrixEquation
from pellucid.worked.worksheet.solution import Solution
from pellucid.worked.worksheet.tensors import Tensor
from pellucid.worked.worksheet.windows import per_axis, size_formula, unfold

__all__ = [
    "as_products",
    "first_index",
    "fitting_symbols",
    "has_symbols",
    "in_weights",
    "kernel_matrix",
    "only_numbers",
    "read_symbols",
    "weighted_images",
]

ZERO: Final = Const(Fraction(0))
_WORD: Final = re.compile(r"[^\W\d]\w*(?:[₀-₉]+)?")
_BELOW: Final = str.maketrans("₀₁₂₃₄₅₆₇₈₉", "0123456789")


def has_symbols(*texts: str | None) -> bool:
    """Whether one of the options holds names, and at most zeros besides, rather than numbers.

    >>> has_symbols("1 2e3", None), has_symbols("1 2 a"), has_symbols("x_0 x_1 0")
    (False, False, True)
    """
    return any(map(_all_names, filter(None, texts)))


def _all_names(text: str) -> bool:
    words = text.replace(";", " ").replace(",", " ").split()
    named = [bool(_WORD.fullmatch(word)) for word in words]
    return any(named) and all(name or word == "0" for name, word in zip(named, words, strict=True))


def read_symbols(text: str, option: str) -> Tensor:
    """Rows of names and numbers.

    >>> read_symbols("x_0 x_1; 0 1", "image").shape
    (2, 2)

    Raises:
        UsageError: rows of several lengths, or something else between them.
    """
    rows = [[_cell(word, option) for word in row.replace(",", " ").split()] for row in text.strip(" ;").split(";")]
    if not rows[0] or len({len(row) for row in rows}) > 1:
        raise UsageError(f"{option}={text[:40]!r}: has rows of several lengths; complete the shorter ones.")
    cells = np.empty((len(rows), len(rows[0])), dtype=object)
    cells[:] = rows
    return cells if len(rows) > 1 else cells[0]


def _cell(word: str, option: str) -> Expr:
    if _WORD.fullmatch(word):
        letters = word.rstrip("₀₁₂₃₄₅₆₇₈₉")
        below = word[len(letters) :].translate(_BELOW)
        return Name(canonical(f"{letters}_{below}" if below else letters))
    try:
        return Const(Fraction(word.replace("−", "-")))
    except (ValueError, ZeroDivisionError):
        raise UsageError(f"{option}={word[:40]!r}: is neither a number nor a name; write x_0 x_1, or 1 2.") from None


def only_numbers(**options: object) -> None:
    """Refuse options that need numbers where the rest is in symbols.

    Raises:
        UsageError: one of them is given.
    """
    if any(value is not None for value in options.values()):
        raise UsageError(f"{', '.join(options)}: need numbers; leave them out, or give the image and kernel numbers.")


def first_index(image: Tensor) -> int:
    """From where outputs are counted: from 0 where the image is.

    >>> first_index(read_symbols("x_0 x_1", "image")), first_index(read_symbols("a b", "image"))
    (0, 1)
    """
    named = [cell.name for cell in image.flat if isinstance(cell, Name)]
    return 0 if any(part == "0" for name in named for part in name.split("_")[1:]) else 1


def fitting_symbols(image: str, kernel: str) -> tuple[Tensor, Tensor]:
    """An image and a kernel of names, with as many axes.

    Raises:
        UsageError: one is a row and the other has several.
    """
    x, w = read_symbols(image, "image"), read_symbols(kernel, "kernel")
    _check_axes(x, w)
    return x, w


def _check_axes(image: Tensor, kernel: Tensor) -> None:
    if image.ndim != kernel.ndim:
        raise UsageError(
            f"kernel.shape={kernel.shape}: does not fit image.shape={image.shape}; give both one row, or both several rows."
        )


def as_products(
    image: Tensor,
    kernel: Tensor,
    stride: int | Sequence[int],
    padding: int | Sequence[int],
    dilation: int | Sequence[int],
) -> tuple[MatrixEquation, MatrixEquation]:
    """The windows times the kernel, and the matrix of the kernel times the image.

    >>> from pellucid.worked.showing.grids import show_grid
    >>> equations = as_products(read_symbols("x_0 x_1 x_2", "image"), read_symbols("w_0 w_1", "kernel"), 1, 0, 1)
    >>> print(show_grid(equations[1]).splitlines()[3].strip())
    ⎡ z₀ ⎤ = ⎡ w₀  w₁   0 ⎤ · ⎢ x₁ ⎥

    Raises:
        UsageError: an image and a kernel that do not fit.
    """
    _check_axes(image, kernel)
    axes = image.ndim
    steps = per_axis(stride, axes, "stride", 1)
    border, spread = per_axis(padding, axes, "padding", 0), per_axis(dilation, axes, "dilation", 1)
    windows = unfold(image[None], kernel.shape, steps, border, spread)
    counts = windows.shape[:axes]
    rows = windows.reshape(int(np.prod(counts)), -1)
    X = np.array([[ZERO if pixel is None else pixel for pixel in row] for row in rows], dtype=object)
    W = kernel_matrix(image, kernel, steps, border, spread)
    first = first_index(image)
    z = [Name("_".join(["z", *(str(n + first) for n in place)])) for place in np.ndindex(*counts)]
    sizes = size_formula(image.shape, kernel.shape, steps, border, spread)
    left = _column(z)
    return (
        MatrixEquation(
            f"one window per row, 0 where it reaches into the padding; {sizes}",
            ((left, "=", _matrix(X), "·", _column([*kernel.flat])),),
        ),
        MatrixEquation(
            "the kernel as a matrix, shifted by the stride from row to row",
            ((left, "=", _matrix(W), "·", _column([*image.flat])),),
        ),
    )


def kernel_matrix(
    image: Tensor, kernel: Tensor, stride: Sequence[int], padding: Sequence[int], dilation: Sequence[int]
) -> Tensor:
    """The matrix that maps the pixels of an image, row by row, to the outputs of a convolution: (positions, pixels).

    >>> image, kernel = np.array([1, 2, 3]), np.array([Name("a"), Name("b")], dtype=object)
    >>> [cell == ZERO for cell in kernel_matrix(image, kernel, (1,), (0,), (1,))[0]]
    [False, False, True]
    """
    places: Any = np.arange(image.size).reshape(image.shape).astype(object)
    windows = unfold(places[None], kernel.shape, stride, padding, dilation)
    rows = windows.reshape(-1, kernel.size)  # of every output the pixels under the kernel, None in the padding
    matrix = np.full((len(rows), image.size), ZERO, dtype=object)
    for row, pixels in zip(matrix, rows, strict=True):
        for weight, pixel in zip(kernel.flat, pixels, strict=True):
            if pixel is not None:
                row[pixel] = weight
    return matrix


def _matrix(cells: Tensor) -> Matrix:
    return Matrix(tuple(map(tuple, cells)))


def _column(cells: Sequence[Expr]) -> Matrix:
    return Matrix(tuple((cell,) for cell in cells))


def weighted_images(
    image: Tensor, weights: Sequence[Sequence[Sequence[Fraction]]], name: str, title: str
) -> list[MatrixEquation]:
    """An image of names between the matrices of weights for its rows and columns, and every output written out.

    >>> from pellucid.worked.showing.grids import show_grid
    >>> half = [[Fraction(1, 2), Fraction(1, 2)]]
    >>> print(show_grid(weighted_images(read_symbols("x_0 x_1", "image"), [half], "y", "a mean")[1]).splitlines()[2].strip())
    y₀ = 0.5·x₀ + 0.5·x₁

    Args:
        image: (L,) or (H, W).
        weights: for each axis a row of weights for each output.
        name: of the outputs.
        title: of the product.
    """
    counts = [len(rows) for rows in weights]
    first = first_index(image)
    outputs = np.empty(counts, dtype=object)
    lines = []
    for where in np.ndindex(*counts):
        output = outputs[where] = Name("_".join([name, *(str(n + first) for n in where)]))
        terms: list[Expr] = []
        for place in np.ndindex(*image.shape):
            pixel: Any = image[place]
            weight = math.prod((weights[axis][where[axis]][n] for axis, n in enumerate(place)), start=Fraction(1))
            if weight and pixel != ZERO:
                terms.append(pixel if weight == 1 else Mul((Const(weight), pixel)))
        lines.append((output, "=", Add(tuple(terms)) if len(terms) > 1 else terms[0] if terms else ZERO))
    return [
        MatrixEquation(title, (_between(_rows(outputs), _rows(image), weights),)),
        MatrixEquation("written out", tuple(lines)),
    ]


def in_weights(
    solution: Solution,
    image: str,
    shape: Sequence[int],
    weights: Sequence[Sequence[Sequence[Fraction]]],
    name: str,
    title: str,
) -> MatrixEquation:
    """The same with a solution's numbers."""
    left = _rows(_values(solution, name, [len(rows) for rows in weights]))
    return MatrixEquation(title, (_between(left, _rows(_values(solution, image, shape)), weights),))


def _between(left: Matrix, image: Matrix, weights: Sequence[Sequence[Sequence[Fraction]]]) -> tuple[Matrix | str, ...]:
    columns = Matrix(tuple(tuple(map(Const, row)) for row in zip(*weights[-1], strict=True)))
    if len(weights) == 1:
        return (left, "=", image, "·", columns)
    return (left, "=", Matrix(tuple(tuple(map(Const, row)) for row in weights[0])), "·", image, "·", columns)


def _values(solution: Solution, name: str, shape: Sequence[int]) -> Tensor:
    cells = np.empty(shape, dtype=object)
    for where in np.ndindex(*shape):
        cells[where] = Const(solution.value(component_name(name, [n + 1 for n in where])))
    return cells


def _rows(cells: Tensor) -> Matrix:
    return _matrix(cells if cells.ndim == 2 else cells[None])
