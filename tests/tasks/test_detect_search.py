# SPDX-License-Identifier: Apache-2.0
"""Selective search: its grouping against one that looks at the pixels again at every step, and what it finds in scenes."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from scipy import ndimage
from skimage.segmentation import felzenszwalb

from pellucid.data.embedded.scenes import draw
from pellucid.data.targets import Boxes, target_of
from pellucid.errors import UsageError
from pellucid.tasks.detect.grouping import described, grouped
from pellucid.tasks.detect.search import FAST, Strategy, hierarchy, proposed, searched

Pixels = NDArray[Any]


def textured(seed: int, size: tuple[int, int] = (28, 36)) -> NDArray[np.uint8]:
    """(3, H, W): blobs of several colours with noise on them."""
    dice = np.random.default_rng(seed)
    smooth = ndimage.gaussian_filter(dice.standard_normal((3, *size)), (0, 4, 4))
    return (np.clip(128 + 700 * smooth + 12 * dice.standard_normal((3, *size)), 0, 255)).astype(np.uint8)


# -- the plain way: every similarity from the pixels, again after every merge


def intersection(values: Pixels, bins: int, top: Pixels, one: Pixels, other: Pixels) -> float:
    """Of two regions' histograms (masks (H, W)), each plane's with equal bins over [0, top], all together summing to 1."""
    total = 0.0
    for plane, end in zip(np.moveaxis(values, 2, 0), top, strict=True):
        edges = np.linspace(0, end, bins + 1)
        edges[0], edges[-1] = -np.inf, np.inf
        shares = [np.histogram(plane[mask], edges)[0] / mask.sum() for mask in (one, other)]
        total += np.minimum(*shares).sum() / values.shape[2]
    return total


def slopes(planes: Pixels) -> tuple[Pixels, Pixels]:
    """(H, W, 24) derivatives in eight directions, and the end of each one's bins."""
    found, tops = [], []
    for plane in np.moveaxis(planes, 2, 0):
        down, across = (ndimage.gaussian_filter(plane, 1.0, order=o, mode="nearest") for o in ((1, 0), (0, 1)))
        for k in range(8):
            found.append(across * np.cos(k * np.pi / 4) + down * np.sin(k * np.pi / 4))
            tops.append(np.sqrt(across**2 + down**2).max())
    return np.stack(found, 2), np.array(tops)


def box(mask: Pixels) -> list[int]:
    rows, columns = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
    return [int(columns[0]), int(rows[0]), int(columns[-1]) + 1, int(rows[-1]) + 1]


def similarity(planes: Pixels, one: Pixels, other: Pixels, measures: str) -> float:
    value, area = 0.0, one.size
    if "c" in measures:
        value += intersection(planes, 25, np.ones(3), one, other)
    if "t" in measures:
        values, tops = slopes(planes)
        value += intersection(values, 10, tops, one, other)
    if "s" in measures:
        value += 1 - (one.sum() + other.sum()) / area
    if "f" in measures:
        x0, y0, x1, y1 = box(one | other)
        value += 1 - ((x1 - x0) * (y1 - y0) - one.sum() - other.sum()) / area
    return value


def plainly_grouped(planes: Pixels, labels: Pixels, measures: str) -> list[list[int]]:
    regions: dict[int, Pixels] = {i: labels == i for i in range(labels.max() + 1)}
    boxes = [box(mask) for mask in regions.values()]
    corners = np.ones((3, 3))  # touching by a corner counts
    while len(regions) > 1:
        pairs = [
            (-similarity(planes, regions[a], regions[b], measures), a, b)
            for a, b in itertools.combinations(sorted(regions), 2)
            if (ndimage.binary_dilation(regions[a], corners) & regions[b]).any()
        ]
        _, a, b = min(pairs)
        regions[len(boxes)] = regions.pop(a) | regions.pop(b)
        boxes.append(box(regions[len(boxes)]))
    return boxes


@pytest.mark.parametrize("measures", ["ctsf", "tsf", "c", "t", "f", "s"])
def test_grouping_is_that_of_similarities_from_the_pixels(measures: str) -> None:
    planes = 1e-4 + 0.999 * textured(len(measures)).transpose(1, 2, 0) / 255  # no value at the edge of a bin
    labels = felzenszwalb(planes, scale=60, min_size=12)
    assert 8 <= labels.max() <= 30
    assert grouped(described(planes, labels), measures).tolist() == plainly_grouped(planes, labels, measures)


