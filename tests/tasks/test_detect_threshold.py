# SPDX-License-Identifier: Apache-2.0
"""The score from which detections are answered: chosen on validation images, kept with the weights, and said."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from detected import SMALL, brief, scenes
from safetensors.torch import load_file, save_file

import pellucid
from pellucid import _boxes
from pellucid.cli.cli import main
from pellucid.data.dataset import Dataset
from pellucid.data.targets import Boxes
from pellucid.errors import UsageError
from pellucid.run import Run
from pellucid.tasks import Threshold
from pellucid.tasks.detect import Detect, answers, metrics
from pellucid.tasks.detect.objects import Detected


def f1_from(answer: Detected, truth: Boxes, least: float) -> float:
    """The F1 of the detections from a score on, by the plainest loop."""
    right = answered = 0
    for i in range(len(truth)):
        free = set(range(len(truth.labels[i])))
        for k in np.argsort(-answer.scores[i].numpy(), kind="stable"):
            if answer.scores[i][k] < least:
                continue
            answered += 1
            fits = {
                j: float(_boxes.iou(answer.corners[i][k][None], truth.corners[i][j][None]))
                for j in free
                if truth.labels[i][j] == answer.labels[i][k]
            }
            best = max(fits, key=lambda j: fits[j], default=None)
            if best is not None and fits[best] >= 0.5:
                right += 1
                free.remove(best)
    objects = sum(map(len, truth.labels))
    return 2 * right / (answered + objects)


def noisy(seed: int) -> tuple[Detected, Boxes]:
    """True boxes, and detections of which about half are near one."""
    draws = np.random.default_rng(seed)
    corners, labels, boxes, names, scores = [], [], [], [], []
    for _ in range(6):
        count = int(draws.integers(0, 5))
        low = draws.uniform(0, 40, (count, 2))
        true = torch.tensor(np.concatenate([low, low + draws.uniform(8, 20, (count, 2))], 1)).float().view(-1, 4)
        own = torch.tensor(draws.integers(0, 2, count))
        extra = int(draws.integers(0, 4))
        low = draws.uniform(0, 40, (extra, 2))
        false = torch.tensor(np.concatenate([low, low + 10], 1)).float().view(-1, 4)
        found = torch.cat([true + torch.tensor(draws.normal(0, 1.5, (count, 4))).float(), false])
        score = torch.tensor(draws.uniform(0.02, 1, count + extra)).float().mul(10).ceil().div(10)  # with equal ones
        order = score.argsort(descending=True, stable=True)
        corners.append(true)
        labels.append(own)
        boxes.append(found[order])
        names.append(torch.cat([own, torch.tensor(draws.integers(0, 2, extra))])[order])
        scores.append(score[order])
    return Detected(boxes, names, scores, torch.full((6,), 0.5)), Boxes(corners, labels)


@pytest.mark.parametrize("seed", range(8))
def test_no_threshold_has_a_higher_f1_than_the_chosen_one(seed: int) -> None:
    answer, truth = noisy(seed)
    chosen = answers.chosen(metrics.columns(answer, truth))
    assert chosen is not None and chosen.measure == "F1 at IoU 0.5" and chosen.images == 6
    each = sorted({float(score) for own in answer.scores for score in own})
    assert chosen.reached == pytest.approx(max(f1_from(answer, truth, least) for least in each))
    assert f1_from(answer, truth, chosen.value) == pytest.approx(chosen.reached)
    assert all(abs(chosen.value - score) > 1e-6 for score in each), "rounding decides nothing"


def test_the_threshold_belongs_to_the_weights_that_are_kept(tmp_path: Path) -> None:
    """Chosen by hand from what the kept weights find on the validation images, it is the one in run.json and in the weights."""
    run = brief(tmp_path / "run", epochs=3, precision="fp32")
    kept = run.threshold
    assert kept is not None
    model, val = run.model(), run.data(scenes())["val"]
    truth = val.targets["boxes"]
    assert isinstance(truth, Boxes)
    pixels = torch.stack([torch.from_numpy(val.images.read(i, 3)) for i in range(len(val))]).float() / 255
    with torch.no_grad():
        found = run.task.predict(model, pixels)
    chosen = answers.chosen(metrics.columns(found, truth))
    expected = 0.5 if chosen is None else chosen.value
    assert kept.value == pytest.approx(expected, abs=1e-5)
    assert kept.images == 6
    assert load_file(run.path / "weights.safetensors")["threshold"].item() == pytest.approx(kept.value, abs=1e-6)
    assert f"{kept.value:.3g}" in kept.words


def test_a_resumed_training_chooses_as_one_that_was_not_stopped(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = brief(tmp_path / "whole", epochs=3, ema=0.9)
    with monkeypatch.context() as patch:
        patch.setattr("pellucid.training.training.stopping", lambda accelerator, stop, step: step >= 3)
        stopped = brief(tmp_path / "parts", epochs=3, ema=0.9)
        assert stopped.status == "stopped" and stopped.threshold is not None
    resumed = brief(tmp_path / "parts", epochs=3, ema=0.9)
    assert resumed.status == "finished"
    assert resumed.threshold == whole.threshold
    for name in ("weights.safetensors", "last.safetensors"):
        ours, theirs = (load_file(one.path / name)["threshold"] for one in (resumed, whole))
        assert torch.equal(ours, theirs)


def without_validation() -> Dataset:
    data = scenes()
    return data.replace(splits={**data.splits, "val": data["val"].select([])})


def test_without_validation_images_the_default_holds_and_is_said(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Also where the weights that it starts from bring another threshold."""
    first = brief(tmp_path / "first")
    tensors = load_file(first.path / "weights.safetensors")
    tensors["threshold"].fill_(0.83)
    save_file(tensors, tmp_path / "start.safetensors")
    run = pellucid.train(
        "detect", without_validation(), None, tmp_path / "run",
        weights=tmp_path / "start.safetensors", epochs=1, **SMALL,
    )  # fmt: skip
    assert run.threshold == Threshold(0.5)
    assert run.threshold.words == "threshold 0.5: the default, as there are no validation images to choose it on"
    assert load_file(run.path / "weights.safetensors")["threshold"].item() == 0.5
    assert Run(run.path).threshold == run.threshold


