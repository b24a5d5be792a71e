# SPDX-License-Identifier: Apache-2.0
"""--fit: images of 2:1 and 1:2 with an object whose place is known, through training, evaluate, predict, look and export.

The answers are replaced by what is bright in the frame that a task is shown: whatever is lost or shifted between the image and
the frame, or on the way back, is then seen in the answers.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor, nn

import pellucid
from pellucid import exporting
from pellucid.answering import run_batches
from pellucid.boxed import boxes_found
from pellucid.data.dataset import Dataset, Split
from pellucid.data.draws import Draws
from pellucid.data.fits import Fit
from pellucid.data.given import Arrays, gather
from pellucid.data.splitting import finish
from pellucid.data.targets import Boxes, Points
from pellucid.lenses import Network
from pellucid.looking.subjects import of_run
from pellucid.run import Run
from pellucid.tasks.detect import Detect
from pellucid.tasks.detect.objects import Detected
from pellucid.tasks.landmarks import Landmarks
from pellucid.tasks.landmarks.places import Placed
from pellucid.tasks.localize import Localize
from pellucid.tasks.localize.objects import Located

SIDE, LONG = 32, 64
QUICK = {"size": SIDE, "epochs": 1, "batch_size": 4, "device": "cpu", "progress": False}
Corners = tuple[int, int, int, int]


def scene(place: int, edge: bool = False) -> tuple[NDArray[np.uint8], Corners]:
    """A dark image (1, H, W), wide or tall in turn, with a bright box of 16×8 px in its middle, or at its very beginning."""
    wide = place % 2 == 0
    image = np.full((1, SIDE, LONG) if wide else (1, LONG, SIDE), 20, np.uint8)
    along, across = (0, 8) if edge else (20 + 4 * (place % 3), 4 + 4 * (place % 4))
    x, y = (along, across) if wide else (across, along)
    wide_box = (16, 8) if wide else (8, 16)
    image[0, y : y + wide_box[1], x : x + wide_box[0]] = 255
    return image, (x, y, x + wide_box[0], y + wide_box[1])


def scenes(count: int, edge: bool = False) -> Split:
    made = [scene(i, edge) for i in range(count)]
    corners = torch.tensor([box for _, box in made], dtype=torch.float32)  # (N, 4)
    targets = {
        "boxes": Boxes([box[None] for box in corners], [torch.zeros(1, dtype=torch.int64)] * count),
        "points": Points(corners.view(-1, 2, 2)),
    }
    return Split(Arrays([image for image, _ in made]), targets, [f"{i}.png" for i in range(count)])


def dataset(edge: bool = False) -> Dataset:
    return finish("boxes", {"train": scenes(8), "val": scenes(4), "test": scenes(6, edge)}, ("box",))


def bright(input: Tensor) -> Tensor:
    """(B, 4): the box around what is bright in each image, 0 where nothing is."""
    boxes = torch.zeros(len(input), 4)
    for box, image in zip(boxes, input[:, 0] > 0.52, strict=True):
        rows, columns = image.any(1).nonzero().flatten(), image.any(0).nonzero().flatten()
        if len(rows):
            box[:] = torch.tensor([int(columns[0]), int(rows[0]), int(columns[-1]) + 1, int(rows[-1]) + 1])
    return boxes


def located(self: Localize, model: nn.Module, input: Tensor) -> Located:
    boxes = bright(input)
    there = (boxes[:, 2] > 0).float()
    return Located(there, torch.zeros(len(boxes), dtype=torch.int64), boxes, torch.ones(len(boxes), 1))


def placed(self: Landmarks, model: nn.Module, input: Tensor) -> Placed:
    return Placed(bright(input).view(-1, 2, 2), torch.ones(len(input), 2), mirror=self.mirror)


def detected(self: Detect, model: nn.Module, input: Tensor) -> Detected:
    boxes = [box[None] for box in bright(input)]
    stray = torch.tensor([[0.0, 0, 4, 4]])  # in the padding, where there is some
    corners = [torch.cat([box, stray]) for box in boxes]
    return Detected(
        corners,
        [torch.zeros(2, dtype=torch.int64)] * len(boxes),
        [torch.tensor([0.9, 0.8])] * len(boxes),
        torch.full((len(boxes),), 0.5),
    )


TASKS: Mapping[str, tuple[type[Any], Callable[..., Any], str, dict[str, Any]]] = {
    "localize": (Localize, located, "mlp", {"hidden": (4,)}),
    "landmarks": (Landmarks, placed, "mlp", {"hidden": (4,)}),
    "detect": (Detect, detected, "fast_rcnn", {"widths": (4, 4, 4, 4)}),
}


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str, Fit], Run]:
    """A run of a task; other fits are other words in its record, which is all that answers are given by."""
    folder, begun = tmp_path_factory.mktemp("fits"), dict[str, Path]()

    def run(task: str, fit: Fit) -> Run:
        if task not in begun:
            _, _, model, options = TASKS[task]
            begun[task] = pellucid.train(task, dataset(), model, folder / task, fit="pad", **options, **QUICK).path
        path = folder / f"{task}-{fit}"
        if not path.exists():
            shutil.copytree(begun[task], path)
            record = json.loads((path / "run.json").read_text())
            assert record["task"]["options"]["fit"] == "pad"
            record["task"]["options"]["fit"] = fit
            (path / "run.json").write_text(json.dumps(record))
        return Run(path)

    return run


PAIRS = [(task, fit) for task in TASKS for fit in ("squash", "crop", "pad") if (task, fit) != ("detect", "crop")]


def corners_of(task: str, row: Mapping[str, Any]) -> list[float]:
    if task == "landmarks":
        return [value for point in row["points"].values() for value in (point["x"], point["y"])]
    box = row["box"] if task == "localize" else row["detections"][0]
    return [box[end] for end in ("x0", "y0", "x1", "y1")]


@pytest.mark.parametrize(("task", "fit"), PAIRS)
def test_answers_are_in_the_px_of_the_images(
    task: str, fit: Fit, trained: Callable[[str, Fit], Run], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    kind, oracle, _, _ = TASKS[task]
    run = trained(task, fit)
    monkeypatch.setattr(kind, "predict", oracle)
    made = [scene(i) for i in range(4)]
    arrays = [image.transpose(1, 2, 0) for image, _ in made]
    paths = [tmp_path / f"{i}.png" for i in range(4)]
    for path, array in zip(paths, arrays, strict=True):
        Image.fromarray(array[..., 0]).save(path)
    floats = [array.astype(np.float32) / 255 for array in arrays]
    for given in (arrays, floats, list(map(str, paths))):
        rows = pellucid.predict(run, given, tmp_path / "out", overwrite=True)
        for row, (_, box) in zip(rows, made, strict=True):
            assert corners_of(task, row) == pytest.approx(box, abs=0.02), given
            if task == "detect":
                assert len(row["detections"]) == (2 if fit == "squash" else 1), "in the padding there is nothing"
    with Image.open(rows[0]["picture"]) as drawn:
        assert drawn.size == (LONG, SIDE), "drawn on the image itself"
        if task == "localize":
            red, _, blue = np.asarray(drawn)[made[0][1][3] - 1, made[0][1][0]].tolist()
            assert red > 200 and blue < 40, "its line is amber there, and the object white"

    slow = (task, fit) == ("detect", "squash")  # its classical baseline
    metrics = pellucid.evaluate(run, dataset(), baselines=not slow)["model"]
    wanted = {"localize": ("mean_iou", 1.0), "landmarks": ("error_px", 0.0), "detect": ("ap50", 1.0)}[task]
    assert metrics[wanted[0]]["value"] == pytest.approx(wanted[1], abs=0.01)
    if task == "landmarks":
        task_of, split = run.task, run.read(dataset())[0]["test"]
        [batch] = run_batches(run, split, 8, torch.device("cpu"))
        input, truth = task_of.prepare(batch, Draws.images(0, batch.index), training=False)
        columns = task_of.score(input, task_of.predict(nn.Identity(), input), truth)
        known = dataset()["test"].targets["points"]
        assert isinstance(known, Points)
        for column in ("truth", "answer"):
            assert np.abs(columns[column] - known.xy.numpy()).max() < 0.01, "records are in px of the images too"


@pytest.mark.parametrize("fit", ["squash", "crop", "pad"])
def test_a_lens_is_shown_what_the_model_sees(fit: Fit, trained: Callable[[str, Fit], Run], tmp_path: Path) -> None:
    run = trained("localize", fit)
    image, (x0, y0, x1, y1) = scene(0)
    network = of_run(run, image.transpose(1, 2, 0)).part(Network)
    assert network is not None
    seen = bright(network.images[0][None])[0].tolist()
    expected = {
        "squash": (x0 / 2, y0, x1 / 2, y1),
        "crop": (x0 - 16, y0, x1 - 16, y1),
        "pad": (x0 / 2, y0 / 2 + 8, x1 / 2, y1 / 2 + 8),
    }
    assert seen == pytest.approx(expected[fit])
    [file] = pellucid.export(run, tmp_path, ["torch"])
    about = exporting.facts(file)
    assert about["fit"].startswith(f"{fit}: ") and json.loads(about["task options"])["fit"] == fit


def test_an_answer_of_the_whole_frame_is_one_of_the_whole_image(
    trained: Callable[[str, Fit], Run], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Padding is neither right nor wrong: 16×8 of 64×32 px are the object's, whatever the frame has beside them."""

    def everything(self: Localize, model: nn.Module, input: Tensor) -> Located:
        whole = torch.tensor([[0.0, 0, SIDE, SIDE]]).expand(len(input), 4)
        return Located(
            torch.ones(len(input)), torch.zeros(len(input), dtype=torch.int64), whole, torch.ones(len(input), 1)
        )

    monkeypatch.setattr(Localize, "predict", everything)
    run = trained("localize", "pad")
    values = pellucid.evaluate(run, dataset(), baselines=False)["model"]
    assert values["pixel_tnr"]["value"] == 0
    assert values["pixel_ppv"]["value"] == values["mean_iou"]["value"] == pytest.approx(16 * 8 / (SIDE * LONG))
    [row] = pellucid.predict(run, scene(0)[0].transpose(1, 2, 0))
    assert corners_of("localize", row) == [0, 0, LONG, SIDE]


