# SPDX-License-Identifier: Apache-2.0
"""Sweeps: which trainings they make, that they resume, and the numbers over the seeds against a count by hand."""

from __future__ import annotations

import csv
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from pellucid.cli.cli import main
from pellucid.errors import RunError, UsageError
from pellucid.run import Run
from pellucid.sweeping.grid import axis_of, grid
from pellucid.sweeping.sweeping import planned, sweep

QUICK: dict[str, Any] = {"device": "cpu", "progress": False}


def test_a_sweep_trains_every_combination_and_resumes(tmp_path: Path) -> None:
    options: dict[str, Any] = {**QUICK, "hidden": [(4,)], "lr": [0.1, 0.01], "batch_size": [64, 128], "epochs": 1}
    found = sweep("classify", "digits", "mlp", tmp_path, **options)
    names = [f"mlp,lr={lr},batch_size={size}" for lr in (0.1, 0.01) for size in (64, 128)]
    assert [row.name for row in found.rows] == names
    for row, (lr, size) in zip(found.rows, [(0.1, 64), (0.1, 128), (0.01, 64), (0.01, 128)], strict=True):
        assert (row.run.info["recipe"]["lr"], row.run.info["recipe"]["batch_size"]) == (lr, size)
        assert dict(row.options) == {"lr": lr, "batch_size": size}
        assert row.run.info["model"]["options"] == {"hidden": [4]}
    assert sum(row.best for row in found.rows) == 1
    assert {file.parent for file in found.files} == {tmp_path / "comparison"}
    before = {name: (tmp_path / name / "weights.safetensors").stat().st_mtime_ns for name in names}
    again = sweep("classify", "digits", "mlp", tmp_path, **options)
    assert before == {name: (tmp_path / name / "weights.safetensors").stat().st_mtime_ns for name in names}
    assert [row.measures for row in again.rows] == [row.measures for row in found.rows]


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"lr": 0.1}, "one combination leaves nothing to compare"),
        ({"lr": []}, "holds no value to try"),
        ({"hidden": (64, 32)}, "each value to try is a sequence"),
        ({"lr": [0.1, -1]}, "lr=-1"),
        ({"lrr": [0.1, 0.2]}, "lrr"),
    ],
)
def test_a_sweep_that_cannot_be_writes_nothing(tmp_path: Path, options: dict[str, Any], words: str) -> None:
    with pytest.raises(UsageError, match=words):
        sweep("classify", "digits", "mlp", tmp_path / "out", **options)
    assert not (tmp_path / "out").exists()


