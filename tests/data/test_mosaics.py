# SPDX-License-Identifier: Apache-2.0
"""Images put together from parts of four: pixels and boxes against a plain loop, and what is left of cut objects."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from pellucid import data
from pellucid.data.dataset import Batch
from pellucid.data.draws import Draws
from pellucid.data.mosaics import mosaic
from pellucid.data.targets import Boxes
from pellucid.errors import UsageError
from pellucid.tasks.detect import Detect
from pellucid.training.training import train

HEIGHT, WIDTH = 24, 40


def draws(count: int, step: int = 0) -> Draws:
    return Draws.step(0, step, slice(0, count), count)


def traced(count: int) -> Tensor:
    """Images (N, 3, H, W) whose pixels say where they come from: image, row and column."""
    own = torch.arange(float(count))[:, None, None].expand(count, HEIGHT, WIDTH)
    rows = torch.arange(float(HEIGHT))[:, None].expand(count, HEIGHT, WIDTH)
    columns = torch.arange(float(WIDTH)).expand(count, HEIGHT, WIDTH)
    return torch.stack([own, rows, columns], 1)


def objects(count: int, seed: int = 0) -> Boxes:
    """Up to five objects an image, some of them crowds; every third image has none."""
    generator = torch.Generator().manual_seed(seed)
    corners, labels, crowds = [], [], []
    for image in range(count):
        n = 0 if image % 3 == 2 else 1 + image % 5
        start = torch.rand(n, 2, generator=generator) * torch.tensor([WIDTH - 14.0, HEIGHT - 10])
        sides = 1 + torch.rand(n, 2, generator=generator) * torch.tensor([13.0, 9])
        corners.append(torch.cat([start, start + sides], 1))
        labels.append(torch.randint(0, 9, (n,), generator=generator))
        crowds.append(torch.rand(n, generator=generator) < 0.2)
    return Boxes(corners, labels, ignored=crowds)


def parts_of(image: Tensor) -> list[tuple[int, int, int, int, int, int, int]]:
    """Each part of a traced mosaic: its image, where it begins and ends (x0, y0, x1, y1), and what x and y are shifted by."""
    found = []
    names = image[0].long()
    shifts = torch.stack(
        [torch.arange(WIDTH).expand(HEIGHT, WIDTH) - image[2].long(), torch.arange(HEIGHT)[:, None] - image[1].long()]
    )
    keys = torch.cat([names[None], shifts]).flatten(1).T  # (H·W, 3)
    for name, across, down in keys.unique(dim=0).tolist():
        inside = (keys == torch.tensor([name, across, down])).all(1).view(HEIGHT, WIDTH)
        rows, columns = inside.any(1).nonzero()[:, 0], inside.any(0).nonzero()[:, 0]
        x0, y0, x1, y1 = int(columns[0]), int(rows[0]), int(columns[-1]) + 1, int(rows[-1]) + 1
        assert int(inside.sum()) == (x1 - x0) * (y1 - y0), "a part is a full rectangle"
        found.append((name, x0, y0, x1, y1, across, down))
    return found


def test_every_object_is_where_its_pixels_are_and_as_much_of_it_as_is_seen() -> None:
    """The parts are read from the pixels alone; boxes, classes and crowds follow from them in a plain loop."""
    count = 12
    truth = objects(count)
    assert truth.ignored is not None
    made, boxes = mosaic(traced(count), truth, draws(count), share=1.0)
    assert boxes.ignored is not None
    cut, small = 0, 0
    for image in range(count):
        wanted = []
        parts = parts_of(made[image])
        assert sorted(name for name, *_ in parts) == sorted((image - k) % count for k in range(4))
        for name, x0, y0, x1, y1, across, down in parts:
            for box, label, crowd in zip(
                truth.corners[name].tolist(), truth.labels[name].tolist(), truth.ignored[name].tolist(), strict=True
            ):
                left, top = max(box[0] + across, x0), max(box[1] + down, y0)
                right, bottom = min(box[2] + across, x1), min(box[3] + down, y1)
                if right <= left or bottom <= top:
                    continue
                share = (right - left) * (bottom - top) / ((box[2] - box[0]) * (box[3] - box[1]))
                wanted.append((left, top, right, bottom, label, crowd or share < 0.25))
                cut, small = cut + (share < 0.99), small + (share < 0.25)
        got = [
            (*box, label, crowd)
            for box, label, crowd in zip(
                boxes.corners[image].tolist(), boxes.labels[image].tolist(), boxes.ignored[image].tolist(), strict=True
            )
        ]
        assert len(got) == len(wanted)
        for mine, its in zip(sorted(got), sorted(wanted), strict=True):
            assert mine == pytest.approx(its, abs=1e-3)
    assert cut > 10 and small > 3, "the case has cut objects, and some of which little is left"


def test_a_share_of_the_images_becomes_mosaics_and_the_others_stay_as_they_are() -> None:
    count = 200
    images, truth = traced(count), objects(count)
    made, boxes = mosaic(images, truth, draws(count), share=0.3)
    assert boxes.ignored is not None and truth.ignored is not None
    same = [bool((made[i] == images[i]).all()) for i in range(count)]
    assert 0.6 < sum(same) / count < 0.8
    for i in range(count):
        if same[i]:
            assert torch.equal(boxes.corners[i], truth.corners[i])
            assert torch.equal(boxes.labels[i], truth.labels[i])
            assert torch.equal(boxes.ignored[i], truth.ignored[i])
    unchanged = mosaic(images, truth, one := draws(count), share=0.0)
    assert unchanged[0] is images and unchanged[1] is truth
    assert not one.used  # so that trainings without mosaics draw what they drew before


def test_parts_meet_in_the_middle_half_and_come_from_everywhere() -> None:
    count = 120
    made, _ = mosaic(traced(count), objects(count), draws(count), share=1.0)
    meet, starts = [], []
    for image in made:
        parts = parts_of(image)
        first = next(part for part in parts if part[1] == part[2] == 0)
        meet.append((first[3] / WIDTH, first[4] / HEIGHT))
        free = (WIDTH - first[3], HEIGHT - first[4])
        starts.append((-first[5] / free[0], -first[6] / free[1]))
    for found, low, high in ((torch.tensor(meet), 0.25, 0.75), (torch.tensor(starts), 0.0, 1.0)):
        assert float(found.min()) >= low - 0.03 and float(found.max()) <= high + 0.03
        assert torch.allclose(found.mean(0), torch.tensor(0.5), atol=0.1)
        assert float(found.std(0).min()) > 0.2 * (high - low)


@pytest.mark.parametrize("count", [1, 2, 3])
def test_a_batch_of_fewer_than_four_repeats_its_images(count: int) -> None:
    made, _ = mosaic(traced(count), objects(count), draws(count), share=1.0)
    for image in range(count):
        assert {name for name, *_ in parts_of(made[image])} == set(range(count))


def test_batches_without_any_object_stay_without() -> None:
    none = Boxes([torch.zeros(0, 4)] * 4, [torch.zeros(0, dtype=torch.int64)] * 4)
    _, boxes = mosaic(traced(4), none, draws(4), share=1.0)
    assert [len(own) for own in boxes.corners] == [0] * 4
    assert all(own.shape == (0, 4) for own in boxes.corners)


@pytest.mark.parametrize("source", ["learned", "search"])
def test_a_detector_learns_from_mosaics_and_is_measured_on_whole_images(source: Any) -> None:
    split = data.open("scenes")["train"].select(range(8))
    pixels = torch.stack([torch.from_numpy(split.images.read(i, 3)) for i in range(8)])
    batch = Batch(pixels, split.targets, torch.arange(8))
    task, plain = Detect(mosaic=1.0, source=source), Detect(source=source)
    made, truth = task.prepare(batch, draws(8), training=True)
    whole, _ = plain.prepare(batch, draws(8), training=True)
    assert not torch.equal(made, whole)
    assert all(bool((own >= 0).all() and (own <= 64).all()) for own in (*truth.corners, *truth.near))
    if source == "search":  # proposals are moved and cut along with the pixels, and are no objects
        assert all(len(own) for own in truth.near)
        assert all(bool((labels >= 0).all()) for labels in truth.labels)
    still, same = task.prepare(batch, Draws.images(0, torch.arange(8)), training=False)
    assert torch.equal(still, pixels.float() / 255)
    assert all(torch.equal(*pair) for pair in zip(same.corners, split.targets["boxes"].corners, strict=True))  # type: ignore[attr-defined]


@pytest.mark.parametrize("share", [-0.1, 1.5, float("nan")])
def test_what_is_no_share_is_refused(share: float) -> None:
    with pytest.raises(UsageError, match=r"^mosaic=.*: is a share; give a number from 0 to 1"):
        Detect(mosaic=share)


def test_features_that_are_kept_and_mosaics_are_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"variants=2: would keep features of images"):
        train("detect", "scenes", None, tmp_path / "run", frozen=True, variants=2, mosaic=0.5, limit=8, epochs=1,
              device="cpu", progress=False, widths=(4, 8), width=8, hidden=8)  # fmt: skip
