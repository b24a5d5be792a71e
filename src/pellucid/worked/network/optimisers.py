# SPDX-License-Identifier: Apache-2.0
"""Optimisers: gradient descent, momentum, Nesterov's momentum and Adam, each updating its parameters in place.

A training step calls `look_ahead`, computes the gradients, and calls `update`. All arithmetic is in place, and the gradients serve as
scratch memory: allocating arrays would cost more than the arithmetic at these sizes.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Protocol

import numpy as np

from pellucid.errors import UnknownNameError, UsageError
from pellucid.worked.network.activations import Array

__all__ = ["OPTIMISERS", "SGD", "Adam", "Momentum", "Nesterov", "Optimiser", "make_optimiser"]


class Optimiser(Protocol):
    """An update rule for parameters w with gradients g."""

    def look_ahead(self) -> None:
        """Move the parameters to the point where the gradient is needed."""

    def update(self) -> None:
        """Update the parameters; the gradients are overwritten."""


class SGD:
    """w ← w − λg.

    >>> w, g = np.array([1.0]), np.array([0.5])
    >>> SGD([w], [g], rate=0.1).update()
    >>> print(w)
    [0.95]

    Args:
        parameters: the arrays w, updated in place.
        gradients: the arrays g, in the same order.
        rate: λ.
    """

    def __init__(self, parameters: Sequence[Array], gradients: Sequence[Array], rate: float) -> None:
        self.pairs, self.rate = list(zip(parameters, gradients, strict=True)), rate

    def look_ahead(self) -> None:
        """Nothing: the gradient is needed at w."""

    def update(self) -> None:
        for w, g in self.pairs:
            g *= -self.rate  # g becomes the step −λg
            w += g


class Momentum:
    """v ← ρv − λg, w ← w + v (Polyak 1964; Sutskever et al. 2013, eq. 1 and 2).

    >>> w, g = np.array([1.0]), np.array([0.5])
    >>> momentum = Momentum([w], [g], rate=0.1, rho=0.5)
    >>> for _ in range(2):
    ...     g[:] = 0.5
    ...     momentum.update()
    >>> print(w)
    [0.875]
    """

    def __init__(self, parameters: Sequence[Array], gradients: Sequence[Array], rate: float, rho: float = 0.9) -> None:
        self.rate, self.rho = rate, rho
        self.triples = [(w, g, np.zeros_like(w)) for w, g in zip(parameters, gradients, strict=True)]

    def look_ahead(self) -> None:
        """Nothing: the gradient is needed at w."""

    def update(self) -> None:
        for w, g, v in self.triples:
            v *= self.rho
            g *= self.rate  # g becomes λg
            v -= g
            w += v


class Nesterov:
    """v ← ρv − λ g(w + ρv), w ← w + v, with the gradient at the look-ahead point (Nesterov 1983; Sutskever et al. 2013, eq. 3 and 4).

    >>> w, g = np.array([1.0]), np.array([0.0])
    >>> nesterov = Nesterov([w], [g], rate=0.1, rho=0.5)
    >>> for _ in range(2):  # J = w², g = 2w
    ...     nesterov.look_ahead()
    ...     g[:] = 2 * w
    ...     nesterov.update()
    >>> print(w)
    [0.56]
    """

    def __init__(self, parameters: Sequence[Array], gradients: Sequence[Array], rate: float, rho: float = 0.9) -> None:
        self.rate, self.rho = rate, rho
        self.triples = [(w, g, np.zeros_like(w)) for w, g in zip(parameters, gradients, strict=True)]

    def look_ahead(self) -> None:
        for w, _, v in self.triples:
            v *= self.rho
            w += v  # the look-ahead point w + ρv

    def update(self) -> None:
        for w, g, v in self.triples:
            g *= -self.rate
            v += g  # v = ρv − λg
            w += g  # w is at the look-ahead point already: w + ρv − λg = w + v


class Adam:
    """m ← β₁m + (1 − β₁)g, s ← β₂s + (1 − β₂)g², w ← w − λ m̂/(√ŝ + ε) (Kingma and Ba 2015, algorithm 1).

    >>> w, g = np.array([1.0]), np.array([0.5])
    >>> Adam([w], [g], rate=0.1).update()
    >>> print(w.round(6))
    [0.9]
    """

    def __init__(
        self,
        parameters: Sequence[Array],
        gradients: Sequence[Array],
        rate: float,
        beta: tuple[float, float] = (0.9, 0.999),
        epsilon: float = 1e-8,
    ) -> None:
        self.rate, self.beta, self.epsilon, self.t = rate, beta, epsilon, 0
        self.states = [  # w, g, m, s, scratch
            (w, g, np.zeros_like(w), np.zeros_like(w), np.empty_like(w))
            for w, g in zip(parameters, gradients, strict=True)
        ]

    def look_ahead(self) -> None:
        """Nothing: the gradient is needed at w."""

    def update(self) -> None:
        first, second = self.beta
        self.t += 1
        for w, g, m, s, root in self.states:
            # m ← β₁m + (1 − β₁)g
            m *= first
            np.multiply(g, 1 - first, out=root)
            m += root
            # s ← β₂s + (1 − β₂)g²
            s *= second
            np.square(g, out=g)
            g *= 1 - second
            s += g
            # m̂ = m/(1 − β₁ᵗ) and ŝ = s/(1 − β₂ᵗ) correct the bias towards 0, where both start
            np.multiply(s, 1 / (1 - second**self.t), out=root)
            np.sqrt(root, out=root)
            root += self.epsilon
            np.divide(m, root, out=root)
            root *= self.rate / (1 - first**self.t)
            w -= root


OPTIMISERS: dict[str, Callable[[Sequence[Array], Sequence[Array], float], Optimiser]] = {
    "sgd": SGD,
    "momentum": Momentum,
    "nesterov": Nesterov,
    "adam": Adam,
}
"""The optimisers by name."""


def make_optimiser(name: str, parameters: Sequence[Array], gradients: Sequence[Array], rate: float) -> Optimiser:
    """An optimiser by name, for these parameters.

    >>> type(make_optimiser("adam", [], [], 0.001)).__name__
    'Adam'

    Raises:
        UnknownNameError: no optimiser of this name.
        UsageError: a rate that is not positive.
    """
    if name not in OPTIMISERS:
        raise UnknownNameError("optimiser", name, OPTIMISERS)
    if not 0 < rate < float("inf"):
        raise UsageError(f"rate={rate}: must be positive, to step down the gradient; give a number above 0.")
    return OPTIMISERS[name](parameters, gradients, rate)
