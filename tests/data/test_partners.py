"""Which points a mirror exchanges: by their names, by the numbering of a face, or as the annotations say."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image
from torch import Tensor

from pellucid import data
from pellucid.data.annotations import Annotated, Annotations, Instance
from pellucid.data.annotations.assembling import assemble
from pellucid.data.dataset import Dataset
from pellucid.data.formats.finding import walk
from pellucid.data.partners import FACE_68, exchanges, matched_partners, named_partners, partners
from pellucid.data.targets import Points, target_of

SHARED = Path(__file__).parents[3] / "shared" / "data"
PARTS = ("eye", "ear", "shoulder", "elbow", "wrist", "hip", "knee", "ankle")
COCO = ["nose", *(f"{side}_{part}" for part in PARTS for side in ("left", "right"))]


def face(angle: float = 0.0) -> Tensor:
    """A drawn face's 68 points (1, 68, 2), numbered as in iBUG 300-W, turned by an angle in radians."""
    jaw = [(np.cos(t), 1 - np.sin(t)) for t in np.linspace(np.pi, 0, 17)]
    jaw = [(x, 1.2 - y) for x, y in jaw]
    brows = [(x, -0.5) for x in (-0.8, -0.65, -0.5, -0.35, -0.2, 0.2, 0.35, 0.5, 0.65, 0.8)]
    nose = [(0, y) for y in (-0.3, -0.15, 0, 0.15)] + [(x, 0.25) for x in (-0.2, -0.1, 0, 0.1, 0.2)]
    eye = [
        (-0.15, 0),
        (-0.05, -0.07),
        (0.05, -0.07),
        (0.15, 0),
        (0.05, 0.07),
        (-0.05, 0.07),
    ]  # from the image's left, over the lid
    eyes = [(x - 0.5, y - 0.3) for x, y in eye] + [(x + 0.5, y - 0.3) for x, y in eye]
    outer = [(np.cos(t), -np.sin(t)) for t in np.linspace(np.pi, -np.pi, 13)[:-1]]
    inner = [(np.cos(t), -np.sin(t)) for t in np.linspace(np.pi, -np.pi, 9)[:-1]]
    lips = [(0.4 * x, 0.6 + 0.2 * y) for x, y in outer] + [(0.3 * x, 0.6 + 0.1 * y) for x, y in inner]
    points = np.array([*jaw, *brows, *nose, *eyes, *lips])
    turn = np.array([[np.cos(angle), np.sin(angle)], [-np.sin(angle), np.cos(angle)]])
    return torch.tensor(points @ turn * 50 + 100, dtype=torch.float32)[None]


def test_the_table_of_a_face_takes_a_drawn_face_to_its_mirror_image() -> None:
    own = face()
    mirrored = (own * torch.tensor([-1.0, 1.0]) + torch.tensor([200.0, 0]))[:, list(FACE_68)]
    torch.testing.assert_close(mirrored, own)
    assert exchanges(FACE_68, 68)
    # spot checks with the published drawing, whose numbers start at 1: the corners of the eyes and of the mouth, the chin
    for one, other in (
        (37, 46),
        (40, 43),
        (49, 55),
        (9, 9),
        (18, 27),
        (32, 36),
        (61, 65),
        (28, 28),
        (58, 58),
        (68, 66),
    ):
        assert FACE_68[one - 1] == other - 1 and FACE_68[other - 1] == one - 1


@pytest.mark.data
@pytest.mark.parametrize("folder", ["faces68/helen", "faces68"])
def test_the_table_of_a_face_fits_real_faces(folder: str, real: Callable[[str], Path]) -> None:
    """The mean shape, mirrored and with its points exchanged, is the mean shape again; without the exchange it is far off."""
    xy = pd.read_csv(real(folder) / "face_landmarks.csv").iloc[:, 1:].to_numpy(np.float64).reshape(-1, 68, 2)
    shapes = xy - xy.mean(1, keepdims=True)
    shape = (shapes / np.sqrt((shapes**2).sum((1, 2), keepdims=True))).mean(0)
    mirrored = shape * (-1, 1)
    size = np.linalg.norm(shape)
    assert np.linalg.norm(mirrored[list(FACE_68)] - shape) < 0.08 * size
    assert np.linalg.norm(mirrored - shape) > size
    distances = np.linalg.norm(mirrored[:, None] - shape[None], axis=2)  # the nearest point is the partner
    assert (distances.argmin(0) == np.array(FACE_68)).mean() > 0.95
    assert partners([f"part_{i}" for i in range(68)], torch.from_numpy(xy).float()) == FACE_68


