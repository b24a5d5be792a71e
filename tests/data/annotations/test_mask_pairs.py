# SPDX-License-Identifier: Apache-2.0
"""Images with a mask each, in the folders and under the names that people give them; and what is no mask."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from PIL import Image

from pellucid import data
from pellucid.data.annotations import mask_contents
from pellucid.data.batches import store
from pellucid.data.dataset import Dataset
from pellucid.data.masks import Masks
from pellucid.data.targets import Label, Mask, target_of
from pellucid.errors import DataError

SIZE = (12, 16)


def photo(file: Path, size: tuple[int, int] = SIZE, orientation: int = 1) -> None:
    """A picture without flat regions."""
    file.parent.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng([*size, *map(ord, file.name)])
    image = Image.fromarray(rng.integers(0, 255, (*size, 3), np.uint8))
    exif = image.getexif()
    exif[0x0112] = orientation
    image.save(file, exif=exif)


def regions(seed: int, values: Sequence[int] = (0, 1, 2), size: tuple[int, int] = SIZE) -> NDArray[np.uint8]:
    """Rectangles of the values, each of which occurs."""
    rng = np.random.default_rng(seed)
    mask = np.full(size, values[0], np.uint8)
    for i, value in enumerate(values[1:]):
        width = size[1] // (len(values) - 1)
        top = int(rng.integers(0, size[0] - 4))
        mask[top : top + 4, i * width : i * width + width - 1] = value
    return mask


def save(mask: NDArray[np.uint8], file: Path, mode: str = "L") -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    image = Image.fromarray(mask)
    if mode == "P":
        image.putpalette(np.random.default_rng(0).integers(0, 256, 768, np.uint8).tobytes())
    image.save(file)


def made(top: Path, image: str = "images/{}.jpg", mask: str = "masks/{}.png", n: int = 6) -> list[NDArray[np.uint8]]:
    """A set with masks of the classes 0, 1 and 2; the truth of each."""
    masks = [regions(i) for i in range(n)]
    for i, own in enumerate(masks):
        photo(top / image.format(f"p{i}"))
        save(own, top / mask.format(f"p{i}"))
    return masks


def read(found: Dataset) -> dict[str, NDArray[np.uint8]]:
    """The mask of each image by its name."""
    return {
        name: source.read()
        for split in found.splits.values()
        if len(split)
        for name, source in zip(split.names, target_of(split.targets, "mask", Masks).sources, strict=True)
    }


def said(found: Dataset) -> str:
    return " ".join((*found.notes, *found.problems))


def refused(path: Path) -> str:
    with pytest.raises(DataError) as caught:
        data.open(path)
    assert "\n" not in str(caught.value)
    return str(caught.value)


# -- where images and masks lie


@pytest.mark.parametrize(
    ("image", "mask"),
    [
        ("images/{}.jpg", "masks/{}.png"),
        ("image/{}.png", "label/{}.png"),
        ("imgs/{}.jpg", "gt/{}.png"),
        ("JPEGImages/{}.jpg", "SegmentationClass/{}.png"),
        ("set/Images/{}.jpg", "set/Annotations/{}.png"),
        ("{}.jpg", "{}_mask.png"),
        ("{}.jpg", "{}_seg.png"),
        ("{}.jpg", "{}_label.png"),
        ("{}.jpg", "{}_gt.png"),
        ("{}.jpg", "masks/{}.png"),
        ("{}_sat.jpg", "{}_mask.png"),
        ("photos/{}.jpg", "masks/{}_mask.png"),
        ("images/img_{}.jpg", "masks/mask_{}.png"),
        ("stills/{}.png", "stills_labels/{}_L.png"),
        ("images_png/{}.png", "masks_png/{}.png"),
        ("ISIC_Training_Data/{}.jpg", "ISIC_Training_Part1_GroundTruth/{}_segmentation.png"),
        ("701_StillsRaw_full/{}.png", "LabeledApproved_full/{}_L.png"),
        ("imagesTr/{}_0000.png", "labelsTr/{}.png"),
        ("leftImg8bit/{}_leftImg8bit.png", "gtFine/{}_labelIds.png"),
        ("지단/images/{}.jpg", "지단/masks/{}.png"),
    ],
)
def test_masks_are_found_by_folders_and_names(tmp_path: Path, image: str, mask: str) -> None:
    truth = made(tmp_path, image, mask)
    found = data.open(tmp_path)
    assert found.classes == ()
    assert {name: own.tolist() for name, own in read(found).items()} == {
        image.format(f"p{i}"): own.tolist() for i, own in enumerate(truth)
    }
    assert "Read as images and masks: 6 images." in found.notes
    assert "left out" not in said(found)


@pytest.mark.parametrize(
    ("image", "mask"),
    [
        ("{part}/{name}.png", "{part}annot/{name}.png"),
        ("{part}/{name}.png", "{part}_labels/{name}_L.png"),
        ("{part}/images/{name}.jpg", "{part}/masks/{name}.png"),
        ("images/{part}/{name}.jpg", "annotations/{part}/{name}.png"),
        ("images_{part}/{name}.jpg", "masks_{part}/{name}.png"),
        ("{part}/{name}.jpg", "{part}/{name}_mask.png"),
        ("images/{part}/{name}.jpg", "masks/{name}.png"),
    ],
)
def test_folders_of_splits_lie_above_below_or_in_the_names(tmp_path: Path, image: str, mask: str) -> None:
    truth: dict[str, dict[str, NDArray[np.uint8]]] = {}
    for i, part in enumerate(["train"] * 4 + ["val"] * 2 + ["test"] * 2):
        own, name = regions(i), f"p{i}"
        photo(tmp_path / image.format(part=part, name=name))
        save(own, tmp_path / mask.format(part=part, name=name))
        truth.setdefault(part, {})[image.format(part=part, name=name)] = own
    found = data.open(tmp_path)
    for part, split in found.splits.items():
        masks = target_of(split.targets, "mask", Masks).sources
        assert [*split.names] == [*truth[part]]
        assert all((mask.read() == own).all() for mask, own in zip(masks, truth[part].values(), strict=True))


def test_lists_of_names_give_the_splits_and_other_images_are_named(tmp_path: Path) -> None:
    made(tmp_path, "JPEGImages/{}.jpg", "SegmentationClass/{}.png")
    photo(tmp_path / "JPEGImages/without.jpg")
    lists = tmp_path / "ImageSets" / "Segmentation"
    lists.mkdir(parents=True)
    for name, members in {"train": "p0\np1\np2\np3", "val": "p4\np5", "trainval": "p0\np1\np2\np3\np4\np5"}.items():
        (lists / f"{name}.txt").write_text(members)
    found = data.open(tmp_path)
    assert [Path(name).stem for name in found["val"].names] == ["p4", "p5"]
    assert len(found["train"]) + len(found["test"]) == 4
    assert "1 image has no annotation and is left out (JPEGImages/without.jpg)." in found.problems


def test_a_mask_without_image_and_an_image_without_mask_are_named(tmp_path: Path) -> None:
    made(tmp_path)
    photo(tmp_path / "images/bare.jpg")
    save(regions(9), tmp_path / "masks/alone.png")
    found = data.open(tmp_path)
    assert sum(map(len, found.splits.values())) == 6
    assert "1 mask has no image and is left out (masks/alone.png)." in found.problems
    assert "1 image has no annotation and is left out (images/bare.jpg)." in found.problems


def test_one_mask_counts_for_an_image_in_two_formats(tmp_path: Path) -> None:
    truth = made(tmp_path)
    photo(tmp_path / "images/p0.png")
    assert (read(data.open(tmp_path))["images/p0.png"] == truth[0]).all()


def test_numbers_of_cityscapes_have_their_names_and_void(tmp_path: Path) -> None:
    masks = [regions(i, (0, 7, 26)) for i in range(6)]
    for i, mask in enumerate(masks):
        photo(tmp_path / f"leftImg8bit/train/aachen/aachen_{i}_leftImg8bit.png")
        save(mask, tmp_path / f"gtFine/train/aachen/aachen_{i}_gtFine_labelIds.png")
        photo(tmp_path / f"leftImg8bit/val/lindau/lindau_{i}_leftImg8bit.png")
        save(mask, tmp_path / f"gtFine/val/lindau/lindau_{i}_gtFine_labelIds.png")
    found = data.open(tmp_path)
    assert len(found.mask_classes) == 19 and (found.mask_classes[0], found.mask_classes[13]) == ("road", "car")
    lookup = np.zeros(27, np.uint8)
    lookup[[0, 7, 26]] = 255, 0, 13
    assert (read(found)["leftImg8bit/val/lindau/lindau_2_leftImg8bit.png"] == lookup[masks[2]]).all()
    assert found.classes == ()  # the cities are none
    (tmp_path / "classes.txt").write_text("0 ground\n7 street\n26 car")
    assert data.open(tmp_path).mask_classes == ("ground", "street", "car")


def test_numbers_of_objects_are_no_classes(tmp_path: Path) -> None:
    truth = made(tmp_path, "leftImg8bit/{}_leftImg8bit.png", "gtFine/{}_labelIds.png")
    for i in range(6):
        save(regions(i, (24, 25, 26)), tmp_path / f"gtFine/p{i}_gtFine_instanceIds.png")
        save(regions(i), tmp_path / f"SegmentationObject/p{i}.png")
    found = data.open(tmp_path)
    assert (read(found)["leftImg8bit/p0_leftImg8bit.png"] == truth[0]).all()
    assert "12 pictures number objects or colours, no classes, and are left out" in said(found)


def test_masks_of_several_objects_are_joined_and_folders_of_classes_are_labels(tmp_path: Path) -> None:
    for i in range(8):
        kind, one, other = ("benign", "malignant")[i % 2], regions(i, (0, 255)), regions(i + 50, (0, 255))
        photo(tmp_path / f"{kind}/{kind} ({i}).png")
        save(one, tmp_path / f"{kind}/{kind} ({i})_mask.png")
        if i == 0:
            save(other, tmp_path / f"{kind}/{kind} ({i})_mask_1.png")
            both = np.maximum(one, other) // 255
    found = data.open(tmp_path)
    assert found.classes == ("benign", "malignant")
    assert (read(found)["benign/benign (0).png"] == both).all()
    assert "1 image has several masks, which are joined (benign/benign (0).png)." in found.notes
    for split in found.splits.values():
        labels = target_of(split.targets, "label", Label).index.tolist()
        assert [found.classes[k] for k in labels] == [name.partition("/")[0] for name in split.names]


def test_two_folders_of_masks_are_refused_and_chosen_by_the_path(tmp_path: Path) -> None:
    truth = made(tmp_path, "JPEGImages/{}.jpg", "SegmentationClass/{}.png")
    for i in range(6):
        save(1 - np.minimum(truth[i], 1), tmp_path / f"SegmentationClassAug/p{i}.png")
    sentence = refused(tmp_path)
    assert "SegmentationClass/p0.png and SegmentationClassAug/p0.png; choose by the path: " in sentence
    assert (read(data.open(tmp_path / "SegmentationClass"))["JPEGImages/p3.jpg"] == truth[3]).all()
    assert (
        read(data.open(tmp_path / "SegmentationClassAug"))["JPEGImages/p3.jpg"] == 1 - np.minimum(truth[3], 1)
    ).all()


def test_a_folder_with_masks_in_its_name_is_its_own_dataset(tmp_path: Path) -> None:
    truth = made(tmp_path / "my masks")
    made(tmp_path, n=3)
    assert len(read(data.open(tmp_path / "my masks"))) == len(truth)


def test_a_mask_of_another_size_is_refused_with_both_sizes(tmp_path: Path) -> None:
    made(tmp_path)
    photo(tmp_path / "images/p0.jpg", (370, 700))
    save(regions(0, size=(370, 702)), tmp_path / "masks/p0.png")
    assert "has 370×702 px, its image 370×700 px; give a mask of the image's size." in refused(tmp_path)


def test_a_mask_turns_with_its_image_and_one_that_is_upright_stays(tmp_path: Path) -> None:
    made(tmp_path)
    photo(tmp_path / "images/p0.jpg", (20, 30), orientation=6)  # upright it has 30×20 px
    stored = regions(0, size=(20, 30))
    save(stored, tmp_path / "masks/p0.png")
    found = data.open(tmp_path)
    assert (
        read(found)["images/p0.jpg"] == np.rot90(stored, -1)
    ).all()  # orientation 6: a quarter clockwise shows it upright
    assert (
        "1 mask is without the rotation that the image's EXIF asks for, and is turned along (images/p0.jpg)."
        in found.problems
    )
    save(np.rot90(stored, -1), tmp_path / "masks/p0.png")
    assert (read(data.open(tmp_path))["images/p0.jpg"] == np.rot90(stored, -1)).all()


def test_a_broken_mask_is_named_and_the_others_count(tmp_path: Path) -> None:
    truth = made(tmp_path)
    (tmp_path / "masks/p2.png").write_bytes((tmp_path / "masks/p2.png").read_bytes()[:50])
    (tmp_path / "masks/p3.png").write_bytes(b"")
    found = data.open(tmp_path)
    assert len(read(found)) == 4 and (read(found)["images/p1.jpg"] == truth[1]).all()
    assert "image='masks/p2.png': cannot be read, because it is truncated; replace or remove it." in found.problems
    assert "image='masks/p3.png': cannot be read, because it is empty; replace or remove it." in found.problems


# -- what is no mask


def test_photographs_in_folders_called_image_and_label_are_classes(tmp_path: Path) -> None:
    for kind in ("image", "label"):
        for i in range(12):
            photo(tmp_path / kind / f"{i}.jpg", (8, 8 + len(kind)))
    found = data.open(tmp_path)
    assert found.classes == ("image", "label")


@pytest.mark.parametrize(
    "kinds", [("masks", "no_masks"), ("with_mask", "without_mask"), ("cat", "cat_mask"), ("seg", "gt")]
)
def test_classes_that_are_called_like_masks_stay_classes(tmp_path: Path, kinds: tuple[str, str]) -> None:
    for place, kind in enumerate(kinds):
        for i in range(12):
            photo(tmp_path / kind / f"{i}.jpg", (20, 20 + place))
    found = data.open(tmp_path)
    assert found.classes == tuple(sorted(kinds)) and "mask" not in found["train"].targets


def test_drawings_of_a_class_called_masks_beside_other_classes_stay_a_class(tmp_path: Path) -> None:
    for kind in ("masks", "hats"):
        for i in range(12):
            save(regions(i + 100 * len(kind)), tmp_path / kind / f"{i}.png")
    assert data.open(tmp_path).classes == ("hats", "masks")


def test_pictures_beside_their_restored_versions_are_no_masks(tmp_path: Path) -> None:
    for i in range(12):
        photo(tmp_path / f"input/{i}.jpg", (8, 8))
        photo(tmp_path / f"target/{i}.jpg", (8, 9))
    assert data.open(tmp_path).classes == ("input", "target")


def test_folders_that_are_a_class_and_its_masks(tmp_path: Path) -> None:
    made(tmp_path, "cat/{}.jpg", "cat_mask/{}.png")
    found = data.open(tmp_path)
    assert len(read(found)) == 6


# -- what goes through


def test_masks_of_images_of_several_sizes_are_resized_by_the_nearest_pixel(tmp_path: Path) -> None:
    for i, size in enumerate([(12, 16), (31, 20), (50, 70), (12, 16), (17, 90), (40, 40)]):
        photo(tmp_path / f"images/p{i}.jpg", size)
        save(regions(i, (0, 3, 7), size), tmp_path / f"masks/p{i}.png")
    (tmp_path / "classes.txt").write_text("\n".join("abcdefgh"))
    train = data.open(tmp_path)["train"]
    held = store(train, (13, 11), 3)
    batch = held.batch(torch.arange(len(train)))
    mask = target_of(batch.targets, "mask", Mask).classes.numpy()
    assert mask.shape == (len(train), 13, 11) and set(np.unique(mask)) == {0, 3, 7}
    for own, source in zip(mask, target_of(train.targets, "mask", Masks).sources, strict=True):
        whole = source.read()
        rows = ((np.arange(13) + 0.5) * whole.shape[0] / 13).astype(int)
        columns = ((np.arange(11) + 0.5) * whole.shape[1] / 11).astype(int)
        assert (own == whole[np.ix_(rows, columns)]).all()


def test_a_table_names_masks_of_several_sizes(tmp_path: Path) -> None:
    truth, rows = {}, ["file_name,mask_file_name"]
    for i in range(6):
        size = (10 + i, 12)
        photo(tmp_path / f"{i}.jpg", size)
        truth[f"{i}.jpg"] = regions(i, (0, 255), size)
        save(truth[f"{i}.jpg"], tmp_path / f"masks/{i}.png")
        rows.append(f"{i}.jpg,masks/{i}.png")
    (tmp_path / "metadata.csv").write_text("\n".join(rows))
    found = data.open(tmp_path)
    assert all((own == truth[name] // 255).all() for name, own in read(found).items())
    assert found.mask_classes == ("background", "foreground")
    assert "Masks hold 0 and 255: 255 is read as class 1." in found.notes


def test_the_fingerprint_follows_the_masks(tmp_path: Path) -> None:
    made(tmp_path)
    before = data.open(tmp_path).fingerprint
    assert data.open(tmp_path).fingerprint == before
    save(regions(99), tmp_path / "masks/p0.png")
    changed = data.open(tmp_path).fingerprint
    (tmp_path / "classes.txt").write_text("a\nvoid\nb")
    assert len({before, changed, data.open(tmp_path).fingerprint}) == 3


def test_a_second_opening_decodes_no_mask(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made(tmp_path)
    first = data.open(tmp_path)

    def never(source: object) -> None:
        raise AssertionError("decoded again")

    monkeypatch.setattr(mask_contents, "contents_of", never)
    assert data.open(tmp_path).notes == first.notes


def test_camvid_opens_with_its_void(real: Callable[[str], Path]) -> None:
    found = data.open(real("camvid"))
    assert [len(split) for split in found.splits.values()] == [80, 25, 30]
    assert len(found.mask_classes) == 11 and found.mask_classes[8] == "car"
    assert "The value 11 of masks (void) is void and counts for nothing." in found.notes
    sources = target_of(found["train"].targets, "mask", Masks).sources
    with Image.open(real("camvid") / "trainannot" / Path(found["train"].names[7]).name) as stored:
        raw = np.asarray(stored)
    assert (sources[7].read() == np.where(raw == 11, 255, raw)).all()
