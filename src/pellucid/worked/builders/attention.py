# SPDX-License-Identifier: Apache-2.0
"""attention: scaled dot-product attention with one head or several (Vaswani et al. 2017, equation 1 and section 3.2.2)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from random import Random
from typing import Any, final

import numpy as np

from pellucid.errors import UsageError
from pellucid.worked.builders._objective import put_upstream
from pellucid.worked.expressions.expression import Const, Expr, Name, as_expr
from pellucid.worked.forms.contract import Builder
from pellucid.worked.forms.exercise import by_hand
from pellucid.worked.forms.numbers import read_tensor, typed
from pellucid.worked.notation.arrays import component_name
from pellucid.worked.notation.operations import softmax, sqrt
from pellucid.worked.showing.grids import Grid, Matrix, MatrixEquation
from pellucid.worked.worksheet.solution import Solution
from pellucid.worked.worksheet.tensors import Numbers, Tensor, as_tensor, ask_gradient, ask_values, define, dot
from pellucid.worked.worksheet.worksheet import Worksheet

__all__ = ["Attention"]


@final
@dataclass(frozen=True, kw_only=True)
class Attention(Builder):
    """Work an attention layer by hand: queries, keys and values, the weights of each token, and the outputs."""

    topic = "attention"
    question = "How much attention does each token pay to the others, and what is its output?"
    keeps = ("heads", "causal")

    x: str | None = "1 0; 0 1"
    """the tokens, one per row; None if --query, --key and --value are Q, K and V themselves"""
    query: str = "1 0; 0 2"
    """W_Q in rows, one row a number of a token, so that Q = X·W_Q"""
    key: str = "1 1; 0 1"
    """W_K in rows"""
    value: str = "2 0; 1 3"
    """W_V in rows"""
    output: str | None = None
    """W_O in rows, y = O·W_O; by default the outputs of the heads, side by side, are y"""
    heads: int = 1
    """number of heads, which share the columns of Q, K and V"""
    causal: bool = False
    """a token sees only itself and those before it"""
    delta: str | None = None
    """∂L/∂y in rows, which arrives from above; with it all gradients are worked out"""
    target: str | None = None
    """target of y, in rows; then L = Σ (y − t)², with all gradients"""

    @staticmethod
    def build(
        x: Numbers | None,
        query: Numbers,
        key: Numbers,
        value: Numbers,
        output: Numbers | None = None,
        *,
        heads: int = 1,
        causal: bool = False,
        delta: Numbers | None = None,
        target: Numbers | None = None,
    ) -> Worksheet:
        """The worksheet of an attention layer without biases.

            Q = X·W_Q,  K = X·W_K,  V = X·W_V,   S = Q·Kᵀ/√d,  A = softmax(S) row by row,  O = A·V,  y = O·W_O

        >>> sheet = Attention.build(None, [[1, 0]], [[1, 0], [1, 5]], [[2, 4], [4, 0]])
        >>> [str(sheet.solve(exact=True).value(name)) for name in ("A_1_1", "y_1_1", "y_1_2")]
        ['1/2', '3', '2']

        Both keys fit the query equally well, so that the output is the mean of the values.

        Args:
            x: T tokens of D numbers, (T, D); None if the next three are Q, K and V themselves.
            query: W_Q, (D, h·d).
            key: W_K, (D, h·d).
            value: W_V, (D, h·e).
            output: W_O, (h·e, D); None for none.
            heads: h; d columns of Q and K, and e of V, belong to each.
            causal: a token sees only itself and those before it.
            delta: δ = ∂L/∂y; then L = Σ δ·y.
            target: of y; then L = Σ (y − t)².

        Raises:
            UsageError: shapes that do not fit.
        """
        sheet = Worksheet()
        asked: list[Tensor] = []
        parts: dict[str, Tensor] = {}
        given = {"Q": (query, "query"), "K": (key, "key"), "V": (value, "value")}
        if x is None:
            parts = {
                letter: define(sheet, letter, as_tensor(numbers, name, 2)) for letter, (numbers, name) in given.items()
            }
            asked = [*parts.values()]
        else:
            tokens = define(sheet, "x", as_tensor(x, "x", 2))
            for letter, (numbers, name) in given.items():
                weights = define(sheet, f"W_{letter}", as_tensor(numbers, name, 2))
                asked.append(weights)
                parts[letter] = define(sheet, letter, _product(tokens, weights, name))
            asked.insert(0, tokens)
        Q, K, V = parts.values()
        _check(Q, K, V, heads, causal)
        sheet["d"] = Q.shape[1] // heads
        blended = _attend(sheet, Q, K, V, heads, causal)
        if output is None:
            y = define(sheet, "y", blended)
        else:
            joined = define(sheet, "O", blended)
            weights = define(sheet, "W_O", as_tensor(output, "output", 2))
            asked.append(weights)
            y = define(sheet, "y", _product(joined, weights, "output"))
        if heads > 1:
            sheet.remark(
                f"The first index of S and A is the head; head 1 has {_columns(Q.shape[1] // heads)} of Q and K."
            )
        if causal:
            sheet.remark("A token does not see those after it: their weights are 0.")
        sheet.remark("Each row of A sums to 1: a token's output is a weighted mean of the values.", hint=True)
        ask_values(sheet, _weights(len(Q), len(K), heads))
        ask_values(sheet, y)
        if put_upstream(sheet, y, delta, target):
            for names in asked:
                ask_gradient(sheet, "L", names)
        return sheet

    def worksheet(self) -> Worksheet:
        """The worksheet of the options."""
        names = ("x", "query", "key", "value", "output", "delta", "target")
        texts = {name: getattr(self, name) for name in names}
        numbers: dict[str, Any] = {name: None if text is None else _rows(text, name) for name, text in texts.items()}
        return self.build(**numbers, heads=self.heads, causal=self.causal)

    def grids(self, solution: Solution) -> Sequence[Grid]:
        """The weights and the values of each head as matrices."""
        rows, keys = (len(_rows(text, "x")) for text in ((self.x, self.x) if self.x else (self.query, self.key)))
        width = sum(f"V_1_{c}" in solution.values for c in range(1, 1 + len(solution.values))) // self.heads

        def shown(name: str, shape: tuple[int, int], head: Sequence[int] = (), right: int = 0) -> Matrix:
            places = [[[*head, i + 1, j + 1 + right] for j in range(shape[1])] for i in range(shape[0])]
            return Matrix(tuple(tuple(Const(solution.value(component_name(name, at))) for at in row) for row in places))

        out = "O" if self.output is not None else "y"
        found = []
        for h in range(self.heads):
            head, right = ([h + 1] if self.heads > 1 else []), h * width
            line = (
                shown(out, (rows, width), right=right), "=", shown("A", (rows, keys), head), "·", shown("V", (keys, width), right=right)
            )  # fmt: skip
            title = (
                f"head {h + 1}: weights times values"
                if self.heads > 1
                else "weights times values: each row of weights belongs to one token"
            )
            found.append(MatrixEquation(title, (line,)))
        return found

    def draw(self, random: Random) -> Attention:
        """Two tokens of small whole numbers, and matrices of −1, 0, 1 and 2."""
        width = 2 * self.heads

        def matrix(rows: int, columns: int) -> str:
            return typed([[random.choice([-1, 0, 1, 1, 2]) for _ in range(columns)] for _ in range(rows)])

        def draw() -> Attention:
            output = matrix(width, 2) if self.heads > 1 else None
            query, key, value = (matrix(2, width) for _ in range(3))
            return replace(self, x=matrix(2, 2), query=query, key=key, value=value, output=output)

        def differs(solution: Solution) -> bool:
            return len({value for name, value in solution.values.items() if name.startswith("A_")} - {0, 1}) > 1

        return by_hand(draw, differs)


def _rows(text: str, name: str) -> list[Any]:
    """Rows of numbers; a row alone is a matrix too."""
    numbers = read_tensor(text, name)
    return numbers if isinstance(numbers[0], list) else [numbers]


def _product(left: Tensor, right: Tensor, name: str) -> Tensor:
    """A matrix product, entry by entry."""
    if left.shape[1] != right.shape[0]:
        raise UsageError(
            f"{name}: has {right.shape[0]} rows and must have {left.shape[1]}, one a number of a token; change it."
        )
    made = np.empty((len(left), right.shape[1]), dtype=object)
    for i, j in np.ndindex(*made.shape):
        made[i, j] = dot(list(left[i]), list(right[:, j]))
    return made


def _check(Q: Tensor, K: Tensor, V: Tensor, heads: int, causal: bool) -> None:
    if Q.shape[1] != K.shape[1] or len(K) != len(V):
        raise UsageError(
            "query, key, value: Q and K must have as many columns, K and V as many rows; change one of them."
        )
    if heads < 1 or Q.shape[1] % heads or V.shape[1] % heads:
        raise UsageError(f"heads={heads}: must divide the {Q.shape[1]} columns of Q and the {V.shape[1]} of V; take 1.")
    if causal and len(Q) != len(K):
        raise UsageError("causal: needs as many queries as keys; leave it out.")


def _attend(sheet: Worksheet, Q: Tensor, K: Tensor, V: Tensor, heads: int, causal: bool) -> Tensor:
    """Write S and A; the outputs of the heads side by side, (T, h·e)."""
    d, e = Q.shape[1] // heads, V.shape[1] // heads
    scale = sqrt(sheet["d"])
    scores, weights = (np.empty((heads, len(Q), len(K)), dtype=object) for _ in range(2))
    for h, i, j in np.ndindex(*scores.shape):
        part = slice(h * d, (h + 1) * d)
        scores[h, i, j] = dot(list(Q[i, part]), list(K[j, part])) / scale
    S = define(sheet, "S", scores if heads > 1 else scores[0]).reshape(scores.shape)
    for h, i in np.ndindex(heads, len(Q)):
        seen = i + 1 if causal else len(K)
        # the softmax runs over what the token sees; the others have no weight
        shares: list[Expr] = list(softmax(*S[h, i, :seen]))
        weights[h, i] = [*shares, *[as_expr(0)] * (len(K) - seen)]
    A = define(sheet, "A", weights if heads > 1 else weights[0]).reshape(weights.shape)
    blended = np.empty((len(Q), V.shape[1]), dtype=object)
    for i, c in np.ndindex(*blended.shape):
        blended[i, c] = dot(list(A[c // e, i]), list(V[:, c]))
    return blended


def _weights(queries: int, keys: int, heads: int) -> Tensor:
    """The names of A."""
    names = np.empty((heads, queries, keys), dtype=object)
    for h, i, j in np.ndindex(*names.shape):
        names[h, i, j] = Name(component_name("A", [*([h + 1] if heads > 1 else []), i + 1, j + 1]))
    return names


def _columns(count: int) -> str:
    return "the first column" if count == 1 else f"the first {count} columns"
