# SPDX-License-Identifier: Apache-2.0
"""Weights that somebody has: found by their names, normalised as they were trained, never taken without a word."""

from __future__ import annotations

import json
import pickle
import warnings
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor, nn

import pellucid
from pellucid import weights
from pellucid.cli.cli import main
from pellucid.errors import PellucidWarning, RunError, UsageError
from pellucid.models import _building
from pellucid.run import Run
from pellucid.training import training as module
from pellucid.training.origin import Origin

QUICK: dict[str, Any] = {"limit": 64, "batch_size": 32, "epochs": 1, "device": "cpu", "progress": False}
MEAN, STD = torch.tensor((0.485, 0.456, 0.406)).view(3, 1, 1), torch.tensor((0.229, 0.224, 0.225)).view(3, 1, 1)


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PELLUCID_CACHE", str(tmp_path / "cache"))


def shaken(model: nn.Module, seed: int = 5) -> nn.Module:
    """A library's model whose every tensor, batch-norm statistics included, is its own."""
    generator = torch.Generator().manual_seed(seed)
    for name, value in model.state_dict().items():
        if value.is_floating_point():
            value.mul_(1 + 0.1 * torch.rand(value.shape, generator=generator))
        if name.endswith("running_mean"):
            value.add_(0.1 * torch.rand(value.shape, generator=generator))
    return model.eval()


def begun(
    file: Path, name: str, /, *, channels: int = 3, side: int = 64, outputs: int = 3, **options: Any
) -> tuple[Any, Any]:
    """A model of the catalogue with the weights of a file, and what was said of them."""
    origin = Origin.of(None, str(file), name, "classify", options, None)
    assert origin is not None
    described = {
        "channels": channels,
        "outputs": outputs,
        "size": [side, side],
        "options": {**origin.options, **options},
    }
    model = _building.build({"name": name, **described}, fetch=False)
    said = origin.fit(model, "classify", tuple("abcdefghijkl"[:outputs]))
    return model.eval(), said


def resnet(**options: Any) -> nn.Module:
    from torchvision.models import resnet18

    return shaken(resnet18(num_classes=7, **options))


def test_timm_names_of_mobilenet_are_the_layers_of_torchvision(tmp_path: Path) -> None:
    import timm

    theirs = shaken(timm.create_model("mobilenetv2_100", num_classes=5))
    save_file(theirs.state_dict(), tmp_path / "a.safetensors")
    model, said = begun(tmp_path / "a.safetensors", "mobilenet_v2", frozen_stages=3)
    assert said.warning == ""
    agree(model, theirs.forward_features, MEAN, STD)  # type: ignore[operator]


def agree(model: Any, features: Callable[[Tensor], Tensor], mean: Tensor, std: Tensor) -> None:
    """The body answers as the library's does to images that are normalised by hand."""
    images = torch.rand(2, 3, 64, 64)
    with torch.no_grad():
        expected, found = features((images - mean) / std), model.backbone(model.normalize(images))
    if expected.ndim > found.ndim:
        expected = expected.mean((2, 3))
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-5)
    assert float(expected.std()) > 0


def test_every_model_answers_as_the_library_does_with_these_weights(tmp_path: Path) -> None:
    import timm
    from torchvision import models

    net, file = resnet(), tmp_path / "weights"
    torch.save(net.state_dict(), file)
    net.fc = nn.Identity()  # type: ignore[assignment]
    for frozen in (False, True):
        model, said = begun(file, "resnet", frozen=frozen)
        agree(model, net, MEAN, STD)
    assert "the last layer is new" in " ".join(said.notes)
    assert "mean (0.485, 0.456, 0.406)" in " ".join(said.notes)
    vgg = shaken(models.vgg11_bn(num_classes=7))
    torch.save(vgg.features.state_dict(prefix="features."), file)
    agree(begun(file, "vgg", depth=11, hidden=())[0], vgg.features, MEAN, STD)  # type: ignore[arg-type]
    mobile = shaken(models.mobilenet_v2(num_classes=7))
    torch.save(mobile.state_dict(), file)
    agree(begun(file, "mobilenet_v2", frozen=True)[0], mobile.features, MEAN, STD)  # type: ignore[arg-type]
    lite: Any = shaken(timm.create_model("tf_efficientnet_lite0", num_classes=7))
    torch.save(lite.state_dict(), file)
    half = torch.full((3, 1, 1), 0.5)  # as timm says of tf_efficientnet_lite0
    agree(begun(file, "efficientnet_lite0", frozen_stages=2)[0], lite.forward_features, half, half)


