# SPDX-License-Identifier: Apache-2.0
"""Classical denoising filters, each with its strength chosen on training images."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import torch
from numpy.typing import NDArray
from torch.nn import functional as F

from pellucid.data.decoding import workers

__all__ = ["PCA", "Filter", "filters", "run", "tune"]

Image = NDArray[np.float32]  # (C, H, W)
Filter = Callable[[Image, float], Image]


def filters(sigma: float) -> dict[str, tuple[Filter, Sequence[float]]]:
    """Each filter with the strengths to try; `sigma` is the standard deviation of the noise, in [0, 1] units."""
    blurs = (0.4, 0.6, 0.8, 1.0, 1.3, 1.7, 2.2)
    return {
        "median": (_median, (3, 5, 7)),
        "Gaussian blur": (_gaussian, blurs),
        "non-local means": (
            lambda image, h: _nl_means(image, h, sigma),
            tuple(sigma * f for f in (0.4, 0.6, 0.8, 1.0, 1.3)),
        ),
        "total variation": (_total_variation, tuple(max(sigma, 0.02) * f for f in (0.3, 0.6, 0.9, 1.2, 1.6, 2.2))),
    }


def run(rule: Filter, images: Sequence[Image], strength: float) -> list[Image]:
    """A filter applied to many images, in parallel; its answers are clipped to [0, 1]."""
    with ThreadPoolExecutor(workers()) as pool:
        return list(pool.map(lambda image: np.clip(rule(image, strength), 0, 1).astype(np.float32), images))


def tune(rule: Filter, strengths: Sequence[float], noisy: Sequence[Image], clean: Sequence[Image]) -> float:
    """The strength with the highest mean PSNR on noisy images whose clean versions are known."""

    def mean_psnr(strength: float) -> float:
        errors = [float(((a - b) ** 2).mean()) for a, b in zip(run(rule, noisy, strength), clean, strict=True)]
        return float(np.mean([-np.log10(max(error, 1e-12)) for error in errors]))  # in units of 10 dB

    return max(strengths, key=mean_psnr)


def _median(image: Image, size: float) -> Image:
    from scipy.ndimage import median_filter

    smooth: Image = median_filter(image, size=(1, int(size), int(size)))
    return smooth


def _gaussian(image: Image, sigma: float) -> Image:
    from scipy.ndimage import gaussian_filter

    smooth: Image = gaussian_filter(image, (0, sigma, sigma))
    return smooth


def _nl_means(image: Image, h: float, sigma: float) -> Image:
    """Non-local means with patches of 7×7 in a window of 23×23 (Buades et al. 2005; Darbon et al. 2008 for the speed)."""
    from skimage.restoration import denoise_nl_means

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # scikit-image warns of small images, and handles them well
        # without a channel axis for grey images: scikit-image 0.26 would return them transposed
        grey = len(image) == 1
        cleaned: Image = denoise_nl_means(
            image[0] if grey else image,
            h=max(h, 1e-3),
            sigma=sigma,
            patch_size=7,
            patch_distance=11,
            fast_mode=True,
            channel_axis=None if grey else 0,
        )
    return cleaned[None] if grey else cleaned


def _total_variation(image: Image, weight: float) -> Image:
    """Total variation denoising (Chambolle 2004)."""
    from skimage.restoration import denoise_tv_chambolle

    smooth: Image = denoise_tv_chambolle(image, weight=weight, channel_axis=0)
    return smooth


class PCA:
    """Projection of patches onto the leading principal components of clean training patches (Muresan & Parks 2003).

    Images of at most 32×32 px are one patch each; larger ones are cut into 8×8 patches at every second pixel, and the
    projections of overlapping patches are averaged.

    Args:
        clean: (N, C, H, W) in [0, 1].
    """

    def __init__(self, clean: NDArray[np.float32]) -> None:
        whole = max(clean.shape[2:]) <= 32
        self.side = (clean.shape[2], clean.shape[3]) if whole else (8, 8)
        self.stride = 1 if whole else 2
        self.name = "PCA of whole images" if whole else "PCA of 8×8 patches"
        rows = self._patches(torch.from_numpy(clean[:2000]))  # (patches, D)
        rows = rows[torch.randperm(len(rows), generator=torch.Generator().manual_seed(0))[:50_000]]
        self.mean = rows.mean(0)
        self.basis = torch.linalg.svd(rows - self.mean, full_matrices=False).Vh  # (D, D), strongest first

    def strengths(self) -> list[float]:
        """The numbers of components to try."""
        return [float(k) for k in (2, 4, 8, 16, 24, 32, 48, 64, 96, 128, 192) if k < len(self.basis)]

    def __call__(self, image: Image, components: float) -> Image:
        basis = self.basis[: int(components)]
        batch = torch.from_numpy(np.ascontiguousarray(image))[None]
        height, width = batch.shape[2:]
        tall, wide = self.side
        # strides cover the padded image exactly
        down, right = -(height - tall) % self.stride, -(width - wide) % self.stride
        padded = F.pad(batch, (0, max(right, wide - width), 0, max(down, tall - height)), mode="replicate")
        rows = self._patches(padded) - self.mean
        answers = (rows @ basis.T @ basis + self.mean).T[None]  # (1, D, L)
        size = (padded.shape[2], padded.shape[3])
        # `fold` adds up overlapping patches; the number of patches over each pixel makes it a mean
        counts = F.fold(torch.ones_like(answers), size, self.side, stride=self.stride)
        merged = F.fold(answers, size, self.side, stride=self.stride) / counts.clamp_min(1)
        return merged[0, :, :height, :width].numpy()

    def _patches(self, images: torch.Tensor) -> torch.Tensor:
        """(B·L, D): all patches of images (B, C, H, W), as rows."""
        patches = F.unfold(images, self.side, stride=self.stride)  # (B, D, L)
        return patches.transpose(1, 2).reshape(-1, patches.shape[1])
