# SPDX-License-Identifier: Apache-2.0
"""A residual block, y = f(x + F(x)) with F(x) = relu(x·W_1 + b_1)·W_2 + b_2 (He et al. 2016), and both ways of its gradient."""

from __future__ import annotations

from random import Random
from typing import Any, Literal

from pellucid.errors import UsageError
from pellucid.worked.builders.given import activated, ask_update, from_text, given, product, shape_of, wanted_shape
from pellucid.worked.builders.objective import put_end
from pellucid.worked.exercise import by_hand, nonzero_tenth
from pellucid.worked.expression import Operand
from pellucid.worked.forming import command_of
from pellucid.worked.worksheet import Worksheet

__all__ = ["command", "residual"]


def residual(
    x: Any,
    W_1: Any,
    W_2: Any,
    *,
    b_1: Any = None,
    b_2: Any = None,
    activation: str = "relu",
    after: str = "identity",
    target: Any = None,
    delta: Any = None,
    learning_rate: Operand = 0.01,
) -> Worksheet:
    """The worksheet of a residual block: z = x·W_1 + b_1, a = f(z), F = a·W_2 + b_2, y = g(x + F).

    >>> solution = residual(2, 0.5, -1, target=0).solve()
    >>> print(solution.value("y"), solution.derivative("L", "x"))
    1 1

    Through the skip ∂L/∂x is 2·(1 − 0) = 2, through F it is 2·(−1)·0.5 = −1; their sum is 1.

    Args:
        x: a number, or D of them.
        W_1: a number, or D × H.
        W_2: a number, or H × D, as x and F are added.
        b_1: a number, or H of them; None for none.
        b_2: a number, or D of them; None for none.
        activation: f, between the two layers.
        after: g, after the sum.
        target: what y should be, L = Σ (y − t)²; None for no loss.
        delta: ∂L/∂y in the place of a target.
        learning_rate: of the step.

    Raises:
        UsageError: shapes that do not fit together.
    """
    wide, first = shape_of("x", x), shape_of("W_1", W_1)
    hidden = first[1:] if wide else ()
    if len(wide) > 1 or first != (*wide, *hidden) or len(hidden) != len(wide):
        raise UsageError("x, W_1: must be two numbers, or D numbers and D × H; mend the shapes.")
    wanted_shape("W_2", W_2, (*hidden, *wide), "F is added to x")
    for name, value, shape in (("b_1", b_1, hidden), ("b_2", b_2, wide)):
        if value is not None:
            wanted_shape(name, value, shape, "its layer has as many units")
    sheet = Worksheet()
    given(sheet, {"x": x, "W_1": W_1, "b_1": b_1, "W_2": W_2, "b_2": b_2})
    inner = product(sheet.x, sheet.W_1)
    sheet.z = inner if b_1 is None else inner + sheet.b_1
    sheet.a = activated(activation, sheet.z)
    outer = product(sheet.a, sheet.W_2)
    sheet.F = outer if b_2 is None else outer + sheet.b_2
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
        parameters = {"W_1": W_1, "b_1": b_1, "W_2": W_2, "b_2": b_2}
        ask_update(sheet, [name for name, value in parameters.items() if value is not None], learning_rate)
    return sheet


def example(
    *,
    x: str = "1 -2",
    W_1: str = "0.5 1; -0.5 0.2",
    W_2: str = "0.4 -0.1; 0.3 0.6",
    b_1: str | None = None,
    b_2: str | None = None,
    activation: Literal["identity", "relu", "leaky_relu", "sigmoid", "tanh"] = "relu",
    after: Literal["identity", "relu", "leaky_relu", "sigmoid", "tanh"] = "identity",
    target: str | None = "2 -1",
    learning_rate: float = 0.01,
) -> Worksheet:
    """Work a residual block: its output, and the gradient along the skip and through the layers.

    Args:
        x: the input, one number or several.
        W_1: weights of the first layer, one row an input.
        W_2: weights of the second layer, which leads back to as many numbers as x has.
        b_1: bias of the first layer; by default none.
        b_2: bias of the second; by default none.
        activation: between the two layers.
        after: the activation after the sum.
        target: what y should be; None for no loss.
        learning_rate: of the step.
    """
    texts = {"x": x, "W_1": W_1, "W_2": W_2, "b_1": b_1, "b_2": b_2, "target": target}
    found = {name: None if text is None else from_text(name, text) for name, text in texts.items()}
    layers = [found.pop(name) for name in ("x", "W_1", "W_2")]
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
