# SPDX-License-Identifier: Apache-2.0
"""A dense network of any depth in NumPy: the lecture's equations, one line each.

    forward    z = aW + b,   a ← f(z)                          a: (n, in), W: (in, out), b: (out,), z: (n, out)
    output     p = softmax(z),   J = −1/n Σ log p[target]
    backward   δ = (p − y)/n                                   softmax with cross-entropy at the output, y one-hot
               ∂J/∂W = aᵀδ,   ∂J/∂b = Σ δ,   δ ← δWᵀ · f′(z)   layer by layer, the last first

Every array that a step needs is allocated once and reused by the next: at these sizes allocation costs more than the arithmetic.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from pellucid.errors import DataError, UnknownNameError, UsageError
from pellucid.worked.network.activations import Array, activation
from pellucid.worked.network.objectives import OBJECTIVES

__all__ = ["INITIALISATIONS", "Dense", "Network"]

INITIALISATIONS = ("zero", "uniform", "xavier", "he")
"""The initialisations of the weights; the biases start at 0."""

Initialisation = Literal["zero", "uniform", "xavier", "he"]
Loss = Literal["cross_entropy", "binary_cross_entropy", "squared_error"]


class Dense:
    """One layer, a ← f(aW + b), which keeps what its backward pass needs.

    >>> layer = Dense(np.array([[1.0, 2.0], [3.0, 4.0]]), np.array([0.5, -9.0]), "relu")
    >>> print(layer.forward(np.array([[1.0, 1.0]])))
    [[4.5 0. ]]

    Args:
        W: the weights, (in, out); column j belongs to neuron j.
        b: the biases, (out,).
        f: the name of the activation, one of `pellucid.worked.network.activations.ACTIVATIONS`.
    """

    def __init__(self, W: Array, b: Array, f: str) -> None:
        self.W, self.b, self.f = W, b, activation(f)
        self.dW, self.db = np.zeros_like(W), np.zeros_like(b)
        self.x: Array = np.empty((0, W.shape[0]), W.dtype)
        self._z = np.empty((0, W.shape[1]), W.dtype)  # buffers, allocated for a batch size and reused
        self._delta = np.empty((0, W.shape[0]), W.dtype)

    def forward(self, x: Array) -> Array:
        """f(xW + b) of a batch, (n, in) -> (n, out); the next call overwrites the returned array."""
        self.x = x
        if len(self._z) != len(x):
            self._z = np.empty((len(x), self.W.shape[1]), self.W.dtype)
        z = np.matmul(x, self.W, out=self._z)  # (n, in)(in, out)
        z += self.b
        return self.f.apply(z)

    def parameter_gradients(self, delta: Array) -> None:
        """∂J/∂W = xᵀδ and ∂J/∂b = Σ δ from δ = ∂J/∂z, (n, out)."""
        np.matmul(self.x.T, delta, out=self.dW)  # (in, n)(n, out)
        np.sum(delta, axis=0, out=self.db)

    def input_gradient(self, delta: Array) -> Array:
        """∂J/∂x = δWᵀ, (n, in), for the layer below."""
        if len(self._delta) != len(delta):  # the last batch of an epoch may be smaller
            self._delta = np.empty((len(delta), self.W.shape[0]), self.W.dtype)
        return np.matmul(delta, self.W.T, out=self._delta)


class Network:
    """A dense network: widths, an activation for each layer, a loss.

    >>> network = Network((2, 3, 2), "tanh", seed=0)
    >>> x, target = np.array([[1.0, 2.0], [0.0, 1.0]]), np.array([0, 1])
    >>> print(network.probabilities(x).sum(axis=1))
    [1. 1.]
    >>> before = network.step(x, target, rate=0.5)
    >>> network.loss(x, target) < before
    True

    Args:
        widths: numbers of inputs, of neurons in each hidden layer, and of outputs.
        hidden: the activation of the hidden layers, one name for all or one for each.
        output: the activation of the last layer; leave it out with a cross-entropy, which includes its own.
        loss: `cross_entropy` (softmax; targets are class numbers), `binary_cross_entropy` (sigmoid; targets 0 or 1) or
            `squared_error` (Σ over outputs of (a − y)², mean over the samples).
        initialisation: of the weights: `zero`; `uniform` in ±1/√in; `xavier`, uniform in ±√(6/(in + out)) (Glorot and Bengio
            2010, eq. 16); `he`, normal with variance 2/in (He et al. 2015, eq. 10).
        dtype: of weights, activations and gradients.
        seed: of the initialisation.

    Raises:
        UsageError: impossible widths, or activations that do not fit.
        UnknownNameError: no such activation, loss or initialisation.
    """

    def __init__(
        self,
        widths: Sequence[int],
        hidden: str | Sequence[str] = "relu",
        *,
        output: str = "identity",
        loss: Loss = "cross_entropy",
        initialisation: Initialisation = "he",
        dtype: type[np.floating] = np.float64,
        seed: int = 0,
    ) -> None:
        if len(widths) < 2 or min(widths) < 1:
            raise UsageError(
                f"widths={tuple(widths)}: must be two or more numbers of at least 1; give at least inputs and outputs."
            )
        if loss not in OBJECTIVES:
            raise UnknownNameError("loss", loss, OBJECTIVES)
        if loss != "squared_error" and output != "identity":
            raise UsageError(
                f"output={output!r}: {loss} includes its own activation; leave output out or use squared_error."
            )
        names = [hidden] * (len(widths) - 2) if isinstance(hidden, str) else [*hidden]
        if len(names) != len(widths) - 2:
            raise UsageError(
                f"hidden={names}: widths={tuple(widths)} has {len(widths) - 2} hidden layers; name one for each."
            )
        random = np.random.default_rng(seed)  # a generator of its own: the global one stays untouched
        self.objective = OBJECTIVES[loss]
        self.layers = [
            Dense(
                _initial_weights(initialisation, fan_in, fan_out, random).astype(dtype), np.zeros(fan_out, dtype), name
            )
            for fan_in, fan_out, name in zip(widths, widths[1:], [*names, output], strict=False)
        ]

    @property
    def parameters(self) -> dict[str, Array]:
        """W_1, b_1, W_2, …: the arrays themselves, so writing to one changes the network."""
        layers = enumerate(self.layers, 1)
        return {name: array for n, layer in layers for name, array in ((f"W_{n}", layer.W), (f"b_{n}", layer.b))}

    @property
    def gradients(self) -> dict[str, Array]:
        """∂J/∂W_1, ∂J/∂b_1, … of the last backward pass."""
        layers = enumerate(self.layers, 1)
        return {name: array for n, layer in layers for name, array in ((f"W_{n}", layer.dW), (f"b_{n}", layer.db))}

    def forward(self, x: Array) -> Array:
        """The output of the last layer, (n, out), before the softmax or sigmoid of a cross-entropy."""
        a = x
        for layer in self.layers:
            a = layer.forward(a)
        return a

    def probabilities(self, x: Array) -> Array:
        """The predictions, (n, out), after the softmax or sigmoid of a cross-entropy; a new array."""
        return self.objective.predict(self.forward(self._checked(x))).copy()

    def loss(self, x: Array, target: NDArray[Any]) -> float:
        """J, the mean of the loss over the samples."""
        z = self.forward(self._checked(x))
        return self.objective.value_and_delta(z, self._targets(target, len(x)))[0]

    def gradient(self, x: Array, target: NDArray[Any]) -> float:
        """Forward and backward pass: returns J, and leaves ∂J/∂W and ∂J/∂b in `gradients`.

        Raises:
            DataError: x or target does not fit the network.
        """
        x = self._checked(x)
        y = self._targets(target, len(x))
        z = self.forward(x)
        last = self.layers[-1]
        # the loss overwrites the output, which f′ of the last layer still needs
        a = z if last.f.name == "identity" else z.copy()
        J, delta = self.objective.value_and_delta(z, y)  # δ is (n, out)
        delta = last.f.backward(delta, a)
        for layer, below in zip(self.layers[::-1], self.layers[-2::-1], strict=False):
            layer.parameter_gradients(delta)
            # δ ← δWᵀ · f′(z), where layer.x = f(z) is the output of the layer below
            delta = below.f.backward(layer.input_gradient(delta), layer.x)
        self.layers[0].parameter_gradients(delta)
        return J

    def step(self, x: Array, target: NDArray[Any], rate: float) -> float:
        """One step of gradient descent, W ← W − λ ∂J/∂W; returns J before the step.

        Args:
            x: a batch, (n, in).
            target: class numbers (n,), or values (n, out).
            rate: λ.
        """
        J = self.gradient(x, target)
        for layer in self.layers:
            for parameter, derivative in ((layer.W, layer.dW), (layer.b, layer.db)):
                derivative *= -rate  # in place: the gradient is not needed after the step
                parameter += derivative
        return J

    def _checked(self, x: Array) -> Array:
        """A batch in the network's own precision: float64 images would make a float32 network compute in float64."""
        W = self.layers[0].W
        if x.ndim != 2 or x.shape[1] != len(W) or not len(x):
            raise DataError(f"x.shape={x.shape}: the network needs (n, {len(W)}); flatten each image to a row.")
        return x if x.dtype == W.dtype else x.astype(W.dtype)

    def _targets(self, target: NDArray[Any], samples: int) -> NDArray[Any]:
        last = self.layers[-1]
        return self.objective.checked(target, samples, len(last.b), last.b.dtype)


def _initial_weights(
    initialisation: str, fan_in: int, fan_out: int, random: np.random.Generator
) -> NDArray[np.float64]:
    """The weights of a layer before training, (in, out)."""
    # the variance that keeps activations or gradients of one size through the layers
    scale = {"zero": 0.0, "uniform": fan_in**-0.5, "xavier": (6 / (fan_in + fan_out)) ** 0.5, "he": (2 / fan_in) ** 0.5}
    if initialisation not in scale:
        raise UnknownNameError("initialisation", initialisation, scale)
    normal = initialisation == "he"
    W = random.standard_normal((fan_in, fan_out)) if normal else random.uniform(-1, 1, (fan_in, fan_out))
    W *= scale[initialisation]
    return W
