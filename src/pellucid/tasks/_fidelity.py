# SPDX-License-Identifier: Apache-2.0
"""How close pictures are to the true ones, for each image of a batch: PSNR, SSIM at one and several scales, mean error."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

__all__ = ["mae", "ms_ssim", "psnr", "ssim", "ssim_map"]

_SIGMA = 1.5  # px, of SSIM's window
_RADIUS = 5  # px: the window ends at 3.5 sigma, 11 × 11 as in the paper
_LEAST = 1e-10  # mean squared error of 100 dB
_LONGEST = 1024  # px: up to this side a product with a banded matrix is the fastest blur (26 times at 28 px, one core)
_C1, _C2 = 0.01**2, 0.03**2  # (K1·L)² and (K2·L)² for the range L = 1
_WEIGHTS = (0.0448, 0.2856, 0.3001, 0.2363, 0.1333)  # of five scales, from the finest (Wang et al. 2003, section 3.2)
_WINDOW = 2 * _RADIUS + 1


def psnr(pictures: Tensor, truth: Tensor) -> Tensor:
    """Peak signal-to-noise ratio of each image in dB, with 1 as the peak; at most 100 dB, as for equal images.

    >>> psnr(torch.full((1, 1, 8, 8), 0.75), torch.full((1, 1, 8, 8), 0.5)).round(decimals=2)
    tensor([12.0400])

    Args:
        pictures: (B, C, H, W) in [0, 1].
        truth: (B, C, H, W) in [0, 1].

    Returns:
        (B,) float32, dB.
    """
    # without the limit, one perfect image would make a mean infinite
    return -10 * (pictures - truth).square().mean((1, 2, 3)).clamp_min(_LEAST).log10()


def mae(pictures: Tensor, truth: Tensor) -> Tensor:
    """Mean absolute error of each image, (B,) in [0, 1] units.

    >>> mae(torch.ones(1, 1, 8, 8), torch.full((1, 1, 8, 8), 0.5))
    tensor([0.5000])
    """
    return (pictures - truth).abs().flatten(1).mean(1)


def ssim(pictures: Tensor, truth: Tensor) -> Tensor:
    """Structural similarity of each image (Wang et al. 2004, eq. 13), 1 for equal images.

    The mean over channels and over all windows inside the image; windows are Gaussian with sigma = 1.5 px, and the local
    variances are the biased ones, as in the paper. In images below 11 px the window is smaller.

    >>> ssim(torch.ones(2, 1, 16, 16), torch.ones(2, 1, 16, 16))
    tensor([1., 1.])

    Args:
        pictures: (B, C, H, W) in [0, 1].
        truth: (B, C, H, W) in [0, 1].

    Returns:
        (B,) float32 in [-1, 1].
    """
    batch, channels = pictures.shape[:2]
    return _similarity(pictures, truth)[0].mean((1, 2, 3)).view(batch, channels).mean(1).float()


def ssim_map(pictures: Tensor, truth: Tensor) -> Tensor:
    """The structural similarity of the window around each pixel, (B, 1, H, W) float32, mean over channels.

    Windows that reach beyond the image see it mirrored, edge included, as in scikit-image's full map.

    >>> ssim_map(torch.ones(1, 3, 16, 12), torch.ones(1, 3, 16, 12)).shape
    torch.Size([1, 1, 16, 12])
    """
    batch, channels, height, width = pictures.shape
    rows, columns = (_mirrored(side, pictures.device) for side in (height, width))
    padded = (images[:, :, rows[:, None], columns] for images in (pictures, truth))
    return _similarity(*padded)[0].view(batch, channels, height, width).mean(1, keepdim=True).float()


def ms_ssim(pictures: Tensor, truth: Tensor) -> Tensor:
    """Multi-scale structural similarity of each image (Wang, Simoncelli & Bovik 2003, eq. 7), 1 for equal images.

    Contrast and structure at every scale, luminance at the coarsest; each scale averages the one before over 2×2 px. Of the
    five scales only those are used at which the 11 px window fits into the image (all of them from 176 px on), with weights
    that again sum to 1: so values of small images compare with those of the same size only.

    >>> ms_ssim(torch.ones(2, 1, 32, 32), torch.ones(2, 1, 32, 32))
    tensor([1., 1.])

    Args:
        pictures: (B, C, H, W) in [0, 1].
        truth: (B, C, H, W) in [0, 1].

    Returns:
        (B,) float32 in [0, 1].
    """
    shape, least = pictures.shape[:2], min(pictures.shape[2:])
    scales = 1 + sum(least // 2**k >= _WINDOW for k in range(1, len(_WEIGHTS)))
    weights = [weight / sum(_WEIGHTS[:scales]) for weight in _WEIGHTS[:scales]]
    product: Tensor | None = None
    for scale, weight in enumerate(weights):
        if scale:
            pictures, truth = F.avg_pool2d(pictures, 2), F.avg_pool2d(truth, 2)
        similarity, structure = (m.mean((1, 2, 3)).view(shape) for m in _similarity(pictures, truth))  # (B, C) each
        # a negative correlation has no real power: it counts as 0
        factor = (similarity if scale == scales - 1 else structure).clamp_min(0) ** weight
        product = factor if product is None else product * factor
    assert product is not None
    return product.mean(1).float()


def _mirrored(side: int, device: torch.device) -> Tensor:
    """Positions -5 … side + 4 mirrored into the image: 1 0 | 0 1 2 … ."""
    place = torch.arange(-_RADIUS, side + _RADIUS, device=device) % (2 * side)
    return torch.minimum(place, 2 * side - 1 - place)


def _similarity(pictures: Tensor, truth: Tensor) -> tuple[Tensor, Tensor]:
    """(B·C, 1, h, w) float64 each, for all windows inside the image: the similarity, and the same without luminance."""
    # variances are differences of near numbers: float32 would lose four of its seven digits on flat images
    x, y = (images.double().flatten(0, 1)[:, None] for images in (pictures, truth))  # (B·C, 1, H, W)
    mean_x, mean_y, square_x, square_y, product = _blur(torch.cat([x, y, x * x, y * y, x * y])).chunk(5)
    var_x, var_y, covariance = square_x - mean_x**2, square_y - mean_y**2, product - mean_x * mean_y
    structure = (2 * covariance + _C2) / (var_x + var_y + _C2)
    luminance = (2 * mean_x * mean_y + _C1) / (mean_x**2 + mean_y**2 + _C1)
    return luminance * structure, structure


def _blur(images: Tensor) -> Tensor:
    """(N, 1, H, W) averaged over the windows inside: down the columns, then along the rows."""
    down, along = (_window(side, images) for side in images.shape[2:])
    if max(images.shape[2:]) > _LONGEST:
        return F.conv2d(F.conv2d(images, down[None, None, :, None]), along[None, None, None])
    return _band(down, images.shape[2]) @ images @ _band(along, images.shape[3]).T


def _window(side: int, like: Tensor) -> Tensor:
    radius = min(_RADIUS, (side - 1) // 2)
    place = torch.arange(-radius, radius + 1, dtype=like.dtype, device=like.device)
    window = (-0.5 * (place / _SIGMA) ** 2).exp()
    return window / window.sum()


def _band(window: Tensor, side: int) -> Tensor:
    """(side - n + 1, side): row i has the window's n values from column i on, so that a product with it is a blur."""
    rows = torch.arange(side - len(window) + 1, device=window.device)[:, None]
    columns = rows + torch.arange(len(window), device=window.device)
    return window.new_zeros(len(rows), side).scatter_(1, columns, window.expand(len(rows), -1))
