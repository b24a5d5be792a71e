# SPDX-License-Identifier: Apache-2.0
"""mlp: a small network of neurons, from a table of the weights, the bias and the activation of each."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from random import Random
from typing import Any, Final, Literal, final

from pellucid.errors import UsageError
from pellucid.worked.builders._objective import LOSSES, mean_or_sum, one_hot, probabilities, put_loss
from pellucid.worked.builders._quantities import activated, ask_update, check_name, from_text, shape_of
from pellucid.worked.builders.mlp.comparison import put_comparison
from pellucid.worked.builders.mlp.neurons import EXAMPLE, Neuron, Structure, read_table, structure
from pellucid.worked.expressions.expression import Add, Expr, Name, Operand
from pellucid.worked.forms.contract import Builder
from pellucid.worked.forms.exercise import by_hand, nonzero_tenth
from pellucid.worked.forms.numbers import typed
from pellucid.worked.worksheet.worksheet import Worksheet

__all__ = ["MLP"]

_OUTPUTS: Final = {"binary_cross_entropy": "sigmoid", "cross_entropy": "identity"}
"""The activation of the outputs that a loss needs; the cross-entropy takes the softmax itself."""


@final
@dataclass(frozen=True, kw_only=True)
class MLP(Builder):
    """Work a small network: its output, its loss, and every weight after one step of gradient descent."""

    topic = "multilayer perceptrons"
    question = "What does a small network answer, how large is its loss, and what are its weights after one step?"
    keeps = ("loss", "compare")

    neurons: str = EXAMPLE
    """
    one after another with ; between: a name, an activation, weights from inputs or neurons, optionally a bias b, as in
    "3 relu 1:0.1 2:0.6 b:0.5; 4 sigmoid 3:-1". Activations are identity, relu, leaky_relu, sigmoid, tanh
    """
    table: Path | None = None
    """a file of such neurons, one per line, instead of --neurons"""
    inputs: str = "1 2"
    """a number for each input, as "1 2"; for several samples "1 2; 0 1\""""
    targets: str = "1"
    """a number for each output, for cross_entropy a class counted from 1; for several samples a list of these"""
    loss: Literal["squared_error", "binary_cross_entropy", "cross_entropy"] = "binary_cross_entropy"
    """the loss that the step makes smaller"""
    reduction: Literal["mean", "sum"] = "mean"
    """how the losses of several samples become one"""
    learning_rate: float = 0.01
    """learning rate of the update"""
    compare: str | None = None
    """another label of the sample, as "y=0": is its loss larger or smaller, and why?"""

    @staticmethod
    def build(
        neurons: Sequence[Neuron] | str,
        inputs: Any,
        targets: Any,
        *,
        loss: str = "squared_error",
        reduction: str = "mean",
        learning_rate: Operand = 0.01,
        compare: Any = None,
    ) -> Worksheet:
        """The worksheet of a small network: output, loss, and every weight after one step of gradient descent.

        >>> sheet = MLP.build(EXAMPLE, [1, 2], 0, loss="binary_cross_entropy")
        >>> solution = sheet.solve()
        >>> print(f"{solution.value('yhat'):.6f} {solution.value('L'):.6f}")
        0.272892 0.318680

        A weight from 1 to 3 is w_13, or w_1_13 where a name has several letters; z_3 is the sum that neuron 3 forms, a_3
        its activation, yhat the output (yhat_1, yhat_2, … of several), y the target, L the loss. With several samples the
        first index is the sample: x_2_1, z_2_3, yhat_2, y_2, L_2.

        Args:
            neurons: the table, or its text as `read_table` takes it; a name that feeds a neuron and is not a neuron is an input.
            inputs: one number for each input, in the order of their names; for several samples a list of such lists.
            targets: for one sample a number, or one for each output; for the cross-entropy a class counted from 1, or
                probabilities. For several samples a list of these.
            loss: one of `LOSSES`; the binary cross-entropy needs sigmoid outputs, the cross-entropy identity outputs, of
                which it takes the softmax.
            reduction: mean or sum over several samples.
            learning_rate: of the update.
            compare: another target of a single sample, whose loss L_other is worked out beside L, with the reason for the difference.

        Raises:
            UsageError: a table with a gap or a circle, or numbers that do not fit it.
        """
        table = read_table(neurons) if isinstance(neurons, str) else list(neurons)
        check_name("loss", loss, LOSSES)
        network = structure(table)
        _check_outputs(network, loss)
        samples, goals = _samples(network, inputs, targets)  # (N, inputs), (N, …)
        several = len(samples) > 1
        sheet = Worksheet()
        names = _Names(table, network.inputs, several)
        for n, sample in enumerate(samples, 1):
            for source, value in zip(network.inputs, sample, strict=True):
                sheet[names.of("x", n, source)] = value
        for n, goal in enumerate(goals, 1):
            for k, value in enumerate(_targets(goal, len(network.outputs), loss), 1):
                sheet[names.output("y", n, k, len(network.outputs))] = value
        # weights after inputs and targets, in the order of the table, which is the order of the update
        parameters = _put_parameters(sheet, table, names)
        for n in range(1, len(samples) + 1):
            _put_sample(sheet, network, names, n, loss)
        if several:
            mean_or_sum(sheet, "L", [f"L_{n}" for n in range(1, len(samples) + 1)], reduction)
            first = table[0].name
            sheet.remark(
                "The first index is the sample: ", Name(names.of("z", 2, first)), f" is z of neuron {first}, sample 2."
            )
        _ask(sheet, network.outputs, names, len(samples), loss)
        if compare is not None:
            if several:
                raise UsageError("compare: is of one sample, and there are several; give the inputs of one.")
            put_comparison(sheet, _targets(compare, len(network.outputs), loss), loss)
        ask_update(sheet, parameters, learning_rate)
        return sheet

    def worksheet(self) -> Worksheet:
        """The worksheet of the options."""
        neurons = self.neurons
        if self.table is not None:
            try:
                neurons = self.table.read_text(encoding="utf-8")
            except (OSError, UnicodeDecodeError) as fault:
                raise UsageError(f"table={str(self.table)!r}: cannot be read ({fault}); name a text file.") from None
        targets, inputs = from_text("targets", self.targets), from_text("inputs", self.inputs)
        more: dict[str, Any] = {"loss": self.loss, "reduction": self.reduction, "learning_rate": self.learning_rate}
        # y=0 as a person says it, or 0 alone
        other = None if self.compare is None else self.compare.rpartition("=")[2]
        more["compare"] = None if other is None else from_text("compare", other)
        return self.build(neurons, inputs, targets, **more)

    def draw(self, random: Random) -> MLP:
        """A network of two inputs and two or three ReLU units, most of them active."""
        # drawn once: a seed has one size of network, however many weights are rejected
        hidden = random.choice([2, 3])
        outputs = random.choice([2, 3]) if self.loss == "cross_entropy" else 1
        units = [str(3 + k) for k in range(hidden)]
        last = "sigmoid" if self.loss == "binary_cross_entropy" else "identity"

        def draw() -> MLP:
            rows = [_row(unit, "relu", {source: nonzero_tenth(random) for source in "12"}) for unit in units]
            biases = [nonzero_tenth(random) if random.random() < 0.5 else None for _ in range(outputs)]
            for k, bias in enumerate(biases):
                weights = {unit: nonzero_tenth(random) for unit in units}
                rows.append(_row(str(3 + hidden + k), last, weights if bias is None else weights | {"b": bias}))
            inputs = [random.choice([-1, 1, 2, 3]) for _ in range(2)]
            # all are drawn whatever the loss, so that the sequence of random numbers is the same for each
            targets = {"binary_cross_entropy": random.randint(0, 1), "cross_entropy": random.randint(1, outputs)}
            target = targets.get(self.loss, random.choice([-1, 0, 1, 2]))
            other = {"binary_cross_entropy": 1 - target, "cross_entropy": target % outputs + 1}.get(
                self.loss, target + 1
            )
            compare = None if self.compare is None else f"y={other}"
            rest: dict[str, Any] = {"inputs": typed(inputs), "targets": typed(target), "compare": compare}
            return replace(self, neurons="; ".join(rows), **rest, learning_rate=0.1)

        return by_hand(draw)


