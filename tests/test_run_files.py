# SPDX-License-Identifier: Apache-2.0
"""The files of a run's folder: each one's damage is one sentence or is mended, and two trainings never share a folder."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from pellucid.cli.cli import main
from pellucid.errors import PellucidWarning, RunError
from pellucid.files import write_atomically
from pellucid.inference import evaluate
from pellucid.run import Run
from pellucid.training.training import train
from pellucid.weights import load, save

OPTIONS: dict[str, Any] = {"hidden": (8,), "epochs": 3, "lr": 0.01, "limit": 256, "device": "cpu", "progress": False}
WORDS = [
    "train", "classify", "--data", "digits", "--model", "mlp", "--hidden", "8", "--epochs", "3", "--lr", "0.01",
    "--limit", "256", "--device", "cpu", "--out",
]  # fmt: skip


def trained(out: Path, **options: Any) -> Run:
    return train("classify", "digits", "mlp", out, **{**OPTIONS, **options})


def stopped(out: Path, step: int) -> Run:
    """A training that was asked to stop before a step."""
    import pellucid.training.training as module

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "stopping", lambda accelerator, stop, now: now == step)
        return trained(out)


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Run:
    run = trained(tmp_path_factory.mktemp("made") / "run")
    evaluate(run, baselines=False)
    return run


@pytest.fixture
def run(made: Run, tmp_path: Path) -> Run:
    shutil.copytree(made.path, tmp_path / "run")
    return Run(tmp_path / "run")


def flip(file: Path) -> None:
    """Change one bit in the last tenth of a file, where safetensors keep numbers."""
    content = bytearray(file.read_bytes())
    content[-len(content) // 20] ^= 4
    file.write_bytes(content)


def sentence(words: list[str], capsys: pytest.CaptureFixture[str]) -> str:
    """What a refused command says: one line."""
    capsys.readouterr()
    assert main(words) == 2
    said = capsys.readouterr().err
    assert said.startswith("pellucid: ") and said.count("\n") == 1 and "bug in pellucid" not in said
    return said


# -- run.json, history, metrics, records


def record(change: Callable[[dict[str, Any]], object]) -> Callable[[Path], object]:
    """A change of the entries of run.json."""

    def changed(folder: Path) -> None:
        info = json.loads((folder / "run.json").read_text())
        change(info)
        (folder / "run.json").write_text(json.dumps(info))

    return changed


def text(name: str, content: str) -> Callable[[Path], object]:
    return lambda folder: (folder / name).write_text(content)


DAMAGE: dict[str, tuple[Callable[[Path], object], str]] = {
    "a list": (text("run.json", "[1]"), "run.json holds a list, not an object"),
    "a number": (text("run.json", "7"), "run.json holds 7, not an object"),
    "brackets": (text("run.json", "[" * 1_000_000), "run.json is nested too deeply"),
    "a long number": (text("run.json", '{"format": ' + "1" * 10_000 + "}"), "run.json is no JSON"),
    "empty": (text("run.json", ""), "run.json is no JSON"),
    "NaN": (record(lambda info: info.update(seconds=float("nan"))), "run.json holds NaN, which is no JSON"),
    "infinite": (text("run.json", '{"format": 1e999}'), "format is inf, not a whole number"),
    "no status": (record(lambda info: info.pop("status")), "run.json has no status"),
    "classes": (record(lambda info: info["data"].update(classes=3)), "data.classes is 3, not a list"),
    "a text for a number": (record(lambda info: info.update(steps="many")), "steps is 'many', not a whole number"),
    "size": (record(lambda info: info["model"].update(size=[8])), "model.size is a list, not a height and a width"),
    "format": (record(lambda info: info.update(format="new")), "format is 'new', not a whole number"),
    "a task's option": (
        record(lambda info: info["task"]["options"].update(flop=1)),
        "the task in run.json cannot be made",
    ),
    "its type": (record(lambda info: info["task"]["options"].update(noise="x")), "the task in run.json cannot be made"),
    "a model's option": (record(lambda info: info["model"]["options"].update(hiden=1)), "option='hiden' is not known"),
    "a huge model": (
        record(lambda info: info["model"]["options"].update(hidden=[10**9])),
        "weights.safetensors does not fit its model",
    ),
}


@pytest.mark.parametrize("damage", DAMAGE)
def test_a_damaged_record_is_one_sentence(damage: str, run: Run, capsys: pytest.CaptureFixture[str]) -> None:
    change, expected = DAMAGE[damage]
    change(run.path)
    assert expected in sentence(["evaluate", str(run.path), "--no-baselines"], capsys)


@pytest.mark.parametrize("option", [{"lr": "fast"}, {"wings": 2}, {"betas": {"a": []}}, {"epochs": 10**15}])
def test_a_damaged_recipe_is_one_sentence(option: dict[str, Any], run: Run, capsys: pytest.CaptureFixture[str]) -> None:
    run.update(recipe={**run.info["recipe"], **option})
    assert f"holds a run with {next(iter(option))}=" in sentence([*WORDS, str(run.path)], capsys)


@pytest.mark.parametrize("option", [{"momentum": "high"}, {"wings": 2}, {"size": {"a": 1}}])
def test_a_damaged_recipe_is_one_sentence_in_the_report(
    option: dict[str, Any], run: Run, capsys: pytest.CaptureFixture[str]
) -> None:
    run.update(recipe={**run.info["recipe"], **option})
    assert "put back a copy of that file" in sentence(["report", str(run.path), "--maps", "0"], capsys)


@pytest.mark.parametrize("content", ["[", "[]", '{"model": 3}', "{}", "NaN", "\x00", "[" * 100_000])
def test_damaged_measures_are_one_sentence_and_are_measured_again(
    content: str, run: Run, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = (run.path / "metrics.json").read_text()
    (run.path / "metrics.json").write_text(content)
    said = sentence(["report", str(run.path)], capsys)
    assert "metrics.json" in said and f"measure it again with: pellucid evaluate {run.path}" in said
    assert main(["evaluate", str(run.path), "--no-baselines"]) == 0
    assert json.loads((run.path / "metrics.json").read_text())["model"] == json.loads(before)["model"]


def test_a_changed_number_among_the_measures_is_noticed(run: Run) -> None:
    metrics = json.loads((run.path / "metrics.json").read_text())
    metrics["model"]["accuracy"]["value"] = 1.0
    (run.path / "metrics.json").write_text(json.dumps(metrics))
    with pytest.raises(RunError, match=r"metrics\.json holds other numbers than were written; measure it again with"):
        _ = run.metrics


def test_damaged_records_are_one_sentence(run: Run, capsys: pytest.CaptureFixture[str]) -> None:
    flip(run.path / "records.npz")
    said = sentence(["look", str(run.path), "confusion"], capsys)
    assert "records.npz is not the one that was written with metrics.json; measure it again with" in said
    (run.path / "records.npz").write_bytes(b"PK")
    metrics = json.loads((run.path / "metrics.json").read_text())
    del metrics["digests"]  # as version 0.1.0 wrote it, beside weights of that version
    (run.path / "metrics.json").write_text(json.dumps(metrics))
    torch_save_plainly(run.path / "weights.safetensors")
    assert "records.npz cannot be read" in sentence(["look", str(run.path), "confusion"], capsys)


def torch_save_plainly(file: Path) -> None:
    """Take the digest out of a file of weights."""
    from safetensors.torch import load_file, save_file

    save_file(load_file(file), file)


@pytest.mark.parametrize("line", ["{", "[1]", '{"step": 1}', '{"step": 1, "epoch": 1, "split": "val", "loss": "low"}'])
def test_a_damaged_history_is_read_from_the_state(line: str, run: Run, made: Run) -> None:
    with (run.path / "history.jsonl").open("a") as file:
        file.write(line)
    with pytest.warns(PellucidWarning, match=r"history\.jsonl line \d+ .*; its rows were read from state"):
        assert run.history == made.history
    (run.path / "state" / "last.safetensors").unlink()
    with pytest.raises(RunError, match=r"history\.jsonl line \d+ .*; put back a copy of it, or delete it"):
        _ = run.history


def test_a_torn_history_is_written_again_by_the_training(tmp_path: Path) -> None:
    run = stopped(tmp_path / "run", 3)
    whole = (run.path / "history.jsonl").read_text()
    (run.path / "history.jsonl").write_text(whole[:-9])
    done = trained(run.path)
    assert done.history[: len(whole.splitlines())] == [json.loads(line) for line in whole.splitlines()]


# -- weights and state


def test_a_flipped_bit_in_the_weights_is_noticed(run: Run) -> None:
    """The best epoch is an earlier one, so that no other file holds the weights."""
    run.update(best={**run.info["best"], "step": 1})
    flip(run.path / "weights.safetensors")
    with pytest.raises(
        RunError,
        match=r"weights\.safetensors is damaged \(its content is not of its digest\), and no other file of the run holds "
        r"its weights; put back a copy of it, measure the last ones with `pellucid evaluate .* --which last`, or train",
    ):
        run.model()
    assert run.model("last") is not None


@pytest.mark.parametrize("name", ["weights.safetensors", "last.safetensors"])
@pytest.mark.parametrize(
    "damage", [Path.unlink, flip, lambda file: file.write_bytes(b"")], ids=["gone", "bit", "empty"]
)
def test_weights_are_restored_from_the_state(
    name: str, damage: Callable[[Path], object], run: Run, made: Run, capsys: pytest.CaptureFixture[str]
) -> None:
    assert made.info["best"]["step"] == made.info["step"], "without it the state has the last weights alone"
    damage(run.path / name)
    (run.path / ("last.safetensors" if name[0] == "w" else "weights.safetensors")).unlink()
    which = "best" if name[0] == "w" else "last"
    assert main(["evaluate", str(run.path), "--no-baselines", "--which", which]) == 0
    said = capsys.readouterr().err
    assert said.startswith(f"warning: run={str(run.path)!r}: {name} is ") and said.count("\n") == 1
    assert "its weights were restored from state/last.safetensors." in said
    one, other = load(run.path / name), load(made.path / name)
    assert one.tensors.keys() == other.tensors.keys()
    assert all(torch.equal(value, other.tensors[key]) for key, value in one.tensors.items())


def test_another_trainings_weights_are_noticed(run: Run) -> None:
    run.update(best={**run.info["best"], "step": 1})
    tensors = load(run.path / "weights.safetensors").tensors
    save(run.path / "weights.safetensors", {name: value + 1 for name, value in tensors.items()})
    with pytest.raises(RunError, match=r"weights\.safetensors is not the file that its training wrote"):
        run.model()


def test_a_damaged_state_is_one_sentence(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run = stopped(tmp_path / "run", 3)
    flip(run.path / "state" / "last.safetensors")
    said = sentence([*WORDS, str(run.path)], capsys)
    assert (
        "state/last.safetensors is damaged (its content is not of its digest); delete that file to train from" in said
    )
    (run.path / "state" / "last.safetensors").unlink()
    assert trained(run.path).status == "finished"


def test_a_resumed_run_never_takes_its_last_weights_for_its_best(tmp_path: Path) -> None:
    """The best epoch's weights are gone: the ones that are kept are the best of those to come, and a warning says so."""
    run = stopped(tmp_path / "run", 3)
    assert run.info["best"]["step"] == 2
    (run.path / "weights.safetensors").unlink()
    with pytest.warns(PellucidWarning, match="later weights than its best, of epoch 1; the best from here on are kept"):
        done = trained(run.path)
    rows = {row["step"]: row for row in done.history if row["split"] == "val"}
    assert done.info["best"]["step"] > 2 and done.info["best"]["value"] == rows[done.info["best"]["step"]]["accuracy"]


