# SPDX-License-Identifier: Apache-2.0
"""landmarks: what is read of the data, which points a mirror exchanges, what is seen of an image, and simpler answers."""

from __future__ import annotations

import dataclasses
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from pellucid import data
from pellucid.data.dataset import Batch, Dataset, Pixels, Split
from pellucid.data.draws import Draws
from pellucid.data.partners import FACE_68
from pellucid.data.splitting import finish
from pellucid.data.targets import Boxes, Points
from pellucid.data.transforms import Augment
from pellucid.errors import DataError, UsageError
from pellucid.tasks.landmarks import Landmarks, baselines
from pellucid.tasks.landmarks.places import Placed

NAN = math.nan


def faces_of(n: int = 12, size: int = 40, mirror: tuple[int, ...] | None = FACE_68, **more: object) -> Dataset:
    """Images with 68 random points each, the same number in each split."""
    rng = np.random.default_rng(2)
    points = Points(torch.from_numpy(rng.uniform(2, size - 2, (n, 68, 2)).astype(np.float32)), mirror)
    split = Split(
        Pixels(rng.integers(0, 256, (n, 3, size, size), np.uint8)),
        {"points": points, **more},
        [f"{i}.png" for i in range(n)],
    )  # type: ignore[dict-item]
    return finish("faces", {part: split.select(range(k, n, 3)) for k, part in enumerate(("train", "val", "test"))})


def test_the_numbers_of_a_face_decide_what_errors_are_divided_by() -> None:
    _, face = Landmarks().read(faces_of())
    _, other = Landmarks().read(faces_of(mirror=None))
    _, asked = Landmarks(normaliser=("3", "7")).read(faces_of(mirror=None))
    assert [task.metrics(())[0].key for task in (face, other, asked)] == ["nme_outer_eyes", "nme_box", "nme_points_3_7"]
    with pytest.raises(UsageError, match="normaliser='pupils': is not among the 68 points"):
        Landmarks(normaliser=("pupils",)).read(faces_of(mirror=None))
    with pytest.raises(UsageError, match="normaliser='3 69': is not among the 68 points"):
        Landmarks(normaliser=("3", "69")).read(faces_of())


def test_flips_without_known_partners_are_refused_before_the_training() -> None:
    """Mirrored without exchanging left and right is what must not happen."""
    for task in (Landmarks(augment=Augment(flip=True)), Landmarks(both_ways=True)):
        with pytest.raises(UsageError, match="flip=True: would exchange left and right, and which of the 68 points"):
            task.read(faces_of(mirror=None))
        task.read(faces_of())


def test_a_mirrored_face_is_learned_with_its_points_exchanged() -> None:
    """The pairs as published, from 1: an image that is mirrored has the left eye's corner where the right one was."""
    made, task = Landmarks(augment=Augment(flip=True)).read(faces_of())
    split = made["train"]
    images = torch.from_numpy(split.images.array)  # type: ignore[attr-defined]
    batch = Batch(images, split.targets, torch.arange(len(images)))
    input, truth = task.prepare(batch, Draws.step(0, 0, slice(0, len(images)), len(images)), training=True)
    before = split.targets["points"].xy  # type: ignore[attr-defined]
    mirrored = [not torch.equal(input[i], images[i] / 255) for i in range(len(images))]
    assert any(mirrored) and not all(mirrored)
    for i, turned in enumerate(mirrored):
        for one, other in ((37, 46), (40, 43), (49, 55), (1, 17), (18, 27), (32, 36), (61, 65), (9, 9), (31, 31)):
            x, y = before[i, one - 1].tolist()
            expected = [40 - x, y] if turned else before[i, other - 1].tolist()
            assert truth.xy[i, other - 1].tolist() == pytest.approx(expected, abs=1e-4)


