# SPDX-License-Identifier: Apache-2.0
"""The lens flow on runs, ready models and trainings that have not begun; variants; what is refused; and the experiment."""

from __future__ import annotations

import csv
import dataclasses
import io
import runpy
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional as F

from pellucid.errors import UnknownNameError, UsageError
from pellucid.lenses import Network, Splits, Training, View
from pellucid.lenses.flow import Flow
from pellucid.lenses.flow.moments import probe_for
from pellucid.looking import subjects
from pellucid.looking.looking import look
from pellucid.run import Run
from pellucid.training.training import train

HIDDEN = (16, 16, 16, 16, 16, 16)
DEEP: dict[str, Any] = {"hidden": HIDDEN, "device": "cpu", "batch_size": 32}


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    folder = tmp_path_factory.mktemp("flow") / "run"
    options = {**DEEP, "hidden": (12, 12)}
    return train("classify", "digits", "mlp", folder, epochs=1, limit=96, progress=False, **options)


def test_a_run_shows_its_start_and_its_end(run: Run, tmp_path: Path) -> None:
    view = look(run, "flow", out=tmp_path, limit=40)
    assert view["moment"].tolist() == ["untrained", "trained"]
    assert view["layer"].tolist() == ["layers.1", "layers.3", "layers.5"]
    assert view["gradient"].shape == (2, 3) and np.isfinite(view["gradient"]).all()
    assert view["loss"][1] < view["loss"][0]
    subject = subjects.of_run(run)
    network, splits = subject.part(Network), subject.part(Splits)
    assert network is not None and splits is not None
    [batch] = splits.batches("train", 40, 40)
    with torch.no_grad():
        logits = network.model(batch.images)
    assert batch.labels is not None
    assert view["loss"][1] == pytest.approx(float(F.cross_entropy(logits, batch.labels)), rel=1e-5)
    last = view["gradient"][1, -1]  # of the logits: softmax less one-hot
    truth = logits.softmax(1) - F.one_hot(batch.labels, 10)
    assert last == pytest.approx(float(truth.square().mean().sqrt()), rel=1e-4)
    assert "ReLU units dead" in view.words and "Measured on 40 images." in view.words


def test_little_memory_gives_the_same_sizes(run: Run) -> None:
    subject = subjects.of_run(run)
    network, splits, training = subject.part(Network), subject.part(Splits), subject.part(Training)
    assert network is not None
    small = dataclasses.replace(network, memory=40_000)
    assert len(probe_for(small, splits, training, 40).batches) > 1
    whole, parts = (Flow(limit=40).look(one, splits, training) for one in (network, small))
    np.testing.assert_allclose(parts["gradient"], whole["gradient"], rtol=1e-4)
    np.testing.assert_allclose(parts["weight_gradient"], whole["weight_gradient"], rtol=1e-4)


def test_a_training_is_followed_on_a_copy(tmp_path: Path) -> None:
    options = {**DEEP, "activation": "sigmoid", "initialisation": "uniform", "seed": 1}
    with subjects.of_training("classify", "digits", "mlp", options) as subject:
        network = subject.part(Network)
        assert network is not None
        before = {name: value.clone() for name, value in network.model.state_dict().items()}
        found, again = (subject.look(Flow(limit=32, steps=6, moments=3)) for _ in range(2))
        assert all(torch.equal(value, before[name]) for name, value in network.model.state_dict().items())
    assert found["step"].tolist() == [0, 3, 6] and found["training_loss"].shape == (6,)
    assert found["update"].shape == (3, 7) and (found["update"] > 0).all()
    for name in ("gradient", "update", "training_loss"):
        np.testing.assert_array_equal(found[name], again[name])
    assert "it vanishes" in found.words and "What would help: ReLU with He's initialisation" in found.words
    assert found["gradient_ratio"][0] < 1e-3


def test_variants_stand_side_by_side(tmp_path: Path) -> None:
    view = look("classify", "flow", out=tmp_path, data="digits", model="mlp", compare="all", steps=3, **DEEP)
    rows = list(csv.DictReader(io.StringIO((tmp_path / "flow.csv").read_text())))
    assert len(rows) == len(view["variant"]) == 18
    of = {name: float(ratio) for name, ratio in zip(view["variant"], view["gradient_ratio"], strict=True)}
    # sigmoid passes at most a quarter; He's variance is six times that of the uniform one
    assert of["sigmoid, uniform, no batch norm"] < of["sigmoid, he, no batch norm"] < 0.1
    assert of["relu, uniform, no batch norm"] < of["relu, xavier, no batch norm"] < of["relu, he, no batch norm"]
    assert 0.1 < of["relu, he, no batch norm"] < 10 and 0.1 < of["sigmoid, uniform, batch norm"] < 10
    assert view["training_loss"].shape == (18, 3) and view["gradient"].shape == (18, 7)
    assert float(rows[0]["gradient_ratio"]) == pytest.approx(of[view["variant"][0]], rel=1e-3)
    assert rows[0]["verdict"] == view["verdict"][0]
    assert "Batch norm: " in view.words


