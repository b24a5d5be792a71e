"""Label Studio's exports as people have them."""

from __future__ import annotations

import cmath
import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from drawings import boxes_of, pictures, read, refilled

from pellucid.data import open
from pellucid.data.annotations.rasters import region
from pellucid.data.targets import Points, target_of
from pellucid.errors import DataError


def result(
    kind: str, value: Mapping[str, Any], label: str | None = "car", size: tuple[int, int] = (100, 200), **more: Any
) -> dict[str, Any]:
    """A result for an image of (H, W) px."""
    return {
        "original_width": size[1], "original_height": size[0], "image_rotation": 0,
        "value": {**value, **({kind: [label]} if label else {})},
        "from_name": "label", "to_name": "image", "type": kind, **more,
    }  # fmt: skip


def rectangle(x: float, y: float, width: float, height: float, rotation: float = 0, **more: Any) -> dict[str, Any]:
    value = {"x": x, "y": y, "width": width, "height": height, "rotation": rotation}
    return result("rectanglelabels", value, **more)


def task(image: str, *results: Mapping[str, Any], number: int = 1, **more: Any) -> dict[str, Any]:
    """A task with one annotation."""
    annotation = {
        "id": number,
        "completed_by": 1,
        "result": results,
        "was_cancelled": False,
        "created_at": "2024-01-02T00:00:00Z",
    }
    return {"id": number, "annotations": [annotation], "predictions": [], "data": {"image": image}, **more}


