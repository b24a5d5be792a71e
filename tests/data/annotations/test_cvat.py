"""CVAT's XML for images as people have it."""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from drawings import boxes_of, pictures, read, refilled

from pellucid.data import open
from pellucid.data.annotations.rasters import region
from pellucid.errors import DataError

LABELS = ("truck", "car", "bicycle")


def label(name: str, more: str = "") -> str:
    return f"<label><name>{name}</name><color>#ff00aa</color>{more}<attributes></attributes></label>"


def write(file: Path, *images: str, labels: str = "".join(map(label, LABELS)), more: str = "") -> None:
    """An export; each image is given as its attributes and shapes."""
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(
        "<?xml version='1.0' encoding='utf-8'?>\n<annotations>\n<version>1.1</version>\n<meta>\n<task><labels>\n"
        f"{labels}\n</labels></task>\n</meta>\n" + "\n".join(images) + f"\n{more}</annotations>\n",
        encoding="utf-8",
    )


def written(attributes: Mapping[str, Any]) -> str:
    return " ".join(f'{key}="{value}"' for key, value in attributes.items())


def image(name: str, *shapes: str, **more: Any) -> str:
    attributes = {"id": 0, "name": name, "width": 200, "height": 100, **more}
    return "\n".join([f"<image {written(attributes)}>", *shapes, "</image>"])


