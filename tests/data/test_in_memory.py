# SPDX-License-Identifier: Apache-2.0
"""Data that Python already holds: arrays, samples, torch and Hugging Face datasets, opened as from files."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch.utils.data import TensorDataset

import pellucid
from pellucid import data
from pellucid.data.dataset import Dataset
from pellucid.data.targets import Label, target_of
from pellucid.errors import DataError

X = np.random.default_rng(0).integers(0, 256, (60, 8, 9, 3), np.uint8)
Y = np.arange(60) % 3


class Shapes(torch.utils.data.Dataset[tuple[Any, int]]):
    """As torchvision's datasets are: Pillow images, numbers, and the names of the classes."""

    classes = ("ring", "disk", "star")

    def __len__(self) -> int:
        return len(X)

    def __getitem__(self, index: int) -> tuple[Any, int]:
        return Image.fromarray(X[index]), int(Y[index])


def hugging_face() -> Any:
    datasets = pytest.importorskip("datasets")
    features = datasets.Features(
        {
            "image": datasets.Image(),
            "label": datasets.ClassLabel(names=list(Shapes.classes)),
            "id": datasets.Value("int32"),
        }
    )
    rows = {"image": [Image.fromarray(image) for image in X], "label": Y.tolist(), "id": list(range(60))}
    return datasets.Dataset.from_dict(rows, features=features)


def rows(dataset: Dataset) -> set[tuple[bytes, str]]:
    """Every image with the name of its class, whichever split it is in."""
    found = set()
    for split in dataset.splits.values():
        label = target_of(split.targets, "label", Label).index.tolist()
        found |= {(split.images.read(i, 3).tobytes(), dataset.classes[label[i]]) for i in range(len(split))}
    return found


WAYS: dict[str, Callable[[], Any]] = {
    "arrays": lambda: (X, Y),
    "tensors": lambda: (torch.from_numpy(X).permute(0, 3, 1, 2), torch.from_numpy(Y)),
    "floats": lambda: (torch.from_numpy(X).permute(0, 3, 1, 2) / 255, torch.from_numpy(Y)),
    "lists": lambda: ([*X], Y.tolist()),
    "samples": lambda: [(image, int(label)) for image, label in zip(X, Y, strict=True)],
    "one-hot": lambda: (X, np.eye(3)[Y]),
    "torch": lambda: TensorDataset(torch.from_numpy(X).permute(0, 3, 1, 2) / 255, torch.from_numpy(Y)),
    "torchvision": Shapes,
    "Hugging Face": hugging_face,
}


@pytest.mark.parametrize("way", WAYS)
def test_every_way_gives_each_image_its_own_class(way: str) -> None:
    names = Shapes.classes if way in ("torchvision", "Hugging Face") else ("0", "1", "2")
    opened = data.open(WAYS[way]())
    # (N, H, W, C) -> the bytes of (C, H, W)
    assert rows(opened) == {(image.transpose(2, 0, 1).tobytes(), names[y]) for image, y in zip(X, Y, strict=True)}
    assert opened.classes == names and min(map(len, opened.splits.values())) > 0


def test_equal_content_has_one_fingerprint_however_it_is_given() -> None:
    ways = ("arrays", "tensors", "floats", "lists", "samples", "torch")
    assert len({data.open(WAYS[way]()).fingerprint for way in ways}) == 1
    assert data.open((X, (Y + 1) % 3)).fingerprint != data.open((X, Y)).fingerprint


def test_splits_stay_as_they_are_given() -> None:
    opened = data.open({"train": (X[:40], Y[:40]), "valid": (X[40:50], Y[40:50]), "test": (X[50:], Y[50:])})
    assert [len(opened.splits[part]) for part in ("train", "val", "test")] == [40, 10, 10]
    assert np.array_equal(opened["test"].images.read(3, 3), X[53].transpose(2, 0, 1))


def test_sizes_may_differ_and_masks_are_masks() -> None:
    images = [np.full((6 + i % 3, 8, 3), 4 * i, np.uint8) for i in range(30)]
    opened = data.open([(image, "ab"[i % 2]) for i, image in enumerate(images)])
    assert opened.classes == ("a", "b") and opened.size is None
    masks = (X[..., 0] > 127).astype(np.uint8)
    for given in ((X, masks), [(Image.fromarray(x), Image.fromarray(m)) for x, m in zip(X, masks, strict=True)]):
        opened = data.open(given)
        assert all("mask" in split.targets for split in opened.splits.values())


def test_samples_may_be_files_with_their_labels(tmp_path: Path) -> None:
    for i in range(12):
        Image.fromarray(X[i]).save(tmp_path / f"{i}.png")
    assert rows(data.open([(tmp_path / f"{i}.png", "ab"[i % 2]) for i in range(12)])) == {
        (X[i].transpose(2, 0, 1).tobytes(), "ab"[i % 2]) for i in range(12)
    }


def test_a_run_finds_its_own_data_again_in_this_process(tmp_path: Path) -> None:
    run = pellucid.train("classify", (X, Y), "mlp", tmp_path / "run", hidden=(8,), epochs=1, progress=False)
    assert pellucid.evaluate(run, baselines=False)["n"] == len(run.data()["test"])
    for seed in range(4):  # the last four are kept
        data.open((np.random.default_rng(seed + 1).integers(0, 256, (30, 4, 4), np.uint8), np.arange(30) % 2))
    with pytest.raises(
        DataError, match=r"data='memory:\w{12}': was given in Python and lies in no file; open the same"
    ):
        run.data()
    data.open(Shapes())  # the same images with other names are other data
    with pytest.raises(DataError):
        run.data()
    data.open((X, Y))
    assert run.data().classes == ("0", "1", "2")


@pytest.mark.parametrize(
    ("given", "sentence"),
    [
        (7, r"data=int: cannot be read as a dataset; give arrays \(x, y\)"),
        ((X, Y[:50]), r"data=\(x, y\): has 60 images and 50 targets in train; give one for each"),
        ((X, Y, Y), r"data=\(ndarray, ndarray, ndarray\): is not \(x, y\)"),
        ([(X[0], 0), (X[1], None)], r"has 2 images and 1 labels in train"),
        ([], r"data: has no images in train"),
        ([(X[0], {"boxes": [[0, 0, 2, 2]]})], r"sample 0 of train: has a target of type dict, and labels and masks are read"),
        ([(X[0], 0), ("cat", 1)], r"data: sample 1 of train"),
        ([(torch.randn(3, 4, 4), 0)], r"data: sample 0 of train: .*\[0, 1\]"),
        ({"training": (X, Y), "extra": (X, Y)}, r"'extra'.*is not the name of a split"),
        ({"test": (X, Y)}, r"has nothing for train; add it"),
        ((X.astype(np.float32) * 3 - 200, Y), r"range|\[0, 1\]|--range"),
        ((X, Y - 1), r"label -1 at position 0 of train"),
    ],
    ids=[
        "a number", "too few targets", "three", "one without", "none", "boxes", "a text", "normalised", "no split", "no train",
        "out of range", "negative labels",
    ],
)  # fmt: skip
def test_what_cannot_be_read_gets_one_sentence(given: Any, sentence: str) -> None:
    with pytest.raises(DataError, match=sentence):
        data.open(given)