@final
class _Names:
    """The names of a network's quantities; the index of the sample comes first where there are several."""

    def __init__(self, table: Sequence[Neuron], inputs: Sequence[str], several: bool) -> None:
        # w_13 is from 1 to 3, but w_1_13 cannot be written w_113
        self.joint = "" if all(len(name) == 1 for name in [*inputs, *(row.name for row in table)]) else "_"
        self.inputs, self.several = set(inputs), several

    def of(self, base: str, sample: int, unit: str) -> str:
        return f"{base}_{sample}_{unit}" if self.several else f"{base}_{unit}"

    def output(self, base: str, sample: int, k: int, outputs: int) -> str:
        return base + (f"_{sample}" if self.several else "") + (f"_{k}" if outputs > 1 else "")

    def weight(self, source: str, neuron: str) -> str:
        return f"w_{source}{self.joint}{neuron}"

    def activity(self, sample: int, source: str) -> str:
        """What an input or a neuron passes on."""
        return self.of("x" if source in self.inputs else "a", sample, source)


def _row(name: str, activation: str, weights: dict[str, Any]) -> str:
    """A row of the table, as it is typed."""
    return " ".join([name, activation, *(f"{source}:{typed(value)}" for source, value in weights.items())])


def _check_outputs(network: Structure, loss: str) -> None:
    needed = _OUTPUTS.get(loss)
    activations = {row.name: row.activation for row in network.ordered}
    # the binary cross-entropy needs probabilities; the cross-entropy makes them itself, by a softmax
    if needed and any(activations[name] != needed for name in network.outputs):
        raise UsageError(
            f"loss={loss}: needs {needed} outputs; give {', '.join(network.outputs)} the activation {needed}."
        )
    if loss == "cross_entropy" and len(network.outputs) < 2:
        raise UsageError("loss=cross_entropy: needs two or more outputs; for one take binary_cross_entropy.")


