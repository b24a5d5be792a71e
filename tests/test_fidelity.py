# SPDX-License-Identifier: Apache-2.0
"""PSNR and SSIM: against scikit-image on photographs, and against what must hold."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from skimage import data
from skimage.metrics import peak_signal_noise_ratio, structural_similarity
from torch import Tensor

from pellucid.tasks import _fidelity
from pellucid.tasks._fidelity import mae, psnr, ssim


def photograph(height: int, width: int, channels: int) -> Tensor:
    image = torch.from_numpy(data.astronaut().copy()).permute(2, 0, 1)[None].float() / 255
    return image[:, :channels, 100 : 100 + height, 150 : 150 + width].contiguous()


def noisy(clean: Tensor, sigma: float) -> Tensor:
    return (clean + sigma * torch.randn(clean.shape, generator=torch.Generator().manual_seed(0))).clamp(0, 1)


def peer_ssim(one: Tensor, other: Tensor) -> float:
    return float(
        structural_similarity(
            one[0].double().numpy(), other[0].double().numpy(), channel_axis=0, data_range=1.0,
            gaussian_weights=True, sigma=1.5, use_sample_covariance=False,
        )
    )  # fmt: skip


@pytest.mark.parametrize(("height", "width", "channels"), [(28, 28, 1), (64, 41, 3), (11, 90, 1), (200, 120, 3)])
@pytest.mark.parametrize("sigma", [0.01, 0.1, 0.5])
def test_ssim_and_psnr_are_scikit_images(height: int, width: int, channels: int, sigma: float) -> None:
    clean = photograph(height, width, channels)
    spoilt = noisy(clean, sigma)
    assert float(ssim(spoilt, clean)) == pytest.approx(peer_ssim(spoilt, clean), abs=1e-5)
    peer = peak_signal_noise_ratio(clean.numpy(), spoilt.numpy(), data_range=1.0)
    assert float(psnr(spoilt, clean)) == pytest.approx(peer, abs=1e-3)


def test_ssim_holds_on_flat_images_where_variances_cancel() -> None:
    clean = torch.full((1, 1, 32, 32), 0.9)
    spoilt = clean + 1e-3 * torch.randn(clean.shape, generator=torch.Generator().manual_seed(0))
    assert float(ssim(spoilt, clean)) == pytest.approx(peer_ssim(spoilt, clean), abs=1e-5)


def test_long_images_go_another_way_to_the_same_number(monkeypatch: pytest.MonkeyPatch) -> None:
    clean = photograph(60, 90, 3)
    spoilt = noisy(clean, 0.1)
    by_matrix = ssim(spoilt, clean)
    monkeypatch.setattr(_fidelity, "_LONGEST", 10)
    torch.testing.assert_close(ssim(spoilt, clean), by_matrix, rtol=0, atol=1e-6)


@pytest.mark.parametrize("side", [1, 2, 3, 8, 10])
def test_ssim_is_defined_below_its_window(side: int) -> None:
    clean = photograph(side, side, 1)
    found = ssim(torch.cat([clean, noisy(clean, 0.3)]), torch.cat([clean, clean]))
    assert float(found[0]) == pytest.approx(1) and -1 <= float(found[1]) < 1


def test_each_image_is_measured_on_its_own_and_both_ways_alike() -> None:
    clean = torch.cat([photograph(30, 40, 3), photograph(30, 40, 3).flip(3)])
    spoilt = torch.cat([noisy(clean[:1], 0.1), noisy(clean[1:], 0.3)])
    for measure in (psnr, ssim, mae):
        whole = measure(spoilt, clean)
        assert whole.shape == (2,) and whole.dtype == torch.float32
        torch.testing.assert_close(measure(spoilt[1:], clean[1:]), whole[1:])
        torch.testing.assert_close(measure(clean, spoilt), whole)


def test_equal_images_have_100_dB_and_a_similarity_of_1() -> None:
    clean = photograph(20, 20, 3)
    assert float(psnr(clean, clean)) == 100 and float(ssim(clean, clean)) == pytest.approx(1)
    assert float(mae(clean, clean)) == 0


def test_half_the_error_is_6_dB_more() -> None:
    truth = torch.zeros(1, 1, 5, 7)
    gain = psnr(truth + 0.1, truth) - psnr(truth + 0.2, truth)
    assert float(gain) == pytest.approx(20 * np.log10(2), abs=1e-4)
    assert float(mae(truth + 0.2, truth)) == pytest.approx(0.2)
