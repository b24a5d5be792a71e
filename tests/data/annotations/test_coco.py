"""COCO files as people have them."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from cocosets import CATS, SMALL, pictures, write
from faster_coco_eval import mask as run_lengths
from PIL import Image

from pellucid.data import open
from pellucid.data.annotations.coco_values import _decompressed
from pellucid.data.formats import coco
from pellucid.data.formats.finding import walk
from pellucid.data.masks import VOID, Masks
from pellucid.data.targets import Boxes, Points, target_of
from pellucid.errors import DataError


def first(folder: Path, *annotations: dict[str, Any], **more: Any) -> Any:
    """The record of the first image of a folder with one COCO file."""
    pictures(folder, "images/a.png", "images/b.png", "images/c.png")
    write(folder / "all.json", ["a.png", "b.png", "c.png"], annotations, **more)
    data = open(folder)
    records = {one.file: one for split in data.splits.values() for one in split.annotations}
    return records["images/a.png"], data


def boxes(data: Any, part: str = "train") -> Boxes:
    return target_of(data[part].targets, "boxes", Boxes)


# -- what an annotation says


def test_boxes_polygons_run_lengths_and_crowds_are_read(tmp_path: Path) -> None:
    region = np.zeros(SMALL, np.uint8)
    region[2:8, 3:9] = 1
    packed = run_lengths.encode(np.asfortranarray(region))
    flat = region.T.reshape(-1)
    plain = np.diff([0, *(np.flatnonzero(np.diff(flat)) + 1).tolist(), flat.size]).tolist()
    record, _ = first(
        tmp_path,
        {"bbox": [1, "2.5", 3, 4.25]},
        {"segmentation": [[1, 1, 5, 1, 5, 5, 1, 5]], "category_id": 2},
        {"segmentation": {"size": list(SMALL), "counts": plain}, "iscrowd": 1},
        {"segmentation": {"size": list(SMALL), "counts": packed["counts"].decode()}},
    )
    assert [one.box for one in record.instances] == [(1, 2.5, 4, 6.75), (1, 1, 5, 5), (3, 2, 9, 8), (3, 2, 9, 8)]
    assert [one.category for one in record.instances] == ["cell", "nucleus", "cell", "cell"]
    assert [one.crowd for one in record.instances] == [False, False, True, False]


def test_run_lengths_are_unpacked_as_by_the_library_of_coco() -> None:
    rng = np.random.default_rng(3)
    for _ in range(30):
        region = (rng.random((rng.integers(1, 60), rng.integers(1, 60))) < rng.random()).astype(np.uint8)
        packed = run_lengths.encode(np.asfortranarray(region))
        flat = np.concatenate([[0], region.T.reshape(-1)])
        edges = np.flatnonzero(np.diff(flat))
        expected = np.diff([0, *edges.tolist(), region.size])
        assert _decompressed(packed["counts"].decode()).tolist() == expected.tolist()


def test_masks_are_painted_from_outlines_with_crowds_void(tmp_path: Path) -> None:
    square = {"segmentation": [[2, 2, 6, 2, 6, 6, 2, 6]], "category_id": 2}
    crowd = {"segmentation": {"size": list(SMALL), "counts": [0, 20, 580]}, "iscrowd": 1}
    record, data = first(tmp_path, square, crowd)
    part, i = next((p, s.names.index(record.file)) for p, s in data.splits.items() if record.file in s.names)
    mask = target_of(data[part].targets, "mask", Masks).sources[i].read()
    expected = np.zeros(SMALL, np.uint8)
    expected[2:6, 2:6], expected[:, 0] = 2, VOID
    assert np.array_equal(mask, expected)
    assert data.mask_classes == ("background", "cell", "nucleus")


def test_keypoints_that_are_not_marked_are_missing(tmp_path: Path) -> None:
    people = [{"id": 1, "name": "person", "keypoints": ["nose", "left_eye", "right_eye"], "skeleton": [[1, 2]]}]
    marked = {"keypoints": [3, 4, 2, 5, 6, 1, 0, 0, 0], "bbox": [0, 0, 10, 10]}
    hidden = {"keypoints": [0] * 9, "bbox": [0, 0, 20, 20]}  # larger, and without any point
    record, data = first(tmp_path, marked, hidden, categories=people)
    part, i = next((p, s.names.index(record.file)) for p, s in data.splits.items() if record.file in s.names)
    xy = target_of(data[part].targets, "points", Points).xy
    assert np.allclose(xy[i].numpy(), [[3, 4], [5, 6], [np.nan, np.nan]], equal_nan=True)
    assert coco.read(tmp_path, walk(tmp_path), ["all.json"]).point_names == ("nose", "left_eye", "right_eye")


def test_a_box_that_was_turned_in_cvat_becomes_the_box_around_it(tmp_path: Path) -> None:
    turned = {"bbox": [5, 8, 10, 4], "attributes": {"rotation": 90.0}, "segmentation": []}
    record, _ = first(tmp_path, turned)
    assert np.allclose(record.instances[0].box, (8, 5, 12, 15))
    assert len(record.instances[0].polygons) == 1


def test_boxes_are_mended_and_the_image_stays(tmp_path: Path) -> None:
    flat, backwards, beyond = [5, 5, 0, 3], [9, 9, -4, -4], [25, 10, 20, 5]
    nowhere = [float("nan"), 1, 2, 3]
    record, data = first(tmp_path, *({"bbox": box} for box in (flat, backwards, beyond, nowhere)))
    assert [one.box for one in record.instances] == [(5, 5, 9, 9), (25, 10, 30, 15)]
    assert {
        "1 box has no area and is dropped (images/a.png).",
        "1 box has its corners exchanged, which are sorted (images/a.png).",
        "1 box reaches beyond its image and is clipped (images/a.png).",
        "1 object is not finite and is dropped (images/a.png).",
    } <= set(data.problems)


def test_height_and_width_that_a_tool_exchanged_are_mended(tmp_path: Path) -> None:
    """https://github.com/HumanSignal/label-studio/issues/6608"""
    pictures(tmp_path, "a.png", "b.png", "c.png")
    write(tmp_path / "all.json", ["a.png", "b.png", "c.png"], [{"bbox": [25, 1, 3, "281.70000076293945"]}])
    content = json.loads((tmp_path / "all.json").read_text())
    content["images"][0].update(height=SMALL[1], width=SMALL[0])
    (tmp_path / "all.json").write_text(json.dumps(content))
    data = open(tmp_path)
    assert [one.instances[0].box for own in data.splits.values() for one in own.annotations if one.instances] == [
        (25, 1, 28, 20)
    ]
    assert "1 annotation has height and width exchanged, which is mended (a.png)." in data.problems


