# SPDX-License-Identifier: Apache-2.0
"""RoI pooling and RoIAlign: values and gradients against plain loops and against torchvision's operators."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor
from torchvision.ops import roi_align, roi_pool

from pellucid.models.fast_rcnn import pooling
from pellucid.models.fast_rcnn.pooling import Pool, pooled


def regions(batch: int, count: int, height: int, width: int, seed: int = 0) -> Tensor:
    """(batch, count, 4) boxes in px: broken and whole corners, halves of places, thin ones, and some beyond the edge."""
    generator = torch.Generator().manual_seed(seed)
    start = torch.rand(batch, count, 2, generator=generator) * torch.tensor([width, height])
    size = torch.rand(batch, count, 2, generator=generator).square() * torch.tensor([width, height])
    boxes = torch.cat([start, start + size], 2)
    boxes[:, ::3] = boxes[:, ::3].round()
    boxes[:, ::4] = (boxes[:, ::4] / 4).round() * 4
    boxes[:, 0] = torch.tensor([0.0, 0, width, height])
    boxes[:, 1] = torch.tensor([width - 1.0, height - 1.0, width + 30.0, height + 30.0])
    boxes[:, 2] = boxes[:, 2, [0, 1, 0, 1]]
    return boxes


def rois(boxes: Tensor) -> Tensor:
    """(batch · count, 5): as torchvision has them, each with its image."""
    image = torch.arange(boxes.shape[0]).repeat_interleave(boxes.shape[1])
    return torch.cat([image[:, None].float(), boxes.flatten(0, 1)], 1)


def rounded(value: float) -> int:
    return int(math.copysign(math.floor(abs(value) + 0.5), value))


def girshick(image: Tensor, box: list[float], stride: int, bins: int) -> Tensor:
    """One region of one image (C, H, W) by a plain loop over bins, as Girshick's own program has it."""
    channels, height, width = image.shape
    x0, y0, x1, y1 = (rounded(corner / stride) for corner in box)
    tall, wide = max(y1 - y0 + 1, 1) / bins, max(x1 - x0 + 1, 1) / bins
    rows = []
    for i in range(bins):
        top, bottom = (min(max(edge + y0, 0), height) for edge in (math.floor(i * tall), math.ceil((i + 1) * tall)))
        for j in range(bins):
            left, right = (min(max(edge + x0, 0), width) for edge in (math.floor(j * wide), math.ceil((j + 1) * wide)))
            part = image[:, top:bottom, left:right].flatten(1)
            rows.append(part.amax(1) if part.shape[1] else image.new_zeros(channels))
    return torch.stack(rows, 1).view(channels, bins, bins)


@pytest.mark.parametrize("bins", [1, 2, 7])
@pytest.mark.parametrize("shape", [(5, 9), (16, 16), (1, 3), (40, 33)])
def test_the_largest_values_are_those_of_a_plain_loop(shape: tuple[int, int], bins: int) -> None:
    image = torch.randn(2, 3, *shape)
    boxes = regions(2, 12, 4 * shape[0], 4 * shape[1])
    expected = torch.stack(
        [torch.stack([girshick(a, box, 4, bins) for box in own.tolist()]) for a, own in zip(image, boxes, strict=True)]
    )
    assert torch.equal(pooled("roi_pool", [image], [4], boxes, bins), expected)


def cases(kind: Pool, given: Tensor, boxes: Tensor, stride: int) -> tuple[Tensor, Tensor]:
    """What is pooled, and torchvision's."""
    ours = pooled(kind, [given], [stride], boxes, 7).flatten(0, 1)
    if kind == "roi_pool":
        return ours, roi_pool(given, rois(boxes), 7, 1 / stride)
    return ours, roi_align(given, rois(boxes), 7, 1 / stride, 2, aligned=True)


