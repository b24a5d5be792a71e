# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from pellucid import _catalog
from pellucid.errors import UnknownNameError, UsageError
from pellucid.models import MARGIN, Frozen, Normalize, Regions
from pellucid.models._building import build, describe, layer_table, load_external, options, parameter_count
from pellucid.models._layers import AdaptivePool

# options that keep a catalogue's member small; a new member needs none
SMALL: dict[str, dict[str, Any]] = {
    "vgg": {"depth": 11, "hidden": (32,)},
    "timm": {"name": "mobilenetv3_small_050"},
    "unet": {"widths": (8, 16)},
    "encoder_decoder": {"widths": (8, 16)},
    "lama": {"widths": (8, 16), "blocks": 2},
    "coarse_to_fine": {"widths": (8, 16)},
    "conv_autoencoder": {"widths": (8, 16), "code": 4},
    "pix2pix": {"widths": (8, 16), "critic_widths": (8, 16)},
    "lenet": {"widths": (8, 16), "hidden": (32, 32)},
    "efficientnet_lite0": {"pretrained": False},  # weights that may not be here
    "mobilenet_v2": {"pretrained": False},
}
MODELS = _catalog.names("models")
# to the size of their training images
BOUND = ("mlp", "lenet", "autoencoder", "vae", "conv_vae", "gan", "conv_gan", "embedding_autoencoder")


def made(name: str, /, channels: int = 1, outputs: int | None = None, side: int = 32, **given: Any) -> Any:
    kind = _catalog.find("models", name)
    pictured = ("map", "code", "distribution", "adversarial", "reconstruction")
    answers = outputs or (channels if kind.output in pictured else 5)  # type: ignore[attr-defined]
    torch.manual_seed(0)
    description = {"name": name, "channels": channels, "outputs": answers, "size": [side, side]}
    return build({**description, "options": {**SMALL.get(name, {}), **given}})


def numbers(answer: Any) -> Tensor:
    """The answer as one tensor (B, …); of regions the parts that hardly change where an image hardly does."""
    return torch.cat([part.flatten(1) for part in answer.steady], 1) if isinstance(answer, Regions) else answer


def shape(answer: Any) -> tuple[int, ...]:
    """Of regions that of their logits."""
    return tuple((answer.logits if isinstance(answer, Regions) else answer).shape)


def pictures(n: int, channels: int = 3, side: int = 32) -> Tensor:
    """Images that differ in brightness and pattern, so that a deep untrained network can tell them apart."""
    generator = torch.Generator().manual_seed(2)
    coarse = torch.rand(n, channels, 3, 3, generator=generator)
    return F.interpolate(coarse, (side, side), mode="bicubic").clamp(0, 1)


def lively(model: Any, channels: int = 3, side: int = 32) -> Any:
    """No parameter that is zero by initialisation, and the batch-norm statistics of real activations."""
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for parameter in model.parameters():
            if not bool(parameter.any()):
                parameter.add_(0.1 * torch.randn(parameter.shape, generator=generator))
        norms = {layer: layer.momentum for layer in model.modules() if isinstance(layer, nn.BatchNorm2d)}
        for layer in norms:
            layer.momentum = 1.0
        model.train()(pictures(8, channels, side))
        for layer, momentum in norms.items():
            layer.momentum = momentum
    return model


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("name", MODELS)
def test_the_answer_has_the_shape_that_the_output_says(name: str, channels: int) -> None:
    model = made(name, channels).eval()
    images = torch.rand(2, channels, 32, 32)
    with torch.no_grad():
        answer = model(images)
    cells = 32 // 4 + 2 * MARGIN  # of a heat map at a stride of 4
    shapes = {
        "vector": (2, 5), "dense": (2, 5), "adversarial": (2, 1), "heatmap": (2, 5, cells, cells), "regions": (2, 300, 6),
    }  # fmt: skip
    assert shape(answer) == shapes.get(model.output, (2, channels, 32, 32))
    assert numbers(answer).dtype == torch.float32
    assert isinstance(model.normalize, Normalize)
    assert model.fixed_size in (None, (32, 32))


@pytest.mark.parametrize("name", MODELS)
def test_one_image_is_answered_as_in_a_batch(name: str) -> None:
    model, images = lively(made(name, 3)).eval(), pictures(4)
    if model.output in ("vector", "map"):  # rounding grows through dozens of batch norms over single pixels
        model, images = model.double(), images.double()
    images[1] = 0  # two pictures of noise are alike to a model that averages
    with torch.no_grad():
        together = numbers(model(images))
        apart = torch.cat([numbers(model(image[None])) for image in images])
    assert torch.allclose(together, apart, rtol=1e-4, atol=1e-5)
    assert float((together[0] - together[1]).abs().max()) > 1e-3  # it does look at the image


