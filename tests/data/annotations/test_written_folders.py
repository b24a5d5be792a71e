"""The folder that a conversion writes: whole or not at all, and with the images' own bytes."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from cocosets import SIZE, coco, picture, records

from pellucid.cli.cli import main
from pellucid.data import open
from pellucid.data.annotations.converting import convert
from pellucid.errors import UsageError


def test_images_are_copied_byte_for_byte_and_equal_names_stay_apart(tmp_path: Path) -> None:
    files = ["x/1.png", "y/1.jpg", "y/2.jpg", "y/.._3.png"]
    for i, file in enumerate(files):
        picture(tmp_path / "a" / file)
        assert i or (tmp_path / "a" / file).is_file()
    images = [{"id": i, "file_name": file, "height": SIZE[0], "width": SIZE[1]} for i, file in enumerate(files)]
    boxes = [{"id": i, "image_id": i, "category_id": 1, "bbox": [i, 0, 5, 5]} for i in range(len(files))]
    content = {"images": images, "annotations": boxes, "categories": [{"id": 1, "name": "a"}]}
    (tmp_path / "a" / "all.json").write_text(json.dumps(content))
    data = open(tmp_path / "a")
    convert(data, "yolo", tmp_path / "b")
    written = {file.name: file.read_bytes() for file in (tmp_path / "b/images").rglob("*") if file.is_file()}
    names = ["x-1.png", "y-1.jpg", "2.jpg", "_3.png"]
    assert written == {name: (tmp_path / "a" / file).read_bytes() for name, file in zip(names, files, strict=True)}
    back = records(open(tmp_path / "b"))
    assert {
        name: round(record.instances[0].box[0], 9) for (_, name), record in back.items() if record.instances[0].box
    } == {name: i for i, name in enumerate(names)}


@pytest.mark.parametrize("there", ["file", "folder", "inside", "dangling"])
def test_nothing_that_is_there_is_replaced(tmp_path: Path, there: str) -> None:
    data = open(coco(tmp_path / "a", [[{"bbox": [0, 0, 5, 5], "category_id": 3}]] * 3))
    out = tmp_path / "b"
    if there == "file":
        out.write_text("mine")
    elif there == "folder":
        (out / "mine").mkdir(parents=True)
    elif there == "inside":
        out = tmp_path / "a" / "new"
    else:
        out.symlink_to(tmp_path / "nowhere")
    before = sorted(tmp_path.rglob("*"))
    with pytest.raises(UsageError, match=r"out=.*: (is a file|is not empty|lies within|is a link)"):
        convert(data, "coco", out)
    assert sorted(tmp_path.rglob("*")) == before


def test_a_conversion_that_fails_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from pellucid.data.annotations.writing import coco as writer

    data = open(coco(tmp_path / "a", [[{"bbox": [0, 0, 5, 5], "category_id": 3}]] * 3))
    before = sorted(tmp_path.rglob("*"))

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(writer, "write", full)
    with pytest.raises(UsageError, match=r"cannot be written \(No space left on device\), and nothing was"):
        convert(data, "coco", tmp_path / "b")
    monkeypatch.setattr(writer, "write", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
    with pytest.raises(KeyboardInterrupt):
        convert(data, "coco", tmp_path / "b")
    assert sorted(tmp_path.rglob("*")) == before
    monkeypatch.undo()
    (tmp_path / "b").mkdir()  # an empty folder is as good as none
    convert(data, "coco", tmp_path / "b")
    assert (tmp_path / "b/train.json").is_file()


def test_the_command_writes_and_says_what_is_lost(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    outline = {"bbox": [0, 0, 5, 5], "category_id": 3, "segmentation": [[0, 0, 4, 0, 4, 4]]}
    coco(tmp_path / "a", [[outline]] * 3)
    assert main(["data", str(tmp_path / "a"), "--convert", "yolo", "--out", str(tmp_path / "b")]) == 0
    said = capsys.readouterr().out.splitlines()
    assert "YOLO cannot hold 3 outlines that differ from their boxes: they are left out." in said
    assert said[-1] == f"written to {tmp_path / 'b'}"
    assert main(["data", str(tmp_path / "a"), "--convert", "yolo"]) == 2
    assert "out=None: --convert yolo needs a folder" in capsys.readouterr().err
    assert main(["data", str(tmp_path / "a"), "--convert", "yolo", "--out", str(tmp_path / "b")]) == 2
    assert "is not empty; name a new folder" in capsys.readouterr().err
