# SPDX-License-Identifier: Apache-2.0
"""The picture of a training's first images: what the model gets, as it gets it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from PIL import Image

from pellucid.run import Run
from pellucid.training.feed import Feed
from pellucid.training.plan import Plan
from pellucid.training.snapshots import keep_batch
from pellucid.training.training import train

TIMES, GAP = 12, 2  # 8×8 px are enlarged to 96, with lines of 2 px around them


def tiles(file: Path, side: int = 8) -> NDArray[np.uint8]:
    """The sixteen images of a sheet, (16, side, side), one value for each enlarged pixel."""
    sheet = np.asarray(Image.open(file))
    assert sheet.shape == (4 * (side * TIMES + GAP) + GAP, 4 * (side * TIMES + GAP) + GAP, 3)
    found = []
    for place in range(16):
        top, left = (GAP + at * (side * TIMES + GAP) for at in divmod(place, 4))
        own = sheet[top : top + side * TIMES, left : left + side * TIMES, 0].reshape(side, TIMES, side, TIMES)
        assert (own == own[:, :1, :, :1]).all()
        found.append(own[:, 0, :, 0])
    return np.stack(found)


def trained(place: Path, **options: Any) -> Run:
    settings: dict[str, Any] = {"hidden": (8,), "epochs": 1, "limit": 64, "batch_size": 32, "seed": 3, **options}
    return train("classify", "digits", "mlp", place, progress=False, **settings)


def test_the_first_batch_shows_the_images_of_the_first_step(tmp_path: Path) -> None:
    run = trained(tmp_path / "run")
    plan = Plan.of("classify", "digits", "mlp", {"epochs": 1, "limit": 64, "batch_size": 32, "seed": 3})
    order = Feed(plan).order(0)[:16]
    images = plan.train.images.select(order.numpy())
    wanted = np.stack([images.read(i, 1)[0] for i in range(16)])
    assert (tiles(run.figures / "batch.png") == wanted).all()


def test_the_first_batch_is_augmented_and_the_training_is_as_without_the_picture(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plain, turned = trained(tmp_path / "plain"), trained(tmp_path / "turned", flip=True)
    before, after = (tiles(run.figures / "batch.png") for run in (plain, turned))
    mirrored = [bool((new == old[:, ::-1]).all()) for old, new in zip(before, after, strict=True)]
    same = [bool((new == old).all()) for old, new in zip(before, after, strict=True)]
    assert any(mirrored) and any(same) and all(a or b for a, b in zip(mirrored, same, strict=True))
    from pellucid.training import snapshots

    monkeypatch.setattr(snapshots, "keep_batch", lambda *_: None)
    without = trained(tmp_path / "without", flip=True)
    assert not (without.figures / "batch.png").exists()
    ours, theirs = turned.model().state_dict(), without.model().state_dict()
    assert all(torch.equal(ours[name], theirs[name]) for name in ours)


@pytest.mark.parametrize("planes", [1, 2, 3, 5])
def test_images_with_further_planes_show_the_first(planes: int, tmp_path: Path) -> None:
    input = torch.rand(3, planes, 40, 400)  # wide ones are scaled to 192 px
    path = keep_batch(tmp_path, [input, torch.rand(3, 2)])
    assert path is not None
    sheet = np.asarray(Image.open(path))
    grey = bool((sheet[..., 0] == sheet[..., 1]).all())
    assert grey is (planes < 3)
    assert max(sheet.shape) <= 2 * (192 * 6 + GAP) + GAP


def test_a_model_that_gets_no_images_has_no_such_picture(tmp_path: Path) -> None:
    assert keep_batch(tmp_path, torch.rand(4, 7)) is None
    assert not list(tmp_path.iterdir())
