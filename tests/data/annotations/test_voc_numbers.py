"""Pascal VOC's numbers and broken files: how boxes count, what is mended, and what is refused with its line."""

from __future__ import annotations

from pathlib import Path

import pytest
from voc_files import begun, box, corners, pair, picture, said

from pellucid.data import open
from pellucid.data.targets import Boxes, target_of
from pellucid.errors import DataError


@pytest.fixture
def top(tmp_path: Path) -> Path:
    return begun(tmp_path)


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
    data = open(top)
    first, second = corners(data)["a"]
    assert data["train"].annotations[0].instances[0].more == {"rotation": pytest.approx(90)}
    assert first == pytest.approx([45, 30, 55, 50])
    assert second == [5, 6, 9, 16]


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


@pytest.mark.parametrize(
    ("encoding", "name"), [("gb2312", "细胞"), ("euc-kr", "세포"), ("utf-16", "клетка"), ("latin-1", "cellule née")]
)
def test_other_encodings(top: Path, encoding: str, name: str) -> None:
    pair(top, "a", box(5, 6, 7, 8, name=name), box(5, 6, 7, 8))
    file = top / "Annotations" / "a.xml"
    content = f'<?xml version="1.0" encoding="{encoding}"?>\n{file.read_text(encoding="utf-8")}'
    file.write_bytes(content.encode(encoding))
    assert set(open(top).classes) == {"cell", name}


def test_bytes_that_are_not_of_the_declared_encoding(top: Path) -> None:
    content = b'<?xml version="1.0" encoding="GBK"?>\n<annotation><object>\n<name>\xff\xff</name></object></annotation>'
    (top / "Annotations" / "a.xml").write_bytes(content)
    with pytest.raises(DataError, match=r"a.xml': is not gb18030 at byte 64 in line 3; save it as UTF-8"):
        open(top)