@pytest.mark.data
@pytest.mark.parametrize("folder", ["faces68/helen", "faces68"])
def test_the_table_of_a_face_is_learned_from_the_places_alone(folder: str, real: Callable[[str], Path]) -> None:
    xy = pd.read_csv(real(folder) / "face_landmarks.csv").iloc[:, 1:].to_numpy(np.float64).reshape(-1, 68, 2)
    every = torch.from_numpy(xy).float()
    assert matched_partners(every) == FACE_68
    assert matched_partners(every[:10]) == FACE_68
    five = every[:, [36, 45, 30, 48, 54]]  # outer corners of the eyes, tip of the nose, corners of the mouth
    assert matched_partners(five) == partners(["a", "b", "c", "d", "e"], five) == (1, 0, 2, 4, 3)


def test_partners_are_learned_only_where_places_tell_them() -> None:
    draws = torch.Generator().manual_seed(0)
    shape = torch.tensor([[-2.0, 0], [2, 0], [0, 1.5], [-1, 3], [1, 3]])
    sets = 10 * shape + torch.randn(30, 5, 2, generator=draws)
    assert matched_partners(sets) == (1, 0, 2, 4, 3)
    order = torch.randperm(5, generator=draws)
    places = {int(own): i for i, own in enumerate(order)}
    expected = tuple(places[(1, 0, 2, 4, 3)[int(own)]] for own in order)
    assert matched_partners(sets[:, order]) == expected, "whatever their order"
    gaps = sets.clone()
    gaps[:25, 0] = torch.nan
    assert matched_partners(gaps) is None, "five complete sets are not enough"
    assert matched_partners(sets[:, :2]) is None, "any two points are each other's mirror image"
    lopsided = sets.clone()
    lopsided[:, 0, 1] += 25
    assert matched_partners(lopsided) is None
    every_way = torch.rand(40, 5, 2, generator=draws)
    assert matched_partners(every_way) is None
    assert matched_partners(torch.ones(20, 5, 2)) is None


def test_sixty_eight_points_of_something_else_are_no_face() -> None:
    other = torch.rand(20, 68, 2, generator=torch.Generator().manual_seed(0))
    assert partners((), other) is None
    assert partners((), face(0.3).expand(3, -1, -1)) == FACE_68  # a head may be tilted
    gaps = face().clone()
    gaps[0, 3] = torch.nan
    assert partners((), gaps) is None  # not one face is complete
    assert partners((), torch.cat([gaps, face()])) == FACE_68


@pytest.mark.parametrize(
    ("names", "mirror"),
    [
        (COCO, (0, 2, 1, 4, 3, 6, 5, 8, 7, 10, 9, 12, 11, 14, 13, 16, 15)),
        (["Left Eye", "Right Eye", "Nose"], (1, 0, 2)),
        (["leftEye", "nose", "rightEye"], (2, 1, 0)),
        (["eye_l", "eye_r"], (1, 0)),
        (["L_Hip", "R_Hip", "L_Knee", "R_Knee"], (1, 0, 3, 2)),
        (["l1", "l2", "r1", "r2"], (2, 3, 0, 1)),
        (["lefteye", "righteye"], (1, 0)),
        (["LEye", "REye", "Mouth-L", "Mouth-R"], (1, 0, 3, 2)),
        # a corner of an eye is named by two sides, and both are exchanged
        (["left_eye_left", "left_eye_right", "right_eye_left", "right_eye_right"], (3, 2, 1, 0)),
        (["bright spot", "upright post"], None),  # no sides
        (["left_eye", "nose"], None),  # its partner is not annotated
        (["left", "l", "right"], None),  # which of the two?
        (["tip", "base"], None),
        ([], None),
    ],
)  # fmt: skip
def test_names_with_left_and_right(names: Sequence[str], mirror: tuple[int, ...] | None) -> None:
    assert named_partners(names) == mirror
    assert mirror is None or exchanges(mirror, len(names))


def assembled(folder: Path, annotations: Annotations) -> Dataset:
    for record in annotations.images:
        Image.fromarray(np.full((220, 200 + len(record.file), 3), ord(record.file[0]), np.uint8)).save(
            folder / record.file
        )
    return assemble(folder, annotations, walk(folder))


def annotated(points: Tensor, **more: tuple[int, ...] | tuple[str, ...]) -> Annotations:
    own = points[0].numpy().astype(np.float64)
    images = [Annotated(f"{part}.png", (Instance("face", points=own),), part=part) for part in ("train", "val", "test")]
    return Annotations("tests", images, **more)  # type: ignore[arg-type]


