"""Small sets as COCO files, for tests that write them in other forms."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from pellucid.data.annotations import Annotated
from pellucid.data.dataset import Dataset

SIZE = (48, 64)  # H, W
CLASSES = ("cell", "an unused: 'one'", 'nucleus 지단 \\ "1" \u2028 👩\u200d🔬', "no")


def picture(file: Path) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng([*map(ord, file.name)])
    Image.fromarray(rng.integers(0, 255, (*SIZE, 3), np.uint8)).save(file)


def coco(folder: Path, drawn: list[list[dict[str, Any]]]) -> Path:
    """A COCO set with a training image for each list of annotations but two, which are in val and test."""
    categories = [{"id": key, "name": name} for key, name in zip((3, 4, 5, 11), CLASSES, strict=True)]
    for part, own in (("val", drawn[:1]), ("test", drawn[1:2]), ("train", drawn[2:])):
        images, annotations = [], []
        for i, entries in enumerate(own):
            name = f"{part} 사진 {i}.{'jpg' if i % 2 else 'png'}"
            picture(folder / "images" / name)
            images.append({"id": 7 * i, "file_name": name, "height": SIZE[0], "width": SIZE[1]})
            annotations += [{**one, "image_id": 7 * i, "id": 100 * i + k} for k, one in enumerate(entries)]
        content = {"images": images, "annotations": annotations, "categories": categories}
        (folder / f"{part}.json").write_text(json.dumps(content))
    return folder


def records(data: Dataset) -> dict[tuple[str, str], Annotated]:
    """The annotations by split and the image's own name."""
    return {
        (part, record.file.rpartition("/")[2]): record
        for part, split in data.splits.items()
        for record in split.annotations
    }


SMALL = (20, 30)  # H, W
CATS = [{"id": 1, "name": "cell"}, {"id": 2, "name": "nucleus"}]


def pictures(folder: Path, *names: str, size: tuple[int, int] = SMALL) -> None:
    """Random pictures, each of its own."""
    for name in names:
        file = folder / name
        file.parent.mkdir(parents=True, exist_ok=True)
        rng = np.random.default_rng([*map(ord, str(name))])
        Image.fromarray(rng.integers(0, 255, (*size, 3), np.uint8)).save(file)


def write(
    file: Path,
    names: Sequence[str],
    annotations: Sequence[dict[str, Any]] = (),
    categories: Sequence[dict[str, Any]] | None = CATS,
    **more: Any,
) -> None:
    """A COCO file whose images have the ids 10, 11, …; annotations are completed."""
    images = [{"id": 10 + i, "file_name": name, "height": SMALL[0], "width": SMALL[1]} for i, name in enumerate(names)]
    filled = [{"id": i, "image_id": 10, "category_id": 1, **one} for i, one in enumerate(annotations)]
    content = {"info": {}, "images": images, "annotations": filled, "categories": categories, **more}
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(json.dumps({key: value for key, value in content.items() if value is not None}), encoding="utf-8")