def test_shortcuts_and_any_other_option(tmp_path: Path) -> None:
    options = {"data": "digits", "model": "cifar_resnet", "widths": (4, 4, 8), "device": "cpu", "steps": 0}
    view = look(
        "classify", "flow", out=tmp_path, compare=("depth=8,14", "plain"), batch_norm=False, limit=64, **options
    )
    assert view["variant"].tolist() == [
        "depth 8, plain", "depth 8, shortcuts", "depth 14, plain", "depth 14, shortcuts",
    ]  # fmt: skip
    assert np.isnan(view["gradient"][0, 8:]).all() and np.isfinite(view["gradient"][3]).all()
    # without normalisation the answers of the blocks add up
    assert view["activation_ratio"][3] > view["activation_ratio"][2]
    assert "training_loss" not in view.numbers and "Shortcuts: " in view.words


def test_a_ready_model_without_labels_is_asked_for_drawn_classes(tmp_path: Path) -> None:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 5))
    given = [np.random.default_rng(k).random((side, side, 3)) for k, side in enumerate((8, 11, 8))]
    views = [look(model.requires_grad_(flag), "flow", given, tmp_path) for flag in (True, False)]
    for name in ("gradient", "activation"):
        np.testing.assert_array_equal(views[0][name], views[1][name])
    assert views[0]["moment"].tolist() == ["untrained", "as it is"]
    assert "Measured on 3 images, with random classes." in views[0].words
    assert not any(weight.requires_grad for weight in model.parameters())


class Pair(nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x.mean((2, 3), keepdim=True)


@pytest.mark.parametrize(
    ("options", "error", "said"),
    [
        ({"limit": 1}, UsageError, "limit=1: must be at least 2"),
        ({"steps": -1}, UsageError, "steps=-1: must be at least 0"),
        ({"moments": 1}, UsageError, "moments=1: must be at least 2"),
        ({"compare": "depth"}, UsageError, "compare='depth': has no values"),
        ({"compare": "depth=2,3"}, UnknownNameError, "option='depth'"),
        ({"compare": "activation=relu"}, UsageError, "leaves nothing to compare"),
        ({"compare": "activation=relu,swish"}, UnknownNameError, "activation='swish'"),
        ({"compare": ("all", "dropout=0.1,0.2,0.3")}, UsageError, "gives 54 variants, above 48"),
    ],
    ids=str,
)
def test_what_cannot_be_is_one_sentence(
    run: Run, tmp_path: Path, options: dict[str, Any], error: type[Exception], said: str
) -> None:
    with pytest.raises(error, match=said) as raised:
        look(run, "flow", out=tmp_path / "out", **options)
    assert "\n" not in str(raised.value) and not (tmp_path / "out").exists()


def test_models_without_a_loss_or_options_or_layers_are_refused(tmp_path: Path) -> None:
    image = np.zeros((6, 6))
    net = nn.Sequential(nn.Conv2d(1, 2, 3), nn.Flatten(), nn.Linear(32, 3))
    for model, options, said in (
        (Pair(), {}, "not a vector of classes"),
        (nn.Flatten(), {}, "no dense or convolutional layer"),
        (net, {"compare": "plain"}, "a ready model has no options"),
        (nn.Sequential(nn.Flatten(), nn.Linear(108, 3), nn.BatchNorm1d(3)), {}, "give more images"),
    ):
        with pytest.raises(UsageError, match=said):
            look(model, "flow", image, tmp_path, **options)
    with pytest.raises(UsageError, match="needs at least one image"):
        look(net, "flow", out=tmp_path)


def test_other_tasks_have_their_own_loss(tmp_path: Path) -> None:
    options = {"data": "digits", "device": "cpu", "batch_size": 32, "steps": 2, "moments": 2}
    view: View = look("denoise", "flow", out=tmp_path, model="autoencoder", limit=32, **options)
    assert np.isfinite(view["gradient"]).all() and view["training_loss"].shape == (2,)


@pytest.mark.slow
def test_the_degradation_experiment_in_little(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Two networks of 8 and two of 14 layers; a second call only draws again."""
    file = Path(__file__).parents[2] / "examples" / "degradation" / "degradation.py"
    main = runpy.run_path(str(file))["main"]
    words = [str(tmp_path), "--depths", "8", "14", "--widths", "4", "4", "8", "--epochs", "2", "--limit", "256"]
    main(words)
    said = capsys.readouterr().out
    runs = [Run(path.parent) for path in sorted(tmp_path.glob("*/run.json"))]
    assert len(runs) == 4 and all(one.status == "finished" for one in runs)
    assert "training error, plain: 8 layers" in said and "training error, residual: 8 layers" in said
    assert (tmp_path / "degradation.png").stat().st_size > 10_000
    one = runs[0].history
    accuracies = [row["accuracy"] for row in one if row["split"] == "val"]
    assert len(accuracies) == 2
    stamps = [(tmp_path / run.path.name / "weights.safetensors").stat().st_mtime_ns for run in runs]
    main(words)
    assert stamps == [(tmp_path / run.path.name / "weights.safetensors").stat().st_mtime_ns for run in runs]
