# SPDX-License-Identifier: Apache-2.0
"""landmarks: runs whose answers agree with their measures, in an image's own pixels and in every form, whole or within boxes."""

from __future__ import annotations

import csv
import json
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor, nn

import pellucid
from pellucid import data
from pellucid.data.annotations.point_files import read_points
from pellucid.data.dataset import Dataset
from pellucid.data.limiting import limited
from pellucid.data.targets import Points, target_of
from pellucid.errors import PellucidWarning, UsageError
from pellucid.looking.looking import look
from pellucid.reporting.reporting import report
from pellucid.run import Run, load
from pellucid.tasks import FindsBoxes
from pellucid.tasks.detect import Detect
from pellucid.tasks.detect.objects import Detected
from pellucid.tasks.landmarks import Landmarks
from pellucid.tasks.landmarks.curves import pooled
from pellucid.tasks.landmarks.places import Placed
from pellucid.tasks.localize import Localize
from pellucid.tasks.localize.objects import Located
from pellucid.training.training import train

QUICK: dict[str, Any] = {"epochs": 1, "batch_size": 16, "device": "cpu", "progress": False, "precision": "fp32"}


def scenes(n: int = 48) -> Dataset:
    whole = data.open("scenes")
    return whole.replace(splits={part: split.select(range(min(n, len(split)))) for part, split in whole.splits.items()})


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    folder = tmp_path_factory.mktemp("landmarks")
    options = {"flip": True, "rotate": 10.0, "shift": 4, "width": 16, "limit": 48, **QUICK}
    return train("landmarks", "scenes", "heatmap", folder / "run", **options)


@pytest.fixture(scope="module")
def finder(tmp_path_factory: pytest.TempPathFactory) -> Run:
    folder = tmp_path_factory.mktemp("localize")
    return train("localize", scenes(), "mlp", folder / "run", hidden=(8,), **QUICK)


def pictures(n: int = 4) -> list[np.ndarray[Any, Any]]:
    images = data.open("scenes")["test"].images
    return [images.read(i, 3).transpose(1, 2, 0) for i in range(n)]


def xy_of(row: dict[str, Any]) -> list[list[float]]:
    return [[one["x"], one["y"]] for one in row["points"].values()]


def test_answers_are_in_the_image_s_own_pixels_as_measured(run: Run) -> None:
    """Not in a unit square, and not in those of the resized image."""
    made, images = scenes(), pictures()
    wide = [np.asarray(Image.fromarray(image).resize((160, 96), Image.Resampling.NEAREST)) for image in images]
    rows, larger = pellucid.predict(run, images), pellucid.predict(run, wide)
    truth = target_of(made["test"].targets, "points", Points).xy
    for i, (one, other) in enumerate(zip(rows, larger, strict=True)):
        assert list(one["points"]) == ["centre", "tip", "base"]
        own, wider = np.array(xy_of(one)), np.array(xy_of(other))
        np.testing.assert_allclose(wider / (160 / 64, 96 / 64), own, atol=1.5)
        assert own.max() > 2, "pixels, not shares"
        assert np.isfinite(np.linalg.norm(own - truth[i].numpy(), axis=1)).all()
        assert 0 < one["certainty"] <= 1


def test_a_loaded_run_knows_its_points_without_its_data(run: Run) -> None:
    again = load(run.path)
    assert isinstance(again, Run)
    task = again.task
    assert isinstance(task, Landmarks)
    assert (task.count, task.names, task.mirror) == (3, ("centre", "tip", "base"), (0, 1, 2))
    assert again.main.key == "nme_box" and again.main.better == "lower"
    assert json.loads((run.path / "run.json").read_text())["learned"]["points"] == 3


