"""From annotations to a dataset: sizes compared, boxes mended, targets made."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from pellucid.data.annotations import Annotated, Annotations, Instance
from pellucid.data.annotations.assembling import assemble
from pellucid.data.dataset import Dataset
from pellucid.data.formats.finding import walk
from pellucid.data.targets import Boxes, target_of
from pellucid.errors import DataError


def picture(file: Path, size: tuple[int, int], orientation: int = 1) -> None:
    """A random picture of (H, W) as it is stored, with an EXIF orientation."""
    file.parent.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng([*size, *map(ord, file.name)])
    image = Image.fromarray(rng.integers(0, 255, (*size, 3), np.uint8))
    exif = image.getexif()
    exif[0x0112] = orientation
    image.save(file, exif=exif)


def built(tmp_path: Path, *records: Annotated, classes: tuple[str, ...] = ()) -> Dataset:
    return assemble(tmp_path, Annotations("tests", records, classes), walk(tmp_path))


def boxes(dataset: Dataset) -> Boxes:
    return target_of(dataset["train"].targets, "boxes", Boxes)


SPLIT = [Annotated(f"{part}.png", (Instance(box=(0, 0, 2, 2)),), part=part) for part in ("val", "test")]


@pytest.fixture
def others(tmp_path: Path) -> Path:
    """A folder with an image for each split but train."""
    for part in ("val", "test"):
        picture(tmp_path / f"{part}.png", (4, 4 + len(part)))
    return tmp_path


def test_boxes_without_area_are_dropped_and_named_and_their_image_stays(others: Path) -> None:
    picture(others / "a.jpg", (300, 400))
    flat = Instance(box=(290.48, 220.8, 295.8, 220.8))
    data = built(others, Annotated("a.jpg", (flat,)), *SPLIT)
    assert [len(own) for own in boxes(data).labels] == [0]
    assert "1 box has no area and is dropped (a.jpg)." in data.problems


def test_an_image_turned_by_exif_turns_what_was_annotated_before(others: Path) -> None:
    picture(others / "a.jpg", (100, 200), orientation=6)  # upright it is 200×100
    before = Annotated("a.jpg", (Instance(box=(10, 20, 40, 60)),), size=(100, 200))
    data = built(others, before, *SPLIT)
    assert data["train"].images.sizes.tolist() == [[200, 100]]
    assert boxes(data).corners[0].tolist() == [[100 - 60, 10, 100 - 20, 40]]
    upright = before.replace(size=(200, 100))
    assert boxes(built(others, upright, *SPLIT)).corners[0].tolist() == [[10, 20, 40, 60]]


def test_an_image_of_another_size_than_annotated_is_refused(others: Path) -> None:
    picture(others / "a.jpg", (100, 200))
    with pytest.raises(DataError, match="has 50×100 px, and it has 100×200 px"):
        built(others, Annotated("a.jpg", size=(50, 100)), *SPLIT)
