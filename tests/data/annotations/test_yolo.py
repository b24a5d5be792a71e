"""YOLO as people have it: settings of other machines, labels in every usual place, rows of every kind."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from pellucid.data import open
from pellucid.data.dataset import Dataset
from pellucid.data.formats import point_tables
from pellucid.data.targets import Boxes, Points, target_of
from pellucid.errors import DataError

SIZE = (20, 40)  # H, W


def picture(file: Path, size: tuple[int, int] = SIZE, orientation: int = 1) -> None:
    """A random picture of (H, W) as it is stored, with an EXIF orientation."""
    file.parent.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng([*size, *"/".join(file.parts[-2:]).encode()])  # no two alike
    image = Image.fromarray(rng.integers(0, 255, (*size, 3), np.uint8))
    exif = image.getexif()
    exif[0x0112] = orientation
    image.save(file, exif=exif)


def text(file: Path, content: str) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(content, encoding="utf-8")


YAML = "train: images/train\nval: images/val\ntest: images/test\n"
NAMES = "names: [cat, dog]\n"


@pytest.fixture
def top(tmp_path: Path) -> Path:
    """A data set with an image in each split; tests write train's label and the settings."""
    for part in ("train", "val", "test"):
        picture(tmp_path / f"images/{part}/{part}.png")
        text(tmp_path / f"labels/{part}/{part}.txt", "0 0.5 0.5 0.5 0.5\n")
    text(tmp_path / "data.yaml", YAML + NAMES)
    return tmp_path


def label(top: Path, *rows: str) -> None:
    text(top / "labels/train/train.txt", "\n".join(rows))


def corners(data: Dataset, part: str = "train") -> dict[str, list[list[float]]]:
    boxes = target_of(data[part].targets, "boxes", Boxes)
    return {Path(name).stem: own.tolist() for name, own in zip(data[part].names, boxes.corners, strict=True)}


def said(data: Dataset, words: str) -> bool:
    return any(words in sentence for sentence in (*data.problems, *data.notes))


def counts(data: Dataset) -> dict[str, int]:
    return {part: len(split) for part, split in data.splits.items()}


# -- rows


def test_a_box_is_its_centre_and_size_as_shares(top: Path) -> None:
    label(top, "1 0.25 0.5 0.1 0.2", "", "0.0 0.5 0.5 1 1")
    data = open(top)
    assert data.classes == ("cat", "dog")
    boxes = target_of(data["train"].targets, "boxes", Boxes)
    np.testing.assert_allclose(boxes.corners[0], [[8, 8, 12, 12], [0, 0, 40, 20]], atol=1e-5)
    assert boxes.labels[0].tolist() == [1, 0]
    assert "Read as YOLO: 3 images, 4 objects, 0 without any." in data.notes


def test_an_image_turned_by_exif_is_annotated_upright(top: Path) -> None:
    picture(top / "images/train/train.png", (20, 40), orientation=6)  # upright it is 40×20
    label(top, "0 0.25 0.5 0.5 0.25")
    data = open(top)
    assert data["train"].images.sizes.tolist() == [[40, 20]]
    assert corners(data)["train"] == [[0, 15, 10, 25]]


def test_outlines_and_turned_boxes_are_polygons(top: Path) -> None:
    label(top, "0 0.1 0.1 0.5 0.1 0.1 0.5", "1 0.5 0.25 0.75 0.5 0.5 0.75 0.25 0.5")
    for part in ("val", "test"):
        text(top / f"labels/{part}/{part}.txt", "0 0 0 0.5 0 0.5 0.5 0 0.5\n")
    data = open(top)
    np.testing.assert_allclose(corners(data)["train"], [[4, 2, 20, 10], [10, 5, 30, 15]])
    outline = data["train"].annotations[0].instances[1].polygons[0]
    np.testing.assert_allclose(outline, [[20, 5], [30, 10], [20, 15], [10, 10]])
    assert data.mask_classes == ("background", "cat", "dog")
    mask = data["val"].targets["mask"].loaded().classes[0]  # type: ignore[attr-defined]
    assert mask[:10, :20].eq(1).all() and mask.sum() == 200


