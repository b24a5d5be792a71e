# SPDX-License-Identifier: Apache-2.0
"""--fit: maps of pixels, what trainings and baselines are shown, words of earlier runs, and words that there are not."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor, nn

import pellucid
from pellucid.data.dataset import Dataset, Split
from pellucid.data.fits import Fit
from pellucid.data.fitting import fit_array
from pellucid.data.given import Arrays, gather
from pellucid.data.splitting import finish
from pellucid.data.targets import VOID, Boxes, Label, Mask, target_of
from pellucid.errors import RunError, UsageError
from pellucid.run import Run
from pellucid.tasks._views import Views
from pellucid.tasks.classify import Classify
from pellucid.tasks.cluster import answers as of_clusters
from pellucid.tasks.detect import Detect, shapes
from pellucid.tasks.generate import Generate
from pellucid.tasks.landmarks import Landmarks
from pellucid.tasks.localize import Localize
from pellucid.tasks.segment import Segment
from pellucid.training.feed import Feed
from pellucid.training.plan import Plan

HEIGHT, WIDTH = 32, 64
QUICK = {"size": 32, "epochs": 1, "batch_size": 4, "device": "cpu", "progress": False}


def scene(place: int) -> NDArray[np.uint8]:
    """A dark image (1, 32, 64) with a bright box of 16×8 px."""
    image = np.full((1, HEIGHT, WIDTH), 20, np.uint8)
    x, y = 20 + 4 * (place % 3), 4 + 4 * (place % 4)
    image[0, y : y + 8, x : x + 16] = 255
    return image


def dataset() -> Dataset:
    def split(count: int, first: int) -> Split:
        images = [scene(first + i) for i in range(count)]
        targets = {
            "label": Label(torch.arange(count) % 2),
            "mask": Mask(torch.from_numpy(np.concatenate(images) // 255)),
        }
        return Split(Arrays(images), targets, [f"{first + i}.png" for i in range(count)])

    return finish(
        "squares",
        {"train": split(8, 0), "val": split(4, 8), "test": split(4, 12)},
        ("odd", "even"),
        mask_classes=("ground", "box"),
    )


class Bright(nn.Module):
    """Scores of pixels by their brightness, and the sizes of what was seen."""

    def __init__(self) -> None:
        super().__init__()
        self.description = {"size": [32, 32]}
        self.seen: list[Tensor] = []

    def forward(self, images: Tensor) -> Tensor:
        self.seen.append(images)
        return torch.cat([0.52 - images, images - 0.52], 1) * 40


@pytest.mark.parametrize("views", [(), ("flip", "turn"), (1.5,)])
def test_masks_of_padded_images_are_those_of_the_images(views: tuple[Any, ...]) -> None:
    image = torch.from_numpy(scene(1)[None]).float() / 255
    model, task = Bright(), Segment(fit="pad").viewed(Views.of(views))
    answer = task.predict(model, image)
    assert torch.equal(answer.classes[0] == 1, image[0, 0] > 0.5)
    assert answer.probabilities is not None and answer.probabilities.shape == (1, 2, HEIGHT, WIDTH)
    frame = model.seen[0][0, 0]
    assert frame.shape == (32, 32) and (frame[:8] == image[0, 0, 0, 0]).all() and (frame[24:] == frame[0, 0]).all()
    tall = task.predict(model, image.mT)
    assert torch.equal(tall.classes[0] == 1, image[0, 0].mT > 0.5)


def test_a_padded_segmenter_answers_at_the_size_of_the_images(tmp_path: Path) -> None:
    run = pellucid.train("segment", dataset(), "unet", tmp_path / "run", fit="pad", widths=(4, 8), **QUICK)
    accuracy = pellucid.evaluate(run, dataset(), baselines=False)["model"]["pixel_accuracy"]["value"]
    test = dataset()["test"]
    known = target_of(test.targets, "mask", Mask).classes.numpy()
    images = [test.images.read(i, 1).transpose(1, 2, 0) for i in range(len(test))]
    rows = pellucid.predict(run, images, tmp_path / "out")
    found = np.stack([np.asarray(Image.open(row["file"])) for row in rows])  # a palette's numbers are the classes
    assert found.shape == known.shape == (4, HEIGHT, WIDTH)
    assert accuracy == pytest.approx((found == known).mean(), abs=1e-6)


def feed(task: str, model: str, fit: str, **options: Any) -> Feed:
    recipe = {name: value for name, value in QUICK.items() if name != "progress"}
    return Feed(Plan.of(task, dataset(), model, {**recipe, "fit": fit, **options}))


@pytest.mark.parametrize("fit", ["squash", "crop", "pad"])
def test_training_and_validation_images_are_fitted(fit: Fit) -> None:
    own = feed("classify", "mlp", fit)
    assert own.val is not None
    for store, first in ((own.train, 0), (own.val, 8)):
        for i, image in enumerate(store.batch(torch.arange(4)).images):
            assert (image.numpy() == fit_array(scene(first + i), (32, 32), fit)).all()


def test_padding_is_void_in_training_and_crops_are_not_scaled_there() -> None:
    batch = feed("segment", "unet", "pad").train.batch(torch.arange(4))
    mask = target_of(batch.targets, "mask", Mask).classes
    assert (mask[:, :8] == VOID).all() and (mask[:, 24:] == VOID).all() and (mask[:, 8:24] != VOID).all()
    cut = feed("segment", "unet", "crop").train.batch(torch.arange(4))
    assert all((image.numpy() == scene(i)[:, :, 16:48]).all() for i, image in enumerate(cut.images))


@pytest.mark.parametrize("fit", ["squash", "crop", "pad"])
def test_evaluate_and_predict_show_the_model_the_same(
    fit: Fit, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = pellucid.train("classify", dataset(), "mlp", tmp_path / "run", hidden=(4,), fit=fit, **QUICK)
    assert json.loads((run.path / "run.json").read_text())["task"]["options"]["fit"] == fit
    seen: list[Tensor] = []
    predict = Classify.predict

    def noted(self: Classify, model: nn.Module, input: Tensor) -> Label:
        seen.append(input)
        return predict(self, model, input)

    monkeypatch.setattr(Classify, "predict", noted)
    pellucid.evaluate(run, dataset(), baselines=False)
    test = dataset()["test"].images
    given = [test.read(i, 1).transpose(1, 2, 0) for i in range(4)]
    pellucid.predict(Run(run.path), given)
    pellucid.predict(Run(run.path), [image.astype(np.float32) / 255 for image in given])
    evaluated, predicted, of_floats = torch.cat(seen).split(4)
    expected = torch.from_numpy(np.stack([fit_array(test.read(i, 1), (32, 32), fit) for i in range(4)]))
    assert torch.equal((evaluated * 255).round().byte(), expected)
    assert torch.equal(evaluated, predicted) and (of_floats - predicted).abs().max() < 1.6 / 255


def test_baselines_see_places_where_the_fitted_images_have_them() -> None:
    corners = torch.tensor([[20.0, 4, 36, 12]])
    places: dict[Fit, list[float]] = {"squash": [10, 4, 18, 12], "crop": [4, 4, 20, 12], "pad": [10, 10, 18, 14]}
    for fit, box in places.items():
        targets = {"boxes": Boxes([corners], [torch.tensor([0])])}
        split = Split(Arrays([scene(0)]), targets, fit=fit)
        assert shapes.objects_at(split.select([0]), (32, 32)).corners[0][0].tolist() == box


def test_tiles_have_the_scale_at_which_padded_images_were_learned() -> None:
    model: Any = nn.Module()
    model.description = {"size": [32, 32]}
    for name, start in (
        ("own_size", torch.zeros(2)),
        ("own_share", torch.zeros(())),
        ("searching", torch.tensor(False)),
    ):
        model.register_buffer(name, start)
    for task, tile in ((Detect(), [30.0, 60.0]), (Detect(fit="pad"), [60.0, 60.0])):
        replace(task, own_size=(30.0, 60.0)).update_buffers(model, lambda: iter(()), 1, 1, 0)
        assert model.own_size.tolist() == tile


def test_codes_and_groups_are_of_fitted_images() -> None:
    given = [scene(0).transpose(1, 2, 0), scene(1).transpose(1, 2, 0).astype(np.float32) / 255]
    model: Any = nn.Identity()
    model.description = {"size": [32, 32], "channels": 1}
    pictures, _, _ = of_clusters._inputs(model, gather(given), "crop")
    assert torch.equal(
        (pictures * 255).round().byte()[:, 0], torch.stack([torch.from_numpy(scene(i)[0, :, 16:48]) for i in (0, 1)])
    )
    task = Generate(fit="crop").for_model("vae")
    assert task.fitting == "crop" and task.options["fit"] == "crop" and Generate().for_model("gan").fitting == "squash"


def test_the_former_word_is_read_and_a_run_with_it_goes_on(tmp_path: Path) -> None:
    assert Segment(fit="resize") == Segment() and Segment(fit="resize").options["fit"] == "squash"
    options = {**QUICK, "widths": (4, 8)}
    run = pellucid.train("segment", dataset(), "unet", tmp_path / "run", **options)
    record = json.loads((run.path / "run.json").read_text())
    assert record["task"]["options"]["fit"] == "squash"
    record["task"]["options"]["fit"] = "resize"  # as an earlier version wrote
    (run.path / "run.json").write_text(json.dumps(record))
    assert Run(run.path).task.fitting == "squash"
    for word in ("squash", "resize"):
        assert pellucid.train("segment", dataset(), "unet", run.path, fit=word, **options).status == "finished"
    with pytest.raises(RunError, match="holds a run with fit='squash', not 'pad'"):
        pellucid.train("segment", dataset(), "unet", run.path, fit="pad", **options)
    del record["task"]["options"]["fit"]  # as a version wrote that had no such option
    (run.path / "run.json").write_text(json.dumps(record))
    assert pellucid.train("segment", dataset(), "unet", run.path, **options).status == "finished"


@pytest.mark.parametrize(
    ("kind", "choices"),
    [
        (Classify, "squash, crop or pad"),
        (Localize, "squash, crop or pad"),
        (Landmarks, "squash, crop or pad"),
        (Detect, "squash or pad"),
        (Generate, "squash or crop"),
    ],
)
def test_a_word_that_there_is_not_gets_one_sentence(kind: type[Any], choices: str) -> None:
    with pytest.raises(UsageError, match=f"^fit='stretch': is not known; choose {choices}.$"):
        kind(fit="stretch")
