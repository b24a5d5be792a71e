# SPDX-License-Identifier: Apache-2.0
"""What `pellucid train TASK` alone gives: the task's example, with options of its own, ahead of every simpler answer."""

from __future__ import annotations

from pathlib import Path

import pytest

import pellucid
from pellucid import _catalog
from pellucid.reporting.headline import headline
from pellucid.training.plan import Plan
from pellucid.training.settings import Settings


def test_the_example_alone_has_options_of_its_own_and_they_give_way() -> None:
    own = Plan.of("classify", None, None, {})
    assert (own.dataset.name, own.recipe.epochs, own.recipe.batch_size) == ("glyphs", 3, 64)
    given = Settings.of("classify", None, {})
    assert (given.recipe.epochs, given.recipe.batch_size) == (10, 128)
    assert Settings.of("classify", None, {"epochs": 1}, example=True).recipe.epochs == 1


def test_the_recorded_command_repeats_them() -> None:
    own = Settings.of("cluster", None, {}, example=True)
    assert own.command("glyphs", "runs/x") == (
        "pellucid train cluster --data glyphs --model embedding_autoencoder --out runs/x --clusters 36 --epochs 30"
    )
    again = Settings.of("cluster", None, {"clusters": 36, "epochs": 30})
    assert (again.recipe, again.task_options) == (own.recipe, own.task_options)


@pytest.mark.slow
@pytest.mark.parametrize("task", _catalog.names("tasks"))
def test_the_plain_command_is_ahead_of_every_simpler_answer(task: str, tmp_path: Path) -> None:
    run = pellucid.train(task, out=tmp_path / "run", progress=False)
    found = headline(run, pellucid.evaluate(run))
    assert found.verdict == "ahead", found.words