def test_wrappers_and_prefixes_are_understood(tmp_path: Path) -> None:
    net = resnet()
    own = net.state_dict()
    old = {name: torch.zeros_like(value) for name, value in own.items()}

    def under(prefix: str, state: Mapping[str, Tensor] = own) -> dict[str, Tensor]:
        return {prefix + name: value for name, value in state.items()}

    for content in (
        {"epoch": 3, "state_dict": under("module."), "optimizer": {"state": {0: {"step": torch.zeros(1)}}}},
        {"model": {"state_dict": under("module.encoder.")}},
        {"model_state_dict": under("_orig_mod.")},
        {"state_dict": under("", old), "state_dict_ema": own},
        {"model_ema": own, "model": old},
        {"anything": under("backbone.")},
        {**under("encoder_q."), **under("encoder_k.", {"conv1.weight": own["conv1.weight"]})},
    ):
        torch.save(content, tmp_path / "a.pth")
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", PellucidWarning)
            model, _ = begun(tmp_path / "a.pth", "resnet")
        assert torch.equal(model.backbone.layer4[1].conv2.weight, own["layer4.1.conv2.weight"])
        assert torch.equal(model.normalize.mean, MEAN[None])


class Harm:
    ran = False

    def __reduce__(self) -> Any:
        return (exec, ("from tests.training import test_weights; test_weights.Harm.ran = True",))


def test_code_in_a_pickle_is_refused_and_not_run(tmp_path: Path) -> None:
    for name, write in (("a.pth", torch.save), ("b.pt", lambda value, file: file.write_bytes(pickle.dumps(value)))):
        write({"state_dict": Harm()}, tmp_path / name)
        with pytest.raises(
            UsageError, match=r"holds (.*exec, which is code|a pickle that .*), and only tensors are read; .*\.$"
        ):
            begun(tmp_path / name, "resnet")
    assert not Harm.ran
    torch.jit.script(nn.Linear(2, 2)).save(str(tmp_path / "script.pt"))
    with pytest.raises(UsageError, match="holds a TorchScript program, which is code"):
        begun(tmp_path / "script.pt", "resnet")


def test_files_that_are_no_weights_are_refused_in_a_sentence(tmp_path: Path) -> None:
    (tmp_path / "folder").mkdir()
    (tmp_path / "text.pth").write_text("no weights")
    save_file({"conv1.weight": torch.full((2, 2), torch.nan)}, tmp_path / "nan.safetensors")
    torch.save([torch.ones(2)], tmp_path / "list.pt")
    (tmp_path / "cut.safetensors").write_bytes((tmp_path / "nan.safetensors").read_bytes()[:-3])
    for name, sentence in (
        (
            "none.pth",
            "there is no such file or run; name a file of weights (.safetensors, .pth, .pt, .bin) or a run's folder.",
        ),
        ("folder", "is neither a run's folder nor holds model.safetensors"),
        ("text.pth", "cannot be read as weights ("),
        ("cut.safetensors", "cannot be read as weights ("),
        ("nan.safetensors", "conv1.weight holds values that are not finite"),
        ("list.pt", "holds no tensors by name"),
    ):
        with pytest.raises(UsageError) as caught:
            begun(tmp_path / name, "resnet")
        assert str(caught.value).startswith(f"weights={str(tmp_path / name)!r}: ")
        assert sentence in str(caught.value)


def test_tensors_that_do_not_fit_are_counted_and_named(tmp_path: Path) -> None:
    state = dict(resnet().state_dict())
    state["layer1.0.conv2.weight"] = torch.zeros(64, 64, 1, 1)
    state["extra.bias"] = torch.zeros(3)
    del state["layer4.1.bn2.bias"], state["layer4.1.bn2.num_batches_tracked"]  # nothing reads the latter
    save_file(state, tmp_path / "a.safetensors")
    said = begun(tmp_path / "a.safetensors", "resnet")[1]
    assert said.warning == (
        f"weights={str(tmp_path / 'a.safetensors')!r}: 98 of the 100 tensors of the body were taken; 1 missing "
        "(layer4.1.bn2.bias), 1 of another shape (layer1.0.conv2.weight), 1 left over (extra.bias)."
    )
    with pytest.raises(UsageError) as caught:  # of another depth
        begun(tmp_path / "a.safetensors", "resnet", depth=50)
    sentence = str(caught.value)
    assert "layer1.0.conv1.weight is (64, 64, 3, 3) there and (64, 64, 1, 1) here" in sentence
    with pytest.raises(
        UsageError, match=r"only 0 of the .* it begins with .*, and the model with features.0.0.weight, "
    ):
        begun(tmp_path / "a.safetensors", "mobilenet_v2")
    with pytest.raises(UsageError, match="choose the model and the options that the weights were trained with"):
        begun(tmp_path / "a.safetensors", "convnet")


