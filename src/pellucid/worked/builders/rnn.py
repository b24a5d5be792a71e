# SPDX-License-Identifier: Apache-2.0
"""A recurrent network over any number of steps, and back-propagation through time."""

from __future__ import annotations

from fractions import Fraction
from random import Random
from typing import Any, Literal

from pellucid.errors import UsageError
from pellucid.worked.builders._given import (
    activated,
    ask_update,
    from_text,
    given,
    one_of,
    product,
    shape_of,
    wanted_shape,
)
from pellucid.worked.builders._objective import put_loss
from pellucid.worked.expressions.expression import Name, Operand
from pellucid.worked.forms.exercise import by_hand, nonzero_tenth
from pellucid.worked.forms.forming import command_of
from pellucid.worked.worksheet.worksheet import Worksheet

__all__ = ["command", "rnn"]


def rnn(
    inputs: Any,
    targets: Any,
    *,
    W_h: Any,
    W_x: Any,
    W_y: Any,
    h_0: Any = None,
    b_h: Any = None,
    b_y: Any = None,
    activation: str = "identity",
    learning_rate: Operand = 0.01,
) -> Worksheet:
    """The worksheet of a recurrent network: h_t = f(W_h·h_(t−1) + W_x·x_t + b_h), ŷ_t = W_y·h_t + b_y, L = Σ (ŷ_t − y_t)².

    >>> solution = rnn([10, 10], [5, 5], W_h=1, W_x=0.1, W_y=2, h_0=1).solve()
    >>> print(*(solution.value(name) for name in ("yhat_2", "L")), solution.derivative("L", "W_h"))
    6 2 8

    Args:
        inputs: one a step: numbers, or vectors of D.
        targets: one a step, or one only, for the last step: numbers, or vectors of O.
        W_h: a number, or H × H.
        W_x: a number, or H × D.
        W_y: a number, or O × H.
        h_0: the state before the first step; by default 0.
        b_h: a bias of the state, or none.
        b_y: a bias of the output, or none.
        activation: identity, tanh or relu.
        learning_rate: of the step.

    Raises:
        UsageError: shapes that do not fit together.
    """
    one_of("activation", activation, ("identity", "tanh", "relu"))
    state, deep, out = _shapes(W_h, W_x, W_y)
    times = shape_of("inputs", inputs)
    if times[1:] != deep or not times:
        each = f"vectors of {deep[0]}" if deep else "numbers"
        raise UsageError(f"inputs: must be {each}, one a step, since W_x takes them; mend the shape.")
    steps = times[0]
    last = shape_of("targets", targets) == out
    if not last and shape_of("targets", targets) != (steps, *out):
        raise UsageError(f"targets: there are {steps} steps; give a target for each, or one for the last.")
    for name, value, shape in (("h_0", h_0, state), ("b_h", b_h, state), ("b_y", b_y, out)):
        if value is not None:
            wanted_shape(name, value, shape, "W_h and W_y say so")
    sheet = Worksheet()
    given(sheet, {"h_0": h_0 if h_0 is not None else [0] * state[0] if state else 0})
    given(sheet, {f"x_{t}": x for t, x in enumerate(inputs, 1)})
    seen = {steps: targets} if last else dict(enumerate(targets, 1))
    given(sheet, {f"y_{t}": y for t, y in seen.items()})
    given(sheet, {"W_h": W_h, "W_x": W_x, "W_y": W_y, "b_h": b_h, "b_y": b_y})
    losses = []
    for t in range(1, steps + 1):
        inner = product(sheet.W_h, sheet[f"h_{t - 1}"]) + product(sheet.W_x, sheet[f"x_{t}"])
        sheet[f"h_{t}"] = activated(activation, inner if b_h is None else inner + sheet.b_h)
        if t in seen:
            outer = product(sheet.W_y, sheet[f"h_{t}"])
            sheet[f"yhat_{t}"] = outer if b_y is None else outer + sheet.b_y
            losses += [*zip(sheet.components(f"yhat_{t}"), sheet.components(f"y_{t}"), strict=True)]
    put_loss(sheet, "L", "squared_error", *map(list, zip(*losses, strict=True)))
    if state:
        sheet.remark("The first index is the step: ", Name("h_1_2"), " is unit 2 at step 1.")
    for t in seen:
        sheet.ask(*sheet.components(f"yhat_{t}"))
    sheet.ask("L", *(f"dL/d{name}" for name in sheet.components("h_1")))
    ask_update(sheet, [name for name, value in _weights(W_h, W_x, W_y, b_h, b_y) if value is not None], learning_rate)
    return sheet


