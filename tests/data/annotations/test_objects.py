"""The column `objects` of Hugging Face's datasets goes through the same comparison with the images as files do."""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from pellucid.data import open
from pellucid.data.targets import Boxes, target_of
from pellucid.errors import DataError

RNG = np.random.default_rng(5)


def encoded(size: tuple[int, int] = (10, 20)) -> bytes:
    stream = io.BytesIO()
    Image.fromarray(RNG.integers(0, 255, (*size, 3), np.uint8)).save(stream, "PNG")
    return stream.getvalue()


def parquet(folder: Path, objects: list[Any], category: Any = None, part: str = "train") -> Path:
    """A parquet file as Hugging Face writes it, with the description of its column `objects`."""
    table = pa.Table.from_pylist([{"image": {"bytes": encoded(), "path": None}, "objects": one} for one in objects])
    features = {"image": {"_type": "Image"}, "objects": category} if category else {}
    told = json.dumps({"info": {"features": features}})
    pq.write_table(table.replace_schema_metadata({"huggingface": told}), folder / f"{part}.parquet")
    return folder


def written(*boxes: list[float], category: list[Any] | None = None) -> dict[str, Any]:
    return {"bbox": [[float(side) for side in box] for box in boxes], "category": category or [0] * len(boxes)}


NAMED = {
    "bbox": {"_type": "List"},
    "category": {"feature": {"names": ["cat", "dog"], "_type": "ClassLabel"}, "_type": "List"},
}
NESTED = {"feature": {"category": {"names": ["cat", "dog"], "_type": "ClassLabel"}}, "_type": "Sequence"}


@pytest.mark.parametrize("feature", [NAMED, NESTED, [NESTED["feature"]]])
def test_numbers_of_categories_become_the_names_of_the_features(tmp_path: Path, feature: Any) -> None:
    data = open(parquet(tmp_path, [written([0, 0, 2, 2], [1, 1, 3, 3], category=[1, 1])] * 3, feature))
    assert data.classes == ("cat", "dog")  # the unused one too
    assert target_of(data["train"].targets, "boxes", Boxes).labels[0].tolist() == [1, 1]


def test_a_number_without_a_name_is_refused(tmp_path: Path) -> None:
    parquet(tmp_path, [written([0, 0, 2, 2]), written([0, 0, 2, 2], category=[2])], NAMED)
    with pytest.raises(DataError, match=r"objects of 'row 1' have category 2, but names for 2 classes; give 0 to 1\."):
        open(tmp_path)


def test_boxes_are_mended_and_it_is_said(tmp_path: Path) -> None:
    faulty = written([5, 5, 0, 3], [9, 9, -4, -4], [15, 2, 20, 5], [30, 2, 2, 2], [float("nan"), 1, 2, 3], [1, 2, 3, 4])
    data = open(parquet(tmp_path, [faulty, *[written()] * 9]))
    found = [
        box
        for split in data.splits.values()
        for own in target_of(split.targets, "boxes", Boxes).corners
        for box in own.tolist()
    ]
    assert found == [[5, 5, 9, 9], [15, 2, 20, 7], [1, 2, 4, 6]]
    assert {
        "1 box has no area and is dropped (train/0).",
        "1 box has its corners exchanged, which are sorted (train/0).",
        "1 box reaches beyond its image and is clipped (train/0).",
        "1 object lies outside its image and is dropped (train/0).",
        "1 object is not finite and is dropped (train/0).",
    } <= set(data.problems)
    assert "Boxes of objects are read as x, y, width and height in px." in data.notes
    assert sum(len(split.annotations) for split in data.splits.values()) == 10


def test_a_metadata_table_says_the_same(tmp_path: Path) -> None:
    rows = []
    for i in range(8):
        (tmp_path / f"{i}.png").write_bytes(encoded())
        crowd = {"iscrowd": [0, 1]} if i == 0 else {}
        rows.append(
            {"file_name": f"{i}.png", "objects": {**written([0, 0, 30, 5], [1, 1, 0, 0], category=["a", "a"]), **crowd}}
        )
    rows[1]["objects"] = [{"bbox": [1, 1, 4, 4], "category": "b"}]
    rows[2]["objects"] = None
    (tmp_path / "metadata.jsonl").write_text("\n".join(map(json.dumps, rows)))
    data = open(tmp_path)
    assert data.classes == ("a", "b")
    assert "6 boxes have no area and are dropped (0.png, 3.png, 4.png, 5.png, …)." in data.problems
    assert "6 boxes reach beyond their images and are clipped (0.png, 3.png, 4.png, 5.png, …)." in data.problems


def test_corners_in_place_of_width_and_height_are_doubted(tmp_path: Path) -> None:
    corners = [written([x, 1, x + 4, 9]) for x in range(1, 15)]
    # x + (x + 4) > 20 + 1 for x = 9 … 14
    said = "6 of 14 boxes reach beyond their images: bbox may hold two corners, x0, y0, x1, y1; write x, y, width and height."
    assert said in open(parquet(tmp_path, corners)).problems


@pytest.mark.parametrize("hub", [False, True])
def test_what_hugging_face_writes_itself_is_read(tmp_path: Path, hub: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    import datasets

    category = datasets.List(datasets.ClassLabel(names=["cat", "dog"]))
    objects = {"bbox": datasets.List(datasets.List(datasets.Value("float32"), 4)), "category": category}
    features = datasets.Features({"image": datasets.Image(), "objects": objects})
    images = [{"bytes": encoded(), "path": None} for _ in range(3)]
    rows = {"image": images, "objects": [written([1, 2, 3.5, 4], category=[1])] * 3}
    parts = {part: datasets.Dataset.from_dict(rows, features) for part in ("train", "validation", "test")}
    if hub:
        monkeypatch.setattr(datasets, "load_dataset", lambda *_: datasets.DatasetDict(parts))
    else:
        for part, own in parts.items():
            own.to_parquet(tmp_path / f"{part}.parquet")
    data = open("someone/animals" if hub else tmp_path)
    assert data.classes == ("cat", "dog")
    boxes = target_of(data["val"].targets, "boxes", Boxes)
    assert boxes.corners[0].tolist() == [[1, 2, 4.5, 6]] and boxes.labels[0].tolist() == [1]