@pytest.mark.parametrize("name", MODELS)
def test_channels_last_computes_the_same(name: str) -> None:
    model, images = lively(made(name, 3)).eval(), pictures(4)
    with torch.no_grad():
        plain = numbers(model(images))
        turned = numbers(
            model.to(memory_format=torch.channels_last)(images.contiguous(memory_format=torch.channels_last))
        )
    assert torch.allclose(plain, turned, rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("name", MODELS)
def test_a_gradient_reaches_every_parameter(name: str) -> None:
    model = lively(made(name, 3)).train()
    codes = (torch.randn(4, model.latent),) if model.output == "adversarial" else ()
    if model.output == "code":  # every quality has steps of its own, and the density learns from the bits alone
        codes = (torch.arange(model.prior.qualities),)
    answer = model(pictures(len(codes[0]) if codes else 4), *codes)
    if model.output == "code":
        answer = answer[0] + answer[1][:, None, None, None]
    if model.output == "map" and hasattr(model, "critic"):  # what it says of input and answer
        answer = model.critic(torch.cat([pictures(4), answer], dim=1))
    if isinstance(answer, Regions):
        answer = torch.cat([numbers(answer), answer.logits.flatten(1), answer.offsets.flatten(1)], 1)
    (answer * torch.randn(answer.shape)).sum().backward()  # a sum alone has no gradient behind a normalisation
    silent = [title for title, p in model.named_parameters() if p.grad is None or not bool(p.grad.any())]
    assert silent == []


@pytest.mark.parametrize("name", MODELS)
def test_a_description_and_a_state_rebuild_the_model(name: str) -> None:
    model = lively(made(name, 3)).eval()
    again = build(json.loads(json.dumps(describe(model))), fetch=False).eval()
    assert describe(again) == describe(model)
    again.load_state_dict(model.state_dict())
    images = torch.rand(2, 3, 32, 32)
    with torch.no_grad():
        assert torch.equal(numbers(model(images)), numbers(again(images)))


@pytest.mark.parametrize("name", MODELS)
def test_every_option_has_a_type_a_default_and_a_meaning(name: str) -> None:
    for option, (kind, default, meaning) in options(name).items():
        assert kind is not None
        assert len(meaning) > 5, option
        assert json.loads(json.dumps({option: default})) is not None


@pytest.mark.parametrize("name", [name for name in MODELS if name not in BOUND])
def test_models_that_are_bound_to_no_size_take_others(name: str) -> None:
    model = made(name, 1).eval()
    assert model.fixed_size is None
    with torch.no_grad():
        answer = model(torch.rand(2, 1, 45, 70))
    cells = (-(-45 // 4) + 2 * MARGIN, -(-70 // 4) + 2 * MARGIN)  # of a heat map at a stride of 4
    shapes = {"vector": (2, 5), "heatmap": (2, 5, *cells), "regions": (2, 300, 6)}
    assert shape(answer) == shapes.get(model.output, (2, 1, 45, 70))


@pytest.mark.parametrize(("name", "side", "least"), [("convnet", 6, 7), ("vgg", 31, 32)])
def test_images_that_are_too_small_are_refused_with_the_least_size(name: str, side: int, least: int) -> None:
    with pytest.raises(UsageError, match=rf"size={side}×{side}: is below {least}×{least} px"):
        made(name, side=side)
    made(name, side=least)(torch.rand(2, 1, least, least))


def test_an_unknown_option_is_answered_with_the_nearest() -> None:
    with pytest.raises(UnknownNameError, match="did you mean 'hidden'"):
        made("mlp", hiden=(8,))


@pytest.mark.parametrize(
    ("name", "given", "told"),
    [
        ("mlp", {"hidden": (0,)}, "hidden=0"),
        ("mlp", {"dropout": 1.0}, "dropout=1.0"),
        ("mlp", {"activation": "swish"}, "activation='swish'"),
        ("convnet", {"widths": ()}, "widths="),
        ("resnet", {"depth": 20}, "depth=20"),
        ("vgg", {"depth": 12}, "depth=12"),
        ("timm", {"name": "resnet_18"}, "did you mean 'resnet18'"),
        ("resnet", {"plain": True, "pretrained": True}, "plain=True"),
    ],
)
def test_a_value_that_an_option_cannot_have_is_named(name: str, given: dict[str, Any], told: str) -> None:
    with pytest.raises(UsageError, match=told) as raised:
        made(name, **given)
    assert "\n" not in str(raised.value)


# --- layers


@pytest.mark.parametrize(("height", "width", "side"), [(3, 3, 3), (28, 28, 3), (7, 5, 3), (13, 4, 7), (1, 9, 2)])
def test_adaptive_pooling_is_torchs_with_its_gradient(height: int, width: int, side: int) -> None:
    images = torch.rand(2, 3, height, width, dtype=torch.float64, requires_grad=True)
    weights = torch.rand(2, 3, side, side, dtype=torch.float64)
    ours, theirs = AdaptivePool(side)(images), F.adaptive_avg_pool2d(images, side)
    assert torch.allclose(ours, theirs)
    gradients = [torch.autograd.grad((answer * weights).sum(), images)[0] for answer in (ours, theirs)]
    assert torch.allclose(*gradients)


def test_normalize_is_fitted_once_and_has_nothing_to_train() -> None:
    layer, images = Normalize(3), torch.rand(16, 3, 8, 8) * 0.3 + 0.4
    layer.fit(images.mean((0, 2, 3)), images.std((0, 2, 3)))
    answer = layer(images)
    assert torch.allclose(answer.mean((0, 2, 3)), torch.zeros(3), atol=1e-5)
    assert torch.allclose(answer.std((0, 2, 3)), torch.ones(3), atol=1e-4)
    assert parameter_count(layer) == 0 and sorted(layer.state_dict()) == ["mean", "std"]
    pretrained = Normalize(3, (0.5, 0.5, 0.5), (0.2, 0.2, 0.2))
    pretrained.fit(torch.zeros(3), torch.ones(3))
    assert pretrained.mean.flatten().tolist() == [0.5, 0.5, 0.5]


@pytest.mark.parametrize("name", ["resnet", "vgg", "timm"])
def test_frozen_means_bit_for_bit(name: str) -> None:
    model = made(name, 3, frozen=True)
    before = {title: tensor.clone() for title, tensor in model.state_dict().items()}
    optimiser = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9, weight_decay=0.1)
    for _ in range(2):
        model.train()
        assert any(isinstance(layer, Frozen) for layer in model.modules())
        optimiser.zero_grad()
        model(torch.rand(4, 3, 32, 32)).square().sum().backward()
        optimiser.step()
    after = model.state_dict()
    changed = {title for title in before if not torch.equal(before[title], after[title])}
    assert changed == {title for title, _ in model.head.named_parameters(prefix="head")}
    assert {title for title, p in model.named_parameters() if p.requires_grad} == changed
    free = made(name, 3, frozen=False).train()  # the same steps do move a backbone that is not frozen
    free(torch.rand(4, 3, 32, 32))
    assert name == "vgg" or any(bool(b.any()) for title, b in free.named_buffers() if title.endswith("running_mean"))


# --- families


def test_convnet_has_the_published_number_of_parameters() -> None:
    assert parameter_count(made("convnet", 3, 10)) == 271_690


@pytest.mark.parametrize("depth", [18, 34, 50, 101, 152])
def test_resnet_is_torchvisions(depth: int) -> None:
    from torchvision import models

    with torch.device("meta"):
        theirs = models.get_model(f"resnet{depth}")
        ours = made("resnet", 3, 1000, side=224, depth=depth)
    assert parameter_count(ours) == parameter_count(theirs)
    plain = made("resnet", 3, 10, depth=depth, plain=True)
    shortcut = made("resnet", 3, 10, depth=depth)
    projections = [m for title, m in shortcut.named_modules() if title.endswith("downsample")]
    assert parameter_count(plain) == parameter_count(shortcut) - sum(map(parameter_count, projections))
    counted = [sum(isinstance(m, nn.Conv2d) for m in model.modules()) for model in (plain, shortcut)]
    assert counted == [depth - 1, depth - 1 + len(projections)]  # and one dense layer


def test_resnet_answers_as_torchvisions_with_the_same_weights() -> None:
    from torchvision import models

    torch.manual_seed(0)
    theirs = lively(models.resnet18(), side=96).eval()
    ours = made("resnet", 3, 1000, side=96, stem="large").eval()
    state = theirs.state_dict()
    ours.backbone.load_state_dict({title: tensor for title, tensor in state.items() if title[:3] != "fc."})
    ours.head[1].load_state_dict({"weight": state["fc.weight"], "bias": state["fc.bias"]})
    images = torch.rand(2, 3, 96, 96)
    with torch.no_grad():
        assert torch.allclose(ours(images), theirs(images), rtol=1e-4, atol=1e-5)


def test_small_images_keep_their_resolution_at_the_stem() -> None:
    small = layer_table(made("resnet", 1, side=32), (32, 32))
    large = layer_table(made("resnet", 1, side=128), (128, 128))
    first = [next(row["output"] for row in rows if "layer1" in row["layer"]) for rows in (small, large)]
    assert first == [(64, 32, 32), (64, 32, 32)]


@pytest.mark.parametrize(("depth", "batch_norm"), [(11, False), (16, False), (19, True)])
def test_vgg_is_torchvisions(depth: int, batch_norm: bool) -> None:
    from torchvision import models

    with torch.device("meta"):
        theirs = models.get_model(f"vgg{depth}{'_bn' if batch_norm else ''}")
        ours = made("vgg", 3, 1000, side=224, depth=depth, batch_norm=batch_norm, hidden=(4096, 4096))
    assert parameter_count(ours) == parameter_count(theirs)


def test_an_untrained_residual_unet_answers_with_its_input() -> None:
    images = torch.rand(2, 1, 33, 50)
    assert torch.equal(made("unet")(images), images)


def test_autoencoders_answer_from_their_codes_alone() -> None:
    images = torch.rand(2, 1, 32, 32)
    dense = made("autoencoder", encoder=(64, 8))
    assert dense.encode(images).shape == (2, 8)
    conv = made("conv_autoencoder")
    assert conv.encode(images).shape == (2, 4, 8, 8)
    assert torch.equal(conv.decoder(conv.encode(images)), conv(images))
    assert torch.equal(dense.decoder(dense.encode(images)).reshape(2, 1, 32, 32), dense(images))


# --- layer table


@pytest.mark.parametrize("name", MODELS)
def test_the_layer_table_adds_up_and_leaves_the_model_as_it_was(name: str) -> None:
    model = made(name, 3).train()
    before = {title: tensor.clone() for title, tensor in model.state_dict().items()}
    modes = [module.training for module in model.modules()]
    rows = layer_table(model, (32, 32))
    answering = model.generator if hasattr(model, "critic") else model
    assert sum(row["parameters"] for row in rows) == parameter_count(answering)
    assert all(row["operations"] >= 0 for row in rows)
    assert modes == [module.training for module in model.modules()]
    assert all(torch.equal(tensor, before[title]) for title, tensor in model.state_dict().items())
    assert not any(module._forward_hooks or module._forward_pre_hooks for module in model.modules())


def test_the_layer_table_counts_multiply_adds_as_the_closed_form_does() -> None:
    rows = layer_table(made("convnet", 3, 10), (32, 32))
    # k·k·in·out for each pixel of the answer of each convolution: 30² after the first block, 28² after the second
    convolutions = 9 * (3 * 64 + 64 * 64) * 30**2 + 9 * (64 * 128 + 128 * 128) * 28**2
    counted = {row["layer"]: row["operations"] for row in rows}
    assert sum(n for layer, n in counted.items() if layer.startswith("features")) == convolutions
    assert counted["head"] == 9 * 128 * 10


def test_operations_belong_to_the_layer_that_computes_them_whoever_calls_it() -> None:
    # the codec's prior, a submodule, calls the encoder and the decoder beside it
    rows = {row["layer"]: row["operations"] for row in layer_table(made("factorized", 1), (32, 32))}
    assert rows["prior"] == 0
    assert rows["encoder.0"] == 64 * 8 * 8 * (32 // 4) ** 2


def test_the_layer_table_removes_its_hooks_after_an_exception() -> None:
    model = made("mlp").train()
    with pytest.raises(RuntimeError):
        layer_table(model, (31, 31))
    assert not any(module._forward_hooks or module._forward_pre_hooks for module in model.modules())
    assert all(module.training for module in model.modules())


# --- weights of others


@pytest.mark.parametrize(
    ("model", "given"), [("resnet", {}), ("vgg", {"depth": 11}), ("timm", {"name": "resnet18.a1_in1k"})]
)
def test_pretrained_weights_that_cannot_be_had_are_one_sentence(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, model: str, given: dict[str, Any]
) -> None:
    """No cache, no network: what to do is said, and `fetch=False` builds the same model to be filled from a run."""

    def refuse(*_: object, **__: object) -> None:
        raise OSError("no network in this test")

    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    monkeypatch.setattr("socket.getaddrinfo", refuse)
    monkeypatch.setattr("socket.create_connection", refuse)
    with pytest.raises(UsageError, match="cannot be downloaded") as raised:
        made(model, pretrained=True, **given)
    assert "\n" not in str(raised.value) and "connect once" in str(raised.value)
    description = {"name": model, "channels": 1, "outputs": 5, "size": [64, 64]}
    built = build({**description, "options": {**SMALL.get(model, {}), **given, "pretrained": True}}, fetch=False).eval()
    assert built.normalize.pretrained
    grey = torch.rand(2, 1, 64, 64)
    with torch.no_grad():
        assert torch.equal(built(grey), built(grey.repeat(1, 3, 1, 1)))


@pytest.mark.parametrize(
    ("name", "told"),
    [("torchvision/resnet17", "did you mean 'resnet1"), ("timm/resnet_18", "did you mean"), ("keras/x", "timm/NAME")],
)
def test_an_unknown_ready_made_model_is_answered_with_what_there_is(name: str, told: str) -> None:
    with pytest.raises(UsageError, match=told):
        load_external(name)
