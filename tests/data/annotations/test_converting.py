"""The same set in another form: what comes back is what was there, and what cannot is said."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from cocosets import CLASSES, SIZE, coco, picture, records
from faster_coco_eval import mask as run_lengths
from numpy.typing import NDArray
from PIL import Image

from pellucid.data import open
from pellucid.data.annotations import Instance
from pellucid.data.annotations.converting import convert
from pellucid.data.annotations.mending import decoded_runs
from pellucid.data.dataset import Dataset, Pixels, Split
from pellucid.data.embedded.scenes import draw
from pellucid.data.masks import Masks
from pellucid.data.splitting import finish
from pellucid.data.targets import Boxes, Mask, Points, target_of
from pellucid.errors import DataError


def objects(rng: np.random.Generator) -> dict[str, Any]:
    """An annotation of COCO with a box of up to six decimals, with an outline around which it is or not, or with run lengths."""

    def sides(most: int) -> tuple[float, float]:
        places = int(rng.integers(0, 7))
        low, high = sorted(rng.choice(most * 10 ** min(places, 4), 2, replace=False).tolist())
        scale = 10 ** min(places, 4)
        fine = round(float(rng.random()) / scale, places) if places > 4 else 0.0
        return round(low / scale + fine, places), round((high - low) / scale, places)

    (x0, width), (y0, height) = sides(SIZE[1] - 1), sides(SIZE[0] - 1)
    x1, y1 = round(x0 + width, 6), round(y0 + height, 6)
    entry: dict[str, Any] = {"bbox": [x0, y0, width, height], "category_id": int(rng.choice((3, 5, 11)))}
    entry["iscrowd"] = int(rng.random() < 0.2)
    region = np.zeros(SIZE, np.uint8)
    region[3:9, 5 : rng.integers(6, 20)] = 1
    triangle = [x0, y0, x1, y0, x0, y1]
    kinds: list[Any] = [
        [], [triangle], [[1, 1, 5.5, 1, 5.5, 7]], [triangle, [x1, y1, x0, y1, x0, y0]],
        {"size": list(SIZE), "counts": run_lengths.encode(np.asfortranarray(region))["counts"].decode()},
    ]  # fmt: skip
    entry["segmentation"] = kinds[rng.integers(len(kinds))]
    return entry


def outlines(one: Instance) -> Any:
    """What an instance has beside its box, as values that can be compared."""
    runs = None if one.runs is None else decoded_runs(one.runs).tobytes()
    return [part.tolist() for part in one.polygons], runs


def pixels(data: Dataset) -> Mapping[str, NDArray[Any]]:
    return {
        name.rpartition("/")[2]: split.images.read(i, 3)
        for split in data.splits.values()
        for i, name in enumerate(split.names)
    }


def kept(form: str, one: Instance) -> bool:
    """Whether a form has an instance at all: YOLO knows no crowds."""
    return form != "yolo" or not one.crowd


def has_outline(form: str, one: Instance) -> bool:
    """Whether a form has an instance's outline."""
    if form == "voc":
        return bool(one.polygons)
    if form == "yolo":
        around = [*one.polygons[0].min(0), *one.polygons[0].max(0)] if len(one.polygons) == 1 else None
        return around is not None and np.allclose(around, one.box or (), atol=1e-9, rtol=0)
    return True


