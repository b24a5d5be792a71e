# SPDX-License-Identifier: Apache-2.0
"""Answers as the mean over views of an image: against plain loops, and kept apart from the plain measures."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor, nn
from torch.nn import functional as F

import pellucid
from pellucid import data, viewing, weights
from pellucid.cli import printing
from pellucid.comparison.comparison import compare
from pellucid.data.dataset import Dataset
from pellucid.errors import UnknownNameError, UsageError
from pellucid.reporting.reporting import report
from pellucid.run import Run
from pellucid.tasks import AnswersViews, Views, in_views
from pellucid.tasks.classify import Classify
from pellucid.tasks.denoise import Denoise
from pellucid.tasks.generate import Generate
from pellucid.tasks.landmarks import Landmarks
from pellucid.tasks.localize import Localize
from pellucid.tasks.segment import Segment

QUICK: dict[str, Any] = {"epochs": 1, "batch_size": 16, "device": "cpu", "progress": False, "precision": "fp32"}


class Conv(nn.Module):
    """A convolution of one's own size, which is neither symmetric nor linear in what follows."""

    def __init__(self, outputs: int) -> None:
        super().__init__()
        self.layer = nn.Conv2d(3, outputs, 5, padding=2)
        with torch.no_grad():
            self.layer.weight.copy_(torch.randn(self.layer.weight.shape, generator=torch.Generator().manual_seed(1)))

    def forward(self, images: Tensor) -> Tensor:
        scores: Tensor = self.layer(images)
        return scores


class Vector(Conv):
    def forward(self, images: Tensor) -> Tensor:
        height, width = images.shape[2:]
        places = torch.linspace(0, 1, height)[:, None] + torch.linspace(0, 2, width)
        return (self.layer(images) * places).mean((2, 3))


def images(height: int = 12, width: int = 16) -> Tensor:
    return torch.rand(3, 3, height, width, generator=torch.Generator().manual_seed(0))


@torch.no_grad()
def test_pixels_have_the_mean_of_the_probabilities_of_all_views() -> None:
    model, input = Conv(4), images()
    total = torch.zeros(3, 4, 12, 16)
    for size in ((12, 16), (15, 20), (6, 8)):
        seen = input if size == (12, 16) else F.interpolate(input, size, mode="bilinear", antialias=True)
        for mirrored in (False, True):
            shares = model(torch.flip(seen, [3]) if mirrored else seen).softmax(1)
            shares = torch.flip(shares, [3]) if mirrored else shares
            total += F.interpolate(shares, (12, 16), mode="bilinear")
    task = Segment(fit="crop").viewed(Views.of(["flip", "1.25", "0.5"]))
    answer = task.predict(model, input)
    assert answer.probabilities is not None
    torch.testing.assert_close(answer.probabilities, total / 6)
    assert torch.equal(answer.classes.long(), total.argmax(1))


@torch.no_grad()
def test_turned_pictures_come_back_to_their_places() -> None:
    """All eight symmetries of a square, on images that are none."""
    model, input = Conv(3), images()
    model.layer.weight.mul_(0.02)
    assert model.layer.bias is not None
    model.layer.bias.fill_(0.5)
    found = [
        torch.rot90(torch.rot90(input.flip(3) if m else input, k, (2, 3)), 0) for m in (False, True) for k in range(4)
    ]
    back = [torch.rot90(model(view), -k, (2, 3)) for view, k in zip(found, 2 * list(range(4)), strict=True)]
    mean = sum(one.flip(3) if number > 3 else one for number, one in enumerate(back)) / 8
    got = Denoise().viewed(Views(flip=True, turn=True)).predict(model, input).pixels
    torch.testing.assert_close(got, torch.as_tensor(mean).clamp(0, 1))


@torch.no_grad()
def test_classes_have_the_mean_of_the_probabilities() -> None:
    model, input = Vector(5), images(8, 8)
    wanted = (model(input).softmax(1) + model(input.flip(3)).softmax(1)) / 2
    answer = Classify().viewed(Views(flip=True)).predict(model, input)
    assert answer.probabilities is not None
    torch.testing.assert_close(answer.probabilities, wanted)
    assert torch.equal(answer.index, wanted.argmax(1))


