# SPDX-License-Identifier: Apache-2.0
"""Loss functions of a dense network: J and δ = ∂J/∂z at its output, computed together."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pellucid.errors import DataError
from pellucid.worked.network.activations import ACTIVATIONS, Array, softmax

__all__ = ["OBJECTIVES", "Objective"]


@dataclass(frozen=True)
class Objective:
    """A loss and the activation that belongs to it.

    >>> J, delta = OBJECTIVES["cross_entropy"].value_and_delta(np.array([[0.0, 0.0]]), np.array([1]))
    >>> print(round(J, 4), delta)
    0.6931 [[ 0.5 -0.5]]

    Args:
        name: its name.
        predict: the network's prediction from the last layer's output z, overwriting z.
        value_and_delta: (z, y) ↦ (J, ∂J/∂z), the second overwriting z; z is (n, out), J the mean over the n samples.
        classes: whether the targets are class numbers, (n,), rather than values, (n, out).
    """

    name: str
    predict: Callable[[Array], Array]
    value_and_delta: Callable[[Array, NDArray[Any]], tuple[float, Array]]
    classes: bool = False

    def checked(self, target: NDArray[Any], samples: int, outputs: int, dtype: np.dtype[np.floating]) -> NDArray[Any]:
        """The targets in the type that the loss needs.

        Raises:
            DataError: targets that do not fit the batch or the loss.
        """
        y = np.asarray(target)
        wanted = (samples,) if self.classes else (samples, outputs)
        if y.shape != wanted:
            raise DataError(f"target.shape={y.shape}: {self.name} of {samples} samples needs {wanted}; reshape it.")
        if self.classes:
            if not np.issubdtype(y.dtype, np.integer):
                raise DataError(f"target.dtype={y.dtype}: {self.name} needs class numbers; give integers.")
            if y.min() < 0 or y.max() >= outputs:
                raise DataError(f"target={y.min()}…{y.max()}: the classes are 0 to {outputs - 1}; widen the output.")
            return y
        if self.name == "binary_cross_entropy" and not ((y == 0) | (y == 1)).all():
            raise DataError(f"target={y.min()}…{y.max()}: binary_cross_entropy needs zeros and ones; give these.")
        return y.astype(dtype, copy=False)


def _cross_entropy(z: Array, y: NDArray[Any]) -> tuple[float, Array]:
    """J = −1/n Σ log p_y with p = softmax(z); δ = (p − y)/n with y one-hot."""
    n, true = len(z), (np.arange(len(z)), y)
    z -= z.max(axis=1, keepdims=True)  # (n, out); softmax is unchanged by the shift
    z_true = z[true].sum()
    p = np.exp(z, out=z)
    total = p.sum(axis=1, keepdims=True)
    # log-sum-exp, −log p_y = log Σ exp z − z_y: finite even if p_y underflows
    J = (np.log(total).sum() - z_true) / n
    p /= total * n  # p/n
    p[true] -= 1 / n
    return float(J), p


def _binary_cross_entropy(z: Array, y: NDArray[Any]) -> tuple[float, Array]:
    """J = −1/n Σ [y log a + (1 − y) log(1 − a)] with a = σ(z); δ = (a − y)/n."""
    # log(1 + e^z) − y·z is the same sum, without log 0
    J = (np.logaddexp(0, z) - y * z).sum() / len(z)
    delta = ACTIVATIONS["sigmoid"].apply(z)
    delta -= y
    delta *= 1 / len(z)
    return float(J), delta


def _squared_error(a: Array, y: NDArray[Any]) -> tuple[float, Array]:
    """J = 1/n Σ (a − y)²; ∂J/∂a = 2(a − y)/n."""
    a -= y  # (n, out)
    J = np.vdot(a, a) / len(a)  # the sum of all squares in one pass
    a *= 2 / len(a)
    return float(J), a


OBJECTIVES = {
    one.name: one
    for one in (
        Objective("cross_entropy", softmax, _cross_entropy, classes=True),
        Objective("binary_cross_entropy", ACTIVATIONS["sigmoid"].apply, _binary_cross_entropy),
        Objective("squared_error", lambda a: a, _squared_error),
    )
}
"""The losses by name; the cross-entropies include their activation, softmax or sigmoid."""
