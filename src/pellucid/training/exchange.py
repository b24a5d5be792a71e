# SPDX-License-Identifier: Apache-2.0
"""What the processes of a training hand each other between steps: decisions, weights, buffers, records."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

import torch
from torch import distributed as group
from torch import nn

__all__ = ["collected", "computed_by_main", "from_main", "hand_out"]

T = TypeVar("T")


def _alone() -> bool:
    return not (group.is_available() and group.is_initialized() and group.get_world_size() > 1)


def from_main(work: Callable[[], T]) -> T:
    """What the first process computes, in all of them: on other processors the last digit may differ, and with it a decision.

    >>> from_main(lambda: 3)
    3
    """
    if _alone():
        return work()
    told: list[Any] = [work() if group.get_rank() == 0 else None]
    group.broadcast_object_list(told, src=0)
    made: T = told[0]
    return made


def collected(own: T) -> list[T]:
    """What each process has, in the first one; an empty list in the others.

    >>> collected("mine")
    ['mine']
    """
    if _alone():
        return [own]
    found: list[Any] | None = [None] * group.get_world_size() if group.get_rank() == 0 else None
    group.gather_object(own, found, dst=0)
    return found or []


@torch.no_grad()
def hand_out(model: nn.Module) -> None:
    """Give all processes the first one's weights and buffers."""
    if _alone():
        return
    for value in model.state_dict().values():
        sent = value.contiguous()
        group.broadcast(sent, src=0)
        value.copy_(sent)


@torch.no_grad()
def computed_by_main(model: nn.Module, work: Callable[[], None]) -> None:
    """Let the first process compute a model's buffers, and give them to all, whatever their number and shapes are by then."""
    if _alone():
        work()
        return
    weights = {name for name, _ in model.named_parameters()}

    def made() -> dict[str, torch.Tensor]:
        work()
        return {name: value.cpu() for name, value in model.state_dict().items() if name not in weights}

    buffers, own = from_main(made), model.state_dict()
    if group.get_rank() > 0:
        device = next(model.parameters()).device
        new = {name: value.to(device) for name, value in buffers.items()}
        model.load_state_dict({**{name: own[name] for name in weights}, **new})