@torch.no_grad()
def test_a_model_that_finds_the_same_in_a_mirror_answers_as_before() -> None:
    """Boxes and points come back from the mirror: left and right are exchanged, x becomes the width minus x."""

    class Both(nn.Module):
        """Points and boxes that follow the brightest column exactly."""

        def __init__(self, kind: str) -> None:
            super().__init__()
            self.kind = kind

        def forward(self, images: Tensor) -> Tensor:
            place = (images.mean((1, 2)).argmax(1) + 0.5) / images.shape[3]  # (B,) in shares of the width
            if self.kind == "points":  # a left and a right one, which keep their sides in the image
                left, right = place - 0.1, place + 0.1
                other = torch.zeros_like(place)
                shift = torch.stack([left - 0.5, other, right - 0.5, other + 0.1], 1)
                return shift * 256
            centre = torch.stack([place * 0 + 0.5, place, place * 0 + 0.2, place * 0 + 0.1], 1).logit()
            return torch.cat([place[:, None] * 0 + 1, place[:, None] * 0, place[:, None] * 0 + 2, centre], 1)

    input = images(16, 16)
    task = Landmarks(count=2, mirror=(1, 0), kind="vector")
    plain = task.predict(Both("points"), input)
    several = task.viewed(Views(flip=True)).predict(Both("points"), input)
    # the left point is 0.0 and the right one 0.1 lower: the mirror exchanges their heights and keeps their columns
    torch.testing.assert_close(several.xy[..., 0], plain.xy[..., 0])
    torch.testing.assert_close(several.xy[..., 1], plain.xy[..., 1].mean(1, keepdim=True).expand(-1, 2))
    boxes = Localize().predict(Both("boxes"), input)
    mirrored = Localize().viewed(Views(flip=True)).predict(Both("boxes"), input)
    torch.testing.assert_close(mirrored.corners, boxes.corners)
    torch.testing.assert_close(mirrored.probabilities, boxes.probabilities)


@pytest.mark.parametrize(
    ("task", "views", "why"),
    [
        (Generate(), ["flip"], "are not averaged over views"),
        (Localize(), ["turn"], "takes no turned views"),
        (Classify(), ["1.25"], "takes no larger or smaller views"),
        (Landmarks(both_ways=True, count=1), ["flip"], "mirrored images already"),
        (Landmarks(count=2), ["flip"], "partners"),
        (Segment(), ["sideways"], "is no view"),
        (Segment(), [True], "is no view"),
        (Segment(), [9], "is no view"),
    ],
)
def test_views_that_a_task_does_not_have_are_refused(task: Any, views: Any, why: str) -> None:
    with pytest.raises(UsageError, match=why):
        in_views(type(task).__name__.lower(), task, views)


def test_turned_images_of_another_size_are_refused_where_the_model_takes_one_size() -> None:
    model = Vector(3)
    model.fixed_size = (8, 12)
    with pytest.raises(UsageError, match="12×8 px alone"):
        Classify().viewed(Views(turn=True)).predict(model, images(8, 12))


def test_without_views_a_task_stays_itself() -> None:
    task = Segment()
    assert in_views("segment", task, ()) is task
    assert in_views("segment", task, [1]) is task
    assert "views" not in task.options  # no option of a training
    assert isinstance(task, AnswersViews)


# -- runs


def scenes(n: int = 16) -> Dataset:
    whole = data.open("scenes")
    return whole.replace(splits={part: split.select(range(n)) for part, split in whole.splits.items()})


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    where = tmp_path_factory.mktemp("views") / "run"
    return pellucid.train("segment", scenes(), "unet", where, widths=(4, 8), **QUICK)