@pytest.fixture(scope="module")
def swept(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """Two cases at three numbers of images, with two seeds each."""
    folder = tmp_path_factory.mktemp("swept")
    cases = {"small": {"hidden": (4,)}, "steep": {"hidden": (16,), "lr": 0.02}}
    options: dict[str, Any] = {"limit_per_class": [2, 5, 20], "seed": [0, 1], "epochs": 2, "batch_size": 16}
    return sweep("classify", "digits", "mlp", folder, cases=cases, baselines=True, **options, **QUICK)


def test_a_point_is_the_mean_over_the_seeds(swept: Any) -> None:
    assert swept.axis == "limit_per_class"
    models = [point for point in swept.points if not point.baseline]
    assert [(point.line, point.place) for point in models] == [(c, n) for c in ("small", "steep") for n in (2, 5, 20)]
    folder = swept.rows[0].run.path.parent
    for point in models:
        runs = [Run(folder / f"{point.line},limit_per_class={point.place},seed={seed}") for seed in (0, 1)]
        right = np.stack([run.records()["true"] == run.records()["predicted"] for run in runs])  # (seeds, N)
        assert point.measure.value == pytest.approx(right.mean())
        assert point.spread == pytest.approx(right.mean(1).std(ddof=1))
        # an independent bootstrap: resampled images, the same for both seeds
        rng = np.random.default_rng(1)
        drawn = [right[:, rng.integers(0, right.shape[1], right.shape[1])].mean() for _ in range(1000)]
        low, high = np.percentile(drawn, [2.5, 97.5])
        assert point.measure.low == pytest.approx(low, abs=0.02)
        assert point.measure.high == pytest.approx(high, abs=0.02)
        assert [run.info["recipe"]["limit_per_class"] for run in runs] == [point.place] * 2
    assert {run.info["recipe"]["lr"] for run in (row.run for row in swept.rows)} == {None, 0.02}


def test_baselines_learn_from_the_images_of_the_run(swept: Any) -> None:
    """Nearest neighbours of two images a class must not know the other training images."""
    from sklearn.neighbors import KNeighborsClassifier

    from pellucid.data import open as open_data
    from pellucid.data.limiting import limited

    digits = open_data("digits")
    [point] = [p for p in swept.points if p.line.startswith("5 nearest") and p.place == 2]
    for seed in (0, 1):
        few = limited(digits["train"], limit_per_class=2, seed=seed, classes=digits.classes)
        known, seen = (
            [split.images.read(i, 1).ravel() / 255 for i in range(len(split))] for split in (few, digits["test"])
        )
        labels, truth = (split.targets["label"].index.numpy() for split in (few, digits["test"]))  # type: ignore[attr-defined]
        expected = KNeighborsClassifier(5).fit(known, labels).score(seen, truth)
        assert point.values[seed] == pytest.approx(expected, abs=0.01)  # ties between classes may fall either way


def test_the_files_of_a_sweep_hold_its_points(swept: Any) -> None:
    table, picture, page = swept.written
    with table.open(encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert [(row["line"], row["limit_per_class"]) for row in rows] == [(p.line, str(p.place)) for p in swept.points]
    assert [float(row["mean"]) for row in rows] == pytest.approx([p.measure.value for p in swept.points])
    with Image.open(picture) as image:
        assert image.size[0] > 800
    text = page.read_text(encoding="utf-8")
    assert "![digits: accuracy against limit per class, mean over the seeds 0, 1" in text
    assert all(f"| {point.line} | {point.place} | {point.shown} |" in text for point in swept.points)
    [axes] = swept.figure.axes
    assert axes.get_xscale() == "log"  # 2 to 20 is a decade
    drawn = {line.get_label(): line.get_xydata().tolist() for line in axes.get_lines() if line.get_label()[0] != "_"}
    for line, points in drawn.items():
        assert points == [[p.place, p.measure.value] for p in swept.points if p.line == line]
    assert set(drawn) == {point.line for point in swept.points}


def test_a_dry_run_trains_nothing_and_knows_what_is_there(
    swept: Any, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    words = ["sweep", "classify", "--data", "digits", "--model", "mlp", "--lr", "0.1", "0.01", "--seed", "0", "1"]
    assert main([*words, "--epochs", "3", "--out", str(tmp_path / "out"), "--dry-run"]) == 0
    said = capsys.readouterr().out
    assert "# mlp,lr=0.1,seed=0: new, 30 steps" in said
    assert "4 runs, 4 to train: no run of their kind has finished" in said
    assert not (tmp_path / "out").exists()
    [command] = [line for line in said.splitlines() if "lr=0.1,seed=1" in line and line[0] != "#"]
    assert "--lr 0.1" in command
    assert "--seed 1" in command
    cases = {"small": {"hidden": (4,)}, "steep": {"hidden": (16,), "lr": 0.02}}
    options: dict[str, Any] = {"limit_per_class": [2, 5, 20, 30], "seed": [0, 1], "epochs": 2, "batch_size": 16}
    runs = planned("classify", "digits", "mlp", swept.rows[0].run.path.parent, cases=cases, **options, device="cpu")
    assert [run.status for run in runs] == (["finished"] * 6 + ["new"] * 2) * 2
    assert all(run.seconds is not None and run.seconds > 0 for run in runs)


def test_everything_is_checked_before_the_first_training(tmp_path: Path) -> None:
    """The last of many runs cannot be: its class has too few images, its folder holds another run, its model refuses."""
    out = tmp_path / "out"
    with pytest.raises(UsageError, match="limit_per_class=5000: class"):
        sweep("classify", "digits", "mlp", out, limit_per_class=[2, 5000], **QUICK)
    with pytest.raises(UsageError, match="unfreeze='all': has no effect on a model without a frozen backbone"):
        sweep("classify", "digits", "mlp", out, cases={"one": {}, "two": {"unfreeze": "all"}}, **QUICK)
    assert not out.exists()
    sweep("classify", "digits", "mlp", out, lr=[0.1, 0.01], hidden=[(4,)], epochs=1, **QUICK)
    before = sorted(path.name for path in out.iterdir())
    with pytest.raises(RunError, match="holds a run with epochs=1, not 2"):
        sweep("classify", "digits", "mlp", out, lr=[0.3, 0.1], hidden=[(4,)], epochs=2, **QUICK)
    assert sorted(path.name for path in out.iterdir()) == before


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["--case", "frozen"], "case='frozen': must be a name, a colon and options of train"),
        (["--case", "a: --lr 0.1", "a: --lr 0.2"], "there are two of this name"),
        (["--case", "a: --lrr 0.1", "b:"], "option='--lrr' is not known; did you mean '--lr'?"),
        (["--case", "a: --lr x", "b:"], "lr='x': must be a number"),
        (["--case", "a: 'open", "b:"], "close the quotation marks"),
        (["--case", "a: --lr 1", "b:", "--lr", "0.1", "0.2"], "is swept and also set by the case 'a'"),
        (["--case", "a: -h", "b:"], "asks for help"),
        (["--limit", "20", "40", "--limit-per-class", "3"], "cannot be given with limit_per_class"),
        (["--model", "mlp", "nonesuch"], "model='nonesuch'"),
    ],
)
def test_a_mistake_in_a_sweep_is_one_sentence(
    words: list[str], sentence: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["sweep", "classify", "--data", "digits", "--out", str(tmp_path / "out"), *words]) == 2
    assert sentence in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_cases_models_and_values_are_combined() -> None:
    cases: dict[str, dict[str, Any]] = {"wide": {"model": "mlp", "hidden": (64,)}, "conv": {"model": "convnet"}}
    trainings = grid("classify", [], {"dropout": [0.0, 0.5], "epochs": 2}, cases)
    assert [training.name for training in trainings] == [f"{c},dropout={d}" for c in cases for d in ("0", "0.5")]
    assert [training.model for training in trainings] == ["mlp", "mlp", "convnet", "convnet"]
    assert axis_of(trainings) == "dropout"
    assert [training.line("dropout") for training in trainings] == ["wide", "wide", "conv", "conv"]
    assert axis_of(grid("classify", ["mlp"], {"flip": [True, False], "seed": [0, 1]}, {})) is None


def test_a_false_of_a_case_wins_over_the_sweep() -> None:
    from pellucid.cli.cases import read

    cases = read(["scratch: --no-pretrained --epochs 10", "ready:"], "classify", ["efficientnet_lite0"])
    assert cases == {"scratch": {"pretrained": False, "epochs": 10}, "ready": {}}
    found = grid("classify", ["efficientnet_lite0"], {"pretrained": [True], "epochs": [2]}, cases)
    assert [training.options["epochs"] for training in found] == [10, 2]
    assert [training.options["pretrained"] for training in found] == [False, True]


def test_without_a_number_the_figure_is_a_row_for_each_line(tmp_path: Path) -> None:
    options: dict[str, Any] = {"hidden": [(4,), (8,)], "seed": [0, 1], "epochs": 1, "limit": 100}
    found = sweep("classify", "digits", "mlp", tmp_path, **options, **QUICK)
    assert found.axis is None
    assert found.figure is not None
    names = [label.get_text() for label in found.figure.axes[0].get_yticklabels()]
    assert names == ["hidden=8", "hidden=4"]
