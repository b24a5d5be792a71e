# SPDX-License-Identifier: Apache-2.0
"""Comparing runs: the table's numbers, the file and the picture, real differences against known cases, and sweeps."""

from __future__ import annotations

import csv
import io
import json
import math
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from rich.console import Console

from pellucid.comparison.comparison import compare
from pellucid.comparison.difference import Difference, paired, unpaired
from pellucid.comparison.table import Comparison
from pellucid.data import open as open_data
from pellucid.errors import RunError, UsageError
from pellucid.inference import evaluate
from pellucid.recorded import self_digest
from pellucid.run import Run
from pellucid.tasks._metrics import mean
from pellucid.training.training import train

QUICK: dict[str, Any] = {"hidden": (8,), "limit": 256, "device": "cpu", "progress": False}


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> list[Run]:
    """A run that has hardly learnt, a better one, and the better one once more."""
    folder = tmp_path_factory.mktemp("runs")
    found = [
        train("classify", "digits", "mlp", folder / name, epochs=epochs, lr=0.01, **QUICK)
        for name, epochs in (("short", 1), ("long", 12))
    ]
    for run in found:
        evaluate(run, baselines=False)
    shutil.copytree(found[1].path, folder / "again")
    return [*found, Run(folder / "again")]


@pytest.fixture(scope="module")
def found(runs: list[Run], tmp_path_factory: pytest.TempPathFactory) -> Comparison:
    return compare(runs, tmp_path_factory.mktemp("out"))


def test_every_row_holds_the_numbers_of_its_run(runs: list[Run], found: Comparison) -> None:
    assert [row.name for row in found.rows] == ["short", "long", "again"]
    for row, run in zip(found.rows, runs, strict=True):
        assert run.metrics is not None
        assert {name: vars(measure) for name, measure in row.measures.items()} == run.metrics["model"]
    assert [dict(row.options) for row in found.rows] == [{"epochs": n} for n in (1, 12, 12)]


def test_the_file_holds_the_same_numbers(runs: list[Run], found: Comparison) -> None:
    table = next(file for file in found.files if file.suffix == ".csv")
    lines = list(csv.DictReader(table.read_text(encoding="utf-8").splitlines()))
    assert len(lines) == 3
    for line, run, row in zip(lines, runs, found.rows, strict=True):
        assert run.metrics is not None
        assert line["run"] == row.name
        assert int(line["parameters"]) == run.info["parameters"]
        assert float(line["seconds"]) == run.info["seconds"]
        assert line["verdict"] == row.verdict
        for name, measure in run.metrics["model"].items():
            for column, key in ((name, "value"), (f"{name}_low", "low"), (f"{name}_high", "high")):
                assert float(line[column]) == measure[key]


def test_the_table_on_the_terminal_shows_them(found: Comparison) -> None:
    console = Console(width=200, record=True, file=io.StringIO())
    console.print(found)
    text = console.export_text()
    for row in found.rows:
        assert row.measure is not None
        assert f"{row.run.info['parameters']:,}" in text
        assert str(row.measure).split(" (")[0] in text
        assert row.verdict in text


def test_the_picture_shows_every_run(found: Comparison) -> None:
    picture = next(file for file in found.files if file.suffix == ".png")
    with Image.open(picture) as image:
        assert min(image.size) > 400
    loss = found.figure.subfigs[0].axes[0]
    assert [text.get_text() for text in loss.get_legend().get_texts()] == ["short", "long", "again"]
    curves = {line.get_label(): line for line in loss.lines}
    for row in found.rows:
        expected = [line["loss"] for line in row.run.history if line["split"] == "val"]
        np.testing.assert_array_equal(curves[row.name].get_ydata(), expected)


def test_only_a_real_difference_is_called_real(runs: list[Run], found: Comparison) -> None:
    """Fewer epochs are worse; a copy is no better."""
    short, best, same = found.rows
    assert [row.verdict for row in found.rows] == ["real", "best", "may be chance"]
    assert same.difference is not None
    assert (
        same.difference.value == 0 and same.difference.low < 0 < same.difference.high
    )  # other images might tell them apart
    right = {row.name: np.asarray(row.run.main.each(row.run.records()), float) for row in found.rows}
    assert short.difference is not None
    assert short.difference.paired
    assert short.difference.value == pytest.approx(float((right[short.name] - right[best.name]).mean()))
    assert any("97.5 %" in note for note in found.notes), "two differences share the 5 % between them"


def test_a_run_against_itself_differs_by_nothing() -> None:
    table = {"x": np.random.default_rng(0).random(300)}
    [gap] = paired(mean("x", "x"), [table], table)
    assert (gap.value, gap.low, gap.high, gap.real) == (0, 0, 0, False)