def test_measures_of_evaluate_are_those_of_the_rows_of_predict(run: Run) -> None:
    found = pellucid.evaluate(run)
    made = run.data()
    images = [made["test"].images.read(i, 3).transpose(1, 2, 0) for i in range(300)]
    truth = target_of(made["test"].targets, "points", Points).xy.numpy()
    answers = np.array([xy_of(row) for row in pellucid.predict(run, images)])
    errors = np.linalg.norm(answers - truth, axis=2).mean(1)
    diagonal = np.linalg.norm(truth.max(1) - truth.min(1), axis=1)
    assert found["model"]["nme_box"]["value"] == pytest.approx((100 * errors / diagonal).mean(), rel=2e-2)
    assert found["model"]["error_px"]["value"] == pytest.approx(errors.mean(), rel=2e-2)
    assert [*found["baselines"]] == ["the mean shape", "nearest training image by HOG", "ridge regression on HOG"]
    seen = limited(made["train"], 48, None, 0, made.classes)
    shape = target_of(seen.targets, "points", Points).xy.numpy().mean(0)
    away = np.linalg.norm(shape - truth, axis=2).mean(1)
    assert found["baselines"]["the mean shape"]["error_px"]["value"] == pytest.approx(away.mean(), rel=1e-4)
    assert [picture["name"] for picture in found["pictures"]] == ["cumulative_errors", "errors_by_point"]
    page = report(run, maps=0).read_text()
    for words in ("NME by the diagonal of the box around the points", "Cumulative errors", "Error by point"):
        assert words in page


def test_further_forms_are_read_back_as_the_same_points(run: Run, tmp_path: Path) -> None:
    photos = tmp_path / "photos"
    photos.mkdir()
    for i, image in enumerate(pictures()):
        Image.fromarray(image).save(photos / f"{i}.png")
    rows = pellucid.predict(run, photos, tmp_path / "out", format="csv", also=("pts", "coco"))
    assert len(rows) == 4
    with open(tmp_path / "out" / "predictions.csv", newline="") as file:
        table = list(csv.DictReader(file))
    coco = json.loads((tmp_path / "out" / "keypoints.json").read_text())
    for i, row in enumerate(rows):
        own = np.array(xy_of(row))
        points, headed = read_points(tmp_path / "out" / f"{i}.pts")
        assert headed
        np.testing.assert_allclose(points - 1, own, atol=0.006)  # the form counts from 1
        np.testing.assert_allclose(
            [[float(table[i][f"points.{name}.{axis}"]) for axis in "xy"] for name in row["points"]], own
        )
        np.testing.assert_allclose(np.array(coco["annotations"][i]["keypoints"]).reshape(3, 3)[:, :2], own)
        drawn = np.asarray(Image.open(tmp_path / "out" / f"{i}.png"))
        assert drawn.shape == (64, 64, 3)
    # what was written is a data set: the readers give the same places
    whole = tmp_path / "again"
    for part in ("train", "val", "test"):
        (whole / part).mkdir(parents=True)
    for i, part in enumerate(("train", "train", "val", "test")):
        for name in (f"{i}.png", f"{i}.pts"):
            folder = photos if name.endswith("png") else tmp_path / "out"
            (whole / part / name).write_bytes((folder / name).read_bytes())
    read = target_of(data.open(whole)["test"].targets, "points", Points).xy[0].numpy()
    np.testing.assert_allclose(read, xy_of(rows[3]), atol=0.006)
    (tmp_path / "photos" / "train.json").write_text(json.dumps(coco))
    opened = data.open(tmp_path / "photos")
    assert opened.point_names == ("centre", "tip", "base") and sum(map(len, opened.splits.values())) == 4


def test_only_the_points_and_lines_change_a_drawn_image() -> None:
    image = np.random.default_rng(0).integers(0, 256, (3, 50, 60), np.uint8)
    task = Landmarks(count=2, lines=((0, 1),))
    one = Placed(torch.tensor([[[10.0, 12], [20, 12]]]), torch.ones(1, 2))
    drawn = task.drawn(image, one, ())
    changed = np.argwhere((drawn != image).any(0))
    assert len(changed) and changed[:, 0].min() >= 9 and changed[:, 0].max() <= 15 and changed[:, 1].max() <= 23
    for beside in (
        one.resized(torch.ones(1, 2), torch.full((1, 2), 500.0), (1, 1)),
        Placed(one.xy * torch.nan, one.scale),
    ):
        np.testing.assert_array_equal(task.drawn(image, beside, ()), image)


