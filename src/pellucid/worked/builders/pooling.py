# SPDX-License-Identifier: Apache-2.0
"""Pooling by the maximum or the average of each window, and where the gradient goes: to the winner, or to all in equal parts."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Literal

import numpy as np

from pellucid.errors import UsageError
from pellucid.worked.builders.convolution import upstream
from pellucid.worked.expressions.expression import Call, Const, Expr, Name, Partial, as_expr
from pellucid.worked.forms.presenting import Format, present, read_tensor
from pellucid.worked.showing.grids import Matrix, MatrixEquation
from pellucid.worked.worksheet.tensors import Numbers, Tensor, as_tensor, ask_gradient, ask_values, define, summed
from pellucid.worked.worksheet.windows import per_axis, unfold
from pellucid.worked.worksheet.worksheet import Worksheet

__all__ = ["average_pooling", "command", "gradient_map", "max_pooling", "pooled"]

Kind = Literal["max", "average"]


def max_pooling(
    image: Numbers,
    size: int | Sequence[int] = 2,
    *,
    stride: int | Sequence[int] | None = None,
    padding: int | Sequence[int] = 0,
    dilation: int | Sequence[int] = 1,
    delta: Numbers | None = None,
    target: Numbers | None = None,
) -> Worksheet:
    """The worksheet of max-pooling: the largest of each window; the gradient goes to it alone, of equal ones to the first.

    >>> sheet = max_pooling([[1, 5], [2, 3]], delta=[[7]])
    >>> [str(sheet.solve().derivative("L", name)) for name in ("x_1_1", "x_1_2")]
    ['0', '7']

    Args:
        image: (L,), (H, W) or with channels (C, H, W).
        size: of the window, one number or one a dimension.
        stride: from one window to the next; by default the window's size.
        padding: a border that never wins; at most half the window.
        dilation: from one number of the window to the next.
        delta: δ = ∂L/∂z, what arrives from above; L = Σ δ·z then.
        target: what the output should be; L = Σ (z − t)² then.

    Raises:
        UsageError: shapes that do not fit.
    """
    return _pooling("max", image, size, stride, padding, dilation, delta, target)


def average_pooling(
    image: Numbers,
    size: int | Sequence[int] = 2,
    *,
    stride: int | Sequence[int] | None = None,
    padding: int | Sequence[int] = 0,
    delta: Numbers | None = None,
    target: Numbers | None = None,
) -> Worksheet:
    """The worksheet of average-pooling: the mean of each window; the gradient goes to all of it in equal parts.

    >>> sheet = average_pooling([[1, 5], [2, 4]], delta=[[8]])
    >>> str(sheet.solve().value("z_1_1")), str(sheet.solve().derivative("L", "x_1_2"))
    ('3', '2')

    Args:
        image: as for `max_pooling`, and so are the others.
        padding: zeros, which count in the mean.

    Raises:
        UsageError: shapes that do not fit.
    """
    return _pooling("average", image, size, stride, padding, 1, delta, target)


def pooled(windows: Tensor, kind: Kind) -> Tensor:
    """What each window of `unfold` is pooled to; the channels come first, (C, positions…).

    >>> pooled(np.array([[[Name("a"), None]], [[Name("b"), Name("c")]]], dtype=object), "max")[0, 1]
    Call(function='max', args=(Name(name='b'), Name(name='c')), index=0)

    Args:
        windows: (positions…, C, K…) with None in the padding.
        kind: max or average.
    """
    sizes = len(windows.shape) // 2
    found = np.empty((windows.shape[sizes], *windows.shape[:sizes]), dtype=object)
    for channel, *where in np.ndindex(*found.shape):
        window = windows[(*where, channel)].reshape(-1)
        inside = tuple(each for each in window if each is not None)
        if kind == "max":
            found[(channel, *where)] = inside[0] if len(inside) == 1 else Call("max", inside)
        else:
            found[(channel, *where)] = summed(inside) / as_expr(window.size)
    return found


def gradient_map(sheet: Worksheet, name: str = "x") -> MatrixEquation:
    """Where the gradient of a pooling's loss went: ∂L/∂x beside x, each in the image's place.

    >>> from pellucid.worked.showing.grids import show_grid
    >>> print(show_grid(gradient_map(max_pooling([[1, 5, 4], [2, 3, 6]], [2, 1], delta=[[7, 8, 9]]))))
    the image, and the gradient in its places: 0 where nothing comes back
    <BLANKLINE>
          ⎡ 1  5  4 ⎤           ⎡ 0  8  0 ⎤
      x = ⎣ 2  3  6 ⎦   ∂L/∂x = ⎣ 7  0  9 ⎦

    Args:
        sheet: of a pooling or a convolution with `delta` or `target`.
        name: of the image.

    Raises:
        UsageError: the image is no vector or matrix, or nothing is minimised.
    """
    names = sheet.components(name)
    if "L" not in sheet or names == [name]:
        raise UsageError(f"name={name!r}: has no gradient here; give delta or target, and an image without channels.")
    places = [tuple(int(part) for part in each.removeprefix(f"{name}_").split("_")) for each in names]
    columns = max(each[-1] for each in places)
    solution = sheet.solve()
    slopes = solution.gradient("L", names)

    def rows(cells: list[Expr]) -> Matrix:
        return Matrix(tuple(tuple(cells[n : n + columns]) for n in range(0, len(cells), columns)))

    values = rows([Const(solution.value(each)) for each in names])
    back = rows([Const(slopes[each]) for each in names])
    line = (Name(name), "=", values, " ", Partial("L", name), "=", back)
    return MatrixEquation("the image, and the gradient in its places: 0 where nothing comes back", (line,))


def _pooling(
    kind: Kind,
    image: Numbers,
    size: int | Sequence[int],
    stride: int | Sequence[int] | None,
    padding: int | Sequence[int],
    dilation: int | Sequence[int],
    delta: Numbers | None,
    target: Numbers | None,
) -> Worksheet:
    given = as_tensor(image, "image", 1, 2, 3)
    dimensions = min(given.ndim, 2)
    f = per_axis(size, dimensions, "size", 1)
    s = f if stride is None else per_axis(stride, dimensions, "stride", 1)
    p, d = per_axis(padding, dimensions, "padding", 0), per_axis(dilation, dimensions, "dilation", 1)
    if any(2 * border > window for border, window in zip(p, f, strict=True)):
        raise UsageError(
            f"padding={padding}: is more than half the window {size}; take less, so that none is all border."
        )
    sheet = Worksheet()
    x = define(sheet, "x", given)
    windows = unfold(x if x.ndim == 3 else x[None], f, s, p, d)
    found = pooled(windows, kind)
    z = define(sheet, "z", found if x.ndim == 3 else found[0])
    ask_values(sheet, z)
    if upstream(sheet, z, delta, target):
        ask_gradient(sheet, "L", x)
    return sheet


def command(
    image: str = "1 3 2 0; 4 2 1 5; 0 1 7 2; 2 0 3 6",
    /,
    *,
    kind: Literal["max", "average"] = "max",
    size: tuple[int, ...] = (2,),
    stride: tuple[int, ...] = (),
    padding: tuple[int, ...] = (0,),
    dilation: tuple[int, ...] = (1,),
    delta: str | None = None,
    target: str | None = None,
    exact: bool = False,
    digits: int = 6,
    verify: bool = False,
    format: Format | None = None,
    out: Path | None = None,
) -> int:
    """Work a pooling by hand: every output, and where the gradient goes.

    Args:
        image: rows of numbers, as in "1 2 3; 4 5 6"; one row is a signal of one dimension.
        kind: the largest of each window, or the mean.
        size: of the window in pixels, one number or one a dimension.
        stride: pixels from one window to the next; by default the window's size.
        padding: pixels of border at either end; it never wins, and counts as 0 in a mean.
        dilation: pixels between the numbers of a window; for max only.
        delta: ∂L/∂z in rows, what arrives from above; by default 1 everywhere.
        target: what the output should be, in rows, instead of delta; L = Σ (z − t)² then.
        exact: show fractions as fractions where decimals do not end.
        digits: significant digits of numbers that are not exact, 1 to 50.
        verify: show each line's check beside it.
        format: how to show it; by default as the ending of --out says, else for the terminal.
        out: the file to write; by default the terminal.
    """
    x = read_tensor(image, "image")
    if kind == "average" and set(dilation) != {1}:
        raise UsageError(f"dilation={dilation}: an average is taken over neighbours; leave it at 1, or take kind max.")

    def built(given: Numbers | None) -> Worksheet:
        aim = None if target is None else read_tensor(target, "target")
        return _pooling(kind, x, size, stride or None, padding, dilation, given, aim)

    above: Numbers | None = None if delta is None else read_tensor(delta, "delta")
    if delta is None and target is None:
        names = [each.names[0] for each in built(None).questions]
        last = [int(part) for part in names[-1].split("_")[1:]]
        above = np.ones(last, dtype=int)
    sheet = built(above)
    grids = [gradient_map(sheet)] if np.ndim(x) < 3 else []
    return present(sheet, grids, exact=exact, digits=digits, verify=verify, format=format, out=out)