def test_the_paired_interval_is_that_of_the_mean() -> None:
    """For many images the bootstrap of a mean is the normal interval: mean ± 1.96 s / √n."""
    rng = np.random.default_rng(0)
    column, reference = rng.normal(0.1, 1, 4000), rng.normal(0, 1, 4000)
    [gap] = paired(mean("x", "x"), [{"x": column}], {"x": reference})
    gaps = column - reference
    reach = 1.96 * gaps.std(ddof=1) / math.sqrt(len(gaps))
    assert gap.value == pytest.approx(gaps.mean())
    assert (gap.low, gap.high) == pytest.approx((gaps.mean() - reach, gaps.mean() + reach), abs=0.06 * reach)


def test_chance_is_called_real_about_as_often_as_promised() -> None:
    """Two equal runs of independent answers: 5 % of the intervals may leave zero out."""
    rng = np.random.default_rng(1)
    false = sum(
        paired(mean("x", "x"), [{"x": rng.random(60)}], {"x": rng.random(60)}, seed=k)[0].real for k in range(150)
    )
    assert 1 <= false <= 17


def test_pairing_finds_what_two_intervals_do_not() -> None:
    reference = np.tile([1.0, 0.0], 500)
    better = reference.copy()
    better[1:40:2] = 1.0  # twenty images more are right, and none less
    [gap] = paired(mean("x", "x"), [{"x": better}], {"x": reference})
    interval = [{"value": x.mean(), "low": x.mean() - 0.031, "high": x.mean() + 0.031} for x in (better, reference)]
    assert gap.real
    assert not unpaired(*interval).real
    assert str(gap) == "+0.020 (+0.012 to +0.029)"


def test_unpaired_is_the_difference_of_two_normals() -> None:
    one, other = {"value": 0.5, "low": 0.47, "high": 0.53}, {"value": 0.4, "low": 0.36, "high": 0.44}
    gap = unpaired(one, other)
    assert gap == Difference(pytest.approx(0.1), pytest.approx(0.05), pytest.approx(0.15), False)  # 3, 4, 5


def test_other_data_are_not_paired(runs: list[Run], tmp_path: Path) -> None:
    other = tmp_path / "moved"
    other.mkdir()
    for file in runs[0].path.iterdir():
        if file.is_file():
            (other / file.name).write_bytes(file.read_bytes())
    Run(other).update(data={**runs[0].info["data"], "fingerprint": "another"})
    metrics = json.loads((other / "metrics.json").read_text())
    metrics["digests"]["data"] = "another"
    metrics["digests"]["content"] = self_digest(metrics)
    (other / "metrics.json").write_text(json.dumps(metrics))
    found = compare([other, runs[1]], tmp_path / "out")
    assert found.rows[0].difference is not None
    assert not found.rows[0].difference.paired
    assert "since their data differ" in found.notes[0]


def test_a_failed_run_is_a_row_with_a_note(runs: list[Run], tmp_path: Path) -> None:
    failed = tmp_path / "failed"
    failed.mkdir()
    (failed / "run.json").write_text(json.dumps({**runs[0].info, "status": "failed", "failure": "the loss is nan"}))
    found = compare([runs[1], failed], tmp_path / "out")
    assert [row.verdict for row in found.rows] == ["–", "–"]
    assert found.notes == ("failed failed: the loss is nan",)


def test_what_cannot_be_compared_is_said(runs: list[Run], found: Comparison, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="needs two runs or more"):
        compare([runs[0], runs[0].path])
    with pytest.raises(UsageError, match="needs two runs or more"):
        compare([runs[0], found.files[0].parent])  # what an earlier comparison wrote is no run
    with pytest.raises(RunError, match=r"has no run\.json"):
        compare([runs[0], tmp_path])


@pytest.mark.parametrize(("task", "model", "labelled"), [("classify", "mlp", True), ("cluster", None, False)])
def test_runs_whose_data_are_gone_load_and_are_compared(
    tmp_path: Path, task: str, model: str | None, labelled: bool
) -> None:
    """What a run needs to be read is in its folder: its classes, its deciding measure, its records."""
    digits = open_data("digits")["train"]
    folder = tmp_path / "images"
    for i in range(90):
        label = int(digits.targets["label"].index[i])  # type: ignore[attr-defined]
        place = folder / str(label) if labelled else folder
        place.mkdir(parents=True, exist_ok=True)
        Image.fromarray(digits.images.read(i, 1)[0]).save(place / f"{i}.png")
    runs = [
        train(task, folder, model, tmp_path / str(epochs), epochs=epochs, batch_size=16, device="cpu", progress=False)
        for epochs in (1, 2)
    ]
    before = [evaluate(run)["model"] for run in runs]
    shutil.rmtree(folder)
    again = [Run(run.path) for run in runs]
    assert [run.main.key for run in again] == ["accuracy" if labelled else "silhouette"] * 2
    found = compare([run.path for run in again], tmp_path / "side-by-side")
    values = [row.measure.value for row in found.rows if row.measure is not None]
    assert values == [measures[again[0].main.key]["value"] for measures in before]
    assert sum(row.difference is not None and row.difference.paired for row in found.rows) == 1