# -- within boxes


def found_by(monkeypatch: pytest.MonkeyPatch, boxes: list[list[float] | None], side: int = 64) -> None:
    """Let a run of localize find these boxes, one for each image in turn."""
    left = iter(boxes)

    def predict(self: Localize, model: nn.Module, input: Tensor) -> Located:
        own = [next(left) for _ in input]
        corners = torch.tensor([box or [0.0, 0, 0, 0] for box in own])
        present = torch.tensor([float(box is not None) for box in own])
        return Located(present, torch.zeros(len(own), dtype=torch.int64), corners, torch.ones(len(own), 8) / 8)

    monkeypatch.setattr(Localize, "predict", predict)


def test_a_run_that_finds_boxes_says_where_to_look(
    run: Run, finder: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As answers for the parts alone, moved by the parts' corners; where nothing is found, the row says so, and no other is lost."""
    images = pictures(4)
    boxes: list[list[float] | None] = [[10, 12, 40, 30], None, [50, 40, 80, 60], [0, 0, 64, 64]]
    found_by(monkeypatch, boxes)
    rows = pellucid.predict(run, images, tmp_path / "out", crop=str(finder.path), also=("pts", "coco"))
    around = run.task.around  # type: ignore[attr-defined]
    for i in (0, 2, 3):
        x0, y0, x1, y1 = boxes[i] or []
        side = round(max(x1 - x0, y1 - y0) * (1 + 2 * around))
        left, top = round((x0 + x1) / 2 - side / 2), round((y0 + y1) / 2 - side / 2)
        padded = np.pad(images[i], ((99, 99), (99, 99), (0, 0)), mode="edge")
        part = padded[top + 99 : top + 99 + side, left + 99 : left + 99 + side]
        [alone] = pellucid.predict(run, part)
        np.testing.assert_allclose(np.array(xy_of(rows[i])) - [left, top], xy_of(alone), atol=0.02)
        assert rows[i]["box"] == {"x0": x0, "y0": y0, "x1": x1, "y1": y1}
    assert rows[1]["note"] == "no object was found"
    assert set(rows[1]["points"]) == {"centre", "tip", "base"} and rows[1]["points"]["tip"] == {"x": None, "y": None}
    names = {path.name for path in (tmp_path / "out").iterdir()}
    assert {"image_0.pts", "image_2.pts", "image_3.pts", "image_0.png"} <= names and "image_1.pts" not in names
    coco = json.loads((tmp_path / "out" / "keypoints.json").read_text())
    assert len(coco["images"]) == 4 and [one["image_id"] for one in coco["annotations"]] == [1, 3, 4]


def test_no_face_in_any_picture_is_an_answer(
    run: Run, finder: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    found_by(monkeypatch, [None, None])
    rows = pellucid.predict(run, pictures(2), tmp_path / "out", format="csv", crop=str(finder.path))
    assert [row["note"] for row in rows] == ["no object was found"] * 2
    with open(tmp_path / "out" / "predictions.csv", newline="") as file:
        table = list(csv.DictReader(file))
    assert [row["points.tip.x"] for row in table] == ["", ""] and table[0]["note"] == "no object was found"


def test_boxes_from_a_table(run: Run, tmp_path: Path) -> None:
    table = tmp_path / "boxes.csv"
    table.write_text(
        "name,x0,y0,x1,y1\nimage_0,10,12,40,30\nimage_1,90,5,99,9\nimage_2,4,4,5,5\nimage_4,-20,20,20,60\n"
    )
    rows = pellucid.predict(run, pictures(5), boxes=str(table))
    assert [row.get("note") for row in rows] == [
        None, "the box lies beside the image", "the box is below 2 px", "no box was given", None,
    ]  # fmt: skip
    assert all(np.isfinite(xy_of(rows[i])).all() for i in (0, 4)), "an object half outside the image has points too"
    floats = [image.astype(np.float32) / 255 for image in pictures(1)]
    [one] = pellucid.predict(run, floats, boxes=str(table))
    np.testing.assert_allclose(xy_of(one), xy_of(rows[0]), atol=0.2)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("a,b\n1,2\n", "has the columns a, b; give name, x0, y0, x1 and y1"),
        ("name,x0,y0,x1,y1\nimage_0,1,2,3,four\n", "line 2 has a side of a box that is no number"),
        ("name,x0,y0,x1,y1\nimage_0,1,2,3,inf\n", "line 2 has a side of a box that is not finite"),
        ("name,x0,y0,x1,y1\nimage_0,1,2,9,9\nimage_0,1,2,9,9\n", "line 3 has a second box of image_0"),
        ("name,x0,y0,x1,y1\nother,1,2,9,9\n", "names none of the images"),
        ("", "has the columns none"),
    ],
)
def test_tables_of_boxes_that_cannot_be_used_are_refused(run: Run, tmp_path: Path, text: str, words: str) -> None:
    table = tmp_path / "boxes.csv"
    table.write_text(text)
    with pytest.raises(UsageError, match=words):
        pellucid.predict(run, pictures(1), boxes=str(table))


