# SPDX-License-Identifier: Apache-2.0
"""Exported networks in whole numbers of 8 bits: what they hold, and that their measures are what other programs find."""

from __future__ import annotations

import json
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from pellucid import quantising, train
from pellucid.cli.cli import main
from pellucid.errors import PellucidWarning, UsageError
from pellucid.exporting import export, facts
from pellucid.run import Run
from pellucid.tasks import Measure

onnxruntime = pytest.importorskip("onnxruntime")
onnx = pytest.importorskip("onnx")

BRIEF: dict[str, Any] = {"device": "cpu", "progress": False}


@pytest.fixture(scope="module")
def quantised(tmp_path_factory: pytest.TempPathFactory) -> tuple[Run, Path, Path]:
    folder = tmp_path_factory.mktemp("int8")
    run = train("classify", "digits", "mlp", folder / "run", hidden=(32,), epochs=3, **BRIEF)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", PellucidWarning)
        full, int8 = export(run, folder / "files", ["onnx"], int8=True)
    return run, full, int8


def test_the_measures_are_those_that_another_program_finds(quantised: tuple[Run, Path, Path]) -> None:
    run, full, int8 = quantised
    found = json.loads(facts(int8)["int8"])
    test = run.data()["test"]
    images = np.stack([test.images.read(k, 1) for k in range(len(test))]).astype(np.float32) / 255
    truth = test.targets["label"].index.numpy()  # type: ignore[attr-defined]
    right = []
    for file, name in ((full, "full"), (int8, "int8")):
        session = onnxruntime.InferenceSession(file, providers=["CPUExecutionProvider"])
        right.append(session.run(["probabilities"], {"images": images})[0].argmax(1) == truth)
        assert found[name]["value"] == pytest.approx(right[-1].mean(), abs=2.1 / len(test))  # ties of the last bit
        assert found[name]["low"] <= found[name]["value"] <= found[name]["high"]
    assert found["difference"][0] == pytest.approx(found["int8"]["value"] - found["full"]["value"])
    assert found["difference"][1] <= found["difference"][0] <= found["difference"][2]
    assert (found["images"], found["calibration"]) == (len(test), 128)
    assert found["bytes"][0] == full.stat().st_size
    assert abs(found["bytes"][1] - int8.stat().st_size) < 4000, "but for the metadata"
    assert min(found["speed"]) > 0


def test_weights_are_whole_numbers_a_scale_for_each_channel(quantised: tuple[Run, Path, Path]) -> None:
    run, _, int8 = quantised
    held = {one.name: onnx.numpy_helper.to_array(one) for one in onnx.load(int8).graph.initializer}
    weights = {name: array for name, array in held.items() if array.dtype == np.int8 and array.ndim == 2}
    assert sorted(array.size for array in weights.values()) == [320, 2048]
    assert all(np.abs(array).max() <= 64 for array in weights.values()), "7 bits: no sum overflows on any processor"
    ((name, whole),) = ((name, array) for name, array in weights.items() if array.size == 2048)
    scale = held[name.replace("_quantized", "_scale")]
    assert scale.shape == (32,)
    near = whole * scale if whole.shape[1] == 32 else (whole.T * scale)
    wanted = max((value for value in run.model().state_dict().values() if value.ndim == 2), key=torch.numel)
    assert np.abs(near.T - wanted.numpy()).max() <= scale.max() / 2 + 1e-6


def test_it_is_printed(quantised: tuple[Run, Path, Path], capsys: pytest.CaptureFixture[str]) -> None:
    _, _, int8 = quantised
    found = quantising.Quantised.of(facts(int8)["int8"])
    assert found.words.startswith(f"accuracy {found.int8}, full {found.full}, difference ")
    assert "test images; " in found.words and "images a second" in found.words
    assert facts(int8)["output"] == "probabilities", "the metadata of the full file are there too"


@pytest.mark.parametrize(("better", "gap", "loses"), [
    ("higher", (-0.02, -0.03, -0.01), True), ("higher", (-0.02, -0.05, 0.01), False), ("higher", (0.02, 0.01, 0.03), False),
    ("lower", (0.02, 0.01, 0.03), True), ("lower", (-0.02, -0.03, -0.01), False),
])  # fmt: skip
def test_a_loss_is_one_that_chance_does_not_explain(better: str, gap: tuple[float, float, float], loses: bool) -> None:
    measure = Measure(0.5, 0.4, 0.6, better=better)
    found = quantising.Quantised(Path("a"), "m", measure, measure, gap, 10, 10, (2, 1), (1.0, 2.0))
    assert found.loses is loses


def test_a_loss_is_said(quantised: tuple[Run, Path, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Scales of the activations that come from other images than those of the training ruin the answers."""
    run, full, _ = quantised
    written = quantising._write
    monkeypatch.setattr(quantising, "_write", lambda one, two, seen: written(one, two, [images * 0 for images in seen]))
    said = r"^int8: accuracy is .* lower than that of model\.onnx on 364 test images, more than chance explains; use the full file"
    with pytest.warns(PellucidWarning, match=said):
        found = quantising.quantise(run, run.model(), full, tmp_path / "bad.onnx")
    assert found.loses


def test_what_cannot_be(quantised: tuple[Run, Path, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run, _, _ = quantised
    assert main(["export", str(run.path), "--int8", "--formats", "torch", "--out", str(tmp_path)]) == 2
    assert "int8=True: is made of the ONNX file; add onnx to formats=['torch']." in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


@pytest.mark.slow
@pytest.mark.parametrize(("task", "model", "data", "options"), [
    ("denoise", "unet", "digits", {"widths": (8, 16)}),
    ("segment", "unet", None, {"widths": (8,), "limit": 64}),
    ("localize", "convnet", None, {"widths": (8,), "limit": 64}),
    ("landmarks", "convnet", None, {"widths": (8,), "limit": 64}),
    ("inpaint", "unet", "digits", {"widths": (8,)}),
])  # fmt: skip
def test_other_tasks(task: str, model: str, data: str | None, options: dict[str, Any], tmp_path: Path) -> None:
    run = train(task, data, model, tmp_path / "run", epochs=1, **options, **BRIEF)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", PellucidWarning)
        _, int8 = export(run, tmp_path / "files", ["onnx"], int8=True)
    found = quantising.Quantised.of(facts(int8)["int8"])
    assert found.measure == run.main.title
    wanted = run.evaluate(baselines=False)["model"][run.main.key]["value"]
    assert found.full.value == pytest.approx(wanted, rel=1e-3, abs=1e-3)


@pytest.mark.slow
@pytest.mark.parametrize(("task", "model", "sentence"), [
    ("detect", "fast_rcnn", "int8=True: the file of detect holds more than its network"),
    ("compress", "dense_codec", "int8=True: compress does not answer with the network as it is in the file"),
])  # fmt: skip
def test_tasks_that_refuse(task: str, model: str, sentence: str, tmp_path: Path) -> None:
    data = None if task == "detect" else "digits"
    run = train(task, data, model, tmp_path / "run", epochs=1, limit=32, **BRIEF)
    with pytest.raises(UsageError, match=sentence):
        quantising.quantise(run, run.model(), tmp_path / "model.onnx", tmp_path / "model-int8.onnx")
    assert not (tmp_path / "model-int8.onnx").exists()
