# SPDX-License-Identifier: Apache-2.0
"""The dense network trained: mini-batches, an update rule, curves, and what came of it on images it has not seen."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pellucid.errors import DataError, UsageError
from pellucid.worked.network.activations import Array
from pellucid.worked.network.network import Network
from pellucid.worked.network.optimisers import optimiser as rule_of

__all__ = ["History", "accuracy", "confusion", "distinct_neurons", "train"]


@dataclass
class History:
    """What a training leaves behind: the curves, and the first layer's weights before and after.

    Args:
        loss: the mean of J over each epoch's batches, as the weights moved.
        accuracy: the share of right answers on the training images after each epoch, where the targets are classes.
        held_out_loss: J on the held-out images after each epoch.
        held_out_accuracy: the share of right answers on them.
        first_before: W_1 before the first step, (in, out).
        first_after: W_1 after the last.
    """

    first_before: Array
    first_after: Array
    loss: list[float] = field(default_factory=list)
    accuracy: list[float] = field(default_factory=list)
    held_out_loss: list[float] = field(default_factory=list)
    held_out_accuracy: list[float] = field(default_factory=list)


def train(
    network: Network,
    x: Array,
    target: NDArray[Any],
    *,
    epochs: int = 10,
    batch_size: int = 32,
    rate: float = 0.1,
    rule: str = "sgd",
    held_out: tuple[Array, NDArray[Any]] | None = None,
    seed: int = 0,
    measured: bool = True,
) -> History:
    """Train a network in mini-batches, each epoch in a new random order.

    >>> x = np.array([[0, 0], [0, 1], [1, 0], [1, 1]], dtype=float)
    >>> xor = Network((2, 8, 2), "tanh", seed=1)
    >>> history = train(xor, x, np.array([0, 1, 1, 0]), epochs=200, batch_size=4, rate=0.5)
    >>> history.accuracy[-1]
    1.0

    Args:
        network: what is trained; its weights are written over.
        x: images as rows, (N, in), float.
        target: class numbers (N,), or values (N, out).
        epochs: how often each image is seen.
        batch_size: images a step; the last batch of an epoch may be smaller.
        rate: λ.
        rule: `sgd`, `momentum`, `nesterov` or `adam`.
        held_out: images and targets that are measured after each epoch and never trained on.
        seed: of the order.
        measured: measure accuracy and held-out images after each epoch.

    Raises:
        UsageError: counts or a rate that are not positive.
        DataError: images or targets that do not fit the network.
    """
    if epochs < 1 or batch_size < 1:
        raise UsageError(f"epochs={epochs}, batch_size={batch_size}: both count from 1; give at least 1.")
    if len(x) != len(target):
        raise DataError(f"len(target)={len(target)}: there are {len(x)} images; give one target for each.")
    random = np.random.default_rng(seed)
    parameters, gradients = [*network.parameters.values()], [*network.gradients.values()]
    update = rule_of(rule, parameters, gradients, rate)
    first = network.layers[0].W
    history = History(first.copy(), first)
    size = min(batch_size, len(x))
    batch = np.empty((size, x.shape[1]), x.dtype)
    for _ in range(epochs):
        order, total = random.permutation(len(x)), 0.0
        for start in range(0, len(x), size):
            chosen = order[start : start + size]
            rows = np.take(x, chosen, axis=0, out=batch[: len(chosen)], mode="clip")  # clip writes without a buffer
            update.before()
            total += network.gradient(rows, target[chosen]) * len(chosen)
            update.after()
        history.loss.append(total / len(x))
        if measured:
            _measure(network, history, x, target, held_out)
    history.first_after = first.copy()
    return history


def _measure(
    network: Network,
    history: History,
    x: Array,
    target: NDArray[Any],
    held_out: tuple[Array, NDArray[Any]] | None,
) -> None:
    if network.objective.classes:
        history.accuracy.append(accuracy(network, x, target))
    if held_out is not None:
        history.held_out_loss.append(network.loss(*held_out))
        if network.objective.classes:
            history.held_out_accuracy.append(accuracy(network, *held_out))


def accuracy(network: Network, x: Array, target: NDArray[Any]) -> float:
    """The share of images whose largest output is that of their class, in [0, 1].

    >>> accuracy(Network((2, 2), seed=0), np.zeros((4, 2)), np.array([0, 0, 0, 1]))
    0.75
    """
    return float((network.probabilities(x).argmax(axis=1) == target).mean())


def confusion(network: Network, x: Array, target: NDArray[Any]) -> NDArray[np.int64]:
    """How often class i (row) was answered with class j (column), (out, out).

    >>> print(confusion(Network((2, 2), seed=0), np.zeros((4, 2)), np.array([0, 0, 0, 1])))
    [[3 0]
     [1 0]]
    """
    outputs = len(network.layers[-1].b)
    found = np.zeros((outputs, outputs), np.int64)
    np.add.at(found, (target, network.probabilities(x).argmax(axis=1)), 1)
    return found


def distinct_neurons(network: Network) -> Sequence[int]:
    """How many neurons of each layer differ from one another in weights and bias.

    Neurons that begin alike receive like gradients and stay alike: from zero weights a hidden layer has one neuron's power
    however wide it is. That symmetry is what a random initialisation breaks.

    >>> network = Network((2, 8, 2), "tanh", initialisation="zero")
    >>> x, y = np.array([[0.0, 1.0], [1.0, 1.0]]), np.array([0, 1])
    >>> _ = train(network, x, y, epochs=50)
    >>> distinct_neurons(network)[0]
    1
    """
    return [len(np.unique(np.vstack([layer.W, layer.b]), axis=1).T) for layer in network.layers]
