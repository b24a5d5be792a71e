# SPDX-License-Identifier: Apache-2.0
"""tsne: the similarities p and q of a few points, and a step of their map (van der Maaten and Hinton 2008, equations 1 to 5)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from random import Random
from typing import Any, Final, final

from pellucid.errors import UsageError
from pellucid.worked.builders._quantities import rate_text
from pellucid.worked.expressions.expression import Const, Expr, Mul, Name, Operand, as_expr
from pellucid.worked.forms.contract import Builder
from pellucid.worked.forms.exercise import by_hand
from pellucid.worked.forms.numbers import read_tensor, typed
from pellucid.worked.notation.operations import exp, log
from pellucid.worked.showing.grids import Grid, Matrix, MatrixEquation
from pellucid.worked.worksheet.solution import Solution
from pellucid.worked.worksheet.tensors import Numbers, Tensor, as_tensor, define, summed
from pellucid.worked.worksheet.worksheet import Worksheet

__all__ = ["TSNE"]

_MOST: Final = 8  # points that a person can work


@final
@dataclass(frozen=True, kw_only=True)
class TSNE(Builder):
    """Work a step of t-SNE by hand: similarities of points and of their places on the map, divergence, gradient, step."""

    topic = "clustering and embedding"
    question = "How similar are points in space and on the map, and where does the next step of t-SNE move them?"

    x: str = "0; 1; 3; 5"
    """the points, one per row"""
    y: str = "0; 1; -1; 2"
    """their places on the map, one per row"""
    sigma: str = "2"
    """width of the neighbourhood, one number for all points or one a point"""
    lr: float = 1
    """learning rate of the step"""

    @staticmethod
    def build(x: Numbers, y: Numbers, sigma: Any = 1, *, lr: Operand = 1) -> Worksheet:
        """The worksheet of a step of t-SNE with given widths σ.

            p_(j|i) = e^(−|x_i − x_j|²/2σ_i²)/Σ_k e^(−|x_i − x_k|²/2σ_i²),   p_ij = (p_(j|i) + p_(i|j))/2n
            q_ij = (1 + |y_i − y_j|²)⁻¹/Σ (1 + |y_k − y_l|²)⁻¹,   C = Σ p_ij·ln(p_ij/q_ij)
            ∂C/∂y_i = 4·Σ_j (p_ij − q_ij)(y_i − y_j)(1 + |y_i − y_j|²)⁻¹

        >>> solution = TSNE.build([[0], [1], [0]], [[0], [2], [4]]).solve(exact=True)
        >>> [str(solution.value(name)) for name in ("q_1_2", "q_1_3")]
        ['17/78', '5/78']

        Args:
            x: n points, (n,) or (n, D).
            y: their places on the map, (n,) or (n, d).
            sigma: the width of each point's neighbourhood, a number or n of them; a perplexity would determine them.
            lr: learning rate of the step.

        Raises:
            UsageError: another number of places than of points, or a width that is not positive.
        """
        points, places = (_columns(as_tensor(value, name, 1, 2)) for value, name in ((x, "x"), (y, "y")))
        n = len(points)
        if len(places) != n or not 3 <= n <= _MOST:
            raise UsageError(f"x, y: have {n} and {len(places)} rows; give 3 to {_MOST} points, and a place for each.")
        widths = as_tensor(sigma, "sigma", 0, 1)
        if widths.size not in (1, n) or any(float(width.value) <= 0 for width in widths.flat):
            raise UsageError(f"sigma: must be a number above 0, or {n} of them; change it.")
        sheet = Worksheet()
        X, Y = _put(sheet, "x", points), _put(sheet, "y", places)
        given: list[Expr] = (
            [sheet["sigma"]] * n if _define_widths(sheet, widths) else [Name(f"sigma_{i}") for i in range(1, n + 1)]
        )
        _put_similarities(sheet, X, given)
        _put_map(sheet, Y)
        pairs = [(i, j) for i in range(1, n + 1) for j in range(i + 1, n + 1)]
        sheet["C"] = 2 * summed(
            [sheet[f"p_{i}_{j}"] * log(sheet[f"p_{i}_{j}"] / sheet[f"q_{i}_{j}"]) for i, j in pairs]
        )
        gradient = _put_gradient(sheet, Y)
        sheet.remark(
            "a is the similarity before it is divided by its row's sum, c_ij = p_(j|i); b is the similarity on the map, Z its sum over "
            "all pairs in both directions. p and q are symmetric, so C counts each pair twice; g is ∂C/∂y by the formula."
        )
        sheet.ask(*(f"p_{i}_{j}" for i, j in pairs), *(f"q_{i}_{j}" for i, j in pairs), "C", *gradient)
        names = [name.name for name in Y.flat]
        # by the chain rule as well: both ways must agree
        sheet.ask(f"dC/d{names[0]}", f"{', '.join(names)} after sgd(lr={rate_text(lr)}) on C")
        return sheet

    def worksheet(self) -> Worksheet:
        """The worksheet of the options."""
        sigma = read_tensor(self.sigma, "sigma")
        x, y = read_tensor(self.x, "x"), read_tensor(self.y, "y")
        return self.build(x, y, sigma if len(sigma) > 1 else sigma[0], lr=self.lr)

    def grids(self, solution: Solution) -> Sequence[Grid]:
        """P and Q as matrices."""
        n = len(read_tensor(self.x, "x"))

        def shown(letter: str) -> Matrix:
            cells = [
                [f"{letter}_{min(i, j)}_{max(i, j)}" if i != j else "" for j in range(1, n + 1)]
                for i in range(1, n + 1)
            ]
            return Matrix(
                tuple(tuple(Const(solution.value(name)) if name else as_expr(0) for name in row) for row in cells)
            )

        lines = ((Name("P"), "=", shown("p")), (Name("Q"), "=", shown("q")))
        return [MatrixEquation("similarities in space and on the map; each matrix sums to 1", lines)]

    def draw(self, random: Random) -> TSNE:
        """Four points and their places on a line, small whole numbers."""

        def draw() -> TSNE:
            x = [[number] for number in random.sample(range(6), 4)]
            y = [[number] for number in random.sample(range(-2, 4), 4)]
            return replace(self, x=typed(x), y=typed(y), sigma=typed(random.choice([1, 2])))

        return by_hand(draw)


def _columns(values: Tensor) -> Tensor:
    return values.reshape(len(values), -1)


def _put(sheet: Worksheet, name: str, values: Tensor) -> Tensor:
    """Write down points; on a line they have one index."""
    return define(sheet, name, values if values.shape[1] > 1 else values[:, 0]).reshape(values.shape)


def _define_widths(sheet: Worksheet, widths: Tensor) -> bool:
    """Write down σ; whether it is one number for all points."""
    alone = widths.size == 1
    sheet["sigma"] = widths.flat[0] if alone else list(widths.flat)
    return alone


def _squared(points: Tensor, i: int, j: int) -> Expr:
    return summed([(a - b) ** 2 for a, b in zip(points[i], points[j], strict=True)])


def _put_similarities(sheet: Worksheet, X: Tensor, sigma: Sequence[Expr]) -> None:
    n = len(X)
    for i in range(n):
        others = [j for j in range(n) if j != i]
        for j in others:
            sheet[f"a_{i + 1}_{j + 1}"] = exp(-_squared(X, i, j) / (2 * sigma[i] ** 2))
        whole = summed([Name(f"a_{i + 1}_{j + 1}") for j in others])
        for j in others:
            sheet[f"c_{i + 1}_{j + 1}"] = sheet[f"a_{i + 1}_{j + 1}"] / whole
    for i in range(1, n + 1):
        for j in range(i + 1, n + 1):
            sheet[f"p_{i}_{j}"] = (sheet[f"c_{i}_{j}"] + sheet[f"c_{j}_{i}"]) / (2 * n)


def _put_map(sheet: Worksheet, Y: Tensor) -> None:
    n = len(Y)
    pairs = [(i, j) for i in range(n) for j in range(i + 1, n)]
    for i, j in pairs:
        sheet[f"b_{i + 1}_{j + 1}"] = 1 / (1 + _squared(Y, i, j))
    sheet["Z"] = 2 * summed([Name(f"b_{i + 1}_{j + 1}") for i, j in pairs])
    for i, j in pairs:
        sheet[f"q_{i + 1}_{j + 1}"] = sheet[f"b_{i + 1}_{j + 1}"] / sheet["Z"]


def _put_gradient(sheet: Worksheet, Y: Tensor) -> list[str]:
    """Write ∂C/∂y by the formula (equation 5); the names."""
    n, wide = len(Y), Y.shape[1]
    asked = []
    for i in range(n):
        for k in range(wide):
            terms: list[Expr] = []
            for j in (j for j in range(n) if j != i):
                pair = f"{min(i, j) + 1}_{max(i, j) + 1}"
                difference = Name(f"p_{pair}") - Name(f"q_{pair}")
                terms.append(Mul((difference, Y[i, k] - Y[j, k], Name(f"b_{pair}"))))
            asked.append(f"g_{i + 1}_{k + 1}" if wide > 1 else f"g_{i + 1}")
            sheet[asked[-1]] = 4 * summed(terms)
    return asked
