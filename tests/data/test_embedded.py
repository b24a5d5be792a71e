# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import os
import subprocess
import sys
from itertools import combinations

import numpy as np
import pytest
import torch

from pellucid.data import Dataset, open
from pellucid.data.embedded import embedded, glyphs, scenes
from pellucid.data.targets import Boxes, Label, Mask, Points
from pellucid.errors import UnknownNameError

OLD_PROCESSOR = {
    "ATEN_CPU_CAPABILITY": "avx2",
    "ONEDNN_MAX_CPU_ISA": "AVX2",
    "MKL_ENABLE_INSTRUCTIONS": "AVX2",
    "NPY_DISABLE_CPU_FEATURES": "X86_V4 AVX512_ICL AVX512_SPR",
}
"""Libraries keep to the instructions of a processor without AVX-512."""


@pytest.fixture(scope="module")
def loaded() -> dict[str, Dataset]:
    return {name: embedded.load(name) for name in embedded.names()}


@pytest.mark.parametrize("name", embedded.names())
def test_every_embedded_dataset_is_whole_and_named(loaded: dict[str, Dataset], name: str) -> None:
    data = loaded[name]
    assert data.name == name
    assert list(data.splits) == ["train", "val", "test"]
    assert len(data.fingerprint) == 32
    names = [title for split in data.splits.values() for title in split.names]
    assert len(set(names)) == len(names) == sum(len(split) for split in data.splits.values())
    for split in data.splits.values():
        assert len(split) > 100
        assert all(len(target) == len(split) for target in split.targets.values())
        label = split.targets.get("label")
        if isinstance(label, Label):
            assert label.index.dtype == torch.int64
            assert set(label.index.tolist()) == set(range(len(data.classes)))


@pytest.mark.parametrize("name", embedded.names())
def test_no_image_stands_in_two_splits(loaded: dict[str, Dataset], name: str) -> None:
    digests = [set(split.images.digests) for split in loaded[name].splits.values()]
    assert not any(one & other for one, other in combinations(digests, 2))


def test_another_process_draws_the_same_datasets() -> None:
    """Strings have other hashes there, and an older processor rounds otherwise; contents and splits must not depend on it."""
    counts = {"train": 60, "val": 5, "test": 5}
    draw = f"glyphs.draw(1), glyphs.draw(1, lit=True), scenes.draw({counts}), scenes.draw({counts}, sparse=True)"
    command = f"from pellucid.data.embedded import glyphs, scenes; print(*(one.fingerprint for one in ({draw})))"
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", command],
        check=True, capture_output=True, text=True, env={**os.environ, **OLD_PROCESSOR},
    )  # fmt: skip
    here = (glyphs.draw(1), glyphs.draw(1, lit=True), scenes.draw(counts), scenes.draw(counts, sparse=True))
    assert done.stdout.split() == [one.fingerprint for one in here]


def test_an_unknown_name_is_answered_with_the_nearest() -> None:
    with pytest.raises(UnknownNameError, match="did you mean 'digits'"):
        embedded.load("digit")


def test_open_gives_the_embedded_dataset(loaded: dict[str, Dataset]) -> None:
    assert open("digits").fingerprint == loaded["digits"].fingerprint


def test_digits_are_those_of_scikit_learn(loaded: dict[str, Dataset]) -> None:
    from sklearn.datasets import load_digits

    truth = load_digits()
    for split in loaded["digits"].splits.values():
        rows = [int(name.split("/")[1]) for name in split.names]
        label = split.targets["label"]
        assert isinstance(label, Label)
        assert label.index.tolist() == truth.target[rows].tolist()
        back = np.stack([split.images.read(i, 1)[0] for i in range(len(split))]) * (16 / 255)
        assert np.array_equal(back.round(), truth.images[rows])
    assert sum(len(split) for split in loaded["digits"].splits.values()) == 1797


