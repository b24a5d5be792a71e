# SPDX-License-Identifier: Apache-2.0
"""Filters merged into one: the weights of a chain of layers in which groups of units are joined."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Protocol, TypeVar, runtime_checkable

import torch
from torch import Tensor, nn

__all__ = ["Groups", "Mergeable", "joined", "rebuilt"]

Groups = Mapping[str, Sequence[Sequence[int]]]
M = TypeVar("M", bound=nn.Module)


@runtime_checkable
class Mergeable(Protocol):
    """A model with filters that can be merged."""

    def filters(self) -> dict[str, Tensor]:
        """The weights of each layer whose units can be merged, (units, …), by the layer's name as a submodule."""
        ...

    def merged(self, groups: Groups) -> nn.Module:
        """A smaller model in which each group of units has become one."""
        ...


def joined(layers: nn.Module, groups: Groups, prefix: str, follow: str | None = None) -> dict[str, Tensor]:
    """The weights and biases of a chain of dense and convolutional layers after joining groups of their units.

    A group's weights and bias are the means of its members'; the next layer's weights for the group are the sums of those for
    its members, so that joining identical filters does not change what the chain computes.

    >>> chain = nn.Sequential(nn.Linear(3, 2), nn.ReLU(), nn.Linear(2, 1))
    >>> with torch.no_grad():
    ...     _ = chain[0].weight[1].copy_(chain[0].weight[0]), chain[0].bias[1].copy_(chain[0].bias[0])
    >>> small = joined(chain, {"a.0": [[0, 1]]}, "a")
    >>> {name: tuple(value.shape) for name, value in small.items()}
    {'a.0.weight': (1, 3), 'a.0.bias': (1,), 'a.2.weight': (1, 1), 'a.2.bias': (1,)}

    Args:
        layers: an `nn.Sequential`; the layers between dense and convolutional ones keep the order of the channels.
        groups: for each layer's name, the units of each group; each unit belongs to one group.
        prefix: prefix of the layers' names.
        follow: if this chain continues another one, the name of the layer whose groups enter it.
    """
    weights: dict[str, Tensor] = {}
    entering = groups.get(follow) if follow is not None else None
    for name, layer in layers.named_children():
        if not isinstance(layer, (nn.Linear, nn.Conv2d)):
            continue
        # (units, inputs) of dense layers, (units, channels, h, w) of convolutions
        weight, title = layer.weight.detach(), f"{prefix}.{name}"
        if entering is not None:
            units = sum(len(group) for group in entering)
            by_unit = weight.reshape(len(weight), units, -1)  # a flattened map has several numbers per channel
            # the merged unit replaces all members, so that its outgoing weight is the sum of theirs
            summed = torch.stack([by_unit[:, list(group)].sum(1) for group in entering], 1)
            weight = summed.reshape(len(weight), -1, *weight.shape[2:])
        bias = None if layer.bias is None else layer.bias.detach()
        leaving = groups.get(title)
        if leaving is not None:
            weight = torch.stack([weight[list(group)].mean(0) for group in leaving])
            bias = None if bias is None else torch.stack([bias[list(group)].mean() for group in leaving])
        weights[f"{title}.weight"] = weight
        if bias is not None:
            weights[f"{title}.bias"] = bias
        entering = leaving
    return weights


def rebuilt(model: M, options: Mapping[str, Any], weights: Mapping[str, Tensor]) -> M:
    """A model with other options and these weights; others come from `model`, without the tensors that a task stored in it."""
    from pellucid.models import _building

    description = {**_building.describe(model), "options": dict(options)}
    made: M = _building.build(description, fetch=False)
    state = {name: value for name, value in model.state_dict().items() if not name.startswith("kept.")}
    made.load_state_dict({**state, **weights})
    return made
