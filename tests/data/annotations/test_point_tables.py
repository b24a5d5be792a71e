# SPDX-License-Identifier: Apache-2.0
"""Points of images from tables and `.pts` files."""

from __future__ import annotations

import csv
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from test_mask_pairs import photo, refused, said

from pellucid import data
from pellucid.data.dataset import Dataset
from pellucid.data.formats import point_tables
from pellucid.data.formats.finding import walk
from pellucid.data.targets import Points, target_of

SIZE = (30, 40)
N = 8
RNG = np.random.default_rng(0)
XY = RNG.integers(1, 29, (N, 4, 2)) + 0.5  # 4 points of each image


def photos(top: Path, pattern: str = "p{}.jpg") -> list[str]:
    names = [pattern.format(i) for i in range(N)]
    for name in names:
        photo(top / name, SIZE)
    return names


def points(found: Dataset) -> dict[str, list[list[float]]]:
    """The points of each image by its name."""
    return {
        name: own
        for split in found.splits.values()
        if len(split)
        for name, own in zip(split.names, target_of(split.targets, "points", Points).xy.tolist(), strict=True)
    }


def written(
    file: Path, titles: list[str], names: list[str], separator: str = ",", xy: NDArray[np.float64] = XY
) -> None:
    rows = [[name, *(f"{value:g}" for value in own.reshape(-1))] for name, own in zip(names, xy, strict=True)]
    file.write_text("\n".join(separator.join(row) for row in ([titles, *rows] if titles else rows)))


def titles_of(pattern: str) -> list[str]:
    return ["image", *(pattern.format(k=k, c=c) for k in range(4) for c in "xy")]


EYES = ["left_eye_center", "right_eye_center", "nose_tip", "mouth_center_top_lip"]


@pytest.mark.parametrize(
    ("titles", "names"),
    [
        (titles_of("part_{k}_{c}"), ["part_0", "part_1", "part_2", "part_3"]),
        (titles_of("{c}{k}"), ["0", "1", "2", "3"]),
        (titles_of("p{k}_{c}"), ["p0", "p1", "p2", "p3"]),
        (titles_of("{c}_{k}"), ["0", "1", "2", "3"]),
        (titles_of("landmark_{c}_{k}"), ["landmark_0", "landmark_1", "landmark_2", "landmark_3"]),
        (["Image Name", *(f"{eye}_{c}" for eye in EYES for c in "xy")], EYES),
        (["FILE", *(f"{eye.title()} {c.upper()}" for eye in EYES for c in "xy")], [eye.title() for eye in EYES]),
        ([], ["0", "1", "2", "3"]),
    ],
)
def test_titles_tell_x_and_y_of_each_point(tmp_path: Path, titles: list[str], names: list[str]) -> None:
    written(tmp_path / "landmarks.csv", titles, photos(tmp_path))
    found = data.open(tmp_path)
    assert points(found) == {f"p{i}.jpg": XY[i].tolist() for i in range(N)}
    assert found.classes == () and "Read as tables of points: 8 images" in found.notes[0]
    assert "left out" not in said(found)
    assert point_tables.read(tmp_path, walk(tmp_path), ["landmarks.csv"]).point_names == tuple(names)


@pytest.mark.parametrize(
    ("images", "named", "table"),
    [
        ("images/p{}.jpg", "images/p{}.jpg", "points.csv"),
        ("images/p{}.jpg", "p{}.jpg", "points.csv"),
        ("images/p{}.jpg", "p{}", "annotations/points.csv"),
        ("images/p{}.jpg", "C:\\data\\p{}.jpg", "points.csv"),
        ("p{}.jpg", "./p{}.jpg", "points.tsv"),
        ("{}.jpg", "{}.jpg", "points.csv"),
        ("지단 {}.jpg", "지단 {}.jpg", "points.csv"),
    ],
)
def test_rows_name_images_by_path_or_by_name(tmp_path: Path, images: str, named: str, table: str) -> None:
    photos(tmp_path, images)
    (tmp_path / table).parent.mkdir(exist_ok=True)
    separator = "\t" if table.endswith("tsv") else ","
    written(tmp_path / table, titles_of("{c}{k}"), [named.format(i) for i in range(N)], separator)
    assert points(data.open(tmp_path)) == {images.format(i): XY[i].tolist() for i in range(N)}


