# SPDX-License-Identifier: Apache-2.0
"""heatmap: a grid that covers the image, maps that come apart as they went in, and a frozen backbone that stays as it is."""

from __future__ import annotations

import pytest
import torch

from pellucid.errors import UsageError
from pellucid.models import MARGIN, Frozen
from pellucid.models.heatmap import Heatmap
from pellucid.models.heatmap.levels import BODIES, apart, body


@pytest.mark.parametrize("name", BODIES)
@pytest.mark.parametrize("size", [(64, 64), (50, 77)])
def test_the_maps_of_a_backbone_are_those_of_its_strides(name: str, size: tuple[int, int]) -> None:
    """The packed features come apart into the maps that the stages give one after another."""
    torch.manual_seed(0)
    levels, told = body(name, 3, 8, weights=False)
    levels.eval()
    images = torch.rand(1, 3, *size)
    with torch.no_grad():
        found = apart(levels(images), told, size)
        maps, here = [], images
        for stage, kept in zip(levels.stages, levels.kept, strict=True):
            here = stage(here)
            maps += [here] if kept else []
    assert [stride for stride, _ in told] == [8, 16, 32]
    for one, other in zip(found, maps, strict=True):
        torch.testing.assert_close(one, other)


@pytest.mark.parametrize("stride", [4, 8, 16])
@pytest.mark.parametrize("size", [(64, 64), (50, 77), (7, 9), (1, 1)])
def test_the_grid_covers_the_image_and_a_margin(stride: int, size: tuple[int, int]) -> None:
    model = Heatmap(1, 5, size, stride=stride, width=8).eval()  # type: ignore[arg-type]
    with torch.no_grad():
        found = model(torch.rand(2, 1, *size))
    assert found.shape == (2, 5, *(-(-side // stride) + 2 * MARGIN for side in size))
    assert bool(found.isfinite().all())


def test_a_frozen_backbone_answers_with_features_that_can_be_kept() -> None:
    model = Heatmap(3, 4, (64, 64), "mobilenet_v2", stride=16, pretrained=False, frozen=True).eval()
    [frozen] = [module for module in model.modules() if isinstance(module, Frozen)]
    images = torch.rand(2, 3, 64, 64)
    with torch.no_grad():
        expected, features = model(images), frozen(model.normalize(images))
        assert features.shape == (2, 96 * 16 + 320 * 4)
        frozen.replay.features = features
        torch.testing.assert_close(model(torch.zeros_like(images)), expected)
        frozen.replay.features = None
    trained = [name for name, value in model.named_parameters() if value.requires_grad]
    assert trained and all(name.startswith(("lateral.", "head.")) for name in trained)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"backbone": "vgg"}, "backbone='vgg': is not known; choose plain"),
        ({"stride": 5}, "stride=5: is not known; choose 4, 8 or 16"),
        ({"width": 0}, "width=0: must be at least 1"),
        ({"frozen": True}, "frozen=True: the plain backbone has no weights from elsewhere"),
        ({"dropout": 1.0}, "dropout=1.0"),
    ],
)
def test_options_that_make_no_sense_are_refused(options: dict[str, object], words: str) -> None:
    with pytest.raises(UsageError, match=words):
        Heatmap(3, 4, (64, 64), **options)  # type: ignore[arg-type]


def test_grey_images_are_seen_by_colour_weights() -> None:
    model = Heatmap(1, 2, (32, 32), "resnet18", stride=8, pretrained=True, fetch=False).eval()
    image = torch.rand(1, 1, 32, 32)
    with torch.no_grad():
        torch.testing.assert_close(model(image), model(image.expand(-1, 3, -1, -1)))
