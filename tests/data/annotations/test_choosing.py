"""Two forms in one folder: one sentence names both, and each path in it opens the whole set in its form."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path

import pytest
from drawings import pictures

from pellucid.data import open
from pellucid.errors import DataError

PARTS = ("train", "val", "test")


def labelme(top: Path, folder: str, name: str) -> None:
    shape = {"label": "cat", "points": [[1, 1], [9, 9]], "shape_type": "rectangle"}
    content = {"shapes": [shape], "imagePath": f"{name}.jpg", "imageData": None, "imageHeight": 100, "imageWidth": 200}
    (top / folder).mkdir(parents=True, exist_ok=True)
    (top / folder / f"{name}.json").write_text(json.dumps(content), encoding="utf-8")


def yolo(top: Path, folder: str, name: str) -> None:
    (top / folder).mkdir(parents=True, exist_ok=True)
    (top / folder / f"{name}.txt").write_text("0 0.5 0.5 0.2 0.2\n", encoding="utf-8")


def cvat(top: Path) -> None:
    images = "".join(f'<image name="{name}.jpg" width="200" height="100"/>' for name in "abc")
    (top / "annotations.xml").write_text(f"<annotations>{images}</annotations>", encoding="utf-8")


def label_studio(top: Path) -> None:
    tasks = [
        {"id": i, "annotations": [{"result": []}], "data": {"image": f"{name}.jpg"}} for i, name in enumerate("abc")
    ]
    (top / "project-1.json").write_text(json.dumps(tasks), encoding="utf-8")


def labelme_beside(top: Path) -> None:
    for name in "abc":
        labelme(top, "images", name)


def yolo_beside(top: Path) -> None:
    for name in "abc":
        yolo(top, "labels", name)


@pytest.mark.parametrize(
    "forms",
    [
        {"LabelMe": labelme_beside, "YOLO": yolo_beside},
        {"LabelMe": labelme_beside, "CVAT for images": cvat},
        {"CVAT for images": cvat, "Label Studio": label_studio},
        {"YOLO": yolo_beside, "Label Studio": label_studio},
    ],
    ids=" and ".join,
)
def test_two_forms_are_refused_and_each_path_of_the_sentence_works(
    tmp_path: Path, forms: dict[str, Callable[[Path], None]]
) -> None:
    pictures(tmp_path / "images", "a.jpg", "b.jpg", "c.jpg")
    for write in forms.values():
        write(tmp_path)
    _check(tmp_path, set(forms), 3)


@pytest.mark.parametrize("beside", [True, False])
def test_a_file_in_the_folder_of_a_split_means_all_splits(tmp_path: Path, beside: bool) -> None:
    for part in PARTS:
        own = part if beside else f"images/{part}"
        pictures(tmp_path / own, f"{part}1.jpg", f"{part}2.jpg")
        for i in (1, 2):
            labelme(tmp_path, part if beside else f"marks/{part}", f"{part}{i}")
            yolo(tmp_path, part if beside else f"labels/{part}", f"{part}{i}")
    _check(tmp_path, {"LabelMe", "YOLO"}, 2)


def _check(top: Path, forms: set[str], images: int) -> None:
    with pytest.raises(DataError) as refused:
        open(top)
    said = str(refused.value)
    found = re.search(r"annotations as (.+?) \(.+?\) and as (.+?) \(.+?\); choose by the path: (.+?) or (.+?)\.$", said)
    assert found and {found[1], found[2]} == forms
    for form, path in ((found[1], found[3]), (found[2], found[4])):
        data = open(path)
        assert [note for note in data.notes if note.startswith(f"Read as {form}: ")]
        assert sum(len(split) for split in data.splits.values()) == (images if images == 3 else len(PARTS) * images), (
            path
        )
