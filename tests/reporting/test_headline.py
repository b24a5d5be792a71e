# SPDX-License-Identifier: Apache-2.0
"""The first sentence of a report says whether the model beats the best simpler answer, by how much, and what to do if not."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy import stats

from pellucid.comparison.difference import Difference
from pellucid.reporting.headline import advice, best_baseline, compared, headline
from pellucid.run import Run

N = 400
Columns = dict[str, NDArray[Any]]


def measure(main: str, values: NDArray[Any], unit: str, better: str) -> dict[str, Any]:
    reach = 1.96 * float(values.std()) / len(values) ** 0.5
    mean = float(values.mean())
    return {
        "value": mean,
        "low": mean - reach,
        "high": mean + reach,
        "unit": unit,
        "better": better,
        "title": {"psnr": "PSNR"}.get(main, main),
    }


def evaluated(
    folder: Path, task: str, main: str, model: NDArray[Any], baselines: dict[str, Columns], unit: str = "dB",
    better: str = "higher", records: bool = True, options: dict[str, Any] | None = None, **info: Any,
) -> tuple[Run, dict[str, Any]]:  # fmt: skip
    """A run folder with these values of each test image, as `evaluate` writes them."""
    some = next((own["index"] for own in baselines.values() if "index" in own), None)
    metrics = {
        "main": main, "split": "test", "n": len(model), "seed": 0, "data": "digits", "weights": "best",
        "model": {main: measure(main, model, unit, better)},
        "baselines": {name: {main: measure(main, own[main], unit, better)} for name, own in baselines.items()},
        "on_same_images": None if some is None else {
            "n": len(some), "model": {main: measure(main, model[some], unit, better)},
        },
    }  # fmt: skip
    about: dict[str, Any] = json.loads((Path(__file__).parents[1] / "runs_0_1_0/denoise/run.json").read_text())
    for part, own in {
        "recipe": {"epochs": 10}, "task": {"name": task, "options": options or {}}, "data": {"classes": []},
        "model": {"name": {"denoise": "unet", "compress": "factorized", "generate": "gan"}[task]},
        "best": {"epoch": 10, "value": 1.0},
    }.items():  # fmt: skip
        about[part] |= own
    about |= {"status": "finished", "command": "pellucid train denoise"}
    (folder / "run.json").write_text(json.dumps(about | info))
    (folder / "metrics.json").write_text(json.dumps(metrics))
    if records:
        columns = {f"baselines/{name}/{key}": column for name, own in baselines.items() for key, column in own.items()}
        np.savez(folder / "records.npz", **{f"model/{main}": model}, **columns)
    return Run(folder), metrics


@pytest.fixture
def hard() -> NDArray[np.float64]:
    """The PSNR of a simple filter: images differ much more than methods do."""
    return np.random.default_rng(0).normal(28.0, 5.0, N)


def gap(mean: float, deviation: float = 0.5) -> NDArray[np.float64]:
    values = np.random.default_rng(1).normal(0, deviation, N)
    return mean + deviation * stats.zscore(values)


def interval(words: str) -> list[float]:
    found = re.search(r"interval (\S+) to (\S+)\)", words)
    assert found
    return [float(end.replace("−", "-")) for end in found.groups()]


def test_ahead(tmp_path: Path, hard: NDArray[np.float64]) -> None:
    baselines = {"median": {"psnr": hard}, "blur": {"psnr": hard - 1}}
    found = headline(*evaluated(tmp_path, "denoise", "psnr", hard + gap(0.2), baselines))
    assert found.verdict == "ahead"
    assert found.rival == "median"
    assert found.words.startswith("Ahead of the best simpler answer: PSNR ")
    assert found.words.endswith("on the same 400 test images."), "nothing is left to do"
    assert "a difference of +0.200 dB" in found.words
    # the interval is that of the differences image by image, which is far narrower than those of the two means
    expected = stats.t.interval(0.95, N - 1, 0.2, 0.5 / N**0.5)
    assert interval(found.words) == pytest.approx(expected, abs=0.01)


def test_behind(tmp_path: Path, hard: NDArray[np.float64]) -> None:
    found = headline(*evaluated(tmp_path, "denoise", "psnr", hard + gap(-0.2), {"median": {"psnr": hard}}))
    assert found.verdict == "behind"
    assert found.words.startswith("Behind the best simpler answer: PSNR ")
    assert "a difference of −0.200 dB (95 % interval −0.2" in found.words
    assert found.words.endswith("; train longer (--epochs 20), try a larger model, or use median.")
    assert found.words.count(". ") == 0, "one sentence"


def test_not_distinguishable(tmp_path: Path, hard: NDArray[np.float64]) -> None:
    found = headline(*evaluated(tmp_path, "denoise", "psnr", hard + gap(0.02), {"median": {"psnr": hard}}))
    assert found.verdict == "not distinguishable"
    assert found.words.startswith("Not distinguishable from the best simpler answer: PSNR ")
    low, high = interval(found.words)
    assert low < 0 < high
    told = re.search(r"it takes about ([\d,]+) images to show a difference of this size", found.words)
    assert told and int(told[1].replace(",", "")) > found.images
    assert found.words.endswith("or use median.")


def test_equal_answers_are_not_distinguishable(tmp_path: Path, hard: NDArray[np.float64]) -> None:
    found = headline(*evaluated(tmp_path, "denoise", "psnr", hard, {"do nothing": {"psnr": hard}}))
    assert found.verdict == "not distinguishable"
    assert "it takes more, or harder, images to tell them apart" in found.words


def test_lower_may_be_better(tmp_path: Path) -> None:
    jpeg = np.random.default_rng(0).uniform(0.5, 1.5, N)
    baselines = {"JPEG": {"cost": jpeg}, "PNG": {"cost": jpeg + 1}}
    saved = {"unit": "bit/px", "better": "lower"}
    found = headline(*evaluated(tmp_path, "compress", "cost", jpeg - 0.1, baselines, **saved))
    assert (found.verdict, found.rival) == ("ahead", "JPEG")
    assert "cost (lower is better)" in found.words
    assert "a difference of −0.1 bit/px (95 % interval −0.1 to −0.1)" in found.words
    found = headline(*evaluated(tmp_path, "compress", "cost", jpeg + 0.1, baselines, **saved))
    assert found.verdict == "behind"


def test_a_baseline_that_was_measured_on_some_images_is_compared_on_those(
    tmp_path: Path, hard: NDArray[np.float64]
) -> None:
    index = np.arange(0, N, 4)
    model = hard - 10
    model[index] += 10 + gap(0.5)[index]
    rival = "median (on 100 test images)"
    found = headline(*evaluated(tmp_path, "denoise", "psnr", model, {rival: {"psnr": hard[index], "index": index}}))
    assert (found.verdict, found.images) == ("ahead", 100)
    assert "for median, a difference" in found.words
    assert "on the same 100 test images" in found.words
    shown = re.search(r"PSNR (\S+) dB against (\S+) dB", found.words)
    assert shown
    assert [float(v) for v in shown.groups()] == pytest.approx([model[index].mean(), hard[index].mean()], abs=0.06)


def test_without_baselines_it_says_how_to_measure_them(tmp_path: Path, hard: NDArray[np.float64]) -> None:
    found = headline(*evaluated(tmp_path, "denoise", "psnr", hard, {}))
    assert (found.verdict, found.rival) == ("not compared", None)
    assert found.words.startswith("Not compared with a simpler answer: PSNR 2")
    assert f"`pellucid evaluate {tmp_path}`" in found.words


def test_without_records_the_interval_comes_from_the_two_intervals(tmp_path: Path, hard: NDArray[np.float64]) -> None:
    baselines = {"median": {"psnr": hard}}
    found = headline(*evaluated(tmp_path, "denoise", "psnr", hard + gap(0.2), baselines, records=False))
    low, high = interval(found.words)
    assert high - low > 1, "the images' spread is in it"
    assert found.verdict == "not distinguishable"
    assert "the same" not in found.words


def test_images_without_a_value_are_left_out(tmp_path: Path, hard: NDArray[np.float64]) -> None:
    run, metrics = evaluated(tmp_path, "denoise", "psnr", hard + 1, {"median": {"psnr": hard}})
    model = hard + 1
    model[:7] = np.nan
    np.savez(tmp_path / "records.npz", **{"model/psnr": model, "baselines/median/psnr": hard})
    assert headline(run, metrics).images == N - 7


def test_real_images_among_samples_are_no_rival(tmp_path: Path) -> None:
    energy = np.random.default_rng(0).uniform(0.1, 0.2, N)
    baselines = {"training images": {"energy": energy - 0.05}, "Gaussian": {"energy": energy}}
    found = headline(
        *evaluated(tmp_path, "generate", "energy", energy + 0.01, baselines, "", "lower", options={"family": "gan"})
    )
    assert (found.verdict, found.rival) == ("behind", "Gaussian")
    assert "training images" not in found.words


def test_a_baseline_without_the_measure_is_no_rival() -> None:
    value = {"value": 1.0, "better": "higher"}
    metrics = {"main": "nll", "model": {"nll": value}, "baselines": {"a": {}, "b": {"nll": {**value, "value": None}}}}
    assert best_baseline(metrics) is None
    metrics["baselines"] = {"a": {}, "b": {"nll": value}}
    assert best_baseline(metrics) == "b"


@pytest.mark.parametrize(
    ("info", "expected"),
    [
        ({"status": "stopped", "best": {"epoch": 2}}, "finish the training (`pellucid train classify`)"),
        ({"best": {"epoch": 20}}, "train longer (--epochs 40), try a larger model"),
        ({"best": None}, "train longer (--epochs 40), try a larger model"),
        ({"best": {"epoch": 5}}, "the best epoch was 5 of 20"),
    ],
)
def test_the_advice_follows_the_training(info: dict[str, Any], expected: str) -> None:
    about = {"status": "finished", "recipe": {"epochs": 20}, "command": "pellucid train classify"}
    assert advice(about | info).startswith(expected)


def test_the_verdict_is_about_the_sign_of_what_is_better() -> None:
    value = {"value": 1.0, "low": 0.9, "high": 1.1, "unit": "", "better": "lower", "title": "cost"}
    metrics = {
        "main": "cost",
        "split": "test",
        "n": 9,
        "model": {"cost": value},
        "baselines": {"JPEG": {"cost": value}},
    }
    for sign, better, expected in [(1, "lower", "behind"), (-1, "lower", "ahead"), (1, "higher", "ahead")]:
        metrics["model"] = {"cost": {**value, "better": better}}
        found = compared(metrics, "JPEG", Difference(sign * 0.2, sign * 0.2 - 0.1, sign * 0.2 + 0.1, True), 9, "train")
        assert found.verdict == expected