def _weights(W_h: Any, W_x: Any, W_y: Any, b_h: Any, b_y: Any) -> list[tuple[str, Any]]:
    return [("W_h", W_h), ("W_x", W_x), ("W_y", W_y), ("b_h", b_h), ("b_y", b_y)]


def _shapes(W_h: Any, W_x: Any, W_y: Any) -> tuple[tuple[int, ...], tuple[int, ...], tuple[int, ...]]:
    """The shapes of a state, an input and an output."""
    recurrent, inward, outward = (shape_of(n, v) for n, v in _weights(W_h, W_x, W_y, None, None)[:3])
    if recurrent == inward == outward == ():
        return (), (), ()
    size = recurrent[0] if recurrent else 0
    fits = len(inward) == len(outward) == 2 and inward[0] == outward[1] == size
    if not fits or recurrent != (size, size):
        raise UsageError(
            "W_h, W_x, W_y: must be three numbers, or matrices of H × H, H × D and O × H; mend the shapes."
        )
    return (size,), (inward[1],), (outward[0],)


def example(
    *,
    inputs: str = "10 10",
    targets: str = "5 5",
    W_h: str = "1",
    W_x: str = "0.1",
    W_y: str = "2",
    h_0: str | None = "1",
    b_h: str | None = None,
    b_y: str | None = None,
    activation: Literal["identity", "tanh", "relu"] = "identity",
    learning_rate: float = 0.01,
) -> Worksheet:
    """Work a recurrent network: outputs, loss, and its weights after one step by back-propagation through time.

    Args:
        inputs: x_1, x_2, …, as "10 10"; vectors as "1 0; 0 1", one a row.
        targets: y_1, y_2, … in the same way; or one only, for the last step.
        W_h: from state to state, a number or rows as "0.5 0; 0.1 1".
        W_x: from input to state.
        W_y: from state to output.
        h_0: the state before the first step, one number for all units or one for each; None for 0.
        b_h: bias of the state, likewise; by default none.
        b_y: bias of the output, likewise; by default none.
        activation: of the state.
        learning_rate: of the step.
    """
    texts = {"W_h": W_h, "W_x": W_x, "W_y": W_y, "h_0": h_0, "b_h": b_h, "b_y": b_y}
    numbers = {name: None if text is None else from_text(name, text) for name, text in texts.items()}
    x, y = from_text("inputs", inputs), from_text("targets", targets)
    units = shape_of("W_h", numbers["W_h"])[:1]
    if not units:
        return rnn(_row(x), y, **numbers, activation=activation, learning_rate=learning_rate)
    # as it is typed, a matrix of one row is a vector, and a vector of one number a number
    for name in ("W_x", "W_y"):
        value = _row(numbers[name])
        numbers[name] = [value] if len(shape_of(name, value)) == 1 else value
    for name, count in (("h_0", units[0]), ("b_h", units[0]), ("b_y", shape_of("W_y", numbers["W_y"])[0])):
        if isinstance(numbers[name], Fraction):
            numbers[name] = [numbers[name]] * count
    steps = _row(x)
    steps = [steps] if len(shape_of("inputs", steps)) == 1 else steps
    return rnn(steps, _row(y), **numbers, activation=activation, learning_rate=learning_rate)


def _row(value: Any) -> Any:
    return [value] if isinstance(value, Fraction) else value


def problem(random: Random, *, activation: Literal["identity", "tanh", "relu"] = "identity") -> Worksheet:
    """Draw two or three steps with small whole inputs and weights of halves and tenths."""
    steps = random.choice([2, 3])

    def draw() -> Worksheet:
        return rnn(
            [random.choice([-2, -1, 1, 2, 3]) for _ in range(steps)],
            [random.choice([-1, 0, 1, 2]) for _ in range(steps)],
            W_h=random.choice([-1, 1, 2, nonzero_tenth(random)]),
            W_x=nonzero_tenth(random),
            W_y=random.choice([-2, -1, 1, 2]),
            h_0=random.choice([0, 1]),
            activation=activation,
            learning_rate=0.1,
        )

    return by_hand(draw)


command = command_of(example, problem)
