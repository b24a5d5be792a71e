# SPDX-License-Identifier: Apache-2.0
"""detect: what a training, its measures, its report and a comparison say, also where nothing is ever found."""

from __future__ import annotations

import dataclasses
import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from detected import SMALL, scenes
from PIL import Image

import pellucid
from pellucid.data.annotations.converting import convert
from pellucid.data.dataset import Dataset, Split
from pellucid.data.targets import Boxes
from pellucid.errors import DataError
from pellucid.reporting.headline import headline
from pellucid.reporting.reporting import report
from pellucid.run import Run
from pellucid.tasks.detect import objects

PARTS = {"loss", "objectness", "proposal_box", "class", "box"}


LOW = 0.02  # a score
QUICK = {**SMALL, "epochs": 1}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A few scenes as a COCO set."""
    own = tmp_path_factory.mktemp("scenes") / "coco"
    convert(scenes(), "coco", own)
    return own


@pytest.fixture(scope="module")
def run(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Run:
    """A model that has learned next to nothing, measured with its baselines."""
    own = pellucid.train("detect", folder, None, tmp_path_factory.mktemp("detect") / "run", **{**SMALL, "epochs": 2})
    pellucid.evaluate(own)
    return own


def test_the_loss_and_its_parts_are_measured_on_the_validation_images_too(run: Run) -> None:
    rows = {split: [row for row in run.history if row["split"] == split] for split in ("train", "val")}
    assert len(rows["val"]) == 2
    for row in (*rows["train"], *rows["val"]):
        assert row.keys() >= PARTS and all(math.isfinite(row[part]) for part in PARTS)
    for row in rows["val"]:
        assert row["loss"] == pytest.approx(sum(row[part] for part in PARTS - {"loss"}), rel=1e-4)
    assert all("ap50" in row for row in rows["val"])


def test_predict_gives_the_boxes_that_evaluate_measured(run: Run) -> None:
    records, test = run.records(), run.data()["test"]
    # a model that has learned next to nothing may be sure of nothing
    images = [test.images.read(i, 3).transpose(1, 2, 0) for i in range(len(test))]
    rows = pellucid.predict(run, images, threshold=LOW)
    answers = 0
    for i, row in enumerate(rows):
        scores = records["score"][i]
        answered = scores >= LOW
        assert [one["score"] for one in row["detections"]] == pytest.approx(scores[answered].tolist(), abs=1e-5)
        boxes = [[one[side] for side in ("x0", "y0", "x1", "y1")] for one in row["detections"]]
        assert np.allclose(np.reshape(boxes, (-1, 4)), records["box"][i][answered], atol=0.02)
        labels = [run.classes.index(one["label"]) for one in row["detections"]]
        assert labels == records["label"][i][answered].tolist()
        answers += len(boxes)
    assert answers > 0


def test_the_report_says_that_a_weak_model_is_behind(run: Run) -> None:
    metrics = run.metrics
    assert metrics is not None
    best = max(one["ap50"]["value"] for one in metrics["baselines"].values())
    assert metrics["model"]["ap50"]["value"] < best, "the classical method is better than two epochs on 16 images"
    said = headline(run, metrics)
    assert said.verdict in ("behind", "not distinguishable") and said.words.startswith(
        ("Behind", "Not distinguishable")
    )
    assert said.rival is not None and metrics["baselines"][said.rival]["ap50"]["value"] == best
    page = report(run, maps=0).read_text(encoding="utf-8")
    for title in ("By class", "Errors", "Counts", "Recall of the proposals", "Confusion"):
        assert f">{title}</h2>" in page
    assert "recall of 300 proposals, IoU 0.7" in page and "missed" in page
    assert "AP50–95, large" not in page, "no image has such an object"
    for name in ("precision_recall", "errors", "counts", "proposal_recall"):
        with Image.open(run.figures / f"{name}.png") as picture:
            assert np.ptp(np.asarray(picture.convert("L"))) > 100


def test_details_by_class_and_errors_are_kept_as_numbers(run: Run) -> None:
    metrics = json.loads((run.path / "metrics.json").read_text())
    rows = metrics["details"]["by_class"]
    truth = run.data()["test"].targets["boxes"]
    assert isinstance(truth, Boxes)
    objects_of = torch.cat(truth.labels).bincount(minlength=len(run.classes)).tolist()
    assert [row["objects"] for row in rows] == objects_of
    assert sum(row["n"] for row in metrics["details"]["errors"]) > 0


def test_two_detectors_are_compared_image_by_image(run: Run, folder: Path, tmp_path: Path) -> None:
    other = pellucid.train("detect", folder, None, tmp_path / "other", **QUICK, seed=1)
    pellucid.evaluate(other, baselines=False)
    found = pellucid.compare([run, other], tmp_path / "comparison")
    [gap] = [row.difference for row in found.rows if row.difference is not None]
    assert gap.paired and gap.low <= gap.value <= gap.high
    assert {row.run.path for row in found.rows} == {run.path, other.path}


@pytest.fixture
def blind(monkeypatch: pytest.MonkeyPatch) -> None:
    """No score is ever high enough to be a detection."""
    monkeypatch.setattr(objects, "FLOOR", 2.0)


@pytest.mark.usefixtures("blind")
def test_a_training_that_finds_nothing_ends_as_others_do(folder: Path, tmp_path: Path) -> None:
    run = pellucid.train("detect", folder, None, tmp_path / "run", **{**SMALL, "epochs": 2})
    assert run.status == "finished" and (run.path / "weights.safetensors").exists()
    assert run.info["best"]["value"] == 0
    values = {name: one["value"] for name, one in pellucid.evaluate(run, baselines=False)["model"].items()}
    assert values["ap50"] == values["ap"] == values["recall"] == values["f1"] == 0
    assert math.isnan(values["precision"]), "nothing was answered"
    assert json.loads((run.path / "metrics.json").read_text())["model"]["precision"]["value"] is None
    assert report(run, maps=0).stat().st_size > 10_000
    words = pellucid.look(run, "confusion").words
    assert "0 (0 %) were found with their class" in words and "0 answers show no object" in words


def without_objects(split: Split) -> Split:
    boxes = split.targets["boxes"]
    assert isinstance(boxes, Boxes)
    none = [torch.zeros(0, 4)] * len(split), [torch.zeros(0, dtype=torch.int64)] * len(split)
    return dataclasses.replace(split, targets={**split.targets, "boxes": Boxes(*none)})


def test_validation_and_test_images_without_any_object_are_measured(tmp_path: Path) -> None:
    whole: Dataset = scenes()
    dataset = whole.replace(
        splits={**whole.splits, "val": without_objects(whole["val"]), "test": without_objects(whole["test"])}
    )
    run = pellucid.train("detect", dataset, None, tmp_path / "run", **{**SMALL, "epochs": 2})
    losses = [row["loss"] for row in run.history if row["split"] == "val"]
    assert run.info["best"]["epoch"] == 1 + int(np.argmin(losses)), "the loss alone tells the epochs apart"
    found = pellucid.evaluate(run, dataset)
    assert math.isnan(found["model"]["ap50"]["value"])
    assert found["model"]["count_off"]["value"] >= 0


def test_without_a_test_split_the_training_ends_and_evaluate_says_it_in_one_sentence(tmp_path: Path) -> None:
    whole: Dataset = scenes()
    dataset = whole.replace(splits={**whole.splits, "test": whole["test"].select([])})
    run = pellucid.train("detect", dataset, None, tmp_path / "run", **QUICK)
    assert run.status == "finished"
    with pytest.raises(
        DataError, match=r"split='test': of data=.* is empty; choose another split or other data"
    ) as fault:
        pellucid.evaluate(run, dataset)
    assert "\n" not in str(fault.value)
    measured: dict[str, Any] = pellucid.evaluate(run, dataset, split="val", baselines=False)
    assert measured["split"] == "val" and math.isfinite(measured["model"]["ap50"]["value"])