@pytest.mark.parametrize(("name", "channels"), [("patches", 1), ("patches_colour", 3)])
def test_patches_lie_where_their_names_say(loaded: dict[str, Dataset], name: str, channels: int) -> None:
    from skimage.data import camera, coffee

    data = loaded[name]
    assert (data.channels, data.size) == (channels, (64, 64))
    photographs = {p: {t.split("@")[0].removesuffix("-half") for t in s.names} for p, s in data.splits.items()}
    assert not any(one & other for one, other in combinations(photographs.values(), 2))
    assert "motorcycle_right" not in set().union(*photographs.values())
    truth = {"camera": camera()[..., None], "coffee": coffee()}
    seen = 0
    for i, title in enumerate(data["test"].names):
        photograph, place = title.split("@")
        y, x = map(int, place.split(","))
        if photograph in truth and truth[photograph].shape[2] in (1, channels):
            expected = truth[photograph][y : y + 64, x : x + 64].transpose(2, 0, 1)
            assert np.array_equal(data["test"].images.read(i, channels), np.broadcast_to(expected, (channels, 64, 64)))
            seen += 1
    assert seen >= 64


def test_scenes_have_exact_boxes_masks_and_keypoints(loaded: dict[str, Dataset]) -> None:
    """Each against the other: no pixel of a mask lies outside its box, none of the box's sides is far from the mask."""
    split = loaded["scenes"]["test"]
    label, boxes, mask, points = (split.targets[kind] for kind in ("label", "boxes", "mask", "points"))
    assert (
        isinstance(label, Label) and isinstance(boxes, Boxes) and isinstance(mask, Mask) and isinstance(points, Points)
    )
    for i in range(len(split)):
        classes, corners, kinds = mask.classes[i], boxes.corners[i], boxes.labels[i]
        assert kinds[0] == label.index[i]
        claimed = torch.zeros(64, 64, dtype=torch.bool)
        areas = []
        for (x0, y0, x1, y1), kind in zip(corners.tolist(), kinds.tolist(), strict=True):
            assert x0 >= 0 and y0 >= 0 and x1 <= 64 and y1 <= 64
            window = slice(round(y0), round(y1)), slice(round(x0), round(x1))  # the pixels whose centres lie in the box
            here = torch.zeros(64, 64, dtype=torch.bool)
            here[window] = classes[window] == kind + 1
            claimed |= here
            rows, columns = torch.nonzero(here, as_tuple=True)
            sides = torch.tensor([columns.min(), rows.min(), columns.max() + 1, rows.max() + 1])
            assert float((sides - torch.tensor([x0, y0, x1, y1])).abs().max()) <= 2.5  # a sharp tip covers no centre
            areas.append(int(here.sum()))
        assert bool((claimed == (classes > 0)).all())
        assert areas[0] == max(areas)
        centre, tip, base = points.xy[i]
        across, along = tip - centre, base - centre
        assert abs(float(across[0] * along[1] - across[1] * along[0])) < 1e-3 * float(across.norm() * along.norm())
        for point in (tip, base):  # just within the shape, and just outside of it
            outward = (point - centre) / (point - centre).norm()
            inner, outer = (point - 2.6 * outward).floor().long(), (point + 1.5 * outward).floor().long()
            assert classes[inner[1], inner[0]] == label.index[i] + 1
            if bool(((outer >= 0) & (outer < 64)).all()):
                assert classes[outer[1], outer[0]] != label.index[i] + 1


def test_the_area_of_each_shape_is_that_of_its_formula() -> None:
    """Circle πR², ring ¾πR², square 2R², … measured on the masks of many scenes with R from the keypoints."""
    split = scenes.draw({"train": 400, "val": 8, "test": 8})["train"]
    label, mask, points = (split.targets[kind] for kind in ("label", "mask", "points"))
    boxes = split.targets["boxes"]
    assert (
        isinstance(label, Label) and isinstance(mask, Mask) and isinstance(points, Points) and isinstance(boxes, Boxes)
    )
    arm = 2 * 0.36
    shares = [  # area over (distance from centre to tip)²
        np.pi, 0.75 * np.pi, 4, 2 * 0.6, 3 * 3**0.5 / 4, 2.5 * np.sin(2 * np.pi / 5), 5 * 0.45 * np.sin(np.pi / 5),
        4 * arm - arm**2,
    ]  # fmt: skip
    measured: dict[int, list[float]] = {}
    for i, kind in enumerate(label.index.tolist()):
        if len(boxes.labels[i]) == 1:
            reach = float((points.xy[i, 1] - points.xy[i, 0]).norm())
            measured.setdefault(kind, []).append(float((mask.classes[i] == kind + 1).sum()) / reach**2)
    assert sorted(measured) == list(range(8))
    for kind, values in measured.items():
        assert np.mean(values) == pytest.approx(shares[kind], rel=0.02)


