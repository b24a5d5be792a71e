# SPDX-License-Identifier: Apache-2.0
"""Detections as rows, pictures and data sets, in the px of the photographs, and nothing of anybody else's lost."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from detected import brief, picture, sharp
from PIL import Image

from pellucid.cli.cli import main
from pellucid.data import open as opened
from pellucid.data.targets import Boxes
from pellucid.errors import UsageError
from pellucid.inference import predict
from pellucid.run import Run
from pellucid.tasks.detect import Detect

BOXES = {  # of each photograph (H, W): at twice, half and other than the training's 64×64 px
    "a.png": ((128, 128), [(10, 20, 40, 60), (80, 8, 120, 56)], [0, 1]),
    "sub/b.png": ((96, 192), [(12, 12, 60, 48)], [2]),
    "c.png": ((64, 64), [], []),
}
SIDES = ("x0", "y0", "x1", "y1")


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    return brief(tmp_path_factory.mktemp("detect") / "run")


@pytest.fixture
def photos(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder of photographs, whose rectangles the run's detector finds exactly."""
    monkeypatch.setattr(Detect, "predict", sharp)
    for name, (size, boxes, labels) in BOXES.items():
        file = tmp_path / "photos" / name
        file.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(picture(size, boxes, labels)).save(file)
    return tmp_path / "photos"


def test_boxes_are_in_the_px_of_the_photographs(run: Run, photos: Path) -> None:
    rows = {row["name"]: row for row in predict(run, photos, threshold=0.5)}
    assert rows.keys() == BOXES.keys()
    for name, (size, boxes, labels) in BOXES.items():
        row, px = rows[name], max(side / 64 for side in size)  # of the image, in one that the model saw
        assert row["objects"] == len(boxes) == sum(row["counts"].values())
        found = sorted([*(one[side] for side in SIDES)] for one in row["detections"])
        assert np.allclose(found, sorted(boxes), atol=px) if boxes else found == []
        for one in row["detections"]:
            near = int(np.argmin([np.abs(np.subtract([one[side] for side in SIDES], box)).sum() for box in boxes]))
            assert one["label"] == run.classes[labels[near]]
            assert one["width"] == pytest.approx(one["x1"] - one["x0"], abs=0.011)
        assert row["counts"] == {title: labels.count(k) for k, title in enumerate(run.classes)}


def test_a_turned_photograph_is_answered_upright(run: Run, photos: Path) -> None:
    """EXIF says that the camera was turned: the box is where a person sees it."""
    shown = Image.open(photos / "sub/b.png")
    exif = Image.Exif()
    exif[0x0112] = 6  # shown turned by 90° clockwise
    shown.rotate(90, expand=True).save(photos / "turned.png", exif=exif)
    [upright, turned] = predict(run, [photos / "sub/b.png", photos / "turned.png"])
    assert turned["detections"] == upright["detections"] != []


def test_a_spreadsheet_has_a_row_an_image_and_a_table_of_the_detections(run: Run, photos: Path, tmp_path: Path) -> None:
    (photos / "bad.png").write_bytes(b"no image")
    out = tmp_path / "out"
    predict(run, photos, out, format="csv", threshold=0.5)
    with (out / "predictions.csv").open(encoding="utf-8") as file:
        images = {row["name"]: row for row in csv.DictReader(file)}
    with (out / "detections.csv").open(encoding="utf-8") as file:
        found = list(csv.DictReader(file))
    assert images.keys() == {*BOXES, "bad.png"} and images["bad.png"]["error"] and not images["bad.png"]["objects"]
    assert [images[name]["objects"] for name in BOXES] == ["2", "1", "0"]
    assert images["a.png"][f"counts.{run.classes[0]}"] == "1" and images["c.png"][f"counts.{run.classes[0]}"] == "0"
    assert [(row["name"], row["number"]) for row in found] == [("a.png", "1"), ("a.png", "2"), ("sub/b.png", "1")]
    assert all(float(row["x1"]) - float(row["x0"]) == pytest.approx(float(row["width"]), abs=0.011) for row in found)
    assert not any("[" in value for row in images.values() for value in row.values()), "no list in a cell"