@pytest.mark.parametrize("seed", range(2))
@pytest.mark.parametrize("form", ["coco", "voc", "yolo"])
def test_what_comes_back_from_another_form_is_what_was_there(tmp_path: Path, form: str, seed: int) -> None:
    rng = np.random.default_rng(seed)
    drawn = [[objects(rng) for _ in range(rng.integers(0, 12))] for _ in range(16)]
    drawn[2] = [{"bbox": [0, 0, 0.5, 1], "category_id": 3}, {"bbox": [10.25, 3, 20.5, 1e-5], "category_id": 11}]
    first = open(coco(tmp_path / "a", drawn))
    convert(first, form, tmp_path / "b")
    between = open(tmp_path / "b")
    convert(between, "coco", tmp_path / "c")
    convert(between, form, tmp_path / "d")
    last, again = open(tmp_path / "c"), open(tmp_path / "d")
    assert first.classes == between.classes == last.classes == again.classes == CLASSES
    before, after, twice = records(first), records(last), records(again)
    assert {key: len(record.instances) for key, record in after.items()} == {
        key: sum(kept(form, one) for one in record.instances) for key, record in before.items()
    }
    for key, record in before.items():
        own = [one for one in record.instances if kept(form, one)]
        for one, other, third in zip(own, after[key].instances, twice[key].instances, strict=True):
            assert other.box == one.box  # to the last digit
            assert np.allclose(third.box or (), one.box or (), atol=1e-12, rtol=0)
            assert (other.category, other.crowd) == (third.category, third.crowd) == (one.category, one.crowd)
            assert outlines(other) == (outlines(one) if has_outline(form, one) else ([], None))
    for part in first.splits:  # to the last bit, as tasks see them
        sets = [target_of(data[part].targets, "boxes", Boxes) for data in (between, last, again)]
        assert all(x.equal(y) and x.equal(z) for x, y, z in zip(*(one.corners for one in sets), strict=True))
    a, b = pixels(first), pixels(last)
    assert a.keys() == b.keys() and all(np.array_equal(a[name], b[name]) for name in a)


@pytest.mark.parametrize("form", ["voc", "yolo"])
def test_files_of_a_form_come_back_from_coco_as_they_were_written(tmp_path: Path, form: str) -> None:
    rng = np.random.default_rng(2)
    drawn = []
    for _ in range(5):
        corners = np.sort(rng.integers(0, 48, (3, 2, 2)), 1).reshape(3, 4).tolist()
        drawn.append([
            {"bbox": [x0, y0, x1 - x0 + 1, y1 - y0 + 1], "category_id": 3} for x0, y0, x1, y1 in corners
        ])  # fmt: skip
    convert(open(coco(tmp_path / "a", drawn)), form, tmp_path / "b")
    convert(open(tmp_path / "b"), "coco", tmp_path / "c")
    convert(open(tmp_path / "c"), form, tmp_path / "d")
    files = sorted(file.relative_to(tmp_path / "b") for file in (tmp_path / "b").rglob("*") if file.is_file())
    assert files == sorted(file.relative_to(tmp_path / "d") for file in (tmp_path / "d").rglob("*") if file.is_file())
    for file in files:
        assert (tmp_path / "b" / file).read_bytes() == (tmp_path / "d" / file).read_bytes(), file


def test_a_box_of_voc_counts_from_one_in_the_file(tmp_path: Path) -> None:
    top = coco(tmp_path / "a", [[{"bbox": [0, 2, 64, 10.5], "category_id": 3}]] * 3)
    convert(open(top), "voc", tmp_path / "b")
    text = next((tmp_path / "b" / "Annotations").glob("val*.xml")).read_text()
    corners = [text.partition(f"<{tag}>")[2].partition("<")[0] for tag in ("xmin", "ymin", "xmax", "ymax")]
    assert corners == ["1", "3", "64", "12.5"]
    assert (tmp_path / "b" / "ImageSets/Main/val.txt").read_text() == "val 사진 0\n"


def test_keypoints_go_to_yolo_and_back_and_are_named_as_lost_in_voc(tmp_path: Path) -> None:
    people = [{"id": 1, "name": "person", "keypoints": ["nose", "left", "right"], "skeleton": [[1, 2], [2, 3]]}]
    for part in ("train", "val", "test"):
        picture(tmp_path / "a/images" / f"{part}.png")
        person = {
            "id": 1,
            "image_id": 1,
            "category_id": 1,
            "bbox": [1, 2, 30, 40],
            "keypoints": [3, 4.5, 2, 0, 0, 0, 7, 8, 1],
        }
        image = {"id": 1, "file_name": f"{part}.png", "height": SIZE[0], "width": SIZE[1]}
        content = {"images": [image], "annotations": [person], "categories": people}
        (tmp_path / "a" / f"{part}.json").write_text(json.dumps(content))
    first = open(tmp_path / "a")
    assert "Pascal VOC cannot hold 3 sets of keypoints: they are left out." in convert(first, "voc", tmp_path / "v")
    convert(first, "yolo", tmp_path / "y")
    convert(open(tmp_path / "y"), "coco", tmp_path / "c")
    back = json.loads((tmp_path / "c/train.json").read_text())
    assert back["annotations"][0]["keypoints"] == [3, 4.5, 2, 0, 0, 0, 7, 8, 1]
    assert back["annotations"][0]["num_keypoints"] == 2
    assert back["categories"][0]["keypoints"] == ["nose", "left", "right"]
    assert target_of(open(tmp_path / "y")["train"].targets, "points", Points).mirror == (0, 2, 1)
    convert(first, "coco", tmp_path / "d")
    assert json.loads((tmp_path / "d/train.json").read_text())["categories"] == people