# -- categories


@pytest.mark.parametrize("ids", [(1, 2), (0, 1), (7, 90), ("3", "x")])
def test_classes_go_by_name_whatever_the_ids(tmp_path: Path, ids: tuple[Any, Any]) -> None:
    categories = [{"id": key, "name": name} for key, name in zip(ids, ("b", "a"), strict=True)]
    record, data = first(tmp_path, {"bbox": [0, 0, 2, 2], "category_id": ids[1]}, categories=categories)
    assert data.classes == ("b", "a")
    assert record.instances[0].category == "a"
    assert any("gaps" in note for note in data.notes) == (ids == (7, 90))


def test_a_category_above_others_is_no_class(tmp_path: Path) -> None:
    categories = [{"id": 0, "name": "cells", "supercategory": "none"}] + [
        {"id": i + 1, "name": name, "supercategory": "cells"} for i, name in enumerate(("RBC", "WBC"))
    ]
    _, data = first(tmp_path, {"bbox": [0, 0, 2, 2], "category_id": 2}, categories=categories)
    assert data.classes == ("RBC", "WBC")
    assert "The category cells is above others, has no objects and is no class." in data.notes
    _, data = first(tmp_path, {"bbox": [0, 0, 2, 2], "category_id": 0}, categories=categories)
    assert data.classes == ("cells", "RBC", "WBC")