def _samples(network: Structure, inputs: Any, targets: Any) -> tuple[Sequence[Any], Sequence[Any]]:
    """The inputs of each sample, and its targets."""
    sources, shape = network.inputs, shape_of("inputs", inputs)
    if len(shape) == 0 or shape[-1] != len(sources):
        raise UsageError(f"inputs: the network has {len(sources)} ({', '.join(sources)}); give one number for each.")
    if len(shape) == 1:
        # one sample: the targets are its own, even where they are a list
        return [inputs], [targets]
    if shape_of("targets", targets) == () or len(targets) != len(inputs):
        raise UsageError(f"targets: there are {len(inputs)} samples; give a target for each.")
    return inputs, list(targets)


def _targets(target: Any, outputs: int, loss: str) -> list[Any]:
    """The targets of one sample, one for each output."""
    if loss == "cross_entropy":
        # a class becomes a vector of zeros and a one
        return one_hot("targets", target, outputs)
    targets = [target] if shape_of("targets", target) == () else list(target)
    shown = [float(number) for number in targets]
    if len(targets) != outputs:
        raise UsageError(f"targets={shown}: the network has {outputs} outputs; give a number for each.")
    if loss == "binary_cross_entropy" and not all(0 <= number <= 1 for number in shown):
        raise UsageError(f"targets={shown}: of a binary cross-entropy must be from 0 to 1; take 0 or 1.")
    return targets


def _put_parameters(sheet: Worksheet, table: Sequence[Neuron], names: _Names) -> list[str]:
    """Write down the weights and biases; returns their names."""
    parameters = []
    for row in table:
        for source, value in row.weights.items():
            parameters.append(names.weight(source, row.name))
            sheet[parameters[-1]] = _number(value)
        if row.bias is not None:
            parameters.append(f"b_{row.name}")
            sheet[parameters[-1]] = _number(row.bias)
    return parameters


def _number(value: Any) -> Any:
    return from_text("weight", value) if isinstance(value, str) else value


def _put_sample(sheet: Worksheet, network: Structure, names: _Names, n: int, loss: str) -> None:
    """Write down the equations of one sample."""
    outputs = network.outputs
    for row in network.ordered:
        # a neuron of the table has few inputs: its sum is written term by term, without a matrix
        terms: list[Expr] = [sheet[names.weight(s, row.name)] * sheet[names.activity(n, s)] for s in row.weights]
        if row.bias is not None:
            terms.append(sheet[f"b_{row.name}"])
        z = names.of("z", n, row.name)
        sheet[z] = terms[0] if len(terms) == 1 else Add(tuple(terms))
        # an output has no a: its activation is written below, as ŷ or as a softmax of all of them
        if row.name not in outputs:
            sheet[names.of("a", n, row.name)] = activated(row.activation, sheet[z])
    activations = {row.name: row.activation for row in network.ordered}
    # an output is called yhat, the activity of a hidden neuron a
    count = len(outputs)
    targets = [names.output("y", n, k + 1, count) for k in range(count)]
    if loss == "cross_entropy":
        p = f"p_{n}" if names.several else "p"
        probabilities(sheet, p, [names.of("z", n, name) for name in outputs])
        predictions = sheet.components(p)
    else:
        predictions = [names.output("yhat", n, k + 1, count) for k in range(count)]
        for name, prediction in zip(outputs, predictions, strict=True):
            sheet[prediction] = activated(activations[name], sheet[names.of("z", n, name)])
    put_loss(sheet, f"L_{n}" if names.several else "L", loss, predictions, targets)


def _ask(sheet: Worksheet, outputs: Sequence[str], names: _Names, samples: int, loss: str) -> None:
    for n in range(1, samples + 1):
        if loss == "cross_entropy":
            sheet.ask(*sheet.components(f"p_{n}" if names.several else "p"))
        else:
            sheet.ask(*(names.output("yhat", n, k + 1, len(outputs)) for k in range(len(outputs))))
    sheet.ask("L")
    sheet.ask(*(f"dL/d{names.of('z', n, name)}" for n in range(1, samples + 1) for name in outputs))