def test_where_no_detection_is_right_the_default_holds_and_is_said(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def blind(self: Detect, model: Any, input: torch.Tensor) -> Detected:
        none = [torch.zeros(0)] * len(input)
        return Detected(
            [torch.zeros(0, 4)] * len(input), [own.long() for own in none], none, torch.full((len(input),), 0.5)
        )

    monkeypatch.setattr(Detect, "predict", blind)
    run = brief(tmp_path / "run")
    assert run.threshold is not None
    assert run.threshold.words == "threshold 0.5: the default, as no answer is right on 6 validation images"


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Run:
    return brief(tmp_path_factory.mktemp("run") / "run")


def test_the_threshold_is_said_on_the_terminal(trained: Run, capsys: pytest.CaptureFixture[str]) -> None:
    from pellucid.cli import printing

    printing.trained(trained)
    assert trained.threshold is not None
    assert f"from  {trained.threshold.words}\n" in capsys.readouterr().out


def test_predict_answers_from_the_threshold_on_or_from_another_one(trained: Run) -> None:
    images = [scenes()["test"].images.read(i, 3).transpose(1, 2, 0) for i in range(4)]
    least = trained.threshold
    assert least is not None
    every = pellucid.predict(trained, images, threshold=0.0)
    for asked in (None, 0.12, 1.0):
        rows = pellucid.predict(trained, images, **({} if asked is None else {"threshold": asked}))
        from_here = least.value if asked is None else asked
        for row, whole in zip(rows, every, strict=True):
            wanted = [one for one in whole["detections"] if one["score"] >= from_here]
            assert row["detections"] == wanted and row["objects"] == len(wanted)
            assert row["threshold"] == pytest.approx(from_here, abs=1e-6)
    assert sum(row["objects"] for row in every) > 50, "even a bad model finds something from 0 on"


@pytest.mark.parametrize("value", ["-0.1", "1.5", "nan", "inf"])
def test_a_threshold_that_is_no_score_is_refused(
    trained: Run, tmp_path: Path, capsys: pytest.CaptureFixture[str], value: str
) -> None:
    (tmp_path / "a.png").write_bytes(b"")
    assert main(["predict", str(trained.path), str(tmp_path / "a.png"), "--threshold", value]) == 2
    said = capsys.readouterr().err
    assert f"threshold={float(value)!r}: is a score; give a number from 0 to 1." in said and said.count("\n") == 1


def test_a_threshold_of_another_type_is_refused(trained: Run) -> None:
    with pytest.raises(UsageError, match=r"^threshold=True: must be a number"):
        pellucid.predict(trained, np.zeros((64, 64, 3), np.uint8), threshold=True)


def test_a_record_with_a_damaged_threshold_is_refused(trained: Run, tmp_path: Path) -> None:
    record = json.loads((trained.path / "run.json").read_text())
    record["best"]["threshold"]["value"] = "high"
    (tmp_path / "run.json").write_text(json.dumps(record))
    with pytest.raises(UsageError, match=r"best\.threshold\.value is 'high', not a number"):
        Run(tmp_path)