def write(file: Path, *tasks: Mapping[str, Any]) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(json.dumps(tasks, indent=1), encoding="utf-8")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Three images of 100×200 px."""
    pictures(tmp_path / "images", "a.jpg", "b.jpg", "c.jpg")
    return tmp_path


OTHERS = (
    task("/data/upload/1/0123abcd-b.jpg", rectangle(10, 20, 5, 10), number=2),
    task("/data/upload/1/0123abcd-c.jpg", number=3),
)


def test_a_quarter_turn_in_an_image_that_is_no_square(tmp_path: Path) -> None:
    """In px: 300×100 at (200, 100), the same turned by 90°, and 100×300 at (100, 100), where the turned one comes to lie."""
    pictures(tmp_path, "a.png", "b.png", "c.png", size=(500, 1000))
    size = (500, 1000)
    boxes = [
        rectangle(20, 20, 30, 20, 0, size=size),
        rectangle(20, 20, 30, 20, 90, size=size),
        rectangle(10, 20, 10, 60, 0, size=size),
    ]
    write(
        tmp_path / "export.json",
        task("/data/upload/1/a.png", *boxes),
        *(task(f"{name}.png", number=i) for i, name in enumerate("bc")),
    )
    data, images = read(tmp_path)
    assert boxes_of(images["a.png"]) == [
        ("car", [200, 100, 500, 200]),
        ("car", [100, 100, 200, 400]),
        ("car", [100, 100, 200, 400]),
    ]
    assert refilled(images["a.png"]) == [[[200, 100], [200, 400], [100, 400], [100, 100]]]
    assert (images["a.png"].instances[1].more or {})["rotation"] == 90
    assert "Read as Label Studio: 3 images, 3 objects, 2 without any." in data.notes


def test_any_turn_is_about_the_upper_left_corner_and_in_px(tmp_path: Path) -> None:
    pictures(tmp_path, "a.png", "b.png", "c.png", size=(720, 1280))
    x, y, width, height, angle = 43.117, 44.46, 2.3066, 2.5412, 296.74
    write(
        tmp_path / "export.json",
        task("a.png", rectangle(x, y, width, height, angle, size=(720, 1280))),
        *(task(f"{name}.png", number=i) for i, name in enumerate("bc")),
    )
    pivot, turn = complex(x * 12.8, y * 7.2), cmath.exp(1j * math.radians(angle))
    corners = [pivot + turn * complex(a * width * 12.8, b * height * 7.2) for a, b in ((0, 0), (1, 0), (1, 1), (0, 1))]
    assert np.allclose(
        refilled(read(tmp_path)[1]["a.png"])[0], [[corner.real, corner.imag] for corner in corners], atol=1e-5
    )


def test_sizes_whose_sides_were_exchanged(folder: Path) -> None:
    value = {"x": 50, "y": 50, "radiusX": 10, "radiusY": 10, "rotation": 90}
    swapped = [
        rectangle(10, 20, 50, 60, size=(200, 100)),
        rectangle(50, 20, 10, 40, 90, size=(200, 100)),
        result("ellipselabels", value, size=(200, 100)),
    ]
    write(folder / "export.json", task("a.jpg", *swapped), *OTHERS)
    data, images = read(folder)
    # percent of the image as it is, 100×200 px: 20×40 px at (100, 20) turned by 90°; radii of 20 and 10 px
    expected = [("car", [20, 20, 120, 80]), ("car", [60, 20, 100, 40]), ("car", [90, 30, 110, 70])]
    assert boxes_of(images["images/a.jpg"]) == expected
    assert "1 annotation has height and width exchanged, which is mended (images/a.jpg)." in data.problems


def test_an_image_turned_by_exif(folder: Path) -> None:
    pictures(folder / "images", "a.jpg", orientation=6)  # 200×100 px upright
    write(folder / "export.json", task("a.jpg", rectangle(10, 20, 50, 60, size=(200, 100))), *OTHERS)
    assert boxes_of(read(folder)[1]["images/a.jpg"]) == [("car", [10, 40, 60, 160])]


def test_the_angle_of_a_box_turns_with_its_image(folder: Path) -> None:
    pictures(folder / "images", "a.jpg", orientation=6)  # stored as 100×200 px, to be turned by 90° clockwise
    write(folder / "export.json", task("a.jpg", rectangle(50, 50, 10, 40, 30)), *OTHERS)
    own = read(folder)[1]["images/a.jpg"]
    assert (own.instances[0].more or {})["rotation"] == 120
    first, second = np.array(refilled(own)[0][:2])
    assert np.allclose(first, [50, 100]) and np.allclose(
        second - first, [20 * math.cos(math.radians(120)), 20 * math.sin(math.radians(120))]
    )


def test_the_other_shapes(folder: Path) -> None:
    shapes = [
        result("polygonlabels", {"points": [[10, 10], [20, 10], [10, 30]], "closed": True}),
        result("ellipselabels", {"x": 50, "y": 50, "radiusX": 20, "radiusY": 10, "rotation": 0}),
        result("rectangle", {"x": 1, "y": 2, "width": 3, "height": 4}, None),
    ]
    write(folder / "export.json", task("a.jpg", *shapes), *OTHERS)
    own = read(folder)[1]["images/a.jpg"]
    assert boxes_of(own) == [("car", [20, 10, 40, 30]), ("car", [60, 40, 140, 60]), ("object", [2, 2, 8, 6])]
    assert refilled(own)[0] == [[20, 10], [40, 10], [20, 30]]
    assert region(own.instances[1], (100, 200)).sum() == pytest.approx(math.pi * 400, rel=0.01)


def test_results_of_one_id_are_one_region(folder: Path) -> None:
    place = {"x": 10, "y": 10, "width": 10, "height": 10, "rotation": 0}
    parts = [
        result("rectangle", place, None, id="r"),
        result("labels", place, "plate", id="r"),
        result("textarea", {**place, "text": ["AB 12"]}, None, id="r"),
        {"type": "relation", "from_id": "r", "to_id": "r", "direction": "right"},
    ]
    write(folder / "export.json", task("a.jpg", *parts), *OTHERS)
    data, images = read(folder)
    own = images["images/a.jpg"]
    assert boxes_of(own) == [("plate", [20, 10, 40, 20])]
    assert own.instances[0].text == "AB 12" and own.text == "AB 12"
    assert not [said for said in data.problems if "result" in said]


def test_keypoints_belong_to_the_only_object_or_to_the_one_above_them(folder: Path) -> None:
    def point(x: float, label: str, **more: Any) -> dict[str, Any]:
        return result("keypointlabels", {"x": x, "y": 50, "width": 0.4}, label, **more)

    two = [rectangle(50 * k, 10, 40, 80, id=f"r{k}") for k in (0, 1)]
    inside = [point(50 * k + 10 + i, name, parentID=f"r{k}") for k in (1, 0) for i, name in enumerate(("eye", "nose"))]
    write(
        folder / "export.json",
        task("a.jpg", *two, *inside),
        *(
            task(f"{name}.jpg", rectangle(0, 10, 40, 80), point(5, "nose"), point(4, "eye"), number=i)
            for i, name in enumerate("bc")
        ),
    )
    data, images = read(folder)
    points = [one.points for name in "ab" for one in images[f"images/{name}.jpg"].instances]
    assert [own.tolist() for own in points if own is not None] == [
        [[20, 50], [22, 50]],
        [[120, 50], [122, 50]],
        [[8, 50], [10, 50]],
    ]
    assert target_of(data["train"].targets, "points", Points).xy.shape[1:] == (2, 2)
    assert data.classes == ("car",)


# -- which annotation, which image


def test_the_latest_annotation_counts_that_was_not_cancelled(folder: Path) -> None:
    def annotation(x: float, day: int, cancelled: bool = False) -> dict[str, Any]:
        when = f"2024-01-{day:02}T00:00:00Z"
        return {
            "result": [rectangle(x, 0, 10, 10)],
            "was_cancelled": cancelled,
            "created_at": "2024-01-01T00:00:00Z",
            "updated_at": when,
        }

    several = {**task("a.jpg"), "annotations": [annotation(10, 3), annotation(20, 2), annotation(30, 4, True)]}
    skipped = {**task("b.jpg", number=2), "annotations": [annotation(10, 3, True)], "predictions": [annotation(10, 3)]}
    write(
        folder / "export.json",
        several,
        skipped,
        task("c.jpg", number=3),
        {**task("d.jpg", number=4), "annotations": []},
    )
    data, images = read(folder)
    assert boxes_of(images["images/a.jpg"]) == [("car", [20, 0, 40, 10])]
    assert sorted(images) == ["images/a.jpg", "images/c.jpg"] and images["images/c.jpg"].instances == ()
    assert "1 task has several annotations: the latest counts (images/a.jpg)." in data.problems
    assert "1 task was skipped and is left out (images/b.jpg)." in data.problems
    assert "1 task has no annotation and is left out (d.jpg)." in data.problems


def test_a_task_that_is_exported_twice_counts_once(folder: Path) -> None:
    one = task("a.jpg", rectangle(0, 0, 10, 10))
    write(folder / "export.json", one, one, *OTHERS)
    data, images = read(folder)
    assert len(images["images/a.jpg"].instances) == 1
    assert "1 image is in several tasks: the latest counts (images/a.jpg)." in data.problems


@pytest.mark.parametrize(
    ("file", "written"),
    [
        ("a.jpg", "/data/upload/1/ab12cd34-a.jpg"),
        ("ab12cd34-a.jpg", "/data/upload/1/ab12cd34-a.jpg"),
        ("my photo (1).jpg", "/data/upload/7/ab12cd34-my_photo_1.jpg"),
        ("deep/a.jpg", "/data/local-files/?d=sets/deep/a.jpg"),
        ("a b.jpg", "https://example.org/photos/a%20b.jpg?token=x.png"),
        ("지단.jpg", "s3://bucket/%EC%A7%80%EB%8B%A8.jpg"),
        ("a.jpg", "C:\\photos\\a.jpg"),
    ],
)
def test_images_are_found_by_the_names_that_label_studio_gives_them(tmp_path: Path, file: str, written: str) -> None:
    pictures(tmp_path / "images", file, "b.jpg", "c.jpg")
    write(tmp_path / "export.json", task(written, rectangle(10, 10, 10, 10)), *OTHERS)
    images = read(tmp_path)[1]
    assert len(images[f"images/{file}"].instances) == 1 and len(images) == 3


def test_an_image_that_is_not_there_is_named(folder: Path) -> None:
    write(folder / "export.json", task("/data/upload/1/ab12cd34-z.jpg", rectangle(1, 1, 9, 9)), *OTHERS)
    assert "1 annotation has no image and is dropped (ab12cd34-z.jpg)." in open(folder).problems


def test_a_task_with_several_images_is_refused(folder: Path) -> None:
    write(
        folder / "export.json",
        task("a.jpg", rectangle(1, 1, 9, 9), {**rectangle(1, 1, 9, 9), "to_name": "other"}),
        *OTHERS,
    )
    with pytest.raises(DataError, match=r"task 1 annotates several images \(image, other\), which is not read in line"):
        open(folder)


def test_an_image_turned_in_the_editor_keeps_its_coordinates(folder: Path) -> None:
    write(folder / "export.json", task("a.jpg", {**rectangle(10, 10, 10, 20), "image_rotation": 90}), *OTHERS)
    data, images = read(folder)
    assert boxes_of(images["images/a.jpg"]) == [("car", [20, 10, 40, 30])]
    assert "1 image was turned in the editor alone, which leaves coordinates as they are (images/a.jpg)." in data.notes


# -- classes and texts of images


def choice(*names: str) -> dict[str, Any]:
    return {"type": "choices", "value": {"choices": list(names)}, "from_name": "choice", "to_name": "image"}


def test_choices_are_classes_and_textareas_texts(folder: Path) -> None:
    text = {"type": "textarea", "value": {"text": ["first", "second"]}, "from_name": "text", "to_name": "image"}
    write(
        folder / "export.json",
        *(task(f"{name}.jpg", choice("cat" if name == "a" else "dog"), text, number=ord(name)) for name in "abc"),
    )
    data, images = read(folder)
    assert [images[f"images/{name}.jpg"].label for name in "abc"] == ["cat", "dog", "dog"]
    assert images["images/a.jpg"].text == "first\nsecond" and "text" in data["train"].targets
    assert data.classes == ("cat", "dog")


def test_several_choices_are_no_class(folder: Path) -> None:
    write(
        folder / "export.json",
        task("a.jpg", choice("cat", "dog")),
        *(task(f"{name}.jpg", choice("cat"), number=9) for name in "bc"),
    )
    assert "1 image has several choices, which are not read (images/a.jpg)." in open(folder).problems


def test_what_is_not_read_is_named(folder: Path) -> None:
    results = [
        {"type": "rating", "value": {"rating": 4}, "from_name": "r", "to_name": "image"},
        {"type": "choices", "value": {"x": 1, "y": 1, "width": 9, "height": 9, "choices": ["old"]}, "id": "r"},
        rectangle(1, 1, 9, 9) | {"value": {"x": 1, "y": 1, "width": 9, "height": 9, "rectanglelabels": ["car", "red"]}},
    ]
    write(folder / "export.json", task("a.jpg", *results), *OTHERS)
    said = open(folder).problems
    assert "1 result of type 'rating' is not read (images/a.jpg)." in said
    assert "1 result of type 'choices of a region' is not read (images/a.jpg)." in said
    assert "1 region has several labels: the first counts (images/a.jpg)." in said


# -- the short export


def row(name: str, number: int, **columns: Any) -> dict[str, Any]:
    """A row of JSON-MIN."""
    after = {
        "annotator": 1,
        "annotation_id": 1,
        "created_at": "2024-01-02",
        "updated_at": "2024-01-02",
        "lead_time": 3.2,
    }
    return {"image": f"/data/upload/1/0123abcd-{name}.jpg", "set": "x", "id": number, **columns, **after}


def test_json_min_says_the_same(folder: Path) -> None:
    boxes = [rectangle(10, 20, 30, 40), rectangle(50, 20, 10, 20, 30)]
    polygon = result("polygonlabels", {"points": [[10, 10], [20, 10], [10, 30]], "closed": True}, "dog")
    write(folder / "export.json", task("/data/upload/1/ab12cd34-a.jpg", *boxes, polygon), *OTHERS)
    data, full = read(folder)

    def flat(one: Mapping[str, Any]) -> dict[str, Any]:
        return {**one["value"], "original_width": 200, "original_height": 100}

    write(
        folder / "export.json",
        row("a", 1, label=[flat(one) for one in boxes], outline=[flat(polygon)]),
        row("b", 2, label=[flat(rectangle(10, 20, 5, 10))]),
        row("c", 3),
    )
    short, images = read(folder)
    assert {name: boxes_of(own) for name, own in images.items()} == {name: boxes_of(own) for name, own in full.items()}
    assert refilled(images["images/a.jpg"]) == refilled(full["images/a.jpg"])
    assert short.classes == data.classes


def test_json_min_with_choices_and_texts(folder: Path) -> None:
    rows = [row(name, i, choice="cat" if i else "dog", transcription=f"line {i}") for i, name in enumerate("abc")]
    write(folder / "export.json", *rows)
    data, images = read(folder)
    assert [images[f"images/{name}.jpg"].label for name in "abc"] == ["dog", "cat", "cat"]
    assert [images[f"images/{name}.jpg"].text for name in "abc"] == ["line 0", "line 1", "line 2"]
    assert "Texts are read from transcription, classes from other columns of JSON-MIN." in data.notes


# -- broken files


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ('"x": 10', '"x": "left"', r"task 1, result 1: x is 'left', not a number in line 9"),
        ('"x": 10', '"x": 1e200', r"task 1, result 1: x is 1e\+200, which is too large in line 9"),
        ('"x": 10', '"left": 10', r"task 1, result 1: it has no x in line 9"),
        (
            '"original_width": 200',
            '"original_width": -1',
            r"task 1, result 1: the image's width is -1, not a number of px in line 9",
        ),
        ('"result": [', '"result": 5, "other": [', r"task 1 has an annotation without a list of results in line 5"),
        ('"type": "rectanglelabels"', '"type": 7', r"task 1, result 1: a result has no type"),
        (
            '"rectanglelabels": [',
            '"rectanglelabels": [3,',
            r"task 1, result 1: its rectanglelabels are \[3, 'car'\], not a list of texts",
        ),
    ],
)
def test_a_broken_file_is_refused_with_its_name_and_line(folder: Path, old: str, new: str, said: str) -> None:
    write(folder / "export.json", task("a.jpg", rectangle(10, 20, 5, 10)), *OTHERS)
    content = (folder / "export.json").read_text(encoding="utf-8")
    (folder / "export.json").write_text(content.replace(old, new, 1), encoding="utf-8")
    with pytest.raises(DataError, match=rf"export\.json': {said}"):
        open(folder)