def test_measures_of_several_views_never_replace_the_plain_ones(run: Run, tmp_path: Path, capsys: Any) -> None:
    made = scenes()
    plain = pellucid.evaluate(run, made, baselines=False)
    # the run's own test images are many: those few stand for them
    own = run.read
    try:
        run.__dict__["read"] = lambda what=None: own(made if what is None else what)
        kept = pellucid.evaluate(run, baselines=False)
        before = (run.path / "metrics.json").read_bytes(), (run.path / "records.npz").read_bytes()
        several = pellucid.evaluate(run, views=["flip", 1.5], baselines=False)
    finally:
        del run.__dict__["read"]
    assert ((run.path / "metrics.json").read_bytes(), (run.path / "records.npz").read_bytes()) == before
    assert kept["model"] == plain["model"]
    assert "views" not in kept
    written = json.loads((run.path / "views.json").read_text())
    assert (
        written["views"]
        == several["views"]
        == {
            "asked": ["flip", "1.5"],
            "count": 4,
            "words": "mean of 4 views of each image: as it is and mirrored, at 1 and 1.5 times the size",
        }
    )
    key = several["main"]
    assert several["baselines"]["one view"][key] == plain["model"][key]
    assert several["model"][key]["value"] != plain["model"][key]["value"]
    gain = several["model"][key]["value"] - plain["model"][key]["value"]
    assert several["gap"]["value"] == pytest.approx(gain, abs=1e-12)
    assert several["gap"]["low"] <= gain <= several["gap"]["high"]
    # readers of the run find the plain ones
    again = Run(run.path)
    assert again.metrics is not None
    assert again.metrics["model"][key]["value"] == plain["model"][key]["value"]
    assert again.records()["confusion"].shape[0] == 16
    # and say that there are others
    printing.measured(several)
    printed = capsys.readouterr().out
    assert "mean of 4 views of each image" in printed
    assert "model, mean of 4 views" in printed
    assert "one view" in printed
    page = report(again, tmp_path / "report.html", maps=0).read_text()
    assert "All numbers of this page are of one view of each image; as the mean of 4 views (flip 1.5)" in page
    compared = compare([again, _copied(run, tmp_path)], tmp_path / "compared")
    assert any("as the mean of 4 views (flip 1.5)" in note for note in compared.notes)
    values = [row.measure.value for row in compared.rows if row.measure is not None]
    assert values == [plain["model"][key]["value"]] * 2


def _copied(run: Run, where: Path) -> Run:
    return Run(shutil.copytree(run.path, where / "other"))


def test_measures_of_other_weights_are_not_taken_for_those_of_the_present_ones(run: Run, tmp_path: Path) -> None:

    other = _copied(run, tmp_path)
    own = other.read
    other.__dict__["read"] = lambda what=None: own(scenes() if what is None else what)
    pellucid.evaluate(other, views=["flip"], baselines=False)
    assert viewing.found(other) is not None

    tensors = {name: value + 1 for name, value in load_file(other.path / "weights.safetensors").items()}
    weights.save(other.path / "weights.safetensors", tensors)
    assert viewing.found(other) is None


def test_answers_to_new_images_say_how_many_views_they_are_the_mean_of(run: Run, tmp_path: Path) -> None:
    image = scenes()["test"].images.read(0, 3)
    rows = pellucid.predict(run, image.transpose(1, 2, 0), tmp_path, views="flip", also="probabilities")
    assert rows[0]["views"] == 2
    assert json.loads((tmp_path / "predictions.json").read_text())[0]["views"] == 2
    with np.load(rows[0]["files"]["probabilities"]) as file:
        got = torch.from_numpy(file["probabilities"].astype(np.float32))
    model, seen = run.model(), torch.from_numpy(image)[None].float() / 255
    with torch.no_grad():
        wanted = (model(seen).softmax(1) + model(seen.flip(3)).softmax(1).flip(3)) / 2
    torch.testing.assert_close(got, wanted[0], atol=1e-3, rtol=0)
    plain = pellucid.predict(run, image.transpose(1, 2, 0))
    assert "views" not in plain[0]


def test_views_on_the_command_line(run: Run, tmp_path: Path, capsys: Any) -> None:
    from PIL import Image

    from pellucid.cli.cli import main

    Image.fromarray(scenes()["test"].images.read(0, 3).transpose(1, 2, 0)).save(tmp_path / "a.png")
    assert main(["predict", str(run.path), str(tmp_path / "a.png"), "--views", "flip", "0.5"]) == 0
    assert "views" in capsys.readouterr().out
    assert main(["predict", str(run.path), str(tmp_path / "a.png"), "--views", "upside"]) == 2
    assert "is no view" in capsys.readouterr().err


def test_a_task_without_views_says_so_before_anything_is_computed(run: Run) -> None:
    other = Run(run.path)
    other.__dict__["task"] = Generate()
    with pytest.raises(UsageError, match="are not averaged over views; leave it out"):
        pellucid.evaluate(other, views="flip")
    with pytest.raises(UsageError, match="are not averaged over views; leave it out"):
        pellucid.predict(other, views="flip")
    with pytest.raises(UnknownNameError):
        pellucid.predict(run, view="flip")
