# SPDX-License-Identifier: Apache-2.0
"""The table of a small network: a row for each neuron with its weights, its bias and its activation."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final, final

from pellucid.errors import UsageError
from pellucid.worked.builders._quantities import ACTIVATIONS, check_name
from pellucid.worked.expressions.expression import Operand

__all__ = ["EXAMPLE", "Neuron", "Structure", "read_table", "structure"]

EXAMPLE: Final = """3 relu 1:0.1 2:0.6
4 relu 1:0.3 2:0.4
5 relu 1:-0.2 2:0
6 sigmoid 3:-0.5 4:-0.3 5:0.8"""
"""Two inputs, three ReLU units and a sigmoid; for x = (1, 2) unit 5 is dead and the output is σ(−0.98) = 0.272892."""

_NAME: Final = re.compile(r"[A-Za-z0-9]{1,12}")
_NUMBER: Final = re.compile(r"[-+]?(\d+\.?\d*|\.\d+)([eE][-+]?\d{1,2})?")
_MOST: Final = 40  # neurons that a person can work


@final
@dataclass(frozen=True)
class Neuron:
    """One row of the table: a neuron's name, its inputs with their weights, its bias and activation.

    >>> Neuron("3", {"1": 0.1, "2": 0.6}, activation="relu").activation
    'relu'
    """

    name: str
    weights: Mapping[str, Operand | str]  # by the name of an input or of another neuron
    bias: Operand | str | None = None
    activation: str = "identity"


@final
@dataclass(frozen=True)
class Structure:
    """How the neurons of a table are connected."""

    inputs: list[str]  # names that feed a neuron and are not neurons themselves
    ordered: list[Neuron]  # each after those that feed it
    outputs: list[str]  # names of neurons that feed no other


def read_table(text: str) -> list[Neuron]:
    """The neurons of a table as text: one per line (or between semicolons), its name, its activation, its weights, its bias.

    >>> read_table("3 relu 1:0.1 2:0.6 b:0.5")
    [Neuron(name='3', weights={'1': '0.1', '2': '0.6'}, bias='0.5', activation='relu')]

    Raises:
        UsageError: a line of another form.
    """
    neurons = []
    for number, line in enumerate(re.split(r"[;\n]", text), 1):
        words = line.partition("#")[0].split()
        if not words:
            continue
        pairs = [word.partition(":") for word in words[2:]]
        if len(words) < 3 or not all(_NAME.fullmatch(a) and _NUMBER.fullmatch(b) for a, _, b in pairs):
            raise UsageError(
                f"neurons, line {number}: {line.strip()!r} must be a name, an activation and weights, "
                "as in 3 relu 1:0.1 2:0.6 b:0.5; write it like that."
            )
        weights = {source: value for source, _, value in pairs if source != "b"}
        bias = next((value for source, _, value in pairs if source == "b"), None)
        if len(weights) + (bias is not None) < len(pairs):
            raise UsageError(f"neurons, line {number}: {words[0]} has two weights from the same place; leave one out.")
        neurons.append(Neuron(words[0], weights, bias, words[1]))
    return neurons


def structure(table: Sequence[Neuron]) -> Structure:
    """The inputs, the neurons in an order in which they can be worked out, and the outputs.

    >>> network = structure(read_table("5 relu 4:1; 4 relu 1:2 2:3"))
    >>> network.inputs, [neuron.name for neuron in network.ordered], network.outputs
    (['1', '2'], ['4', '5'], ['5'])

    Raises:
        UsageError: a name that is none or is used twice, or neurons that feed each other in a circle.
    """
    if not 1 <= len(table) <= _MOST:
        raise UsageError(f"neurons: there are {len(table)}, and 1 to {_MOST} can be worked by hand; cut the network.")
    for row in table:
        check_name("activation", row.activation, ACTIVATIONS)
        if not all(_NAME.fullmatch(str(name)) for name in (row.name, *row.weights)) or not row.weights:
            raise UsageError(f"neurons: {row.name!r} must be letters and digits and have a weight; correct its line.")
    own = {row.name for row in table}
    if len(own) < len(table):
        raise UsageError("neurons: two of them have the same name; rename one.")
    feeding = {source for row in table for source in row.weights}
    inputs = sorted(feeding - own, key=lambda name: (len(name), name))  # 2 before 10
    ordered: list[Neuron] = []
    done = set(inputs)
    while len(ordered) < len(table):
        ready = [row for row in table if row.name not in done and set(row.weights) <= done]
        if not ready:
            left = ", ".join(row.name for row in table if row.name not in done)
            raise UsageError(f"neurons: {left} feed each other in a circle; use rnn for a recurrent network.")
        ordered += ready
        done |= {row.name for row in ready}
    return Structure(inputs, ordered, [row.name for row in table if row.name not in feeding])
