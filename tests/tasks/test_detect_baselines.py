"""Simple detectors: frequent places, selective search with shares of classes, and the classical one on drawn discs."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from boxsets import truth_of

from pellucid import data
from pellucid.data.targets import Boxes
from pellucid.tasks.detect import Detect, baselines, metrics
from pellucid.tasks.detect.baselines import frequent_places, with_prior
from pellucid.tasks.detect.classical import Classical
from pellucid.tasks.detect.cutting import Size, Way, planes, regions

SIDE = 96  # px


def discs(images: int, seed: int, dark: bool = True, channels: int = 3) -> tuple[list[np.ndarray], Boxes]:
    """Images (C, H, W) uint8 of large and small discs that may touch, with their boxes: class 0 is small, 1 is large."""
    rng = np.random.default_rng(seed)
    rows, columns = np.mgrid[:SIDE, :SIDE]
    drawn, corners, labels = [], [], []
    for _ in range(images):
        back, front = (190, 60) if dark else (60, 190)
        image = np.full((SIDE, SIDE), float(back))
        own: list[list[float]] = []
        kinds: list[int] = []
        for _ in range(30):
            if len(own) == 5:
                break
            kind = int(rng.integers(2))
            radius = (7, 13)[kind]
            y, x = rng.uniform(radius, SIDE - radius, 2)
            if any(np.hypot(x - (a + c) / 2, y - (b + d) / 2) < radius + (c - a) / 2 - 1 for a, b, c, d in own):
                continue  # they touch, but hardly overlap
            image[(rows + 0.5 - y) ** 2 + (columns + 0.5 - x) ** 2 < radius**2] = front
            own.append([x - radius, y - radius, x + radius, y + radius])
            kinds.append(kind)
        image = image + rng.normal(0, 4, image.shape)
        drawn.append(np.repeat(image.clip(0, 255).astype(np.uint8)[None], channels, 0))
        corners.append(own)
        labels.append(kinds)
    return drawn, truth_of(corners, labels)


@pytest.mark.parametrize(("dark", "channels"), [(True, 3), (False, 1)])
def test_the_classical_detector_finds_touching_discs_and_tells_their_sizes_apart(dark: bool, channels: int) -> None:
    images, truth = discs(24, 0, dark, channels)
    method = Classical.learnt(images, truth, 2)
    assert method.name == f"threshold ({'dark' if dark else 'bright'}), watershed, random forest"
    held_out, true = discs(16, 1, dark, channels)
    records = metrics.columns(method.detected(held_out), true)
    [measure] = [one for one in metrics.metrics(("small", "large")) if one.key == "ap50"]
    assert measure.value(records) > 0.9
    # the regions that it learned from are judged by trees that have not seen them: no better than new ones
    assert measure.value(metrics.columns(method.own, truth)) == pytest.approx(measure.value(records), abs=0.1)


def test_a_watershed_parts_discs_that_touch() -> None:
    rows, columns = np.mgrid[:40, :60]
    image = np.full((1, 40, 60), 200, np.uint8)
    for x in (18, 40):
        image[0, (rows - 20) ** 2 + (columns - x) ** 2 < 144] = 30
    found = [regions(planes(image), Way(0, False, parted), Size(20.0, 5.0)) for parted in (False, True)]
    assert [len(np.unique(parts)) - 1 for parts in found] == [1, 2]
    assert found[1][20, 18] != found[1][20, 40]


def test_images_without_regions_have_no_answers() -> None:
    images, truth = discs(8, 2)
    method = Classical.learnt(images, truth, 2)
    answer = method.detected([np.full((3, SIDE, SIDE), 128, np.uint8)])
    assert len(answer) == 1 and not len(answer.labels[0])


def test_frequent_places_are_scored_by_how_often_objects_lie_there() -> None:
    always, sometimes = [0, 0, 20, 20], [44, 44, 64, 64]
    truth = truth_of([[always, sometimes], [always], [always], [always]])
    answer = frequent_places(truth, (64, 64), 1)
    assert answer.corners[0][0].tolist() == always and answer.scores[0][0] == 1
    place = [row.tolist() for row in answer.corners[0]].index(sometimes)
    assert answer.scores[0][place] == 0.25
    assert len(answer.labels[0]) < 16 and bool((answer.scores[0] > 0).all())  # places without objects are left out


def test_proposals_are_scored_by_rank_and_class() -> None:
    boxes = torch.tensor([[0.0, 0, 10, 10], [0, 0, 10, 9], [30, 30, 60, 60]])
    answer = with_prior(boxes, torch.tensor([0.0, 0.8, 0.2]))
    assert answer.labels[0].tolist() == [1, 1, 2, 2]  # the second box is covered by the first; no class of share 0
    assert answer.scores[0].tolist() == pytest.approx([0.8, 0.8 / 3, 0.2, 0.2 / 3])
    assert answer.proposals is not None and len(answer.proposals[0]) == 3


def test_baselines_stand_in_the_table_of_the_model() -> None:
    whole = data.open("scenes")
    dataset = whole.replace(splits={part: split.select(range(30)) for part, split in whole.splits.items()})
    dataset, task = Detect().read(dataset)
    found = task.baselines(dataset.splits["train"], dataset.splits["test"], (64, 64))
    assert list(found)[:2] == ["frequent places of each class", "selective search with the shares of the classes"]
    assert list(found)[2].startswith("threshold (")
    [ap, *_] = task.metrics(dataset.classes)
    values = [ap.value(records) for records in found.values()]
    assert 0 <= values[0] < values[2] < 1
    for records in found.values():
        assert len(records["label"]) == 30 and len(np.unique(records["threshold"])) == 1
    recall = {one.key: one for one in task.metrics(dataset.classes)}["proposals_1000_iou_50"]
    assert recall.value(found["selective search with the shares of the classes"]) > 0.9
    assert "rank" not in found["frequent places of each class"]


def test_without_training_objects_there_are_no_baselines() -> None:
    whole = data.open("scenes")
    none = whole.splits["train"].select([])
    assert baselines.measured(none, whole.splits["test"], (64, 64)) == {}
