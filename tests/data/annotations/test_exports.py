"""Data sets as well-known tools export them, in the files that lie beside the annotations."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from voc_files import box, pair, picture, voc

from pellucid.data import open
from pellucid.data.dataset import Dataset

ROW = "0 0.5 0.5 0.5 0.5\n"


def text(file: Path, content: str) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(content, encoding="utf-8")


def read_as(data: Dataset) -> str:
    return data.notes[0].split(":")[0]


def label_studio(top: Path) -> None:
    for k in range(6):
        picture(top / f"images/1a2b3c-{k}.jpg")
        text(top / f"labels/1a2b3c-{k}.txt", ROW)
    text(top / "classes.txt", "cell\n")
    notes = {
        "categories": [{"id": 0, "name": "cell"}],
        "info": {"year": 2026, "version": "1.0", "contributor": "Label Studio"},
    }
    text(top / "notes.json", json.dumps(notes))


def roboflow(top: Path) -> None:
    for part in ("train", "valid", "test"):
        for k in range(2):
            picture(top / part / "images" / f"{part}{k}_jpg.rf.0a1b2c.jpg")
            text(top / part / "labels" / f"{part}{k}_jpg.rf.0a1b2c.txt", ROW)
    places = "train: ../train/images\nval: ../valid/images\ntest: ../test/images\n"
    text(
        top / "data.yaml",
        f"{places}\nnc: 1\nnames: ['cell']\n\nroboflow:\n  workspace: us\n  version: 1\n  license: CC BY 4.0\n",
    )
    text(top / "README.roboflow.txt", "\ncells - v1\n==============\n\nThis dataset was exported via roboflow.com\n")
    text(top / "README.dataset.txt", "# cells > 2026\nhttps://universe.roboflow.com\n")


def cvat(top: Path) -> None:
    for k in range(6):
        picture(top / f"obj_Train_data/{k}.jpg")
        text(top / f"obj_Train_data/{k}.txt", ROW)
    text(top / "obj.names", "cell\n")
    text(top / "obj.data", "classes = 1\nnames = data/obj.names\nbackup = backup/\ntrain = data/train.txt\n")
    text(top / "train.txt", "".join(f"data/obj_Train_data/{k}.jpg\n" for k in range(6)))


def ultralytics(top: Path) -> None:
    for part in ("train", "val"):
        for k in range(3):
            picture(top / f"images/{part}/00000000000{k}{part}.jpg")
            text(top / f"labels/{part}/00000000000{k}{part}.txt", ROW)
        (top / f"labels/{part}.cache").write_bytes(b"\x93NUMPY\0")
    parts = "train: images/train # 4 images\nval: images/val\ntest: # optional\n"
    text(top / "coco8.yaml", f"path: coco8 # dataset root dir\n{parts}names:\n  0: cell\n")


def cvat_voc(top: Path) -> None:
    for k in range(6):
        pair(top, str(k), box(5, 6, 7, 8))
    text(top / "ImageSets/Main/default.txt", "".join(f"{k}\n" for k in range(6)))
    text(top / "labelmap.txt", "# label:color_rgb:parts:actions\nbackground:0,0,0::\ncell:128,0,0::\n")


def roboflow_voc(top: Path) -> None:
    for part in ("train", "valid", "test"):
        for k in range(2):
            picture(top / part / f"{part}{k}_png.rf.0a.jpg")
            voc(top / part / f"{part}{k}_png.rf.0a.xml", box(5, 6, 7, 8), filename=f"{part}{k}_png.rf.0a.jpg")
    text(top / "README.roboflow.txt", "\ncells - v1\n")


@pytest.mark.parametrize("export", [label_studio, roboflow, cvat, ultralytics, cvat_voc, roboflow_voc])
def test_exports_open_without_an_option(export: object, tmp_path: Path) -> None:
    assert callable(export)
    top = tmp_path / "set"
    export(top)
    data = open(top)
    assert read_as(data) == ("Read as Pascal VOC" if "voc" in export.__name__ else "Read as YOLO")
    assert data.classes == ("cell",)
    assert sum(len(split) for split in data.splits.values()) == 6
    assert all(len(own) == 1 for split in data.splits.values() for own in split.targets["boxes"].labels)  # type: ignore[attr-defined]
    if "roboflow" in export.__name__:
        assert [len(split) for split in data.splits.values()] == [2, 2, 2]
    assert not any("no annotation" in sentence for sentence in data.problems)
    wrapped = tmp_path / "archive"
    wrapped.mkdir()
    top.rename(wrapped / "set")  # as an archive that unpacks into a folder of its own
    assert {part: len(split) for part, split in open(wrapped).splits.items()} == {
        part: len(split) for part, split in data.splits.items()
    }


def test_a_folder_for_each_of_many_kinds(tmp_path: Path) -> None:
    for k in range(50):
        picture(tmp_path / f"images/n{k:03}/n{k:03}_1.jpg", (10, 10))
        voc(tmp_path / f"annotations/n{k:03}/n{k:03}_1.xml", box(1, 1, 9, 9, name="cell"), size=(10, 10))
    assert sum(len(split) for split in open(tmp_path).splits.values()) == 50