@pytest.mark.parametrize("fit", ["squash", "crop", "pad"])
def test_boxes_that_another_run_finds_are_in_the_px_of_the_images(
    fit: Fit, trained: Callable[[str, Fit], Run], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Localize, "predict", located)
    made = [scene(i) for i in range(4)]
    given = gather([image.transpose(1, 2, 0) for image, _ in made])
    found = boxes_found(trained("localize", fit).path, given, 4, torch.device("cpu"))
    for i, (_, box) in enumerate(made):
        assert found[i] == pytest.approx(box, abs=1e-4)


def test_what_a_crop_cuts_off_counts_as_missed(
    trained: Callable[[str, Fit], Run], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Objects at the very beginning of 2:1 images, of which a crop shows nothing."""
    monkeypatch.setattr(Localize, "predict", located)
    monkeypatch.setattr(Landmarks, "predict", placed)
    asked: list[tuple[Fit, float]] = [("crop", 0.0), ("pad", 1.0)]
    for fit, iou in asked:
        values = pellucid.evaluate(trained("localize", fit), dataset(edge=True), baselines=True)["model"]
        assert values["mean_iou"]["value"] == pytest.approx(iou, abs=0.01)
        assert values["found"]["value"] == pytest.approx(iou)
        error = pellucid.evaluate(trained("landmarks", fit), dataset(edge=True), baselines=True)["model"]["error_px"]
        assert (error["value"] > 5) == (fit == "crop")