def test_partners_from_a_file(tmp_path: Path) -> None:
    file = tmp_path / "pairs.txt"
    file.write_text("# left right\ntip, base\n")
    scenes = data.open("scenes")
    _, task = Landmarks(partners=str(file)).read(scenes)
    assert task.mirror == (0, 2, 1)
    file.write_text("1 3\n")
    assert Landmarks(partners=str(file)).read(scenes)[1].mirror == (2, 1, 0)
    for text, words in (
        ("tip\n", "line 1 is 'tip', not a pair"),
        ("tip base\ntip centre\n", "line 2 is 'tip centre', not a pair"),
        ("tip nose\n", "line 1 is 'tip nose', not a pair"),
        ("2 2\n", "line 1 is '2 2', not a pair"),
    ):
        file.write_text(text)
        with pytest.raises(UsageError, match=words):
            Landmarks(partners=str(file)).read(scenes)
    with pytest.raises(UsageError, match="cannot be read"):
        Landmarks(partners=str(file) + "x").read(scenes)


def test_images_without_a_visible_point_are_left_out_and_said() -> None:
    whole = faces_of()
    xy = whole["train"].targets["points"].xy.clone()  # type: ignore[attr-defined]
    xy[1] = NAN
    xy[0, 3] = torch.tensor([-5.0, 3])
    train = dataclasses.replace(whole["train"], targets={"points": Points(xy, FACE_68)})
    made, _ = Landmarks().read(whole.replace(splits={**whole.splits, "train": train}))
    assert len(made["train"]) == len(whole["train"]) - 1
    assert any("none of their points is visible: 1 image" in note for note in made.notes)
    assert any("Points outside what is seen of their images: 1;" in note for note in made.notes)
    nothing = dataclasses.replace(train, targets={"points": Points(torch.full_like(xy, NAN), FACE_68)})
    with pytest.raises(DataError, match="no training image has a visible point"):
        Landmarks().read(whole.replace(splits={**whole.splits, "train": nothing}))
    with pytest.raises(DataError, match="data='digits': has no points, which landmarks needs"):
        Landmarks().read(data.open("digits"))


@pytest.mark.parametrize("frame", ["box", "points"])
def test_a_frame_shows_the_points_where_they_are(frame: str) -> None:
    """The pixel below a point is the same in the crop and in the whole image."""
    rng = np.random.default_rng(0)
    pixels = rng.integers(0, 256, (6, 3, 60, 60), np.uint8)
    xy = torch.from_numpy(rng.uniform(20, 45, (6, 5, 2)).astype(np.float32))
    xy[0, 2] = NAN
    box = torch.tensor([18.0, 19, 46, 44])
    small = torch.tensor([20.0, 20, 21, 21])  # holds fewer of the points
    boxes = Boxes([torch.stack([small, box])] * 6, [torch.tensor([0, 0])] * 6)
    split = Split(Pixels(pixels), {"points": Points(xy), "boxes": boxes}, [str(i) for i in range(6)])
    whole = finish("d", {"train": split, "val": split.select([0]), "test": split.select([1])}, ("a",))
    made, _ = Landmarks(frame=frame, around=0.1).read(whole)  # type: ignore[arg-type]
    train = made["train"]
    assert set(train.targets) == {"points", "landmarks"} and made.fingerprint != whole.fingerprint
    for i in range(6):
        crop = train.images.read(i, 3)
        assert crop.shape[1] == crop.shape[2] < 60
        for (x, y), (u, v) in zip(xy[i].tolist(), train.targets["landmarks"].xy[i].tolist(), strict=True):  # type: ignore[attr-defined]
            if not math.isnan(x):
                assert crop[:, int(v), int(u)].tolist() == pixels[i][:, int(y), int(x)].tolist()


