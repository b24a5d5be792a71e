# SPDX-License-Identifier: Apache-2.0
"""Training of the dense network: mini-batches, an optimiser, learning curves, results on held-out images."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pellucid.errors import DataError, UsageError
from pellucid.worked.network.activations import Array
from pellucid.worked.network.network import Network
from pellucid.worked.network.optimisers import make_optimiser

__all__ = ["History", "accuracy", "confusion", "distinct_neurons", "train"]


@dataclass
class History:
    """The learning curves, and the weights of the first layer before and after training.

    Args:
        first_before: W_1 before the first step, (in, out).
        first_after: W_1 after the last step.
        loss: the mean of J over the batches of each epoch, while the weights change.
        accuracy: on the training images after each epoch, if the targets are classes; in [0, 1].
        held_out_loss: J on the held-out images after each epoch.
        held_out_accuracy: on the held-out images after each epoch.
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
    optimiser: str = "sgd",
    held_out: tuple[Array, NDArray[Any]] | None = None,
    seed: int = 0,
    measure: bool = True,
) -> History:
    """Train a network on mini-batches, in a new random order each epoch.

    >>> x = np.array([[0, 0], [0, 1], [1, 0], [1, 1]], dtype=float)
    >>> xor = Network((2, 8, 2), "tanh", seed=1)
    >>> history = train(xor, x, np.array([0, 1, 1, 0]), epochs=200, batch_size=4, rate=0.5)
    >>> history.accuracy[-1]
    1.0

    Args:
        network: updated in place.
        x: images as rows, (N, in), float.
        target: class numbers (N,), or values (N, out).
        epochs: passes over all images.
        batch_size: images per step; the last batch of an epoch may be smaller.
        rate: the learning rate λ.
        optimiser: `sgd`, `momentum`, `nesterov` or `adam`.
        held_out: images and targets for measuring only, after each epoch.
        seed: of the order.
        measure: compute the accuracy and the held-out results after each epoch.

    Raises:
        UsageError: epochs, a batch size or a rate that is not positive.
        DataError: images or targets that do not fit the network.
    """
    if epochs < 1 or batch_size < 1:
        raise UsageError(f"epochs={epochs}, batch_size={batch_size}: both must be at least 1; give 1 or more.")
    if len(x) != len(target):
        raise DataError(f"len(target)={len(target)}: there are {len(x)} images; give one target for each.")
    random = np.random.default_rng(seed)
    parameters, gradients = [*network.parameters.values()], [*network.gradients.values()]
    rule = make_optimiser(optimiser, parameters, gradients, rate)
    first = network.layers[0].W  # changes in place during training
    history = History(first.copy(), first)
    size = min(batch_size, len(x))
    # one buffer for all batches: fancy indexing would allocate one a step
    batch = np.empty((size, x.shape[1]), x.dtype)
    for _ in range(epochs):
        # every image once an epoch, in a new order
        order, total = random.permutation(len(x)), 0.0
        for start in range(0, len(x), size):
            chosen = order[start : start + size]
            rows = np.take(x, chosen, axis=0, out=batch[: len(chosen)], mode="clip")  # "raise" would buffer the output
            rule.look_ahead()
            total += network.gradient(rows, target[chosen]) * len(chosen)  # J is a mean over the batch
            rule.update()
        history.loss.append(total / len(x))
        if measure:
            _measure(network, history, x, target, held_out)
    history.first_after = first.copy()  # later training must not change the history
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
    """The share of images whose largest output is the true class, in [0, 1].

    >>> accuracy(Network((2, 2), seed=0), np.zeros((4, 2)), np.array([0, 0, 0, 1]))
    0.75
    """
    return float((network.probabilities(x).argmax(axis=1) == target).mean())


def confusion(network: Network, x: Array, target: NDArray[Any]) -> NDArray[np.int64]:
    """The confusion matrix, (out, out): how often class i (row) was predicted as class j (column).

    >>> print(confusion(Network((2, 2), seed=0), np.zeros((4, 2)), np.array([0, 0, 0, 1])))
    [[3 0]
     [1 0]]
    """
    outputs = len(network.layers[-1].b)
    counts = np.zeros((outputs, outputs), np.int64)
    np.add.at(counts, (target, network.probabilities(x).argmax(axis=1)), 1)  # add.at counts repeated pairs
    return counts


def distinct_neurons(network: Network) -> Sequence[int]:
    """The number of different neurons in each layer, compared by weights and bias.

    Neurons that start equal receive equal gradients and stay equal: with zero weights a hidden layer is worth one neuron, however
    wide it is. A random initialisation breaks this symmetry.

    >>> network = Network((2, 8, 2), "tanh", initialisation="zero")
    >>> x, y = np.array([[0.0, 1.0], [1.0, 1.0]]), np.array([0, 1])
    >>> _ = train(network, x, y, epochs=50)
    >>> distinct_neurons(network)[0]
    1
    """
    # a column of (in + 1, out) is one neuron with its bias
    return [len(np.unique(np.vstack([layer.W, layer.b]), axis=1).T) for layer in network.layers]
