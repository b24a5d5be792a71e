# SPDX-License-Identifier: Apache-2.0
"""What `pellucid train TASK` alone gives: the task's example, with a budget of its own, ahead of every simpler answer."""

from __future__ import annotations

from pathlib import Path

import pytest

import pellucid
from pellucid import _catalog
from pellucid.reporting.headline import headline
from pellucid.training.plan import Plan
from pellucid.training.settings import Settings


def test_the_budget_is_for_the_example_alone_and_gives_way_to_options() -> None:
    own, given = Plan.of("classify", None, None, {}), Plan.of("classify", "digits", None, {})
    assert (own.dataset.name, own.recipe.epochs, own.recipe.batch_size) == ("glyphs", 4, 64)
    assert (given.dataset.name, given.recipe.epochs, given.recipe.batch_size) == ("digits", 10, 128)
    assert Plan.of("classify", None, None, {"epochs": 1}).recipe.epochs == 1


def test_the_recorded_command_repeats_the_budget() -> None:
    plan = Plan.of("denoise", None, None, {})
    command = plan.settings.command(plan.dataset.name, "runs/x")
    assert "--data glyphs" in command and "--epochs 2" in command and "--batch-size 32" in command
    assert Settings.of("denoise", None, {"epochs": 2, "batch_size": 32}).recipe == plan.recipe


@pytest.mark.slow
@pytest.mark.parametrize("task", _catalog.names("tasks"))
def test_the_plain_command_is_ahead_of_every_simpler_answer(task: str, tmp_path: Path) -> None:
    run = pellucid.train(task, out=tmp_path / "run", progress=False)
    found = headline(run, pellucid.evaluate(run))
    assert found.verdict == "ahead", found.words
