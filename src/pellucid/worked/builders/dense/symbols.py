# SPDX-License-Identifier: Apache-2.0
"""A dense layer in symbols: z = xW + b as matrices and written out, and its backward pass, ∂L/∂W = xᵀδ."""

from __future__ import annotations

from collections.abc import Iterable

from pellucid.errors import UsageError
from pellucid.worked.builders._symbols import read_symbols
from pellucid.worked.expressions.expression import Add, Call, Expr, Mul, Name, Partial
from pellucid.worked.showing.grids import Matrix, MatrixEquation

__all__ = ["dense_in_symbols"]


def dense_in_symbols(x: str, W: str | None, b: str | None, activation: str) -> list[MatrixEquation]:
    """The layer as a product of matrices, its outputs one by one, and the gradients from δ = ∂L/∂z.

    >>> from pellucid.worked.showing.grids import show_grid
    >>> print(show_grid(dense_in_symbols("x_1 x_2", None, "b", "identity")[1]).splitlines()[2].strip())
    z₁ = x₁·w₁ + x₂·w₂ + b

    Args:
        x: names of the inputs.
        W: names of the weights, one row per input; None for w_1, w_2, …
        b: names of the biases, one a unit.
        activation: of the layer.

    Raises:
        UsageError: shapes that do not fit.
    """
    inputs = read_symbols(x, "x")
    weights = read_symbols(W if W is not None else " ".join(f"w_{n + 1}" for n in range(inputs.size)), "W")
    if weights.ndim == 1:
        weights = weights[:, None]  # (N, 1): one unit
    if inputs.ndim != 1 or len(weights) != len(inputs):
        raise UsageError("x, W: x must be N names and W N weights, or N rows; change the shapes.")
    biases = None if b is None else read_symbols(b, "b")
    units = weights.shape[1]
    if biases is not None and biases.shape != (units,):
        raise UsageError(f"b={b!r}: must be {units} names, one per unit; correct it.")
    z, delta = _names("z", units), _names("delta", units)
    product: tuple[Matrix | str, ...] = (_matrix([z]), "=", _matrix([[*inputs]]), "·", _matrix(weights))
    forward = MatrixEquation(
        "the layer as a product of matrices", ((*product, *(() if biases is None else ("+", _matrix([[*biases]])))),)
    )
    outputs = []
    for j in range(units):
        terms = [Mul((cell, weight)) for cell, weight in zip(inputs, weights[:, j], strict=True)]
        bias = [] if biases is None else [biases[j]]
        outputs.append((z[j], "=", Add((*terms, *bias)) if len(terms) + len(bias) > 1 else terms[0]))
    lines: list[tuple[Expr | str, ...]] = list(outputs)
    if activation != "identity":
        lines += [(y, "=", Call(activation, (inner,))) for y, inner in zip(_names("y", units), z, strict=True)]
    written = MatrixEquation("written out", tuple(lines))
    column = _matrix(inputs[:, None])
    outer = _matrix([[Mul((cell, part)) for part in delta] for cell in inputs])
    back: list[tuple[Matrix | Expr | str, ...]] = [
        (Partial("L", "W"), "=", column, "·", _matrix([delta]), "=", outer),
        (Partial("L", "x"), "=", _matrix([delta]), "·", _matrix(weights.T)),
    ]
    if biases is not None:
        back.append((Partial("L", "b"), "=", _matrix([delta])))
    told = "δ = ∂L/∂z" if activation == "identity" else f"δ = ∂L/∂z = ∂L/∂y ⊙ f′(z), f = {activation}"
    backward = MatrixEquation(f"backwards, with {told}: ∂L/∂W = xᵀδ, ∂L/∂x = δWᵀ", tuple(back))
    return [forward, written, backward]


def _names(letter: str, count: int) -> list[Name]:
    return [Name(f"{letter}_{n + 1}") for n in range(count)]


def _matrix(rows: Iterable[Iterable[Expr]]) -> Matrix:
    return Matrix(tuple(map(tuple, rows)))
