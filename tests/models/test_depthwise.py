# SPDX-License-Identifier: Apache-2.0
"""Depthwise convolutions that choose their precision: the same values and gradients, in every model that they make faster."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import nn

from pellucid.models._building import build
from pellucid.models._depthwise import Depthwise, hasten


@pytest.mark.parametrize(("side", "stride"), [(3, 2), (5, 1), (5, 2)])
@pytest.mark.parametrize("same", [False, True])
def test_depthwise_convolutions_are_the_layers_they_stand_for(side: int, stride: int, same: bool) -> None:
    """Value and gradient of torch's and timm's layers; in bf16 the rounded ones of float32, with parameters unchanged."""
    from timm.layers.conv2d_same import Conv2dSame

    kind: Any = Conv2dSame if same else nn.Conv2d
    layer = kind(6, 6, side, stride=stride, padding=0 if same else side // 2, groups=6, bias=False)
    model = nn.Sequential(nn.Conv2d(3, 6, 1), layer)
    images = torch.rand(2, 6, 11, 14)
    slopes = []
    before = list(model.state_dict())
    for _ in range(2):
        answer = model[1](images)
        weights = torch.linspace(-1, 1, answer.numel()).view(answer.shape)
        slopes.append((answer.detach(), *torch.autograd.grad((answer * weights).sum(), model[1].weight)))
        hasten(model)
    assert isinstance(model[1], Depthwise) and not isinstance(model[0], Depthwise)
    assert list(model.state_dict()) == before and model[1].weight is layer.weight
    for one, other in zip(*slopes, strict=True):
        torch.testing.assert_close(one, other)
    with torch.autocast("cpu", torch.bfloat16):
        low = model[1](images)
    assert low.dtype == torch.bfloat16 and torch.equal(low, slopes[0][0].to(torch.bfloat16))


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("unet", {"encoder": "mobilenet_v2", "pretrained": False}),
        ("fast_rcnn", {"backbone": "efficientnet_lite0", "pretrained": False}),
        ("heatmap", {"backbone": "mobilenet_v2", "pretrained": False}),
    ],
)
def test_models_on_small_backbones_have_them_wherever_they_are_faster(name: str, options: dict[str, Any]) -> None:
    model = build({"name": name, "channels": 3, "outputs": 5, "size": [64, 64], "options": options})
    alone = [
        layer for layer in model.modules() if isinstance(layer, nn.Conv2d) and layer.groups == layer.in_channels > 1
    ]
    slow = [layer for layer in alone if max(layer.kernel_size) > 3 or max(layer.stride) > 1]
    assert slow and all(isinstance(layer, Depthwise) for layer in slow)