def test_digests_are_those_of_the_files(run: Run) -> None:
    written = run.info["digests"]
    assert {*written} == {"weights.safetensors", "last.safetensors", "state/last.safetensors"}
    for name, digest in written.items():
        assert load(run.path / name).digest == digest


# -- one folder, one training


def test_the_second_training_in_a_new_folder_is_refused_and_neither_is_damaged(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, made: Run
) -> None:
    """It comes while the first one still decodes its images, and it asks for other options."""
    from pellucid.training.state import State

    refused, begin = [], State.begin

    def slowly(*given: Any, **named: Any) -> State:
        monkeypatch.setattr(State, "begin", begin)
        with pytest.raises(RunError, match="another process is training it now; wait for it, or name another folder"):
            trained(tmp_path / "run", lr=0.5)
        refused.append(True)
        return begin(*given, **named)

    monkeypatch.setattr(State, "begin", slowly)
    run = trained(tmp_path / "run")
    assert refused and run.status == "finished" and run.info["recipe"]["lr"] == 0.01
    one, other = load(run.path / "weights.safetensors"), load(made.path / "weights.safetensors")
    assert one.digest == other.digest


def test_a_training_that_ended_meanwhile_is_not_replaced(tmp_path: Path) -> None:
    """The second looked at the folder while it was new; the first has finished when the second gets the lock."""
    from pellucid.training.folder import Folder
    from pellucid.training.plan import Plan

    given = {name: value for name, value in OPTIONS.items() if name != "progress"}
    late = Folder(Plan.of("classify", "digits", "mlp", {**given, "lr": 0.5}), tmp_path / "run")
    same = Folder(Plan.of("classify", "digits", "mlp", given), tmp_path / "run")
    run = trained(tmp_path / "run")
    kept = (run.path / "run.json").read_bytes()
    with pytest.raises(RunError, match=r"holds a run with lr=0\.01, not 0\.5"), late.locked():
        pass
    with same.locked():
        assert same.finished
    assert (run.path / "run.json").read_bytes() == kept


