# SPDX-License-Identifier: Apache-2.0
"""Splits depend on contents alone; the fingerprint on contents, targets and splits; problems are put into words."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from pellucid import train
from pellucid.data import open
from pellucid.data.dataset import Dataset, Pixels, Split
from pellucid.data.splitting import finish, order, split_word
from pellucid.data.targets import Boxes, Label
from pellucid.errors import DataError


def images(values: list[int]) -> Pixels:
    """One 2×2 image a number: equal numbers give equal images."""
    array = np.array(values, ">u4").view(np.uint8).reshape(-1, 1, 2, 2)
    return Pixels(np.ascontiguousarray(array))


def split(values: list[int], labels: list[int] | None = None) -> Split:
    targets = {} if labels is None else {"label": Label(torch.tensor(labels, dtype=torch.int64))}
    return Split(images(values), targets, [f"{value}.png" for value in values])


def places(dataset: Dataset) -> dict[bytes, str]:
    """The split of each content."""
    return {digest: part for part, own in dataset.splits.items() for digest in own.images.digests}


@settings(max_examples=50)
@given(st.lists(st.integers(0, 60), min_size=1, max_size=80), st.lists(st.integers(0, 90), max_size=40))
def test_the_former_cut_is_stable_and_duplicates_never_straddle(first: list[int], more: list[int]) -> None:
    before = finish("x", {"train": split(first)}, cut="threshold")
    after = finish("x", {"train": split([*more, *first])}, cut="threshold")
    assert sum(len(own) for own in before.splits.values()) == len(first)
    parts = [set(own.images.digests) for own in before.splits.values()]
    assert sum(map(len, parts)) == len(set(first))  # no content is in two splits
    kept = places(after)
    assert all(kept[digest] == part for digest, part in places(before).items())


def in_four_classes(values: list[int]) -> Dataset:
    return finish("x", {"train": split(values, [value % 4 for value in values])}, ("a", "b", "c", "d"))


@settings(max_examples=50)
@given(st.lists(st.integers(0, 60), max_size=80), st.integers(100, 200))
def test_a_cut_by_class_keeps_shares_and_duplicates_and_nearly_all_places(some: list[int], one: int) -> None:
    values = [*some, 64, 65, 66, 67]  # every class has an image
    cut, grown = in_four_classes(values), places(in_four_classes([one, *values]))
    assert places(cut) == places(in_four_classes(values[::-1]))  # content decides, not the order
    parts = {part: set(own.images.digests) for part, own in cut.splits.items()}
    assert sum(map(len, parts.values())) == len(set(values))  # no content is in two splits
    for c in range(4):
        own = set(images([value for value in values if value % 4 == c]).digests)
        test, val = len(own & parts["test"]), len(own & parts["val"])
        if len(own) < 3:
            assert (test, val) == (0, 0)
        else:
            assert test == max(1, round(0.2 * len(own))) and val == max(1, round(0.1 * (len(own) - test)))
        moved = {digest for digest in own if grown[digest] != places(cut)[digest]}
        assert not moved or c == one % 4  # only the class of the added image changes,
        assert max(len(moved & parts["test"]), len(moved & parts["val"])) <= 1  # and of that, one image a split


def test_small_classes_have_an_image_in_every_split() -> None:
    """By hash alone, some of thirty classes with six images each have none for validation or for testing."""
    n = 180
    given = {"train": split(list(range(n)), [value % 30 for value in range(n)])}
    classes = tuple(f"c{i}" for i in range(30))
    cut, former = finish("x", given, classes), finish("x", given, classes, cut="threshold")
    assert all(set(cut.counts[part].values()) == {count} for part, count in (("train", 4), ("val", 1), ("test", 1)))
    assert not all(former.counts["val"].values())
    assert (cut.cut, former.cut) == ("stratified", "threshold")
    assert (
        finish("x", {"train": split([1, 2, 3])})["val"].names and finish("x", {"train": split([1, 2, 3])})["test"].names
    )


def test_the_shares_are_those_promised() -> None:
    n = 20_000
    cut = finish("x", {"train": split(list(range(n)))})
    test, val = len(cut["test"]) / n, len(cut["val"]) / n
    # four standard deviations of a binomial share
    assert abs(test - 0.2) < 4 * (0.2 * 0.8 / n) ** 0.5
    assert abs(val - 0.08) < 4 * (0.08 * 0.92 / n) ** 0.5  # 10 % of the 80 % that are left
    given_test = finish("x", {"train": split(list(range(n))), "test": split([n, n + 1])})
    assert len(given_test["test"]) == 2
    assert abs(len(given_test["val"]) / n - 0.1) < 4 * (0.1 * 0.9 / n) ** 0.5


def test_given_splits_stay_as_they_are() -> None:
    parts = {"train": split([1, 2, 3]), "val": split([4]), "test": split([5, 6])}
    found = finish("x", parts)
    assert {part: own.names for part, own in found.splits.items()} == {
        "train": ["1.png", "2.png", "3.png"], "val": ["4.png"], "test": ["5.png", "6.png"],
    }  # fmt: skip
    assert found.problems == (
        "The val split has 1 image: too few to tell similar models apart.",
        "The test split has 2 images: too few to tell similar models apart.",
    )
    assert found.cut == ""


def test_classes_with_few_images_imbalance_and_small_splits_are_named() -> None:
    labels = [0] * 300 + [1] * 25 + [2] * 5
    parts = {"train": split(list(range(330)), labels), "val": split(list(range(500, 507)), [0, 0, 0, 1, 1, 2, 2]),
             "test": split(list(range(600, 700)), [i % 2 for i in range(100)])}  # fmt: skip
    assert finish("x", parts, ("cat", "dog", "owl")).problems == (
        "The test split has no images of owl: nothing is measured there for these classes.",
        "1 of 3 classes has fewer than 10 training images (owl: 5): too few to learn from or to measure; add images.",
        "The classes are imbalanced, from 5 images of 'owl' to 300 of 'cat' in train: accuracy favours the large ones; "
        "classify weights all alike with --class-weights.",
        "The val split has 7 images: accuracy moves in steps of 14 points, too coarse to tell similar models apart.",
    )


def test_targets_and_names_move_with_their_images() -> None:
    values = list(range(300))
    found = finish("x", {"train": split(values, [value % 3 for value in values])}, ("a", "b", "c"))
    for own in found.splits.values():
        label = own.targets["label"]
        assert isinstance(label, Label)
        for i, name in enumerate(own.names):
            value = int(name.removesuffix(".png"))
            assert own.images.read(i, 1).tobytes() == value.to_bytes(4, "big")
            assert int(label.index[i]) == value % 3


def test_the_fingerprint_is_of_contents_targets_and_splits() -> None:
    def mark(values: list[int], labels: list[int], test: list[int], classes: tuple[str, ...] = ("a", "b")) -> str:
        parts = {"train": split(values, labels), "val": split([9], [0]), "test": split(test, [0] * len(test))}
        return finish("x", parts, classes).fingerprint

    same = mark([1, 2, 3], [0, 1, 0], [7])
    assert same == mark([1, 2, 3], [0, 1, 0], [7])
    changed = [
        mark([1, 2, 4], [0, 1, 0], [7]),
        mark([1, 2, 3], [0, 1, 1], [7]),
        mark([1, 2, 3], [0, 1, 0], [8]),
        mark([1, 2, 3], [0, 1, 0], [7], ("a", "c")),
        mark([1, 2], [0, 1], [3, 7]),
    ]
    assert len({same, *changed}) == 6


def test_the_fingerprint_tells_whose_boxes_they_are() -> None:
    box, none = torch.tensor([[0.0, 0.0, 1.0, 1.0]]), torch.zeros(0, 4)
    one, zero = torch.tensor([0]), torch.zeros(0, dtype=torch.int64)

    def mark(boxes: Boxes) -> str:
        train = Split(images([1, 2]), {"boxes": boxes}, ["1", "2"])
        return finish("x", {"train": train, "val": train.select([]), "test": train.select([])}, ("t",)).fingerprint

    assert mark(Boxes([box, none], [one, zero])) != mark(Boxes([none, box], [zero, one]))


def test_duplicates_across_given_splits_are_named() -> None:
    found = finish("x", {"train": split([1, 2, 3]), "val": split([4]), "test": split([3, 5, 2])})
    assert found.problems[0] == (
        "2 images of test are duplicated in train, pixel for pixel (3.png, 2.png): measures on test are too optimistic."
    )


def test_one_image_in_two_classes_is_named() -> None:
    parts = {"train": split([1, 2, 1], [0, 0, 1]), "val": split([4], [0]), "test": split([5], [1])}
    assert "1 image occurs in two classes, pixel for pixel; the first: 1.png (cat) and 1.png (dog)." in (
        finish("x", parts, ("cat", "dog")).problems
    )


def test_thin_splits_are_named() -> None:
    parts = {"train": split([1, 2, 3], [0, 1, 0]), "val": split([4], [0]), "test": split([5, 6], [1, 1])}
    assert finish("x", parts, ("a", "b", "c")).problems[:3] == (
        "The train split has no images of c.",
        "The val split has a single class, 'a'.",
        "The test split has a single class, 'b'.",
    )


def test_an_empty_split_that_is_there_is_cut_and_named() -> None:
    found = finish("x", {"train": split(list(range(100))), "test": split([])})
    assert len(found["test"]) > 0
    assert found.problems[0] == "The test split is empty: 20% of train is used for it."
    assert finish("x", {"train": split([1])}).problems[:2] == ("The val split is empty.", "The test split is empty.")


def test_a_class_that_is_not_in_train_is_refused() -> None:
    with pytest.raises(DataError) as caught:
        finish("x", {"train": split([1, 2], [0, 1]), "test": split([3], [2])}, ("a", "b", "c"))
    assert (
        str(caught.value) == "data='x': class 'c' of test is missing from train; add images of it there, or remove it."
    )


def test_a_single_class_is_no_label() -> None:
    found = finish("x", {"train": split([1, 2, 3], [0, 0, 0])}, ("cats",))
    assert found.problems[0] == "All images belong to a single class, 'cats': they are read without labels."
    assert found.classes == () and found.counts == {}
    assert all("label" not in own.targets for own in found.splits.values())


def test_numbers_in_names_are_ordered_as_numbers() -> None:
    names = ["b10", "b9", "a", "B1", "10", "9", "b²"]
    assert [names[i] for i in order(names)] == ["9", "10", "a", "B1", "b9", "b10", "b²"]


@pytest.mark.parametrize(
    ("name", "word"),
    [("train", "train"), ("X_TRAIN", "train"), ("test_32x32", "test"), ("nist26_valid", "valid"), ("latest", None)],
)
def test_the_split_in_a_name(name: str, word: str | None) -> None:
    assert split_word(name) == word


def test_a_run_keeps_the_cut_by_which_it_was_trained(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A record of 0.1.0 names no rule: its run resumes and evaluates on the images that were held out then."""
    pixels = np.random.default_rng(0).integers(0, 256, (60, 6, 6), dtype=np.uint8)
    np.savez(tmp_path / "own.npz", images=pixels, labels=np.arange(60) % 10)
    former, now = (open(tmp_path / "own.npz", cut=cut) for cut in ("threshold", "stratified"))
    assert former.fingerprint != now.fingerprint
    options: dict[str, Any] = {"hidden": (4,), "epochs": 2, "progress": False}
    with monkeypatch.context() as patch:
        patch.setattr("pellucid.training.plan.CUTS", ("threshold",))
        run = train("classify", str(tmp_path / "own.npz"), "mlp", tmp_path / "run", **options)
    recorded = run.info["data"]
    assert recorded["fingerprint"] == former.fingerprint and recorded["cut"] == "threshold"
    run.update(status="stopped", data={key: value for key, value in recorded.items() if key != "cut"})
    again = train("classify", str(tmp_path / "own.npz"), "mlp", tmp_path / "run", **options)
    assert again.status == "finished" and again.info["data"]["fingerprint"] == former.fingerprint
    assert list(again.data()["test"].names) == list(former["test"].names)
    new = train("classify", str(tmp_path / "own.npz"), "mlp", tmp_path / "new", **options)
    assert new.info["data"]["cut"] == "stratified" and list(new.data()["test"].names) == list(now["test"].names)
