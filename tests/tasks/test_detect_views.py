# SPDX-License-Identifier: Apache-2.0
"""Detections as the mean over views of an image: boxes go to each view and back, and the same regions are scored in all of them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import detected
import pytest
import torch
from torch import Tensor, nn

import pellucid
from pellucid.models import Proposals, Regions
from pellucid.tasks import AnswersViews, Views
from pellucid.tasks._views import View
from pellucid.tasks.detect import Detect
from pellucid.tasks.detect.objects import scored
from pellucid.tasks.detect.several import mean_over

ALL = Views(flip=True, turn=True, factors=(0.5, 1.5))
SIZE = (48, 64)


class Seeing(nn.Module):
    """A detector of red, green and blue rectangles, which reads the classes of a region from its pixels alone.

    It proposes nothing of its own in a view: regions that are scored there are those that it is given. A region's class is the
    mean colour in it, and its box is the one around the pixels of that colour in its neighbourhood.
    """

    def __init__(self, proposals: Tensor) -> None:
        super().__init__()
        self.proposals = proposals  # (B, R, 4), in the plain view
        self.seen: list[tuple[int, ...]] = []

    def forward(self, images: Tensor, choose: Callable[[Proposals], Tensor] | None = None) -> Regions:
        self.seen.append(tuple(images.shape[2:]))
        found = Proposals(self.proposals, torch.zeros(self.proposals.shape[:2]))
        corners = self.proposals if choose is None else choose(found)
        shares = torch.stack([_colours(image, boxes) for image, boxes in zip(images, corners, strict=True)])
        offsets = torch.zeros(*shares.shape[:2], 3, 4)
        return Regions(found, corners, shares.clamp_min(1e-6).log(), offsets, corners[0], shares[..., 0], corners)


def _colours(image: Tensor, boxes: Tensor) -> Tensor:
    """(R, 4): the mean colour of the pixels in each box, after the share of the background."""
    rows = []
    for x0, y0, x1, y1 in boxes.round().long().tolist():
        mean = image[:, y0:y1, x0:x1].mean((1, 2))
        rows.append(torch.cat([(1 - mean.sum()).clamp_min(0)[None], mean]))
    return torch.stack(rows)


def _in_order(corners: Tensor, labels: Tensor, scores: Tensor) -> tuple[Tensor, ...]:
    """Detections from left to right: equal scores have no order."""
    order = corners[:, 0].argsort()
    return corners[order], labels[order], scores[order]


def rectangles() -> tuple[Tensor, Tensor]:
    """Two images with rectangles on even px, and their places."""
    first, second = [(4, 6, 20, 16), (40, 30, 60, 44)], [(10, 20, 30, 40), (36, 2, 44, 18)]
    images = [
        torch.from_numpy(detected.picture(SIZE, boxes, labels)).permute(2, 0, 1).float() / 255
        for boxes, labels in ((first, [0, 1]), (second, [2, 0]))
    ]
    return torch.stack(images), torch.tensor([first, second], dtype=torch.float32)


@pytest.mark.parametrize("view", [*ALL], ids=str)
def test_boxes_go_where_their_pixels_go_and_come_back(view: View) -> None:
    images, corners = rectangles()
    seen, there = view.seen(images), view.placed(corners, SIZE)
    for image, boxes, plain, before in zip(seen, there, images, corners, strict=True):
        for (x0, y0, x1, y1), (a0, b0, a1, b1) in zip(boxes.tolist(), before.long().tolist(), strict=True):
            assert all(side == round(side) for side in (x0, y0, x1, y1))
            inside = image[:, int(y0) + 1 : int(y1) - 1, int(x0) + 1 : int(x1) - 1]  # enlarged edges are blurred
            colour = plain[:, (b0 + b1) // 2, (a0 + a1) // 2]
            torch.testing.assert_close(inside, colour[:, None, None].expand_as(inside), atol=1e-5, rtol=0)
            around = image.sum(0)
            around[int(y0) - 1 : int(y1) + 1, int(x0) - 1 : int(x1) + 1] = 0
            assert float(around.max()) > 0.9  # the other rectangle is elsewhere
    torch.testing.assert_close(view.placed_back(there, SIZE), corners)


def test_boxes_of_any_place_come_back_from_views_whose_sides_are_rounded() -> None:
    generator = torch.Generator().manual_seed(3)
    start = torch.rand(50, 2, generator=generator) * 30
    corners = torch.cat([start, start + 0.5 + 9 * torch.rand(50, 2, generator=generator)], 1)
    for view in Views(flip=True, turn=True, factors=(0.77, 1.31)):
        there = view.placed(corners, (41, 53))
        assert bool((there[:, 2:] > there[:, :2]).all())
        torch.testing.assert_close(view.placed_back(there, (41, 53)), corners, atol=1e-4, rtol=1e-5)


@torch.no_grad()
def test_a_detector_that_sees_the_same_in_every_view_answers_as_for_one() -> None:
    """A box that were turned the wrong way, or a view whose boxes suppressed those of another, would change the answer."""
    images, corners = rectangles()
    model = Seeing(torch.cat([corners, corners + 2], 1).clamp(0, 44))
    for views in (Views(flip=True), Views(turn=True), ALL):
        one, several = Detect().predict(model, images), Detect().viewed(views).predict(model, images)
        for image in range(len(images)):
            (ours, our_labels, our_scores), (theirs, their_labels, their_scores) = (
                _in_order(*(column[image] for column in (own.corners, own.labels, own.scores)))
                for own in (several, one)
            )
            assert torch.equal(our_labels, their_labels)
            torch.testing.assert_close(ours, theirs, atol=1e-3, rtol=0)
            torch.testing.assert_close(our_scores, their_scores, atol=0.12 if views is ALL else 1e-5, rtol=0)  # blurred
    assert (24, 32) in model.seen and (96, 72) in model.seen  # half, and one and a half times the size and turned


@torch.no_grad()
def test_the_answer_is_the_mean_of_what_is_said_of_the_same_regions() -> None:
    """Against a plain loop over views, images, regions and classes, with a network that is not symmetric."""
    from pellucid.models.fast_rcnn import FastRcnn

    torch.manual_seed(0)
    model = FastRcnn(3, 2, SIZE, widths=(8, 8, 16), width=8, hidden=16, proposals=12, scales=(12.0, 24.0)).eval()
    for layer in (model.classes, model.boxes):
        nn.init.normal_(layer.weight, std=0.5)
    images = torch.rand(2, 3, *SIZE)
    plain = model(images)
    views = Views(flip=True, factors=(1.5,))
    said = []
    for factor in (1.0, 1.5):
        for mirrored in (False, True):
            seen = View(mirrored, 0, factor).seen(images)
            height, width = seen.shape[2:]
            regions = plain.corners * factor
            if mirrored:
                regions = torch.stack(
                    [width - regions[..., 2], regions[..., 1], width - regions[..., 0], regions[..., 3]], -1
                )
            found = model(seen, lambda proposals, regions=regions: regions)
            shares, boxes = scored(found, (height, width))
            if mirrored:
                boxes = torch.stack([width - boxes[..., 2], boxes[..., 1], width - boxes[..., 0], boxes[..., 3]], -1)
            said.append((shares, boxes / factor))
    got, proposals = mean_over(model, images, views)
    assert torch.equal(proposals.corners, plain.proposals.corners)
    differ = 0.0
    for image in range(2):
        for region in range(12):
            for label in range(2):
                own = [(float(shares[image, region, label]), boxes[image, region, label]) for shares, boxes in said]
                total = sum(share for share, _ in own)
                assert float(got.shares[image, region, label]) == pytest.approx(total / 4, abs=1e-6)
                box = torch.stack([share * box for share, box in own]).sum(0) / total
                torch.testing.assert_close(got.corners[image, region, label], box, atol=1e-3, rtol=1e-4)
                differ = max(differ, float((box - own[0][1]).abs().max()))
    assert differ > 1  # px: the views do not say the same


@torch.no_grad()
def test_regions_that_only_fill_up_stay_background() -> None:
    """Selective search finds fewer regions in some images; what fills the others repeats one, whose score would count twice."""
    images, corners = rectangles()

    class Filled(Seeing):
        def forward(self, images: Tensor, choose: Callable[[Proposals], Tensor] | None = None) -> Regions:
            found = super().forward(images, choose)
            scores = torch.tensor([[0.0, -1, -torch.inf]]).expand(2, 3)
            logits = found.logits.clone()
            if choose is None:
                logits[:, 2] = torch.tensor([100.0, 0, 0, 0])
            return found._replace(proposals=Proposals(found.proposals.corners, scores), logits=logits)

    said, _ = mean_over(Filled(torch.cat([corners, corners[:, :1]], 1)), images, Views(flip=True))
    assert float(said.shares[:, 2].max()) < 1e-6
    assert float(said.shares[:, :2].amax(2).min()) > 0.9


def test_views_are_an_option_of_answers_and_none_of_a_training() -> None:
    assert isinstance(Detect(), AnswersViews)
    assert "views" not in Detect().options


def test_a_run_is_measured_and_answers_by_views(tmp_path: Path) -> None:
    run = detected.brief(tmp_path / "run")
    whole = detected.scenes()
    own = run.read
    run.__dict__["read"] = lambda what=None: own(whole if what is None else what)
    plain = pellucid.evaluate(run, baselines=False)
    several = pellucid.evaluate(run, baselines=False, views=["flip", 1.5])
    key = several["main"]
    assert several["views"]["count"] == 4
    # precision and recall are those of this threshold
    assert run.threshold is not None
    said = "The threshold was chosen for the answers to one view of each image."
    assert said in several["notes"] and said not in plain.get("notes", [])
    assert several["baselines"]["one view"][key] == plain["model"][key]
    assert several["gap"]["value"] == pytest.approx(several["model"][key]["value"] - plain["model"][key]["value"])
    image = whole["test"].images.read(0, 3).transpose(1, 2, 0)
    options: dict[str, Any] = {"threshold": 0.02}
    [one], [four] = (pellucid.predict(run, image, views=views, **options) for views in ((), ["flip", 1.5]))
    assert "views" not in one and four["views"] == 4
    assert one["detections"] != four["detections"]
    [tiled] = pellucid.predict(run, image, views=["flip"], tile=True, tile_size=(48,), **options)
    assert tiled["views"] == 2
