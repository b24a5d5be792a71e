# SPDX-License-Identifier: Apache-2.0
"""One output for two questions about the same images, and another wherever anything differs."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from pellucid._once import once


class Counted(nn.Module):
    """x + a number, which counts its calls."""

    def __init__(self) -> None:
        super().__init__()
        self.shift = nn.Parameter(torch.ones(1))
        self.calls = 0

    def forward(self, images: Tensor, more: float = 0.0) -> Tensor:
        self.calls += 1
        return images @ torch.eye(2) * self.shift + more


def test_the_same_tensor_is_answered_once() -> None:
    model, images = Counted().eval(), torch.ones(3, 2)
    with once(model), torch.no_grad():
        answers = [model(images) for _ in range(3)]
    assert model.calls == 1 and all(answer is answers[0] for answer in answers)
    with torch.no_grad():
        model(images)
    assert model.calls == 2 and "forward" not in vars(model)  # and nothing is left behind


@pytest.mark.parametrize("change", ["input", "output", "format", "gradients", "training", "arguments"])
def test_whatever_differs_is_computed(change: str) -> None:
    model, images = Counted().eval(), torch.ones(3, 2)
    with once(model), torch.no_grad():
        first = model(images)
        kept: Any = first.clone()
        if change == "input":
            images.add_(1)
            assert torch.equal(model(images), kept + 1)
        elif change == "output":
            first.zero_()
            assert torch.equal(model(images), kept)
        elif change == "format":
            with torch.autocast("cpu", torch.bfloat16):
                assert (model(images).dtype, kept.dtype) != (kept.dtype, torch.bfloat16)
        elif change == "gradients":
            with torch.enable_grad():
                assert model(images).requires_grad
        elif change == "training":
            model.train()
            model(images)
        else:
            assert torch.equal(model(images, more=1.0), kept + 1)
    assert model.calls == 2


def test_a_fault_leaves_the_model_as_it_was() -> None:
    model = Counted().eval()
    with pytest.raises(RuntimeError), once(model):
        model(torch.ones(3, 5))
    assert "forward" not in vars(model)


def test_validation_asks_a_classifier_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """The losses and measures are those that two computations give."""
    import contextlib

    from pellucid import inference
    from pellucid.training.plan import Plan
    from pellucid.training.state import State

    state = State.begin(Plan.of("classify", "digits", "mlp", {"device": "cpu"}))
    counted: list[int] = []
    layers: Any = state.model.layers
    plain = layers.forward

    def counting(images: Tensor) -> Any:  # a hook would have each output computed
        counted.append(1)
        return plain(images)

    monkeypatch.setattr(layers, "forward", counting)
    results = []
    for twice in (False, True):
        if twice:
            monkeypatch.setattr(inference, "once", lambda model: contextlib.nullcontext())
        batches = state.feed.validation()
        assert batches is not None
        counted.clear()
        records, losses = inference.measure(state.plan.task, state.model, batches, seed=0, with_loss=True)
        assert len(counted) == (1 + twice) * state.feed.validation_batches
        results.append((losses, {name: column.tolist() for name, column in records.items()}))
    assert results[0] == results[1]


def test_what_passes_through_a_part_is_caught_each_time() -> None:
    model, images, caught = nn.Sequential(nn.Linear(2, 2), nn.ReLU()).eval(), torch.ones(3, 2), list[Tensor]()
    with once(model), torch.no_grad():
        model(images)
        hook = model[0].register_forward_hook(lambda _, __, output: caught.append(output))
        model(images)
        hook.remove()
        model(images)
    assert len(caught) == 1
