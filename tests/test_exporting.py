# SPDX-License-Identifier: Apache-2.0
"""Exported files compute what the model computes, read by programs that know nothing of Pellucid."""

from __future__ import annotations

import itertools
import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from pellucid import exporting, train
from pellucid.errors import PellucidError, UsageError
from pellucid.exporting import export, facts
from pellucid.run import Run

onnxruntime = pytest.importorskip("onnxruntime")

ASKED: dict[str, dict[str, Any]] = {
    "mlp": {"task": "classify", "data": "digits", "hidden": (16,), "epochs": 1},
    "convnet": {"task": "classify", "data": "digits", "size": 16, "widths": (8,), "epochs": 1, "limit": 64},
    "unet": {"task": "denoise", "data": "digits", "widths": (4, 8, 12), "epochs": 1, "limit": 64},
}


@pytest.fixture(scope="module", params=ASKED)
def exported(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[Run, list[Path]]:
    options = dict(ASKED[request.param])
    folder = tmp_path_factory.mktemp(request.param)
    run = train(options.pop("task"), options.pop("data"), request.param, folder / "run", progress=False, **options)
    return run, export(run, folder / "exported")


def images(run: Run, batch: int, more: int = 0) -> torch.Tensor:
    height, width = run.size
    return torch.rand(batch, run.channels, height + more, width + 2 * more)  # (B, C, H, W)


def by_onnx(file: Path, batch: torch.Tensor) -> np.ndarray[Any, Any]:
    session = onnxruntime.InferenceSession(file, providers=["CPUExecutionProvider"])
    [name] = [output.name for output in session.get_outputs()]
    answer: np.ndarray[Any, Any] = session.run([name], {"images": batch.numpy()})[0]
    return answer


def by_model(run: Run, batch: torch.Tensor) -> np.ndarray[Any, Any]:
    """What the file is to give: of a classifier the softmax of its logits."""
    with torch.no_grad():
        output = run.model()(batch)
    return (output.softmax(1) if run.info["task"]["name"] == "classify" else output).numpy()


@pytest.mark.parametrize("batch", [1, 2, 5, 64])
def test_any_batch_size_agrees_with_the_model(exported: tuple[Run, list[Path]], batch: int) -> None:
    run, (onnx, pt2) = exported
    given = images(run, batch)
    wanted = by_model(run, given)
    np.testing.assert_allclose(by_onnx(onnx, given), wanted, atol=1e-4)
    np.testing.assert_allclose(torch.export.load(pt2).module()(given).detach().numpy(), wanted, atol=1e-4)


def test_any_image_size_where_the_architecture_takes_it(exported: tuple[Run, list[Path]]) -> None:
    run, files = exported
    free = ["any, any" in facts(file)["input"] for file in files]
    name = run.info["model"]["name"]
    # a dense model is bound to its size; the others must not be
    assert free == ([False, False] if name == "mlp" else [True, True])
    assert [facts(file)["size"] == "any" for file in files] == free
    given = images(run, 3, more=11)
    wanted = by_model(run, given) if any(free) else None
    if free[0]:
        np.testing.assert_allclose(by_onnx(files[0], given), wanted, atol=1e-4)
    if free[1]:
        np.testing.assert_allclose(torch.export.load(files[1]).module()(given).detach().numpy(), wanted, atol=1e-4)


def test_the_normalisation_is_inside(exported: tuple[Run, list[Path]]) -> None:
    run, (onnx, _) = exported
    model = run.model()
    assert float(model.normalize.std.min()) < 1, "fitted to the training images"  # type: ignore[union-attr]
    given = images(run, 2)
    with torch.no_grad():
        wanted = model(given)
        model.normalize = nn.Identity()
        without = model(given)
    assert not torch.allclose(wanted, without, atol=1e-3)
    np.testing.assert_allclose(by_onnx(onnx, given), by_model(run, given), atol=1e-4)


def test_the_file_says_what_it_is(exported: tuple[Run, list[Path]]) -> None:
    run, files = exported
    for file in files:
        found = facts(file)
        assert found["task"] == run.info["task"]["name"]
        assert tuple(json.loads(found["classes"])) == run.classes
        assert found["range"] == "0 to 1"
        assert found["size"] in ("any", f"{run.size[0]}x{run.size[1]} px")
        assert found["output"] == ("probabilities" if run.info["task"]["name"] == "classify" else "output")
        assert re.match(rf"float32 images in \[0, 1\], \(batch, {run.channels}, (any|\d+), (any|\d+)\)", found["input"])
    axes = onnxruntime.InferenceSession(files[0], providers=["CPUExecutionProvider"]).get_inputs()[0].shape
    assert axes[0] == "batch"
    assert axes[1] == run.channels


def test_logits_are_given_on_request(exported: tuple[Run, list[Path]], tmp_path: Path) -> None:
    run, _ = exported
    if run.info["task"]["name"] != "classify":
        with pytest.raises(UsageError, match=r"^logits=True: the output of denoise are no probabilities of classes"):
            export(run, tmp_path, ["onnx"], logits=True)
        return
    [file] = export(run, tmp_path, ["onnx"], logits=True)
    session = onnxruntime.InferenceSession(file, providers=["CPUExecutionProvider"])
    assert [output.name for output in session.get_outputs()] == ["logits"] == [facts(file)["output"]]
    given = images(run, 3)
    with torch.no_grad():
        wanted = run.model()(given).numpy()
    np.testing.assert_allclose(session.run(["logits"], {"images": given.numpy()})[0], wanted, atol=1e-4)
    assert np.abs(wanted.sum(1) - 1).max() > 1e-3, "no probabilities"


def test_nothing_but_the_files_is_written(exported: tuple[Run, list[Path]]) -> None:
    _, files = exported
    assert sorted(file.name for file in files[0].parent.iterdir()) == ["model.onnx", "model.pt2"]


@pytest.mark.parametrize("exported", ["mlp"], indirect=True)
def test_a_file_that_differs_is_not_kept(
    exported: tuple[Run, list[Path]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    written = exporting._write_torch

    def altered(*given: Any) -> Any:
        answer = written(*given)
        return lambda batch: [output + 0.01 for output in answer(batch)]

    monkeypatch.setattr(exporting, "_write_torch", altered)
    with pytest.raises(PellucidError, match=r"^model\.pt2: differs from the model by 0\.01 on images of \(1, "):
        export(exported[0], tmp_path, ["torch"])
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("exported", ["mlp"], indirect=True)
def test_mistakes(exported: tuple[Run, list[Path]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(UsageError, match=r"^formats='tflite': is not known; choose onnx or torch\.$"):
        export(exported[0], tmp_path, ["tflite"])  # type: ignore[list-item]
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(UsageError, match=r"needs onnx, onnxscript, onnxruntime; install it with: pip install"):
        export(exported[0], tmp_path)
    assert list(tmp_path.iterdir()) == []
    (tmp_path / "other.pt2").write_bytes(b"no archive")
    with pytest.raises(UsageError, match=r"other\.pt2': is not an exported run"):
        facts(tmp_path / "other.pt2")


def test_the_short_formula_of_same_padding_is_timms() -> None:
    from timm.layers import padding

    usual = padding.get_same_padding
    cases = itertools.product(range(1, 40), (1, 2, 3, 5, 7), (1, 2, 3, 4), (1, 2))
    with exporting._short_padding():
        assert padding.get_same_padding is not usual
        for size, kernel, stride, dilation in cases:
            wanted = usual(size, kernel, stride, dilation)
            assert padding.get_same_padding(size, kernel, stride, dilation) == wanted, (size, kernel, stride, dilation)
    assert padding.get_same_padding is usual