def test_categories_of_several_files_are_the_same_by_name(tmp_path: Path) -> None:
    pictures(tmp_path, "train/a.png", "valid/b.png", "test/c.png")
    for part, ids in (("train", (1, 2)), ("valid", (2, 1)), ("test", (5, 9))):
        categories = [{"id": key, "name": name} for key, name in zip(ids, ("cell", "nucleus"), strict=True)]
        name = {"train": "a.png", "valid": "b.png", "test": "c.png"}[part]
        box = {"bbox": [0, 0, 2, 2], "category_id": ids[1]}
        write(tmp_path / part / "_annotations.coco.json", [name], [box], categories)
    data = open(tmp_path)
    assert data.classes == ("cell", "nucleus")
    assert [boxes(data, part).labels[0].tolist() for part in ("train", "val", "test")] == [[1]] * 3


def test_categories_of_one_name_are_one_class_and_it_is_said(tmp_path: Path) -> None:
    categories = [{"id": 1, "name": "a"}, {"id": 2, "name": "b"}, {"id": 3, "name": "a"}]
    record, data = first(tmp_path, {"bbox": [0, 0, 2, 2], "category_id": 3}, categories=categories)
    assert data.classes == ("a", "b") and record.instances[0].category == "a"
    assert "a is the name of several categories, which are one class." in data.notes


def test_shares_where_pixels_are_expected_are_doubted(tmp_path: Path) -> None:
    _, data = first(tmp_path, {"bbox": [0.25, 0.5, 0.5, 0.25]})
    assert any(
        said.startswith("No box reaches beyond the first pixel of its image: the numbers may be shares")
        for said in data.problems
    )
    _, data = first(tmp_path, {"bbox": [0.25, 0.5, 0.5, 0.25]}, {"bbox": [0, 0, 2, 2]})
    assert not any("first pixel" in said for said in data.problems)


def test_without_categories_the_ids_are_the_classes(tmp_path: Path) -> None:
    _, data = first(tmp_path, {"bbox": [0, 0, 2, 2], "category_id": 12}, categories=None)
    assert data.classes == ("12",)
    assert "all.json has no categories: classes are called by their ids (12)." in data.problems


# -- images


def test_images_without_annotations_are_negatives_and_counted(tmp_path: Path) -> None:
    _, data = first(tmp_path, {"bbox": [0, 0, 2, 2]})
    assert "Read as COCO: 3 images, 1 object, 2 without any." in data.notes
    assert sum(len(split) for split in data.splits.values()) == 3


def test_annotations_of_images_that_are_not_listed_are_dropped_and_counted(tmp_path: Path) -> None:
    _, data = first(tmp_path, {"bbox": [0, 0, 2, 2]}, {"bbox": [0, 0, 2, 2], "image_id": 99})
    said = "1 annotation of all.json belongs to no image that is listed and is dropped (image id 99)."
    assert said in data.problems


@pytest.mark.parametrize(
    ("layout", "names"),
    [
        ({"train.json": "images/a.png", "test.json": "images/b.png"}, ("a.png", "b.png")),
        ({"annotations/instances_train2017.json": "train2017/a.png",
          "annotations/instances_val2017.json": "val2017/a.png"}, ("a.png", "a.png")),
        ({"annotations/train.json": "data/deep/a.png", "annotations/val.json": "data/b.png"},
         ("C:\\photos\\a.png", "https://x.org/b.png?v=1")),
        ({"train/_annotations.coco.json": "train/a.png", "valid/_annotations.coco.json": "valid/a.png"}, ("a.png", "a.png")),
        ({"train.json": "images/지단.png", "val.json": "images/사진 1/b.png"}, ("지단.png", "사진 1/b.png")),
        ({"labels/train.json": "x/a.png", "labels/val.json": "x/b.png"}, ("../x/a.png", "./b.png")),
    ],
)  # fmt: skip
def test_images_are_found_where_they_lie(tmp_path: Path, layout: dict[str, str], names: tuple[str, str]) -> None:
    pictures(tmp_path, *layout.values())
    for (file, _), name in zip(layout.items(), names, strict=True):
        write(tmp_path / file, [name], [{"bbox": [0, 0, 2, 2]}])
    found = coco.read(tmp_path, walk(tmp_path), coco.fits(tmp_path, walk(tmp_path)))
    assert [(one.source, one.file) for one in found.images] == sorted(layout.items())
    parts = [one.part for one in found.images]
    assert parts == [
        "val" if "val" in one.source else "test" if "test" in one.source else "train" for one in found.images
    ]