def test_an_index_beside_the_names_is_no_name(tmp_path: Path) -> None:
    names = photos(tmp_path, "{}.jpg")[::-1]
    rows = [["", *titles_of("{c}{k}")], *([str(i), name, *map(str, XY[i].reshape(-1))] for i, name in enumerate(names))]
    (tmp_path / "points.csv").write_text("\n".join(map(",".join, rows)))
    assert points(data.open(tmp_path))["7.jpg"] == XY[0].tolist()


def test_missing_points_are_nan_and_one_coordinate_of_minus_1_is_one(tmp_path: Path) -> None:
    names = photos(tmp_path)
    written(tmp_path / "points.csv", titles_of("{c}{k}"), names)
    rows = list(csv.reader((tmp_path / "points.csv").read_text().splitlines()))
    for row, cells in {1: ["-1", "-1"], 2: ["", ""], 3: ["nan", "NaN"], 4: ["-1.0", "-1.0"], 5: ["3", ""]}.items():
        rows[row][1:3] = cells
    rows[6][1:] = ["-1"] * 8
    rows[7][1:3] = ["-1", "12.5"]
    (tmp_path / "points.csv").write_text("\n".join(map(",".join, rows)))
    found = data.open(tmp_path)
    own = points(found)
    for i in range(5):
        assert np.isnan(own[f"p{i}.jpg"][0]).all() and own[f"p{i}.jpg"][1:] == XY[i][1:].tolist()
    assert np.isnan(own["p5.jpg"]).all()
    assert np.isnan(own["p6.jpg"][0]).all()  # x = -1 lies outside its image, which is said
    assert "1 keypoint lies outside its image and counts as not visible (p6.jpg)." in found.problems
    assert "1 point has only one coordinate and counts as missing." in found.problems
    assert "9 points are missing (empty, NaN, or -1 for x and y)." in found.notes


def test_images_without_row_rows_without_image_and_other_columns_are_named(tmp_path: Path) -> None:
    names = photos(tmp_path)
    for extra in ("one.jpg", "two.jpg"):
        photo(tmp_path / extra, SIZE)
    written(tmp_path / "points.csv", titles_of("{c}{k}"), [*names[:-1], "gone.jpg"])
    table = (tmp_path / "points.csv").read_text().splitlines()
    (tmp_path / "points.csv").write_text("\n".join(f"{line},{'pose' if i == 0 else 3}" for i, line in enumerate(table)))
    problems = data.open(tmp_path).problems
    assert "3 images have no annotations and are left out (one.jpg, p7.jpg, two.jpg)." in problems
    assert "1 annotation has no image and is dropped (gone.jpg)." in problems
    assert "Column pose of points.csv is not read." in problems


def test_one_row_counts_for_an_image_in_two_formats(tmp_path: Path) -> None:
    photos(tmp_path, "images/p{}.jpg")
    photo(tmp_path / "images/p3.png", SIZE)
    written(tmp_path / "points.csv", titles_of("{c}{k}"), [f"p{i}" for i in range(N)])
    assert points(data.open(tmp_path)) == {f"images/p{i}.jpg": XY[i].tolist() for i in range(N)} | {
        "images/p3.png": XY[3].tolist()
    }


def test_a_box_beside_the_points_is_left_out(tmp_path: Path) -> None:
    names = photos(tmp_path)
    written(tmp_path / "points.csv", titles_of("{c}{k}"), names)
    table = (tmp_path / "points.csv").read_text().splitlines()
    rows = [
        f"{line},{'x,y,width,height,box_x_min,box_y_min' if i == 0 else '1,2,3,4,5,6'}" for i, line in enumerate(table)
    ]
    (tmp_path / "points.csv").write_text("\n".join(rows).replace("x0,y0,x1,y1", "a_x,a_y,b_x,b_y"))
    found = data.open(tmp_path)
    assert points(found) == {name: XY[i].tolist() for i, name in enumerate(names)}
    assert "Columns x, y, width, height, box_x_min, box_y_min of points.csv are not read." in found.problems


def test_points_in_the_corner_are_named(tmp_path: Path) -> None:
    xy = XY.copy()
    xy[2, :2] = 0
    written(tmp_path / "points.csv", titles_of("{c}{k}"), photos(tmp_path), xy=xy)
    assert "2 points lie at 0, 0: if they are missing, leave the cells empty." in data.open(tmp_path).problems


