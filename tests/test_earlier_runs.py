# SPDX-License-Identifier: Apache-2.0
"""Runs that version 0.1.0 wrote and left unfinished: they load, evaluate, answer and resume as they would have then."""

from __future__ import annotations

import json
import math
import shlex
import shutil
from pathlib import Path
from typing import Any

import pytest

from pellucid import Run, evaluate, predict
from pellucid.cli.cli import main
from pellucid.tasks import MeasuresModel

HERE = Path(__file__).parent / "runs_0_1_0"
EXPECTED: dict[str, dict[str, Any]] = json.loads((HERE / "expected.json").read_text(encoding="utf-8"))
CLOSE = 1e-3  # kernels of other processors round differently,
TRAINED = (
    0.03  # and what is trained here with them, a run's last steps or a classifier of samples, follows another path
)


def copied(name: str, folder: Path) -> Run:
    shutil.copytree(HERE / name, folder / name)
    return Run(folder / name)


def numbers(measure: dict[str, Any]) -> list[float]:
    """Value, low and high; JSON has None where there is no number."""
    return [math.nan if measure[part] is None else measure[part] for part in ("value", "low", "high")]


@pytest.mark.parametrize("name", EXPECTED)
def test_an_earlier_run_evaluates_and_answers_as_it_did(name: str, tmp_path: Path) -> None:
    run, expected = copied(name, tmp_path), EXPECTED[name]
    assert run.status == "stopped"
    assert run.metrics is not None
    before = run.metrics["model"]
    metrics = evaluate(
        run, baselines=isinstance(run.task, MeasuresModel)
    )  # measures of the model as a whole come with these
    assert metrics["main"] == expected["main"]
    means = {metric.key for metric in run.task.metrics(run.classes) if metric.over is None}
    # the measures of the model that were recorded then, each of them
    for key, then in before.items():
        now = metrics["model"][key]
        assert now["unit"] == then["unit"] and now["better"] == then["better"]
        value, low, high = numbers(then)
        now_value, now_low, now_high = numbers(now)
        close = TRAINED if key == "frechet_over_floor" else CLOSE
        assert now_value == pytest.approx(value, rel=close, abs=CLOSE, nan_ok=True), key
        if key not in means and key not in (
            "nll",
            "frechet_over_floor",
        ):  # their interval left the value out, or had no width
            assert not now_low > now_value and not now_high < now_value and now_low != now_high, key
            continue
        # the ends of intervals come from a thousand draws, which chance moves by a few hundredths of the width
        near = max(0.1 * (high - low), CLOSE) if math.isfinite(high - low) else CLOSE
        assert (now_low, now_high) == pytest.approx((low, high), abs=near, rel=close, nan_ok=True), key
    if expected["prediction"]:
        row = predict(run, run.data()["test"].images.read(0, channels=1)[0])[0]
        for key, then in expected["prediction"].items():
            assert row[key] == (pytest.approx(then, rel=CLOSE, abs=CLOSE) if isinstance(then, float) else then)


@pytest.mark.parametrize("name", EXPECTED)
def test_an_earlier_run_resumes_with_its_own_command(name: str, tmp_path: Path) -> None:
    """Its last row is the one of a training that version 0.1.0 took to the end without stopping."""
    run, expected = copied(name, tmp_path), EXPECTED[name]
    words = shlex.split(run.info["command"])[1:]
    words[words.index("--out") + 1] = str(run.path)
    assert main(words) == 0
    done = Run(run.path)
    assert done.status == "finished"
    last, then = done.history[-1], expected["last"]
    assert list(last) == list(then)
    moved = (
        {run.main.key} if run.main.live else set()
    )  # that version judged the matching on the images that it was made on
    for key in then.keys() - {"seconds", "split"} - moved:
        assert last[key] == pytest.approx(then[key], rel=TRAINED), key
    for key in moved:
        assert 0.9 * then[key] < last[key] < then[key], key
    evaluate(done, baselines=False)
    assert done.metrics is not None
    assert done.metrics["model"][expected["main"]]["value"] == pytest.approx(expected["value"], rel=TRAINED)


def test_a_run_resumes_though_a_problem_of_its_data_was_worded_otherwise(tmp_path: Path) -> None:
    run = copied("classify", tmp_path)
    run.update(data={**run.info["data"], "problems": ["1 image of test stands in train too."]})
    words = shlex.split(run.info["command"])[1:]
    words[words.index("--out") + 1] = str(run.path)
    assert main(words) == 0
    assert Run(run.path).status == "finished"
