# SPDX-License-Identifier: Apache-2.0
"""The networks of 6n + 2 layers: the published sizes, what plain leaves out, and that other models' defaults are as they were."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from torch import nn

from pellucid.errors import UsageError
from pellucid.models._building import build, parameter_count


def made(name: str = "cifar_resnet", channels: int = 3, side: int = 32, **given: Any) -> Any:
    torch.manual_seed(0)
    return build({"name": name, "channels": channels, "outputs": 10, "size": [side, side], "options": given})


@pytest.mark.parametrize(("depth", "million"), [(20, 0.27), (32, 0.46), (44, 0.66), (56, 0.85), (110, 1.7)])
def test_the_parameters_are_the_published_ones(depth: int, million: float) -> None:
    """Table 6 of He et al. 2016, rounded as they do."""
    count = parameter_count(made(depth=depth))
    assert round(count / 1e6, 2 if million < 1 else 1) == million
    assert parameter_count(made(depth=depth, plain=True)) == count
    layers = [part for part in made(depth=depth).modules() if isinstance(part, (nn.Conv2d, nn.Linear))]
    assert len(layers) == depth


def test_without_weights_a_residual_network_passes_its_input_on_and_a_plain_one_does_not() -> None:
    images = torch.rand(2, 3, 16, 16)
    residual, plain = (made(side=16, plain=plain).eval() for plain in (False, True))
    with torch.no_grad():
        for model in (residual, plain):
            for part in model.blocks.modules():
                if isinstance(part, nn.Conv2d):
                    part.weight.zero_()
        entering = residual.stem(residual.normalize(images))
        left, none = residual.blocks(entering), plain.blocks(entering)
    # every fourth pixel of the first stage's channels, and zeros in the channels that the later stages added
    assert torch.equal(left[:, :16], entering[:, :, ::4, ::4])
    assert not left[:, 16:].any() and not none.any()


def test_half_the_resolution_and_more_channels_in_each_stage() -> None:
    model = made(depth=8, widths=(4, 8, 12), side=20)
    shapes, images = [], model.stem(torch.rand(1, 3, 20, 20))
    for block in model.blocks:
        images = block(images)
        shapes.append(tuple(images.shape[1:]))
    assert shapes == [(4, 20, 20), (8, 10, 10), (12, 5, 5)]


@pytest.mark.parametrize(
    ("given", "told"),
    [
        ({"depth": 21}, "depth=21: must be 6n"),
        ({"depth": 2}, "depth=2: must be 6n"),
        ({"widths": (16, 32)}, "widths=.16, 32.: must be three"),
        ({"widths": (16, 8, 32)}, "in ascending order"),
        ({"activation": "swish"}, "activation='swish'"),
        ({"initialisation": "normal"}, "initialisation='normal'"),
    ],
)
def test_a_value_that_an_option_cannot_have_is_named(given: dict[str, Any], told: str) -> None:
    with pytest.raises(UsageError, match=told):
        made(**given)


@pytest.mark.parametrize("name", ["cifar_resnet", "convnet", "lenet", "mlp"])
def test_an_initialisation_has_its_variance(name: str) -> None:
    wide = {"cifar_resnet": {"widths": (64, 64, 64)}, "mlp": {"hidden": (300, 300)}}.get(name, {})
    expected = {"he": lambda n, m: 2 / n, "xavier": lambda n, m: 2 / (n + m), "uniform": lambda n, m: 1 / (3 * n)}
    for scheme, variance in expected.items():
        model = made(name, initialisation=scheme, **wide)
        layer = [part for part in model.modules() if isinstance(part, (nn.Conv2d, nn.Linear))][1]
        inputs = layer.weight[0].numel()
        outputs = layer.weight.numel() // layer.weight.shape[1]
        found = float(layer.weight.detach().double().square().mean())
        assert found == pytest.approx(variance(inputs, outputs), rel=8 / math.sqrt(layer.weight.numel())), scheme
        assert layer.bias is None or not layer.bias.any()


def test_convnet_by_default_is_what_it_was_without_the_options() -> None:
    model = made("convnet", widths=(8,))
    assert [type(part).__name__ for part in model.features] == ["Conv2d", "ReLU", "Conv2d", "ReLU"]
    torch.manual_seed(0)
    layers = [nn.Conv2d(3, 8, 3), nn.Conv2d(8, 8, 3, padding=1)]
    nn.Linear(72, 10)
    for layer in layers:
        nn.init.kaiming_normal_(layer.weight, nonlinearity="relu")
    assert torch.equal(model.features[0].weight, layers[0].weight)
    assert torch.equal(model.features[2].weight, layers[1].weight)


def test_convnet_with_its_options() -> None:
    model = made("convnet", widths=(8,), batch_norm=True, activation="tanh")
    kinds = [type(part).__name__ for part in model.features]
    assert kinds == ["Conv2d", "BatchNorm2d", "Tanh"] * 2
    model.train()(torch.rand(4, 3, 32, 32)).sum().backward()
    assert bool(model.features[0].weight.grad.any())
