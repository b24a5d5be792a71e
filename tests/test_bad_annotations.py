# SPDX-License-Identifier: Apache-2.0
"""Mistakes in annotations on the command line: what is dropped is named, what cannot be used is refused in one sentence."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
from annotated import written
from refusals import refused

from pellucid.cli.cli import main


@pytest.fixture(autouse=True)
def _elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def changed(file: Path, change: Any) -> None:
    content = json.loads(file.read_text())
    change(content)
    file.write_text(json.dumps(content, indent=1))


def told(capsys: pytest.CaptureFixture[str]) -> str:
    """What `pellucid data set` prints, in one line."""
    assert main(["data", "set", "--out", "sheet.png"]) == 0
    return " ".join(capsys.readouterr().out.split())


def test_an_annotation_for_no_image_is_dropped_and_named(capsys: pytest.CaptureFixture[str]) -> None:
    written("COCO", Path("set"))
    Path("set/train/3.png").unlink()
    said = told(capsys)
    assert "1 annotation has no image and is dropped" in said
    assert "3.png" in said
    assert "Read as COCO: 9 images, 16 objects, 1 without any." in said


def test_annotations_whose_images_are_all_missing_are_refused(capsys: pytest.CaptureFixture[str]) -> None:
    written("Pascal VOC", Path("set"))
    for file in Path("set/JPEGImages").iterdir():
        file.rename(file.with_name(f"other{file.name}"))
    sentence = refused("data set", capsys)
    assert sentence.startswith("data='set': ")
    assert "none of its 10 annotated images is there" in sentence


def test_a_box_outside_its_image_is_dropped_and_one_that_reaches_beyond_is_clipped(
    capsys: pytest.CaptureFixture[str],
) -> None:
    train = written("COCO", Path("set"))[0]

    def move(content: Any) -> None:
        for annotation, box in zip(content["annotations"], ([40, 2, 5, 5], [20, 2, 50, 5]), strict=False):
            annotation["bbox"], annotation["segmentation"] = box, []

    changed(train, move)
    said = told(capsys)
    assert "1 object lies outside its image and is dropped (train/0.png)." in said
    assert "1 box reaches beyond its image and is clipped (train/0.png)." in said


def test_a_class_in_test_that_is_not_in_train_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    files = written("COCO", Path("set"))

    def cow(content: Any) -> None:
        content["categories"].append({"id": 90, "name": "cow"})
        content["annotations"][0]["category_id"] = 90

    changed(files[2], cow)
    assert refused("data set", capsys) == (
        "data='set': class 'cow' of test is missing from train; add images of it there, or remove it."
    )


def test_a_broken_file_is_refused_with_its_name_and_line(capsys: pytest.CaptureFixture[str]) -> None:
    written("COCO", Path("set"))
    file = Path("set/annotations/instances_val.json")
    lines = file.read_text().splitlines()
    place = next(i for i, line in enumerate(lines) if '"file_name"' in line)
    lines[place] = lines[place].replace(":", "")
    file.write_text("\n".join(lines))
    sentence = refused("data set", capsys)
    assert sentence.startswith("data='set/annotations/instances_val.json': ") and f"in line {place + 1};" in sentence
    for words in ("train classify --data set --out run", "train denoise --data set --out run"):
        assert refused(words, capsys) == sentence


@pytest.mark.parametrize(
    ("form", "file", "line", "wrong"),
    [
        ("Pascal VOC", "Annotations/3.xml", 1, "<annotation><object>"),
        ("YOLO", "labels/train/3.txt", 2, "0 0.5 0.5 0.1 0.1\n0 0.5 x 0.1 0.1\n"),
        ("LabelMe", "train/3.json", 3, '{"shapes": [],\n "imagePath": "3.png",\n imageHeight: 24}'),
        ("CVAT", "annotations.xml", 2, '<annotations>\n<image id="0" name="0.png"'),
        ("Label Studio", "export.json", 2, '[{"id": 1, "data": {"image": "0.png"},\n "annotations": [{"result": [}]}]'),
        ("objects in a table", "train/metadata.jsonl", 2, '{"file_name": "0.png"}\n{"file_name": 1.png}'),
        ("points in a table", "landmarks.csv", 2, "image_name,part_0_x,part_0_y\n0.png,1,x\n"),
        ("points in files", "3.pts", 4, "version: 1\nn_points: 2\n{\n1 x\n2 3\n}\n"),
        ("lines of text", "truth.json", 2, '{"0.png": ["a"],\n "1.png" ["b"]}'),
    ],
)
def test_a_broken_file_of_any_form_is_refused_with_its_name_and_line(
    form: str, file: str, line: int, wrong: str, capsys: pytest.CaptureFixture[str]
) -> None:
    written(form, Path("set"))
    (Path("set") / file).write_text(wrong)
    sentence = refused("data set", capsys)
    assert Path(file).name in sentence
    assert re.search(rf"(line|row) {line}\b", sentence), sentence


def test_two_forms_are_refused_and_either_path_chooses(capsys: pytest.CaptureFixture[str]) -> None:
    written("COCO", Path("set"))
    objects = (
        "<object><name>cat</name><bndbox><xmin>1</xmin><ymin>1</ymin><xmax>9</xmax><ymax>9</ymax></bndbox></object>"
    )
    for part, i in (("train", 0), ("val", 6), ("test", 8)):
        Path(f"set/{part}/{i}.xml").write_text(f"<annotation><filename>{i}.png</filename>{objects}</annotation>")
    sentence = refused("data set", capsys)
    assert "as COCO" in sentence and "as Pascal VOC" in sentence
    choices = sentence.split("choose by the path: ")[1].removesuffix(".").split(" or ")
    assert len(choices) == 2
    read = []
    for path in choices:
        assert main(["data", path, "--out", "sheet.png"]) == 0, path
        read.append(capsys.readouterr().out)
    assert "Read as COCO" in " ".join(read[0].split())
    assert "Read as Pascal VOC" in " ".join(read[1].split())
