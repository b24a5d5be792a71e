"""COCO files whose values are none: one sentence with the file, the line and what is there."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from cocosets import pictures, write

from pellucid.data import open
from pellucid.errors import DataError

BROKEN: list[tuple[Callable[[dict[str, Any]], object], str]] = [
    (lambda c: c["annotations"][0].update(bbox=[1, 2, 3]), r"bbox is \[1, 2, 3\], not x, y, width, height in line 12"),
    (lambda c: c["annotations"][0].update(bbox=[1, 2, 3, "a"]), r"bbox is 'a', not a number in line 12"),
    (lambda c: c["annotations"][0].update(bbox=[1, 2, 3, True]), "bbox is True"),
    (lambda c: c["annotations"][0].update(bbox={"x": 1}), "bbox is {'x': 1}, not a list of numbers"),
    (lambda c: c["annotations"][0].update(category_id=9), "category_id is 9, which is none of the categories"),
    (lambda c: c["annotations"][0].pop("category_id"), "an annotation has no category_id"),
    (lambda c: c["annotations"][0].pop("image_id"), "an annotation has no image_id in line 12"),
    (lambda c: c["annotations"].append(None), "an annotation is null, not an object"),
    (lambda c: c["annotations"][0].update(segmentation=[[1, 2, 3]]), "a polygon of 3 numbers"),
    (lambda c: c["annotations"][0].update(segmentation={"size": [20, 30], "counts": [1]}), "1 px in sum, its size 600"),
    (lambda c: c["annotations"][0].update(segmentation={"size": [2, 3], "counts": [6]}), "are for 2×3 px"),
    (lambda c: c["annotations"][0].update(segmentation={"size": [20, 30], "counts": "~~"}), "no run lengths"),
    (lambda c: c["annotations"][0].update(segmentation={"size": [20, 30], "counts": [-5, 605]}), "not whole numbers"),
    (lambda c: c["annotations"][0].update(keypoints=[1, 2]), "keypoints has 2 numbers"),
    (lambda c: c["annotations"][0].update(iscrowd="no"), "iscrowd is 'no', not a number"),
    (lambda c: c.update(annotations={}), r"annotations is \{\}, not a list"),
    (lambda c: c["images"][0].update(file_name=None), r"file_name is null, not a name in line 4"),
    (lambda c: c["images"][0].update(width="wide"), "width is 'wide', not a number"),
    (lambda c: c["images"].append({"id": 10, "file_name": "z.png"}), "the image id 10 is 'a.png' and 'z.png'"),
    (lambda c: c["categories"].append({"id": 1, "name": "z"}), "the category id 1 is 'cell' and 'z'"),
    (lambda c: c["categories"].append({"id": 3}), "a category has no name"),
]  # fmt: skip


@pytest.mark.parametrize(("damage", "said"), BROKEN)
def test_a_broken_file_is_refused_with_its_name_and_line(
    tmp_path: Path, damage: Callable[..., object], said: str
) -> None:
    pictures(tmp_path, "a.png")
    write(tmp_path / "all.json", ["a.png"], [{"bbox": [0, 0, 2, 2]}])
    content = json.loads((tmp_path / "all.json").read_text())
    damage(content)
    (tmp_path / "all.json").write_text(json.dumps(content, indent=1))
    with pytest.raises(DataError, match=rf"all\.json': .*{said}.*correct the file\."):
        open(tmp_path)


@pytest.mark.parametrize("content", ["", '{"images": [{"file_name": "a.p', "\n"])
def test_an_empty_or_cut_file_of_a_split_is_refused_and_not_made_up_for_by_another(
    tmp_path: Path, content: str
) -> None:
    pictures(tmp_path, "a.png", "b.png")
    write(tmp_path / "annotations" / "test.json", ["b.png"], [{"bbox": [0, 0, 2, 2]}])
    (tmp_path / "annotations" / "train.json").write_text(content)
    (tmp_path / "annotations" / "notes.json").write_text("")  # is none of a split's
    with pytest.raises(DataError, match=r"train\.json': is no JSON \(.*\) in line \d; correct the file\."):
        open(tmp_path)