@pytest.mark.parametrize("each", [2, 3])
def test_keypoints(top: Path, each: int) -> None:
    text(
        top / "data.yaml",
        f"{YAML}{NAMES}kpt_shape: [3, {each}]\nflip_idx: [0, 2, 1]\nkpt_names:\n  0: [nose, left, right]\n",
    )
    points = {2: "0.5 0.5 0 0 1 1", 3: "0.5 0.5 2 0.7 0.7 0 1 1 1"}[each]
    for part in ("train", "val", "test"):
        text(top / f"labels/{part}/{part}.txt", f"1 0.5 0.5 0.5 0.5 {points}\n")
    data = open(top)
    xy = target_of(data["train"].targets, "points", Points).xy[0].tolist()
    assert xy[0] == [20, 10] and xy[2] == [40, 20]
    assert np.isnan(xy[1]).all()
    assert corners(data)["train"] == [[10, 5, 30, 15]]


def test_values_just_beyond_the_image_are_rounding(top: Path) -> None:
    label(top, "0 0.9 0.5 0.2002 1.0004", "0 -0.001 0.1 0.5 0.1 0.5 1.003")
    np.testing.assert_allclose(corners(open(top))["train"], [[31.996, 0, 40, 20], [0, 2, 20, 20]], atol=1e-4)


def test_rows_that_stand_twice_count_once_and_boxes_of_no_area_are_dropped(top: Path) -> None:
    label(top, "0 0.5 0.5 0.5 0.5", "0 0.50 0.5 0.5 0.5", "1 0.5 0.5 0 0.1")
    data = open(top)
    assert corners(data)["train"] == [[10, 5, 30, 15]]
    assert "1 row occurs twice in its file and counts once (labels/train/train.txt)." in data.problems
    assert "1 box has no area and is dropped (images/train/train.png)." in data.problems


@pytest.mark.parametrize(
    ("row", "sentence"),
    [
        ("2 0.5 0.5 0.1 0.1", "has the class 2, and the names are of 0, 1, in line 2; add its name"),
        ("-1 0.5 0.5 0.1 0.1", "has the class -1, which is not a whole number from 0, in line 2"),
        ("0.5 0.5 0.5 0.1 0.1", "has the class 0.5, which is not a whole number"),
        ("0 0.5 0.5 0.1 0.1 0.98", "has 6 columns, as predictions with a confidence have, in line 2; give the labels"),
        ("0 320 240 64 48", "has 320, where shares of the image's size are at most 1, in line 2; divide pixels"),
        ("0 0.5 -0.5 0.1 0.1", "has -0.5, where shares of the image's size are not negative, in line 2"),
        ("0 0.5 0.5 0.1 -0.005", "has the size 0.1, -0.005, which is negative, in line 2"),
        ("0 nan 0.5 0.1 0.1", "has 'nan', which is not finite, in line 2"),
        ("0 1e400 0.5 0.1 0.1", "has '1e400', which is not finite, in line 2"),
        ("0 0.5 0,5 0.1 0.1", "has '0,5', which is not a number, in line 2"),
        ("0 0.5 0.5", "has 3 columns, where a class and a box are 5, a class and the points of an outline an odd"),
        ("0 0.1 0.1 0.5 0.1 0.1 0.5 0.9", "has 8 columns"),
    ],
)
def test_a_row_that_is_none_is_refused_with_its_file_and_line(top: Path, row: str, sentence: str) -> None:
    label(top, "0 0.5 0.5 0.5 0.5", row)
    with pytest.raises(DataError, match=f"labels/train/train.txt': {sentence}"):
        open(top)


def test_rows_without_their_keypoints_are_refused(top: Path) -> None:
    text(top / "data.yaml", f"{YAML}{NAMES}kpt_shape: [2, 3]\n")
    with pytest.raises(DataError, match=r"has 5 columns, and kpt_shape \[2, 3\] makes 11, in line 1"):
        open(top)


# -- settings


