# SPDX-License-Identifier: Apache-2.0
"""Where a page has ink: the paper's light is taken out, and what is left is darker or lighter by as much as strokes are."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import final

import numpy as np
from numpy.typing import NDArray

__all__ = ["Inked", "inked", "noise_of", "pen_of"]

_COARSE = 1000  # px of the longer side where only the strokes' width and colour are sought
_PENS = (3, 5, 7, 11, 15, 21, 31, 45, 63, 89)  # px: widths of strokes that are tried
_SATURATED = 1.25  # growth of what is filled from one width to the next, below which nearly all strokes are
_KERNEL = 15  # px: a closing's width, at most
_FLOOR = 0.02  # contrast that paper has
_HIGH, _LOW = 0.6, 0.4  # of the strokes' contrast: where ink begins, and how far it goes on
_SIGMAS = 5.0  # above the paper's noise
_LEAST = 0.035  # contrast of ink
_CALM = 0.012  # noise of a page in [0, 1] that does no harm; more of it is smoothed down to this
_PEAKS = 4.0  # standard deviations of the noise below which its peaks lie
_SOME, _LITTLE = 0.08, 0.01  # of all that closings fill, of the same kind or of both: less is not strokes
_SOFTEST = 2.0  # px: the widest blur before the strokes' width is known
_LAPLACIANS = ((1, -2, 1), (-2, 4, -2), (1, -2, 1))  # the difference of two: 0 where light and edges are straight

Floats = NDArray[np.float32]


@final
@dataclass(frozen=True)
class Inked:
    """A page's ink."""

    contrast: Floats  # (H, W): how much darker than the paper, or lighter, as a share; 1 is the strokes' usual contrast
    mask: NDArray[np.bool_]  # (H, W): where there is ink
    pen: float  # px: how wide strokes are
    light: bool  # light strokes on something dark


def noise_of(grey: Floats) -> float:
    """The standard deviation of a page's noise, from its finest texture (Immerkær 1996, with the median in the mean's place).

    >>> page = np.linspace(0, 1, 300, dtype=np.float32) + 0.05 * np.random.default_rng(0).standard_normal((200, 300), np.float32)
    >>> round(noise_of(page), 3)
    0.05
    """
    import cv2

    kernel = np.array(_LAPLACIANS, np.float32) / 6  # of unit variance in white noise
    bands = [grey[start : start + 3] for start in range(0, len(grey) - 2, max(3, len(grey) // 300))]
    found = np.concatenate([cv2.filter2D(band, -1, kernel)[1] for band in bands]) if bands else np.zeros(1)
    return 1.4826 * float(np.median(np.abs(found)))


def _calming(noise: float) -> float:
    """The standard deviation in px of the Gaussian that leaves noise of `_CALM`: white noise falls by 2 √π times as much."""
    return noise / (2 * math.sqrt(math.pi) * _CALM)


def pen_of(grey: Floats) -> tuple[float, bool]:
    """How wide strokes are in px, and whether they are light, for a page (H, W) in [0, 1].

    A closing fills what is dark and narrower than itself, and leaves shadows alone, which are wide (Serra 1982); the narrowest
    that fills most is as wide as the strokes. The same on the negative finds light strokes.
    """
    import cv2

    scale = min(1.0, _COARSE / max(grey.shape))
    small = cv2.resize(grey, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA) if scale < 1 else grey
    noise = noise_of(np.asarray(small, np.float32))
    soft = min(_SOFTEST, max(0.7, _calming(noise)))
    small = cv2.GaussianBlur(small, (0, 0), soft)
    least = max(
        _FLOOR, _PEAKS * noise / (2 * math.sqrt(math.pi) * soft)
    )  # what a closing fills of the noise that is left
    most = min(small.shape) // 3
    sizes = [k for k in _PENS if k <= most] or [3]
    filled = np.zeros((len(sizes), 2))  # how much each closing fills: dark, light
    for i, k in enumerate(sizes):
        less = min(1.0, _KERNEL / k)  # wide strokes are as wide on a smaller picture, and found there sooner
        seen = small if less == 1 else cv2.resize(small, None, fx=less, fy=less, interpolation=cv2.INTER_AREA)
        side = min(k, _KERNEL)
        kernel = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (side, side))
        for j, kind in enumerate((cv2.MORPH_BLACKHAT, cv2.MORPH_TOPHAT)):
            hat = cv2.morphologyEx(seen, kind, kernel)
            floor = max(least, 4 * float(np.median(hat[::3, ::3])))
            filled[i, j] = np.clip(hat - floor, 0, None).sum() / less**2
    # strokes are all about as wide, so that wider closings fill no more; the gaps between them are of all widths
    growth = np.ones((len(sizes), 2))
    growth[:-1] = filled[1:] / np.maximum(filled[:-1], 1e-6)
    growth[filled < np.maximum(_SOME * filled.max(0), _LITTLE * filled.max() + 1e-6)] = (
        np.inf
    )  # specks are not what the page's strokes are
    first = [
        int(np.argmax(growth[:, j] <= _SATURATED)) if (growth[:, j] <= _SATURATED).any() else len(sizes) for j in (0, 1)
    ]
    if first[0] == first[1]:
        light = int(filled[min(first[0], len(sizes) - 1), 1] > filled[min(first[0], len(sizes) - 1), 0])
    else:
        light = int(first[1] < first[0])
    place = min(first[light], len(sizes) - 1)
    return sizes[place] / scale, bool(light)


def inked(grey: Floats, pen: float, light: bool) -> Inked:
    """The ink of a page (H, W) in [0, 1] whose strokes are about `pen` px wide."""
    import cv2
    from skimage.filters import apply_hysteresis_threshold

    dark = np.float32(1) - grey if light else grey
    soft = max(min(1.2, max(0.5, 0.12 * pen)), min(_calming(noise_of(np.asarray(dark, np.float32))), 0.3 * pen))
    page = np.asarray(cv2.GaussianBlur(dark, (0, 0), soft), np.float32)
    k = 2 * round(1.3 * pen) + 3
    scale = min(1.0, 15 / k)  # the paper's light is smooth: a large closing on a small picture
    small = cv2.resize(page, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)
    k_small = max(3, 2 * round(k * scale / 2) + 1)
    kernel = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (k_small, k_small))
    paper = cv2.morphologyEx(small, cv2.MORPH_CLOSE, kernel)
    paper = cv2.GaussianBlur(paper, (0, 0), k_small / 4)
    paper = np.asarray(cv2.resize(paper, page.shape[::-1], interpolation=cv2.INTER_LINEAR), np.float32)
    contrast = (paper - page) / np.maximum(paper, np.float32(0.1))
    sample = contrast[:: max(1, contrast.shape[0] // 700), :: max(1, contrast.shape[1] // 700)]
    middle = float(np.median(sample))
    noise = 1.4826 * float(np.median(np.abs(sample - middle)))
    contrast -= np.float32(middle)
    sample = sample - middle
    least = max(_LEAST, _SIGMAS * noise)
    strong = sample[sample > least]
    usual = float(np.quantile(strong, 0.8)) if len(strong) > 20 else 1.0
    high, low = max(_HIGH * usual, least), max(_LOW * usual, 0.6 * least)
    mask = apply_hysteresis_threshold(contrast, low, high)
    return Inked(np.clip(contrast / np.float32(usual), 0, 1.5), mask, pen, light)