def test_annotated_points_know_their_partners(tmp_path: Path) -> None:
    five = 50 + 100 * torch.rand(1, 5, 2, generator=torch.Generator().manual_seed(0))
    names = ("left_eye", "right_eye", "nose", "mouth_left", "mouth_right")
    cases = (
        (annotated(five), None),
        (annotated(five, point_names=names), (1, 0, 2, 4, 3)),
        (annotated(five, point_names=names, mirror=(0, 1, 2, 4, 3)), (0, 1, 2, 4, 3)),  # as the annotations say
        (annotated(five, mirror=(4, 3, 2, 1, 0)), (4, 3, 2, 1, 0)),
        (annotated(face()), FACE_68),
        (annotated(five[:, :1]), (0,)),
    )
    for given, mirror in cases:
        made = assembled(tmp_path, given)
        for split in made.splits.values():
            assert target_of(split.targets, "points", Points).mirror == mirror
        assert any("numbered as in iBUG 300-W" in note for note in made.notes) == (mirror == FACE_68)


def test_learned_partners_are_said(tmp_path: Path) -> None:
    shape = np.array([[-2.0, 0], [2, 0], [0, 1.5], [-1, 3], [1, 3]])
    rng = np.random.default_rng(0)
    images = [
        Annotated(
            f"{'abcdefghijkl'[i]}.png",
            (Instance("face", points=90 + 20 * shape + rng.normal(0, 1, (5, 2))),),
            part=part,
        )
        for i, part in enumerate(("train", "val", "test") * 4)
    ]
    made = assembled(tmp_path, Annotations("tests", images))
    assert target_of(made["train"].targets, "points", Points).mirror == (1, 0, 2, 4, 3)
    words = "Which points --flip exchanges was learned from their mean shape: 2 pairs, joined on the contact sheet."
    assert words in made.notes


@pytest.mark.parametrize("mirror", [(1, 2, 0, 3, 4), (1, 0), (0, 1, 2, 3, 9)])
def test_partners_that_are_no_pairs_are_named_and_not_used(mirror: tuple[int, ...], tmp_path: Path) -> None:
    made = assembled(tmp_path, annotated(50 + 100 * torch.rand(1, 5, 2), mirror=mirror))
    assert target_of(made["train"].targets, "points", Points).mirror is None
    assert "What each of the 5 points becomes in a mirror is no exchange of pairs, and is not used." in made.problems


@pytest.mark.parametrize("given", [True, False])
def test_what_yolo_says_of_mirrors_counts(given: bool, tmp_path: Path) -> None:
    for part in ("train", "val", "test"):
        for kind in ("images", "labels"):
            (tmp_path / kind / part).mkdir(parents=True)
        Image.fromarray(np.full((20, 40, 3), len(part) * 9, np.uint8)).save(tmp_path / f"images/{part}/{part}.png")
        (tmp_path / f"labels/{part}/{part}.txt").write_text("0 0.5 0.5 0.5 0.5 0.3 0.5 0.7 0.5 0.5 0.6\n")
    mirror = "flip_idx: [1, 0, 2]\n" if given else ""
    (tmp_path / "data.yaml").write_text(
        f"train: images/train\nval: images/val\ntest: images/test\nnames: [face]\nkpt_shape: [3, 2]\n{mirror}"
    )
    points = target_of(data.open(tmp_path)["train"].targets, "points", Points)
    assert points.mirror == ((1, 0, 2) if given else None)


def test_the_names_of_coco_count(tmp_path: Path) -> None:
    categories = [{"id": 1, "name": "person", "keypoints": ["right_eye", "nose", "left_eye"]}]
    for i, part in enumerate(("train", "val", "test"), 1):
        Image.fromarray(np.full((20, 40, 3), i * 9, np.uint8)).save(tmp_path / f"{part}.png")
        image = {"id": i, "file_name": f"{part}.png", "width": 40, "height": 20}
        person = {
            "id": i,
            "image_id": i,
            "category_id": 1,
            "bbox": [1, 1, 30, 15],
            "keypoints": [5, 5, 2, 9, 9, 2, 0, 0, 0],
        }
        whole = {"images": [image], "annotations": [person], "categories": categories}
        (tmp_path / f"{part}.json").write_text(json.dumps(whole))
    points = target_of(data.open(tmp_path)["train"].targets, "points", Points)
    assert points.mirror == (2, 1, 0)
    mirrored = points.moved(torch.tensor([[[-1.0, 0, 40], [0, 1, 0]]]), lambda pixels, fill: pixels).xy[0]
    assert bool(mirrored[0].isnan().all())  # the left eye was not visible: now it is the right one
    right = points.xy[0, 0]
    assert mirrored[2].tolist() == [40 - float(right[0]), float(right[1])]
