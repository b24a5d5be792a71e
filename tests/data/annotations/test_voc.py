"""Pascal VOC as people have it: where files lie, what they say of each other, and how their numbers count."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from pellucid.data import open
from pellucid.data.dataset import Dataset
from pellucid.data.targets import Boxes, target_of
from pellucid.errors import DataError

SIZE = (100, 200)  # H, W

OBJECT = """
<object><name>{name}</name><pose>Left</pose><truncated>{truncated}</truncated><difficult>{difficult}</difficult>
<bndbox><xmin>{0}</xmin><ymin>{1}</ymin><xmax>{2}</xmax><ymax>{3}</ymax></bndbox></object>"""


def picture(file: Path, size: tuple[int, int] = SIZE, orientation: int = 1) -> None:
    """A random picture of (H, W) as it is stored, with an EXIF orientation."""
    file.parent.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng([*size, *map(ord, str(file.name))])
    image = Image.fromarray(rng.integers(0, 255, (*size, 3), np.uint8))
    exif = image.getexif()
    exif[0x0112] = orientation
    image.save(file, exif=exif)


def box(*corners: float | str, name: str = "cell", truncated: int = 0, difficult: int = 0) -> str:
    return OBJECT.format(*corners, name=name, truncated=truncated, difficult=difficult)


def voc(file: Path, *objects: str, size: tuple[int, int] | None = SIZE, filename: str = "") -> None:
    """An annotation as LabelImg writes it."""
    file.parent.mkdir(parents=True, exist_ok=True)
    lines = [
        f"<filename>{filename or file.stem}.jpg</filename>"
        if "." not in filename
        else f"<filename>{filename}</filename>"
    ]
    lines += ["<path>/home/pi/elsewhere/1.jpg</path>"]
    lines += [f"<size><width>{size[1]}</width><height>{size[0]}</height><depth>3</depth></size>"] if size else []
    file.write_text("\n".join(["<annotation>", *lines, *objects, "</annotation>"]), encoding="utf-8")


def pair(top: Path, stem: str, *objects: str, **options: object) -> None:
    """An image and its annotation in the usual folders."""
    picture(top / "JPEGImages" / f"{stem}.jpg")
    voc(top / "Annotations" / f"{stem}.xml", *objects, **options)  # type: ignore[arg-type]


def listed(top: Path, **parts: str) -> None:
    for part, names in parts.items():
        file = top / "ImageSets" / "Main" / f"{part}.txt"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(names.replace(" ", "\n") + "\n", encoding="utf-8")


@pytest.fixture
def top(tmp_path: Path) -> Path:
    """A data set with an image in val and one in test, lists for all, so that what a test adds to train stays there."""
    for part in ("val", "test"):
        pair(tmp_path, part, box(10, 10, 30, 30))
    listed(tmp_path, train="a b c", val="val", test="test")
    return tmp_path


def corners(data: Dataset, part: str = "train") -> dict[str, list[list[float]]]:
    boxes = target_of(data[part].targets, "boxes", Boxes)
    return {Path(name).stem: own.tolist() for name, own in zip(data[part].names, boxes.corners, strict=True)}


def said(data: Dataset, words: str) -> bool:
    return any(words in sentence for sentence in (*data.problems, *data.notes))


# -- numbers


def test_numbers_from_1_become_edges(top: Path) -> None:
    pair(top, "a", box(1, 1, 200, 100), box(5, 6, 7, 8))
    data = open(top)
    assert corners(data)["a"] == [[0, 0, 200, 100], [4, 5, 7, 8]]
    assert "Boxes count from 1: no number is below 1, and 1 box touches the last column or row." in data.notes


def test_one_number_of_0_makes_the_whole_set_count_from_0(top: Path) -> None:
    pair(top, "a", box(0, 5, 199, 99))
    pair(top, "b", box(5, 6, 200, 8))
    data = open(top)
    assert corners(data) == {"a": [[0, 5, 199, 99]], "b": [[5, 6, 200, 8]]}
    assert said(data, "Boxes count from 0: the least of their numbers is 0 (Annotations/a.xml).")


def test_where_nothing_decides_boxes_count_from_1_as_the_form_defines(top: Path) -> None:
    pair(top, "a", box(5, 6, 7, 8))
    data = open(top)
    assert corners(data)["a"] == [[4, 5, 7, 8]]
    assert said(data, "Boxes count from 1, as Pascal VOC defines")


def test_fractions_are_numbers(top: Path) -> None:
    pair(top, "a", box("281.70000076293945e-1", 6, "60.5", 8))
    assert corners(open(top))["a"] == [[pytest.approx(27.170000076), 5, 60.5, 8]]


def test_corners_from_right_to_left_are_sorted_and_counted(top: Path) -> None:
    pair(top, "a", box(70, 8, 5, 6))
    data = open(top)
    assert corners(data)["a"] == [[4, 5, 70, 8]]
    assert "1 box has its corners exchanged, which are sorted (JPEGImages/a.jpg)." in data.problems


def test_a_box_of_no_area_is_dropped_and_decides_nothing(top: Path) -> None:
    pair(top, "a", box("29.48", "20.8", "35.8", "20.8"), box(0, 0, 0, 0), box(5, 6, 7, 8))
    data = open(top)
    assert corners(data)["a"] == [[4, 5, 7, 8]]
    assert "2 boxes have no area and are dropped (JPEGImages/a.jpg)." in data.problems


def test_boxes_beyond_the_image_are_clipped_or_dropped(top: Path) -> None:
    pair(top, "a", box(150, 6, 250, 8), box(300, 300, 310, 310), box("nan", 1, 2, 3))
    data = open(top)
    assert corners(data)["a"] == [[149, 5, 200, 8]]
    assert said(data, "1 box reaches beyond its image and is clipped (JPEGImages/a.jpg).")
    assert said(data, "1 object lies outside its image and is dropped (JPEGImages/a.jpg).")
    assert said(data, "1 object is not finite and is dropped (JPEGImages/a.jpg).")


def test_difficult_objects_are_ignored_and_the_other_tags_kept(top: Path) -> None:
    pair(top, "a", box(5, 6, 7, 8, difficult=1), box(5, 6, 9, 8, truncated=1))
    data = open(top)
    boxes = target_of(data["train"].targets, "boxes", Boxes)
    assert boxes.ignored is not None
    assert [own.tolist() for own in boxes.ignored] == [[True, False]]
    assert data["train"].annotations[0].instances[1].more == {"pose": "Left", "truncated": 1, "difficult": 0}


@pytest.mark.parametrize("size", [None, (0, 0)])
def test_a_size_of_0_or_none_is_unknown(top: Path, size: tuple[int, int] | None) -> None:
    pair(top, "a", box(5, 6, 7, 8), size=size)
    assert corners(open(top))["a"] == [[4, 5, 7, 8]]


def test_sizes_of_other_images_are_refused(top: Path) -> None:
    pair(top, "a", box(5, 6, 7, 8), size=(50, 50))
    with pytest.raises(
        DataError, match=r"Annotations/a.xml says that 'JPEGImages/a.jpg' has 50×50 px, and it has 100×200 px"
    ):
        open(top)


@pytest.mark.parametrize("annotated", [(100, 200), (200, 100)])
def test_an_image_turned_by_exif(top: Path, annotated: tuple[int, int]) -> None:
    pair(top, "a", box(11, 21, 40, 60), size=annotated)
    picture(top / "JPEGImages" / "a.jpg", orientation=6)  # upright it is 200×100
    expected = [[100 - 60, 10, 100 - 20, 40]] if annotated == (100, 200) else [[10, 20, 40, 60]]
    assert corners(open(top))["a"] == expected


def test_turned_boxes_and_polygons(top: Path) -> None:
    turned = "<robndbox><cx>50</cx><cy>40</cy><w>20</w><h>10</h><angle>1.5707963267948966</angle></robndbox>"
    polygon = "<polygon><x1>5</x1><y1>6</y1><x2>9</x2><y2>6</y2><x3>5</x3><y3>16</y3></polygon>"
    pair(top, "a", *(f"<object><name>cell</name>{shape}</object>" for shape in (turned, polygon)))
    first, second = corners(open(top))["a"]
    assert first == pytest.approx([45, 30, 55, 50])
    assert second == [5, 6, 9, 16]


# -- files


def test_classes_and_images_without_objects(top: Path) -> None:
    pair(top, "a")
    pair(top, "b", box(5, 6, 7, 8, name="class 10"), box(5, 6, 7, 8, name="class 9"))
    data = open(top)
    assert data.classes == ("cell", "class 9", "class 10")
    assert corners(data)["a"] == []
    assert "Read as Pascal VOC: 4 images, 4 objects, 1 without any." in data.notes


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
    pair(top, "지단", box(5, 6, 7, 8, name="축구"))
    picture(top / "JPEGImages" / "e\u0301.jpg")  # decomposed, as a Mac stores it
    voc(top / "Annotations" / "é.xml")
    for name in ("JPEGImages/._지단.jpg", "Annotations/._지단.xml"):
        (top / name).write_bytes(b"\0\5\x16\7")
    data = open(top)
    assert len(data["train"]) == 2
    assert data.classes == ("cell", "축구")
    assert corners(data)["지단"] == [[4, 5, 7, 8]]


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


# -- broken files


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        ("", r"a.xml': is no XML \(no element found\) in line 1"),
        ("<annotation>\n<object>\n</annotation>", r"a.xml': is no XML \(mismatched tag\) in line 3"),
        ("<annotation>\n<object></object></annotation>", r"a.xml': <object> has no <name> in line 2; name its class"),
        (f"<annotation>\n{box('x', 1, 2, 3)}</annotation>", r"a.xml': xmin is 'x', not a number in line 4"),
        ("<annotation><object><name>a</name>\n<bndbox/></object></annotation>", "<bndbox> has no <xmin> in line 2"),
        ("<annotation><size><width>9.5</width><height>9</height></size></annotation>", "<size> is 9×9.5, not a number of pixels"),
        ('<!DOCTYPE a [<!ENTITY b "c">]>\n<annotation>&b;</annotation>', r"cannot be read as XML \(EntitiesForbidden"),
    ],
)  # fmt: skip
def test_a_broken_file_is_refused_with_its_name_and_line(top: Path, content: str, sentence: str) -> None:
    pair(top, "a")
    (top / "Annotations/a.xml").write_text(content)
    with pytest.raises(DataError, match=sentence):
        open(top)


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
