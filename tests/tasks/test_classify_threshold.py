# SPDX-License-Identifier: Apache-2.0
"""The decision between two classes: its threshold is chosen on validation images, said, and taken only where asked for."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from sklearn import metrics

import pellucid
from pellucid.cli import printing
from pellucid.cli.cli import main
from pellucid.comparison.comparison import compare
from pellucid.data.dataset import Dataset, Pixels, Split
from pellucid.data.targets import Label
from pellucid.errors import UsageError
from pellucid.reporting.reporting import report
from pellucid.run import Run
from pellucid.tasks import Threshold
from pellucid.tasks.classify import Classify, decision

TINY: dict[str, Any] = {"hidden": (4,), "epochs": 2, "batch_size": 32, "device": "cpu", "progress": False}


def ill(val: int = 40) -> Dataset:
    """Grey images of 4×4 px; a fifth are "ill", a little brighter and not always."""
    rng = np.random.default_rng(0)

    def split(n: int) -> Split:
        label = (rng.random(n) < 0.2).astype(np.int64)
        level = 100 + 50 * label[:, None] + rng.normal(0, 40, (n, 16))
        pixels = np.clip(level, 0, 255).astype(np.uint8).reshape(n, 1, 4, 4)
        return Split(Pixels(pixels), {"label": Label(torch.from_numpy(label))}, tuple(f"{i}.png" for i in range(n)))

    return Dataset("ill", {"train": split(120), "val": split(val), "test": split(60)}, classes=("healthy", "ill"))


def images_of(data: Dataset, split: str = "test") -> np.ndarray:
    part = data.splits[split]
    return np.stack([part.images.read(i, 1)[0] for i in range(len(part))])


def truth_of(data: Dataset, split: str) -> np.ndarray:
    label = data.splits[split].targets["label"]
    assert isinstance(label, Label)
    return label.index.numpy()


@pytest.fixture(scope="module")
def data_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same as a file, which a report and the command line open again."""
    file = tmp_path_factory.mktemp("data") / "ill.npz"
    arrays: dict[str, Any] = {}
    for name in ("train", "val", "test"):
        arrays |= {
            f"x_{name}": images_of(ill(), name),
            f"y_{name}": np.array(["healthy", "ill"])[truth_of(ill(), name)],
        }
    np.savez(file, **arrays)
    return file


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory, data_file: Path) -> Run:
    return pellucid.train("classify", data_file, "mlp", tmp_path_factory.mktemp("run") / "run", **TINY)


def probability(run: Run, images: np.ndarray) -> np.ndarray:
    """Of "ill", by the model alone."""
    with torch.no_grad():
        return run.model()(torch.from_numpy(images)[:, None].float() / 255).softmax(1)[:, 1].numpy()


# -- choosing


def two(seed: int, ties: bool) -> dict[str, Any]:
    rng = np.random.default_rng(seed)
    true = (rng.random(50) < 0.3).astype(np.int64)
    score = np.clip(rng.normal(0.3 + 0.2 * true, 0.2), 0, 1)
    score = (np.round(score * 8) / 8 if ties else score).astype(np.float32)
    return {"true": true, "probabilities": np.stack([1 - score, score], 1)}


@pytest.mark.parametrize("ties", [False, True])
@pytest.mark.parametrize("positive", [0, 1])
@pytest.mark.parametrize("criterion", ["youden", "f1"])
def test_no_threshold_is_better_than_the_chosen_one(criterion: Any, positive: int, ties: bool) -> None:
    for seed in range(2):
        table = two(seed, ties)
        own, score = table["true"] == positive, table["probabilities"][:, positive].astype(np.float64)

        def reached(level: float, own: Any = own, score: Any = score) -> float:
            said = score >= level
            if criterion == "f1":
                return float(metrics.f1_score(own, said, zero_division=0))
            return float(metrics.recall_score(own, said) + metrics.recall_score(~own, ~said) - 1)

        chosen = decision.best_threshold(table, positive, "x", criterion)
        best = max(reached(level) for level in [*np.unique(score), 1.1])
        assert chosen.reached == pytest.approx(best) and reached(chosen.value) == pytest.approx(best)
        assert np.abs(score - chosen.value).min() > 1e-9, "rounding decides nothing"
        assert chosen.images == 50 and chosen.of == "x"


