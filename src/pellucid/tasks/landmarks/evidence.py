# SPDX-License-Identifier: Apache-2.0
"""The numbers of an output that a lens can follow: how certain a point is of its place, and where it is."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import torch
from torch import Tensor

from pellucid.tasks.landmarks.places import read

__all__ = ["followable", "overall"]

_UNIT = (1, 1)  # a frame in which places are shares of the width and the height


def _certain(output: Tensor) -> Tensor:
    """(B, K): the logarithm of the largest share of each heat map."""
    return output.float().flatten(2).log_softmax(2).amax(2)


def overall(output: Tensor) -> Tensor:
    """(B,): the mean logarithm of the heat maps' largest shares; of numbers, the mean distance of the points from their middle."""
    if output.ndim == 4:
        certain: Tensor = _certain(output).mean(1)
        return certain
    places: Tensor = output.float().unflatten(1, (-1, 2))
    away: Tensor = torch.linalg.vector_norm(places - places.mean(1, keepdim=True), dim=2).mean(1)
    return away


def followable(names: Sequence[str], kind: str) -> Mapping[str, Callable[[Tensor], Tensor]]:
    """For each point: where it is, "NAME x" and "NAME y" in shares of the image's sides; of heat maps also "NAME", how certain it is.

    >>> rules = followable(["tip", "base"], "heatmap")
    >>> list(rules)
    ['tip', 'tip x', 'tip y', 'base', 'base x', 'base y']
    >>> round(float(rules["tip x"](torch.zeros(1, 2, 9, 9))), 4)
    0.5
    """

    def place(point: int, axis: int) -> Callable[[Tensor], Tensor]:
        return lambda output: read(output[:, [point]] if output.ndim == 4 else output, _UNIT)[
            :, 0 if output.ndim == 4 else point, axis
        ]

    def sure(point: int) -> Callable[[Tensor], Tensor]:
        return lambda output: _certain(output[:, [point]])[:, 0]

    rules: dict[str, Callable[[Tensor], Tensor]] = {}
    for point, name in enumerate(names):
        rules |= {name: sure(point)} if kind == "heatmap" else {}
        rules |= {f"{name} x": place(point, 0), f"{name} y": place(point, 1)}
    return rules