def test_names_as_a_mapping_with_gaps_and_words_that_yaml_reads_as_other_things(top: Path) -> None:
    text(top / "data.yaml", f"{YAML}nc: 8\nnames:\n  0: no\n  3: 007\n  7: 2024-01-01\n")
    label(top, "7 0.5 0.5 0.5 0.5", "3 0.5 0.5 0.5 0.5", "0 0.5 0.5 0.5 0.5")
    data = open(top)
    assert data.classes == ("no", "007", "2024-01-01")
    assert target_of(data["train"].targets, "boxes", Boxes).labels[0].tolist() == [2, 1, 0]
    label(top, "1 0.5 0.5 0.5 0.5")
    with pytest.raises(DataError, match="has the class 1, and the names are of 0, 3, 7, in line 1"):
        open(top)


def test_one_name_for_two_numbers_stays_two_classes(top: Path) -> None:
    text(top / "data.yaml", f"{YAML}names: [N/A, cat, N/A]\n")
    assert open(top).classes == ("N/A (0)", "cat", "N/A (2)")


@pytest.mark.parametrize("name", ["dataset.yaml", "coco8.yml"])
@pytest.mark.parametrize("folder", ["/content/drive/set", "C:\\Users\\me\\set", "../datasets/set", "."])
def test_paths_of_another_machine_are_found_here_and_said(top: Path, name: str, folder: str) -> None:
    (top / "data.yaml").unlink()
    text(top / name, f"path: {folder}\n{YAML}{NAMES}")
    data = open(top)
    assert counts(data) == {"train": 1, "val": 1, "test": 1}
    assert said(data, "which is not here: its own folder counts") == (folder != ".")


def test_places_of_another_machine_are_found_by_their_ends(top: Path) -> None:
    lines = ["train: /content/set/images/train", "val: ../images/val", "test: [images/test/, images/none]", NAMES]
    text(top / "data.yaml", "\n".join(lines))
    data = open(top)
    assert counts(data) == {"train": 1, "val": 1, "test": 1}
    assert said(
        data,
        "data.yaml names places that are not here; others of their names are read (/content/set/images/train: images/train",
    )
    assert said(data, "data.yaml names test images in images/none, which is not there.")


def test_lists_of_images(top: Path) -> None:
    picture(top / "images/train/b.png")
    text(top / "lists/mine.txt", "/home/me/set/images/train/b.png\n./images/train/train.png\nimages/train/gone.png\n")
    text(top / "data.yaml", f"train: lists/mine.txt\nval: images/val\ntest: images/test/*.png\n{NAMES}")
    data = open(top)
    assert corners(data) == {"b": [], "train": [[10, 5, 30, 15]]}
    assert "1 image in lists/mine.txt is not there (images/train/gone.png)." in data.problems


def test_validation_images_that_are_the_training_images_are_not_measured_on(top: Path) -> None:
    for k in range(9):
        picture(top / f"images/train/{k}.png")
    text(top / "data.yaml", f"train: images/train\nval: images/train\n{NAMES}")
    data = open(top)
    assert sum(counts(data).values()) == 10
    assert said(data, "data.yaml names images of train for val: they stay in train, and val is cut from it.")
    assert said(data, "2 images with labels are in no split and are left out")


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        ("names: [a, b\ntrain: x", "is no YAML .* in line 2"),
        ("names:\n\t- a", r"is no YAML \(found character '\\t' that cannot start any token\) in line 2"),
        ("names: !!python/object/apply:os.system ['true']", "has the tag 'python/object/apply:os.system', which is not read, in line 1"),
        ("a: &b [x]\nnames: *b", "has an alias, which is not read, in line 2"),
        ("names: [a]\nnames: [b]", "has the key 'names' twice in line 2"),
        ("names: [a, [b]]", r"names has \['b'\] for the class 1, not a name in line 1"),
        ("nc: 3\nnames: [a, b]", "nc is 3, and names has 2 in line 1"),
        ("names: {a: 0}", "names has a key that is 'a', not a whole number in line 1"),
        (f"{YAML}names: [a]\nkpt_shape: [17]", r"kpt_shape is \['17'\], not the number of keypoints and 2 or 3 in line 5"),
        (f"{NAMES}kpt_shape: [3, 2]\nflip_idx: [1, 2, 0]", "flip_idx is 1, 2, 0, not an exchange of 3 keypoints in pairs in line 3"),
        ("train: images/gone\nnames: [a]", "data.yaml names the train images in images/gone, which is not there"),
        ("names: " + "[" * 5000, "is nested too deeply in line 1"),
        ("names: " + "\n- " + "- " * 5000, "is nested too deeply"),
        ("just words", "has no names of classes"),
        ("names: \x07", r"is no YAML \(special characters are not allowed\) in line 1"),
    ],
)  # fmt: skip
def test_broken_settings_are_refused_with_file_and_line(top: Path, content: str, sentence: str) -> None:
    text(top / "data.yaml", content)
    with pytest.raises(DataError, match=f"{'' if 'names the' in sentence else 'data.yaml.: '}{sentence}"):
        open(top)


