# SPDX-License-Identifier: Apache-2.0
"""rnn: a recurrent network over any number of steps, and back-propagation through time."""

from __future__ import annotations

from dataclasses import dataclass, replace
from fractions import Fraction
from random import Random
from typing import Any, Literal, final

from pellucid.errors import UsageError
from pellucid.worked.builders._objective import put_loss
from pellucid.worked.builders._quantities import (
    activated,
    as_row,
    ask_update,
    check_name,
    check_shape,
    from_text,
    from_texts,
    product,
    put_numbers,
    shape_of,
)
from pellucid.worked.builders._recursion import go_back_in_time
from pellucid.worked.expressions.expression import Name, Operand
from pellucid.worked.forms.contract import Builder
from pellucid.worked.forms.exercise import by_hand, nonzero_tenth
from pellucid.worked.forms.numbers import typed_options
from pellucid.worked.worksheet.worksheet import Worksheet

__all__ = ["RNN"]


@final
@dataclass(frozen=True, kw_only=True)
class RNN(Builder):
    """Work a recurrent network: outputs, loss, and its weights after one step by back-propagation through time."""

    topic = "recurrent networks"
    question = "What does a recurrent network do step by step, and what does each step add to the gradient?"
    keeps = ("activation",)

    inputs: str = "10 10"
    """x_1, x_2, …, as "10 10"; vectors as "1 0; 0 1", one per row"""
    targets: str = "5 5"
    """y_1, y_2, … in the same way; or one only, for the last step"""
    W_h: str = "1"
    """weight from state to state, a number or rows as "0.5 0; 0.1 1\""""
    W_x: str = "0.1"
    """weight from input to state"""
    W_y: str = "2"
    """weight from state to output"""
    h_0: str | None = "1"
    """state before the first step, one number for all units or one for each; None for 0"""
    b_h: str | None = None
    """bias of the state, one number for all units or one for each; by default none"""
    b_y: str | None = None
    """bias of the output, one number for all or one for each; by default none"""
    activation: Literal["identity", "tanh", "relu"] = "identity"
    """activation of the state"""
    learning_rate: float = 0.01
    """learning rate of the update"""

    @staticmethod
    def build(
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

        >>> solution = RNN.build([10, 10], [5, 5], W_h=1, W_x=0.1, W_y=2, h_0=1).solve()
        >>> print(*(solution.value(name) for name in ("yhat_2", "L")), solution.derivative("L", "W_h"))
        6 2 8

        Args:
            inputs: one a step: numbers, or vectors of D.
            targets: one a step, or one only, for the last step: numbers, or vectors of O.
            W_h: a number, or H × H.
            W_x: a number, or H × D.
            W_y: a number, or O × H.
            h_0: the state before the first step; by default 0.
            b_h: a bias of the state; None for none.
            b_y: a bias of the output; None for none.
            activation: identity, tanh or relu.
            learning_rate: of the update.

        Raises:
            UsageError: shapes that do not fit together.
        """
        # sigmoid and leaky ReLU are left out: `torch.nn.RNN` has tanh and ReLU
        check_name("activation", activation, ("identity", "tanh", "relu"))
        state, deep, out = _shapes(W_h, W_x, W_y)  # (H,), (D,), (O,), or () for numbers
        times = shape_of("inputs", inputs)
        if times[1:] != deep or not times:
            wanted = f"vectors of {deep[0]}" if deep else "numbers"
            raise UsageError(f"inputs: must be {wanted}, one a step, to fit W_x; change the shape.")
        steps = times[0]
        # one target alone is for the last step: many to one
        last = shape_of("targets", targets) == out
        if not last and shape_of("targets", targets) != (steps, *out):
            raise UsageError(f"targets: there are {steps} steps; give a target for each, or one for the last.")
        for name, value, shape in (("h_0", h_0, state), ("b_h", b_h, state), ("b_y", b_y, out)):
            if value is not None:
                check_shape(name, value, shape, "W_h and W_y say so")
        sheet = Worksheet()
        put_numbers(sheet, {"h_0": h_0 if h_0 is not None else [0] * state[0] if state else 0})
        put_numbers(sheet, {f"x_{t}": x for t, x in enumerate(inputs, 1)})  # (D,) a step
        target_at = {steps: targets} if last else dict(enumerate(targets, 1))
        put_numbers(sheet, {f"y_{t}": y for t, y in target_at.items()})
        weights = {"W_h": W_h, "W_x": W_x, "W_y": W_y, "b_h": b_h, "b_y": b_y}
        put_numbers(sheet, weights)
        pairs = []
        for t in range(1, steps + 1):
            # the same weights at every step: their gradients are sums over the steps
            inner = product(sheet.W_h, sheet[f"h_{t - 1}"]) + product(sheet.W_x, sheet[f"x_{t}"])
            sheet[f"h_{t}"] = activated(activation, inner if b_h is None else inner + sheet.b_h)
            if t in target_at:
                outer = product(sheet.W_y, sheet[f"h_{t}"])  # (O,)
                sheet[f"yhat_{t}"] = outer if b_y is None else outer + sheet.b_y
                pairs += [*zip(sheet.components(f"yhat_{t}"), sheet.components(f"y_{t}"), strict=True)]
        # the loss is a sum over steps and components
        put_loss(sheet, "L", "squared_error", *map(list, zip(*pairs, strict=True)))
        if state:
            sheet.remark("The first index is the step: ", Name("h_1_2"), " is unit 2 at step 1.")
        for t in target_at:
            sheet.ask(*sheet.components(f"yhat_{t}"))
        # the gradient that has travelled back through all steps
        sheet.ask("L", *(f"dL/d{name}" for name in sheet.components("h_1")))
        ask_update(sheet, [name for name, value in weights.items() if value is not None], learning_rate)
        go_back_in_time(sheet, "h_t", ("yhat_t", "h_t+1"))
        return sheet

    def worksheet(self) -> Worksheet:
        """The worksheet of the options."""
        numbers = from_texts(W_h=self.W_h, W_x=self.W_x, W_y=self.W_y, h_0=self.h_0, b_h=self.b_h, b_y=self.b_y)
        inputs, targets = from_text("inputs", self.inputs), from_text("targets", self.targets)
        more: dict[str, Any] = {"activation": self.activation, "learning_rate": self.learning_rate}
        units = shape_of("W_h", numbers["W_h"])[:1]
        # numbers throughout, no vectors
        if not units:
            return self.build(as_row(inputs), targets, **numbers, **more)
        # typed, a matrix of one row looks like a vector, and a vector of one number like a number
        for name in ("W_x", "W_y"):
            value = as_row(numbers[name])
            numbers[name] = [value] if len(shape_of(name, value)) == 1 else value
        for name, count in (("h_0", units[0]), ("b_h", units[0]), ("b_y", shape_of("W_y", numbers["W_y"])[0])):
            if isinstance(numbers[name], Fraction):
                numbers[name] = [numbers[name]] * count
        steps = as_row(inputs)
        steps = [steps] if len(shape_of("inputs", steps)) == 1 else steps
        return self.build(steps, as_row(targets), **numbers, **more)

    def draw(self, random: Random) -> RNN:
        """Two or three steps with small whole inputs, and small whole numbers and multiples of 0.1 as weights."""
        steps = random.choice([2, 3])

        def draw() -> RNN:
            numbers = typed_options(
                inputs=[random.choice([-2, -1, 1, 2, 3]) for _ in range(steps)],
                targets=[random.choice([-1, 0, 1, 2]) for _ in range(steps)],
                W_h=random.choice([-1, 1, 2, nonzero_tenth(random)]),
                W_x=nonzero_tenth(random),
                W_y=random.choice([-2, -1, 1, 2]),
                h_0=random.choice([0, 1]),
            )
            return replace(self, **numbers, learning_rate=0.1)

        return by_hand(draw)


def _shapes(W_h: Any, W_x: Any, W_y: Any) -> tuple[tuple[int, ...], tuple[int, ...], tuple[int, ...]]:
    """The shapes of a state, an input and an output."""
    weights = {"W_h": W_h, "W_x": W_x, "W_y": W_y}
    recurrent, inward, outward = (shape_of(name, value) for name, value in weights.items())
    if recurrent == inward == outward == ():
        return (), (), ()
    size = recurrent[0] if recurrent else 0
    fits = len(inward) == len(outward) == 2 and inward[0] == outward[1] == size
    if not fits or recurrent != (size, size):
        raise UsageError(
            "W_h, W_x, W_y: must be three numbers, or matrices of H × H, H × D and O × H; change the shapes."
        )
    return (size,), (inward[1],), (outward[0],)
