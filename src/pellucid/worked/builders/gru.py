# SPDX-License-Identifier: Apache-2.0
"""gru: a gated recurrent unit over any number of steps (Cho et al. 2014), with the reset before or after the product."""

from __future__ import annotations

from dataclasses import dataclass, replace
from random import Random
from typing import Any, Literal, final

from pellucid.errors import UsageError
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
from pellucid.worked.builders._quantities import activated, ask_update, check_name, check_shape, product, shape_of
from pellucid.worked.builders._recursion import go_back_in_time
from pellucid.worked.expressions.expression import Operand
from pellucid.worked.forms.contract import Builder
from pellucid.worked.forms.exercise import by_hand
from pellucid.worked.forms.numbers import typed
from pellucid.worked.worksheet.worksheet import Worksheet

__all__ = ["GRU"]


@final
@dataclass(frozen=True, kw_only=True)
class GRU(Builder):
    """Work a GRU cell of one unit: gates and state at each step, loss, gradients and one gradient step."""

    topic = "recurrent networks"
    question = "What do the gates and the state of a GRU do, and what are the gradients?"
    keeps = ("reset",)

    inputs: str = "1 -1"
    """x_1, x_2, …"""
    reset_gate: str = "0.5 0.1 0"
    """W, U and b of r, as "0.5 0.1 0": the weight of the input, the weight of the state, the bias"""
    update_gate: str = "0.2 0.3 0.1"
    """W, U and b of z"""
    candidate: str = "1 -0.5 0"
    """W, U and b of n; with --reset after optionally a fourth number, the bias inside the bracket"""
    reset: Literal["after", "before"] = "after"
    """apply the reset gate after the product with U_n, as torch does, or before it, as in the paper of 2014"""
    h_0: float = 0.5
    """state before the first step"""
    target: float | None = 0.2
    """target of the last state; None for no loss"""
    learning_rate: float = 0.1
    """learning rate of the update"""

    @staticmethod
    def build(
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
        >>> print(GRU.build([0], r=gate, z=gate, n=gate, h_0=0).solve().value("h_1"))
        0

        Args:
            inputs: one a step: numbers, or vectors of D.
            r: weights of the reset gate.
            z: weights of the update gate.
            n: weights of the candidate.
            d_n: with the reset after the product, the bias inside the bracket; None for none.
            reset: after or before.
            h_0: the state before the first step; by default 0.
            target: of the last state; without it there is no loss.
            learning_rate: of the update.

        Raises:
            UsageError: shapes that do not fit together, or d_n with the reset before the product.
        """
        check_name("reset", reset, ("after", "before"))
        if d_n is not None and reset == "before":
            raise UsageError("d_n: there is no bracket for it with reset=before; leave it out.")
        sheet = Worksheet()
        gates = {"r": r, "z": z, "n": n}
        steps = put_cell(sheet, inputs, gates, {"h_0": h_0})
        if d_n is not None:
            check_shape("d_n", d_n, shape_of("U_n", n.U)[:1], "the state has as many components")
            sheet["d_n"] = d_n
        for t in range(1, steps + 1):
            state = sheet[f"h_{t - 1}"]
            # both are shares between 0 and 1
            for letter in "rz":
                sheet[f"{letter}_{t}"] = activated("sigmoid", gate_sum(sheet, letter, t, state))
            if reset == "before":
                # the paper's form: U acts on the state that is left after the reset
                inner = gate_sum(sheet, "n", t, sheet[f"r_{t}"] * state)
            else:
                # cuDNN's form, which torch uses: all products of the state can be taken at once
                seen = product(sheet.U_n, state)
                inner = product(sheet.W_n, sheet[f"x_{t}"])
                inner = inner if n.b is None else inner + sheet.b_n
                inner = inner + sheet[f"r_{t}"] * (seen if d_n is None else seen + sheet.d_n)
            sheet[f"n_{t}"] = activated("tanh", inner)
            # eq. 7 of the paper, and torch; Chung et al. 2014 swap z and 1 − z
            sheet[f"h_{t}"] = (1 - sheet[f"z_{t}"]) * sheet[f"n_{t}"] + sheet[f"z_{t}"] * state
        last = f"h_{steps}"
        sheet.ask(*sheet.components(last))
        if put_target(sheet, last, target):
            # through every step back to the first state
            sheet.ask("L", *(f"dL/d{name}" for name in sheet.components("h_0")))
            go_back_in_time(sheet, "h_t", ("r_t+1", "z_t+1", "n_t+1", "h_t+1"))
            ask_update(sheet, [*parameters(gates), *(["d_n"] if d_n is not None else [])], learning_rate)
        return sheet

    def worksheet(self) -> Worksheet:
        """The worksheet of the options."""
        W, U, b, d_n = gate_from_text("candidate", self.candidate, 4)
        return self.build(
            inputs_from_text(self.inputs),
            r=Gate(*gate_from_text("reset_gate", self.reset_gate)),
            z=Gate(*gate_from_text("update_gate", self.update_gate)),
            n=Gate(W, U, b),
            # a fourth number of 0 is no bias at all
            d_n=d_n if d_n != 0 else None,
            reset=self.reset,
            h_0=self.h_0,
            target=self.target,
            learning_rate=self.learning_rate,
        )

    def draw(self, random: Random) -> GRU:
        """One step of a cell with multiples of 0.1 as weights."""

        def draw() -> GRU:
            gates: dict[str, Any] = {name: random_gate(random) for name in ("reset_gate", "update_gate", "candidate")}
            h_0, target = random.choice([-1, 1, 2]), random.choice([0, 1])
            inputs = typed(random.choice([-2, -1, 1, 2]))
            return replace(self, **gates, h_0=h_0, target=target, inputs=inputs, learning_rate=0.1)

        return by_hand(draw)
