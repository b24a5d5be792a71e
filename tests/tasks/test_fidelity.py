# SPDX-License-Identifier: Apache-2.0
"""PSNR and SSIM: what must hold for any measure of nearness, and where floating point could spoil it."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from skimage.metrics import structural_similarity
from torch import Tensor

from pellucid.tasks import _fidelity
from pellucid.tasks._fidelity import mae, psnr, ssim


def picture(height: int, width: int, channels: int) -> Tensor:
    """Slopes and edges, other ones in each channel."""
    y, x = torch.meshgrid(torch.arange(height) / 7, torch.arange(width) / 9, indexing="ij")
    return torch.stack([0.5 + 0.3 * (x + y * k).sin() + 0.15 * (x * y).cos().sign() for k in range(channels)])[None]


def noisy(clean: Tensor, sigma: float) -> Tensor:
    return (clean + sigma * torch.randn(clean.shape, generator=torch.Generator().manual_seed(0))).clamp(0, 1)


def peer_ssim(one: Tensor, other: Tensor) -> float:
    return float(
        structural_similarity(
            one[0].double().numpy(), other[0].double().numpy(), channel_axis=0, data_range=1.0,
            gaussian_weights=True, sigma=1.5, use_sample_covariance=False,
        )
    )  # fmt: skip


def test_ssim_holds_on_flat_images_where_variances_cancel() -> None:
    clean = torch.full((1, 1, 32, 32), 0.9)
    spoilt = clean + 1e-3 * torch.randn(clean.shape, generator=torch.Generator().manual_seed(0))
    assert float(ssim(spoilt, clean)) == pytest.approx(peer_ssim(spoilt, clean), abs=1e-5)


def test_long_images_go_another_way_to_the_same_number(monkeypatch: pytest.MonkeyPatch) -> None:
    clean = picture(60, 90, 3)
    spoilt = noisy(clean, 0.1)
    by_matrix = ssim(spoilt, clean)
    monkeypatch.setattr(_fidelity, "_LONGEST", 10)
    torch.testing.assert_close(ssim(spoilt, clean), by_matrix, rtol=0, atol=1e-6)


def test_each_image_is_measured_on_its_own_and_both_ways_alike() -> None:
    clean = torch.cat([picture(30, 40, 3), picture(30, 40, 3).flip(3)])
    spoilt = torch.cat([noisy(clean[:1], 0.1), noisy(clean[1:], 0.3)])
    for measure in (psnr, ssim, mae):
        whole = measure(spoilt, clean)
        assert whole.shape == (2,) and whole.dtype == torch.float32
        torch.testing.assert_close(measure(spoilt[1:], clean[1:]), whole[1:])
        torch.testing.assert_close(measure(clean, spoilt), whole)


def test_half_the_error_is_6_dB_more() -> None:
    truth = torch.zeros(1, 1, 5, 7)
    gain = psnr(truth + 0.1, truth) - psnr(truth + 0.2, truth)
    assert float(gain) == pytest.approx(20 * np.log10(2), abs=1e-4)
    assert float(mae(truth + 0.2, truth)) == pytest.approx(0.2)
