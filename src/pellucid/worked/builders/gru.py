# SPDX-License-Identifier: Apache-2.0
"""A gated recurrent unit over any number of steps (Cho et al. 2014), with the reset before or after the product."""

from __future__ import annotations

from random import Random
from typing import Any, Literal

from pellucid.errors import UsageError
from pellucid.worked.builders._gates import Gate, begin, close, gate_from_text, gate_sum, random_gate
from pellucid.worked.builders._given import activated, ask_update, from_text, one_of, product, shape_of, wanted_shape
from pellucid.worked.expressions.expression import Operand
from pellucid.worked.forms.exercise import by_hand
from pellucid.worked.forms.forming import command_of
from pellucid.worked.worksheet.worksheet import Worksheet

__all__ = ["command", "gru"]


def gru(
    inputs: Any,
    *,
    r: Gate,
    z: Gate,
    n: Gate,
    d_n: Any = None,
    reset: str = "after",
    h_0: Any = None,
    target: Any = None,
    learning_rate: Operand = 0.01,
) -> Worksheet:
    """The worksheet of a GRU cell, step by step.

        r_t = σ(W_r·x_t + U_r·h_(t−1) + b_r)                      how much of the state the new one sees
        z_t = σ(W_z·x_t + U_z·h_(t−1) + b_z)                      how much of the state is kept
        n_t = tanh(W_n·x_t + b_n + r_t·(U_n·h_(t−1) + d_n))       reset after the product, as in `torch.nn.GRU`
        n_t = tanh(W_n·x_t + b_n + U_n·(r_t·h_(t−1)))             reset before it, as in the paper (its eq. 8)
        h_t = (1 − z_t)·n_t + z_t·h_(t−1),   L = Σ (h_T − y)²

    >>> gate = Gate(1, 1, 0)
    >>> print(gru([0], r=gate, z=gate, n=gate, h_0=0).solve().value("h_1"))
    0

    Args:
        inputs: one a step: numbers, or vectors of D.
        r: the reset gate's weights.
        z: the update gate's.
        n: the candidate's.
        d_n: with the reset after the product, the bias inside the bracket, or none.
        reset: after or before.
        h_0: the state before the first step; by default 0.
        target: what the last state should be; without it there is no loss.
        learning_rate: of the step.

    Raises:
        UsageError: shapes that do not fit together, or d_n with the reset before the product.
    """
    one_of("reset", reset, ("after", "before"))
    if d_n is not None and reset == "before":
        raise UsageError("d_n: stands in a bracket that there is not with reset=before; leave it out.")
    sheet = Worksheet()
    gates = {"r": r, "z": z, "n": n}
    steps = begin(sheet, inputs, gates, {"h_0": h_0})
    if d_n is not None:
        wanted_shape("d_n", d_n, shape_of("U_n", n.U)[:1], "the state has as many components")
        sheet["d_n"] = d_n
    for t in range(1, steps + 1):
        before = sheet[f"h_{t - 1}"]
        for letter in "rz":
            sheet[f"{letter}_{t}"] = activated("sigmoid", gate_sum(sheet, letter, t, before))
        if reset == "before":
            inner = gate_sum(sheet, "n", t, sheet[f"r_{t}"] * before)
        else:
            seen = product(sheet.U_n, before)
            inner = product(sheet.W_n, sheet[f"x_{t}"])
            inner = inner if n.b is None else inner + sheet.b_n
            inner = inner + sheet[f"r_{t}"] * (seen if d_n is None else seen + sheet.d_n)
        sheet[f"n_{t}"] = activated("tanh", inner)
        sheet[f"h_{t}"] = (1 - sheet[f"z_{t}"]) * sheet[f"n_{t}"] + sheet[f"z_{t}"] * before
    last = f"h_{steps}"
    sheet.ask(*sheet.components(last))
    if close(sheet, last, target):
        sheet.ask("L", *(f"dL/d{name}" for name in sheet.components("h_0")))
        names = [f"{kind}_{x}" for x in gates for kind in "WUb" if getattr(gates[x], kind) is not None]
        ask_update(sheet, [*names, *(["d_n"] if d_n is not None else [])], learning_rate)
    return sheet


def example(
    *,
    inputs: str = "1 -1",
    reset_gate: str = "0.5 0.1 0",
    update_gate: str = "0.2 0.3 0.1",
    candidate: str = "1 -0.5 0",
    reset: Literal["after", "before"] = "after",
    h_0: float = 0.5,
    target: float | None = 0.2,
    learning_rate: float = 0.1,
) -> Worksheet:
    """Work a GRU cell of one unit: gates and state at each step, loss, gradients and one step of descent.

    Args:
        inputs: x_1, x_2, …
        reset_gate: W, U and b of r, as "0.5 0.1 0": from the input, from the state, the bias.
        update_gate: W, U and b of z.
        candidate: W, U and b of n; with --reset after perhaps a fourth number, the bias inside the bracket.
        reset: of the state after its product with U_n, as torch has it, or before, as in the paper of 2014.
        h_0: the state before the first step.
        target: what the last state should be; None for no loss.
        learning_rate: of the step.
    """
    W, U, b, *inner = gate_from_text("candidate", candidate, 4)
    d_n = inner[0] if inner[0] != 0 else None
    found = from_text("inputs", inputs)
    return gru(
        found if shape_of("inputs", found) else [found],
        r=Gate(*gate_from_text("reset_gate", reset_gate)),
        z=Gate(*gate_from_text("update_gate", update_gate)),
        n=Gate(W, U, b),
        d_n=d_n,
        reset=reset,
        h_0=h_0,
        target=target,
        learning_rate=learning_rate,
    )


def problem(random: Random, *, reset: Literal["after", "before"] = "after") -> Worksheet:
    """Draw one step of a cell with weights of tenths."""

    def draw() -> Worksheet:
        gates = {letter: random_gate(random) for letter in "rzn"}
        state, target = random.choice([-1, 1, 2]), random.choice([0, 1])
        return gru([random.choice([-2, -1, 1, 2])], **gates, reset=reset, h_0=state, target=target, learning_rate=0.1)

    return by_hand(draw)


command = command_of(example, problem)