def test_a_single_table_has_its_detections_beside_it(run: Run, photos: Path, tmp_path: Path) -> None:
    predict(run, photos, tmp_path / "found.csv", threshold=0.5)
    assert (tmp_path / "found-detections.csv").read_text().count("\n") == 4


def test_the_picture_has_a_box_in_its_place_and_is_as_large_as_the_photograph(
    run: Run, photos: Path, tmp_path: Path
) -> None:
    predict(run, photos, tmp_path / "out", threshold=0.5)
    for name, (size, boxes, _) in BOXES.items():
        drawn = np.asarray(Image.open(tmp_path / "out" / name)).astype(int)
        before = np.asarray(Image.open(photos / name)).astype(int)
        assert drawn.shape == (*size, 3)
        changed = np.abs(drawn - before).sum(2) > 0
        assert changed.any() == bool(boxes)
        for x0, _, x1, y1 in boxes:  # a line along the lower edge, which no name covers
            assert changed[y1 - 4 : y1 + 3, x0 + 4 : x1 - 4].any(0).all()


@pytest.mark.parametrize("form", ["coco", "yolo", "voc"])
def test_a_dataset_of_the_answers_is_read_again(run: Run, photos: Path, tmp_path: Path, form: str) -> None:
    (photos / "bad.png").write_bytes(b"no image")
    rows = {row["name"]: row for row in predict(run, photos, tmp_path / "out", threshold=0.5, save_as=[form])}
    again = opened(str(tmp_path / "out" / form))
    assert again.classes == run.classes
    found: dict[str, list[tuple[str, list[float]]]] = {}
    for split in again.splits.values():
        boxes = split.targets.get("boxes")
        assert not len(split) or isinstance(boxes, Boxes)
        for i in range(len(split)):
            own = zip(boxes.labels[i].tolist(), boxes.corners[i].tolist(), strict=True)
            found[Path(split.names[i]).name] = [(run.classes[k], box) for k, box in own]
            assert split.images.sizes[i].tolist() == [
                *BOXES["sub/b.png" if "b.png" in split.names[i] else Path(split.names[i]).name][0]
            ]
    assert found.keys() == {"a.png", "b.png", "c.png"}
    for name, row in rows.items():
        if "error" not in row:
            wanted = [(one["label"], [one[side] for side in SIDES]) for one in row["detections"]]
            ours = found[Path(name).name]
            assert [title for title, _ in ours] == [title for title, _ in wanted]
            assert all(np.allclose(a[1], b[1], atol=1e-3) for a, b in zip(ours, wanted, strict=True))


def test_coco_has_the_form_for_results_too(run: Run, photos: Path, tmp_path: Path) -> None:
    """A tool that computes AP from it finds each box where the rows have it."""
    from faster_coco_eval import COCO

    rows = {row["name"]: row for row in predict(run, photos, tmp_path / "out", threshold=0.5, save_as="coco")}
    truth = COCO(str(tmp_path / "out/coco/train.json"))
    results = json.loads((tmp_path / "out/coco-results.json").read_text())
    loaded = truth.loadRes(results)
    assert len(loaded.anns) == 3
    names = {key: Path(image["file_name"]).name for key, image in truth.imgs.items()}
    for one in results:
        row = next(row for name, row in rows.items() if Path(name).name == names[one["image_id"]])
        title = truth.cats[one["category_id"]]["name"]
        assert any(
            found["label"] == title
            and found["score"] == one["score"]
            and np.allclose(one["bbox"], [found["x0"], found["y0"], found["width"], found["height"]], atol=0.011)
            for found in row["detections"]
        )


def test_images_without_any_detection_are_written_as_such(run: Run, tmp_path: Path, photos: Path) -> None:
    predict(run, photos / "c.png", tmp_path / "out", threshold=0.5, format="csv", save_as=("coco", "yolo"))
    assert json.loads((tmp_path / "out/coco/train.json").read_text())["annotations"] == []
    assert (tmp_path / "out/yolo/labels/train/c.txt").read_text() == ""
    assert (tmp_path / "out/detections.csv").read_text().startswith("name,number")


