# SPDX-License-Identifier: Apache-2.0
"""Trainings that set out from weights: recorded, resumed without their file, from a run to other tasks and classes."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import Any

import pytest
import torch
from test_weights import shaken
from torch import nn

import pellucid
from pellucid import weights
from pellucid.cli.cli import main
from pellucid.errors import PellucidWarning, RunError, UsageError
from pellucid.run import Run
from pellucid.training import training as module

QUICK: dict[str, Any] = {"limit": 64, "batch_size": 32, "epochs": 1, "device": "cpu", "progress": False}


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PELLUCID_CACHE", str(tmp_path / "cache"))


TINY: dict[str, Any] = {"name": "mobilenetv3_small_050", "size": 32, **QUICK}


def tiny(file: Path, seed: int = 5) -> nn.Module:
    import timm

    net = shaken(timm.create_model("mobilenetv3_small_050", num_classes=4), seed)
    torch.save(net.state_dict(), file)
    return net


def test_a_training_records_its_weights_and_goes_on_without_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    net, file, out = tiny(tmp_path / "a.pth"), tmp_path / "a.pth", tmp_path / "run"
    whole = pellucid.train("classify", "digits", "timm", tmp_path / "whole", weights=file, **TINY)
    stopping = module.stopping
    monkeypatch.setattr(module, "stopping", lambda accelerator, stop, step: step == 1)
    run = pellucid.train("classify", "digits", "timm", out, weights=file, **TINY)
    record = run.info["weights"]
    assert record["path"] == str(file)
    assert record["digest"] == weights.digest(net.state_dict())
    assert f"--weights {file}" in run.info["command"]
    monkeypatch.setattr(module, "stopping", stopping)
    file.rename(tmp_path / "away.pth")
    resumed = pellucid.train("classify", "digits", "timm", out, weights=file, **TINY)
    assert resumed.status == "finished"
    assert resumed.info["weights"] == record
    ended = [weights.load(one.path / "last.safetensors").tensors for one in (whole, resumed)]
    assert all(torch.equal(value, ended[1][name]) for name, value in ended[0].items())
    with pytest.raises(UsageError, match="there is no such file or run"):
        pellucid.train("classify", "digits", "timm", tmp_path / "new", weights=file, **TINY)
    with pytest.raises(RunError, match=r"began with weights=.*a\.pth'; give them to resume it"):
        pellucid.train("classify", "digits", "timm", out, pretrained=True, **TINY)
    tiny(file, seed=6)
    with pytest.raises(RunError, match="of another content"):
        pellucid.train("classify", "digits", "timm", out, weights=file, **TINY)
    page = pellucid.report(resumed, maps=0).read_text(encoding="utf-8")
    assert f"Set out from the weights {file}" in page
    assert record["said"][-1].replace("'", "&#39;") in page


def test_features_that_are_kept_are_those_of_these_weights(tmp_path: Path) -> None:
    for seed in (5, 6):
        net = tiny(tmp_path / f"{seed}.pth", seed)
        run = pellucid.train(
            "classify", "digits", "timm", tmp_path / f"run{seed}", weights=tmp_path / f"{seed}.pth", frozen=True, **TINY
        )
        tensors = weights.load(run.path / "last.safetensors").tensors
        body = {name: value for name, value in net.state_dict().items() if not name.startswith("classifier.")}
        assert all(torch.equal(tensors[f"backbone.body.{name}"], value) for name, value in body.items())
        assert run.info["frozen"]["before"] == run.info["frozen"]["after"]
        every = pellucid.train(
            "classify", "digits", "timm", tmp_path / f"every{seed}", weights=run, frozen=True, variants=0, **TINY
        )  # the same body, out of the run, and nothing kept
        same = weights.load(every.path / "last.safetensors").tensors
        assert all(torch.equal(tensors[f"backbone.body.{name}"], same[f"backbone.body.{name}"]) for name in body)
    heads = [weights.load(tmp_path / f"run{seed}" / "last.safetensors").tensors["head.1.weight"] for seed in (5, 6)]
    again = pellucid.train(
        "classify", "digits", "timm", tmp_path / "again", weights=tmp_path / "6.pth", frozen=True, variants=0, **TINY
    )
    computed = weights.load(again.path / "last.safetensors").tensors["head.1.weight"]
    torch.testing.assert_close(heads[1], computed, rtol=1e-4, atol=1e-5)
    assert not torch.allclose(heads[0], computed, rtol=1e-4, atol=1e-5)


def test_a_run_is_a_backbone_for_other_classes(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    first = pellucid.train("classify", "digits", "convnet", tmp_path / "first", widths=(8, 16), **QUICK)
    data = tmp_path / "photos"
    rng = torch.Generator().manual_seed(0)
    from PIL import Image

    for place in range(24):
        inner = data / ("even", "odd")[place % 2]
        inner.mkdir(parents=True, exist_ok=True)
        pixels = torch.randint(0, 256, (8, 8), generator=rng, dtype=torch.uint8).numpy()
        Image.fromarray(pixels).save(inner / f"{place}.png")
    words = ["train", "classify", "--data", str(data), "--weights", str(first.path), "--epochs", "1", "--lr", "1e-9"]
    words += ["--weight-decay", "0", "--device", "cpu", "--out", str(tmp_path / "second")]
    assert main(words) == 0
    second = Run(tmp_path / "second")
    assert second.info["model"]["name"] == "convnet"
    assert list(second.info["model"]["options"]["widths"]) == [8, 16]
    assert second.info["weights"]["digest"] == first.digest
    before = weights.load(first.path / "weights.safetensors").tensors
    after = weights.load(second.path / "last.safetensors").tensors
    assert torch.equal(after["normalize.mean"], before["normalize.mean"])
    assert torch.equal(after["normalize.std"], before["normalize.std"])
    body = [name for name in before if name.startswith("features.") and "running" not in name and "num" not in name]
    assert body
    for name in body:
        torch.testing.assert_close(after[name], before[name], rtol=0, atol=1e-6)
    assert after["head.weight"].shape[0] == 2
    said = " ".join(second.info["weights"]["said"])
    assert "the last layer is new" in said
    assert "images are normalised as in their training" in said
    assert "the last layer is new" in capsys.readouterr().err
    assert main(["train", "classify", "--weights", str(tmp_path / "typo"), "--widths", "8", "--frozen"]) == 2
    assert "typo': there is no such file or run, and without --model" in capsys.readouterr().err
    with pytest.raises(UsageError, match="is a run of model='convnet', not 'mlp'; leave out --model"):
        pellucid.train("classify", data, "mlp", tmp_path / "third", weights=first, **QUICK)


def test_a_run_of_two_players_keeps_their_normalisation(tmp_path: Path) -> None:
    first = pellucid.train("generate", "digits", "gan", tmp_path / "first", **QUICK)
    other: dict[str, Any] = {**QUICK, "limit": 32}  # other images, and other statistics of theirs
    alone = pellucid.train("generate", "digits", "gan", tmp_path / "alone", **other)
    second = pellucid.train("generate", "digits", "gan", tmp_path / "second", weights=first, **other)
    before, after, fitted = (weights.load(run.path / "last.safetensors").tensors for run in (first, second, alone))
    [name] = [name for name in before if name.endswith("normalize.mean")]
    assert torch.equal(before[name], after[name])
    assert not torch.equal(before[name], fitted[name])
    assert any("normalised as in their training" in sentence for sentence in second.info["weights"]["said"])


def test_a_run_of_the_same_classes_goes_on_with_its_last_layer(tmp_path: Path) -> None:
    first = pellucid.train("classify", "digits", "convnet", tmp_path / "first", widths=(8, 16), **QUICK)
    for given in (first, first.path / "last.safetensors", dict(first.model("last").state_dict())):
        out = tmp_path / f"run{len(str(given))}"
        same = pellucid.train("classify", "digits", "convnet", out, weights=given, widths=(8, 16), lr=1e-9, **QUICK)
        before, after = (weights.load(one.path / "last.safetensors").tensors for one in (first, same))
        torch.testing.assert_close(after["head.weight"], before["head.weight"], rtol=0, atol=1e-6)
        assert any("last layer" in sentence for sentence in same.info["weights"]["said"])
        assert (same.info["weights"]["path"] is None) == isinstance(given, dict)


def test_a_run_serves_another_task_and_its_command_repeats_the_training(tmp_path: Path) -> None:
    quick = {**QUICK, "limit": 32}
    first = pellucid.train("classify", "scenes", "convnet", tmp_path / "first", widths=(8, 16), **quick)
    with pytest.warns(PellucidWarning, match=r"2 missing \(pool\.score\.weight, pool\.score\.bias\)\.$"):
        second = pellucid.train("localize", "sparse_scenes", None, tmp_path / "second", weights=first, **quick)
    assert list(second.info["model"]["options"]["widths"]) == [8, 16]  # not those that localize gives a new convnet
    assert second.info["model"]["options"]["heads"] == 16
    record = second.info["weights"]
    assert "pool.score.weight" in record["said"][-1]
    command = second.info["command"].replace("--out " + str(second.path), "--out " + str(tmp_path / "third"))
    assert main(shlex.split(command)[1:]) == 0
    third = Run(tmp_path / "third")
    assert third.info["weights"] == record
    same = [weights.load(run.path / "last.safetensors").tensors for run in (second, third)]
    assert all(torch.equal(value, same[1][name]) for name, value in same[0].items())


def test_a_run_in_the_folder_without_weights_is_another_one(tmp_path: Path) -> None:
    state = dict(tiny(tmp_path / "a.pth").state_dict())
    options = {**TINY, "pretrained": False}
    pellucid.train("classify", "digits", "timm", tmp_path / "run", **options)
    with pytest.raises(RunError, match=r"holds a run that did not begin with weights=.*; name another folder\."):
        pellucid.train("classify", "digits", "timm", tmp_path / "run", weights=state, **options)
