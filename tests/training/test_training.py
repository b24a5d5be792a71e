# SPDX-License-Identifier: Apache-2.0
"""The loop: it learns, keeps the best weights, refuses what it cannot do, and agrees over processes."""

from __future__ import annotations

import math
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from pellucid.errors import RunError, TrainingError, UnknownNameError, UsageError
from pellucid.run import Run
from pellucid.training.state import better
from pellucid.training.training import train

SMALL = {"hidden": (16,), "epochs": 3, "limit": 400, "batch_size": 64, "device": "cpu", "progress": False}


def small(out: Path, **changes: object) -> Run:
    return train("classify", "digits", "mlp", out, **{**SMALL, **changes})


def weights(run: Run | Path, name: str = "last.safetensors") -> dict[str, torch.Tensor]:
    return load_file((run.path if isinstance(run, Run) else run) / name)


def same(one: dict[str, torch.Tensor], other: dict[str, torch.Tensor]) -> bool:
    return one.keys() == other.keys() and all(torch.equal(one[name], other[name]) for name in one)


def test_it_learns_and_the_run_tells_everything(tmp_path: Path) -> None:
    run = small(tmp_path / "run", epochs=8, limit=None, hidden=(64,))
    assert run.status == "finished"
    val = [row for row in run.history if row["split"] == "val"]
    assert len(val) == 8 and val[-1]["loss"] < 0.5 * val[0]["loss"]
    assert val[-1]["accuracy"] > 0.85
    train_rows = [row for row in run.history if row["split"] == "train"]
    assert {"step", "epoch", "loss", "learning_rate", "seconds"} <= train_rows[0].keys()
    assert run.info["best"]["value"] == max(row["accuracy"] for row in val)
    assert run.info["environment"]["threads"] == torch.get_num_threads()
    assert run.info["command"].startswith("pellucid train classify --data digits --model mlp")
    assert sorted(file.name for file in run.path.iterdir()) == [
        "figures", "history.jsonl", "last.safetensors", "run.json", "state", "weights.safetensors",
    ]  # fmt: skip


def test_the_same_seed_gives_the_same_weights_and_another_seed_others(tmp_path: Path) -> None:
    first, again, other = small(tmp_path / "a"), small(tmp_path / "b"), small(tmp_path / "c", seed=1)
    assert same(weights(first), weights(again))
    assert not same(weights(first), weights(other))


def test_the_callers_random_numbers_are_left_alone(tmp_path: Path) -> None:
    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)
    small(tmp_path / "run", epochs=1)
    assert torch.equal(torch.rand(3), expected)


def test_a_finished_run_is_returned_as_it_is(tmp_path: Path) -> None:
    run = small(tmp_path / "run")
    before = (run.path / "run.json").stat().st_mtime_ns
    assert small(tmp_path / "run").info == run.info
    assert (run.path / "run.json").stat().st_mtime_ns == before


def test_a_run_of_other_options_is_refused_and_left_alone(tmp_path: Path) -> None:
    run = small(tmp_path / "run")
    kept = {file: file.read_bytes() for file in run.path.rglob("*") if file.is_file()}
    with pytest.raises(
        RunError, match=r"holds a run with epochs=3, not 5; give the same options to resume it, or another folder"
    ):
        small(tmp_path / "run", epochs=5)
    with pytest.raises(RunError, match=r"holds a run with hidden=\[16\], not"):
        small(tmp_path / "run", hidden=(8,))
    assert {file: file.read_bytes() for file in run.path.rglob("*") if file.is_file()} == kept


def test_a_folder_that_is_no_run_is_refused(tmp_path: Path) -> None:
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos" / "mine.txt").write_text("mine")
    with pytest.raises(RunError, match="exists and is not a run; name a folder that is new or empty"):
        small(tmp_path / "photos")


def test_a_loss_that_is_not_finite_stops_with_step_rate_and_checkpoint(tmp_path: Path) -> None:
    with pytest.raises(
        TrainingError,
        match=r"loss=(nan|inf): not finite at step \d+ with learning rate \S+; .*; train into another folder",
    ):
        small(tmp_path / "run", lr=1e30, optimizer="sgd", schedule="constant", epochs=5)
    run = Run(tmp_path / "run")
    assert run.status == "failed" and "not finite" in run.info["failure"]


def test_the_last_good_checkpoint_survives_a_failure(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from pellucid.training.recipe import Recipe

    good = Recipe.rate
    monkeypatch.setattr(
        Recipe, "rate", lambda self, step, steps, per_epoch: 1e30 if step == 14 else good(self, step, steps, per_epoch)
    )
    with pytest.raises(TrainingError, match="the last good checkpoint is that of step 12"):
        small(tmp_path / "run", optimizer="sgd", limit=384)
    assert all(value.isfinite().all() for value in weights(tmp_path / "run", "state/last.safetensors").values())
    assert all(value.isfinite().all() for value in weights(tmp_path / "run", "weights.safetensors").values())


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"epochs": 0}, r"epochs=0: must be at least 1; give another value"),
        ({"lr": -1.0}, r"lr=-1.0: must be above 0"),
        (
            {"optimizer": "adamm"},
            r"optimizer='adamm': is not known; choose sgd, momentum, nesterov, adam or adamw",
        ),
        ({"momentum": 1.0}, r"momentum=1.0: must lie in \[0, 1\)"),
        ({"warmup": 9.0}, r"warmup=9.0: must lie between 0 and epochs"),
    ],
)
def test_bad_values_are_refused_before_a_folder_is_made(
    tmp_path: Path, options: dict[str, object], sentence: str
) -> None:
    with pytest.raises(UsageError, match=sentence):
        small(tmp_path / "run", **options)
    assert not (tmp_path / "run").exists()