def test_sums_of_histograms_are_those_of_the_merged_pixels() -> None:
    planes = textured(1).transpose(1, 2, 0) / 255
    parts, whole = (
        described(planes, labels) for labels in (felzenszwalb(planes, 60, min_size=12), np.zeros((28, 36), int))
    )
    for name in ("sizes", "colours", "textures"):
        np.testing.assert_array_equal(getattr(parts, name).sum(0, keepdims=True)[0], getattr(whole, name)[0])


def test_a_hierarchy_ends_with_the_whole_image() -> None:
    boxes = hierarchy(textured(2))
    assert len(boxes) % 2 == 1 and boxes[-1].tolist() == [0, 0, 36, 28]
    assert (boxes[:, 2:] > boxes[:, :2]).all() and (boxes >= 0).all() and (boxes <= [36, 28, 36, 28]).all()


def test_proposals_are_ranked_once_each_and_the_same_every_time() -> None:
    image = textured(3)
    found = proposed(image)
    assert len(np.unique(found, axis=0)) == len(found) and found.dtype == np.float32
    joined = np.unique(np.concatenate([hierarchy(image, one) for one in FAST]), axis=0)
    np.testing.assert_array_equal(np.unique(found, axis=0), joined)
    np.testing.assert_array_equal(proposed(image), found)
    few = searched(torch.from_numpy(np.stack([textured(4), image])), most=7)
    assert [len(own) for own in few] == [7, 7]  # an image's proposals do not depend on those around it
    np.testing.assert_array_equal(few[1].numpy(), found[:7])


def test_images_of_one_plane_one_colour_and_one_pixel_have_proposals() -> None:
    grey = textured(5)[:1]
    np.testing.assert_array_equal(proposed(grey), proposed(np.repeat(grey, 3, 0)))
    for size in ((1, 1), (3, 50), (20, 20)):
        flat = searched(torch.full((1, 3, *size), 90, dtype=torch.uint8))[0]
        assert flat.tolist() == [[0, 0, size[1], size[0]]]


def test_it_finds_the_shapes_of_scenes_and_better_than_boxes_at_random() -> None:
    """Recall at IoU ≥ 0.5 with the best 300, beside as many random boxes."""
    split = draw({"train": 12, "val": 2, "test": 2})["train"]
    truth = target_of(split.targets, "boxes", Boxes)
    images = torch.from_numpy(np.asarray(split.images.array))
    dice = np.random.default_rng(0)
    ends = np.sort(dice.random((12, 300, 2, 2)), 2) * 64
    chance = [torch.from_numpy(own.reshape(300, 4)).float() for own in ends]
    ours, theirs = recall(searched(images, 300), truth), recall(chance, truth)
    assert ours >= 0.9 and ours > theirs + 0.1, (ours, theirs)


def recall(proposals: list[torch.Tensor], truth: Boxes) -> float:
    """The share of true boxes that a proposal overlaps by half."""
    found = []
    for own, corners in zip(proposals, truth.corners, strict=True):
        for true in corners:
            shared = (torch.minimum(own[:, 2:], true[2:]) - torch.maximum(own[:, :2], true[:2])).clamp_min(0).prod(1)
            union = (own[:, 2:] - own[:, :2]).prod(1) + (true[2:] - true[:2]).prod() - shared
            found.append(bool((shared / union >= 0.5).any()))
    return float(np.mean(found))


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"measures": "ctx"}, "measures='ctx': must be letters of 'ctsf'; give e.g. 'tsf'."),
        ({"measures": ""}, "measures='': must be letters of 'ctsf'; give e.g. 'tsf'."),
        ({"scale": 0.0}, "scale=0: must be above 0; give e.g. 100."),
    ],
)
def test_options_that_mean_nothing_are_refused(options: dict[str, Any], words: str) -> None:
    with pytest.raises(UsageError) as fault:
        Strategy(**options)
    assert str(fault.value) == words