def test_two_files_of_settings_are_a_choice(top: Path) -> None:
    text(top / "other.yaml", f"{YAML}names: [x, y]\n")
    with pytest.raises(DataError, match=r"data.yaml and other.yaml both describe it; choose by the path"):
        open(top)
    assert open(top / "other.yaml").classes == ("x", "y")
    assert open(top / "data.yaml").classes == ("cat", "dog")


# -- places


@pytest.mark.parametrize("place", ["{kind}/{part}", "{part}/{kind}", "{part}"])
@pytest.mark.parametrize("names", [True, False])
def test_without_settings_folders_say_the_splits(tmp_path: Path, place: str, names: bool) -> None:
    for part in ("train", "valid", "test"):
        picture(tmp_path / place.format(part=part, kind="images") / "1.png", (20, 30 + len(part)))
        picture(tmp_path / place.format(part=part, kind="images") / "none.png", (20, 50 + len(part)))
        text(tmp_path / place.format(part=part, kind="labels") / "1.txt", "1 0.5 0.5 0.5 0.5\n")
        if names:  # as LabelImg writes it beside the labels
            text(tmp_path / place.format(part=part, kind="labels") / "classes.txt", "cat\ndog\n")
    data = open(tmp_path)
    assert counts(data) == {"train": 2, "val": 2, "test": 2}
    assert [len(own) for own in corners(data, "val").values()] == [1, 0]
    assert data.classes == (("cat", "dog") if names else ("1",))
    assert said(data, "No file names the classes: their numbers are their names.") != names
    assert not said(data, "left out")


def test_a_flat_folder_and_a_picture_beside_it(tmp_path: Path) -> None:
    for k in range(10):
        picture(tmp_path / f"images/{k}.png")
        text(tmp_path / f"labels/{k}.txt", f"{k % 2} 0.5 0.5 0.5 0.5\n")
    picture(tmp_path / "preview.png")
    text(tmp_path / "labels/gone.txt", "0 0.5 0.5 0.5 0.5\n")
    text(tmp_path / "README.txt", "Labels of cats.\n")
    data = open(tmp_path)
    assert sum(counts(data).values()) == 10 and min(counts(data).values()) > 0
    assert "1 label file has no image and is dropped (labels/gone.txt)." in data.problems
    assert "1 image has no annotation and is left out (preview.png)." in data.problems
    assert "1 file is not read as an image and is left out: README.txt." in data.problems


def test_the_last_folder_images_becomes_labels(tmp_path: Path) -> None:
    for part in ("train", "val", "test"):
        picture(tmp_path / f"images/{part}/images/a b.c.png", (20, 30 + len(part)))
        text(tmp_path / f"images/{part}/labels/a b.c.txt", "0 0.5 0.5 0.5 0.5\n")
    data = open(tmp_path)
    assert counts(data) == {"train": 1, "val": 1, "test": 1}
    assert all(len(own) == 1 for own in corners(data).values())


def test_darknet_with_its_lists_and_names(tmp_path: Path) -> None:
    for k in range(6):
        picture(tmp_path / f"obj_train_data/{k}.png")
        text(tmp_path / f"obj_train_data/{k}.txt", "1 0.5 0.5 0.5 0.5\n")
    text(tmp_path / "obj.names", "cat\ndog\n")
    text(tmp_path / "obj.data", "classes = 2\ntrain = data/train.txt\nvalid = data/valid.txt\nnames = data/obj.names\n")
    text(tmp_path / "train.txt", "".join(f"data/obj_train_data/{k}.png\n" for k in range(4)))
    text(tmp_path / "valid.txt", "data/obj_train_data/4.png\ndata/obj_train_data/5.png\n")
    data = open(tmp_path)
    assert len(data["val"]) == 2
    assert data.classes == ("cat", "dog")
    assert not said(data, "not read as")
    (tmp_path / "obj.data").unlink()
    assert len(open(tmp_path)["val"]) == 2