def test_a_second_table_below_is_named(tmp_path: Path) -> None:
    names = photos(tmp_path, "train/p{}.jpg")
    written(tmp_path / "points.csv", titles_of("{c}{k}"), names)
    written(tmp_path / "train/points.csv", titles_of("{c}{k}"), [name[6:] for name in names])
    assert (
        "train/points.csv is not read, as the images of its folder are in points.csv." in data.open(tmp_path).problems
    )


def test_tables_and_folders_give_splits(tmp_path: Path) -> None:
    for part, rows in {"training": range(5), "test": range(5, 8)}.items():
        names = [f"{part}/p{i}.jpg" for i in rows]
        for name in names:
            photo(tmp_path / name, SIZE)
        written(
            tmp_path / f"{part}_points.csv", titles_of("{c}{k}"), [Path(name).name for name in names], xy=XY[list(rows)]
        )
    found = data.open(tmp_path)
    assert [*found["test"].names] == ["test/p5.jpg", "test/p6.jpg", "test/p7.jpg"]
    assert points(found)["test/p6.jpg"] == XY[6].tolist()


def test_semicolons_with_decimal_commas(tmp_path: Path) -> None:
    written(tmp_path / "points.csv", titles_of("{c}{k}"), photos(tmp_path), ";")
    (tmp_path / "points.csv").write_text("\ufeff" + (tmp_path / "points.csv").read_text().replace(".5", ",5"))
    assert points(data.open(tmp_path))["p3.jpg"] == XY[3].tolist()


@pytest.mark.parametrize("pts_files", [False, True])
def test_points_in_a_unit_square_count_shares_of_the_sides(tmp_path: Path, pts_files: bool) -> None:
    names, xy = photos(tmp_path), XY / 32
    if pts_files:
        for i in range(N):
            pts(tmp_path / f"p{i}.pts", xy[i])
    else:
        written(tmp_path / "points.csv", titles_of("{c}{k}"), names, xy=xy)
    found = data.open(tmp_path)
    assert "Points lie between 0 and 1: they count shares of the width and height of their images." in found.notes
    assert np.allclose(points(found)["p5.jpg"], xy[5] * (40, 30), rtol=1e-4)


@pytest.mark.parametrize(
    ("line", "sentence"),
    [
        ("p0.jpg,1,2,3,4,a,6,7,8", "points.csv': a coordinate of 2 is 'a', not a number in line 2; correct the file."),
        ("p0.jpg,1,2,3,4,inf,6,7,8", "points.csv': a coordinate of 2 is 'inf', not a finite number in line 2;"),
        ("p0.jpg,1,2,3", "points.csv': has 4 cells and its first row 9 in line 2; correct the file."),
    ],
)
def test_a_broken_row_is_named_with_its_line(tmp_path: Path, line: str, sentence: str) -> None:
    written(tmp_path / "points.csv", titles_of("{c}{k}"), photos(tmp_path))
    rows = (tmp_path / "points.csv").read_text().splitlines()
    (tmp_path / "points.csv").write_text("\n".join([rows[0], line, *rows[2:]]))
    assert sentence in refused(tmp_path)


@pytest.mark.parametrize(
    "content",
    [
        "filename,width,height,class,xmin,ymin,xmax,ymax\n"
        + "\n".join(f"p{i}.jpg,40,30,cat,1,2,8,9" for i in range(N)),
        "path,x1,y1,x2,y2,class_name\n" + "\n".join(f"p{i}.jpg,1,2,8,9,cat" for i in range(N)),
        "image,x1,y1,x2,y2\n" + "\n".join(f"p{i}.jpg,1,2,8,9" for i in range(N)),
        "image,x,y,width,height\n" + "\n".join(f"p{i}.jpg,1,2,8,9" for i in range(N)),
        "\n".join(f"p{i}.jpg,1,2,8,9,0" for i in range(N)),
        "image,age,weight\n" + "\n".join(f"p{i}.jpg,1,2" for i in range(N)),
    ],
)
def test_tables_of_boxes_and_numbers_are_no_points(tmp_path: Path, content: str) -> None:
    photos(tmp_path)
    (tmp_path / "table.csv").write_text(content)
    found = data.open(tmp_path)
    assert not {"points", "text"} & set(found["train"].targets)
    assert "1 file is not read as an image and is left out: table.csv." in found.problems


