# SPDX-License-Identifier: Apache-2.0
"""Rates against their closed forms, optimisers against torch's own updates, the average against its definition."""

from __future__ import annotations

import math
from itertools import pairwise

import numpy as np
import pytest
import torch
from torch import nn

from pellucid.errors import UsageError
from pellucid.training.average import Average
from pellucid.training.recipe import Recipe, computes_bfloat16

STEPS, PER_EPOCH = 100, 10


def rates(recipe: Recipe) -> list[float]:
    return [recipe.rate(step, STEPS, PER_EPOCH) for step in range(STEPS)]


def test_constant_stays() -> None:
    assert set(rates(Recipe(lr=0.5, schedule="constant"))) == {0.5}


def test_step_drops_after_every_period() -> None:
    found = rates(Recipe(lr=1.0, schedule="step", step_every=3, step_factor=0.5))
    assert [found[epoch * PER_EPOCH] for epoch in (0, 2, 3, 6, 9)] == [1.0, 1.0, 0.5, 0.25, 0.125]


def test_cosine_is_torchs() -> None:
    parameter = nn.Parameter(torch.zeros(1))
    optimizer = torch.optim.SGD([parameter], lr=0.3)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, STEPS)
    expected = []
    for _ in range(STEPS):
        expected.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        schedule.step()
    assert rates(Recipe(lr=0.3, schedule="cosine")) == pytest.approx(expected)


def test_one_cycle_rises_for_a_quarter_and_falls_to_a_thousandth() -> None:
    found = rates(Recipe(lr=1.0))
    assert max(found) == pytest.approx(1.0)
    assert found.index(max(found)) == STEPS // 4 - 1
    assert found[-1] < 0.003
    assert all(a < b for a, b in pairwise(found[:25]))
    assert all(a > b for a, b in pairwise(found[25:]))


@pytest.mark.parametrize("schedule", ["constant", "step", "cosine", "one_cycle"])
def test_warmup_is_linear(schedule: str) -> None:
    found = rates(Recipe(lr=1.0, schedule=schedule, warmup=2))  # type: ignore[arg-type]
    assert found[:20] == pytest.approx([(i + 1) / 20 for i in range(20)])


@pytest.mark.parametrize(
    ("name", "peer"),
    [
        ("sgd", lambda p: torch.optim.SGD(p, lr=0.1)),
        ("momentum", lambda p: torch.optim.SGD(p, lr=0.1, momentum=0.9)),
        ("nesterov", lambda p: torch.optim.SGD(p, lr=0.1, momentum=0.9, nesterov=True)),
        ("adam", lambda p: torch.optim.Adam(p, lr=0.1)),
        ("adamw", lambda p: torch.optim.AdamW(p, lr=0.1, weight_decay=0.0)),
    ],
)
def test_optimisers_are_torchs(name: str, peer: object) -> None:
    torch.manual_seed(0)
    mine, its = nn.Linear(3, 2), nn.Linear(3, 2)
    its.load_state_dict(mine.state_dict())
    ours = Recipe(lr=0.1, optimizer=name, weight_decay=0.0).make_optimizer(mine)  # type: ignore[arg-type]
    theirs = peer(its.parameters())  # type: ignore[operator]
    for _ in range(4):
        images = torch.randn(5, 3)
        for model, optimizer in ((mine, ours), (its, theirs)):
            optimizer.zero_grad()
            model(images).square().mean().backward()
            optimizer.step()
    torch.testing.assert_close(mine.weight, its.weight)


def test_biases_and_norms_do_not_decay() -> None:
    model = nn.Sequential(nn.Linear(2, 2), nn.BatchNorm1d(2))
    for parameter in model.parameters():
        nn.init.ones_(parameter)
    optimizer = Recipe(lr=0.1, optimizer="adamw", weight_decay=0.5).make_optimizer(model)
    for parameter in model.parameters():
        parameter.grad = torch.zeros_like(parameter)
    optimizer.step()
    assert torch.allclose(model[0].weight, torch.tensor(0.95))
    assert all(torch.equal(p, torch.ones_like(p)) for p in (model[0].bias, model[1].weight, model[1].bias))


