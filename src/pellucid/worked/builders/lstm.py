# SPDX-License-Identifier: Apache-2.0
"""A cell with long short-term memory, step by step (Hochreiter and Schmidhuber 1997; forget gate: Gers et al. 2000)."""

from __future__ import annotations

from random import Random
from typing import Any

from pellucid.worked.builders._gates import Gate, begin, close, gate_from_text, gate_sum, random_gate
from pellucid.worked.builders._given import activated, ask_update, from_text, shape_of
from pellucid.worked.expressions.expression import Operand
from pellucid.worked.forms.exercise import by_hand
from pellucid.worked.forms.forming import command_of
from pellucid.worked.worksheet.worksheet import Worksheet

__all__ = ["command", "lstm"]


def lstm(
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

        i_t = σ(W_i·x_t + U_i·h_(t−1) + b_i)        what of the new is let in
        f_t = σ(W_f·x_t + U_f·h_(t−1) + b_f)        what of the memory is kept
        g_t = tanh(W_g·x_t + U_g·h_(t−1) + b_g)     the new
        o_t = σ(W_o·x_t + U_o·h_(t−1) + b_o)        what is shown
        c_t = f_t·c_(t−1) + i_t·g_t,   h_t = o_t·tanh(c_t),   L = Σ (h_T − y)²

    These are the equations of `torch.nn.LSTM` with its two biases of each gate as one.

    >>> gate = Gate(1, 1, 0)
    >>> print(lstm([0], i=gate, f=gate, g=gate, o=gate, c_0=2).solve().value("c_1"))
    1

    Args:
        inputs: one a step: numbers, or vectors of D.
        i: the input gate's weights.
        f: the forget gate's.
        g: the candidate's.
        o: the output gate's.
        h_0: the state before the first step; by default 0.
        c_0: the memory before the first step; by default 0.
        target: what the last state should be; without it there is no loss.
        learning_rate: of the step.

    Raises:
        UsageError: shapes that do not fit together.
    """
    sheet = Worksheet()
    gates = {"i": i, "f": f, "g": g, "o": o}
    steps = begin(sheet, inputs, gates, {"h_0": h_0, "c_0": c_0})
    for t in range(1, steps + 1):
        before = sheet[f"h_{t - 1}"]
        for letter in gates:
            kind = "tanh" if letter == "g" else "sigmoid"
            sheet[f"{letter}_{t}"] = activated(kind, gate_sum(sheet, letter, t, before))
        sheet[f"c_{t}"] = sheet[f"f_{t}"] * sheet[f"c_{t - 1}"] + sheet[f"i_{t}"] * sheet[f"g_{t}"]
        sheet[f"h_{t}"] = sheet[f"o_{t}"] * activated("tanh", sheet[f"c_{t}"])
    last = f"h_{steps}"
    sheet.ask(*sheet.components(f"c_{steps}"), *sheet.components(last))
    if close(sheet, last, target):
        sheet.ask("L", *(f"dL/d{name}" for name in sheet.components("c_0")))
        ask_update(sheet, [f"{kind}_{x}" for x in gates for kind in "WUb" if _there(gates[x], kind)], learning_rate)
    return sheet


def _there(gate: Gate, kind: str) -> bool:
    return getattr(gate, kind) is not None


def example(
    *,
    inputs: str = "1 -1",
    input_gate: str = "0.5 0.1 0",
    forget_gate: str = "0.2 0.3 1",
    candidate: str = "1 -0.5 0",
    output_gate: str = "0.4 0.2 0.1",
    h_0: float = 0,
    c_0: float = 0.5,
    target: float | None = 0.5,
    learning_rate: float = 0.1,
) -> Worksheet:
    """Work an LSTM cell of one unit: gates, memory and state at each step, loss, gradients and one step of descent.

    Args:
        inputs: x_1, x_2, …
        input_gate: W, U and b of i, as "0.5 0.1 0": from the input, from the state, the bias.
        forget_gate: W, U and b of f.
        candidate: W, U and b of g.
        output_gate: W, U and b of o.
        h_0: the state before the first step.
        c_0: the memory before the first step.
        target: what the last state should be; None for no loss.
        learning_rate: of the step.
    """
    texts = {"i": input_gate, "f": forget_gate, "g": candidate, "o": output_gate}
    gates = {letter: Gate(*gate_from_text(letter, text)) for letter, text in texts.items()}
    found = from_text("inputs", inputs)
    times = found if shape_of("inputs", found) else [found]
    return lstm(times, **gates, h_0=h_0, c_0=c_0, target=target, learning_rate=learning_rate)


def problem(random: Random) -> Worksheet:
    """Draw one step of a cell with weights of tenths."""

    def draw() -> Worksheet:
        gates = {letter: random_gate(random) for letter in "ifgo"}
        state, memory = random.choice([0, 1]), random.choice([-1, 1, 2])
        target = random.choice([0, 1])
        return lstm([random.choice([-2, -1, 1, 2])], **gates, h_0=state, c_0=memory, target=target, learning_rate=0.1)

    return by_hand(draw)


command = command_of(example, problem)