def box(*corners: float, label: str = "car", **more: Any) -> str:
    values = {"label": label, "occluded": 0, **dict(zip(("xtl", "ytl", "xbr", "ybr"), corners, strict=True)), **more}
    return f"<box {written(values)}/>"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Three images in a folder of their own."""
    pictures(tmp_path / "images", "a.jpg", "b.jpg", "c.jpg")
    return tmp_path


OTHERS = (image("b.jpg", box(1, 2, 11, 12)), image("c.jpg"))


def test_labels_keep_their_order_also_those_that_do_not_occur(folder: Path) -> None:
    write(folder / "annotations.xml", image("a.jpg", box(10.5, 20.25, 30, 40, label="truck")), *OTHERS)
    data, images = read(folder)
    assert data.classes == LABELS
    assert boxes_of(images["images/a.jpg"]) == [("truck", [10.5, 20.25, 30, 40])]
    assert "Read as CVAT for images: 3 images, 2 objects, 1 without any." in data.notes
    assert not [said for said in data.problems if "annotations.xml" in said]


def test_a_turned_box_keeps_its_angle(folder: Path) -> None:
    # 40×20 px about (50, 50), a quarter turn: 20×40 px; by 30°, half sides 20 cos 30° + 10 sin 30° and 20 sin 30° + 10 cos 30°
    write(
        folder / "annotations.xml",
        image("a.jpg", box(30, 40, 70, 60, rotation=90), box(30, 40, 70, 60, rotation=30)),
        *OTHERS,
    )
    data, images = read(folder)
    across, down = 20 * math.sqrt(3) / 2 + 5, 10 + 10 * math.sqrt(3) / 2
    expected = [[40, 30, 60, 70], [round(side, 6) for side in (50 - across, 50 - down, 50 + across, 50 + down)]]
    assert [own for _, own in boxes_of(images["images/a.jpg"])] == expected
    assert [(one.more or {})["rotation"] for one in images["images/a.jpg"].instances] == [90, 30]
    assert refilled(images["images/a.jpg"])[0] == [
        [60, 30],
        [60, 70],
        [40, 70],
        [40, 30],
    ]  # clockwise from its first corner
    assert "A box that is turned becomes its outline, and the upright box around it." in data.notes
    assert set(data["train"].targets) == {"boxes"} and not [said for said in data.problems if "masks" in said]


def test_attributes_are_kept(folder: Path) -> None:
    told = '<attribute name="colour">red</attribute><attribute name="rotation">7</attribute>'
    plain, hidden = (
        box(1, 2, 11, 12).replace("/>", f">{told}</box>"),
        box(1, 2, 9, 9, rotation=30).replace('occluded="0"', 'occluded="1"'),
    )
    write(folder / "annotations.xml", image("a.jpg", plain, hidden), *OTHERS)
    kept = [dict(one.more or {}) for one in read(folder)[1]["images/a.jpg"].instances]
    assert kept == [{"colour": "red"}, {"occluded": True, "rotation": 30}]


def test_an_ellipse_has_its_exact_box(folder: Path) -> None:
    shapes = [f'<ellipse label="car" cx="100" cy="50" rx="40" ry="20" rotation="{angle}"/>' for angle in (0, 90, 45)]
    write(folder / "annotations.xml", image("a.jpg", *shapes), *OTHERS)
    own = read(folder)[1]["images/a.jpg"]
    half = math.sqrt((40**2 + 20**2) / 2)  # of the box around one turned by 45°
    sides = [(60, 30, 140, 70), (80, 10, 120, 90), (100 - half, 50 - half, 100 + half, 50 + half)]
    assert [found for _, found in boxes_of(own)] == [[round(side, 6) for side in one] for one in sides]
    for one in own.instances:
        assert region(one, (100, 200)).sum() == pytest.approx(math.pi * 800, rel=0.01)


def test_polygons_groups_and_cuboids(folder: Path) -> None:
    triangle = '<polygon label="car" points="{0}.00,10.00;{1}.50,10.00;{0}.00,30.00"{2}/>'
    grouped = [triangle.format(x, x + 20, ' group_id="1"') for x in (10, 60)]
    corners = {
        "tl1": (10, 10), "bl1": (10, 50), "tr1": (40, 12), "br1": (40, 48),
        "tl2": (60, 15), "bl2": (60, 45), "tr2": (80, 5), "br2": (80, 44),
    }  # fmt: skip
    cuboid = " ".join(f'x{key}="{x}" y{key}="{y}"' for key, (x, y) in corners.items())
    boxes = [box(1, 2, 3, 4, group_id=1), box(5, 6, 7, 8, group_id=1)]
    write(folder / "annotations.xml", image("a.jpg", *grouped, *boxes, f'<cuboid label="truck" {cuboid}/>'), *OTHERS)
    own = read(folder)[1]["images/a.jpg"]
    assert boxes_of(own) == [
        ("car", [10, 10, 80.5, 30]),
        ("car", [1, 2, 3, 4]),
        ("car", [5, 6, 7, 8]),
        ("truck", [10, 5, 80, 50]),
    ]
    assert refilled(own)[0] == [[10, 10], [30.5, 10], [10, 30]]


def test_a_mask_is_row_by_row_within_its_box(folder: Path) -> None:
    inside = np.random.default_rng(1).random((5, 7)) < 0.5
    flat, runs = inside.ravel().tolist(), [0]
    for value in flat:  # an independent encoder: runs outside and inside in turn, the first outside
        if value != (len(runs) % 2 == 0):
            runs.append(0)
        runs[-1] += 1
    rle = ", ".join(map(str, runs))
    shape = f'<mask label="car" rle="{rle}" left="20" top="30" width="7" height="5"/>'
    write(folder / "annotations.xml", image("a.jpg", shape), *OTHERS)
    expected = np.zeros((100, 200), bool)
    expected[30:35, 20:27] = inside
    assert len(flat) == sum(runs)
    assert np.array_equal(region(read(folder)[1]["images/a.jpg"].instances[0], (100, 200)), expected)


def test_skeletons_have_the_points_of_their_label_in_its_order(folder: Path) -> None:
    labels = label("cat", "<type>skeleton</type>") + "".join(
        label(name, "<type>points</type><parent>cat</parent>") for name in ("ear", "nose", "tail")
    )
    point = '<points label="{}" outside="{}" occluded="0" points="{}.00,{}.00"/>'
    shapes = [point.format("tail", 0, 60, 70), point.format("ear", 0, 20, 30), point.format("nose", 1, 0, 0)]
    skeleton = f'<skeleton label="cat">{"".join(shapes)}</skeleton>'
    write(folder / "annotations.xml", image("a.jpg", skeleton), image("b.jpg"), image("c.jpg"), labels=labels)
    data, images = read(folder)
    points = images["images/a.jpg"].instances[0].points
    assert points is not None and points[[0, 2]].tolist() == [[20, 30], [60, 70]] and np.isnan(points[1]).all()
    assert data.classes == ("cat",)
    assert boxes_of(images["images/a.jpg"]) == [("cat", [20, 30, 60, 70])]


def test_points_named_alike_everywhere_are_keypoints(folder: Path) -> None:
    shapes = '<points label="face" points="{0},1;{0},2;{0},3"/>'
    write(folder / "annotations.xml", *(image(f"{name}.jpg", shapes.format(10 + i)) for i, name in enumerate("abc")))
    data, images = read(folder)
    assert "points" in data["train"].targets and "boxes" not in data["train"].targets
    points = images["images/c.jpg"].instances[0].points
    assert points is not None and points.tolist() == [[12, 1], [12, 2], [12, 3]]


def test_subsets_are_splits_and_folders(tmp_path: Path) -> None:
    for part in ("Train", "Validation", "Test"):
        pictures(tmp_path / "images" / part, "a.jpg", f"{part}.jpg")
    parts = [(part, name) for part in ("Train", "Validation", "Test") for name in ("a", part)]
    write(
        tmp_path / "annotations.xml",
        *(image(f"{name}.jpg", box(len(part), 1, 30, 9), subset=part) for part, name in parts),
    )
    data, images = read(tmp_path)
    assert {part: len(split) for part, split in data.splits.items()} == {"train": 2, "val": 2, "test": 2}
    for part in ("Train", "Validation", "Test"):
        assert boxes_of(images[f"images/{part}/a.jpg"]) == [("car", [len(part), 1, 30, 9])]


def test_tags_are_classes(folder: Path) -> None:
    tags = [
        image(f"{name}.jpg", f'<tag label="{own}" source="manual"/>')
        for name, own in zip("abc", ("car", "truck", "car"), strict=True)
    ]
    write(folder / "annotations.xml", *tags)
    data, images = read(folder)
    assert [images[f"images/{name}.jpg"].label for name in "abc"] == ["car", "truck", "car"]
    assert "label" in data["train"].targets
    write(folder / "annotations.xml", image("a.jpg", '<tag label="sunny"/>', box(1, 2, 3, 4)), *OTHERS)
    data = open(folder)
    assert data.classes == LABELS and "label" not in data["train"].targets
    assert [said for said in data.problems if said.startswith("Tags for whole images are not read beside objects")]


def test_frames_of_a_video_have_no_ending(tmp_path: Path) -> None:
    pictures(tmp_path / "images", *(f"frame_{i:06}.PNG" for i in range(3)))
    write(tmp_path / "annotations.xml", *(image(f"frame_{i:06}", box(i, 1, 9, 9)) for i in range(3)))
    assert boxes_of(read(tmp_path)[1]["images/frame_000002.PNG"]) == [("car", [2, 1, 9, 9])]


def test_lines_are_named_and_not_read(folder: Path) -> None:
    write(folder / "annotations.xml", image("a.jpg", '<polyline label="car" points="1,1;9,9"/>'), *OTHERS)
    assert "1 polyline is without an area and not read (images/a.jpg)." in open(folder).problems


def test_the_tracks_of_a_video_are_refused_with_the_way_out(folder: Path) -> None:
    track = '<track id="0" label="car"><box frame="0" xtl="1" ytl="1" xbr="2" ybr="2"/></track>'
    write(folder / "annotations.xml", more=track)
    with pytest.raises(
        DataError, match=r"annotations\.xml': has the tracks of a video in line 10; export the task as 'CVAT for images"
    ):
        open(folder)


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ('xtl="1"', 'xtl="one"', r"box of 'images/b\.jpg': xtl is 'one', not a number in line 13"),
        ('xtl="1"', "", r"box of 'images/b\.jpg': it has no xtl in line 13"),
        ('label="car"', 'label=""', r"box has no label in line 10"),
        ('width="200"', 'width="wide"', r"image: width is 'wide', not a number in line 9"),
        ('name="b.jpg"', "", r"image: it has no name in line 12"),
        ("</image>", "", r"is no XML \(mismatched tag\) in line 17"),
        ("<version>", "<!DOCTYPE x [<!ENTITY a 'b'>]><version>", r"is no XML"),
    ],
)
def test_a_broken_file_is_refused_with_its_name_and_line(folder: Path, old: str, new: str, said: str) -> None:
    write(folder / "annotations.xml", image("a.jpg", box(3, 2, 11, 12)), *OTHERS)
    content = (folder / "annotations.xml").read_text(encoding="utf-8")
    (folder / "annotations.xml").write_text(content.replace(old, new), encoding="utf-8")
    with pytest.raises(DataError, match=rf"annotations\.xml': {said}"):
        open(folder)


def test_an_export_of_each_split(tmp_path: Path) -> None:
    for part, names in {"train": ("cat", "dog"), "test": ("dog", "bird")}.items():
        pictures(tmp_path / part / "images", "a.jpg")
        write(
            tmp_path / part / "annotations.xml",
            image("a.jpg", box(len(part), 1, 9, 9, label="dog")),
            labels="".join(map(label, names)),
        )
    data, images = read(tmp_path)
    assert {name: boxes_of(own)[0][1][0] for name, own in images.items()} == {
        "train/images/a.jpg": 5,
        "test/images/a.jpg": 4,
    }
    assert data.classes == ("dog", "bird", "cat")


def test_an_export_with_the_name_of_its_only_image(folder: Path) -> None:
    write(folder / "a.xml", image("a.jpg", box(1, 2, 11, 12)), *OTHERS)
    assert boxes_of(read(folder)[1]["images/a.jpg"]) == [("car", [1, 2, 11, 12])]