def test_images_that_have_an_address_alone_are_found(tmp_path: Path) -> None:
    pictures(tmp_path, "train2017/1.png", "val2017/1.png")
    images = [{"id": 1, "coco_url": "http://images.cocodataset.org/val2017/1.png"}]
    (tmp_path / "lvis.json").write_text(json.dumps({"images": images, "annotations": [], "categories": CATS}))
    assert [one.file for one in coco.read(tmp_path, walk(tmp_path), ["lvis.json"]).images] == ["val2017/1.png"]


def test_a_name_that_may_mean_several_images_is_refused(tmp_path: Path) -> None:
    pictures(tmp_path, "x/a.png", "y/a.png")
    write(tmp_path / "all.json", ["a.png"], [{"bbox": [0, 0, 2, 2]}])
    with pytest.raises(DataError, match=r"all\.json': the image 'a\.png' can be x/a\.png or y/a\.png in line 1;"):
        open(tmp_path)
    write(tmp_path / "all.json", ["y/a.png"], [{"bbox": [0, 0, 2, 2]}])
    assert [one.file for one in coco.read(tmp_path, walk(tmp_path), ["all.json"]).images] == ["y/a.png"]


def test_an_image_that_is_missing_from_its_folder_is_not_taken_from_another(tmp_path: Path) -> None:
    pictures(tmp_path, "cam1/b.png", "cam2/a.png", "cam2/b.png", "cam2/c.png")
    write(tmp_path / "all.json", ["cam1/a.png", "cam2/b.png", "cam2/c.png", "cam1/b.png"], [{"bbox": [0, 0, 2, 2]}])
    data = open(tmp_path)
    assert "1 annotation has no image and is dropped (cam1/a.png)." in data.problems
    assert not any(one.instances for split in data.splits.values() for one in split.annotations)


def test_a_name_cannot_lead_out_of_the_folder(tmp_path: Path) -> None:
    pictures(tmp_path, "secret.png", "data/b.png", "data/c.png", "data/d.png")
    write(
        tmp_path / "data/all.json",
        [str(tmp_path / "secret.png"), "../secret.png", "b.png", "c.png", "d.png", "x" * 5000],
    )
    data = open(tmp_path / "data")
    assert sorted(name for split in data.splits.values() for name in split.names) == ["b.png", "c.png", "d.png"]


# -- which file


def test_instances_and_keypoints_of_the_same_images_are_told_apart_by_path(tmp_path: Path) -> None:
    pictures(tmp_path, "images/a.png", "images/b.png")
    people = [{"id": 1, "name": "person", "keypoints": ["nose"]}]
    for part, name in (("train", "a.png"), ("val", "b.png")):
        write(tmp_path / f"annotations/instances_{part}2017.json", [name], [{"bbox": [0, 0, 2, 2]}])
        point = {"bbox": [0, 0, 2, 2], "keypoints": [1, 1, 2]}
        write(tmp_path / f"annotations/person_keypoints_{part}2017.json", [name], [point], people)
        captions = [{"id": 1, "image_id": 10, "caption": "a picture"}]
        write(tmp_path / f"annotations/captions_{part}2017.json", [name], categories=None, annotations=captions)
    with pytest.raises(
        DataError, match=r"instances_train2017\.json and .*person_keypoints_train2017\.json annotate the same"
    ):
        open(tmp_path)
    data = open(tmp_path / "annotations" / "person_keypoints_train2017.json")
    assert data.classes == ("person",)
    assert [len(data[part]) for part in ("train", "val")] == [1, 1]  # the other split comes along
    assert "points" in data["train"].targets


