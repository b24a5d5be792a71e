# SPDX-License-Identifier: Apache-2.0
"""How strong an image's noise is: known noise, invariances, images that have none to measure, and what `predict` says of it."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from pellucid.data.embedded.embedded import photograph
from pellucid.errors import PellucidWarning
from pellucid.inference import predict
from pellucid.run import Run
from pellucid.tasks.denoise import estimate
from pellucid.training.training import train


def noise(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def ramp(height: int = 96, width: int = 128) -> Tensor:
    """A smooth image without noise (1, H, W)."""
    return torch.linspace(0.2, 0.7, width).expand(1, height, width) + torch.linspace(0, 0.1, height)[:, None]


@pytest.mark.parametrize("level", [2, 5, 15, 25, 50])
def test_known_noise_on_smooth_images_is_found_to_two_percent(level: int) -> None:
    image = ramp(256, 256)
    assert estimate.sigma(image + level / 255 * noise(1, 256, 256)) == pytest.approx(level / 255, rel=0.02)


@pytest.mark.parametrize(("level", "most"), [(5, 4.5), (15, 3.0), (25, 2.0), (50, 1.5)])
def test_known_noise_on_photographs_is_found_as_well_as_the_page_says(level: int, most: float) -> None:
    files = [("skimage", "data", name) for name in ("chelsea.png", "moon.png", "brick.png")]
    for place, file in enumerate(files):
        image = torch.from_numpy(photograph(*file, colour=False)[:, :300, :300].copy()).float() / 255
        found = estimate.sigma(image + level / 255 * noise(*image.shape, seed=place))
        assert found is not None
        assert 255 * found == pytest.approx(level, abs=most), file


def test_it_equals_the_wavelet_coefficients_in_closed_form() -> None:
    height, width, filters = 20, 23, np.array(estimate._DB2)
    image = np.random.default_rng(0).random((height, width))
    found = [filters @ image[i : i + 4, j : j + 4] @ filters for i in range(height - 3) for j in range(width - 3)]
    ordered = np.sort(np.abs(found))
    lower = ordered[(len(ordered) - 1) // 2]  # torch's median: the lower one of two
    assert estimate.sigma(torch.from_numpy(image)[None]) == pytest.approx(lower / 0.6745, rel=1e-4)
    assert filters.sum() == pytest.approx(0, abs=1e-9)
    assert filters @ np.arange(4) == pytest.approx(0, abs=1e-9)
    assert filters @ filters == pytest.approx(1)


def test_brightness_turns_and_mirrors_change_nothing_and_contrast_scales_it() -> None:
    image = ramp(128, 128) + 0.05 * noise(1, 128, 128)
    plain = estimate.sigma(image)
    assert plain is not None
    assert estimate.sigma(image + 3) == pytest.approx(plain, rel=1e-3)
    assert estimate.sigma(2.5 * image) == pytest.approx(2.5 * plain, rel=1e-4)
    for turned in (image.flip(2), image.rot90(1, (1, 2)), image.transpose(1, 2)):
        assert estimate.sigma(turned) == pytest.approx(plain, rel=0.05)


def test_grey_images_stored_in_colour_keep_their_noise_and_planes_count_alike() -> None:
    grey = ramp() + 0.1 * noise(1, 96, 128)
    plain = estimate.sigma(grey)
    assert plain is not None
    # noise that is the same in all planes: what compares the planes with one another would find none
    assert estimate.sigma(grey.expand(3, -1, -1)) == pytest.approx(plain)
    planes = torch.cat([ramp() + level * noise(1, 96, 128) for level in (0.03, 0.06, 0.09)])
    assert estimate.sigma(planes) == pytest.approx(0.06, rel=0.05)


def test_images_without_noise_or_too_small_for_it() -> None:
    assert estimate.sigma(torch.full((3, 40, 50), 0.3)) == 0
    assert estimate.sigma(torch.zeros(1, 8, 8)) == 0
    for shape in ((1, 1, 1), (1, 7, 300), (3, 300, 7)):
        assert estimate.sigma(torch.rand(shape)) is None
    black = torch.zeros(1, 64, 128)  # a frame around a picture has no noise, and says nothing of it
    black[:, :, 64:] = 0.5 + 0.1 * noise(1, 64, 64)
    assert estimate.sigma(black) == pytest.approx(0.1, rel=0.05)


def test_remarks_name_the_levels_and_the_way_out() -> None:
    rows: list[dict[str, Any]] = [
        {"name": "a.png", "noise": 0.01},
        {"name": "b.png", "noise": 0.1},
        {"name": "c.png", "noise": None},
    ]
    [said] = estimate.remarks(rows, (0.05, 0.2))
    assert said.startswith(
        "noise: 1 of 2 images seems to have other noise than the levels 0.05 to 0.2 that this run was trained"
    )
    assert "first a.png with about 0.01;" in said
    assert said.endswith("a run for all of it has --level 0.01 0.2.")
    assert estimate.remarks(rows, (0.01, 0.1)) == []
    assert estimate.remarks([], (0.1, 0.1)) == []
    assert estimate.remarks([rows[2]], (0.1, 0.1)) == []


@pytest.fixture(scope="module")
def denoiser(tmp_path_factory: pytest.TempPathFactory) -> Run:
    out = tmp_path_factory.mktemp("denoiser") / "run"
    return train("denoise", "digits", "unet", out, widths=(4,), epochs=1, limit=64, device="cpu", progress=False)


def test_predict_says_the_noise_of_each_image_and_warns_of_what_the_run_does_not_know(
    denoiser: Run, tmp_path: Path
) -> None:
    known, strong = ((ramp()[0] + level * noise(96, 128)).numpy() for level in (25 / 255, 0.15))
    with warnings.catch_warnings():
        warnings.simplefilter("error", PellucidWarning)
        [row] = predict(denoiser, known)
    assert row["noise"] == pytest.approx(25 / 255, rel=0.1)
    assert row["picture"].shape == (1, 96, 128)
    colour = np.stack([known] * 3, axis=-1)
    with pytest.warns(PellucidWarning, match=r"noise: 1 of 3 images seems .* the level 0\.098 .* with about 0\.1"):
        rows = predict(denoiser, [known, strong, colour], tmp_path / "clean")
    assert [row["noise"] for row in rows] == pytest.approx([25 / 255, 0.15, 25 / 255], rel=0.1)
    assert '"noise": 0.' in (tmp_path / "clean/predictions.json").read_text()
    [tiny] = predict(denoiser, np.full((5, 5), 0.5))
    assert tiny["noise"] is None