def test_where_to_look_is_asked_for_once_and_by_a_run_that_finds_boxes(run: Run, finder: Run, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="crop, boxes: both say where to look"):
        pellucid.predict(run, pictures(1), crop=str(finder.path), boxes="a.csv")
    with pytest.raises(
        UsageError, match="is a run of landmarks, which finds no boxes; name a run of localize or detect"
    ):
        pellucid.predict(run, pictures(1), crop=str(run.path))
    with pytest.raises(UsageError, match=r"also='xml': is not known; choose pts or coco"):
        pellucid.predict(run, pictures(1), also=("xml",))
    with pytest.raises(UsageError, match=r"is no folder, and image_0\.pts needs one"):
        pellucid.predict(run, pictures(1), tmp_path / "a.csv", also=("pts",))


def test_the_boxes_of_localize_are_those_of_its_rows(finder: Run) -> None:
    rows = pellucid.predict(finder, pictures(6))
    images = torch.stack([torch.from_numpy(image.transpose(2, 0, 1)) / 255 for image in pictures(6)])
    with torch.no_grad():
        found = finder.task.boxes_of(finder.task.predict(finder.model(), images))  # type: ignore[attr-defined]
    for row, corners, scores in zip(rows, found.corners, found.scores, strict=True):
        assert len(corners) == len(scores) == (row["label"] is not None)
        if len(corners):
            assert corners[0].tolist() == pytest.approx([*row["box"].values()], abs=0.01)


def test_the_boxes_of_detect_are_those_that_it_answers() -> None:
    corners = torch.tensor([[0.0, 0, 9, 9], [5, 5, 8, 9], [1, 1, 2, 3]])
    given = Detected([corners], [torch.tensor([0, 1, 0])], [torch.tensor([0.9, 0.6, 0.2])], torch.tensor([0.5]))
    task = Detect()
    assert isinstance(task, FindsBoxes)
    found = task.boxes_of(given)
    assert found.corners[0].tolist() == corners[:2].tolist()
    assert found.scores is not None and found.scores[0].tolist() == pytest.approx([0.9, 0.6])


def test_a_run_on_parts_says_so_where_images_are_seen_whole(tmp_path: Path) -> None:
    made = train("landmarks", scenes(16), "heatmap", tmp_path / "run", frame="box", width=8, **QUICK)
    with pytest.warns(PellucidWarning, match="frame='box': the run was trained on parts of images"):
        pellucid.predict(made, pictures(1))
    table = tmp_path / "boxes.csv"
    table.write_text("name,x0,y0,x1,y1\nimage_0,10,12,40,30\n")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        pellucid.predict(made, pictures(1), boxes=str(table))
    found = pellucid.evaluate(made, scenes(16), baselines=False)  # the parts are cut again as in the training
    assert np.isfinite(found["model"]["nme_box"]["value"])


