# SPDX-License-Identifier: Apache-2.0
"""A small network of neurons, from a table of the weights, the bias and the activation of each."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from random import Random
from typing import Any, Final, Literal, final

from pellucid.errors import UsageError
from pellucid.worked.builders._given import ACTIVATIONS, activated, ask_update, from_text, one_of, shape_of
from pellucid.worked.builders._objective import LOSSES, mean_or_sum, one_hot, probabilities, put_loss
from pellucid.worked.expressions.expression import Add, Expr, Name, Operand
from pellucid.worked.forms.exercise import by_hand, nonzero_tenth
from pellucid.worked.forms.forming import command_of
from pellucid.worked.worksheet.worksheet import Worksheet

__all__ = ["EXAMPLE", "Neuron", "command", "mlp", "read_table"]

EXAMPLE: Final = """3 relu 1:0.1 2:0.6
4 relu 1:0.3 2:0.4
5 relu 1:-0.2 2:0
6 sigmoid 3:-0.5 4:-0.3 5:0.8"""
"""Two inputs, three ReLU units and a sigmoid; for x = (1, 2) unit 5 is dead and the output is σ(−0.98) = 0.272892."""

_NAME: Final = re.compile(r"[A-Za-z0-9]{1,12}")
_NUMBER: Final = re.compile(r"[-+]?(\d+\.?\d*|\.\d+)([eE][-+]?\d{1,2})?")
_MOST: Final = 40  # neurons: what is worked by hand


@final
@dataclass(frozen=True)
class Neuron:
    """One row of the table: a neuron's name, where its inputs come from and with which weight, its bias and activation.

    >>> Neuron("3", {"1": 0.1, "2": 0.6}, activation="relu").activation
    'relu'
    """

    name: str
    weights: Mapping[str, Operand | str]  # by the name of an input or of another neuron
    bias: Operand | str | None = None
    activation: str = "identity"


def read_table(text: str) -> list[Neuron]:
    """The neurons of a table as text: one a line (or between semicolons), its name, its activation, its weights, its bias.

    >>> read_table("3 relu 1:0.1 2:0.6 b:0.5")
    [Neuron(name='3', weights={'1': '0.1', '2': '0.6'}, bias='0.5', activation='relu')]

    Raises:
        UsageError: a line of another form.
    """
    found = []
    for number, line in enumerate(re.split(r"[;\n]", text), 1):
        words = line.partition("#")[0].split()
        if not words:
            continue
        pairs = [word.partition(":") for word in words[2:]]
        if len(words) < 3 or not all(_NAME.fullmatch(a) and _NUMBER.fullmatch(b) for a, _, b in pairs):
            raise UsageError(
                f"neurons, line {number}: {line.strip()!r} must be a name, an activation and weights, "
                "as in 3 relu 1:0.1 2:0.6 b:0.5; write it so."
            )
        weights = {source: value for source, _, value in pairs if source != "b"}
        bias = next((value for source, _, value in pairs if source == "b"), None)
        if len(weights) + (bias is not None) < len(pairs):
            raise UsageError(f"neurons, line {number}: {words[0]} has two weights from the same place; leave one out.")
        found.append(Neuron(words[0], weights, bias, words[1]))
    return found


def mlp(
    neurons: Sequence[Neuron] | str,
    inputs: Any,
    targets: Any,
    *,
    loss: str = "squared_error",
    reduction: str = "mean",
    learning_rate: Operand = 0.01,
) -> Worksheet:
    """The worksheet of a small network: output, loss, and every weight after one step of gradient descent.

    >>> sheet = mlp(EXAMPLE, [1, 2], 0, loss="binary_cross_entropy")
    >>> solution = sheet.solve()
    >>> print(f"{solution.value('yhat'):.6f} {solution.value('L'):.6f}")
    0.272892 0.318680

    A weight from 1 to 3 is w_13, or w_1_13 where a name has several letters; z_3 is the sum that neuron 3 forms, a_3 its
    activation, yhat the output (yhat_1, yhat_2, … of several), y the target, L the loss. With several samples the first
    index is the sample: x_2_1, z_2_3, yhat_2, y_2, L_2.

    Args:
        neurons: the table, or its text as `read_table` takes it; what feeds a neuron and is none itself is an input.
        inputs: one number for each input, in the order of their names; for several samples a list of such lists.
        targets: of one sample a number, or one for each output; for the cross-entropy a class from 1 on, or probabilities.
            Of several samples a list of these.
        loss: one of `LOSSES`; the binary cross-entropy wants sigmoid outputs, the cross-entropy identity outputs, of which
            it takes the softmax.
        reduction: mean or sum over several samples.
        learning_rate: of the step.

    Raises:
        UsageError: a table with a gap or a circle, or numbers that do not fit it.
    """
    table = read_table(neurons) if isinstance(neurons, str) else list(neurons)
    one_of("loss", loss, LOSSES)
    sources, ordered, outputs = _structure(table, loss)
    shape = shape_of("inputs", inputs)
    samples = [inputs] if len(shape) == 1 else inputs
    if len(shape) == 0 or shape[-1] != len(sources):
        raise UsageError(f"inputs: the network has {len(sources)} ({', '.join(sources)}); give one number for each.")
    if len(shape) == 1:
        wanted = [targets]
    elif shape_of("targets", targets) == () or len(targets) != len(samples):
        raise UsageError(f"targets: there are {len(samples)} samples; give a target for each.")
    else:
        wanted = list(targets)
    sheet = Worksheet()
    names = _Names(table, sources, len(samples) > 1)
    for n, sample in enumerate(samples, 1):
        for source, value in zip(sources, sample, strict=True):
            sheet[names.of("x", n, source)] = value
    for n, target in enumerate(wanted, 1):
        for k, value in enumerate(_targets(target, len(outputs), loss), 1):
            sheet[names.output("y", n, k, len(outputs))] = value
    parameters = _parameters(sheet, table, names)
    for n in range(1, len(samples) + 1):
        _forward(sheet, ordered, outputs, names, n, loss)
    if len(samples) > 1:
        mean_or_sum(sheet, "L", [f"L_{n}" for n in range(1, len(samples) + 1)], reduction)
        first = table[0].name
        sheet.remark(
            "The first index is the sample: ", Name(names.of("z", 2, first)), f" is z of neuron {first}, sample 2."
        )
    _ask(sheet, outputs, names, len(samples), loss)
    ask_update(sheet, parameters, learning_rate)
    return sheet


@final
class _Names:
    """The names of a network's quantities; the sample's index stands first where there are several."""

    def __init__(self, table: Sequence[Neuron], sources: Sequence[str], several: bool) -> None:
        self.joint = "" if all(len(each) == 1 for each in [*sources, *(row.name for row in table)]) else "_"
        self.inputs, self.several = set(sources), several

    def of(self, base: str, sample: int, unit: str) -> str:
        return f"{base}_{sample}_{unit}" if self.several else f"{base}_{unit}"

    def output(self, base: str, sample: int, k: int, outputs: int) -> str:
        return base + (f"_{sample}" if self.several else "") + (f"_{k}" if outputs > 1 else "")

    def weight(self, source: str, neuron: str) -> str:
        return f"w_{source}{self.joint}{neuron}"

    def carried(self, sample: int, source: str) -> str:
        """What a neuron or an input passes on."""
        return self.of("x" if source in self.inputs else "a", sample, source)


def _structure(table: Sequence[Neuron], loss: str) -> tuple[list[str], list[Neuron], list[str]]:
    """The inputs, the neurons in an order in which they can be worked out, and the names of the outputs."""
    if not 1 <= len(table) <= _MOST:
        raise UsageError(f"neurons: there are {len(table)}, and 1 to {_MOST} can be worked by hand; cut the network.")
    by_name = {row.name: row for row in table}
    for row in table:
        one_of("activation", row.activation, ACTIVATIONS)
        if not all(_NAME.fullmatch(str(each)) for each in (row.name, *row.weights)) or not row.weights:
            raise UsageError(f"neurons: {row.name!r} must be letters and digits and have a weight; mend its line.")
    if len(by_name) < len(table):
        raise UsageError("neurons: two of them bear the same name; rename one.")
    sources = sorted({s for row in table for s in row.weights if s not in by_name}, key=lambda s: (len(s), s))
    used = {source for row in table for source in row.weights}
    outputs = [row.name for row in table if row.name not in used]
    ordered: list[Neuron] = []
    done = set(sources)
    while len(ordered) < len(table):
        ready = [row for row in table if row.name not in done and set(row.weights) <= done]
        if not ready:
            left = ", ".join(row.name for row in table if row.name not in done)
            raise UsageError(f"neurons: {left} feed each other in a circle; a recurrent network is what rnn is for.")
        ordered += ready
        done |= {row.name for row in ready}
    needed = {"binary_cross_entropy": "sigmoid", "cross_entropy": "identity"}.get(loss)
    if needed and any(by_name[name].activation != needed for name in outputs):
        raise UsageError(f"loss={loss}: wants {needed} outputs; give {', '.join(outputs)} this activation.")
    if loss == "cross_entropy" and len(outputs) < 2:
        raise UsageError("loss=cross_entropy: wants two or more outputs; for one take binary_cross_entropy.")
    return sources, ordered, outputs


def _targets(target: Any, outputs: int, loss: str) -> list[Any]:
    """The targets of one sample, one for each output."""
    if loss == "cross_entropy":
        return one_hot("targets", target, outputs)
    found = [target] if shape_of("targets", target) == () else list(target)
    shown = [float(each) for each in found]
    if len(found) != outputs:
        raise UsageError(f"targets={shown}: the network has {outputs} outputs; give a number for each.")
    if loss == "binary_cross_entropy" and not all(0 <= float(each) <= 1 for each in found):
        raise UsageError(f"targets={shown}: of a binary cross-entropy must be from 0 to 1; take 0 or 1.")
    return found


def _parameters(sheet: Worksheet, table: Sequence[Neuron], names: _Names) -> list[str]:
    """Put the weights and biases down; their names."""
    found = []
    for row in table:
        for source, value in row.weights.items():
            found.append(names.weight(source, row.name))
            sheet[found[-1]] = _number(value)
        if row.bias is not None:
            found.append(f"b_{row.name}")
            sheet[found[-1]] = _number(row.bias)
    return found


def _number(value: Any) -> Any:
    return from_text("weight", value) if isinstance(value, str) else value


def _forward(
    sheet: Worksheet, ordered: Sequence[Neuron], outputs: Sequence[str], names: _Names, n: int, loss: str
) -> None:
    """The equations of one sample."""
    for row in ordered:
        terms: list[Expr] = [sheet[names.weight(s, row.name)] * sheet[names.carried(n, s)] for s in row.weights]
        if row.bias is not None:
            terms.append(sheet[f"b_{row.name}"])
        z = names.of("z", n, row.name)
        sheet[z] = terms[0] if len(terms) == 1 else Add(tuple(terms))
        if row.name not in outputs:
            sheet[names.of("a", n, row.name)] = activated(row.activation, sheet[z])
    by_name = {row.name: row for row in ordered}
    count = len(outputs)
    targets = [names.output("y", n, k + 1, count) for k in range(count)]
    if loss == "cross_entropy":
        p = f"p_{n}" if names.several else "p"
        probabilities(sheet, p, [names.of("z", n, name) for name in outputs])
        found = sheet.components(p)
    else:
        found = [names.output("yhat", n, k + 1, count) for k in range(count)]
        for name, output in zip(outputs, found, strict=True):
            sheet[output] = activated(by_name[name].activation, sheet[names.of("z", n, name)])
    put_loss(sheet, f"L_{n}" if names.several else "L", loss, found, targets)


def _ask(sheet: Worksheet, outputs: Sequence[str], names: _Names, samples: int, loss: str) -> None:
    for n in range(1, samples + 1):
        if loss == "cross_entropy":
            sheet.ask(*sheet.components(f"p_{n}" if names.several else "p"))
        else:
            sheet.ask(*(names.output("yhat", n, k + 1, len(outputs)) for k in range(len(outputs))))
    sheet.ask("L")
    sheet.ask(*(f"dL/d{names.of('z', n, name)}" for n in range(1, samples + 1) for name in outputs))


def example(
    *,
    neurons: str = EXAMPLE,
    table: Path | None = None,
    inputs: str = "1 2",
    targets: str = "1",
    loss: Literal["squared_error", "binary_cross_entropy", "cross_entropy"] = "binary_cross_entropy",
    reduction: Literal["mean", "sum"] = "mean",
    learning_rate: float = 0.01,
) -> Worksheet:
    """Work a small network: its output, its loss, and every weight after one step of gradient descent.

    Args:
        neurons: one after another with ; between: a name, an activation, weights from inputs or neurons, perhaps a bias b,
            as in "3 relu 1:0.1 2:0.6 b:0.5; 4 sigmoid 3:-1". Activations are identity, relu, leaky_relu, sigmoid, tanh.
        table: a file of such neurons, one a line, in the place of --neurons.
        inputs: a number for each input, as "1 2"; for several samples "1 2; 0 1".
        targets: a number for each output, for cross_entropy a class from 1 on; of several samples a list of these.
        loss: what the step makes smaller.
        reduction: how the losses of several samples become one.
        learning_rate: of the step.
    """
    if table is not None:
        try:
            neurons = table.read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as fault:
            raise UsageError(f"table={str(table)!r}: cannot be read ({fault}); name a text file.") from None
    wanted = from_text("targets", targets)
    numbers = from_text("inputs", inputs)
    return mlp(neurons, numbers, wanted, loss=loss, reduction=reduction, learning_rate=learning_rate)


def problem(
    random: Random, *, loss: Literal["squared_error", "binary_cross_entropy", "cross_entropy"] = "binary_cross_entropy"
) -> Worksheet:
    """Draw a network of two inputs and two or three ReLU units, most of them alive."""
    hidden = random.choice([2, 3])
    outputs = random.choice([2, 3]) if loss == "cross_entropy" else 1
    units = [str(3 + k) for k in range(hidden)]
    last = {"binary_cross_entropy": "sigmoid"}.get(loss, "identity")

    def draw() -> Worksheet:
        rows = [Neuron(u, {s: nonzero_tenth(random) for s in "12"}, activation="relu") for u in units]
        bias = [nonzero_tenth(random) if random.random() < 0.5 else None for _ in range(outputs)]
        rows += [
            Neuron(str(3 + hidden + k), {u: nonzero_tenth(random) for u in units}, bias[k], last)
            for k in range(outputs)
        ]
        inputs = [random.choice([-1, 1, 2, 3]) for _ in range(2)]
        target = {"binary_cross_entropy": random.randint(0, 1), "cross_entropy": random.randint(1, outputs)}
        return mlp(rows, inputs, target.get(loss, random.choice([-1, 0, 1, 2])), loss=loss, learning_rate=0.1)

    return by_hand(draw)


command = command_of(example, problem)