def test_a_training_that_cannot_begin_leaves_no_folder(tmp_path: Path) -> None:
    with pytest.raises(Exception, match="model='autoencoder': gives a reconstruction"):
        train("classify", "digits", "autoencoder", tmp_path / "a" / "b", device="cpu", progress=False)
    assert list(tmp_path.iterdir()) == []


def test_a_folder_of_a_training_that_was_killed_at_once_is_taken(tmp_path: Path) -> None:
    (tmp_path / "run" / "state").mkdir(parents=True)
    (tmp_path / "run" / "state" / "lock").touch()
    (tmp_path / "run" / ".run.json.abcd_123.json").write_text("{")
    assert trained(tmp_path / "run").status == "finished"
    assert not list((tmp_path / "run").glob(".*"))


# -- drafts


def test_drafts_of_killed_writes_are_removed_and_a_living_one_stays(tmp_path: Path) -> None:
    run = stopped(tmp_path / "run", 3)
    dead = [
        run.path / ".weights.safetensors.k3x_9a2b.safetensors",
        run.path / "state" / ".last.safetensors.aaaaaaaa.safetensors",
        run.path / ".metrics.json.aaaaaaaa.json",
    ]
    for file in dead:
        file.write_bytes(b"half")
    mine = [run.path / ".notes.txt", run.path / ".notes.20240101", run.path / ".notes.txt.20240101.txt"]
    for file in mine:
        file.write_text("mine")
    with write_atomically(run.path / "metrics.json") as living:
        trained(run.path)
        assert living.exists() and not any(file.exists() for file in dead)
        living.write_text("{}")
    assert all(file.exists() for file in mine)


