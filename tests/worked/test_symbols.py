# SPDX-License-Identifier: Apache-2.0
"""Sheets of layers in symbols x_0 x_1 …: their matrices, with numbers in place of the names, give what torch gives."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from pellucid import _catalog
from pellucid.errors import UsageError
from pellucid.worked.expressions.expression import Expr
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
        assert isinstance(grid, MatrixEquation)
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
    "name", ["transposed_convolution", "pooling", "max_pooling", "average_pooling", "dilated_convolution"]
)
def test_what_needs_numbers_is_refused(name: str) -> None:
    with pytest.raises(UsageError, match="need numbers"):
        _catalog.find("worked/builders", name)(X, **({} if "pooling" in name else {"kernel": W}), delta="1").worksheet()


def test_rows_that_do_not_fit() -> None:
    with pytest.raises(UsageError, match="does not fit"):
        products("transposed_convolution", X, kernel="a b; c d")
