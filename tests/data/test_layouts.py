# SPDX-License-Identifier: Apache-2.0
"""Folders as people have them: what is read as a split or a class, and that whatever is left out is named."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from pellucid import data
from pellucid._ledger import Ledger
from pellucid.cli.cli import main
from pellucid.data.dataset import Dataset
from pellucid.errors import DataError

RNG = np.random.default_rng(0)


def pictures(folder: Path, count: int = 12, size: tuple[int, int] = (8, 8), suffix: str = ".png") -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for i in range(count):
        Image.fromarray(RNG.integers(0, 256, size, dtype=np.uint8)).save(folder / f"{i}{suffix}")


def classes(top: Path, names: tuple[str, ...] = ("cat", "dog")) -> Path:
    for name in names:
        pictures(top / name)
    return top


def total(found: Dataset) -> int:
    return sum(len(split) for split in found.splits.values())


def said(found: Dataset) -> str:
    return " ".join(found.problems)


def test_a_split_beside_unlabelled_images_is_a_split(tmp_path: Path) -> None:
    classes(tmp_path / "train")
    pictures(tmp_path / "unlabelled", 3)
    found = data.open(tmp_path)
    assert found.classes == ("cat", "dog") and total(found) == 24
    assert "3 images in unlabelled beside the split folders are left out." in found.problems


def test_a_class_called_train_is_a_class_and_it_is_said(tmp_path: Path) -> None:
    found = data.open(classes(tmp_path, ("car", "ship", "train")))
    assert found.classes == ("car", "ship", "train")
    assert "The folder train is read as a class, like car, ship beside it." in found.problems


def test_a_test_folder_beside_the_class_folders_is_refused(tmp_path: Path) -> None:
    classes(classes(tmp_path) / "test")
    with pytest.raises(
        DataError, match="has the folder test beside cat, dog, which are classes in it; move these into a"
    ):
        data.open(tmp_path)


def test_what_systems_leave_behind_is_ignored(tmp_path: Path) -> None:
    classes(tmp_path / "photos")
    classes(tmp_path / "__MACOSX" / "photos")
    classes(tmp_path / "photos" / ".thumbnails")
    pictures(tmp_path / "photos" / "cat" / "@eaDir")
    for name in ("Thumbs.db", "desktop.ini", ".DS_Store", "cat/Thumbs.db", "cat/._1.png"):
        (tmp_path / "photos" / name).write_bytes(b"?")
    found = data.open(tmp_path)  # an archive's single folder is the data set
    assert found.classes == ("cat", "dog") and total(found) == 24 and found.name == str(tmp_path)
    assert "left out" not in said(found)
    assert data.open(tmp_path / "photos").fingerprint == found.fingerprint


def test_loose_pictures_beside_class_folders_are_left_out_and_named(tmp_path: Path) -> None:
    pictures(classes(tmp_path), 1)
    found = data.open(tmp_path)
    assert found.classes == ("cat", "dog") and total(found) == 24
    assert "1 image beside the class folders is left out (0.png)." in found.problems
    pictures(tmp_path, 40)
    found = data.open(tmp_path)
    assert found.classes == () and total(found) == 64
    assert "Some images lie beside the folders cat, dog: all are read without labels." in found.problems


def test_stray_files_of_other_kinds_do_not_take_the_labels(tmp_path: Path) -> None:
    classes(tmp_path)
    pq.write_table(pa.table({"a": [1]}), tmp_path / "index.parquet")
    pictures(tmp_path, 1)
    (tmp_path / "0.png").rename(tmp_path / "image_idx0.png")
    np.savez(tmp_path / "features.npz", features=np.zeros(3))
    found = data.open(tmp_path)
    assert found.classes == ("cat", "dog") and total(found) == 24
    assert "1 image beside the class folders is left out (image_idx0.png)." in found.problems
    assert "2 files are not read as images and are left out: 1 .npz, 1 .parquet." in found.problems


def test_a_picture_beside_arrays_does_not_take_their_place(tmp_path: Path) -> None:
    np.savez(tmp_path / "own.npz", images=RNG.integers(0, 256, (40, 4, 4), dtype=np.uint8), labels=np.arange(40) % 2)
    pictures(tmp_path, 1)
    (tmp_path / "notes.txt").write_text("?")
    found = data.open(tmp_path)
    assert found.classes == ("0", "1") and total(found) == 40
    assert "1 image beside the data files is left out (0.png)." in found.problems
    assert "1 file is not read as an image and is left out: notes.txt." in found.problems


def test_linked_class_folders_are_followed_and_circles_are_not(tmp_path: Path) -> None:
    classes(tmp_path / "store")
    (tmp_path / "set").mkdir()
    for name in ("cat", "dog"):
        (tmp_path / "set" / name).symlink_to(tmp_path / "store" / name)
    (tmp_path / "store" / "cat" / "again").symlink_to(tmp_path / "store")
    (tmp_path / "set" / "gone").symlink_to(tmp_path / "nowhere")
    (tmp_path / "way").symlink_to(tmp_path / "set")
    for top in ("set", "way"):
        found = data.open(tmp_path / top)
        assert found.classes == ("cat", "dog")
        assert (
            len({os.path.realpath(tmp_path / top / name) for own in found.splits.values() for name in own.names}) == 24
        )


def test_empty_class_folders_and_files_of_other_kinds_are_named(tmp_path: Path) -> None:
    classes(tmp_path / "train")
    (tmp_path / "train" / "owl").mkdir()
    for name in ("a.txt", "b.txt", "c.xml"):
        (tmp_path / "train" / "cat" / name).write_text("?")
    found = data.open(tmp_path)
    assert "1 folder has no images and is no class: owl." in found.problems
    assert "3 files are not read as images and are left out: 2 .txt, 1 .xml." in found.problems
    (tmp_path / "none").mkdir()
    (tmp_path / "none" / "a.xyz").write_text("?")
    with pytest.raises(
        DataError, match=r"contains no images \(1 file is not read as an image and is left out: a.xyz\);"
    ):
        data.open(tmp_path / "none")


def test_folders_that_may_not_be_meant_as_classes_are_named(tmp_path: Path) -> None:
    classes(classes(tmp_path / "nested" / "cat", ("train", "test")).parent / "dog", ("train", "test"))
    assert (
        "The folders test, train within the classes are not read as splits, and their images are split again"
        in said(data.open(tmp_path / "nested"))
    )
    found = data.open(classes(tmp_path / "masked", ("images", "masks")))
    assert (
        "The folder masks is read as a class: masks need the names of their images, or a metadata table with mask_file_name."
        in found.problems
    )


def test_what_lies_beside_a_wrapped_set_and_folders_that_cannot_be_opened_are_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    classes(tmp_path / "set")
    (tmp_path / "labels.csv").write_text("?")
    (tmp_path / "shut").mkdir()
    look = os.scandir

    def scandir(path: Any) -> Any:
        if str(path).endswith("shut"):
            raise PermissionError(13, "Permission denied", path)
        return look(path)

    monkeypatch.setattr(os, "scandir", scandir)
    found = data.open(tmp_path)
    assert found.classes == ("cat", "dog")
    assert "1 file is not read as an image and is left out: labels.csv." in found.problems
    assert "1 folder cannot be opened and is left out: shut." in found.problems


def test_a_contact_sheet_and_answers_of_predict_are_no_data(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pictures(tmp_path, 20)
    monkeypatch.chdir(tmp_path)
    before = data.open(".").fingerprint
    assert main(["data", "."]) == 0 and len(list(tmp_path.glob("contact-*.png"))) == 1
    assert data.open(".").fingerprint == before
    pictures(tmp_path / "clean", 20)
    ledger = Ledger(tmp_path / "clean")
    for file in (tmp_path / "clean").glob("*.png"):
        ledger.note(file, file)
    found = data.open(".")
    assert found.fingerprint == before
    assert "20 images are answers of predict and left out (clean/0.png, clean/1.png, clean/2.png, …)." in found.problems
    assert total(data.open("clean")) == 20


def test_sizes_and_colour_that_go_with_a_class_are_named_as_a_leak(tmp_path: Path) -> None:
    for i in range(11):
        pictures(tmp_path / f"small {i}", 4, (24, 24))
    for i in range(3):
        pictures(tmp_path / f"large {i}", 12, (192, 168))
    told = said(data.open(tmp_path))
    assert (
        "Nearly all images of 11 classes (small 0, small 1, small 2, …) have 24×24 px, and hardly any of the other 3 classes: "
        "the size tells the class, which a model may learn instead."
    ) in told
    for i in range(3):
        pictures(tmp_path / f"large {i}", 12, (24, 24))
    assert "Nearly all" not in said(data.open(tmp_path))
    for file in (tmp_path / "large 0").iterdir():
        Image.open(file).convert("RGB").point(lambda v: v // 2).save(file)
    told = said(data.open(tmp_path))
    assert (
        "Nearly all images of 13 classes" in told
        and "are grey, and hardly any of the others: that tells the class" in told
    )
