# SPDX-License-Identifier: Apache-2.0
"""What is checked before anything is written, the batches that follow from it, and the folder that is written to."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from pellucid.errors import DataError, RunError, UsageError
from pellucid.run import Run
from pellucid.training import plan as plans
from pellucid.training.feed import Feed
from pellucid.training.folder import Folder
from pellucid.training.plan import Plan
from pellucid.training.recipe import Recipe
from pellucid.training.state import State

SMALL: dict[str, Any] = {"hidden": (16,), "limit": 200, "batch_size": 64, "epochs": 2, "device": "cpu"}


def plan(**options: Any) -> Plan:
    return Plan.of("classify", "digits", "mlp", {**SMALL, **options})


@pytest.fixture(autouse=True)
def _own_random_numbers() -> Any:
    with torch.random.fork_rng():
        yield


def test_a_plan_and_a_state_write_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    made = plan()
    State.begin(made)
    folder = Folder(made, None)
    assert folder.path.parent == Path("runs") and folder.path.name.startswith("classify-digits-mlp-")
    assert not folder.finished and not folder.resumable
    assert list(tmp_path.iterdir()) == []


def test_equal_requests_find_the_same_folder_and_others_another() -> None:
    assert plan().place == plan().place
    assert plan().place != plan(lr=0.5).place
    # a list is what JSON makes of a tuple
    assert plan(hidden=[16]).identity == plan().identity


def test_an_epoch_shows_each_image_once_and_the_next_in_another_order() -> None:
    made = plan()
    feed = Feed(made)
    epochs = [
        torch.cat([feed.batch(epoch * made.steps_per_epoch + step)[0].index for step in range(made.steps_per_epoch)])
        for epoch in range(2)
    ]
    assert made.steps_per_epoch == 200 // 64 and made.steps == 2 * made.steps_per_epoch
    assert all(len(seen.unique()) == len(seen) == 3 * 64 for seen in epochs)
    assert not torch.equal(*epochs)


def test_processes_take_parts_of_the_batch_that_one_process_sees() -> None:
    made = plan()
    whole, draws = Feed(made).batch(4)
    noise = draws.normal(3)
    parts = [Feed(dataclasses.replace(made, rows=slice(start, start + 32))).batch(4) for start in (0, 32)]
    assert torch.equal(torch.cat([batch.images for batch, _ in parts]), whole.images)
    assert torch.equal(torch.cat([own.normal(3) for _, own in parts]), noise)


@pytest.mark.parametrize(
    ("images", "batch_size", "world", "expected"),
    [
        (1000, 128, 1, (128, [slice(0, 128)])),
        (1000, 128, 2, (128, [slice(0, 64), slice(64, 128)])),
        (101, 128, 2, (100, [slice(0, 50), slice(50, 100)])),  # fewer images than a batch: an even number of them
        (5, 128, 4, (4, [slice(0, 1), slice(1, 2), slice(2, 3), slice(3, 4)])),
    ],
)
def test_the_batch_is_divided_evenly(
    images: int, batch_size: int, world: int, expected: tuple[int, list[slice]]
) -> None:
    recipe = Recipe(batch_size=batch_size)
    found = [
        plans._division(images, recipe, SimpleNamespace(num_processes=world, process_index=place))  # type: ignore[arg-type]
        for place in range(world)
    ]
    assert found == [(expected[0], rows) for rows in expected[1]]


def test_several_players_share_each_part_of_a_batch() -> None:
    """Of a part that a player takes, such as the first half, every process has its share."""
    recipe, processes = (
        Recipe(batch_size=12),
        [SimpleNamespace(num_processes=3, process_index=place) for place in range(3)],
    )
    rows = [plans._division(1000, recipe, one, several=True)[1] for one in processes]  # type: ignore[arg-type]
    images = range(12)
    assert sorted(image for own in rows for image in images[own]) == [*images]
    assert sorted(image for own in rows for image in [*images[own]][:2]) == [*range(6)]


@pytest.mark.parametrize(("images", "batch_size", "world"), [(1000, 127, 2), (1, 128, 2)])
def test_a_batch_that_does_not_divide_is_refused(images: int, batch_size: int, world: int) -> None:
    processes: Any = SimpleNamespace(num_processes=world, process_index=0)
    with pytest.raises(UsageError, match=rf"batch_size={batch_size}: cannot be divided evenly over {world} processes"):
        plans._division(images, Recipe(batch_size=batch_size), processes)


def test_without_training_images_there_is_no_plan() -> None:
    whole = plan().dataset
    empty = whole.replace(splits={**whole.splits, "train": whole.splits["train"].select([])})
    with pytest.raises(DataError, match="the train split is empty; give at least one training image"):
        Plan.of("classify", empty, "mlp", SMALL)


def test_limit_draws_by_seed() -> None:
    chosen = [[*map(str, plan(limit=50, seed=seed).train.names)] for seed in (0, 0, 1)]
    assert len(chosen[0]) == 50 and chosen[0] == chosen[1] != chosen[2]


def test_a_folder_is_trained_in_by_one_process(tmp_path: Path) -> None:
    made = plan()
    state = State.begin(made)
    with Folder(made, tmp_path / "run").open(state):
        before = (tmp_path / "run" / "run.json").read_bytes()
        with (
            pytest.raises(RunError, match="another process is training it now; wait for it, or name another folder"),
            Folder(made, tmp_path / "run").open(State.begin(made)),
        ):
            pass
        assert (tmp_path / "run" / "run.json").read_bytes() == before
    with Folder(made, tmp_path / "run").open(State.begin(made)):  # the lock is free again
        assert Run(tmp_path / "run").status == "running"


def test_the_lock_is_free_after_an_exception(tmp_path: Path) -> None:
    made = plan()
    with pytest.raises(KeyboardInterrupt), Folder(made, tmp_path / "run").open(State.begin(made)):
        raise KeyboardInterrupt
    with Folder(made, tmp_path / "run").open(State.begin(made)):
        pass


def test_a_state_that_was_saved_is_the_one_that_is_resumed(tmp_path: Path) -> None:
    made = plan()
    state, folder = State.begin(made), Folder(made, tmp_path / "run")
    with folder.open(state):
        state.step, state.best = 3, {"step": 3, "epoch": 1, "measure": "accuracy", "value": 0.5}
        folder.keep_best(state)
        folder.save(state)
    again = Folder(made, tmp_path / "run")
    assert again.resumable and not again.finished
    resumed = State.begin(made, fresh=False)
    with again.open(resumed):
        assert (resumed.step, resumed.saved, resumed.best) == (3, 3, state.best)
        assert Run(tmp_path / "run").info["best"] == state.best
        assert Run(tmp_path / "run").info["started"] == folder.record["started"]  # type: ignore[index]
