# SPDX-License-Identifier: Apache-2.0
"""Batch norm folded into convolutions: the same answers on every architecture, and none where the layers are not a plain pair."""

from __future__ import annotations

import copy
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.utils import _pytree as pytree

from pellucid import _catalog
from pellucid.models import _building
from pellucid.models._hastening import folded, hastened

SIZE = (64, 64)
# every architecture that has batch norm before which a convolution stands, small
CASES: dict[str, tuple[str, dict[str, Any]]] = {
    **{
        name: (name, {})
        for name in ("cifar_resnet", "convnet", "encoder_decoder", "heatmap", "unet", "vgg", "fast_rcnn")
    },
    **{name: (name, {}) for name in ("efficientnet_lite0", "mobilenet_v2", "resnet", "timm")},
    **{f"encoder_decoder {way}": ("encoder_decoder", {"upsample": way}) for way in ("unpool", "transpose", "dilated")},
    **{f"unet on {name}": ("unet", {"encoder": name}) for name in ("efficientnet_lite0", "mobilenet_v2", "resnet18")},
    "unet on frozen resnet18": ("unet", {"encoder": "resnet18", "frozen": True}),
}


def made(name: str, given: dict[str, Any]) -> nn.Module:
    """A model with statistics that are neither 0 nor 1."""
    options = _building.options(name)
    more = {key: value for key, value in {"batch_norm": True, "pretrained": False}.items() if key in options}
    if "encoder" in given:
        more.pop("batch_norm")
    torch.manual_seed(0)
    model: nn.Module = _catalog.find("models", name)(3, 4, SIZE, **more, **given).eval()
    for module in model.modules():
        if isinstance(module, nn.modules.batchnorm._BatchNorm):
            with torch.no_grad():
                assert module.running_mean is not None
                assert module.running_var is not None
                module.running_mean.normal_(0, 0.3)
                module.running_var.uniform_(0.3, 3)
                module.weight.uniform_(0.5, 2)
                module.bias.normal_(0, 0.3)
    return model


def norms(model: nn.Module) -> int:
    return sum(isinstance(module, nn.modules.batchnorm._BatchNorm) for module in model.modules())


def parts(output: Any) -> list[Tensor]:
    return [part for part in pytree.tree_leaves(getattr(output, "steady", output)) if isinstance(part, Tensor)]


@pytest.mark.parametrize("case", CASES)
@torch.no_grad()
def test_answers_are_those_of_the_layers_one_by_one(case: str) -> None:
    model = made(*CASES[case])
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    count = norms(model)
    assert count
    quick = hastened(model, (3, *SIZE), torch.device("cpu"))
    assert norms(quick) == 0
    images = torch.rand(2, 3, 72, 96) if getattr(model, "fixed_size", None) is None else torch.rand(2, 3, *SIZE)
    wanted, got = parts(model(images)), parts(quick(images))
    assert len(wanted) == len(got)
    for one, other in zip(wanted, got, strict=True):
        assert float((one - other).abs().max()) <= 1e-5 * float(one.abs().max())
    with torch.autocast("cpu", torch.bfloat16):  # no farther from the float32 answer than the layers one by one
        rough, folded_rough = parts(model(images)), parts(quick(images))
    for one, other, third in zip(wanted, rough, folded_rough, strict=True):
        scale = float(one.abs().max())
        assert float((one - third).abs().max()) <= 2 * float((one - other).abs().max()) + 0.01 * scale
    assert norms(model) == count  # the trained model is as it was
    assert all(torch.equal(tensor, before[name]) for name, tensor in model.state_dict().items())


def pair(bias: bool = True, transposed: bool = False, groups: int = 1) -> tuple[nn.Module, nn.BatchNorm2d]:
    kind = nn.ConvTranspose2d if transposed else nn.Conv2d
    norm = nn.BatchNorm2d(6)
    with torch.no_grad():
        assert norm.running_mean is not None
        norm.running_mean.normal_()
        norm.weight.normal_()
    return kind(4, 6, 3, bias=bias, groups=groups), norm


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("transposed", [True, False])
@pytest.mark.parametrize("groups", [1, 2])
@torch.no_grad()
def test_convolutions_of_all_kinds_take_a_batch_norm(bias: bool, transposed: bool, groups: int) -> None:
    model = nn.Sequential(*pair(bias, transposed, groups)).double().eval()
    quick = folded(model, (4, 9, 9))
    assert norms(quick) == 0
    images = torch.rand(3, 4, 9, 9, dtype=torch.float64)
    torch.testing.assert_close(quick(images), model(images), rtol=1e-12, atol=1e-12)


class Used(nn.Module):
    """A convolution whose output goes somewhere else too, in one of several ways."""

    def __init__(self, how: str) -> None:
        super().__init__()
        self.how = how
        self.convolution, self.norm = pair()

    def forward(self, images: Tensor) -> Tensor:
        found = self.convolution(images)
        if self.how == "changed between":
            found = found.relu_()  # the same tensor, with other values
        normed: Tensor = self.norm(found)
        if self.how == "shortcut":
            return normed + found
        if self.how == "twice":
            return normed + self.norm(self.convolution(images.flip(3)))
        if self.how == "unseen by gradients":
            return normed * found.detach().mean()
        return normed


@pytest.mark.parametrize("how", ["shortcut", "twice", "changed between", "unseen by gradients"])
@torch.no_grad()
def test_a_convolution_that_is_used_elsewhere_keeps_its_batch_norm(how: str) -> None:
    model = Used(how).eval()
    quick = hastened(model, (4, 9, 9), torch.device("cpu"))
    assert norms(quick) == 1
    images = torch.rand(2, 4, 9, 9)
    torch.testing.assert_close(quick(images), model(images))
    assert norms(folded(Used("").eval(), (4, 9, 9))) == 0


@torch.no_grad()
def test_statistics_of_the_batch_are_not_folded() -> None:
    model = nn.Sequential(*pair()).train()
    assert folded(model, (4, 9, 9)) is model
    own = nn.Sequential(nn.Conv2d(4, 6, 3), nn.BatchNorm2d(6, track_running_stats=False)).eval()
    assert folded(own, (4, 9, 9)) is own


@torch.no_grad()
def test_a_model_that_takes_other_images_comes_back_as_it_is() -> None:
    model = nn.Sequential(*pair()).eval()
    assert folded(model, (3, 9, 9)) is model
    before = copy.deepcopy(model)
    hastened(model, (4, 9, 9), torch.device("cpu"))
    assert str(model) == str(before)
