# SPDX-License-Identifier: Apache-2.0
"""Measures belong to the weights that were measured: those of earlier weights are never shown as the present ones."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from pellucid import _catalog
from pellucid.comparison.comparison import compare
from pellucid.data.targets import Label
from pellucid.errors import RunError
from pellucid.inference import evaluate
from pellucid.looking.subjects import of_run
from pellucid.reporting.pictures import looks
from pellucid.reporting.reporting import report
from pellucid.run import Run
from pellucid.training.training import train

HERE = Path(__file__).parent
OPTIONS: dict[str, Any] = {"hidden": (16,), "epochs": 8, "lr": 0.01, "device": "cpu", "progress": False}


def accuracy(run: Run) -> float:
    """The truth: the best weights' share of right answers on the test images, without any of the run's files of measures."""
    split = run.data().splits["test"]
    images = torch.from_numpy(np.stack([split.images.read(i, 1)[0] for i in range(len(split))]))
    label = split.targets["label"]
    assert isinstance(label, Label)
    with torch.no_grad():
        answers = run.model()(images.reshape(-1, 1, 8, 8).float() / 255).argmax(1)
    return float((answers == label.index).float().mean())


def stopped_after(epochs: int, out: Path) -> Run:
    """A training of 8 epochs that was asked to stop after some of them."""
    import pellucid.training.training as module

    asked = pytest.MonkeyPatch()
    asked.setattr(module, "stopping", lambda accelerator, stop, step: step == epochs * 10)
    try:
        return train("classify", "digits", "mlp", out, **OPTIONS)
    finally:
        asked.undo()


@pytest.fixture(scope="module")
def early(tmp_path_factory: pytest.TempPathFactory) -> Run:
    """Stopped after one epoch, and evaluated."""
    run = stopped_after(1, tmp_path_factory.mktemp("early") / "run")
    assert run.status == "stopped"
    evaluate(run, baselines=False)
    return run


@pytest.fixture(scope="module")
def rival(tmp_path_factory: pytest.TempPathFactory) -> Run:
    return train("classify", "digits", "mlp", tmp_path_factory.mktemp("rival") / "rival", **{**OPTIONS, "epochs": 2})


@pytest.fixture
def resumed(early: Run, tmp_path: Path) -> Run:
    """The same run, trained to its end after it was evaluated."""
    shutil.copytree(early.path, tmp_path / "run")
    run = train("classify", "digits", "mlp", tmp_path / "run", **OPTIONS)
    assert run.status == "finished"
    return run


def test_compare_shows_the_finished_runs_number(early: Run, resumed: Run, rival: Run, tmp_path: Path) -> None:
    assert early.metrics is not None
    then, truth = early.metrics["model"]["accuracy"]["value"], accuracy(resumed)
    assert truth > then + 0.1, "without a difference this shows nothing"
    found = compare([resumed, rival], tmp_path / "out")
    assert found.rows[0].measures["accuracy"].value == pytest.approx(truth)
    assert (
        "run was measured now, with its best weights on its test images: metrics.json is of other best weights than the "
        "present ones."
    ) in found.notes
    metrics = Run(resumed.path).metrics
    assert metrics is not None and metrics["model"]["accuracy"]["value"] == pytest.approx(truth)


def test_the_run_the_report_and_the_lens_leave_old_measures_out(resumed: Run) -> None:
    assert (resumed.metrics, resumed.records()) == (None, {})
    assert resumed.doubt == "metrics.json is of other best weights than the present ones"
    page = report(resumed, maps=0).read_text()
    assert (
        "The present weights have not been measured on held-out images (metrics.json is of other best weights" in page
    )
    with pytest.raises(Exception, match="lens='confusion': needs"):
        of_run(resumed).look(_catalog.find("lenses", "confusion")())
    evaluate(resumed, baselines=False)
    assert resumed.doubt == "" and resumed.metrics is not None and resumed.records()


def test_a_picture_of_earlier_weights_says_so(early: Run, resumed: Run) -> None:
    from pellucid.looking.looking import look

    look(early, "filters", out=resumed.figures)
    [shown] = looks(resumed)
    assert shown["words"].startswith("Of earlier weights, before the training went on: ")
    look(resumed, "filters")
    [shown] = looks(resumed)
    assert "earlier weights" not in shown["words"]


def test_best_and_last_are_never_mixed(resumed: Run, rival: Run, tmp_path: Path) -> None:
    last = evaluate(resumed, which="last", baselines=False)
    found = compare([resumed, rival], tmp_path / "out")
    assert found.rows[0].measures["accuracy"].value == pytest.approx(accuracy(resumed))
    assert found.rows[0].metrics is not None and found.rows[0].metrics["weights"] == "best"
    assert any("metrics.json is of its last weights on test images" in note for note in found.notes)
    kept = Run(resumed.path).metrics
    assert kept is not None and kept["weights"] == "last" and kept["model"] == last["model"], "nothing was overwritten"


def test_what_cannot_be_measured_alike_is_not_compared(resumed: Run, rival: Run, tmp_path: Path) -> None:
    evaluate(resumed, which="last", baselines=False)
    resumed.update(data={**resumed.info["data"], "what": "gone/away"})
    found = compare([resumed, rival], tmp_path / "out")
    assert [row.verdict for row in found.rows] == ["–", "–"]
    assert "run is not compared: its measures are of its last weights, the others' of their best." in found.notes


def test_measures_on_other_images_are_measured_now(resumed: Run, rival: Run, tmp_path: Path) -> None:
    evaluate(resumed, split="train", baselines=False)
    found = compare([resumed, rival], tmp_path / "out")
    assert found.rows[0].metrics is not None and found.rows[0].metrics["split"] == "test"
    assert found.rows[0].difference is None or found.rows[0].difference.paired


def test_a_crash_between_the_two_files_is_noticed(resumed: Run, rival: Run, tmp_path: Path) -> None:
    evaluate(resumed, split="val", baselines=False)
    before = (resumed.path / "metrics.json").read_bytes()
    evaluate(resumed, baselines=False)
    (resumed.path / "metrics.json").write_bytes(before)  # killed before it was replaced
    with pytest.raises(
        RunError, match=r"records\.npz is not the one that was written with metrics\.json; measure it again"
    ):
        resumed.records()
    found = compare([resumed, rival], tmp_path / "out")
    assert any("its measures are damaged" in note for note in found.notes)
    assert found.rows[0].measures["accuracy"].value == pytest.approx(accuracy(resumed))
    assert resumed.records()


def test_an_early_version_s_measures_are_taken_until_the_training_goes_on(tmp_path: Path) -> None:
    shutil.copytree(HERE / "runs_0_1_0" / "classify", tmp_path / "old")
    old = Run(tmp_path / "old")
    metrics = json.loads((old.path / "metrics.json").read_text())
    (old.path / "metrics.json").write_text(
        json.dumps({**metrics, "weights": "last"})
    )  # which are other ones in the end
    assert old.metrics is not None and old.doubt == "metrics.json does not say which weights it belongs to"
    words = {**OPTIONS, "noise": 0.02, "epochs": 20}
    resumed = train("classify", "digits", "mlp", old.path, **words)
    assert resumed.status == "finished"
    assert (resumed.metrics, resumed.doubt) == (None, "metrics.json is of weights from before the training went on")


def test_compare_measures_an_early_version_s_run_and_keeps_what_it_cannot_measure(rival: Run, tmp_path: Path) -> None:
    shutil.copytree(HERE / "runs_0_1_0" / "classify", tmp_path / "old")
    kept = (tmp_path / "old" / "metrics.json").read_bytes()
    found = compare([tmp_path / "old", rival], tmp_path / "out")
    assert any("old was measured now" in note for note in found.notes)
    assert (tmp_path / "old" / "metrics.json").read_bytes() == kept, "its baselines stay"
    run = Run(tmp_path / "old")
    run.update(data={**run.info["data"], "what": "gone/away"})
    found = compare([run, rival], tmp_path / "out")
    assert any("old stands as it was evaluated" in note and "could not be measured now" in note for note in found.notes)
    assert found.rows[0].measures["accuracy"].value == json.loads(kept)["model"]["accuracy"]["value"]
