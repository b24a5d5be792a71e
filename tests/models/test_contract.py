# SPDX-License-Identifier: Apache-2.0
"""Every model declares a kind of output, and what it gives has the form that the kind promises."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, get_args

import pytest
import torch
from test_models import MODELS, made

from pellucid import _catalog
from pellucid.models import MARGIN, Compressed, Distribution, OutputKind, Regions
from pellucid.models._contract import Model

KINDS: tuple[OutputKind, ...] = get_args(OutputKind)
SIDE, BATCH = 32, 2


def scores(model: Any, images: torch.Tensor, outputs: int) -> None:
    assert model(images).shape == (BATCH, outputs)


def picture(model: Any, images: torch.Tensor, outputs: int) -> None:
    assert model(images).shape == (BATCH, outputs, SIDE, SIDE)


def heatmap(model: Any, images: torch.Tensor, outputs: int) -> None:
    maps = model(images)
    assert maps.shape[:2] == (BATCH, outputs) and min(maps.shape[2:]) > 2 * MARGIN


def regions(model: Any, images: torch.Tensor, outputs: int) -> None:
    given = model(images)
    assert isinstance(given, Regions)
    count, boxes = given.corners.shape[1], len(given.grid)
    assert given.logits.shape == (BATCH, count, outputs + 1) and given.offsets.shape == (BATCH, count, outputs, 4)
    assert given.objectness.shape == (BATCH, boxes) and given.grid_offsets.shape == (BATCH, boxes, 4)
    torch.testing.assert_close(given.corners, given.proposals.corners[:, :count])  # the best ones, from the best on


def reconstruction(model: Any, images: torch.Tensor, outputs: int) -> None:
    picture(model, images, outputs)
    code = model.encode(images)
    assert code.shape[0] == BATCH
    # made from the code alone
    torch.testing.assert_close(model.decoder(code).reshape(BATCH, outputs, SIDE, SIDE), model(images))


def compressed(model: Any, images: torch.Tensor, outputs: int) -> None:
    picture(model, images, outputs)
    given = model(images, torch.full((BATCH,), model.prior.qualities // 2))
    assert isinstance(given, Compressed)
    torch.testing.assert_close(given.images, model(images))
    assert given.bits.shape == (BATCH,) and bool((given.bits > 0).all())


def distribution(model: Any, images: torch.Tensor, outputs: int) -> None:
    picture(model, images, outputs)
    given = model(images, torch.zeros(BATCH, model.latent))
    assert isinstance(given, Distribution)
    torch.testing.assert_close(given.decoded, model(images))  # without noise the code is its mean
    assert given.mean.shape == given.log_variance.shape == (BATCH, model.latent)
    moved = model(images, torch.ones(BATCH, model.latent))
    torch.testing.assert_close(moved.decoded, model.decode(given.mean + (given.log_variance / 2).exp()))


def adversarial(model: Any, images: torch.Tensor, outputs: int) -> None:
    assert model(images).shape == (BATCH, 1)
    codes = torch.randn(BATCH, model.latent)
    pictures = model.generator(codes)
    assert pictures.shape == (BATCH, outputs, SIDE, SIDE)
    assert float(pictures.min()) >= 0 and float(pictures.max()) <= 1
    torch.testing.assert_close(model(images, codes), model.discriminator(pictures))


FORMS: dict[OutputKind, Callable[[Any, torch.Tensor, int], None]] = {
    "vector": scores,
    "dense": scores,
    "map": picture,
    "heatmap": heatmap,
    "reconstruction": reconstruction,
    "code": compressed,
    "distribution": distribution,
    "adversarial": adversarial,
    "regions": regions,
}


def test_every_kind_has_a_form_and_a_model() -> None:
    assert tuple(FORMS) == KINDS
    assert {_catalog.find("models", name).output for name in MODELS} == set(KINDS)  # type: ignore[attr-defined]


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("name", MODELS)
def test_a_model_gives_what_its_kind_promises(name: str, channels: int) -> None:
    outputs = 5 if _catalog.find("models", name).output in ("vector", "dense") else channels  # type: ignore[attr-defined]
    model = made(name, channels, outputs).eval()
    assert isinstance(model, Model)
    with torch.no_grad():
        FORMS[model.output](model, torch.rand(BATCH, channels, SIDE, SIDE), outputs)


@pytest.mark.parametrize("name", MODELS)
def test_dense_means_bound_to_a_size_and_vector_does_not(name: str) -> None:
    model = made(name)
    if model.output == "dense":
        assert model.fixed_size == (SIDE, SIDE)
    if model.output == "vector":
        assert model.fixed_size is None


@pytest.mark.parametrize("task", _catalog.names("tasks"))
def test_a_task_accepts_kinds_that_there_are_and_its_own_model(task: str) -> None:
    kind: Any = _catalog.find("tasks", task)
    assert kind.accepts and set(kind.accepts) <= set(KINDS)
    assert _catalog.find("models", kind.default_model).output in kind.accepts  # type: ignore[attr-defined]
