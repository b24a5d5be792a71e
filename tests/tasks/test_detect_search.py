# SPDX-License-Identifier: Apache-2.0
"""Selective search: its grouping against one that looks at the pixels again at every step, and what it finds in scenes."""

from __future__ import annotations

import itertools
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from scipy import ndimage
from skimage.segmentation import felzenszwalb

from pellucid.data.annotations.converting import convert
from pellucid.data.dataset import Batch
from pellucid.data.draws import Draws
from pellucid.data.embedded.scenes import draw
from pellucid.data.targets import Boxes, target_of
from pellucid.data.transforms import Augment
from pellucid.errors import UsageError
from pellucid.exporting import export
from pellucid.looking.looking import look
from pellucid.models import _selective
from pellucid.models._grouping import described, grouped
from pellucid.models._selective import FAST, Strategy, hierarchy, proposed, searched
from pellucid.models.fast_rcnn import FastRcnn
from pellucid.run import load
from pellucid.tasks.detect import Detect
from pellucid.training.training import train

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


# -- as the source of a detector's regions

SMALL: dict[str, Any] = {"widths": (8, 8, 16, 16), "width": 8, "hidden": 16, "proposals": 40}


def test_a_detector_that_searches_scores_the_searched_regions_and_no_others() -> None:
    torch.manual_seed(0)
    model = FastRcnn(3, 2, (64, 64), **SMALL).eval()
    images = torch.from_numpy(np.stack([textured(6, (64, 64)), np.full((3, 64, 64), 90, np.uint8)]))
    Detect(source="search").update_buffers(model, lambda: iter(()), 1, 1, 0)
    with torch.no_grad():
        output = model(images / 255)
        own = model(images / 255, lambda _: output.corners).logits  # of chosen regions
    for i, found in enumerate(searched(images, 1000)):
        count = min(40, len(found))
        assert count == (40, 1)[i]
        torch.testing.assert_close(output.corners[i, :count], found[:count])
        torch.testing.assert_close(output.logits[i, :count], own[i, :count])
        assert bool((output.logits[i, count:].softmax(1)[:, 0] > 0.999).all())  # repetitions of the first
        assert output.proposals.scores[i].isfinite().sum() == min(1000, len(found))
    answer = Detect(source="search").predict(model, images / 255)
    assert answer.proposals is not None and len(answer.corners[1]) <= 2  # a class each, of one region


def test_a_training_on_searched_regions_chooses_among_them_and_moves_them_with_the_image() -> None:
    task, pixels = Detect(source="search", augment=Augment(flip=True)), torch.from_numpy(textured(7, (64, 64)))[None]
    objects = Boxes([torch.tensor([[5.0, 5, 25, 30]])], [torch.tensor([1])], ignored=[torch.tensor([False])])
    found = searched(pixels, 300)[0]
    flipped = []
    for step in range(8):
        batch = Batch(pixels, {"boxes": objects}, torch.tensor([0]))
        images, truth = task.prepare(batch, Draws.step(0, step, slice(0, 1), 1), training=True)
        mirror = not bool((images * 255 == pixels).all())
        flipped.append(mirror)
        at = torch.tensor([64.0, 0, 64, 0]) - found[:, [2, 1, 0, 3]] if mirror else found
        expected = torch.stack([at[:, 0], found[:, 1], at[:, 2], found[:, 3]], 1)
        torch.testing.assert_close(truth.near[0], expected)
        assert truth.labels[0].tolist() == [1] and len(truth.corners[0]) == 1
    assert any(flipped) and not all(flipped)
    model = FastRcnn(3, 2, (64, 64), **SMALL)
    losses = task.loss(model, images, truth)
    assert set(losses) == {"loss", "class", "box"}
    losses["loss"].backward()
    assert all(weight.grad is None or not weight.grad.any() for weight in model.proposer.parameters())
    assert bool(model.classes.weight.grad.any())  # type: ignore[union-attr]


def test_an_image_is_searched_once(monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[int] = []
    plain = _selective.proposed
    monkeypatch.setattr(_selective, "proposed", lambda *given: made.append(1) or plain(*given))
    images = torch.from_numpy(np.stack([textured(seed) for seed in (20, 21, 20)]))
    first = searched(images, 5)
    assert len(made) == 2
    again = searched(images.flip(0), 50)
    assert len(made) == 2 and [len(own) for own in again] == [50, 50, 50]
    torch.testing.assert_close(again[0][:5], first[0])


def test_a_run_that_searches_predicts_is_looked_at_and_is_not_exported(tmp_path: Path) -> None:
    convert(draw({"train": 8, "val": 4, "test": 4}), "coco", tmp_path / "data")
    run = train("detect", tmp_path / "data", None, tmp_path / "run", source="search", epochs=1, device="cpu",
                progress=False, **SMALL)  # fmt: skip
    assert {"class", "box"} <= set(run.history[-1]) and "objectness" not in run.history[-1]
    view = look(load(run.path), "proposals", out=tmp_path / "looks")
    assert "selective search proposes" in view.words
    images = torch.from_numpy(np.stack([run.data()["test"].images.read(i, 3) for i in range(4)]))
    for i, found in enumerate(searched(images, 40)):
        np.testing.assert_allclose(view["regions"][i][: len(found)], found, atol=1e-4)
        assert view["counts"][i, 3] == len(found)
    with pytest.raises(UsageError, match=r"^source='search': selective search cannot be part of an exported file; "):
        export(run, tmp_path / "files", ["torch"])


def test_a_source_that_is_none_is_refused() -> None:
    with pytest.raises(UsageError, match=r"^source='edges': is not known; choose learned or search\.$"):
        Detect(source="edges")  # type: ignore[arg-type]
