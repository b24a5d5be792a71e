"""The same objects, written in every form, are the same dataset."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from annotated import FORMS, NAMES, OBJECTS, SIZE, corners, written

from pellucid import data
from pellucid.data.dataset import Dataset
from pellucid.data.masks import Masks
from pellucid.data.targets import Boxes, Points, Text, target_of

BOXED = [form for form in FORMS if form not in ("masks", "points in a table", "points in files", "lines of text")]
PAINTED = ["COCO", "YOLO outlines", "masks"]


def images(dataset: Dataset) -> list[tuple[str, int, int]]:
    """Of each image its split, its position there, and its number, which is its file's name."""
    return [
        (part, place, int(Path(name).stem))
        for part, split in dataset.splits.items()
        for place, name in enumerate(split.names)
    ]


@pytest.mark.parametrize("form", BOXED)
def test_every_form_gives_the_same_boxes(form: str, tmp_path: Path) -> None:
    written(form, tmp_path)
    dataset = data.open(tmp_path)
    assert set(dataset.classes) == set(NAMES)
    assert len(images(dataset)) == len(OBJECTS)
    for part, place, number in images(dataset):
        boxes = target_of(dataset[part].targets, "boxes", Boxes)
        found = {
            dataset.classes[own]: box
            for own, box in zip(boxes.labels[place].tolist(), boxes.corners[place].tolist(), strict=True)
        }
        wanted = {name: list(box) for name, *box in OBJECTS[number]}
        assert found.keys() == wanted.keys()
        for name, box in wanted.items():
            assert found[name] == pytest.approx(box, abs=1e-4), (form, number)


@pytest.mark.parametrize("form", PAINTED)
def test_every_form_with_outlines_gives_the_same_masks(form: str, tmp_path: Path) -> None:
    written(form, tmp_path)
    dataset = data.open(tmp_path)
    for part, place, number in images(dataset):
        if form == "COCO" and number == 1:
            continue  # one of its objects is a crowd there
        wanted = np.zeros(SIZE, np.uint8)
        by_area = sorted(OBJECTS[number], key=lambda box: -(box[3] - box[1]) * (box[4] - box[2]))
        for name, x0, y0, x1, y1 in by_area:
            wanted[int(y0) : int(y1), int(x0) : int(x1)] = 1 + NAMES.index(name)
        mask = target_of(dataset[part].targets, "mask", Masks).sources[place].read()
        assert ((mask > 0) == (wanted > 0)).all()


@pytest.mark.parametrize("form", ["points in a table", "points in files"])
def test_every_form_gives_the_same_points(form: str, tmp_path: Path) -> None:
    written(form, tmp_path)
    dataset = data.open(tmp_path)
    for part, place, number in images(dataset):
        xy = target_of(dataset[part].targets, "points", Points).xy[place]
        assert torch.equal(xy, torch.tensor(corners(("", 2.5 + number, 3, 12, 13))).view(4, 2))


def test_keypoints_of_coco_are_read_by_their_name_and_visibility(tmp_path: Path) -> None:
    written("COCO keypoints", tmp_path)
    dataset = data.open(tmp_path)
    assert dataset.point_names == ("nose", "tail")
    for part, place, number in images(dataset):
        xy = target_of(dataset[part].targets, "points", Points).xy[place]
        assert bool(xy[0].isnan().all()) == (number == 5)  # the image without an object
        assert bool(xy[1].isnan().all()) == (number == 5 or number % 3 == 0)


def test_lines_of_text_are_read(tmp_path: Path) -> None:
    written("lines of text", tmp_path)
    dataset = data.open(tmp_path)
    for part, place, number in images(dataset):
        assert target_of(dataset[part].targets, "text", Text).lines[place] == f"LINE {number}\na &lt; b"


@pytest.mark.parametrize("form", FORMS)
def test_nothing_is_wrong_with_a_good_set(form: str, tmp_path: Path) -> None:
    """No warning but those about how few images there are."""
    written(form, tmp_path)
    allowed = (
        "too few",
        "fewer than",
        "imbalanced",
        "category ids have gaps",
        "have a box alone",
        "which nothing names",
        "count from 1",
    )
    assert [said for said in data.open(tmp_path).problems if not any(word in said for word in allowed)] == []
