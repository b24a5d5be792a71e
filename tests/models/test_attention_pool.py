# SPDX-License-Identifier: Apache-2.0
"""Pooling by attention: what it computes, and the models that have it."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from pellucid.errors import UsageError
from pellucid.models._building import build
from pellucid.models._layers import AttentionPool


def made(model: str, side: int, /, **given: Any) -> Any:
    small = {"name": "mobilenetv3_small_050"} if model == "timm" else {}
    description = {"name": model, "channels": 3, "outputs": 5, "size": [side, side], "options": {**small, **given}}
    return build(description)


def test_attention_pooling_is_a_weighted_mean_of_features_and_places() -> None:
    """By a loop over the places; and a head that sees one pixel alone gives that pixel and where it is."""
    torch.manual_seed(0)
    pool, features = AttentionPool(3, 2), torch.randn(2, 3, 4, 6)
    expected = torch.zeros(2, 2, 5)
    for image in range(2):
        scores = pool.score(features[image : image + 1])[0].detach()  # (heads, H, W)
        for head in range(2):
            weights = scores[head].exp() / scores[head].exp().sum()
            for row in range(4):
                for column in range(6):
                    place = torch.tensor([(row + 0.5) / 2 - 1, (column + 0.5) / 3 - 1])
                    value = torch.cat([features[image, :, row, column], place])
                    expected[image, head] += weights[row, column] * value
    torch.testing.assert_close(pool(features).detach(), expected)
    lone = torch.zeros(1, 3, 4, 6)
    lone[0, 0, 3, 1] = 1.0
    with torch.no_grad():
        pool.score.weight.zero_()[0, 0] = 200.0
    assert pool(lone)[0, 0].tolist() == pytest.approx([1, 0, 0, 0.75, -0.5])


@pytest.mark.parametrize(
    ("name", "given"),
    [
        ("convnet", {"stride": 2}),
        ("resnet", {}),
        ("timm", {}),
        ("efficientnet_lite0", {"pretrained": False}),
        ("mobilenet_v2", {"pretrained": False}),
    ],
)
def test_heads_know_where_something_is(name: str, given: dict[str, Any]) -> None:
    """A linear layer on what they pool is all there is; the frozen part has the same tensors with and without them."""
    model = made(name, 64, heads=4, **given).eval()
    assert model(torch.rand(2, 3, 64, 64)).shape == (2, 5)
    plain = made(name, 64, **given)
    body = {key: value.shape for key, value in model.state_dict().items() if key.startswith(("backbone", "features"))}
    assert body == {key: value.shape for key, value in plain.state_dict().items() if key in body}
    with pytest.raises(UsageError, match=r"^heads=-1: must not be negative; give e\.g\. 8, or 0 for none\.$"):
        made(name, 64, **given, heads=-1)


def test_heads_need_a_map() -> None:
    with pytest.raises(
        UsageError, match=r"^name='vit_tiny_patch16_224': this timm model does not give a map of features"
    ):
        made("timm", 224, name="vit_tiny_patch16_224", heads=4)


def test_it_can_be_exported_for_any_number_and_size_of_images() -> None:
    pool = AttentionPool(3, 2).eval()
    free = {0: torch.export.Dim("batch"), 2: torch.export.Dim("height"), 3: torch.export.Dim("width")}
    program = torch.export.export(pool, (torch.rand(3, 3, 7, 11),), dynamic_shapes=(free,), strict=False).module()
    for shape in ((2, 3, 5, 4), (5, 3, 9, 13)):
        features = torch.rand(*shape)
        torch.testing.assert_close(program(features), pool(features))