def test_what_a_form_cannot_hold_is_said(tmp_path: Path) -> None:
    region = {"size": list(SIZE), "counts": [0, 48, 48 * 63]}
    entries = [
        {"bbox": [0, 0, 5, 5], "category_id": 3, "segmentation": [[0, 0, 4, 0, 4, 4]]},
        {"bbox": [0, 0, 1, 48], "category_id": 5, "segmentation": region, "iscrowd": 1},
    ]
    data = open(coco(tmp_path / "a", [entries, [], []]))
    said = convert(data, "yolo", tmp_path / "y")
    assert said[0].startswith("Written as YOLO: 3 images, 2 objects of 4 classes")
    assert said[1:] == [
        "YOLO cannot hold 1 outline that differs from its box and 1 crowd or difficult object: they are left out."
    ]
    assert convert(data, "voc", tmp_path / "v")[1:] == [
        "Pascal VOC cannot hold 1 region as run lengths: it is left out."
    ]
    assert convert(data, "coco", tmp_path / "c")[1:] == []


@pytest.mark.parametrize("form", ["coco", "voc", "yolo"])
def test_a_turned_box_keeps_its_outline_and_its_angle(tmp_path: Path, form: str) -> None:
    """https://github.com/cvat-ai/cvat/issues/4745"""
    turned = {"bbox": [20, 10, 20, 10], "category_id": 3, "attributes": {"rotation": 30.5}}
    first = open(coco(tmp_path / "a", [[turned]] * 3))
    assert convert(first, form, tmp_path / "b")[1:] == []
    before, after = (records(data)["val", "val 사진 0.png"].instances[0] for data in (first, open(tmp_path / "b")))
    assert np.allclose(np.mean(before.polygons[0], 0), (30, 15))
    assert np.allclose(after.polygons[0], before.polygons[0], atol=1e-9, rtol=0)
    assert form == "yolo" or float((after.more or {})["rotation"]) == 30.5


# -- sets that were not read from annotations


def test_scenes_keep_boxes_masks_and_points(tmp_path: Path) -> None:
    scenes = draw({"train": 40, "val": 8, "test": 8})
    said = convert(scenes, "coco", tmp_path / "a")
    assert said[1:] == ["COCO cannot hold 56 classes of whole images: they are left out."]
    back = open(tmp_path / "a")
    assert back.classes == scenes.classes
    for part, split in scenes.splits.items():
        place = {name.rpartition("/")[2]: i for i, name in enumerate(back[part].names)}
        rows = [place[name.replace("/", "-") + ".png"] for name in split.names]
        own = back[part].select(rows)
        for i in range(len(split)):
            boxes, others = (target_of(one.targets, "boxes", Boxes) for one in (split, own))
            assert boxes.corners[i].equal(others.corners[i]) and boxes.labels[i].equal(others.labels[i])
            mask = target_of(split.targets, "mask", Mask).classes[i].numpy()
            assert np.array_equal(mask, target_of(own.targets, "mask", Masks).sources[i].read())
            assert np.array_equal(split.images.read(i, 3), own.images.read(i, 3))
        assert target_of(split.targets, "points", Points).xy.equal(target_of(own.targets, "points", Points).xy)


