# SPDX-License-Identifier: Apache-2.0
"""What is measured of an inpainted picture, inside its hole only."""

from __future__ import annotations

from typing import Any

from numpy.typing import NDArray
from torch import Tensor

from pellucid.tasks._fidelity import ssim_map
from pellucid.tasks._metrics import mean
from pellucid.tasks.inpaint.edges import border_error

__all__ = ["METRICS", "columns"]

_LEAST = 1e-10  # mean squared error of 100 dB

METRICS = (
    mean("psnr", "PSNR in the hole", "dB"),
    mean("ssim", "SSIM"),
    mean("mae", "mean absolute error in the hole", better="lower"),
    mean("edges", "edge error at the border", better="lower"),
    mean("feature_distance", "feature distance (EfficientNet-Lite0)", better="lower"),
    mean("missing", "missing share", better="neither"),
)
"""The measures of the task; the first one decides."""


def columns(answer: Tensor, truth: Tensor, mask: Tensor) -> dict[str, NDArray[Any]]:
    """The records of pictures: PSNR in dB, SSIM and mean absolute error inside the hole, the edge error at its border, its share.

    >>> import torch
    >>> truth, mask = torch.zeros(1, 1, 16, 16), torch.zeros(1, 1, 16, 16)
    >>> mask[..., 4:8, 4:8] = 1
    >>> records = columns(truth + 0.1 * mask, truth, mask)
    >>> round(float(records["psnr"][0]), 2), round(float(records["mae"][0]), 2), float(records["missing"][0])
    (20.0, 0.1, 0.0625)

    Args:
        answer: (B, C, H, W) in [0, 1], with the true values where pixels are known.
        truth: (B, C, H, W) in [0, 1].
        mask: (B, 1, H, W), 1 = missing. SSIM is the mean over the windows whose centre is missing.
    """
    missing = mask.sum((1, 2, 3)).clamp_min(1)  # (B,)
    values, difference = missing * truth.shape[1], (answer - truth) * mask
    squared = difference.square().sum((1, 2, 3)) / values
    records = {
        "psnr": -10 * squared.clamp_min(_LEAST).log10(),
        "ssim": (ssim_map(answer, truth) * mask).sum((1, 2, 3)) / missing,
        "mae": difference.abs().sum((1, 2, 3)) / values,
        "edges": border_error(answer, truth, mask),
        "missing": mask.mean((1, 2, 3)),
    }
    return {name: value.cpu().numpy() for name, value in records.items()}