def test_evaluate_removes_its_own_drafts(run: Run) -> None:
    (run.path / ".records.npz.aaaaaaaa.npz").write_bytes(b"half")
    evaluate(run, baselines=False)
    assert not list(run.path.glob(".*"))


# -- options that were added since


def test_a_run_from_before_an_option_of_its_task_existed_resumes_with_the_default(tmp_path: Path) -> None:
    run = stopped(tmp_path / "run", 3)
    options = {name: value for name, value in run.info["task"]["options"].items() if name != "label_smoothing"}
    recipe = {name: value for name, value in run.info["recipe"].items() if name != "clip"}
    run.update(task={**run.info["task"], "options": options}, recipe=recipe)
    with pytest.raises(RunError, match=r"holds a run with label_smoothing=0\.0, not 0\.1"):
        trained(run.path, label_smoothing=0.1)
    assert trained(run.path).status == "finished"


def test_an_option_of_the_model_that_is_given_as_its_default_is_the_same_run(tmp_path: Path) -> None:
    run = stopped(tmp_path / "run", 3)
    assert trained(run.path, dropout=0.0).status == "finished"


def test_another_count_of_processes_is_said(tmp_path: Path) -> None:
    run = stopped(tmp_path / "run", 3)
    run.update(processes=2)
    with pytest.warns(
        PellucidWarning, match="was trained by 2 and goes on with 1 process: its weights will agree .* up to rounding"
    ):
        done = trained(run.path)
    assert done.info["processes"] == 1


def test_numbers_of_records_are_those_of_the_images(run: Run) -> None:
    assert len(run.records()["true"]) == np.sum(list(run.info["data"]["counts"]["test"].values()))
