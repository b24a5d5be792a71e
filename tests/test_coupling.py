# SPDX-License-Identifier: Apache-2.0
"""Models whose answer to an image depends on the rest of its batch: found, said, and computed one by one."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from pellucid._coupling import coupling, keep, together
from pellucid.inference import evaluate, predict
from pellucid.lenses import Network
from pellucid.lenses.attribution import Attribution
from pellucid.lenses.filters import Filters
from pellucid.lenses.neighbours import Neighbours
from pellucid.run import Run
from pellucid.training.training import train


class Coupled(nn.Module):
    """A model that divides by the largest value in its batch, before or after the layers."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, x: Tensor) -> Tensor:
        scores: Tensor = self.model(x / x.max())
        return scores


class Reversed(nn.Module):
    """Not coupled, though it answers in the wrong order; the answers belong to other images."""

    def forward(self, x: Tensor) -> Tensor:
        return x.flatten(1).flip(0)


def network(count: int = 5) -> Network:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        body = nn.Sequential(nn.Conv2d(1, 3, 3), nn.ReLU(), nn.Flatten(), nn.Linear(108, 3))
    scale = torch.linspace(0.2, 1, count).view(-1, 1, 1, 1)
    images = torch.rand(count, 1, 8, 8, generator=torch.Generator().manual_seed(1)) * scale
    return Network(Coupled(body).eval(), images)


@pytest.mark.parametrize(
    ("model", "alone"),
    [
        (nn.Flatten(), False),
        (nn.Sequential(nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4)), False),
        (nn.Sequential(nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4, track_running_stats=False)), True),
        (Coupled(nn.Flatten()), True),
        (Reversed(), True),
    ],
)
def test_coupling_is_found(model: nn.Module, alone: bool) -> None:
    image = torch.rand(1, 1, 8, 8, generator=torch.Generator().manual_seed(0))
    assert coupling(model.eval(), image).alone is alone
    assert coupling(model.eval(), torch.full_like(image, 0.5)).alone is alone


@pytest.mark.parametrize("method", ["integrated_gradients", "smooth_grad"])
def test_gradients_of_one_image_do_not_mix_with_others(method: Any) -> None:
    shown = network(1)
    lens = Attribution(method=method, steps=5, depths=0)
    found = lens.look(shown)
    assert any("one by one" in sentence for sentence in shown.remarks)
    narrow = lens.look(Network(shown.model, shown.images, memory=1))  # room for one image at a time
    for name in ("values", "deletion", "deletion_random"):
        np.testing.assert_allclose(found[name], narrow[name], atol=1e-5)


def test_a_model_that_is_kept_is_asked_once() -> None:
    """Then few images are answered together too; one that couples them goes on one by one, and a model that is not kept is asked again."""
    calls: list[int] = []

    class Told(nn.Flatten):
        def forward(self, x: Tensor) -> Tensor:
            calls.append(len(x))
            return super().forward(x)

    kept, other, coupled = Told(), Told(), Coupled(Told())
    for model in (kept, coupled):
        keep(model)
    shape = (1, 4, 4)
    assert [together(kept, shape, 64, count) for count in (1, 2, 100)] == [1, 64, 64]
    asked = len(calls)
    assert asked > 0
    assert together(kept, shape, 64, 5) == 64
    assert len(calls) == asked
    with pytest.warns(UserWarning, match="depends on the other images"):
        assert together(coupled, shape, 64, 2) == 1
    calls.clear()
    assert [together(other, shape, 64, count) for count in (8, 9, 9)] == [1, 64, 64]
    assert len(calls) == 2 * asked


def test_codes_and_filters_are_those_of_each_image_alone() -> None:
    shown = network()
    with torch.no_grad():
        codes = torch.cat([shown.features(image[None], "model.0")[0] for image in shown.images])
    found = Neighbours(k=1, layer="model.0").look(shown)
    np.testing.assert_allclose(found["codes"], codes.numpy(), atol=1e-6)
    assert any("one by one" in sentence for sentence in shown.remarks)
    view = Filters(top=1, layer="model.0").look(network())
    with torch.no_grad():
        maps = torch.cat([shown.model.model[0](image[None] / image.max()) for image in shown.images])
    np.testing.assert_allclose(view["score/model.0"][:, 0], maps.amax((0, 2, 3)).numpy(), atol=1e-5)


def test_an_evaluation_does_not_depend_on_its_batches(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run = train(
        "classify", "digits", "mlp", tmp_path / "run", epochs=1, limit=128, hidden=(8,), device="cpu", progress=False
    )
    plain = Run.trained

    def coupled(self: Run, which: Any = "best") -> tuple[torch.nn.Module, str]:
        model, digest = plain(self, which)
        return Coupled(model).eval(), digest

    monkeypatch.setattr(Run, "trained", coupled)
    with pytest.warns(UserWarning, match="depends on the other images of its batch"):
        evaluate(run, split="val", baselines=False)
    shares = run.records()["probabilities"]
    model, images = run.model(), run.data().splits["val"].images
    with torch.no_grad():
        rows = [
            model(torch.from_numpy(np.array(images.read(i, 1)))[None].float() / 255).softmax(1)
            for i in range(len(images))
        ]
    np.testing.assert_allclose(shares, torch.cat(rows).numpy(), atol=1e-5)
    given = [np.array(images.read(i, 1))[0] for i in range(2)]
    assert [row["probability"] for row in predict(run, given)] == pytest.approx(shares[:2].max(1), abs=1e-4)
