# SPDX-License-Identifier: Apache-2.0
"""What is measured of a picture that was decoded from a file: rate, distortion, and the cost that weighs the two."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from pellucid.tasks._fidelity import ms_ssim, psnr
from pellucid.tasks._metrics import mean

__all__ = ["METRICS", "columns"]

METRICS = (
    mean("cost", "cost", "bit/px", "lower"),
    mean("psnr", "PSNR", "dB"),
    mean("ms_ssim", "MS-SSIM"),
    mean("bpp", "bpp", "bit/px", "lower"),
    # a JPEG file without its tables could not be decoded: the rate without headers ranks nothing
    mean("bpp_bare", "bpp without headers", "bit/px", "neither"),
)
"""The measures of the task; the first one decides."""


def columns(
    pictures: Tensor, truth: Tensor, sizes: Sequence[int], bare: Sequence[int], weight: float
) -> dict[str, NDArray[Any]]:
    """The records of pictures (B, C, H, W) in [0, 1] that were decoded from files.

    Args:
        pictures: the decoded pictures.
        truth: the original ones.
        sizes: of the files in bytes.
        bare: the same without headers.
        weight: λ, bits per pixel for a squared error of one grey level (of 255).
    """
    area = truth.shape[2] * truth.shape[3]
    bpp = 8 * np.array(sizes, np.float64) / area
    squares = (pictures - truth).square().mean((1, 2, 3)).double().cpu().numpy() * 255**2  # (B,), grey levels²
    return {
        "psnr": psnr(pictures, truth).cpu().numpy(),
        "ms_ssim": ms_ssim(pictures, truth).cpu().numpy(),
        "bpp": bpp,
        "bpp_bare": 8 * np.array(bare, np.float64) / area,
        "cost": bpp + weight * squares,
    }
