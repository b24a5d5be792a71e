# SPDX-License-Identifier: Apache-2.0
"""What the gates of LSTM and GRU cells share: the weights of one gate, the sum it forms, and a sequence's inputs."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from random import Random
from typing import Any, final

from pellucid.errors import UsageError
from pellucid.worked.builders._given import Quantity, given, product, shape_of, wanted_shape
from pellucid.worked.builders._objective import put_loss
from pellucid.worked.forms.exercise import nonzero_tenth
from pellucid.worked.forms.presenting import read_vector
from pellucid.worked.worksheet.worksheet import Worksheet

__all__ = ["Gate", "begin", "close", "gate_from_text", "gate_sum", "random_gate"]


@final
@dataclass(frozen=True)
class Gate:
    """The weights of one gate: W from the input, U from the state before, a bias b.

    >>> Gate(0.5, 1, 0.1).U
    1
    """

    W: Any  # a number, or H × D
    U: Any  # a number, or H × H
    b: Any = None  # a number, or H; None for no bias


def begin(sheet: Worksheet, inputs: Any, gates: Mapping[str, Gate], states: Mapping[str, Any]) -> int:
    """Put inputs, first states and weights down; the number of steps.

    Raises:
        UsageError: shapes that do not fit together.
    """
    first = next(iter(gates.values()))
    outer, inner = shape_of("W", first.W), shape_of("U", first.U)
    if (outer, inner) != ((), ()) and not (len(outer) == 2 and inner == (outer[0], outer[0])):
        raise UsageError("W, U: must be two numbers, or matrices of H × D and H × H; mend the shapes.")
    size, deep = outer[:1], outer[1:]
    times = shape_of("inputs", inputs)
    if not times or times[1:] != deep:
        each = f"vectors of {deep[0]}" if deep else "numbers"
        raise UsageError(f"inputs: must be {each}, one a step, since W takes them; mend the shape.")
    for letter, gate in gates.items():
        wanted_shape(f"W_{letter}", gate.W, outer, "all gates have the same")
        wanted_shape(f"U_{letter}", gate.U, inner, "all gates have the same")
        if gate.b is not None:
            wanted_shape(f"b_{letter}", gate.b, size, "the state has as many components")
    for name, state in states.items():
        if state is not None:
            wanted_shape(name, state, size, "U is for such a state")
        sheet[name] = state if state is not None else [0] * size[0] if size else 0
    given(sheet, {f"x_{t}": x for t, x in enumerate(inputs, 1)})
    for letter, gate in gates.items():
        given(sheet, {f"W_{letter}": gate.W, f"U_{letter}": gate.U, f"b_{letter}": gate.b})
    return times[0]


def gate_sum(sheet: Worksheet, letter: str, t: int, state: Quantity) -> Quantity:
    """W·x_t + U·state + b of one gate."""
    found = product(sheet[f"W_{letter}"], sheet[f"x_{t}"]) + product(sheet[f"U_{letter}"], state)
    first = sheet.components(f"b_{letter}")[0]
    return found + sheet[f"b_{letter}"] if first in sheet else found


def close(sheet: Worksheet, state: str, target: Any) -> bool:
    """Write L = Σ (h − y)² of the last state, if there is a target; whether there is."""
    if target is None:
        return False
    sheet["y"] = target
    there = sheet.components("y")
    if len(there) != len(sheet.components(state)):
        raise UsageError(
            f"target: has {len(there)} numbers; give one for each of {len(sheet.components(state))} units."
        )
    put_loss(sheet, "L", "squared_error", sheet.components(state), there)
    return True


def gate_from_text(name: str, text: str, most: int = 3) -> list[Any]:
    """The numbers W, U and b of a gate with one unit, b being 0 where it is left out.

    Raises:
        UsageError: fewer than two numbers, or too many.
    """
    found = read_vector(text, name)
    if not 2 <= len(found) <= most:
        raise UsageError(f"{name}={text!r}: must be W, U and b, as in 0.5 0.1 0; give two or three numbers.")
    return [*found, *[0] * (most - len(found))]


def random_gate(random: Random) -> Gate:
    """Weights of tenths."""
    return Gate(nonzero_tenth(random), nonzero_tenth(random), random.choice([0, nonzero_tenth(random)]))