# -- the rest of a run


@pytest.mark.parametrize("size", [(1, 1), (1, 90), (300, 7)])
def test_images_of_any_size_have_points(run: Run, size: tuple[int, int]) -> None:
    [row] = pellucid.predict(run, np.zeros((*size, 3), np.uint8))
    assert np.isfinite(xy_of(row)).all()


def test_lenses_follow_one_point(run: Run) -> None:
    images = pictures(1)
    rules = run.task.followable(run.classes)
    seen = look(run, "occlusion", images, follow="tip", patch=16, stride=16)
    batch = torch.from_numpy(images[0].transpose(2, 0, 1))[None] / 255
    with torch.no_grad():
        assert float(seen.numbers["score"][0]) == pytest.approx(float(rules["tip"](run.model()(batch))[0]), abs=1e-3)
    assert look(run, "attribution", images, follow="base y", method="saliency").figure is not None
    maps = torch.randn(2, 3, 12, 12)
    order = torch.tensor([0, 2, 1])
    torch.testing.assert_close(rules["tip"](maps), rules["base"](maps[:, order]))
    numbers = torch.randn(2, 6)
    vector = Landmarks(kind="vector", count=3, names=("a", "b", "c")).followable(())
    assert "a" not in vector
    torch.testing.assert_close(vector["b y"](numbers), 0.5 + numbers[:, 3] / 256)


def test_pooled_features_are_named_where_they_know_no_places() -> None:
    def records(error: float) -> dict[str, np.ndarray[Any, Any]]:
        return {"error": np.full((4, 3), error), "nme_box": np.full(4, 50.0)}

    names = ("the mean shape", "ridge regression on the pooled frozen features (2,000 images)")
    words = pooled(dict(zip(("model", *names), map(records, (2, 8.95, 8.75)), strict=True)), "box")
    assert words == (
        "Features that are averaged over the image know hardly anything of places: by ridge regression on them the error is 17.5 %, and "
        "the mean shape, which sees no image, has 17.9 %. A head on maps keeps the places: --model heatmap."
    )
    assert pooled(dict(zip(("model", *names), map(records, (2, 8.95, 4)), strict=True)), "box") == ""
    assert pooled({"model": records(2), names[0]: records(8)}, "box") == ""


@pytest.mark.slow
def test_a_head_on_pooled_frozen_features_is_measured_beside_ridge_regression_on_them(tmp_path: Path) -> None:
    options = {
        "frozen": True,
        "pretrained": False,
        "heads": 0,
        "point_loss": "mse",
        "optimizer": "sgd",
        "lr": 5e-4,
        **QUICK,
    }
    made = train("landmarks", scenes(32), "mobilenet_v2", tmp_path / "run", **options)
    assert made.info["model"]["outputs"] == 6
    assert "ridge regression on the pooled frozen features" in pellucid.evaluate(made, scenes(32))["baselines"]


@pytest.mark.slow
def test_a_training_on_kept_maps_is_the_one_that_computes_them(tmp_path: Path) -> None:
    """The features of a frozen backbone at several strides are kept and shown again, bit for bit."""
    options = {
        "backbone": "mobilenet_v2",
        "pretrained": False,
        "frozen": True,
        "stride": 8,
        "width": 8,
        "shift": 2,
        **QUICK,
    }
    kept, again = (
        train("landmarks", scenes(32), "heatmap", tmp_path / f"{name}", variants=1, **options)
        for name in ("one", "two")
    )
    with torch.no_grad():
        image = torch.rand(2, 3, 64, 64)
        torch.testing.assert_close(kept.model()(image), again.model()(image))
    assert json.loads((kept.path / "run.json").read_text())["frozen"]["before"]
    name = "ridge regression on the frozen maps"
    assert name in pellucid.evaluate(kept, scenes(32))["baselines"]
