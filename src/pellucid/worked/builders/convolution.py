# SPDX-License-Identifier: Apache-2.0
"""Convolution, in one and two dimensions, with stride, padding and dilation; also as a matrix product, im2col.

As in every library of networks the kernel is not flipped: z_i = b + Σ_k w_k x_{(i−1)s + (k−1)d + 1 − p}, x being 0 outside
(Dumoulin and Visin 2016, "A guide to convolution arithmetic for deep learning").
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np

from pellucid.errors import UsageError
from pellucid.worked.expressions.expression import Const, Expr, as_expr
from pellucid.worked.forms.presenting import Format, present, read_tensor, read_vector
from pellucid.worked.showing.grids import Matrix, MatrixEquation
from pellucid.worked.worksheet.tensors import Numbers, Tensor, as_tensor, ask_gradient, ask_values, define, dot, summed
from pellucid.worked.worksheet.windows import per_axis, size_formula, unfold
from pellucid.worked.worksheet.worksheet import Worksheet

__all__ = ["command", "convolution", "convolved", "im2col", "upstream"]

ZERO: Final = as_expr(0)


def convolution(
    image: Numbers,
    kernel: Numbers,
    bias: Numbers | None = None,
    *,
    stride: int | Sequence[int] = 1,
    padding: int | Sequence[int] = 0,
    dilation: int | Sequence[int] = 1,
    delta: Numbers | None = None,
    target: Numbers | None = None,
    as_matrix: bool = False,
) -> Worksheet:
    """The worksheet of a convolution: every output, and with `delta` or `target` the gradient of kernel, bias and image.

    >>> sheet = convolution([[1, 2], [3, 4]], [[1, 0], [0, -1]], padding=1)
    >>> [str(sheet.solve().value(f"z_1_{j}")) for j in (1, 2, 3)]
    ['-1', '-2', '0']

    Args:
        image: (L,) or (H, W) with a kernel of as many dimensions, or channels first, (C, L) or (C, H, W).
        kernel: (K,), (K, K), or with channels (O, C, K), (O, C, K, K).
        bias: a number, or (O,); by default none is added.
        stride: s, pixels from one window to the next, one number or one a dimension.
        padding: p, zeros at either end.
        dilation: d, pixels from one number of the kernel's window to the next.
        delta: δ = ∂L/∂z, what arrives from above, in the shape of the output; L = Σ δ·z then.
        target: what the output should be; L = Σ (z − t)² then.
        as_matrix: write each output as a row of the im2col matrix times the kernel, the zeros of the padding in place.

    Raises:
        UsageError: shapes that do not fit, or a window that is larger than the padded image.
    """
    sheet, x, w, windows = _windows(image, kernel, stride, padding, dilation)
    b = _bias(sheet, bias, w)
    z = convolved(sheet, "z", windows, w, b, as_matrix=as_matrix, plain=x.ndim == w.ndim)
    ask_values(sheet, z)
    if upstream(sheet, z, delta, target):
        for names in (w, *([] if b is None else [b]), x):
            ask_gradient(sheet, "L", names)
    return sheet


def im2col(
    image: Numbers,
    kernel: Numbers,
    bias: Numbers | None = None,
    *,
    stride: int | Sequence[int] = 1,
    padding: int | Sequence[int] = 0,
    dilation: int | Sequence[int] = 1,
) -> MatrixEquation:
    """A convolution as a product of matrices: a row of X is a window, 0 where it reaches into the padding.

    >>> from pellucid.worked.showing.grids import show_grid
    >>> print(show_grid(im2col([1, 2, 3], [1, -1], padding=1)))
    as a product of matrices: one window a row, 0 where it reaches into the padding; size: ⌊(3 + 2·1 − 1·(2 − 1) − 1)/1⌋ + 1 = 4
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
        image: as for `convolution`, and so are the others.

    Raises:
        UsageError: shapes that do not fit, or a window that is larger than the padded image.
    """
    sheet, x, w, windows = _windows(image, kernel, stride, padding, dilation)
    b = _bias(sheet, bias, w)
    plain = x.ndim == w.ndim
    z = convolved(sheet, "z", windows, w, b, plain=plain)
    filters = 1 if plain else w.shape[0]
    left = z.reshape(filters, -1).T  # (positions, O)
    X = np.array([[ZERO if each is None else each for each in row] for row in windows.reshape(left.shape[0], -1)])
    right = w.reshape(filters, -1).T  # (C·K, O)
    symbols: list[Matrix | str] = [_matrix(left), "=", _matrix(X), "·", _matrix(right)]
    if b is not None:
        symbols += ["+", _matrix(np.broadcast_to(b.reshape(1, -1), left.shape))]
    values = sheet.solve().values

    def number(each: Expr) -> Expr:
        return each if isinstance(each, Const) else Const(values[each.name])  # type: ignore[attr-defined]

    numbers = [
        part if isinstance(part, str) else Matrix(tuple(tuple(map(number, row)) for row in part.rows))
        for part in symbols
    ]
    size = x.ndim if plain else x.ndim - 1
    sizes = size_formula(x.shape[-size:], w.shape[-size:], *_options(size, stride, padding, dilation))
    title = f"as a product of matrices: one window a row, 0 where it reaches into the padding; {sizes}"
    return MatrixEquation(title, (tuple(symbols), tuple(numbers)))


def convolved(
    sheet: Worksheet,
    name: str,
    windows: Tensor,
    w: Tensor,
    b: Tensor | None,
    *,
    as_matrix: bool = False,
    plain: bool = False,
) -> Tensor:
    """Add a convolution's equations to a worksheet; returns the names of its output, (O, positions…).

    >>> from pellucid.worked.expressions.expression import Name
    >>> sheet = Worksheet("a = 1; b = 2; k = 3; c = 0.5")
    >>> windows = np.array([[[Name("a")]], [[Name("b")]]], dtype=object)
    >>> _ = convolved(sheet, "z", windows, np.array([Name("k")]), np.array([Name("c")]), plain=True)
    >>> [str(sheet.solve().value(name)) for name in ("z_1", "z_2")]
    ['7/2', '13/2']

    Args:
        sheet: where they go.
        name: of the output.
        windows: of `unfold`.
        w: the kernel's names, (O, C, K…).
        b: the bias's names, (O,), or None.
        as_matrix: the zeros of the padding stand in the sums.
        plain: one channel that is not counted, so that the output is z_i_j rather than z_1_i_j.
    """
    filters = w[None, None] if plain else w
    kernels = filters.reshape(filters.shape[0], -1)
    out = windows.shape[: windows.ndim - (filters.ndim - 1)]
    found = np.empty((filters.shape[0], *out), dtype=object)
    for channel, *where in np.ndindex(*found.shape):
        window = windows[tuple(where)].reshape(-1)
        total: Expr
        if as_matrix:
            total = dot([ZERO if each is None else each for each in window], list(kernels[channel]))
        else:
            kept = [(k, each) for k, each in zip(kernels[channel], window, strict=True) if each is not None]
            total = dot([k for k, _ in kept], [each for _, each in kept])
        if b is not None:
            bias: Any = b[channel]
            total = bias if total == ZERO else total + bias
        found[(channel, *where)] = total
    return define(sheet, name, found[0] if plain else found)


def upstream(sheet: Worksheet, z: Tensor, delta: Numbers | None, target: Numbers | None) -> bool:
    """Add L = Σ δ·z or L = Σ (z − t)² and ask for it; False where neither is given.

    >>> from pellucid.worked.expressions.expression import Name
    >>> sheet = Worksheet("z_1 = 3")
    >>> upstream(sheet, np.array([Name("z_1")]), [2], None), str(sheet.solve().value("L"))
    (True, '6')

    Raises:
        UsageError: both are given, or another shape than the output's.
    """
    if delta is None and target is None:
        return False
    if delta is not None and target is not None:
        raise UsageError("delta, target: each makes a loss of its own; give one of them.")
    given = as_tensor(delta if target is None else target, "delta" if target is None else "target")  # type: ignore[arg-type]
    if given.shape != z.shape:
        name = "delta" if target is None else "target"
        raise UsageError(f"{name}.shape={given.shape}: the output's is {z.shape}; give as many numbers.")
    if target is None:
        sheet["L"] = dot(list(define(sheet, "delta", given).flat), list(z.flat))
    else:
        sheet["L"] = summed([(a - t) ** 2 for a, t in zip(z.flat, define(sheet, "t", given).flat, strict=True)])
    sheet.ask("L")
    return True


def _windows(
    image: Numbers,
    kernel: Numbers,
    stride: int | Sequence[int],
    padding: int | Sequence[int],
    dilation: int | Sequence[int],
) -> tuple[Worksheet, Tensor, Tensor, Tensor]:
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
    size = given.ndim if plain else given.ndim - 1
    sheet = Worksheet()
    x, w = define(sheet, "x", given), define(sheet, "w", weights)
    options = _options(size, stride, padding, dilation)
    return sheet, x, w, unfold(x[None] if plain else x, weights.shape[-size:], *options)


def _options(
    size: int, stride: int | Sequence[int], padding: int | Sequence[int], dilation: int | Sequence[int]
) -> tuple[tuple[int, ...], tuple[int, ...], tuple[int, ...]]:
    return (
        per_axis(stride, size, "stride", 1),
        per_axis(padding, size, "padding", 0),
        per_axis(dilation, size, "dilation", 1),
    )


def _bias(sheet: Worksheet, bias: Numbers | None, w: Tensor) -> Tensor | None:
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


def command(
    image: str = "1 2 0 1; 0 1 3 2; 2 1 0 0; 1 0 1 2",
    /,
    *,
    kernel: str = "1 0 -1; 2 0 -2; 1 0 -1",
    bias: str | None = None,
    stride: tuple[int, ...] = (2,),
    padding: tuple[int, ...] = (1,),
    dilation: tuple[int, ...] = (1,),
    delta: str | None = None,
    target: str | None = None,
    matrix: bool = True,
    exact: bool = False,
    digits: int = 6,
    verify: bool = False,
    format: Format | None = None,
    out: Path | None = None,
) -> int:
    """Work a convolution by hand: every output, the product of matrices (im2col) that gives the same, and the gradients.

    Args:
        image: rows of numbers, as in "1 2 3; 4 5 6"; one row is a signal of one dimension; nested lists have channels.
        kernel: rows of numbers; with channels nested lists, filters first.
        bias: one number a filter; by default none.
        stride: pixels from one window to the next, one number or one a dimension.
        padding: zeros at either end, one number or one a dimension.
        dilation: pixels between the numbers of a window, one number or one a dimension.
        delta: ∂L/∂z in rows, what arrives from above; with it the gradients of kernel, bias and image are worked out.
        target: what the output should be, in rows; L = Σ (z − t)² then, with its gradients.
        matrix: show the convolution as a product of matrices, the zeros of the padding in place.
        exact: show fractions as fractions where decimals do not end.
        digits: significant digits of numbers that are not exact, 1 to 50.
        verify: show each line's check beside it.
        format: how to show it; by default as the ending of --out says, else for the terminal.
        out: the file to write; by default the terminal.
    """
    x, w = read_tensor(image, "image"), read_tensor(kernel, "kernel")
    options: Any = {"stride": stride, "padding": padding, "dilation": dilation}
    b = None if bias is None else read_vector(bias, "bias")
    sheet = convolution(
        x,
        w,
        b,
        delta=None if delta is None else read_tensor(delta, "delta"),
        target=None if target is None else read_tensor(target, "target"),
        **options,
    )
    grids = [im2col(x, w, b, **options)] if matrix else []
    return present(sheet, grids, exact=exact, digits=digits, verify=verify, format=format, out=out)
