# SPDX-License-Identifier: Apache-2.0
"""The four ways up by hand, against torch: 60 random instances of each; and the matrices beside them against NumPy."""

from __future__ import annotations

import random
from collections.abc import Callable
from fractions import Fraction
from typing import Any

import numpy as np
import pytest
import torch
from test_builders_images import agrees, drawn, rational, values
from torch.nn import functional as F

from pellucid.errors import UsageError
from pellucid.worked.builders import builder
from pellucid.worked.builders.bilinear_interpolation import BilinearInterpolation
from pellucid.worked.builders.dilated_convolution import DilatedConvolution
from pellucid.worked.builders.max_unpooling import MaxUnpooling
from pellucid.worked.builders.transposed_convolution import TransposedConvolution
from pellucid.worked.showing.grids import Matrix, MatrixEquation

SEEDS = range(60)
unpooling, bilinear, transposed, dilated = map(
    builder, ("max_unpooling", "bilinear_interpolation", "transposed_convolution", "dilated_convolution")
)


def close(mine: Any, theirs: Any) -> None:
    np.testing.assert_allclose(mine, theirs.detach().numpy(), rtol=1e-9, atol=1e-12)


def numbers(line: tuple[Any, ...]) -> list[Any]:
    """The matrices of a line as arrays."""
    return [
        np.array([[float(cell.value) for cell in row] for row in part.rows])
        for part in line
        if isinstance(part, Matrix)
    ]


def equation(found: Any) -> MatrixEquation:
    assert isinstance(found, MatrixEquation)
    return found


def test_max_unpooling() -> None:
    for seed in SEEDS:
        torch.manual_seed(seed)
        dice = random.Random(seed)
        size = [dice.randint(1, 3), dice.randint(1, 3)]
        x = drawn(1, 1, dice.randint(3, 6), dice.randint(3, 6))
        if dice.random() < 0.3:
            x = x.round()  # equal numbers: the first of them counts
        pooled, places = F.max_pool2d(x, size, return_indices=True)
        v = drawn(*pooled.shape).requires_grad_()
        y = F.max_unpool2d(v, places, size, output_size=x.shape)
        delta = drawn(*y.shape)
        (y * delta).sum().backward()
        sheet = unpooling(rational(x[0, 0]), rational(v.detach()[0, 0]), size, delta=rational(delta[0, 0]))
        close(values(sheet, "y", y.shape[2:]), y[0, 0])
        close(values(sheet, "z", pooled.shape[2:]), pooled[0, 0])
        assert v.grad is not None
        agrees(sheet, "L", {"v": v.grad[0, 0]}, checked=seed < 10)


def test_bilinear_interpolation() -> None:
    for seed in SEEDS:
        torch.manual_seed(seed)
        dice = random.Random(seed)
        flat, corners = dice.random() < 0.3, dice.random() < 0.4
        shape = [dice.randint(1, 4) for _ in range(1 if flat else 2)]
        factor = [dice.randint(1, 3) for _ in shape]
        x = drawn(1, 1, *shape).requires_grad_()
        y = F.interpolate(x, scale_factor=factor, mode="linear" if flat else "bilinear", align_corners=corners)
        delta = drawn(*y.shape)
        (y * delta).sum().backward()
        sheet = bilinear(rational(x.detach()[0, 0]), factor, corners=corners, delta=rational(delta[0, 0]))
        close(values(sheet, "y", y.shape[2:]), y[0, 0])
        assert x.grad is not None
        agrees(sheet, "L", {"x": x.grad[0, 0]}, checked=seed < 10)


