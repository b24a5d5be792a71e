# SPDX-License-Identifier: Apache-2.0
"""localize: trainings in which nothing is ever found, and answers that agree with the measures."""

from __future__ import annotations

import dataclasses
import json
import math
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

import pellucid
from pellucid.data.targets import Boxes
from pellucid.reporting.reporting import report
from pellucid.tasks import summarise
from pellucid.tasks.localize import Localize, metrics
from pellucid.tasks.localize.objects import Located

QUICK = {"epochs": 2, "limit": 64, "batch_size": 32, "device": "cpu", "progress": False}


def test_a_training_that_finds_nothing_ends_as_others_do(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    predict = Localize.predict

    def blind(self: Localize, model: nn.Module, input: Tensor) -> Located:
        answer = predict(self, model, input)
        return dataclasses.replace(answer, present=torch.zeros_like(answer.present))

    monkeypatch.setattr(Localize, "predict", blind)
    run = pellucid.train("localize", "scenes", "mlp", tmp_path / "run", hidden=(16,), **QUICK)
    assert run.status == "finished"
    assert (run.path / "weights.safetensors").exists()
    values = {name: one["value"] for name, one in pellucid.evaluate(run, baselines=False)["model"].items()}
    assert values["quality"] == values["mean_iou"] == values["found"] == values["pixel_tpr"] == 0
    assert math.isnan(values["pixel_ppv"]), "no pixel was answered"
    assert json.loads((run.path / "metrics.json").read_text())["model"]["pixel_ppv"]["value"] is None
    assert report(run).stat().st_size > 10_000


def test_predict_gives_the_boxes_that_evaluate_measured(tmp_path: Path) -> None:
    run = pellucid.train("localize", "scenes", "mlp", tmp_path / "run", hidden=(16,), **QUICK)
    pellucid.evaluate(run, baselines=False)
    records, test = run.records(), run.data()["test"]
    images = [test.images.read(i, 3).transpose(1, 2, 0) for i in range(20)]
    rows = pellucid.predict(run, images)
    truth = test.targets["boxes"]
    assert isinstance(truth, Boxes)
    for i, row in enumerate(rows):
        best = max(truth.corners[i].tolist(), key=lambda box: (box[2] - box[0]) * (box[3] - box[1]))
        overlap = 0.0
        if row["label"] is not None:
            own = [row["box"][side] for side in ("x0", "y0", "x1", "y1")]
            wide = max(0.0, min(own[2], best[2]) - max(own[0], best[0]))
            tall = max(0.0, min(own[3], best[3]) - max(own[1], best[1]))
            area = [(box[2] - box[0]) * (box[3] - box[1]) for box in (own, best)]
            overlap = wide * tall / (sum(area) - wide * tall)
        assert records["iou"][i] == pytest.approx(overlap, abs=2e-3), i


def test_false_alarms_count_and_the_order_of_images_does_not() -> None:
    """An object in an empty image lowers what counts precision, wherever the empty images stand."""
    rng = np.random.default_rng(5)
    start = torch.from_numpy(rng.uniform(0, 20, (40, 2)).astype(np.float32))
    corners = torch.cat([start, start + 10], 1)
    present = torch.arange(40) % 3 > 0
    truth = Located(present.float(), torch.zeros(40, dtype=torch.int64), corners * present[:, None])
    shares = torch.tensor([[1.0, 0.0]]).expand(40, 2)
    sure, quiet = torch.ones(40), present.float()

    def measured(found: Tensor, order: Tensor) -> dict[str, float]:
        answer = Located(found[order], truth.index[order], corners[order] + 1, shares[order])
        records = metrics.columns(answer, truth[order], (40, 40))
        return {name: one.value for name, one in summarise(metrics.METRICS, records).items()}

    straight = torch.arange(40)
    loud, still = measured(sure, straight), measured(quiet, straight)
    assert loud["false_alarms"] == 1 and still["false_alarms"] == 0
    for name in ("quality", "right", "pixel_ppv", "pixel_iou", "pixel_tnr"):
        assert loud[name] < still[name], name
    for seed in range(3):
        order = torch.randperm(40, generator=torch.Generator().manual_seed(seed))
        assert measured(sure, order) == pytest.approx(loud)
