# SPDX-License-Identifier: Apache-2.0
"""A residual block, y = f(x + F(x)) with F(x) = relu(x·W + b)·V + c (He et al. 2016), and both ways of its gradient."""

from __future__ import annotations

from random import Random
from typing import Any, Literal

from pellucid.errors import UsageError
from pellucid.worked.builders._given import activated, ask_update, from_text, given, product, shape_of, wanted_shape
from pellucid.worked.builders._objective import put_end
from pellucid.worked.expressions.expression import Operand
from pellucid.worked.forms.exercise import by_hand, nonzero_tenth
from pellucid.worked.forms.forming import command_of
from pellucid.worked.worksheet.worksheet import Worksheet

__all__ = ["command", "residual"]


def residual(
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

    >>> solution = residual(2, 0.5, -1, target=0).solve()
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
        target: what y should be, L = Σ (y − t)²; None for no loss.
        delta: ∂L/∂y in the place of a target.
        learning_rate: of the step.

    Raises:
        UsageError: shapes that do not fit together.
    """
    wide, first = shape_of("x", x), shape_of("W", W)
    hidden = first[1:] if wide else ()
    if len(wide) > 1 or first != (*wide, *hidden) or len(hidden) != len(wide):
        raise UsageError("x, W: must be two numbers, or D numbers and D × H; mend the shapes.")
    wanted_shape("V", V, (*hidden, *wide), "F is added to x")
    for name, value, shape in (("b", b, hidden), ("c", c, wide)):
        if value is not None:
            wanted_shape(name, value, shape, "its layer has as many units")
    sheet = Worksheet()
    given(sheet, {"x": x, "W": W, "b": b, "V": V, "c": c})
    inner = product(sheet.x, sheet.W)
    sheet.z = inner if b is None else inner + sheet.b
    sheet.a = activated(activation, sheet.z)
    outer = product(sheet.a, sheet.V)
    sheet.F = outer if c is None else outer + sheet.c
    if after == "identity":
        sheet.y = sheet.x + sheet.F
    else:
        sheet.s = sheet.x + sheet.F
        sheet.y = activated(after, sheet.s)
    sheet.remark(
        "Two ways lead from x to y: the skip, along which the slope is 1 and nothing is lost, and the way through F. "
        "However small the weights, the first passes the whole gradient on.",
        hint=True,
    )
    sheet.ask(*sheet.components("y"))
    if put_end(sheet, sheet.components("y"), target, delta):
        sheet.ask("L", *(f"dL/d{name}" for name in sheet.components("x")))
        parameters = {"W": W, "b": b, "V": V, "c": c}
        ask_update(sheet, [name for name, value in parameters.items() if value is not None], learning_rate)
    return sheet


def example(
    *,
    x: str = "1 -2",
    W: str = "0.5 1; -0.5 0.2",
    V: str = "0.4 -0.1; 0.3 0.6",
    b: str | None = None,
    c: str | None = None,
    activation: Literal["identity", "relu", "leaky_relu", "sigmoid", "tanh"] = "relu",
    after: Literal["identity", "relu", "leaky_relu", "sigmoid", "tanh"] = "identity",
    target: str | None = "2 -1",
    learning_rate: float = 0.01,
) -> Worksheet:
    """Work a residual block: its output, and the gradient along the skip and through the layers.

    Args:
        x: the input, one number or several.
        W: weights of the first layer, one row an input.
        V: weights of the second layer, which leads back to as many numbers as x has.
        b: bias of the first layer; by default none.
        c: bias of the second; by default none.
        activation: between the two layers.
        after: the activation after the sum.
        target: what y should be; None for no loss.
        learning_rate: of the step.
    """
    texts = {"x": x, "W": W, "V": V, "b": b, "c": c, "target": target}
    found = {name: None if text is None else from_text(name, text) for name, text in texts.items()}
    layers = [found.pop(name) for name in ("x", "W", "V")]
    return residual(*layers, **found, activation=activation, after=after, learning_rate=learning_rate)


def problem(random: Random) -> Worksheet:
    """Draw a block of two numbers with weights of tenths."""

    def draw() -> Worksheet:
        matrices = [[[nonzero_tenth(random) for _ in range(2)] for _ in range(2)] for _ in range(2)]
        x = [random.choice([-2, -1, 1, 2, 3]) for _ in range(2)]
        target = [random.choice([-1, 0, 1, 2]) for _ in range(2)]
        return residual(x, *matrices, target=target, learning_rate=0.1)

    return by_hand(draw)


command = command_of(example, problem)