def test_transposed_convolution() -> None:
    for seed in SEEDS:
        torch.manual_seed(seed)
        dice = random.Random(seed)
        flat = dice.random() < 0.3
        axes = range(1 if flat else 2)
        shape, kernel = [dice.randint(1, 3) for _ in axes], [dice.randint(1, 3) for _ in axes]
        stride = [dice.randint(1, 3) for _ in axes]
        whole = [(n - 1) * s + f for n, f, s in zip(shape, kernel, stride, strict=True)]
        padding = [dice.randint(0, min(1, (n - 1) // 2)) for n in whole]
        x, w, b = drawn(1, 1, *shape), drawn(1, 1, *kernel), drawn(1)
        for each in (x, w, b):
            each.requires_grad_()
        up = F.conv_transpose1d if flat else F.conv_transpose2d
        y = up(x, w, b, stride=stride, padding=padding)
        delta = drawn(*y.shape)
        (y * delta).sum().backward()
        given = (rational(x.detach()[0, 0]), rational(w.detach()[0, 0]), rational(b.detach()))
        sheet = transposed(*given, stride=stride, padding=padding, delta=rational(delta[0, 0]))
        close(values(sheet, "y", y.shape[2:]), y[0, 0])
        assert x.grad is not None and w.grad is not None and b.grad is not None
        agrees(sheet, "L", {"x": x.grad[0, 0], "w": w.grad[0, 0], "b": b.grad[0]}, checked=seed < 10)


def test_dilated_convolution() -> None:
    for seed in SEEDS:
        torch.manual_seed(seed)
        dice = random.Random(seed)
        dilation, stride, padding = dice.randint(1, 3), dice.randint(1, 2), dice.randint(0, 2)
        x, w, b = drawn(1, 1, 5, 6), drawn(1, 1, 2, 2), drawn(1)
        for each in (x, w, b):
            each.requires_grad_()
        z = F.conv2d(x, w, b, stride=stride, padding=padding, dilation=dilation)
        delta = drawn(*z.shape)
        (z * delta).sum().backward()
        given = (rational(x.detach()[0, 0]), rational(w.detach()[0, 0]), rational(b.detach()))
        sheet = dilated(*given, dilation=dilation, stride=stride, padding=padding, delta=rational(delta[0, 0]))
        close(values(sheet, "z", z.shape[2:]), z[0, 0])
        assert x.grad is not None and w.grad is not None and b.grad is not None
        agrees(sheet, "L", {"x": x.grad[0, 0], "w": w.grad[0, 0], "b": b.grad[0]}, checked=seed < 10)


def test_the_matrix_of_a_transposed_convolution_is_that_of_the_convolution_transposed() -> None:
    """C, found by torch's convolution of one pixel at a time, and the product that the sheet shows."""
    form = TransposedConvolution("1 2; 3 -1", kernel="1 2; 0 -1", bias="3", stride=(2,), padding=(1,))
    solution = form.worksheet().solve()
    spread, first, second = map(equation, form.grids(solution))
    kernel = torch.tensor([[[[1.0, 2.0], [0.0, -1.0]]]])
    pixels = torch.eye(4).reshape(4, 1, 2, 2)  # of an image as large as the output
    C = F.conv2d(pixels, kernel, stride=2, padding=1).reshape(4, 4).T.numpy()
    y, shown, x = numbers(second.lines[1])
    np.testing.assert_array_equal(shown, C.T)
    np.testing.assert_array_equal(shown @ x + 3, y)
    windows = numbers(spread.lines[0])
    np.testing.assert_array_equal(sum(windows) + 3, y.reshape(2, 2))
    np.testing.assert_array_equal([window.ravel() for window in windows], (C * x))
    symbols = first.lines[0][-1]
    assert isinstance(symbols, Matrix)
    number = {"w_1_1": 1, "w_1_2": 2, "w_2_1": 0, "w_2_2": -1}
    own = [[number[cell.name] if hasattr(cell, "name") else float(cell.value) for cell in row] for row in symbols.rows]  # type: ignore[attr-defined]
    np.testing.assert_array_equal(own, C)


def test_interpolation_is_a_product_with_weights_that_sum_to_one() -> None:
    for corners in (False, True):
        form = BilinearInterpolation("1 3 0; 5 2 4", factor=(2, 3), corners=corners)
        y, rows, x, columns = numbers(equation(form.grids(form.worksheet().solve())[0]).lines[0])
        np.testing.assert_allclose(rows @ x @ columns, y, rtol=1e-12)
        np.testing.assert_allclose(rows.sum(1), 1)
        np.testing.assert_allclose(columns.sum(0), 1)
        given = torch.tensor([[[[1.0, 3, 0], [5, 2, 4]]]], dtype=torch.float64)
        theirs = F.interpolate(given, scale_factor=(2, 3), mode="bilinear", align_corners=corners)
        np.testing.assert_allclose(y, theirs[0, 0].numpy(), rtol=1e-9)


def test_a_dilated_kernel_is_a_larger_one_with_zeros() -> None:
    form = DilatedConvolution(dilation=(2, 3), image="1 2 0 1 5; 0 1 3 2 1; 2 1 0 0 3; 1 0 1 2 2")
    small, large = numbers(equation(form.grids(form.worksheet().solve())[0]).lines[0])
    assert large.shape == (3, 4) and np.count_nonzero(large) == np.count_nonzero(small)
    image = torch.tensor([[[[1.0, 2, 0, 1, 5], [0, 1, 3, 2, 1], [2, 1, 0, 0, 3], [1, 0, 1, 2, 2]]]])
    theirs = F.conv2d(image, torch.from_numpy(large)[None, None].float())[0, 0]
    close(values(form.worksheet(), "z", theirs.shape), theirs)


def test_an_exercise_does_not_give_away_where_the_maxima_are() -> None:
    from pellucid.worked.forms.exercise import without_solution
    from pellucid.worked.showing.showing import show

    sheet = MaxUnpooling().worksheet()
    text = show(without_solution(sheet, sheet.solve(), "Unpool."))
    assert "y has v at the place where x was largest in the window of z, and 0 at its other places." in text
    assert "y₁₁ =" not in text and "? y₁₁" in text


@pytest.mark.parametrize(
    ("make", "sentence"),
    [
        (lambda: unpooling([[1, 2], [3, 4]], [[1, 2]]), "values.shape=(1, 2): there are (1, 1) windows"),
        (lambda: bilinear([[1] * 30] * 30, 2), "factor=2: makes more than 400 numbers"),
        (lambda: bilinear([1, 2], 0), "factor=0: must be a whole number of at least 1"),
        (lambda: transposed([1, 2], [[1]]), "kernel.shape=(1, 1): does not fit image.shape=(2,)"),
        (lambda: transposed([1], [1, 2], padding=1), "padding=1: nothing is left of the output"),
        (lambda: dilated([1, 2, 3], [1, 1], dilation=3), "kernel=2: with dilation 3 it spans 4"),
    ],
)
def test_what_cannot_be_worked_is_refused(make: Callable[[], Any], sentence: str) -> None:
    with pytest.raises(UsageError) as refused:
        make()
    assert str(refused.value).startswith(sentence) and "\n" not in str(refused.value)


def test_exact_fractions() -> None:
    """Three times as large: thirds, not decimals."""
    assert bilinear([0, 3], 3).solve().value("y_3") == Fraction(1)
    assert bilinear([0, 1], 3).solve().value("y_3") == Fraction(1, 3)