@pytest.mark.parametrize(
    ("true", "score", "words"),
    [
        ([1, 1], [0.2, 0.3], "threshold 0.5 for x: the default, as one class alone is among the 2 validation images"),
        (
            [0, 1],
            [0.9, 0.1],
            "threshold 0.5 for x: the default, as none is better than chance on the 2 validation images",
        ),
        (
            [0, 1],
            [0.4, 0.4],
            "threshold 0.5 for x: the default, as none is better than chance on the 2 validation images",
        ),
    ],
)
def test_where_nothing_can_be_chosen_the_default_holds_and_is_said(true: Any, score: Any, words: str) -> None:
    shares = np.array(score, np.float32)
    table = {"true": np.array(true), "probabilities": np.stack([1 - shares, shares], 1)}
    assert decision.best_threshold(table, 1, "x", "youden").words == words


def test_it_is_chosen_on_the_validation_images_alone(run: Run) -> None:
    """By hand, from what the kept weights say of them; the test images say something else."""
    kept = run.threshold
    assert kept is not None and kept.of == "ill" and kept.measure == "Youden's J" and kept.images == 40
    for split, same in (("val", True), ("test", False)):
        score = probability(run, images_of(ill(), split))
        false, true, _ = metrics.roc_curve(truth_of(ill(), split), score, drop_intermediate=False)
        assert (abs(float((true - false).max()) - (kept.reached or 0)) < 1e-6) is same
    said = probability(run, images_of(ill(), "val")) >= kept.value
    truth = truth_of(ill(), "val") == 1
    assert said[truth].mean() + (~said)[~truth].mean() - 1 == pytest.approx(kept.reached)


def test_it_is_said_when_the_training_ends_and_kept_in_its_record(run: Run, capsys: pytest.CaptureFixture[str]) -> None:
    printing.trained(run)
    assert run.threshold is not None
    words = f"threshold {run.threshold.value:.3g} for ill: the best Youden's J, {run.threshold.reached:.3f}, on 40 validation images"
    assert f"with  {words}; --threshold chosen answers by it\n" in capsys.readouterr().out
    record = json.loads((run.path / "run.json").read_text())
    assert record["best"]["threshold"]["value"] == run.threshold.value
    assert record["best"]["threshold"]["of"] == "ill"


def test_without_validation_images_the_default_holds(tmp_path: Path) -> None:
    found = pellucid.train("classify", ill(val=0), "mlp", tmp_path / "run", **TINY).threshold
    assert found == Threshold(0.5, of="ill")
    assert found.words == "threshold 0.5 for ill: the default, as there are no validation images to choose it on"


def test_the_positive_class_and_the_criterion_are_options(tmp_path: Path) -> None:
    run = pellucid.train("classify", ill(), "mlp", tmp_path / "run", positive="healthy", threshold_by="f1", **TINY)
    assert run.threshold is not None and run.threshold.of == "healthy" and run.threshold.measure == "F1"
    assert "sensitivity (healthy)" in {metric.title for metric in run.task.metrics(run.classes)}


def test_more_than_two_classes_have_no_threshold(tmp_path: Path) -> None:
    run = pellucid.train("classify", "digits", "mlp", tmp_path / "run", limit=64, **{**TINY, "epochs": 1})
    assert run.threshold is None and "threshold" not in run.info["best"]
    for ask in (
        lambda: pellucid.evaluate(run, threshold=0.3),
        lambda: pellucid.predict(run, np.zeros((8, 8), np.uint8), threshold=0.3),
    ):
        with pytest.raises(
            UsageError, match=r"threshold=0.3: decides between two classes, and the run has 10; leave it out."
        ):
            ask()
    with pytest.raises(UsageError, match=r"threshold='chosen': this training chose none; give a number from 0 to 1."):
        pellucid.evaluate(run, threshold="chosen")
    assert "decision" not in pellucid.evaluate(run, baselines=False)["details"]


@pytest.mark.parametrize(
    ("given", "words"),
    [("sick", "positive='sick': is none of the classes; give 'healthy' or 'ill'."),
     (None, "")],
)  # fmt: skip
def test_a_positive_class_that_is_not_there_is_refused(given: str | None, words: str) -> None:
    if given is None:
        with pytest.raises(
            UsageError, match=r"positive='0': is one of two classes, and the data have 10; leave it out."
        ):
            Classify(positive="0").read(pellucid.data.open("digits"))
        return
    with pytest.raises(UsageError) as caught:
        Classify(positive=given).read(ill())
    assert str(caught.value) == words


# -- answering


def test_predict_answers_by_a_threshold_only_where_asked(run: Run) -> None:
    images = images_of(ill())
    score = probability(run, images)
    kept = run.threshold
    assert kept is not None
    for asked, level in ((None, None), (0.05, 0.05), ("chosen", kept.value), (0.0, 0.0), (1.0, 1.0)):
        rows = pellucid.predict(run, images[..., None], **({} if asked is None else {"threshold": asked}))
        wanted = score >= (0.5 if level is None else level)
        assert [row["label"] == "ill" for row in rows] == wanted.tolist(), asked
        for row, own in zip(rows, score, strict=True):
            assert row["probability"] == pytest.approx(own if row["label"] == "ill" else 1 - own, abs=2e-6)
            assert row.get("threshold") == (None if level is None else pytest.approx(level, abs=1e-6))