def test_masks_without_boxes_become_regions_of_classes(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    masks = rng.integers(0, 3, (6, 8, 9)).astype(np.uint8)
    masks[:, 0] = 255
    images = Pixels(rng.integers(0, 255, (6, 3, 8, 9), np.uint8))
    import torch

    names = ("background", "road", "tree")
    data = finish(
        "made", {"train": Split(images, {"mask": Mask(torch.from_numpy(masks))}, [*"abcdef"])}, mask_classes=names
    )
    convert(data, "coco", tmp_path / "a")
    back = open(tmp_path / "a")
    found = {
        name.rpartition("/")[2][0]: target_of(split.targets, "mask", Masks).sources[i].read()
        for split in back.splits.values()
        for i, name in enumerate(split.names)
    }
    assert back.mask_classes == names
    assert all(np.array_equal(found[name], mask) for name, mask in zip("abcdef", masks, strict=True))
    with pytest.raises(DataError, match="has no boxes, outlines or points to write as YOLO"):
        convert(data, "yolo", tmp_path / "y")


def test_a_set_without_objects_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="has no boxes, outlines or points to write as COCO; give annotated images"):
        convert(open("digits"), "coco", tmp_path / "a")
    assert [*tmp_path.iterdir()] == []


@pytest.mark.parametrize("form", ["coco", "voc", "yolo"])
def test_images_that_exif_turns_keep_their_boxes(tmp_path: Path, form: str) -> None:
    for part in ("train", "val", "test"):
        file = tmp_path / "a" / "images" / f"{part}.jpg"
        picture(file)
        with Image.open(file) as image:
            exif = image.getexif()
            exif[0x0112] = 6
            image.save(file, exif=exif)
        box = {"id": 1, "image_id": 1, "category_id": 1, "bbox": [10, 20, 30, 5.5]}  # as the picture is stored
        images = [{"id": 1, "file_name": f"{part}.jpg", "height": SIZE[0], "width": SIZE[1]}]
        content = {"images": images, "annotations": [box], "categories": [{"id": 1, "name": "a"}]}
        (tmp_path / "a" / f"{part}.json").write_text(json.dumps(content))
    first = open(tmp_path / "a")
    assert records(first)["train", "train.jpg"].instances[0].box == (48 - 25.5, 10, 48 - 20, 40)
    convert(first, form, tmp_path / "b")
    assert [one.instances[0].box for one in records(open(tmp_path / "b")).values()] == [(22.5, 10, 28, 40)] * 3


def test_objects_of_hugging_face_are_written_with_the_bytes_of_their_images(tmp_path: Path) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    picture(tmp_path / "a.png")
    picture(tmp_path / "b.png")
    contents = [(tmp_path / name).read_bytes() for name in ("a.png", "b.png")]
    rows = [
        {
            "image": {"bytes": content, "path": None},
            "objects": {"bbox": [[1.5, 2.25, 3.0, 4.0]] * k, "category": ["x"] * k},
        }
        for k, content in enumerate(contents)
    ]
    (tmp_path / "p").mkdir()
    for part in ("train", "val", "test"):
        pq.write_table(pa.Table.from_pylist(rows[::-1]), tmp_path / "p" / f"{part}.parquet")
    convert(open(tmp_path / "p"), "voc", tmp_path / "b")
    found = records(open(tmp_path / "b"))
    assert [one.box for one in found["val", "val-0.png"].instances] == [(1.5, 2.25, 4.5, 6.25)]
    assert found["val", "val-1.png"].instances == ()
    assert (tmp_path / "b/JPEGImages/val-0.png").read_bytes() == contents[1]


@pytest.mark.data
@pytest.mark.parametrize("form", ["coco", pytest.param("voc", marks=pytest.mark.slow), "yolo"])
def test_pedestrians_come_back_from_every_form(tmp_path: Path, real: Callable[[str], Path], form: str) -> None:
    first = open(real("pedestrians"))
    convert(first, form, tmp_path / "b")
    convert(open(tmp_path / "b"), "coco", tmp_path / "c")
    before, after = records(first), records(open(tmp_path / "c"))
    assert before.keys() == after.keys()
    for key, record in before.items():
        assert [one.box for one in record.instances] == [one.box for one in after[key].instances]
