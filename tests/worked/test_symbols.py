# SPDX-License-Identifier: Apache-2.0
"""Sheets of layers in symbols x_0 x_1 …: their matrices, with numbers in place of the names, give what torch gives."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from torch.nn import functional as F
from torchvision import ops

from pellucid import _catalog
from pellucid.errors import UsageError
from pellucid.worked.expressions.expression import Expr, Name
from pellucid.worked.expressions.numeric import numpy_value
from pellucid.worked.showing.grids import Matrix, MatrixEquation

X, W = "x_0 x_1 x_2 x_3 x_4", "w_0 w_1"
NUMBERS = {f"x_{n}": float(v) for n, v in enumerate([2, -1, 3, 5, -4])} | {"w_0": 3.0, "w_1": -2.0}
x, w = (torch.tensor([[[NUMBERS[name] for name in text.split()]]], dtype=torch.float64) for text in (X, W))


def products(name: str, *words: str, **options: Any) -> list[np.ndarray]:
    """What every grid's right side is, with numbers in place of the names."""
    builder = _catalog.find("worked/builders", name)(*words, **options)
    found = []
    for grid in builder.grids(builder.worksheet().solve()):
        if not isinstance(grid, MatrixEquation):  # the bins of a box are a table
            continue
        values = []
        for line in grid.lines:
            right = [numbers(part) for part in line[2:] if not isinstance(part, str)]
            values.append(np.linalg.multi_dot(right) if len(right) > 1 else right[0])
        found.append(np.concatenate([np.ravel(value) for value in values]))
    return found


def numbers(part: Matrix | Expr) -> np.ndarray:
    if isinstance(part, Matrix):
        return np.array([[float(numpy_value(cell, NUMBERS)) for cell in row] for row in part.rows])
    return np.array([float(numpy_value(part, NUMBERS))])


@pytest.mark.parametrize("stride", [1, 2, 3])
@pytest.mark.parametrize("padding", [0, 1])
def test_a_transposed_convolution_in_symbols(stride: int, padding: int) -> None:
    options = {"kernel": W, "stride": (stride,), "padding": (padding,)}
    _, transposed = products("transposed_convolution", X, **options)
    expected = F.conv_transpose1d(x, w, stride=stride, padding=padding)
    np.testing.assert_allclose(transposed, expected.flatten())


def test_a_dilated_convolution_in_symbols() -> None:
    widened, windows = products("dilated_convolution", X, kernel=W, dilation=(3,))
    np.testing.assert_allclose(widened, [3, 0, 0, -2])
    np.testing.assert_allclose(windows, F.conv1d(x, w, dilation=3).flatten())


@pytest.mark.parametrize(("kind", "theirs"), [("average", F.avg_pool1d), ("max", F.max_pool1d)])
def test_pooling_in_symbols(kind: str, theirs: Any) -> None:
    (found,) = products("pooling", X, kind=kind, size=(3,), stride=(2,))
    np.testing.assert_allclose(found, theirs(x, 3, 2).flatten())


@pytest.mark.parametrize(
    "name",
    [
        *("transposed_convolution", "pooling", "max_pooling", "average_pooling", "dilated_convolution"),
        *("bilinear_interpolation", "roi_pooling", "roi_align"),
    ],
)
def test_what_needs_numbers_is_refused(name: str) -> None:
    kernel = {"kernel": W} if name.endswith("convolution") else {}
    with pytest.raises(UsageError, match="need numbers"):
        _catalog.find("worked/builders", name)(X, **kernel, delta="1").worksheet()


MAP = "; ".join(" ".join(f"m_{i}_{j}" for j in range(3)) for i in range(3))
m = torch.tensor([[1.0, -2, 4], [0, 3, 5], [7, -1, 2]], dtype=torch.float64)
NUMBERS |= {f"m_{i}_{j}": float(m[i, j]) for i in range(3) for j in range(3)}


@pytest.mark.parametrize("corners", [False, True])
def test_a_bilinear_interpolation_in_symbols(corners: bool) -> None:
    product, written = products("bilinear_interpolation", MAP, factor=(2, 3), corners=corners)
    sizes = {"scale_factor": (2, 3), "mode": "bilinear", "align_corners": corners}
    expected = F.interpolate(m[None, None], **sizes).flatten()
    np.testing.assert_allclose(product, expected, atol=1e-12)
    np.testing.assert_allclose(written, expected, atol=1e-12)
    _, line = products("bilinear_interpolation", X, factor=(2,))
    np.testing.assert_allclose(line, F.interpolate(x, scale_factor=2, mode="linear").flatten(), atol=1e-12)


def test_roi_pooling_and_roi_align_in_symbols() -> None:
    box = torch.tensor([[0.0, 0, 0, 2, 2]], dtype=torch.float64)
    (pooled,) = products("roi_pooling", MAP, box="0 0 2 2", scale="1")
    np.testing.assert_allclose(pooled, ops.roi_pool(m[None, None], box, 2).flatten())
    product, written = products("roi_align", MAP, box="0 0 2 2", scale="1", samples=2)
    expected = ops.roi_align(m[None, None], box, 2, 1.0, 2, True).flatten()
    np.testing.assert_allclose(product, expected, atol=1e-12)
    np.testing.assert_allclose(written, expected, atol=1e-12)


def test_a_dense_layer_in_symbols() -> None:
    form = _catalog.find("worked/builders", "dense")(x="x_0 x_1", W="w_0 w_1; x_2 x_3", b="x_4 0", activation="tanh")
    layer, written, back = form.grids(form.worksheet().solve())
    given = NUMBERS | {"delta_1": 2.0, "delta_2": -3.0}
    inputs, weights = np.array([2.0, -1]), np.array([[3.0, -2], [3, 5]])
    bias, delta = np.array([-4.0, 0]), np.array([2.0, -3])
    numbers_of = [
        np.array([[float(numpy_value(cell, given)) for cell in row] for row in part.rows])
        for part in layer.lines[0][1:]
        if isinstance(part, Matrix)
    ]
    np.testing.assert_allclose(numbers_of[0] @ numbers_of[1] + numbers_of[2], [inputs @ weights + bias])
    found = [float(numpy_value(line[2], given)) for line in written.lines[:2]]
    np.testing.assert_allclose(found, inputs @ weights + bias)
    assert [str(line[0]) for line in written.lines[2:]] == [str(Name("y_1")), str(Name("y_2"))]
    outer = np.array([[float(numpy_value(cell, given)) for cell in row] for row in back.lines[0][-1].rows])
    np.testing.assert_allclose(outer, np.outer(inputs, delta))
    with pytest.raises(UsageError, match="target: need numbers"):
        _catalog.find("worked/builders", "dense")(x="a b", target="1").worksheet()
    with pytest.raises(UsageError, match="x must be N names and W N weights"):
        products("dense", x="a b", W="w_0")


def test_rows_that_do_not_fit() -> None:
    with pytest.raises(UsageError, match="does not fit"):
        products("transposed_convolution", X, kernel="a b; c d")