def test_evaluate_measures_the_answers_by_a_threshold(run: Run, capsys: pytest.CaptureFixture[str]) -> None:
    truth, score = truth_of(ill(), "test"), probability(run, images_of(ill()))
    plain = pellucid.evaluate(run)
    assert plain["threshold"] is None
    for level in (0.1, "chosen"):
        value = run.threshold.value if level == "chosen" and run.threshold else 0.1
        said = (score >= value).astype(int)
        found = pellucid.evaluate(run, threshold=level)
        assert found["threshold"] == value
        assert found["model"]["accuracy"]["value"] == pytest.approx((said == truth).mean())
        assert found["model"]["sensitivity"]["value"] == pytest.approx(metrics.recall_score(truth, said))
        assert found["model"]["specificity"]["value"] == pytest.approx(metrics.recall_score(1 - truth, 1 - said))
        for name in ("roc_auc", "log_loss", "brier", "calibration_error", "average_precision"):
            assert found["model"][name] == plain["model"][name], "probabilities do not depend on what is answered"
        assert found["baselines"] == plain["baselines"]
        rows = {row["decision"]: row for row in found["details"]["decision"]}
        assert rows["most probable class"]["sensitivity"]["value"] == plain["model"]["sensitivity"]["value"]
        [own] = [row for words, row in rows.items() if words.startswith(f"threshold {value:.3g}")]
        assert own["sensitivity"] == {end: found["model"]["sensitivity"][end] for end in ("value", "low", "high")}
        assert own["precision"]["value"] == pytest.approx(metrics.precision_score(truth, said))
        assert own["F1"]["value"] == pytest.approx(metrics.f1_score(truth, said))
        assert len(rows) == (2 if level == "chosen" else 3)
        printing.measured(found)
        said_so = capsys.readouterr().out
        assert f"The model's answers begin at the threshold {value:.3g}; the baselines' are as without it." in said_so
        assert "ill against the other class by the most probable class: sensitivity" in said_so


def test_a_run_that_was_measured_by_a_threshold_is_compared_without_it(run: Run, tmp_path: Path) -> None:
    """Else the threshold of one run would look like a difference between two."""
    other = pellucid.train("classify", run.info["data"]["what"], "mlp", tmp_path / "other", seed=1, **TINY)
    plain = pellucid.evaluate(run, baselines=False)["model"]["accuracy"]["value"]
    assert pellucid.evaluate(run, threshold=0.02, baselines=False)["model"]["accuracy"]["value"] != plain
    found = compare([run, other], tmp_path / "out")
    assert found.rows[0].measure is not None and found.rows[0].measure.value == plain
    assert any("metrics.json is of answers by the threshold 0.02" in note for note in found.notes)


def test_the_report_says_and_draws_the_decision(run: Run, tmp_path: Path) -> None:
    pellucid.evaluate(run, threshold=0.3)
    page = report(run, tmp_path / "report.html", maps=0).read_text()
    assert "The positive class is ill. Chosen in training: threshold" in page
    assert "begin at the threshold 0.3 of the probability of ill, which was asked for." in page
    for title in ("<h2>ROC curve</h2>", "<h2>Precision and recall</h2>", "<h2>Reliability</h2>", "<h2>Decision</h2>"):
        assert title in page
    assert "chosen in validation" in page


@pytest.mark.parametrize("value", ["-0.1", "1.5", "nan"])
def test_a_threshold_that_is_no_probability_is_refused(
    run: Run, tmp_path: Path, value: str, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "a.png").write_bytes(b"")
    assert main(["predict", str(run.path), str(tmp_path / "a.png"), "--threshold", value]) == 2
    assert f"threshold={float(value)!r}: is a probability; give a number from 0 to 1." in capsys.readouterr().err
    assert main(["evaluate", str(run.path), "--threshold", value]) == 2
    assert f"threshold={float(value)!r}: is a score; give a number from 0 to 1, or 'chosen'." in capsys.readouterr().err


def test_a_threshold_is_refused_where_answers_have_none(run: Run) -> None:
    denoiser = Run(Path(__file__).parents[1] / "runs_0_1_0" / "denoise")
    with pytest.raises(UsageError, match=r"threshold=0.3: the answers of denoise have none; leave it out."):
        pellucid.evaluate(denoiser, threshold=0.3)
    with pytest.raises(UsageError, match=r"threshold='chosen': the last weights have none; give a number from 0 to 1."):
        pellucid.evaluate(run, threshold="chosen", which="last")