def test_unknown_names_are_answered_with_the_nearest(tmp_path: Path) -> None:
    with pytest.raises(UnknownNameError, match=r"option='epoch' is not known; did you mean 'epochs'"):
        small(tmp_path / "run", epoch=3)
    with pytest.raises(UnknownNameError, match=r"task='clasify' is not known; did you mean 'classify'"):
        train("clasify", "digits", out=tmp_path / "run")
    with pytest.raises(UnknownNameError, match=r"model='mpl' is not known; did you mean 'mlp'"):
        train("classify", "digits", "mpl", out=tmp_path / "run")
    with pytest.raises(
        UsageError,
        match=r"model='autoencoder': gives a reconstruction, and classify needs vector or dense; choose another model",
    ):
        train("classify", "digits", "autoencoder", out=tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_early_stopping_keeps_the_best(tmp_path: Path) -> None:
    run = small(tmp_path / "run", epochs=40, patience=2, lr=1e-6, schedule="constant")
    assert run.status == "finished"
    last = max(row["epoch"] for row in run.history)
    assert last < 40 and last - run.info["best"]["reached"] == 2


def test_equal_measures_are_settled_by_the_loss(tmp_path: Path) -> None:
    """Steps too short to change any answer: the accuracy stands still, and the loss moves."""
    run = small(tmp_path / "run", epochs=4, lr=1e-7, schedule="constant")
    val = [row for row in run.history if row["split"] == "val"]
    top = [row for row in val if row["accuracy"] == max(row["accuracy"] for row in val)]
    assert len(top) > 1 and len({row["loss"] for row in top}) > 1, "without a tie this shows nothing"
    best = min(top, key=lambda row: row["loss"])
    assert (run.info["best"]["step"], run.info["best"]["loss"]) == (best["step"], best["loss"])


@pytest.mark.parametrize(
    ("sign", "measures", "kept"),
    [
        # (measure, loss) of each epoch, and the epoch whose weights stay
        (1, [(0.9, 0.5), (0.9, 0.4), (0.8, 0.1)], 2),
        (1, [(0.9, 0.4), (0.9, 0.4)], 1),
        (1, [(0.9, 0.4), (0.9, 0.5), (0.9, 0.3), (0.91, 9.0)], 4),
        (-1, [(3.0, 0.4), (3.0, 0.3), (4.0, 0.1)], 2),
        (-1, [(3.0, 0.4), (2.0, 0.9)], 2),
        (1, [(0.9, 0.4), (math.nan, 0.1), (0.9, math.nan)], 1),
    ],
)
def test_the_loss_breaks_ties_and_nothing_else(sign: int, measures: list[tuple[float, float]], kept: int) -> None:
    best: dict[str, object] | None = None
    for epoch, (value, loss) in enumerate(measures, start=1):
        best = better({"x": value, "loss": loss, "sign": sign}, best, "x", step=epoch, epoch=epoch) or best
    assert best is not None and best["epoch"] == kept


def test_a_record_without_a_loss_keeps_its_weights_until_the_measure_is_better() -> None:
    earlier = {"step": 7, "epoch": 1, "measure": "x", "value": 0.9}
    assert better({"x": 0.9, "loss": 0.1}, earlier, "x", step=14, epoch=2) is None
    record = better({"x": 0.95, "loss": 0.1}, earlier, "x", step=14, epoch=2)
    assert record is not None and record["reached"] == 2


@pytest.mark.parametrize("optimizer", ["sgd", "momentum", "nesterov", "adam", "adamw"])
def test_every_optimizer_lowers_the_loss(tmp_path: Path, optimizer: str) -> None:
    run = small(tmp_path / "run", optimizer=optimizer, epochs=4)
    losses = [row["loss"] for row in run.history if row["split"] == "val"]
    assert losses[-1] < losses[0]


def test_the_record_shows_that_frozen_tensors_stayed(tmp_path: Path) -> None:
    options = {"depth": 18, "frozen": True, "size": 32, "limit": 32, "batch_size": 16, "epochs": 1}
    run = train("classify", "digits", "resnet", tmp_path / "run", **options, device="cpu", progress=False)
    frozen = run.info["frozen"]
    assert frozen["tensors"] > 100, "batch-norm statistics are counted in"
    assert frozen["before"] == frozen["after"]
    moving = small(tmp_path / "moving")
    assert moving.info["frozen"] is None


@pytest.mark.slow
def test_a_compiled_training_agrees_with_a_plain_one(tmp_path: Path) -> None:
    plain, compiled = (small(tmp_path / name, compile=name == "compiled") for name in ("plain", "compiled"))
    for name, value in weights(plain).items():
        torch.testing.assert_close(weights(compiled)[name], value, rtol=1e-3, atol=1e-4)
