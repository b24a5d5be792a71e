# SPDX-License-Identifier: Apache-2.0
"""Arithmetic on boxes against torchvision's, and against plain loops where it has none."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor
from torchvision.ops import box_iou, generalized_box_iou

from pellucid import _boxes


def some(count: int, seed: int = 0, side: float = 50) -> Tensor:
    """(count, 4) boxes, some of which overlap, and some of which begin below 0."""
    generator = torch.Generator().manual_seed(seed)
    centre, half = torch.rand(2, count, 2, generator=generator) * torch.tensor([side, 0.3 * side])[:, None, None]
    return torch.cat([centre - half, centre + half], 1)


def test_overlaps_are_torchvisions() -> None:
    one, other = some(40), some(30, seed=1)
    torch.testing.assert_close(_boxes.iou(one, other), box_iou(one, other))
    torch.testing.assert_close(_boxes.iou(one.view(2, 20, 4), other), box_iou(one, other).view(2, 20, 30))
    torch.testing.assert_close(_boxes.paired(one[:30], other), box_iou(one[:30], other).diagonal())
    torch.testing.assert_close(_boxes.giou(one[:30], other), generalized_box_iou(one[:30], other).diagonal())


def test_empty_boxes_have_no_overlap_and_no_nan() -> None:
    empty = torch.tensor([[3.0, 3, 3, 9], [5, 5, 2, 2]])
    assert _boxes.iou(empty, empty).eq(0).all()
    assert _boxes.paired(empty, empty).eq(0).all()
    assert _boxes.areas(empty).eq(0).all()
    assert _boxes.giou(empty, some(2)).isfinite().all()
    assert _boxes.encode(some(2), empty).isfinite().all()


def test_offsets_are_girshicks() -> None:
    """Eqs. 6 to 9 of Girshick et al. 2014, written out for one box, with torchvision's weights 10, 10, 5, 5."""
    reference, box = torch.tensor([10.0, 20, 30, 60]), torch.tensor([12.0, 18, 40, 50])
    expected = [(26 - 20) / 20 * 10, (34 - 40) / 40 * 10, math.log(28 / 20) * 5, math.log(32 / 40) * 5]
    assert _boxes.encode(box, reference).tolist() == pytest.approx(expected, rel=1e-5)
    torch.testing.assert_close(_boxes.decode(torch.tensor(expected), reference), box)


def test_huge_offsets_do_not_overflow() -> None:
    assert _boxes.decode(torch.full((4,), 1e4), torch.tensor([0.0, 0, 9, 9])).isfinite().all()


@pytest.mark.parametrize("limit", [0.3, 0.5, 0.7])
def test_suppression_by_class_is_that_of_a_plain_loop(limit: float) -> None:
    generator = torch.Generator().manual_seed(3)
    scores, labels = torch.rand(60, generator=generator), torch.randint(0, 3, (60,), generator=generator)
    boxes = some(60, side=30)
    kept, left = _boxes.suppress(boxes, scores, labels, limit)
    fits, expected = box_iou(boxes, boxes), []
    for place in scores.argsort(descending=True).tolist():
        if all(labels[place] != labels[other] or fits[place, other] <= limit for other in expected):
            expected.append(place)
    assert kept.tolist() == expected
    assert torch.equal(left, scores[kept])


def test_soft_suppression_is_that_of_a_plain_loop() -> None:
    """Bodla et al. 2017, fig. 2, with their Gaussian: every score is lowered by each better box of its class."""
    generator = torch.Generator().manual_seed(3)
    scores, labels = torch.rand(40, generator=generator) + 0.01, torch.randint(0, 2, (40,), generator=generator)
    boxes = some(40, side=25)
    fits, left, expected = box_iou(boxes, boxes), scores.clone(), []
    remaining = list(range(40))
    while remaining:
        best = max(remaining, key=lambda place: float(left[place]))
        remaining.remove(best)
        expected.append((best, float(left[best])))
        for other in remaining:
            if labels[other] == labels[best]:
                left[other] *= math.exp(-(float(fits[best, other]) ** 2) / 0.5)
    kept, found = _boxes.suppress(boxes, scores, labels, 0.5, soft=True)
    expected = [(place, score) for place, score in expected if score > 1e-3 * float(scores[place])]
    assert kept.tolist() == [place for place, _ in expected]
    assert found.tolist() == pytest.approx([score for _, score in expected], rel=1e-4)
    assert len(kept) > len(_boxes.suppress(boxes, scores, labels, 0.5)[0])


@pytest.mark.parametrize("soft", [False, True])
def test_nothing_is_suppressed_among_nothing(soft: bool) -> None:
    none = torch.zeros(0, 4)
    kept, scores = _boxes.suppress(none, none[:, 0], none[:, 0].long(), 0.5, soft)
    assert kept.shape == scores.shape == (0,)
