# SPDX-License-Identifier: Apache-2.0
"""Activation functions, each with its derivative in terms of the output a = f(z)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pellucid.errors import UnknownNameError

__all__ = ["ACTIVATIONS", "Activation", "activation", "softmax"]

Array = NDArray[np.floating]
LEAK = 0.01  # the slope of the leaky ReLU for z < 0, as in PyTorch and in Maas et al. 2013


@dataclass(frozen=True)
class Activation:
    """A function f with a = f(z), and its backward pass; both work in place.

    >>> relu = activation("relu")
    >>> a = relu.apply(np.array([-1.0, 2.0]))
    >>> print(a, relu.backward(np.array([5.0, 5.0]), a))
    [0. 2.] [0. 5.]

    Args:
        name: its name.
        apply: z ↦ f(z), overwriting z.
        backward: (δ, a) ↦ δ · f′(z), overwriting δ; f′ follows from a alone, so z need not be kept.
        formula: f(z) and f′(z) as text.
    """

    name: str
    apply: Callable[[Array], Array]
    backward: Callable[[Array, Array], Array]
    formula: str


def _sigmoid(z: Array) -> Array:
    # σ(z) = (1 + tanh(z/2))/2 cannot overflow, while exp(−z) does for z ≪ 0
    z *= 0.5
    np.tanh(z, out=z)
    z += 1
    z *= 0.5
    return z


def _sigmoid_backward(delta: Array, a: Array) -> Array:
    # δ·a·(1 − a)
    delta *= a
    delta *= 1 - a
    return delta


def _leaky(z: Array) -> Array:
    np.maximum(z, LEAK * z, out=z)
    return z


def _leaky_backward(delta: Array, a: Array) -> Array:
    # a has the sign of z
    return np.multiply(delta, LEAK, out=delta, where=a <= 0)


ACTIVATIONS = {
    one.name: one
    for one in (
        Activation("identity", lambda z: z, lambda delta, a: delta, "f(z) = z, f′(z) = 1"),
        Activation("sigmoid", _sigmoid, _sigmoid_backward, "f(z) = 1/(1 + exp(−z)), f′(z) = a·(1 − a)"),
        Activation(
            "tanh",
            lambda z: np.tanh(z, out=z),
            lambda delta, a: np.multiply(delta, 1 - a * a, out=delta),
            "f(z) = tanh z, f′(z) = 1 − a²",
        ),
        Activation(
            "relu",
            lambda z: np.maximum(z, 0, out=z),
            lambda delta, a: np.multiply(delta, a > 0, out=delta),
            "f(z) = max(0, z), f′(z) = 1 for z > 0, else 0",
        ),
        Activation("leaky_relu", _leaky, _leaky_backward, "f(z) = max(z, 0.01·z), f′(z) = 1 for z > 0, else 0.01"),
    )
}
"""The activations by name; at the kink z = 0 the derivative is that on the left, as in PyTorch."""


def activation(name: str) -> Activation:
    """An activation by name.

    >>> activation("tanh").formula
    'f(z) = tanh z, f′(z) = 1 − a²'

    Raises:
        UnknownNameError: no activation of this name.
    """
    if name not in ACTIVATIONS:
        raise UnknownNameError("activation", name, ACTIVATIONS)
    return ACTIVATIONS[name]


def softmax(z: Array) -> Array:
    """p_j = exp(z_j) / Σ_k exp(z_k) along the last axis, overwriting z.

    >>> print(softmax(np.array([[1000.0, 1000.0]])))
    [[0.5 0.5]]
    """
    z -= z.max(axis=-1, keepdims=True)  # the same result without overflow
    np.exp(z, out=z)
    z /= z.sum(axis=-1, keepdims=True)
    return z