def test_boxes_of_a_single_pixel_are_left_out_and_said() -> None:
    rng = np.random.default_rng(0)
    xy = torch.from_numpy(rng.uniform(5, 25, (4, 3, 2)).astype(np.float32))
    xy[1] = torch.tensor([7.0, 7])  # all points in one place
    split = Split(Pixels(rng.integers(0, 256, (4, 1, 30, 30), np.uint8)), {"points": Points(xy)}, list("abcd"))
    whole = finish("d", {"train": split, "val": split.select([0]), "test": split.select([2])})
    made, _ = Landmarks(frame="points").read(whole)
    assert list(made["train"].names) == ["a", "c", "d"]
    assert any("below 2 px or beside the image: 1 image" in note for note in made.notes)
    with pytest.raises(DataError, match="has no boxes, which frame='box' needs"):
        Landmarks(frame="box").read(whole)


def test_facts_come_back_as_they_were() -> None:
    _, task = Landmarks().read(faces_of())
    assert Landmarks().recall(task.facts) == task
    assert Landmarks().recall({}) == Landmarks()
    with pytest.raises(DataError, match="has 3 points an image, not the run's 68"):
        task.read(data.open("scenes"))


# -- simpler answers


def features_and_truth(n: int = 40, seed: int = 0) -> tuple[np.ndarray[Any, Any], Placed]:
    """Features on which points depend linearly, but for noise."""
    rng = np.random.default_rng(seed)
    features = rng.normal(0, 3, (n, 6)).astype(np.float32)
    xy = 30 + np.einsum("nf,fkd->nkd", features, rng.normal(0, 1, (6, 4, 2))) + rng.normal(0, 0.1, (n, 4, 2))
    return features, Placed(torch.from_numpy(xy.astype(np.float32)), torch.ones(n, 2))


def test_ridge_regression_is_that_of_the_closed_form() -> None:
    """With the penalty that leaving out each image in turn finds best, by solving for each."""
    features, truth = features_and_truth()
    found = baselines.ridge(features[:30], truth[range(30)], features[30:], (60, 60))
    x, y = features[:30].astype(np.float64), truth.xy[:30].double().numpy().reshape(30, -1)
    level = np.sqrt(np.mean((x - x.mean(0)) ** 2))

    def solved(rows: np.ndarray[Any, Any], penalty: float, asked: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
        middle, mean = x[rows].mean(0), y[rows].mean(0)
        inner = (x[rows] - middle) / level
        slope = np.linalg.solve(inner.T @ inner + penalty * np.eye(6), inner.T @ (y[rows] - mean))
        return np.asarray((asked - middle) / level @ slope + mean)

    every = np.arange(30)
    penalties = np.logspace(-4, 4, 17) * 6
    errors = [sum(((solved(every != i, p, x[[i]]) - y[i]) ** 2).sum() for i in every) for p in penalties]
    best = penalties[int(np.argmin(errors))]
    np.testing.assert_allclose(found, solved(every >= 0, best, features[30:]).reshape(10, 4, 2), rtol=1e-4, atol=1e-3)


def test_points_that_are_missing_are_learned_from_the_images_that_show_them() -> None:
    features, truth = features_and_truth()
    whole = baselines.ridge(features[:30], truth[range(30)], features[30:], (60, 60))
    gaps = truth.xy[:30].clone()
    gaps[5, 1] = NAN
    gaps[:, 3] = NAN
    found = baselines.ridge(features[:30], Placed(gaps, truth.scale[:30]), features[30:], (60, 80))
    np.testing.assert_allclose(found[:, 1], whole[:, 1], atol=0.5)
    np.testing.assert_allclose(found[:, 3], [[40, 30]] * 10, err_msg="the middle of the frame, never seen")
    shape = baselines.mean_shape(Placed(gaps, truth.scale[:30]), (60, 80))
    np.testing.assert_allclose(shape[1], np.delete(gaps[:, 1].numpy(), 5, 0).mean(0), rtol=1e-5)
    near = baselines.nearest(features[:30], Placed(gaps, truth.scale[:30]), features[:30], (60, 80))
    known = ~gaps.isnan().numpy()
    np.testing.assert_allclose(near[known], gaps.numpy()[known], rtol=1e-6)
    np.testing.assert_allclose(near[5, 1], shape[1])
