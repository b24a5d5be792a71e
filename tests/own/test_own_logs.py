# SPDX-License-Identifier: Apache-2.0
"""The history of a training for other programs, which stand-ins take the place of."""

from __future__ import annotations

import json
import re
import sys
import types
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from ownnets import TWO_EPOCHS
from torch import nn

from pellucid.errors import PellucidWarning, UsageError
from pellucid.run import Run
from pellucid.training.training import train


class Writer:
    """Stands in for a program that keeps numbers; it remembers what it is told."""

    def __init__(self, **told: Any) -> None:
        self.told, self.scalars, self.closed = told, [], False  # type: ignore[var-annotated]

    def add_scalar(self, name: str, value: float, step: int) -> None:
        self.scalars.append((name, value, step))

    def add_text(self, name: str, text: str, step: int) -> None:
        self.told[name] = text

    def close(self) -> None:
        self.closed = True


@pytest.fixture
def stand_in(monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """Makes a module importable for a test."""

    def put(name: str, **members: Any) -> None:
        module = types.ModuleType(name)
        module.__spec__ = types.SimpleNamespace(name=name)  # type: ignore[assignment]
        vars(module).update(members)
        monkeypatch.setitem(sys.modules, name, module)

    return put  # type: ignore[return-value]


def expected(run: Run) -> list[tuple[str, float, int]]:
    """Every number of the history, by split and name, at its step."""
    return [
        (f"{row['split']}/{name}", float(value), row["step"])
        for row in run.history
        for name, value in row.items()
        if name not in ("step", "epoch", "split")
    ]


def test_tensorboard_gets_every_row(tmp_path: Path, stand_in: Any) -> None:
    made: list[Writer] = []

    def writer(**told: Any) -> Writer:
        made.append(Writer(**told))
        return made[-1]

    stand_in("tensorboard")
    stand_in("torch.utils.tensorboard", SummaryWriter=writer)
    run = train("classify", "digits", "mlp", tmp_path / "run", log="tensorboard", **TWO_EPOCHS)
    [one] = made
    assert one.scalars == expected(run)
    assert one.told["log_dir"] == str(tmp_path / "run" / "tensorboard")
    assert "epochs = 2" in one.told["settings"]
    assert one.closed


def test_a_resumed_training_writes_the_rows_that_are_new(tmp_path: Path, stand_in: Any) -> None:
    made: list[Writer] = []

    def writer(**told: Any) -> Writer:
        made.append(Writer(**told))
        return made[-1]

    class Stop(Exception):
        pass

    def stop(epoch: int, row: Any, model: nn.Module) -> None:
        raise Stop

    stand_in("tensorboard")
    stand_in("torch.utils.tensorboard", SummaryWriter=writer)
    with pytest.raises(Stop):
        train("classify", "digits", "mlp", tmp_path / "run", log="tensorboard", callback=stop, **TWO_EPOCHS)
    run = train("classify", "digits", "mlp", tmp_path / "run", log="tensorboard", **TWO_EPOCHS)
    assert [*made[0].scalars, *made[1].scalars] == expected(run)
    assert made[1].told["purge_step"] == 4


def test_wandb_stays_offline_unless_the_environment_names_a_place(
    tmp_path: Path, stand_in: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    told: list[dict[str, Any]] = []
    logged: list[tuple[str, float, int]] = []
    ended: list[bool] = []

    def init(**options: Any) -> Any:
        def log(row: dict[str, Any]) -> None:
            logged.extend((name, value, row["step"]) for name, value in row.items() if name != "step")

        told.append(options)
        return types.SimpleNamespace(
            log=log, define_metric=lambda name, step_metric: None, finish=lambda: ended.append(True)
        )

    for name in ("WANDB_MODE", "WANDB_BASE_URL"):
        monkeypatch.delenv(name, raising=False)
    stand_in("wandb", init=init)
    run = train("classify", "digits", "mlp", tmp_path / "run", log="wandb", **TWO_EPOCHS)
    assert told[0]["mode"] == "offline"
    assert told[0]["dir"] == str(run.path)
    assert logged == expected(run)
    assert ended == [True]
    monkeypatch.setenv("WANDB_MODE", "online")
    train("classify", "digits", "mlp", tmp_path / "other", log="wandb", **TWO_EPOCHS)
    assert "mode" not in told[1]


def test_mlflow_keeps_its_log_in_the_run(tmp_path: Path, stand_in: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    calls: dict[str, list[Any]] = {"uri": [], "metric": [], "params": [], "end": []}
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    stand_in(
        "mlflow",
        set_tracking_uri=calls["uri"].append,
        set_experiment=lambda name: None,
        start_run=lambda run_id, run_name: types.SimpleNamespace(info=types.SimpleNamespace(run_id="abc")),
        log_params=calls["params"].append,
        log_metrics=lambda values, step: calls["metric"].extend((name, value, step) for name, value in values.items()),
        end_run=lambda: calls["end"].append(True),
    )
    run = train("classify", "digits", "mlp", tmp_path / "run", log="mlflow", **TWO_EPOCHS)
    assert calls["uri"] == [f"sqlite:///{run.path / 'mlflow.db'}"]
    assert calls["metric"] == expected(run)
    assert calls["params"][0]["epochs"] == "2"
    assert len(calls["end"]) == 1


def test_a_log_that_fails_does_not_cost_the_training(tmp_path: Path, stand_in: Any) -> None:
    def fail(*told: Any, **named: Any) -> None:
        raise ConnectionError("the server is away")

    made = types.SimpleNamespace(log=fail, define_metric=lambda name, step_metric: None, finish=fail)
    stand_in("wandb", init=lambda **options: made)
    with pytest.warns(
        PellucidWarning, match=r"log='wandb': fails \(ConnectionError: the server is away\); the training goes on"
    ) as said:
        run = train("classify", "digits", "mlp", tmp_path / "run", log="wandb", **TWO_EPOCHS)
    assert (run.status, len(said)) == ("finished", 1)


@pytest.mark.parametrize("name", ["tensorboard", "wandb", "mlflow"])
def test_a_log_that_is_not_installed_is_one_sentence(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import importlib.util

    known = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda one, *more: None if one == name else known(one, *more))
    with pytest.raises(
        UsageError, match=re.escape(f"log={name!r}: needs the package {name}; install it with: pip install {name}")
    ):
        train("classify", "digits", "mlp", tmp_path / "run", log=name, **TWO_EPOCHS)
    assert not (tmp_path / "run").exists()


def test_a_log_leaves_the_weights_as_they_are_and_may_change(tmp_path: Path, stand_in: Any) -> None:
    plain = train("classify", "digits", "mlp", tmp_path / "run", **TWO_EPOCHS)
    stand_in("wandb", init=pytest.fail)
    assert train("classify", "digits", "mlp", tmp_path / "run", log="wandb", **TWO_EPOCHS).digest == plain.digest
    assert json.loads((tmp_path / "run" / "run.json").read_text())["recipe"]["log"] is None
