# SPDX-License-Identifier: Apache-2.0
"""Features of a frozen backbone: computed once, with the same result, and never shown for other images."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import pellucid
from pellucid import weights
from pellucid.errors import UsageError
from pellucid.models import Frozen, Normalize
from pellucid.models._pretrained import as_colour
from pellucid.models.timm import Timm
from pellucid.run import Run
from pellucid.training import training as module

SMALL: dict[str, Any] = {
    "name": "mobilenetv3_small_050", "frozen": True, "size": 32, "limit": 96, "batch_size": 32, "epochs": 3, "lr": 0.01,
    "device": "cpu", "precision": "fp32", "progress": False,
}  # fmt: skip


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PELLUCID_CACHE", str(tmp_path / "cache"))


@pytest.fixture
def seen(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The numbers of images that went through a frozen backbone, call by call."""
    counts: list[int] = []

    def init(self: Frozen, body: nn.Module, own: Any = Frozen.__init__) -> None:
        own(self, body)
        body.register_forward_pre_hook(lambda _, given: counts.append(len(given[0])))

    monkeypatch.setattr(Frozen, "__init__", init)
    return counts


def trained(out: Path, **options: Any) -> Run:
    return pellucid.train("classify", "digits", "timm", out, **{**SMALL, **options})


def tensors(run: Run, file: str = "last.safetensors") -> dict[str, Tensor]:
    return weights.load(run.path / file).tensors


def test_the_result_is_that_of_computing_them_in_every_step(tmp_path: Path, seen: list[int]) -> None:
    every = trained(tmp_path / "every", variants=0)
    without = sum(seen)
    seen.clear()
    once = trained(tmp_path / "once")
    val = len(pellucid.data.open("digits")["val"])
    assert sum(seen) <= 96 + val + 8, "each image once, and a few to see what features are"
    assert without >= 3 * 96
    first, second = tensors(every), tensors(once)
    assert first["head.1.weight"].std() > 0
    for name, value in first.items():
        torch.testing.assert_close(second[name], value, rtol=1e-4, atol=1e-5, msg=name)
    pairs = zip(every.history, once.history, strict=True)
    assert all(abs(a["loss"] - b["loss"]) < 1e-4 for a, b in pairs)
    values = [pellucid.evaluate(run, baselines=False)["model"]["accuracy"]["value"] for run in (every, once)]
    assert values[0] == pytest.approx(values[1])


def test_the_cache_on_the_disk_answers_the_second_training(tmp_path: Path, seen: list[int]) -> None:
    first = trained(tmp_path / "first")
    seen.clear()
    second = trained(tmp_path / "second", lr=0.01)
    assert sum(seen) <= 8
    assert all(torch.equal(a, tensors(second)[name]) for name, a in tensors(first).items())
    other = trained(tmp_path / "other", seed=1)  # other weights, other images: other features
    assert sum(seen) > 96
    assert other.status == "finished"


def test_augmented_images_are_computed_in_every_step_unless_variants_are_asked_for(
    tmp_path: Path, seen: list[int]
) -> None:
    trained(tmp_path / "every", crop=2)
    assert sum(seen) >= 3 * 96
    seen.clear()
    trained(tmp_path / "two", crop=2, variants=2)
    assert 2 * 96 <= sum(seen) <= 2 * 96 + 8, "the validation images are known from before"
    with pytest.raises(UsageError, match="variants=2: nothing changes the training images"):
        trained(tmp_path / "none", variants=2)
    with pytest.raises(UsageError, match="variants=2: needs a model with one frozen backbone"):
        trained(tmp_path / "free", variants=2, frozen=False)
    assert not (tmp_path / "none").exists()
    assert not (tmp_path / "free").exists()


def test_a_resumed_training_ends_as_if_never_stopped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = trained(tmp_path / "whole", crop=2, variants=2)
    stopping = module.stopping
    monkeypatch.setattr(module, "stopping", lambda accelerator, stop, step: step == 4)
    assert trained(tmp_path / "part", crop=2, variants=2).status == "stopped"
    monkeypatch.setattr(module, "stopping", stopping)
    part = trained(tmp_path / "part", crop=2, variants=2)
    assert all(torch.equal(a, tensors(part)[name]) for name, a in tensors(whole).items())


def test_features_are_never_shown_for_another_number_of_images() -> None:
    frozen = Frozen(nn.Identity())
    frozen.replay.features = torch.zeros(2, 3)
    assert frozen(torch.ones(2, 3)).sum() == 0
    with pytest.raises(RuntimeError, match="features of 2 images are shown, and 3 images are asked about"):
        frozen(torch.ones(3, 3))
    frozen.replay.features = None
    assert frozen(torch.ones(3, 3)).sum() == 9


def test_images_are_normalised_while_features_are_shown_only_where_somebody_sees_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    normalised: list[int] = []
    forward = Normalize.forward

    def counted(self: Normalize, images: Tensor) -> Tensor:
        answer = forward(self, images)
        if answer is not images:
            normalised.append(len(images))
        return answer

    monkeypatch.setattr(Normalize, "forward", counted)
    unseen = trained(tmp_path / "unseen")
    alone = sum(normalised)
    assert alone <= 96 + len(pellucid.data.open("digits")["val"]) + 16, "each image once, and a few to look at"

    def also_sees_images(self: Any, images: Tensor) -> Tensor:
        seen = self.normalize(as_colour(images, self.normalize))
        answer: Tensor = self.head(self.backbone(seen)) * (1 + seen.mean((1, 2, 3))[:, None])
        return answer

    normalised.clear()
    monkeypatch.setattr(Timm, "forward", also_sees_images)
    seeing = trained(tmp_path / "seeing")
    assert sum(normalised) >= alone + 3 * 96
    assert unseen.history[-1]["loss"] != seeing.history[-1]["loss"]