def test_the_same_command_works_again_where_it_stands(
    run: Run, photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`--save-as coco` names no file, though a folder of that name lies there by then."""
    monkeypatch.chdir(tmp_path)
    for _ in range(2):
        rows = predict(run, photos, Path(), threshold=0.5, save_as="coco")
    assert sum(row["objects"] for row in rows) == 3 and (tmp_path / "coco/train.json").exists()


def test_later_answers_replace_earlier_ones_whole(run: Run, photos: Path, tmp_path: Path) -> None:
    """A data set that mixed the images of two calls would be wrong, and nobody would see it."""
    out = tmp_path / "out"
    predict(run, photos, out, threshold=0.5, save_as=("yolo",))
    predict(run, photos / "a.png", out, threshold=0.5, save_as=("yolo",))
    assert [file.name for file in (out / "yolo/images/train").iterdir()] == ["a.png"]
    assert [file.name for file in (out / "yolo/labels/train").iterdir()] == ["a.txt"]
    assert len([file for file in out.iterdir() if file.name.startswith(".")]) == 1, "nothing but the ledger is hidden"


Mischief = Callable[[Path], Path]


def _labels_mended(out: Path) -> Path:
    (out / "coco/train.json").write_text("mended by hand")
    return out / "coco/train.json"


def _own_file(out: Path) -> Path:
    (out / "coco").mkdir(parents=True)
    (out / "coco/notes.txt").write_text("mine")
    return out / "coco/notes.txt"


def _file_in_the_way(out: Path) -> Path:
    out.mkdir()
    (out / "coco").write_text("mine")
    return out / "coco"


def _own_results(out: Path) -> Path:
    out.mkdir()
    (out / "coco-results.json").write_text("mine")
    return out / "coco-results.json"


def _own_detections(out: Path) -> Path:
    out.mkdir()
    (out / "detections.csv").write_text("mine")
    return out / "detections.csv"


@pytest.mark.parametrize("harm", [_own_file, _file_in_the_way, _own_results, _own_detections])
def test_nothing_of_anybody_elses_is_replaced(
    run: Run, photos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], harm: Mischief
) -> None:
    out = tmp_path / "out"
    mine = harm(out)
    before = mine.read_bytes()
    words = ["predict", str(run.path), str(photos), "--out", str(out), "--format", "csv", "--save-as", "coco"]
    assert main(words) == 2
    said = capsys.readouterr().err
    assert mine.name in said and said.count("\n") == 1
    assert mine.read_bytes() == before
    assert not (out / "predictions.csv").exists(), "found before anything is written"


def test_annotations_that_were_mended_are_not_replaced(run: Run, photos: Path, tmp_path: Path) -> None:
    predict(run, photos, tmp_path / "out", threshold=0.5, save_as="coco")
    mine = _labels_mended(tmp_path / "out")
    with pytest.raises(UsageError, match=r"train\.json.* was not written by predict, or was changed since"):
        predict(run, photos, tmp_path / "out", threshold=0.5, save_as="coco")
    assert mine.read_text() == "mended by hand"
    predict(run, photos, tmp_path / "out", threshold=0.5, save_as="coco", overwrite=True)
    assert mine.read_text() != "mended by hand"


@pytest.mark.parametrize("out", [None, "found.json"])
def test_a_dataset_needs_a_folder(run: Run, photos: Path, tmp_path: Path, out: str | None) -> None:
    with pytest.raises(UsageError, match="there will be a folder 'yolo' of files; give --out with a folder"):
        predict(run, photos, None if out is None else tmp_path / out, save_as="yolo")


def test_an_unknown_form_is_refused(run: Run, photos: Path) -> None:
    with pytest.raises(UsageError, match="save_as='pdf': is not known; choose coco, voc or yolo"):
        predict(run, photos, save_as="pdf")


def test_arrays_and_floats_become_a_dataset_too(run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Detect, "predict", sharp)
    whole = picture((64, 64), [(8, 8, 30, 40)], [1])
    rows = predict(run, [whole, whole / np.float32(255)], tmp_path / "out", threshold=0.5, save_as="yolo")
    assert [row["objects"] for row in rows] == [1, 1]
    files = sorted((tmp_path / "out/yolo/images/train").iterdir())
    assert [np.asarray(Image.open(file)).tolist() == whole.tolist() for file in files] == [True, True]


def test_nothing_depends_on_the_batch(run: Run, photos: Path) -> None:
    one, other = (predict(run, photos, threshold=0.0, batch_size=size) for size in (1, 64))
    assert one == other
