# SPDX-License-Identifier: Apache-2.0
"""One step against torch's own arithmetic, and against the steps that the loop and the range test take."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from torch.nn import functional as F

from pellucid.lenses import Training
from pellucid.looking import subjects
from pellucid.training.feed import Feed
from pellucid.training.plan import Plan
from pellucid.training.state import State
from pellucid.training.step import Learner, take_step
from pellucid.training.training import train

MLP: dict[str, Any] = {"hidden": (16,), "limit": 256, "batch_size": 64, "device": "cpu"}


def plan(model: str = "mlp", task: str = "classify", **options: Any) -> Plan:
    return Plan.of(task, "digits", model, {**(MLP if model == "mlp" else {"limit": 64, "device": "cpu"}), **options})


def test_a_step_of_gradient_descent_is_minus_the_rate_times_the_gradient() -> None:
    made = plan(optimizer="sgd", weight_decay=0.0)
    state = State.begin(made)
    peer: Any = copy.deepcopy(state.model)
    batch, draws = state.feed.batch(0)
    losses = take_step(state.learner, batch, draws, rate=0.25)[0].losses
    loss = F.cross_entropy(peer(batch.images / 255), batch.targets["label"].index)  # type: ignore[attr-defined]
    gradients = torch.autograd.grad(loss, list(peer.parameters()))
    assert losses["loss"].item() == pytest.approx(loss.item(), rel=1e-6)
    for new, old, gradient in zip(state.model.parameters(), peer.parameters(), gradients, strict=True):
        torch.testing.assert_close(new, old - 0.25 * gradient)


def test_a_clipped_step_is_no_longer_than_the_rate_times_the_bound() -> None:
    made = plan(optimizer="sgd", weight_decay=0.0, clip=0.01)
    state = State.begin(made)
    before = [parameter.detach().clone() for parameter in state.model.parameters()]
    take_step(state.learner, *state.feed.batch(0), rate=0.5)
    moved = [new.detach() - old for new, old in zip(state.model.parameters(), before, strict=True)]
    assert torch.cat([part.flatten() for part in moved]).norm().item() == pytest.approx(0.5 * 0.01, rel=1e-3)


def test_every_player_takes_its_turns_with_its_own_rate() -> None:
    made = plan("gan", "generate", updates=(2, 1), discriminator_rate=0.5)
    state = State.begin(made)
    updates = take_step(state.learner, *state.feed.batch(0), rate=0.008)
    assert [update.player for update in updates] == ["discriminator", "discriminator", "generator"]
    rates = {name: optimizer.param_groups[0]["lr"] for name, optimizer in state.learner.optimizers.items()}
    assert rates == {"discriminator": 0.004, "generator": 0.008}
    assert not any(value.requires_grad for update in updates for value in update.losses.values())


@pytest.mark.parametrize(("task", "model"), [("classify", "mlp"), ("classify", "convnet"), ("denoise", "autoencoder")])
def test_the_range_test_takes_the_steps_of_the_training(tmp_path: Path, task: str, model: str) -> None:
    """At the schedule's rates it ends with the very weights of the training."""
    options = {**(MLP if model == "mlp" else {"limit": 64, "batch_size": 32, "device": "cpu"}), "epochs": 1}
    run = train(task, "digits", model, tmp_path / "run", progress=False, **options)
    begun = Plan.of(task, "digits", model, options)
    with subjects.of_training(task, "digits", model, options) as untrained:
        parts = [subject.part(Training) for subject in (untrained, subjects.of_run(run))]
        trials = [part.start() for part in parts if part is not None]
    assert len(trials) == 2
    trained = load_file(run.path / "last.safetensors")
    for trial in trials:
        assert trial.steps == begun.steps
        losses = [
            trial.step(begun.recipe.rate(step, begun.steps, begun.steps_per_epoch)) for step in range(trial.steps)
        ]
        assert losses == [row["loss"] for row in run.history if row["split"] == "train"]
        assert all(torch.equal(value, trained[name]) for name, value in trial.model.state_dict().items())


def test_a_saved_state_takes_the_steps_that_the_first_one_takes(tmp_path: Path) -> None:
    made = plan(dropout=0.3, ema=0.9, optimizer="momentum")

    def go_on(state: State) -> dict[str, torch.Tensor]:
        for _ in range(2):
            made.seed_torch(state.step)
            take_step(state.learner, *state.feed.batch(state.step), rate=0.05)
            state.step += 1
            assert state.average is not None
            state.average.update(state.model, state.step)
        return {name: value.clone() for name, value in (*state.model.state_dict().items(),)} | {
            f"average/{name}": value.clone() for name, value in state.evaluated.state_dict().items()
        }

    with torch.random.fork_rng():
        first, second = State.begin(made), State.begin(made, fresh=False)
        go_on(first)
        first.save(tmp_path / "state.safetensors")
        second.restore(tmp_path / "state.safetensors")
        assert second.step == second.saved == 2 and second.seconds > 0
        whole, resumed = go_on(first), go_on(second)
    assert whole.keys() == resumed.keys()
    assert all(torch.equal(whole[name], resumed[name]) for name in whole)


def test_a_step_leaves_what_is_not_a_players_alone() -> None:
    made = plan("resnet", frozen=True, size=32, limit=32, batch_size=16)
    learner, feed = Learner(made, made.build()), Feed(made)
    before = {name: value.clone() for name, value in learner.model.state_dict().items()}
    take_step(learner, *feed.batch(0), rate=0.1)
    changed = {name for name, value in learner.model.state_dict().items() if not torch.equal(value, before[name])}
    assert changed == {"head.1.weight", "head.1.bias"}