def test_a_frozen_whole_has_nothing_to_train() -> None:
    with pytest.raises(UsageError, match="leaves nothing to train"):
        Recipe().make_optimizer(nn.Linear(2, 2).requires_grad_(False))


def test_the_average_is_the_exponential_one_and_copies_buffers() -> None:
    model = nn.BatchNorm1d(1)
    average = Average(model, decay=0.75)
    values = (2.0, 5.0, -1.0)
    for step, value in enumerate(values, start=1):
        nn.init.constant_(model.weight, value)
        assert model.running_mean is not None
        model.running_mean.fill_(value)
        average.update(model, step)
    # each step counts 0.75 of the one after it, and what the training began with counts nothing
    expected = np.average(values, weights=[0.75**2, 0.75, 1])
    assert average.model.weight.item() == pytest.approx(expected)  # type: ignore[union-attr,operator]
    assert average.model.running_mean.item() == -1.0  # type: ignore[union-attr,operator]


def test_precision_follows_what_the_machine_does_well() -> None:
    dense, convolutional, cpu = nn.Linear(2, 2), nn.Conv2d(1, 1, 3), torch.device("cpu")
    assert not Recipe().bfloat16(dense, cpu)
    assert Recipe().bfloat16(convolutional, cpu) == computes_bfloat16(cpu)
    assert Recipe(precision="bf16").bfloat16(dense, cpu)
    assert not Recipe(precision="fp32").bfloat16(convolutional, cpu)


@pytest.mark.parametrize(
    ("capability", "amx", "avx512_bf16", "channels_last", "bf16"),
    [
        ("AVX2", False, False, False, False),
        ("AVX512", False, False, True, False),
        ("AVX512", False, True, True, True),
        ("AVX512", True, False, True, True),
        ("DEFAULT", False, False, False, False),
        ("AVX2", True, True, False, False),  # the processor could, and torch's kernels were limited
    ],
)
def test_layout_and_precision_follow_the_instruction_sets_that_torch_uses(
    monkeypatch: pytest.MonkeyPatch, capability: str, amx: bool, avx512_bf16: bool, channels_last: bool, bf16: bool
) -> None:
    monkeypatch.setattr(torch.backends.cpu, "get_cpu_capability", lambda: capability)
    monkeypatch.setattr(torch.cpu, "_is_amx_tile_supported", lambda: amx)
    monkeypatch.setattr(torch.cpu, "_is_avx512_bf16_supported", lambda: avx512_bf16)
    cpu, dense, convolutional = torch.device("cpu"), nn.Linear(2, 2), nn.Conv2d(1, 1, 3)
    layout = {True: torch.channels_last, False: torch.contiguous_format}
    assert Recipe().memory_format(convolutional, cpu) == layout[channels_last]
    assert Recipe().bfloat16(convolutional, cpu) == bf16
    assert Recipe().memory_format(dense, cpu) == torch.contiguous_format
    assert Recipe().memory_format(convolutional, torch.device("cuda")) == torch.channels_last
    for forced in (True, False):
        assert Recipe(channels_last=forced).memory_format(convolutional, cpu) == layout[forced]


@pytest.mark.parametrize(
    "bad", [{"lr": 0.0}, {"lr": math.inf}, {"ema": 1.0}, {"batch_size": 0}, {"patience": 0}, {"schedule": "linear"}]
)
def test_bad_values_say_the_rule(bad: dict[str, object]) -> None:
    (name, value), *_ = bad.items()
    with pytest.raises(UsageError, match=rf"^{name}={value!r}: .*; "):
        Recipe(**bad)  # type: ignore[arg-type]
