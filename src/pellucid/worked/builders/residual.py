# SPDX-License-Identifier: Apache-2.0
"""residual: a residual block, y = g(x + F(x)) with F(x) = f(x·W + b)·V + c (He et al. 2016), and both paths of its gradient."""

from __future__ import annotations

from dataclasses import dataclass, replace
from random import Random
from typing import Any, final

from pellucid.errors import UsageError
from pellucid.worked.builders._objective import put_end
from pellucid.worked.builders._quantities import (
    Activation,
    activated,
    ask_update,
    check_shape,
    from_texts,
    product,
    put_numbers,
    shape_of,
)
from pellucid.worked.expressions.expression import Operand
from pellucid.worked.forms.contract import Builder
from pellucid.worked.forms.exercise import by_hand, nonzero_tenth
from pellucid.worked.forms.numbers import typed_options
from pellucid.worked.worksheet.worksheet import Worksheet

__all__ = ["Residual"]


@final
@dataclass(frozen=True, kw_only=True)
class Residual(Builder):
    """Work a residual block: its output, and the gradient along the skip and through the layers."""

    topic = "multilayer perceptrons"
    question = "What does a residual block give, and how does the gradient flow through its skip and its layers?"

    x: str = "1 -2"
    """the input, one number or several"""
    W: str = "0.5 1; -0.5 0.2"
    """weights of the first layer, one row per input"""
    V: str = "0.4 -0.1; 0.3 0.6"
    """weights of the second layer, which has as many outputs as x has numbers"""
    b: str | None = None
    """bias of the first layer; by default none"""
    c: str | None = None
    """bias of the second layer; by default none"""
    activation: Activation = "relu"
    """activation between the two layers"""
    after: Activation = "identity"
    """activation after the sum"""
    target: str | None = "2 -1"
    """target of y; None for no loss"""
    learning_rate: float = 0.01
    """learning rate of the update"""

    @staticmethod
    def build(
        x: Any,
        W: Any,
        V: Any,
        *,
        b: Any = None,
        c: Any = None,
        activation: str = "relu",
        after: str = "identity",
        target: Any = None,
        delta: Any = None,
        learning_rate: Operand = 0.01,
    ) -> Worksheet:
        """The worksheet of a residual block: z = x·W + b, a = f(z), F = a·V + c, y = g(x + F).

        >>> solution = Residual.build(2, 0.5, -1, target=0).solve()
        >>> print(solution.value("y"), solution.derivative("L", "x"))
        1 1

        Through the skip ∂L/∂x is 2·(1 − 0) = 2, through F it is 2·(−1)·0.5 = −1; their sum is 1.

        Args:
            x: a number, or D of them.
            W: a number, or D × H.
            V: a number, or H × D, as x and F are added.
            b: a number, or H of them; None for none.
            c: a number, or D of them; None for none.
            activation: f, between the two layers.
            after: g, after the sum.
            target: of y, L = Σ (y − t)²; None for no loss.
            delta: ∂L/∂y instead of a target.
            learning_rate: of the update.

        Raises:
            UsageError: shapes that do not fit together.
        """
        wide, first = shape_of("x", x), shape_of("W", W)
        # () throughout for a block of numbers
        hidden = first[1:] if wide else ()
        if len(wide) > 1 or first != (*wide, *hidden) or len(hidden) != len(wide):
            raise UsageError("x, W: must be two numbers, or D numbers and D × H; change the shapes.")
        check_shape("V", V, (*hidden, *wide), "F is added to x")
        for name, value, shape in (("b", b, hidden), ("c", c, wide)):
            if value is not None:
                check_shape(name, value, shape, "its layer has as many units")
        sheet = Worksheet()
        # in the order in which they are used, so the sheet reads forwards
        put_numbers(sheet, {"x": x, "W": W, "b": b, "V": V, "c": c})
        inner = product(sheet.x, sheet.W)  # (H,)
        sheet.z = inner if b is None else inner + sheet.b
        sheet.a = activated(activation, sheet.z)
        outer = product(sheet.a, sheet.V)  # (D,)
        sheet.F = outer if c is None else outer + sheet.c
        # He et al. 2016 have a ReLU here; without it blocks can be identities (He et al. 2016b)
        if after == "identity":
            sheet.y = sheet.x + sheet.F
        else:
            sheet.s = sheet.x + sheet.F
            sheet.y = activated(after, sheet.s)
        sheet.remark(
            "Two paths lead from x to y: the skip, whose derivative is 1, and the path through F. However small the weights, "
            "the skip passes the whole gradient on.",
            hint=True,
        )
        sheet.ask(*sheet.components("y"))
        if put_end(sheet, sheet.components("y"), target, delta):
            sheet.ask("L", *(f"dL/d{name}" for name in sheet.components("x")))
            parameters = {"W": W, "b": b, "V": V, "c": c}
            ask_update(sheet, [name for name, value in parameters.items() if value is not None], learning_rate)
        return sheet

    def worksheet(self) -> Worksheet:
        """The worksheet of the options."""
        numbers = from_texts(x=self.x, W=self.W, V=self.V, b=self.b, c=self.c, target=self.target)
        return self.build(**numbers, activation=self.activation, after=self.after, learning_rate=self.learning_rate)

    def draw(self, random: Random) -> Residual:
        """A block of two numbers with multiples of 0.1 as weights."""

        def draw() -> Residual:
            W, V = ([[nonzero_tenth(random) for _ in range(2)] for _ in range(2)] for _ in range(2))
            x = [random.choice([-2, -1, 1, 2, 3]) for _ in range(2)]
            target = [random.choice([-1, 0, 1, 2]) for _ in range(2)]
            return replace(self, **typed_options(x=x, W=W, V=V, target=target), learning_rate=0.1)

        return by_hand(draw)
