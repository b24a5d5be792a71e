# SPDX-License-Identifier: Apache-2.0
"""What LSTM and GRU cells share: the weights of a gate, the sum that it forms, and the inputs and the target of a sequence."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from random import Random
from typing import Any, final

from pellucid.errors import UsageError
from pellucid.worked.builders._objective import put_loss
from pellucid.worked.builders._quantities import Quantity, check_shape, from_text, product, put_numbers, shape_of
from pellucid.worked.forms.exercise import nonzero_tenth
from pellucid.worked.forms.numbers import read_vector, typed
from pellucid.worked.worksheet.worksheet import Worksheet

__all__ = [
    "Gate",
    "gate_from_text",
    "gate_sum",
    "inputs_from_text",
    "parameters",
    "put_cell",
    "put_target",
    "random_gate",
]


@final
@dataclass(frozen=True)
class Gate:
    """The weights of one gate: W from the input, U from the previous state, a bias b.

    >>> Gate(0.5, 1, 0.1).U
    1
    """

    W: Any  # a number, or H × D
    U: Any  # a number, or H × H
    b: Any = None  # a number, or H; None for no bias


def put_cell(sheet: Worksheet, inputs: Any, gates: Mapping[str, Gate], states: Mapping[str, Any]) -> int:
    """Write down inputs, initial states and weights; returns the number of steps.

    Raises:
        UsageError: shapes that do not fit together.
    """
    first = next(iter(gates.values()))
    outer, inner = shape_of("W", first.W), shape_of("U", first.U)
    if (outer, inner) != ((), ()) and not (len(outer) == 2 and inner == (outer[0], outer[0])):
        raise UsageError("W, U: must be two numbers, or matrices of H × D and H × H; change the shapes.")
    size, deep = outer[:1], outer[1:]  # (H,) and (D,); both () for a cell of numbers
    times = shape_of("inputs", inputs)
    if not times or times[1:] != deep:
        wanted = f"vectors of {deep[0]}" if deep else "numbers"
        raise UsageError(f"inputs: must be {wanted}, one a step, to fit W; change the shape.")
    for letter, gate in gates.items():
        check_shape(f"W_{letter}", gate.W, outer, "all gates have the same shape")
        check_shape(f"U_{letter}", gate.U, inner, "all gates have the same shape")
        if gate.b is not None:
            check_shape(f"b_{letter}", gate.b, size, "the state has as many components")
    # a state that is not given is 0, as in torch
    for name, state in states.items():
        if state is not None:
            check_shape(name, state, size, "U is for such a state")
        sheet[name] = state if state is not None else [0] * size[0] if size else 0
    put_numbers(sheet, {f"x_{t}": x for t, x in enumerate(inputs, 1)})
    for letter, gate in gates.items():
        put_numbers(sheet, {f"W_{letter}": gate.W, f"U_{letter}": gate.U, f"b_{letter}": gate.b})
    return times[0]


def gate_sum(sheet: Worksheet, letter: str, t: int, state: Quantity) -> Quantity:
    """W·x_t + U·state + b of one gate."""
    weighted = product(sheet[f"W_{letter}"], sheet[f"x_{t}"]) + product(sheet[f"U_{letter}"], state)
    first = sheet.components(f"b_{letter}")[0]
    return weighted + sheet[f"b_{letter}"] if first in sheet else weighted


def put_target(sheet: Worksheet, state: str, target: Any) -> bool:
    """Write L = Σ (h − y)² of the last state if there is a target; returns whether there is one."""
    if target is None:
        return False
    sheet["y"] = target
    targets = sheet.components("y")
    if len(targets) != len(sheet.components(state)):
        raise UsageError(
            f"target: has {len(targets)} numbers; give one for each of {len(sheet.components(state))} units."
        )
    put_loss(sheet, "L", "squared_error", sheet.components(state), targets)
    return True


def parameters(gates: Mapping[str, Gate]) -> list[str]:
    """The names of all weights and biases."""
    return [f"{kind}_{letter}" for letter in gates for kind in "WUb" if getattr(gates[letter], kind) is not None]


def inputs_from_text(text: str) -> list[Any]:
    """The inputs of a sequence, one a step."""
    read = from_text("inputs", text)
    return read if shape_of("inputs", read) else [read]


def gate_from_text(name: str, text: str, most: int = 3) -> list[Any]:
    """The numbers W, U and b of a gate with one unit; a missing b is 0.

    Raises:
        UsageError: fewer than two numbers, or too many.
    """
    numbers = read_vector(text, name)
    if not 2 <= len(numbers) <= most:
        raise UsageError(f"{name}={text!r}: must be W, U and b, as in 0.5 0.1 0; give two or three numbers.")
    return [*numbers, *[0] * (most - len(numbers))]


def random_gate(random: Random) -> str:
    """W, U and b as they are typed, multiples of 0.1; b is often 0."""
    return typed([nonzero_tenth(random), nonzero_tenth(random), random.choice([0, nonzero_tenth(random)])])
