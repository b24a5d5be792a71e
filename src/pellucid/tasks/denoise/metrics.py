# SPDX-License-Identifier: Apache-2.0
"""What is measured of a denoised picture, and of the noisy one before it."""

from __future__ import annotations

from typing import Any

from numpy.typing import NDArray
from torch import Tensor

from pellucid.tasks._fidelity import mae, psnr, ssim
from pellucid.tasks._metrics import mean

__all__ = ["METRICS", "columns"]

METRICS = (
    mean("psnr", "PSNR", "dB"),
    mean("ssim", "SSIM"),
    mean("mae", "mean absolute error", better="lower"),
    mean("psnr_before", "PSNR before", "dB", "neither"),
    mean("ssim_before", "SSIM before", better="neither"),
    mean("noise", "noise, RMS in [0, 1] units", better="neither"),
)
"""The measures of the task; the first one decides."""


def columns(noisy: Tensor, denoised: Tensor, truth: Tensor) -> dict[str, NDArray[Any]]:
    """The records of pictures, all of them (B, C, H, W) in [0, 1]; only the noisy ones may have values beyond.

    >>> import torch
    >>> truth = torch.full((1, 1, 16, 16), 0.5)
    >>> records = columns(truth + 0.1, truth + 0.01, truth)
    >>> records["psnr_before"].round(2).tolist(), records["psnr"].round(2).tolist()
    ([20.0], [40.0])
    """
    inside = noisy.clamp(0, 1)
    records = {
        "psnr": psnr(denoised, truth),
        "ssim": ssim(denoised, truth),
        "mae": mae(denoised, truth),
        "psnr_before": psnr(inside, truth),
        "ssim_before": ssim(inside, truth),
        "noise": (noisy - truth).square().mean((1, 2, 3)).sqrt(),  # before it is clipped: of gaussian noise its σ
    }
    return {name: value.cpu().numpy() for name, value in records.items()}