def test_the_masks_follow_what_is_drawn(loaded: dict[str, Dataset]) -> None:
    """A shape stands out from its ground: colours change across the edge of the mask more than elsewhere."""
    split = loaded["scenes"]["test"]
    mask = split.targets["mask"]
    assert isinstance(mask, Mask)
    images = np.stack([split.images.read(i, 3) for i in range(len(split))]).astype(np.float32)
    change = np.abs(np.diff(images, axis=3)).sum(1)
    edge = np.diff(mask.classes.numpy().astype(int), axis=2) != 0
    assert change[edge].mean() > 3 * change[~edge].mean()


def test_glyphs_of_the_test_fonts_can_be_told_by_their_nearest_training_glyph(loaded: dict[str, Dataset]) -> None:
    """By raw pixels half are right: far above chance (1/36), far below a solved task."""
    from sklearn.neighbors import KNeighborsClassifier

    data = loaded["glyphs"]
    fonts = {part: {name.split("/")[2] for name in split.names} for part, split in data.splits.items()}
    assert not any(one & other for one, other in combinations(fonts.values(), 2))
    flat = {}
    for part in ("train", "test"):
        pixels = np.stack([data[part].images.read(i, 1) for i in range(0, len(data[part]), 3)]).reshape(-1, 1024)
        truth = data[part].targets["label"]
        assert isinstance(truth, Label)
        flat[part] = (pixels - pixels.mean(1, keepdims=True)) / pixels.std(1, keepdims=True), truth.index[::3].numpy()
    accuracy = KNeighborsClassifier(1).fit(*flat["train"]).score(*flat["test"])
    assert 0.4 < accuracy < 0.95


def test_glyphs_fill_their_images_and_differ_from_one_another(loaded: dict[str, Dataset]) -> None:
    split = loaded["glyphs"]["train"]
    images = np.stack([split.images.read(i, 1)[0] for i in range(len(split))]).astype(np.float32)
    assert len({image.tobytes() for image in images}) == len(images)
    assert (images.max((1, 2)) - images.min((1, 2)) > 70).all()  # ink against ground
    border = np.concatenate([images[:, 0], images[:, -1]], 1)
    assert (border.max(1) < images.max((1, 2))).mean() > 0.95  # cut off by the edge almost never


def test_lit_glyphs_are_the_glyphs_under_one_lamp_each(loaded: dict[str, Dataset]) -> None:
    """Their ratio to the glyphs follows Lambert's cosine on a dome: linear in its normals wherever the lamp reaches."""
    plain, lit = loaded["glyphs"]["train"], loaded["glyphs_lit"]["train"]
    assert plain.targets["label"].index.equal(lit.targets["label"].index)  # type: ignore[attr-defined]
    across = np.linspace(-0.65, 0.65, 32)
    x, y = np.meshgrid(across, across)
    normals = np.stack([x, y, np.sqrt(1 - x**2 - y**2)], -1)  # (32, 32, 3)
    lamps = []
    for i in range(0, len(plain), 50):
        before, after = (split.images.read(i, 1)[0].astype(np.float64) for split in (plain, lit))
        ratio = after / np.maximum(before, 1)
        reached = (before > 100) & (ratio > 0.3)
        lamp, *_ = np.linalg.lstsq(normals[reached], ratio[reached] - 0.15, rcond=None)
        expected = 0.15 + 0.85 * np.maximum(normals @ lamp / 0.85, 0)
        assert np.abs(ratio - expected)[before > 100].mean() < 0.04
        lamps.append(lamp)
    lengths = np.linalg.norm(lamps, axis=1)
    assert np.median(np.abs(lengths - 0.85)) < 0.03
    directions = np.array(lamps) / lengths[:, None]
    assert (directions[:, 2] > 0.1).all()  # from the front
    assert np.linalg.norm(directions.mean(0)[:2]) < 0.2 < np.linalg.norm(directions[:, :2], axis=1).mean()
