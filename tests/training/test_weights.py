# SPDX-License-Identifier: Apache-2.0
"""Weights that somebody has: found by their names, normalised as they were trained, never taken without a word."""

from __future__ import annotations

import json
import pickle
import warnings
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, cast

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from pellucid.errors import PellucidWarning, UsageError
from pellucid.models import _building
from pellucid.training.origin import Origin

MEAN, STD = torch.tensor((0.485, 0.456, 0.406)).view(3, 1, 1), torch.tensor((0.229, 0.224, 0.225)).view(3, 1, 1)


def shaken(model: nn.Module, seed: int = 5) -> Any:
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


def resnet(**options: Any) -> Any:
    from torchvision.models import resnet18

    return shaken(resnet18(num_classes=7, **options))


def test_timm_names_of_mobilenet_are_the_layers_of_torchvision(tmp_path: Path) -> None:
    import timm

    theirs = shaken(timm.create_model("mobilenetv2_100", num_classes=5))
    save_file(theirs.state_dict(), tmp_path / "a.safetensors")
    model, said = begun(tmp_path / "a.safetensors", "mobilenet_v2", frozen_stages=3)
    assert said.warning == ""
    agree(model, theirs.forward_features, MEAN, STD)


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
    net.fc = nn.Identity()
    for frozen in (False, True):
        model, said = begun(file, "resnet", frozen=frozen)
        agree(model, net, MEAN, STD)
    assert "the last layer is new" in " ".join(said.notes)
    assert "mean (0.485, 0.456, 0.406)" in " ".join(said.notes)
    vgg = shaken(models.vgg11_bn(num_classes=7))
    torch.save(vgg.features.state_dict(prefix="features."), file)
    agree(begun(file, "vgg", depth=11, hidden=())[0], vgg.features, MEAN, STD)
    mobile = shaken(models.mobilenet_v2(num_classes=7))
    torch.save(mobile.state_dict(), file)
    agree(begun(file, "mobilenet_v2", frozen=True)[0], mobile.features, MEAN, STD)
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


def test_unknown_names_are_taken_by_their_order(tmp_path: Path) -> None:
    import timm

    lite: Any = shaken(timm.create_model("tf_efficientnet_lite0", num_classes=7))
    state = {f"_layer{place}": value for place, value in enumerate(lite.state_dict().values())}
    torch.save(state, tmp_path / "a.pth")
    half = torch.full((3, 1, 1), 0.5)
    model, said = begun(tmp_path / "a.pth", "efficientnet_lite0")
    agree(model, lite.forward_features, half, half)
    assert "taken in that order" in said.notes[0]
    state["_layer0"] = state["_layer0"][:16]
    torch.save(state, tmp_path / "a.pth")
    with pytest.raises(UsageError, match="it begins with _layer0, _layer1, …, and the model with conv_stem"):
        begun(tmp_path / "a.pth", "efficientnet_lite0")


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
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)
        torch.jit.script(nn.Linear(2, 2)).save(str(tmp_path / "script.pt"))
    with pytest.raises(UsageError, match="holds a TorchScript program, which is code"):
        begun(tmp_path / "script.pt", "resnet")


def test_a_mapping_that_holds_no_tensors_is_refused() -> None:
    for given in ({}, {"fc.bias": 3}):
        with pytest.raises(UsageError, match="must be tensors by name; give a model's state dict, a file or a run"):
            Origin.of(cast("Any", given), None, "resnet", "classify", {}, None)


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
    assert torch.equal(model.head[1].weight, net.fc.weight)
    assert any(
        "the last layer fits too and is taken, so that its outputs must be these classes" in s for s in said.notes
    )


def test_images_of_other_channels(tmp_path: Path) -> None:
    net = resnet()
    save_file(net.state_dict(), tmp_path / "colour.safetensors")
    model, _ = begun(tmp_path / "colour.safetensors", "resnet", channels=1)
    grey, net.fc = torch.rand(2, 1, 64, 64), nn.Identity()
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
