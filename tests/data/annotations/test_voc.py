"""Pascal VOC as people have it: where files lie, and what they say of each other."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from voc_files import SIZE, begun, box, corners, listed, pair, picture, said, voc

from pellucid.data import open
from pellucid.data.formats import mask_pairs
from pellucid.data.targets import Boxes, target_of
from pellucid.errors import DataError


@pytest.fixture
def top(tmp_path: Path) -> Path:
    return begun(tmp_path)


def test_classes_and_images_without_objects(top: Path) -> None:
    pair(top, "a")
    pair(top, "b", *(box(5, 6, 7, 8, name=name) for name in ("class 10", "class 9", "cell")))
    data = open(top)
    assert data.classes == ("cell", "class 9", "class 10")
    assert corners(data)["a"] == []
    assert "Read as Pascal VOC: 4 images, 5 objects, 1 without any." in data.notes


def test_images_without_annotation_and_annotations_without_image_are_named(top: Path) -> None:
    pair(top, "a", box(5, 6, 7, 8))
    picture(top / "JPEGImages" / "bare.jpg")
    voc(top / "Annotations" / "b.xml", box(5, 6, 7, 8))
    data = open(top)
    assert list(corners(data)) == ["a"]
    assert "1 image has no annotation and is left out (JPEGImages/bare.jpg)." in data.problems
    assert "1 annotation has no image and is dropped (JPEGImages/b.jpg)." in data.problems


def test_the_own_name_counts_where_filename_says_another(top: Path) -> None:
    pair(top, "a", box(5, 6, 7, 8), filename="b.jpg")
    pair(top, "b", box(15, 16, 17, 18), filename="b.jpg")
    data = open(top)
    assert corners(data) == {"a": [[4, 5, 7, 8]], "b": [[14, 15, 17, 18]]}
    assert said(data, "1 annotation names another file than their own (Annotations/a.xml: b.jpg)")


def test_filename_counts_where_no_annotation_has_an_image_of_its_name(tmp_path: Path) -> None:
    for i in range(6):
        picture(tmp_path / "images" / f"frame_{i}.jpg")
        voc(tmp_path / "xml" / f"{i}.xml", box(5, 6, 7 + i, 8), filename=f"frame_{i}.jpg")
    data = open(tmp_path)
    every = {name: own for part in data.splits for name, own in corners(data, part).items()}
    assert every == {f"frame_{i}": [[4, 5, 7 + i, 8]] for i in range(6)}
    assert said(data, "No annotation has an image of its own name: those in <filename> count.")


def test_two_images_for_one_annotation(top: Path) -> None:
    pair(top, "a", box(5, 6, 7, 8), filename="a.png")
    picture(top / "JPEGImages" / "a.png", (100, 200))
    data = open(top)
    assert data["train"].names == ["JPEGImages/a.png"]
    assert said(data, "goes to the one in <filename> (Annotations/a.xml: JPEGImages/a.png)")
    assert "1 image has no annotation and is left out (JPEGImages/a.jpg)." in data.problems
    voc(top / "Annotations" / "a.xml", filename="c.jpg")
    with pytest.raises(
        DataError, match=r"Annotations/a.xml belongs to 2 images \(JPEGImages/a.jpg, JPEGImages/a.png\)"
    ):
        open(top)


def test_names_in_other_scripts_and_files_of_a_mac(top: Path) -> None:
    listed(top, train="지단 é")
    pair(top, "지단", box(5, 6, 7, 8, name="축구"), box(5, 6, 9, 8))
    picture(top / "JPEGImages" / "e\u0301.jpg")  # decomposed, as a Mac stores it
    voc(top / "Annotations" / "é.xml")
    for name in ("JPEGImages/._지단.jpg", "Annotations/._지단.xml"):
        (top / name).write_bytes(b"\0\5\x16\7")
    data = open(top)
    assert len(data["train"]) == 2
    assert data.classes == ("cell", "축구")
    assert corners(data)["지단"] == [[4, 5, 7, 8], [4, 5, 9, 8]]


def test_lists_of_classes_are_ignored_and_images_in_no_list_left_out(top: Path) -> None:
    for stem in "abd":
        pair(top, stem, box(5, 6, 7, 8))
    listed(top, train="a gone", trainval="a val b", cell_train="a__1 d__1")
    data = open(top)
    assert list(corners(data)) == ["a", "b"]
    assert "1 image is in none of the lists in ImageSets and is left out (JPEGImages/d.jpg)." in data.problems
    assert "1 name in ImageSets/Main has no annotation (gone)." in data.problems


def test_an_image_in_two_lists_is_not_trained_on(top: Path) -> None:
    pair(top, "a", box(5, 6, 7, 8))
    listed(top, train="a test", val="val")
    data = open(top)
    assert {part: len(split) for part, split in data.splits.items()} == {"train": 1, "val": 1, "test": 1}
    assert "1 image is listed in train and in test and counts in test alone (test)." in data.problems


def test_lists_with_flags_endings_and_folders(top: Path) -> None:
    for stem in ("a", "b", "c", "my cell 1"):
        pair(top, stem, box(5, 6, 7, 8))
    lines = ["a  1", "JPEGImages/b.jpg", "c.xml", "my cell 1"]
    (top / "ImageSets/Main/train.txt").write_text("\r\n".join(lines))
    assert list(corners(open(top))) == ["a", "b", "c", "my cell 1"]


def test_lists_that_name_nothing_are_refused(top: Path) -> None:
    listed(top, train="x y", val="z", test="w")
    with pytest.raises(DataError, match=r"none of the names in ImageSets/Main/test.txt \(w, x, y, "):
        open(top)


@pytest.mark.parametrize("place", ["{part}/{name}", "{part}/{kind}/{name}", "{kind}/{part}/{name}"])
def test_folders_of_splits(tmp_path: Path, place: str) -> None:
    for k, part in enumerate(("train", "valid", "test")):
        # the same name in each split: an annotation belongs to the image of its own
        picture(tmp_path / place.format(part=part, kind="images", name="1.jpg"), (100, 200 + k))
        voc(
            tmp_path / place.format(part=part, kind="annotations", name="1.xml"),
            box(5, 6, 7 + k, 8),
            size=(100, 200 + k),
        )
    data = open(tmp_path)
    assert [corners(data, part)["1"] for part in ("train", "val", "test")] == [[[4, 5, 7 + k, 8]] for k in range(3)]


def test_a_flat_folder_is_cut(tmp_path: Path) -> None:
    for k in range(10):
        picture(tmp_path / f"{k}.png")
        voc(tmp_path / f"{k}.xml", box(5, 6, 7, 8))
    sizes = [len(split) for split in open(tmp_path).splits.values()]
    assert sum(sizes) == 10 and min(sizes) > 0


def test_a_whole_devkit_with_masks_opens_with_its_boxes_and_says_how_to_get_the_masks(tmp_path: Path) -> None:
    top = tmp_path / "VOCdevkit" / "VOC2012"
    for k in range(3):
        pair(top, f"2012_{k}", box(5, 6, 7, 8))
        for folder in ("SegmentationClass", "SegmentationObject"):
            (top / folder).mkdir(exist_ok=True)
            mask = Image.fromarray(np.zeros(SIZE, np.uint8)).convert("P")
            mask.putpalette([0, 0, 0, 128, 0, 0])
            mask.save(top / folder / f"2012_{k}.png")
    listed(top, train="2012_0", val="2012_1", trainval="2012_0 2012_1", test="2012_2")
    for given in (tmp_path, top):
        data = open(given)
        assert corners(data)["2012_0"] == [[4, 5, 7, 8]]
        folder = top / "SegmentationClass"
        assert said(data, "SegmentationClass holds masks, which are not read with the boxes")
        assert said(data, f"for masks, give {folder}.")
        assert not said(data, "left out")


def test_xml_of_another_form_is_left_out_by_name(top: Path) -> None:
    pair(top, "a", box(5, 6, 7, 8))
    (top / "Annotations" / "project.xml").write_text("<project/>")
    assert "1 XML file is of another form and left out (Annotations/project.xml)." in open(top).problems


@pytest.mark.data
def test_the_real_blood_cells_open_without_an_option(real: Callable[[str], Path], tmp_path: Path) -> None:
    data = open(real("bccd"))
    assert {part: len(split) for part, split in data.splits.items()} == {"train": 205, "val": 87, "test": 72}
    assert data.classes == ("Platelets", "RBC", "WBC")
    assert said(
        data, "2 boxes have no area and are dropped (JPEGImages/BloodImage_00338.jpg, JPEGImages/BloodImage_00343.jpg)"
    )
    assert said(data, "Boxes count from 1: no number is below 1, and 545 boxes touch the last column or row.")
    boxes = [own for part in data.splits for own in target_of(data[part].targets, "boxes", Boxes).corners]
    assert min(float(own.min()) for own in boxes) == 0
    assert max(float(own[:, 2].max()) for own in boxes) == 640
    shutil.copytree(real("bccd") / "Annotations", tmp_path / "Annotations")
    with pytest.raises(DataError, match="none of its 364 annotated images is there"):
        open(tmp_path)


def test_masks_of_the_same_images_are_no_second_form(top: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pair(top, "a", box(5, 6, 7, 8))
    monkeypatch.setattr(mask_pairs, "fits", lambda path, found: ["SegmentationClass"])
    assert corners(open(top))["a"] == [[4, 5, 7, 8]]
    monkeypatch.setattr(mask_pairs, "fits", lambda path, found: ["masks"])
    with pytest.raises(
        DataError,
        match=r"has annotations as Pascal VOC \(Annotations\) and as .*; choose by the path: .*/Annotations or",
    ):
        open(top)
    assert corners(open(top / "Annotations"))["a"] == [[4, 5, 7, 8]]


def test_labels_of_yolo_beside_them_are_a_choice(top: Path) -> None:
    pair(top, "a", box(5, 6, 7, 8))
    (top / "labels").mkdir()
    (top / "labels" / "a.txt").write_text("0 0.5 0.5 0.5 0.5\n")
    with pytest.raises(DataError, match=r"as Pascal VOC \(Annotations\) and as YOLO \(labels\); choose by the path"):
        open(top)
    assert open(top / "Annotations").classes == ("cell",)
    assert open(top / "labels").classes == ("0",)


def test_folders_in_other_scripts(tmp_path: Path) -> None:
    top = tmp_path / "数据集" / "Ж"
    for k in range(6):
        picture(top / "images" / f"{k}.png")
        voc(top / "xml" / f"{k}.xml", box(5, 6, 7, 8, name="猫"))
    data = open(tmp_path / "数据集")
    assert sum(len(split) for split in data.splits.values()) == 6
    assert data.classes == ("猫",)
