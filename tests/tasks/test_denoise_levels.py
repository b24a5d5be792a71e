# SPDX-License-Identifier: Apache-2.0
"""One model for a range of levels: what it is trained and measured on, and which level a number belongs to."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from pellucid.cli.binding import bind
from pellucid.data.corruption import KINDS, Kind, corrupt
from pellucid.data.dataset import Batch, Pixels, Split
from pellucid.data.draws import Draws
from pellucid.errors import UsageError
from pellucid.inference import evaluate
from pellucid.run import Run
from pellucid.tasks import _fidelity
from pellucid.tasks.denoise import Denoise
from pellucid.training.settings import Settings
from pellucid.training.training import train

LEAST, MOST = 0.02, 0.2
BRIEF: dict[str, Any] = {"epochs": 1, "limit": 64, "device": "cpu", "progress": False}


def grey(count: int, side: int = 48) -> torch.Tensor:
    return torch.full((count, 1, side, side), 128, dtype=torch.uint8)


def deviations(images: torch.Tensor) -> torch.Tensor:
    return images.flatten(1).std(1)


def test_every_image_has_a_level_of_its_own_within_the_range() -> None:
    task, index = Denoise(level=(LEAST, MOST)), torch.arange(400)
    for training in (True, False):
        draws = Draws.step(0, 0, slice(0, 400), 400) if training else Draws.images(0, index)
        noisy, _ = task.prepare(Batch(grey(400), {}, index), draws, training=training)
        found = deviations(noisy)
        assert LEAST * 0.9 < float(found.min()) < LEAST + 0.01
        assert MOST - 0.01 < float(found.max()) < MOST * 1.1
        quartiles = torch.quantile(found, torch.tensor([0.25, 0.5, 0.75]))
        assert quartiles.tolist() == pytest.approx([0.065, 0.11, 0.155], abs=0.015)


def test_a_measured_level_depends_on_the_position_alone_and_is_the_one_that_is_named() -> None:
    task, index = Denoise(level=(LEAST, MOST)), torch.arange(6)
    whole, _ = task.prepare(Batch(grey(6), {}, index), Draws.images(3, index), training=False)
    part, _ = task.prepare(Batch(grey(2), {}, index[[4, 1]]), Draws.images(3, index[[4, 1]]), training=False)
    assert torch.equal(part, whole[[4, 1]])
    named = task.drawn_level(Draws.images(3, index))
    assert isinstance(named, torch.Tensor)
    assert deviations(whole).tolist() == pytest.approx(named.tolist(), rel=0.06)


def test_processes_with_half_a_batch_draw_what_one_draws_with_all_of_it() -> None:
    for kind in KINDS:
        task = Denoise(noise=kind, level=(0.1, 0.4))  # type: ignore[arg-type]
        batch = Batch(grey(4), {}, torch.arange(4))
        whole, _ = task.prepare(batch, Draws.step(0, 5, slice(0, 4), 4), training=True)
        half, _ = task.prepare(Batch(grey(2), {}, torch.arange(2)), Draws.step(0, 5, slice(2, 4), 4), training=True)
        assert torch.equal(half, whole[2:]), kind


@pytest.mark.parametrize("kind", KINDS)
def test_images_with_levels_of_their_own_are_as_with_one_level_for_all(kind: Kind) -> None:
    clean = torch.rand(4, 3, 16, 16, generator=torch.Generator().manual_seed(0))
    index, levels = torch.arange(4), torch.tensor([0.0, 0.1, 0.25, 0.5])
    together = corrupt(clean, kind, levels, Draws.images(1, index))
    for place, level in enumerate(levels.tolist()):
        alone = corrupt(clean[[place]], kind, level, Draws.images(1, index[[place]]))
        assert torch.allclose(together[[place]], alone, atol=1e-6), (kind, level)
    with pytest.raises(UsageError, match=r"^level=-0\.5: must lie in \[0, "):
        corrupt(clean, kind, torch.tensor([0.1, -0.5, 0.1, 0.1]), Draws.images(1, index))


def test_levels_that_make_no_range_are_refused() -> None:
    for wrong in ((0.2, 0.1), (0.1, 0.2, 0.3), ()):
        with pytest.raises(UsageError, match=r"^level=\(.*\): must be one level, or the least and the greatest"):
            Denoise(level=wrong)
    with pytest.raises(UsageError, match=r"^level=5.0: must lie in \[0, 4\] for gaussian noise"):
        Denoise(level=(0.1, 5))


def test_a_single_level_is_kept_as_in_earlier_runs() -> None:
    for given in (0.1, (0.1,), [0.1], (0.1, 0.1)):
        assert Denoise(level=given).options["level"] == 0.1  # type: ignore[arg-type]
    assert Denoise(level=[0.1, 0.2]).options["level"] == (0.1, 0.2)  # type: ignore[arg-type]


def test_the_command_line_takes_a_level_a_range_and_fractions() -> None:
    def given(*words: str) -> object:
        return bind("train", ["denoise", "--level", *words]).keywords["level"]  # type: ignore[attr-defined]

    assert given("0.1") == 0.1
    assert given("5/255", "50/255") == (5 / 255, 50 / 255)
    with pytest.raises(UsageError, match="level='5/0': must be a number"):
        given("5/0")
    swept = bind("sweep", ["denoise", "--level", "0.1", "5/255,50/255"]).keywords["level"]  # type: ignore[attr-defined]
    assert swept == (0.1, (5 / 255, 50 / 255))
    asked = Settings.of("denoise", None, {"level": (0.25, 0.5)}).command("patches", "runs/x")
    assert "--level 0.25 0.5" in asked


class Halved(nn.Module):
    """Pulls each pixel halfway to mid grey: noise of any level becomes half of it on grey images."""

    fixed_size = None

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return 0.5 + (images - 128 / 255) / 2 + (128 / 255 - 0.5)


def test_the_measures_by_level_are_those_of_each_level_alone() -> None:
    task, model = Denoise(level=(LEAST, MOST)), Halved()
    test, train_split = Split(Pixels(grey(5).numpy())), Split(Pixels(grey(4).numpy()))
    found = task.measure_model(model, train_split, test, None, seed=2)
    rows = found.details["psnr_by_level"]
    assert [row["level"] for row in rows] == pytest.approx(np.linspace(LEAST, MOST, 10).tolist(), abs=1e-6)
    for row in rows:
        assert row["images"] == 5
        # the squared error of half the noise, in closed form; clipping at 0.2 is 2.5 standard deviations away
        assert row["model"] == pytest.approx(-20 * np.log10(row["level"] / 2), abs=0.1)
        assert row["from"] <= row["model"] <= row["to"]
        index = torch.arange(5)
        noisy, truth = task.at_level(row["level"]).prepare(
            Batch(grey(5), {}, index), Draws.images(2, index), training=False
        )
        before = _fidelity.psnr(noisy.clamp(0, 1), truth.pixels).mean()
        assert row["do nothing"] == pytest.approx(float(before), abs=2e-3)
        assert row["Gaussian blur"] > row["do nothing"]
    assert [picture.name for picture in found.pictures] == ["levels"]
    assert Denoise().measure_model(model, train_split, test, None).details == {}


def test_filters_for_mixed_levels_have_strengths_for_each_part_of_the_range() -> None:
    rng = np.random.default_rng(0)
    pictures = np.kron(rng.integers(30, 226, (24, 1, 6, 6)), np.ones((1, 1, 6, 6))).astype(np.uint8)
    train_split, test = Split(Pixels(pictures[:12])), Split(Pixels(pictures[12:]))
    task = Denoise(level=(0.01, 0.4))
    mixed = task.baselines(train_split, test, None)
    assert mixed["do nothing"]["psnr"].shape == (12,)
    for name in ("non-local means", "total variation"):
        gain = mixed[name]["psnr"] - mixed["do nothing"]["psnr"]
        # one strength for all levels blurs images with little noise, or leaves the noise of others
        assert (gain > -0.5).all(), (name, gain)
    assert mixed["median"]["noise"] == pytest.approx(mixed["do nothing"]["noise"])


@pytest.fixture(scope="module")
def blind(tmp_path_factory: pytest.TempPathFactory) -> Run:
    out = tmp_path_factory.mktemp("blind") / "run"
    return train("denoise", "digits", "unet", out, widths=(4,), level=(0.05, 0.3), **BRIEF)


def test_evaluate_says_which_level_its_numbers_belong_to(blind: Run) -> None:
    found = evaluate(blind)
    assert "level" not in found
    assert found["notes"] == ["Every image has a level of its own between 0.05 and 0.3; --level measures one alone."]
    assert 0.1 < found["model"]["noise"]["value"] < 0.25
    assert len(found["details"]["psnr_by_level"]) == 10
    assert (blind.path / "figures/levels.png").exists()
    one = evaluate(blind, level=0.1)
    assert one["level"] == 0.1
    assert one["notes"] == ["Measured with noise of level 0.1; the model was trained for 0.05 to 0.3."]
    assert one["model"]["noise"]["value"] == pytest.approx(0.1, rel=0.02)
    assert json.loads((blind.path / "metrics.json").read_text())["level"] == 0.1
    beyond = evaluate(blind, level=0.5, baselines=False)
    assert beyond["notes"] == [
        "Measured with noise of level 0.5; the model was trained for 0.05 to 0.3 and never saw such noise."
    ]


def test_a_comparison_does_not_take_the_measures_of_one_level_for_those_of_the_training(
    blind: Run, tmp_path: Path
) -> None:
    from pellucid.comparison.comparison import compare

    plain = evaluate(blind, baselines=False)["model"]["psnr"]["value"]
    evaluate(blind, level=0.05, baselines=False)
    other = shutil.copytree(blind.path, tmp_path / "other")
    found = compare([blind.path, other])
    assert found.rows[0].metrics is not None
    assert found.rows[0].metrics["model"]["psnr"]["value"] == pytest.approx(plain)
    assert any("metrics.json is of noise of level 0.05" in note for note in found.notes)


def test_levels_that_a_run_cannot_have_are_refused(blind: Run, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"^level=-1.0: must lie in \[0, 4\]"):
        evaluate(blind, level=-1)
    with pytest.raises(UsageError, match=r"^level=nan: must be a number; give one, such as 0\.3"):
        evaluate(blind, level=float("nan"))
    classifier = train("classify", "digits", "mlp", tmp_path / "run", hidden=(4,), **BRIEF)
    with pytest.raises(UsageError, match=r"^level=0.1: classify adds no noise to its images; leave it out"):
        evaluate(classifier, level=0.1)
