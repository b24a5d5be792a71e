# SPDX-License-Identifier: Apache-2.0
"""detect in training: which regions are sampled, the loss and its parts, and what an image's crowds and emptiness do."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F
from torchvision.ops import box_iou, generalized_box_iou_loss

from pellucid import _boxes, data
from pellucid.data.batches import store
from pellucid.data.draws import Draws
from pellucid.data.targets import Boxes
from pellucid.errors import DataError, UsageError
from pellucid.models import Proposals, Regions
from pellucid.models.fast_rcnn import FastRcnn
from pellucid.run import load
from pellucid.tasks.detect import Detect
from pellucid.tasks.detect.losses import losses
from pellucid.tasks.detect.objects import Detected, Sought, detections, padded
from pellucid.tasks.detect.sampling import Chosen, Sampler, matched
from pellucid.tasks.detect.shapes import suited
from pellucid.training.training import train

SMALL: dict[str, Any] = {"widths": (8, 16, 16), "width": 16, "hidden": 32, "proposals": 50, "scales": (8.0, 24.0)}


def boxes(count: int, seed: int = 0) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    start = torch.rand(count, 2, generator=generator) * 40
    return torch.cat([start, start + 4 + torch.rand(count, 2, generator=generator) * 20], 1)


def sought(corners: list[Tensor], crowds: list[list[bool]] | None = None, start: float = 0.3) -> Sought:
    labels = [torch.arange(len(own)) % 3 for own in corners]
    ignored = [
        torch.tensor(crowds[i] if crowds else [False] * len(own), dtype=torch.bool) for i, own in enumerate(corners)
    ]
    near = [torch.zeros(0, 4) for _ in corners]
    return Sought(corners, labels, ignored, near, torch.full((len(corners),), start))


def sampled(truth: Sought, proposals: Tensor, regions: int = 20, share: float = 0.25) -> Chosen:
    sampler = Sampler(truth, padded(truth), regions, share)
    corners = sampler(Proposals(proposals, torch.zeros(proposals.shape[:2])))
    assert sampler.chosen is not None
    assert torch.equal(corners, sampler.chosen.corners)
    return sampler.chosen


def test_a_stated_share_of_the_regions_has_an_object() -> None:
    """Each region's class and box are those of the object that it fits best, by torchvision's IoU."""
    truth = sought([boxes(3), boxes(5, seed=1)])
    near = torch.stack([torch.cat([own.repeat(8, 1)[:24] + 1, boxes(60, seed=2)]) for own in truth.corners])
    chosen = sampled(truth, near)
    assert chosen.counts.all()
    assert (chosen.labels > 0).sum(1).tolist() == [5, 5]
    for image, corners in enumerate(chosen.corners):
        fits = box_iou(corners, truth.corners[image])
        best, place = fits.max(1)
        has = best >= 0.5
        assert torch.equal(chosen.labels[image] > 0, has)
        assert torch.equal(chosen.labels[image][has], truth.labels[image][place[has]] + 1)
        assert torch.equal(chosen.boxes[image][has], truth.corners[image][place[has]])


def test_too_few_regions_with_an_object_are_made_up_for_by_others() -> None:
    truth = sought([boxes(1)])
    chosen = sampled(truth, torch.full((1, 40, 4), 60.0) + torch.tensor([0, 0, 3.0, 3.0]))
    assert (chosen.labels > 0).sum() == 1  # the object itself is always a candidate
    assert chosen.counts.sum() == 20


def test_the_choice_depends_on_the_draw_and_on_nothing_else() -> None:
    proposals = boxes(60, seed=2)[None]
    one, same, other = (sampled(sought([boxes(3)], start=start), proposals).corners for start in (0.3, 0.3, 0.8))
    assert torch.equal(one, same)
    assert not torch.equal(one, other)


def test_every_proposal_is_chosen_about_equally_often() -> None:
    proposals = (
        torch.full((1, 60, 4), 50.0) + torch.rand(1, 60, 4) * torch.tensor([0, 0, 9, 9]) + torch.tensor([0, 0, 1, 1])
    )
    counts = torch.zeros(60)
    for start in torch.linspace(0, 0.999, 200):
        chosen = sampled(sought([boxes(1)], start=float(start)), proposals).corners[0]
        counts += (box_iou(proposals[0], chosen) > 1 - 1e-6).any(1)
    assert counts.min() > 0.5 * counts.mean()


def test_crowds_are_neither_objects_nor_background() -> None:
    objects = torch.tensor([[2.0, 2, 10, 10], [20, 20, 60, 60]])
    truth = sought([objects], [[False, True]])
    inside, outside = torch.tensor([25.0, 25, 40, 40]), torch.tensor([2.0, 30, 12, 44])
    fit, _ = matched(torch.stack([inside, outside, objects[0]])[None], padded(truth))
    assert fit[0].tolist() == [-1, 0, 1]
    chosen = sampled(truth, torch.stack([inside, outside])[None], regions=4)
    assert not any(
        torch.equal(one, inside) and counts for one, counts in zip(chosen.corners[0], chosen.counts[0], strict=True)
    )


def regions_of(chosen: Chosen, grid: Tensor, classes: int = 3, seed: int = 0) -> Regions:
    generator = torch.Generator().manual_seed(seed)

    def numbers(*shape: int) -> Tensor:
        return torch.randn(*shape, generator=generator).requires_grad_()

    batch, count = chosen.labels.shape
    none = Proposals(torch.zeros(batch, 1, 4), torch.zeros(batch, 1))
    logits, offsets = numbers(batch, count, classes + 1), numbers(batch, count, classes, 4)
    objectness, moves = numbers(batch, len(grid)), numbers(batch, len(grid), 4)
    return Regions(none, chosen.corners, logits, offsets, grid, objectness, moves)


@pytest.mark.parametrize("kind", ["smooth_l1", "giou"])
def test_the_loss_is_the_sum_of_its_parts_and_each_is_that_of_a_plain_loop(kind: Any) -> None:
    truth = sought([boxes(3), boxes(2, seed=1)])
    objects, grid = padded(truth), boxes(50, seed=4)
    chosen = sampled(truth, torch.stack([boxes(40, seed=2), boxes(40, seed=3)]))
    regions = regions_of(chosen, grid)
    parts = losses(regions, chosen, objects, kind, 2.0)
    assert list(parts) == ["loss", "objectness", "proposal_box", "class", "box"]
    named, placed, known, moved = [], [], [], []
    for image in range(2):
        ours, labels = chosen.corners[image], chosen.labels[image]
        named.append(F.cross_entropy(regions.logits[image], labels))
        total = torch.zeros(())
        for row, label in enumerate(labels.tolist()):
            if label:
                offsets, true = regions.offsets[image, row, label - 1], chosen.boxes[image, row]
                if kind == "giou":
                    total = total + generalized_box_iou_loss(_boxes.decode(offsets, ours[row]), true)
                else:
                    total = total + F.smooth_l1_loss(offsets, _boxes.encode(true, ours[row]), reduction="sum")
        placed.append(total / len(labels))
        # a box of the grid belongs to an object that it fits at least 0.8 times as well as the best box does
        fits = box_iou(grid, truth.corners[image])
        own = (fits >= 0.8 * fits.amax(0)) & (fits > 0)
        target, wrong, count = torch.zeros(len(grid)), torch.zeros(()), 0
        for place in own.any(1).nonzero()[:, 0].tolist():
            true = truth.corners[image][torch.where(own[place], fits[place], -1).argmax()]
            there = _boxes.decode(regions.grid_offsets[image, place], grid[place])
            wrong, count = wrong + generalized_box_iou_loss(there, true), count + 1
            target[place] = box_iou(there[None], true[None])[0, 0].detach()
        chance = regions.objectness[image].sigmoid()
        error = F.binary_cross_entropy(chance, target, reduction="none") * (target - chance).square()
        known.append(error.sum() / count)
        moved.append(wrong / count)
    for name, expected in (("class", named), ("box", placed), ("objectness", known), ("proposal_box", moved)):
        torch.testing.assert_close(parts[name], torch.stack(expected).mean(), rtol=1e-4, atol=1e-5)
    whole = parts["objectness"] + parts["proposal_box"] + parts["class"] + 2 * parts["box"]
    torch.testing.assert_close(parts["loss"], whole)


def test_the_loss_of_a_batch_is_the_mean_over_its_images() -> None:
    """So that several processes with a part each see what one with all of them does."""
    truth = sought([boxes(3), boxes(0), boxes(2, seed=1)])
    chosen = sampled(truth, torch.stack([boxes(40, seed=seed) for seed in (2, 3, 4)]))
    regions = regions_of(chosen, boxes(50, seed=4))
    whole = losses(regions, chosen, padded(truth), "smooth_l1", 1.0)
    single = []
    for image in range(3):
        rows = slice(image, image + 1)
        own = Regions(
            regions.proposals,
            *(part[rows] for part in regions[1:4]),
            regions.grid,
            *(part[rows] for part in regions[5:]),
        )
        single.append(losses(own, Chosen(*(part[rows] for part in chosen)), padded(truth[[image]]), "smooth_l1", 1.0))
    for name, value in whole.items():
        torch.testing.assert_close(value, torch.stack([one[name] for one in single]).mean())


@pytest.mark.parametrize("counts", [[0, 0], [0, 3]])
def test_images_without_objects_train_too(counts: list[int]) -> None:
    truth = sought([boxes(count) for count in counts])
    chosen = sampled(truth, boxes(80, seed=2).view(2, 40, 4))
    regions = regions_of(chosen, boxes(50, seed=4))
    parts = losses(regions, chosen, padded(truth), "giou", 1.0)
    parts["loss"].backward()
    assert all(value.isfinite() for value in parts.values())
    assert regions.objectness.grad is not None
    assert regions.objectness.grad.abs().sum(1).gt(0).all()


def test_detections_are_the_boxes_of_their_class_suppressed_by_class() -> None:
    corners = torch.tensor([[[0.0, 0, 10, 10], [1, 0, 11, 10], [30, 30, 40, 40]]])
    shares = torch.tensor([[[0.1, 0.88, 0.02], [0.2, 0.7, 0.1], [0.5, 0.005, 0.495]]])
    offsets = torch.zeros(1, 3, 2, 4)
    offsets[0, 2, 1] = torch.tensor([10.0, 0, 0, 0])  # a whole width to the right, where the image ends
    regions = Regions(
        Proposals(corners, shares[..., 0]), corners, shares.log(), offsets, corners[0], shares[..., 0], corners
    )
    found = detections(regions, (64, 48), 0.5, False, torch.tensor(0.4))
    # the second box is suppressed in class 0, and not in class 1, where it is the best one
    assert found.labels[0].tolist() == [0, 1, 1]
    assert found.scores[0].tolist() == pytest.approx([0.88, 0.495, 0.1])
    torch.testing.assert_close(found.corners[0], torch.tensor([[0.0, 0, 10, 10], [40, 30, 48, 40], [1, 0, 11, 10]]))
    assert [len(own) for own in found.answered.corners] == [2]
    soft = detections(regions, (64, 48), 0.5, True, torch.tensor(0.4))
    assert len(soft.scores[0]) > 3
    larger = found.scaled(torch.tensor([[2.0, 3.0]]))
    assert larger.corners[0][0].tolist() == [0, 0, 20, 30]
    assert isinstance(Detected.cat([found, larger]).corners, list)


def test_a_run_has_all_parts_of_the_loss_and_finds_more_as_it_trains(tmp_path: Path) -> None:
    scenes = data.open("scenes")
    few = scenes.replace(splits={name: split.select(range(24)) for name, split in scenes.splits.items()})
    run = train("detect", few, None, tmp_path / "run", epochs=2, batch_size=8, device="cpu", progress=False, **SMALL)
    for row in run.history:
        parts = [row[name] for name in ("objectness", "proposal_box", "class", "box")]
        assert row["loss"] == pytest.approx(sum(parts), rel=1e-5)
    record = json.loads((tmp_path / "run" / "run.json").read_text())
    assert record["model"]["options"]["scales"] == [8.0, 24.0]  # as asked for
    assert len(record["model"]["options"]["aspects"]) >= 1  # as the training objects have them
    model = load(run.path).model()
    assert model.grid.shapes == FastRcnn(3, 8, (64, 64), **record["model"]["options"]).grid.shapes


def test_the_grid_suits_nearly_all_training_objects() -> None:
    """With shifts of half a stride at most, a box of the grid fits each by half or nearly so."""
    scenes = data.open("scenes")["train"]
    options = suited(scenes, (64, 64))
    truth = scenes.targets["boxes"]
    assert isinstance(truth, Boxes)
    model = FastRcnn(3, 8, (64, 64), **options)
    grid = model.grid.corners([torch.zeros(1, 1, 16, 16)])
    best = torch.cat([box_iou(own, grid).amax(1) for own in truth.corners[:200]])
    assert (best > 0.45).float().mean() > 0.97


def test_boxes_near_objects_are_examples_and_follow_the_draw_of_their_image() -> None:
    split = data.open("scenes")["train"].select(range(4))
    kept = store(split, (64, 64), 3)
    _, truth = Detect().prepare(kept.batch(torch.arange(4)), Draws.step(0, 1, slice(0, 4), 4), training=True)
    for near, own in zip(truth.near, truth.corners, strict=True):
        assert len(near) == 4 * len(own)
        fits = box_iou(near, own).amax(1)
        assert 0.4 < float(fits.mean()) < 0.95
    _, still = Detect().prepare(kept.batch(torch.arange(4)), Draws.images(0, torch.arange(4)), training=False)
    assert not any(len(near) for near in still.near)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"box_loss": "squared"}, "box_loss"),
        ({"box_weight": 0.0}, "box_weight"),
        ({"regions": 0}, "regions"),
        ({"positives": 0.0}, "positives"),
        ({"overlap": 1.5}, "overlap"),
    ],
)
def test_options_out_of_range_are_refused(options: dict[str, Any], words: str) -> None:
    with pytest.raises(UsageError, match=f"^{words}="):
        Detect(**options)


def test_data_without_boxes_or_without_objects_are_refused() -> None:
    with pytest.raises(DataError, match="has no boxes"):
        Detect().read(data.open("digits"))
    sparse = data.open("sparse_scenes")
    truth = sparse["train"].targets["boxes"]
    assert isinstance(truth, Boxes)
    empty = [i for i, own in enumerate(truth.labels) if not len(own)][:5]
    with pytest.raises(DataError, match="no training image has an object"):
        Detect().read(sparse.replace(splits={**sparse.splits, "train": sparse["train"].select(empty)}))
