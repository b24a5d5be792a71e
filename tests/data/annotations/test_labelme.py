"""LabelMe's files as people have them."""

from __future__ import annotations

import base64
import io
import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from drawings import boxes_of, pictures, read, refilled
from PIL import Image

from pellucid.data import open
from pellucid.data.annotations.rasters import region
from pellucid.data.targets import Points, target_of
from pellucid.errors import DataError

SQUARE = [[10.0, 20.0], [30.0, 20.0], [30.0, 40.0], [10.0, 40.0]]


def shape(kind: str, points: Sequence[Sequence[float]], label: Any = "cat", **more: Any) -> dict[str, Any]:
    return {"label": label, "points": points, "group_id": None, "shape_type": kind, "flags": {}, **more}


def write(file: Path, *shapes: Mapping[str, Any], **more: Any) -> None:
    """One of LabelMe's files for an image of 100×200 px."""
    content = {
        "version": "5.5.0",
        "flags": {},
        "shapes": shapes,
        "imagePath": f"{file.stem}.jpg",
        "imageData": None,
        "imageHeight": 100,
        "imageWidth": 200,
        **more,
    }
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(json.dumps(content, indent=2), encoding="utf-8")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Three images, of which b and c show a dog each."""
    pictures(tmp_path, "a.jpg", "b.jpg", "c.jpg")
    for name in "bc":
        write(tmp_path / f"{name}.json", shape("rectangle", [[1, 2], [11, 12]], "dog"))
    return tmp_path


def test_rectangles_may_be_drawn_from_any_corner(folder: Path) -> None:
    corners = [
        [[50, 30], [20, 60]],
        [[20, 60], [50, 30]],
        [[50, 60], [20, 30]],
        [[20, 30], [50, 30], [50, 60], [20, 60]],
    ]
    write(folder / "a.json", *(shape("rectangle", points) for points in corners))
    data, images = read(folder)
    assert boxes_of(images["a.jpg"]) == [("cat", [20, 30, 50, 60])] * 4
    assert data.classes == ("cat", "dog")
    assert "Read as LabelMe: 3 images, 6 objects, 0 without any." in data.notes
    assert not [said for said in data.problems if "exchanged" in said]


def test_a_box_without_area_and_one_outside_are_named_and_dropped(folder: Path) -> None:
    corners = [[[90.48, 20.8], [95.8, 20.8]], [[210, 10], [230, 20]], [[150.25, 90], [281.70000076293945, 95]]]
    write(folder / "a.json", *(shape("rectangle", points) for points in corners))
    data, images = read(folder)
    assert boxes_of(images["a.jpg"]) == [("cat", [150.25, 90, 200, 95])]
    assert {
        "1 box has no area and is dropped (a.jpg).",
        "1 object lies outside its image and is dropped (a.jpg).",
        "1 box reaches beyond its image and is clipped (a.jpg).",
    } <= set(data.problems)


def test_shapes_of_a_group_are_one_object_of_several_outlines(folder: Path) -> None:
    other = [[x + 50, y] for x, y in SQUARE]
    write(
        folder / "a.json",
        shape("polygon", SQUARE, group_id=3),
        shape("rectangle", [other[0], other[2]], group_id=3),
        shape("polygon", other, "dog", group_id=3),
        shape("polygon", SQUARE),
    )
    data, images = read(folder)
    assert boxes_of(images["a.jpg"]) == [
        ("cat", [10, 20, 80, 40]),
        ("dog", [60, 20, 80, 40]),
        ("cat", [10, 20, 30, 40]),
    ]
    assert refilled(images["a.jpg"])[:2] == [SQUARE, other]
    assert "Shapes of one group and class are one object." in data.notes


def test_a_circle_has_its_exact_box_and_area(folder: Path) -> None:
    write(folder / "a.json", shape("circle", [[100, 50], [100, 80]]))
    image = read(folder)[1]["a.jpg"]
    assert boxes_of(image) == [("cat", [70, 20, 130, 80])]
    assert region(image.instances[0], (100, 200)).sum() == pytest.approx(math.pi * 30**2, rel=0.01)


@pytest.mark.parametrize("kind", ["rotation", "oriented_rectangle"])
def test_a_turned_box_keeps_its_outline_and_its_angle(folder: Path, kind: str) -> None:
    corners = [[50.0, 20.0], [80.0, 50.0], [70.0, 60.0], [40.0, 30.0]]  # turned by 45°
    write(folder / "a.json", shape(kind, corners, difficult=True))
    image = read(folder)[1]["a.jpg"]
    assert boxes_of(image) == [("cat", [40, 20, 80, 60])]
    assert refilled(image) == [corners]
    assert (image.instances[0].more or {})["rotation"] == pytest.approx(45)
    assert image.instances[0].crowd


def encoded(inside: Any) -> str:
    stream = io.BytesIO()
    Image.fromarray(np.array(inside, np.uint8) * 255).save(stream, "PNG")
    return base64.b64encode(stream.getvalue()).decode()


def test_a_painted_mask_lies_in_its_box_first_and_last_pixel_included(folder: Path) -> None:
    inside = np.random.default_rng(0).random((4, 6)) < 0.5
    inside[0, 0] = inside[3, 5] = True
    write(
        folder / "a.json", shape("mask", [[198, 97], [203, 100]], mask=encoded(inside))
    )  # it reaches beyond the image
    expected = np.zeros((101, 204), bool)
    expected[97:101, 198:204] = inside
    one = read(folder)[1]["a.jpg"].instances[0]
    assert np.array_equal(region(one, (100, 200)), expected[:100, :200])


def test_masks_of_a_group_are_one_object(folder: Path) -> None:
    whole = encoded(np.ones((2, 2)))
    write(folder / "a.json", *(shape("mask", [[x, 5], [x + 1, 6]], mask=whole, group_id=1) for x in (10, 20)))
    assert boxes_of(read(folder)[1]["a.jpg"]) == [("cat", [10, 5, 22, 7])]


def test_lines_are_named_and_not_read(folder: Path) -> None:
    write(
        folder / "a.json",
        shape("line", [[1, 1], [9, 9]]),
        shape("linestrip", [[1, 1], [9, 9]]),
        shape("cube", [[1, 1]]),
    )
    data, images = read(folder)
    assert images["a.jpg"].instances == ()
    assert "1 shape of type 'line' is without an area and not read (a.json)." in data.problems
    assert "1 shape of type 'cube' is of a kind that is not known and not read (a.json)." in data.problems


# -- points


def test_points_of_the_same_names_everywhere_are_keypoints(tmp_path: Path) -> None:
    names = ["a", "b", "c", "d"]
    pictures(tmp_path, *(f"{name}.jpg" for name in names))
    for i, name in enumerate(names):
        eyes = [shape("point", [[10 + i, 20]], "left eye"), shape("point", [[30, 20 + i]], "right eye")]
        write(tmp_path / f"{name}.json", *(eyes[::-1] if i % 2 else eyes[: 1 if name == "c" else 2]))
    data, images = read(tmp_path)
    assert "boxes" not in data["train"].targets
    xy = {name: np.round(images[f"{name}.jpg"].instances[0].points, 6).tolist() for name in names}  # type: ignore[arg-type]
    assert xy["a"] == [[10, 20], [30, 20]] and xy["b"] == [[11, 20], [30, 21]]
    assert xy["c"][0] == [12, 20] and np.isnan(xy["c"][1]).all()
    assert target_of(data["train"].targets, "points", Points).xy.shape[1:] == (2, 2)
    assert "1 keypoint is missing and counts as not visible." in data.problems


def test_points_belong_to_the_object_of_their_group(folder: Path) -> None:
    for i, name in enumerate("abc"):
        people = [shape("rectangle", [[90 * k, 5], [90 * k + 50, 95]], "person", group_id=k) for k in range(2)]
        noses = [shape("point", [[90 * k + 20 + i, 30]], "nose", group_id=k) for k in (1, 0)]
        write(folder / f"{name}.json", *people, *noses)
    data, images = read(folder)
    assert [one.points.tolist() for one in images["b.jpg"].instances if one.points is not None] == [
        [[21, 30]],
        [[111, 30]],
    ]
    assert data.classes == ("person",) and "boxes" in data["train"].targets


@pytest.mark.parametrize(
    ("labels", "said"),
    [
        (["cell", "cell"], "has 'cell' more than once in one object"),
        (["cell", None], "those of a.jpg belong to none of its objects"),
    ],
)
def test_points_that_are_no_keypoints_are_named_and_not_read(folder: Path, labels: list[str | None], said: str) -> None:
    shapes = [shape("point", [[3 * i + 1, 5]], label) for i, label in enumerate(labels) if label]
    boxes = [shape("rectangle", [[1, 1], [9, 9]])] * 2 if None in labels else []
    (folder / "b.json").unlink(), (folder / "c.json").unlink()
    write(folder / "a.json", *shapes, *boxes)
    assert [one for one in open(folder).problems if said in one and "not read" in one]


# -- images


def test_the_name_beside_the_file_counts_before_a_path_of_another_machine(folder: Path) -> None:
    write(folder / "a.json", shape("polygon", SQUARE), imagePath="D:\\work\\photos\\b.jpg")
    assert [category for category, _ in boxes_of(read(folder)[1]["a.jpg"])] == ["cat"]
    assert [category for category, _ in boxes_of(read(folder)[1]["b.jpg"])] == ["dog"]


def test_a_path_with_backslashes_is_followed_where_no_image_has_the_files_name(tmp_path: Path) -> None:
    pictures(tmp_path, *(f"images/{name}.jpg" for name in ("a", "b", "c")))
    for name in ("a", "b", "c"):
        write(tmp_path / f"labels/{name}_v2.json", shape("polygon", SQUARE, name), imagePath=f"..\\images\\{name}.jpg")
    assert {name: boxes_of(image)[0][0] for name, image in read(tmp_path)[1].items()} == {
        "images/a.jpg": "a",
        "images/b.jpg": "b",
        "images/c.jpg": "c",
    }


def test_folders_of_splits_beside_each_other(tmp_path: Path) -> None:
    for part in ("train", "val", "test"):
        pictures(tmp_path / "images" / part, "a.jpg", f"{part}.jpg")
        for name in ("a", part):
            drawn = shape("rectangle", [[len(part), 1], [30, 9]])
            write(tmp_path / "labels" / part / f"{name}.json", drawn, imagePath="nowhere.jpg")
    data, images = read(tmp_path)
    assert {part: split.names for part, split in data.splits.items()}["val"] == [
        "images/val/a.jpg",
        "images/val/val.jpg",
    ]
    for part in ("train", "val", "test"):
        assert boxes_of(images[f"images/{part}/a.jpg"]) == [("cat", [len(part), 1, 30, 9])]


def test_one_annotation_for_two_images_of_one_name(folder: Path) -> None:
    pictures(folder, "a.png")
    write(folder / "a.json", shape("polygon", SQUARE), imagePath="a.png")
    data, images = read(folder)
    assert "a.png" in images and "a.jpg" not in images
    assert "1 image has no annotation and is left out (a.jpg)." in data.problems
    write(folder / "a.json", shape("polygon", SQUARE), imagePath="A.PNG")
    with pytest.raises(DataError, match=r"a\.json': the image can be a\.jpg or a\.png, and imagePath names neither"):
        open(folder)


def test_names_in_other_scripts_and_files_of_a_mac(folder: Path) -> None:
    pictures(folder, "지단.jpg")
    write(folder / "지단.json", shape("polygon", SQUARE))
    (folder / "._a.jpg").write_bytes(b"\0")
    (folder / "._a.json").write_bytes(b"\0")
    assert len(read(folder)[1]["지단.jpg"].instances) == 1


def test_images_without_a_file_are_left_out_and_files_without_shapes_are_negatives(folder: Path) -> None:
    write(folder / "b.json")
    data, images = read(folder)
    assert sorted(images) == ["b.jpg", "c.jpg"] and images["b.jpg"].instances == ()
    assert "1 image has no annotation and is left out (a.jpg)." in data.problems
    assert "Read as LabelMe: 2 images, 1 object, 1 without any." in data.notes


def test_an_image_inside_its_file_is_named_with_the_way_out(folder: Path) -> None:
    write(folder / "d.json", shape("polygon", SQUARE), imageData="aGVsbG8=")
    said = "1 file holds its image inside (imageData), which is not read (d.json); save the image beside the file"
    assert [one for one in open(folder).problems if one.startswith(said)]
    alone = folder / "deep" / "down" / "here"
    write(alone / "e.json", shape("polygon", SQUARE), imageData="aGVsbG8=")
    with pytest.raises(DataError, match=r"only inside the files of LabelMe, the first in e\.json; save each"):
        open(alone)


def test_an_image_turned_by_exif_is_annotated_upright(folder: Path) -> None:
    pictures(folder, "a.jpg", orientation=6)  # upright it is 200×100
    write(folder / "a.json", shape("rectangle", [[10, 150], [90, 190]]), imageHeight=200, imageWidth=100)
    assert boxes_of(read(folder)[1]["a.jpg"]) == [("cat", [10, 150, 90, 190])]


# -- classes of images


def test_flags_are_classes_where_each_image_has_one(folder: Path) -> None:
    for name, flag in zip("abc", ("day", "night", "day"), strict=True):
        write(folder / f"{name}.json", flags={"day": flag == "day", "night": flag == "night"})
    data, images = read(folder)
    assert [images[f"{name}.jpg"].label for name in "abc"] == ["day", "night", "day"]
    assert data.classes == ("day", "night") and "label" in data["train"].targets
    write(folder / "c.json", flags={"day": True, "night": True})
    data, images = read(folder)
    assert "Flags are not read as classes, as not every image has exactly one (day, night)." in data.problems
    assert {image.label for image in images.values()} == {None}


# -- broken files


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda text: text.replace('"polygon"', '"circle"'), "shape 1: a circle has 2 points, and it has 4 in line 5"),
        (lambda text: text.replace("30.0", '"x"', 1), "shape 1: a point is 'x', not a number in line 5"),
        (lambda text: text.replace('"cat"', "null"), "shape 1: its label is null, not a name in line 5"),
        (lambda text: text.replace("200", '"wide"'), "width is 'wide', not a number in line 1"),
        (lambda text: text.replace('"shapes"', '"forms"'), "the file has no shapes in line 1"),
        (lambda text: text[:150], "is no JSON"),
        (lambda text: "", "is no JSON"),
    ],
)
def test_a_broken_file_is_refused_with_its_name_and_line(folder: Path, change: Any, said: str) -> None:
    write(folder / "a.json", shape("polygon", SQUARE))
    content = (folder / "a.json").read_text(encoding="utf-8")
    (folder / "a.json").write_text(change(content), encoding="utf-8")
    with pytest.raises(DataError, match=rf"a\.json': {said}"):
        open(folder)