def test_labels_of_no_image_are_refused(top: Path) -> None:
    (top / "labels/train/train.txt").rename(top / "labels/train/other.txt")
    with pytest.raises(
        DataError, match=r"no label file in labels/train has the name of an image \(labels/train/other.txt, where"
    ):
        open(top)
    (top / "data.yaml").unlink()
    with pytest.raises(DataError, match="no label file in labels/train has the name of an image"):
        open(top)


def test_training_images_without_any_label_are_refused_and_test_images_left_out(top: Path) -> None:
    (top / "labels/test/test.txt").unlink()
    data = open(top)
    assert "1 test image has no labels and is left out (images/test/test.png)." in data.problems
    (top / "labels/train/train.txt").unlink()
    with pytest.raises(DataError, match=r"none of its 1 training image \(images/train/train.png\) has a label file"):
        open(top)


def test_two_images_for_one_label_are_refused(top: Path) -> None:
    picture(top / "images/train/train.jpg")
    with pytest.raises(
        DataError, match=r"train.txt belongs to 2 images \(images/train/train.jpg, images/train/train.png\); keep one"
    ):
        open(top)


def test_names_in_other_scripts_and_files_of_a_mac(top: Path) -> None:
    text(top / "data.yaml", f"{YAML}names: [고양이, 狗]\n")
    picture(top / "images/train/지단.png")
    text(top / "labels/train/지단.txt", "1 0.5 0.5 0.5 0.5\n")
    for name in ("images/train/._지단.png", "labels/train/._지단.txt"):
        (top / name).write_bytes(b"\0\5\x16\7")
    data = open(top)
    assert corners(data)["지단"] == [[10, 5, 30, 15]]
    assert data.classes == ("고양이", "狗")


def test_texts_that_are_no_rows_are_no_labels(tmp_path: Path) -> None:
    for k in range(10):
        picture(tmp_path / f"{k}.png")
        text(tmp_path / f"{k}.txt", "Car 0.00 0 1.85 387.63 181.54 423.81 203.12\n")
    from pellucid.data.formats import yolo
    from pellucid.data.formats.finding import walk

    assert yolo.fits(tmp_path, walk(tmp_path)) == []


def test_without_a_test_split_one_is_cut_from_train(top: Path) -> None:
    for k in range(9):
        picture(top / f"images/train/{k}.png")
    text(top / "data.yaml", f"train: images/train\nval: images/val\n{NAMES}")
    data = open(top)
    assert counts(data)["val"] == 1 and counts(data)["test"] > 0
    assert counts(data)["train"] + counts(data)["test"] == 10
    assert not any("test/test" in name for name in data["test"].names)


def test_folders_in_other_scripts(tmp_path: Path) -> None:
    top = tmp_path / "数据集"
    for k in range(6):
        picture(top / f"猫/images/{k}.png")
        text(top / f"猫/labels/{k}.txt", "0 0.5 0.5 0.5 0.5\n")
    text(top / "données.yaml", "train: 猫/images\nnames: [猫]\n")
    data = open(top)
    assert sum(counts(data).values()) == 6
    assert data.classes == ("猫",)


def test_rows_are_no_table_of_points_of_images_that_are_called_like_a_class(
    top: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    picture(top / "images/train/0.png")
    text(top / "labels/train/0.txt", "0 0.1 0.1 0.5 0.1 0.1 0.5\n")
    assert len(open(top)["train"]) == 2
    monkeypatch.setattr(point_tables, "fits", lambda path, found: ["labels/train/0.txt"])
    assert len(open(top)["train"]) == 2
    monkeypatch.setattr(point_tables, "fits", lambda path, found: ["points.csv"])
    with pytest.raises(DataError, match=r"as YOLO \(data.yaml\) and as .* \(points.csv\); choose by the path"):
        open(top)