@pytest.mark.parametrize("negative", [True, False])
@pytest.mark.parametrize("kind", ["roi_pool", "roi_align"])
def test_values_and_gradients_are_torchvisions(kind: Pool, negative: bool) -> None:
    """Half of the values are equal zeros after a ReLU: of equal values, the first by row and column has the gradient."""
    given = torch.randn(3, 8, 24, 31)
    given = (given if negative else given.relu()).requires_grad_()
    boxes = regions(3, 40, 24 * 8, 31 * 8)
    ours, theirs = cases(kind, given, boxes, 8)
    weight = torch.randn_like(theirs)
    found, expected = (torch.autograd.grad((one * weight).sum(), given)[0] for one in (ours, theirs))
    close = {"rtol": 0, "atol": 0} if kind == "roi_pool" else {"rtol": 1e-4, "atol": 2e-4}
    torch.testing.assert_close(ours, theirs, **close)
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=2e-4)
    with torch.no_grad():  # another way, without places
        torch.testing.assert_close(cases(kind, given, boxes, 8)[0], theirs.detach(), **close)


def test_minus_zero_is_zero() -> None:
    given = torch.tensor([[[[-0.0, 0.0], [0.0, -0.0]]]], requires_grad=True)
    pooled("roi_pool", [given], [1], torch.tensor([[[0.0, 0, 1, 1]]]), 1).sum().backward()
    assert given.grad is not None
    assert given.grad.flatten().tolist() == [1, 0, 0, 0]


@pytest.mark.parametrize("kind", ["roi_pool", "roi_align"])
def test_each_region_is_pooled_from_the_map_that_suits_its_size(kind: Pool) -> None:
    maps = [torch.randn(2, 4, 32, 32, requires_grad=True), torch.randn(2, 4, 16, 16, requires_grad=True)]
    # 7 bins on places of 4 px: up to 56 px from the fine map, and above from the coarse one
    small, large = torch.tensor([8.0, 8, 40, 50]), torch.tensor([4.0, 0, 124, 90])
    boxes = torch.stack([small, large]).expand(2, 2, 4)
    both = pooled(kind, maps, [4, 8], boxes, 7)
    alone = [pooled(kind, maps[i : i + 1], [4 * 2**i], boxes[:, i : i + 1], 7)[:, 0] for i in (0, 1)]
    for place in (0, 1):
        torch.testing.assert_close(both[:, place], alone[place])
    weight = torch.randn_like(both)
    found = torch.autograd.grad((both * weight).sum(), maps)
    expected = torch.autograd.grad(sum((alone[i] * weight[:, i]).sum() for i in (0, 1)), maps)
    torch.testing.assert_close(found, expected)


@pytest.mark.parametrize("kind", ["roi_pool", "roi_align"])
def test_half_precision_and_other_layouts_are_pooled_alike(kind: Pool) -> None:
    given = torch.randn(2, 8, 12, 12).bfloat16()
    boxes = regions(2, 10, 48, 48)
    whole = pooled(kind, [given.float()], [4], boxes, 7)
    torch.testing.assert_close(pooled(kind, [given], [4], boxes, 7).float(), whole)
    last = given.to(memory_format=torch.channels_last).requires_grad_()
    found = pooled(kind, [last], [4], boxes, 7)
    torch.testing.assert_close(found.float(), whole)
    found.float().sum().backward()
    assert last.grad is not None
    assert last.grad.dtype == torch.bfloat16


@pytest.mark.parametrize("count", [3, 200], ids=["place by place", "by windows"])
def test_few_and_many_regions_are_pooled_alike(count: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without gradients there are two ways: which of them is faster depends on the number of regions."""
    called: list[str] = []
    windows = pooling.largest_windows
    monkeypatch.setattr(pooling, "largest_windows", lambda *given: called.append("windows") or windows(*given))
    given, boxes = torch.randn(2, 4, 30, 40), regions(2, count, 30 * 8, 40 * 8)
    ours, theirs = cases("roi_pool", given, boxes, 8)
    assert torch.equal(ours, theirs)
    assert called == ["windows"] * (count > 100)


@pytest.mark.parametrize("reach", [2.0, 6.0, 40.0])
@pytest.mark.parametrize("bins", [2, 7])
def test_regions_that_reach_far_beyond_the_map_are_pooled_as_torchvision_does(bins: int, reach: float) -> None:
    """Their bins have more places than any of a region within the map, which the windows are made for."""
    given, middle = torch.randn(2, 3, 30, 40), torch.tensor([160.0, 120.0, 160.0, 120.0])
    boxes = middle + reach * (regions(2, 300, 240, 320) - middle)
    with torch.no_grad():
        ours = pooled("roi_pool", [given], [8], boxes, bins).flatten(0, 1)
    assert torch.equal(ours, roi_pool(given, rois(boxes), bins, 1 / 8))
