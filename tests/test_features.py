# SPDX-License-Identifier: Apache-2.0
"""Nearest neighbours on a frozen backbone's features: against a count by hand, kept once, and only where nothing was unfrozen."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from pellucid import features
from pellucid.data import open as open_data
from pellucid.data.limiting import limited
from pellucid.inference import evaluate
from pellucid.run import Run
from pellucid.tasks import averaged, summarise
from pellucid.training.training import train

NAME = "5 nearest neighbours on the frozen features"
OPTIONS: dict[str, Any] = {"pretrained": False, "frozen": True, "size": 32, "batch_size": 16, "device": "cpu", "precision": "fp32",
                           "limit_per_class": 4, "seed": 1, "progress": False}  # fmt: skip


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    return train("classify", "digits", "mobilenet_v2", tmp_path_factory.mktemp("frozen") / "run", epochs=1, **OPTIONS)


def test_the_neighbours_are_those_by_cosine(run: Run, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PELLUCID_CACHE", str(tmp_path))
    found = evaluate(run, split="val")["baselines"][NAME]["accuracy"]["value"]
    digits, model = open_data("digits"), run.model()
    few = limited(digits["train"], limit_per_class=4, seed=1, classes=digits.classes)
    backbone: Any = next(module for module in model.modules() if type(module).__name__ == "Frozen")
    seen: dict[str, list[torch.Tensor]] = {"train": [], "test": []}
    hook = backbone.register_forward_hook(lambda module, images, answer: seen[part].append(answer))
    for part, split in (("train", few), ("test", digits["val"])):  # noqa: B007
        images = np.stack([split.images.read(i, 1) for i in range(len(split))])
        pixels = torch.nn.functional.interpolate(
            torch.from_numpy(images).float(), (32, 32), mode="bilinear", antialias=True
        )
        with torch.no_grad():
            model(pixels.round() / 255)
    hook.remove()
    truth = [split.targets["label"].index.numpy() for split in (few, digits["val"])]  # type: ignore[attr-defined]
    known, asked = (seen[part][0].flatten(1).double().numpy() for part in ("train", "test"))
    cosines = asked @ known.T / np.linalg.norm(asked, axis=1)[:, None] / np.linalg.norm(known, axis=1)
    votes = truth[0][np.argsort(-cosines, axis=1)[:, :5]]  # (M, 5)
    expected = np.mean([np.bincount(own).argmax() == true for own, true in zip(votes, truth[1], strict=True)])
    assert found == pytest.approx(expected, abs=0.02)  # images are resized by another routine
    assert expected > 0.3  # ten classes: even random filters tell digits apart


def test_features_are_computed_once(run: Run, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PELLUCID_CACHE", str(tmp_path))
    model, split = run.model(), open_data("digits")["val"]
    backbone = features.frozen_backbone(run, model)
    assert backbone is not None
    calls: list[int] = []
    backbone.register_forward_hook(lambda module, images, answer: calls.append(len(images[0])))
    device = torch.device("cpu")
    first = features.frozen_features(run, model, backbone, split, 50, device, "digits-val")
    assert sum(calls) >= len(split)
    calls.clear()
    again = features.frozen_features(run, model, backbone, split, 50, device, "digits-val")
    assert sum(calls) <= 1  # one image tells how many features there are
    assert np.array_equal(first, again)
    assert np.allclose(first, features.frozen_features(run, model, backbone, split, 7, device), atol=1e-4)


def test_a_backbone_that_was_trained_has_no_frozen_features(tmp_path: Path) -> None:
    made = train("classify", "digits", "mobilenet_v2", tmp_path / "run", epochs=2, unfreeze="last", after=1, **OPTIONS)
    assert features.frozen_backbone(made, made.model()) is None


def test_the_mean_of_one_model_has_the_interval_of_that_model(run: Run) -> None:
    evaluate(run, split="val", baselines=False)
    records = run.records()
    for metric in run.task.metrics(run.classes):
        alone = summarise([metric], records)[metric.key]
        assert averaged(metric, [records]) == alone
        assert averaged(metric, [records, records]).value == pytest.approx(alone.value)