def test_outlines_of_classes_beside_images_that_are_called_by_numbers_are_no_points(tmp_path: Path) -> None:
    photos(tmp_path, "{}.jpg")
    for i in range(N):
        (tmp_path / f"{i}.txt").write_text("7 0.1 0.2 0.3 0.4 0.5 0.6 0.1 0.2\n1 0.1 0.2 0.3 0.4 0.5 0.6 0.1 0.2\n")
    assert not point_tables.fits(tmp_path, walk(tmp_path))


# -- .pts


def pts(file: Path, xy: NDArray[np.float64], header: bool = True) -> None:
    rows = [f"{x:g} {y:g}" for x, y in xy]
    file.write_text("\n".join(["version: 1", f"n_points:  {len(xy)}", "{", *rows, "}"] if header else rows) + "\n")


@pytest.mark.parametrize(
    ("header", "edge", "first", "note"),
    [
        (True, None, 1, "Points count from 1, as in the .pts files of 300-W"),
        (False, None, 0, "Points count from 0, as nothing says otherwise."),
        (True, 0, 0, "Points count from 0: some coordinates are 0."),
        (
            False,
            40,
            1,
            "Points count from 1: some coordinates are the width or the height of their images; 1 is subtracted.",
        ),
    ],
)
def test_pts_files_count_from_0_or_from_1(
    tmp_path: Path, header: bool, edge: int | None, first: int, note: str
) -> None:
    photos(tmp_path)
    xy = np.floor(XY) if edge is not None else XY.copy()
    if edge is not None:
        xy[2, 1, 0] = edge
    for i in range(N):
        pts(tmp_path / f"p{i}.pts", xy[i], header)
    found = data.open(tmp_path)
    assert points(found) == {f"p{i}.jpg": (xy[i] - first).tolist() for i in range(N)}
    assert note in said(found)


def test_missing_points_in_pts_files_and_files_without_image(tmp_path: Path) -> None:
    photos(tmp_path)
    for i in range(N):
        pts(tmp_path / f"p{i}.pts", XY[i], False)
    (tmp_path / "p0.pts").write_text("-1 -1\nnan nan\n3.5 4.5\n-1 7.5\n")
    pts(tmp_path / "gone.pts", XY[0])
    photo(tmp_path / "bare.jpg", SIZE)
    found = data.open(tmp_path)
    own = points(found)["p0.jpg"]
    assert np.isnan(own[:2]).all() and own[2] == [3.5, 4.5]
    assert "1 file of points has no image and is left out (gone.pts)." in found.problems
    assert "1 image has no annotation and is left out (bare.jpg)." in found.problems


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        ("version: 1\nn_points: 3\n{\n1 2\n3 4\n}\n", "p0.pts': says n_points: 3 and has 2 points; correct the file."),
        ("1 2\n3\n", "p0.pts': has 1 number where x and y of a point are expected in line 2;"),
        ("n_points: many\n", "p0.pts': has n_points: many, which is no count in line 1;"),
        ("{\n1 2\n}\n3 4", "p0.pts': has more after its last brace in line 4;"),
        ("1 b\n", "p0.pts': a coordinate is 'b', not a number in line 1;"),
        ("1 inf\n", "p0.pts': has a coordinate that is infinite in line 1;"),
    ],
)
def test_broken_pts_files_are_named_with_their_line(tmp_path: Path, content: str, sentence: str) -> None:
    photos(tmp_path)
    (tmp_path / "p0.pts").write_text(content)
    assert sentence in refused(tmp_path)


# -- real faces


def test_faces_open_and_say_what_they_leave_out(real: Callable[[str], Path]) -> None:
    top = real("faces68")
    found = data.open(top)
    assert sum(map(len, found.splits.values())) == 69
    assert {len(own) for own in points(found).values()} == {68}
    rows = {row["image_name"]: row for row in csv.DictReader((top / "face_landmarks.csv").read_text().splitlines())}
    truth = [float(rows["0805.jpg"][f"part_30_{c}"]) for c in "xy"]
    assert points(found)["0805.jpg"][30] == truth
    assert "The folder helen has a table of its own (helen/face_landmarks.csv) and is left out with 500 images" in said(
        found
    )
    assert sum(map(len, data.open(top / "helen").splits.values())) == 500
