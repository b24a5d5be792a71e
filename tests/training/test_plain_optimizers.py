# SPDX-License-Identifier: Apache-2.0
"""Optimisers without torch's compiler compute what torch's own do."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from pellucid.training.optimizers import plain

KINDS: list[tuple[type[torch.optim.Optimizer], dict[str, Any]]] = [
    (torch.optim.AdamW, {"lr": 0.01, "weight_decay": 0.1, "fused": True}),
    (torch.optim.Adam, {"lr": 0.01, "betas": (0.8, 0.9), "fused": True}),
    (torch.optim.SGD, {"lr": 0.1, "momentum": 0.9, "nesterov": True, "fused": True}),
    (torch.optim.SGD, {"lr": 0.1, "momentum": 0.0, "fused": True}),
]


def trained(kind: type[Any], options: dict[str, Any]) -> tuple[list[Tensor], dict[str, Any], Any]:
    torch.manual_seed(0)
    net = nn.Sequential(nn.Linear(5, 7), nn.Tanh(), nn.Linear(7, 3))
    optimizer: Any = kind(
        [{"params": [net[0].weight]}, {"params": [net[0].bias, *net[2].parameters()], "lr": 0.02}], **options
    )
    for _ in range(5):
        optimizer.zero_grad()
        net(torch.randn(4, 5)).square().sum().backward()
        optimizer.step()
    return [p.detach() for p in net.parameters()], optimizer.state_dict(), optimizer


@pytest.mark.parametrize(("kind", "options"), KINDS, ids=str)
def test_weights_and_states_are_those_of_torch(kind: type[torch.optim.Optimizer], options: dict[str, Any]) -> None:
    (wanted, state, _), (found, own, optimizer) = trained(kind, options), trained(plain(kind), options)
    for one, other in zip(wanted, found, strict=True):
        assert torch.equal(one, other)
    assert state["param_groups"] == own["param_groups"]
    for place, entries in state["state"].items():
        for name, value in entries.items():
            if value is not None:
                assert torch.equal(value, own["state"][place][name]), name
    optimizer.load_state_dict(state)
    assert isinstance(optimizer, kind)
    assert type(optimizer).__name__ == kind.__name__


def test_an_update_is_no_part_of_a_graph() -> None:
    weight = nn.Parameter(torch.ones(2))
    optimizer = plain(torch.optim.SGD)([weight], lr=0.5)
    weight.square().sum().backward()
    optimizer.step()
    assert weight.is_leaf
    assert weight.tolist() == [0.0, 0.0]
    optimizer.zero_grad()
    assert weight.grad is None
    assert torch.is_grad_enabled()