def test_the_whole_beside_its_parts_is_refused(tmp_path: Path) -> None:
    pictures(tmp_path, "images/a.png", "images/b.png")
    for file, names in {"all.json": ["a.png", "b.png"], "train.json": ["a.png"], "val.json": ["b.png"]}.items():
        write(tmp_path / file, names, [{"bbox": [0, 0, 2, 2]}])
    with pytest.raises(DataError, match=r"all\.json and train\.json annotate the same images; choose by the path"):
        open(tmp_path)
    assert [len(open(tmp_path / "train.json")[part]) for part in ("train", "val")] == [1, 1]


@pytest.mark.parametrize(
    "content",
    [
        [{"image_id": 1, "category_id": 1, "bbox": [0, 0, 1, 1], "score": 0.5}],  # results
        {"shapes": [], "imagePath": "a.png", "imageData": "x" * 100_000},
        {"images": [1], "name": "mine"},
        {"categories": []},
        "annotations",
    ],
)
def test_other_json_files_are_not_taken_for_coco(tmp_path: Path, content: object) -> None:
    (tmp_path / "a.json").write_text(json.dumps(content))
    assert coco.fits(tmp_path, walk(tmp_path)) == []


@pytest.mark.parametrize("order", ["ianc", "inca", "cina", "aicn", "cani"])
@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig"])
def test_large_files_are_known_by_their_beginning_and_end(tmp_path: Path, order: str, encoding: str) -> None:
    parts = {
        "i": ("images", [{"id": i, "file_name": f"{i:08}.png"} for i in range(5000)]),
        "a": ("annotations", [{"id": i, "image_id": 0, "category_id": 1, "bbox": [0, 0, 1, 1]} for i in range(5000)]),
        "c": ("categories", CATS), "n": ("info", {}),
    }  # fmt: skip
    text = json.dumps({parts[key][0]: parts[key][1] for key in order}, indent=1)
    (tmp_path / "a.json").write_text(text, encoding=encoding)
    assert coco.fits(tmp_path, walk(tmp_path)) == ["a.json"]


# -- real


@pytest.mark.data
def test_pedestrians_open_without_an_option(real: Callable[[str], Path]) -> None:
    data = open(real("pedestrians"))
    assert data.classes == ("pedestrian",)
    assert "Read as COCO: 140 images, 342 objects, 0 without any." in data.notes
    assert "The single category has the id 7: classes go by name, so pedestrian is the only one." in data.notes
    assert sum(len(own) for part in data.splits for own in boxes(data, part).labels) == 342
    assert {int(i) for part in data.splits for own in boxes(data, part).labels for i in own} == {0}
    masks = target_of(data["test"].targets, "mask", Masks)
    assert len(data["test"]) == 30
    assert set(np.unique(masks.sources[0].read()).tolist()) == {0, 1}
    assert len(data["train"]) + len(data["val"]) == 110


@pytest.mark.slow
def test_a_thousand_images_open_in_a_second(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    names = [f"{i:04}.png" for i in range(1000)]
    (tmp_path / "images").mkdir()
    for i, name in enumerate(names):
        Image.fromarray(np.full((*SMALL, 3), rng.integers(0, 255, 3), np.uint8) + np.uint8(i % 7)).save(
            tmp_path / "images" / name
        )
    outline = (rng.random(60) * 20).tolist()
    write(tmp_path / "all.json", names, [{"image_id": 10 + i % 1000, "segmentation": [outline]} for i in range(7000)])
    open(tmp_path)  # the images' sizes are known from now on
    start = time.process_time()
    assert len(open(tmp_path)["train"]) > 600
    assert time.process_time() - start < 2  # 0.6 s on the machine it was written on