def test_a_last_layer_that_fits_is_never_taken_without_a_word(tmp_path: Path) -> None:
    net = resnet()
    save_file(net.state_dict(), tmp_path / "a.safetensors")
    model, said = begun(tmp_path / "a.safetensors", "resnet", outputs=7)
    assert torch.equal(model.head[1].weight, net.fc.weight)  # type: ignore[union-attr]
    assert any(
        "the last layer fits too and is taken, so that its outputs must be these classes" in s for s in said.notes
    )


def test_images_of_other_channels(tmp_path: Path) -> None:
    net = resnet()
    save_file(net.state_dict(), tmp_path / "colour.safetensors")
    model, _ = begun(tmp_path / "colour.safetensors", "resnet", channels=1)
    grey, net.fc = torch.rand(2, 1, 64, 64), nn.Identity()  # type: ignore[assignment]
    with torch.no_grad():
        expected = net((grey.expand(-1, 3, -1, -1) - MEAN) / STD)
        torch.testing.assert_close(model.head(expected), model(grey))
    state = {**net.state_dict(), "conv1.weight": torch.rand(64, 1, 7, 7)}
    save_file(state, tmp_path / "grey.safetensors")
    model, said = begun(tmp_path / "grey.safetensors", "resnet", channels=1)
    assert torch.equal(model.backbone.conv1.weight, state["conv1.weight"])
    assert "the statistics of the training images are taken" in said.notes[-1]
    sentence = r"takes 1 channel \(grey\), and that of this training takes 3 channels \(colour\); give images as"
    with pytest.raises(UsageError, match=sentence):
        begun(tmp_path / "grey.safetensors", "resnet", channels=3)


def test_what_timm_says_of_its_weights_counts(tmp_path: Path) -> None:
    save_file(resnet().state_dict(), tmp_path / "model.safetensors")
    config = {"architecture": "resnet18", "pretrained_cfg": {"mean": [0.1, 0.2, 0.3], "std": [0.4, 0.5, 0.6]}}
    (tmp_path / "config.json").write_text(json.dumps(config))
    model, said = begun(tmp_path, "timm", name="resnet18")
    assert model.normalize.mean.flatten().tolist() == pytest.approx([0.1, 0.2, 0.3])
    assert model.normalize.std.flatten().tolist() == pytest.approx([0.4, 0.5, 0.6])
    assert "as the config.json beside them says" in said.notes[-1]
    (tmp_path / "config.json").write_text(json.dumps({**config, "architecture": "efficientnet_lite0"}))
    with pytest.raises(UsageError, match="--model timm --name efficientnet_lite0"):
        begun(tmp_path, "efficientnet_lite0")


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
    with pytest.raises(UsageError, match="is a run of model='convnet', not 'mlp'; leave out --model"):
        pellucid.train("classify", data, "mlp", tmp_path / "third", weights=first, **QUICK)


def test_a_run_of_the_same_classes_goes_on_with_its_last_layer(tmp_path: Path) -> None:
    first = pellucid.train("classify", "digits", "convnet", tmp_path / "first", widths=(8, 16), **QUICK)
    for given in (first, first.path / "last.safetensors", dict(first.model("last").state_dict())):
        out = tmp_path / f"run{len(str(given))}"
        same = pellucid.train("classify", "digits", "convnet", out, weights=given, widths=(8, 16), lr=1e-9, **QUICK)
        before, after = (weights.load(one.path / "last.safetensors").tensors for one in (first, same))
        torch.testing.assert_close(after["head.weight"], before["head.weight"], rtol=0, atol=1e-6)
        assert any("last layer" in sentence for sentence in same.info["weights"]["said"])
        assert (same.info["weights"]["path"] is None) == isinstance(given, dict)
