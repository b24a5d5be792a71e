# SPDX-License-Identifier: Apache-2.0
"""lstm: a cell with long short-term memory, step by step (Hochreiter and Schmidhuber 1997; forget gate: Gers et al. 2000)."""

from __future__ import annotations

from dataclasses import dataclass, replace
from random import Random
from typing import Any, final

from pellucid.worked.builders._gates import (
    Gate,
    gate_from_text,
    gate_sum,
    inputs_from_text,
    parameters,
    put_cell,
    put_target,
    random_gate,
)
from pellucid.worked.builders._quantities import activated, ask_update
from pellucid.worked.builders._recursion import go_back_in_time
from pellucid.worked.expressions.expression import Operand
from pellucid.worked.forms.contract import Builder
from pellucid.worked.forms.exercise import by_hand
from pellucid.worked.forms.numbers import typed
from pellucid.worked.worksheet.worksheet import Worksheet

__all__ = ["LSTM"]


@final
@dataclass(frozen=True, kw_only=True)
class LSTM(Builder):
    """Work an LSTM cell of one unit: gates, memory and state at each step, loss, gradients and one gradient step."""

    topic = "recurrent networks"
    question = "What do the gates, the memory and the state of an LSTM do, and what are the gradients?"

    inputs: str = "1 -1"
    """x_1, x_2, …"""
    input_gate: str = "0.5 0.1 0"
    """W, U and b of i, as "0.5 0.1 0": the weight of the input, the weight of the state, the bias"""
    forget_gate: str = "0.2 0.3 1"
    """W, U and b of f"""
    candidate: str = "1 -0.5 0"
    """W, U and b of g"""
    output_gate: str = "0.4 0.2 0.1"
    """W, U and b of o"""
    h_0: float = 0
    """state before the first step"""
    c_0: float = 0.5
    """memory before the first step"""
    target: float | None = 0.5
    """target of the last state; None for no loss"""
    learning_rate: float = 0.1
    """learning rate of the update"""

    @staticmethod
    def build(
        inputs: Any,
        *,
        i: Gate,
        f: Gate,
        g: Gate,
        o: Gate,
        h_0: Any = None,
        c_0: Any = None,
        target: Any = None,
        learning_rate: Operand = 0.01,
    ) -> Worksheet:
        """The worksheet of an LSTM cell, step by step.

            i_t = σ(W_i·x_t + U_i·h_(t−1) + b_i)        how much of the new goes into the memory
            f_t = σ(W_f·x_t + U_f·h_(t−1) + b_f)        how much of the memory is kept
            g_t = tanh(W_g·x_t + U_g·h_(t−1) + b_g)     the new
            o_t = σ(W_o·x_t + U_o·h_(t−1) + b_o)        how much of the memory is shown
            c_t = f_t·c_(t−1) + i_t·g_t,   h_t = o_t·tanh(c_t),   L = Σ (h_T − y)²

        These are the equations of `torch.nn.LSTM`, whose two biases of each gate are added up to one.

        >>> gate = Gate(1, 1, 0)
        >>> print(LSTM.build([0], i=gate, f=gate, g=gate, o=gate, c_0=2).solve().value("c_1"))
        1

        Args:
            inputs: one a step: numbers, or vectors of D.
            i: weights of the input gate.
            f: weights of the forget gate.
            g: weights of the candidate.
            o: weights of the output gate.
            h_0: the state before the first step; by default 0.
            c_0: the memory before the first step; by default 0.
            target: of the last state; without it there is no loss.
            learning_rate: of the update.

        Raises:
            UsageError: shapes that do not fit together.
        """
        sheet = Worksheet()
        gates = {"i": i, "f": f, "g": g, "o": o}
        steps = put_cell(sheet, inputs, gates, {"h_0": h_0, "c_0": c_0})
        for t in range(1, steps + 1):
            state = sheet[f"h_{t - 1}"]
            for letter in gates:
                # gates are shares between 0 and 1; the new value may be negative
                activation = "tanh" if letter == "g" else "sigmoid"
                sheet[f"{letter}_{t}"] = activated(activation, gate_sum(sheet, letter, t, state))
            # products of components, not of matrices
            sheet[f"c_{t}"] = sheet[f"f_{t}"] * sheet[f"c_{t - 1}"] + sheet[f"i_{t}"] * sheet[f"g_{t}"]
            sheet[f"h_{t}"] = sheet[f"o_{t}"] * activated("tanh", sheet[f"c_{t}"])
        last = f"h_{steps}"
        # the last memory and the last state, which all others lead to
        sheet.ask(*sheet.components(f"c_{steps}"), *sheet.components(last))
        if put_target(sheet, last, target):
            # the memory's own path, along which gradients neither vanish nor explode while f is near 1
            sheet.ask("L", *(f"dL/d{name}" for name in sheet.components("c_0")))
            go_back_in_time(sheet, "c_t", ("h_t", "c_t+1"))
            ask_update(sheet, parameters(gates), learning_rate)
        return sheet

    def worksheet(self) -> Worksheet:
        """The worksheet of the options."""
        texts = {"i": self.input_gate, "f": self.forget_gate, "g": self.candidate, "o": self.output_gate}
        # one unit: each gate is three numbers
        gates: dict[str, Any] = {letter: Gate(*gate_from_text(letter, text)) for letter, text in texts.items()}
        inputs = inputs_from_text(self.inputs)
        more: dict[str, Any] = {"target": self.target, "learning_rate": self.learning_rate}
        return self.build(inputs, **gates, h_0=self.h_0, c_0=self.c_0, **more)

    def draw(self, random: Random) -> LSTM:
        """One step of a cell with multiples of 0.1 as weights."""

        def draw() -> LSTM:
            names = ("input_gate", "forget_gate", "candidate", "output_gate")
            gates: dict[str, Any] = {name: random_gate(random) for name in names}
            h_0, c_0, target = random.choice([0, 1]), random.choice([-1, 1, 2]), random.choice([0, 1])
            inputs = typed(random.choice([-2, -1, 1, 2]))
            return replace(self, **gates, h_0=h_0, c_0=c_0, inputs=inputs, target=target, learning_rate=0.1)

        return by_hand(draw)
