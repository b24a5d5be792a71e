# SPDX-License-Identifier: Apache-2.0
"""Rate–distortion curves of codecs on one image: the settings of each, and how far one curve is above another."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from pellucid.tasks.compress.codecs import Codec
from pellucid.tasks.compress.coding import encoded
from pellucid.tasks.compress.metrics import columns

__all__ = ["Curve", "codec_curve", "curve_gain", "decibels", "model_curve", "model_point", "value_at"]

_AT_ONCE = 3_000_000  # pixel values of pictures that are measured together
_RATES = np.geomspace(0.2, 1.0, 17)  # bits per pixel at which curves are compared

Curve = list[dict[str, Any]]
"""A point for each setting of a codec: "setting", and the measures of `metrics.columns`."""


def codec_curve(image: NDArray[np.uint8], codec: Codec, weight: float) -> Curve:
    """The settings of a codec on an image (C, H, W)."""
    truth = torch.from_numpy(image.copy())[None].float().div(255)  # (1, C, H, W)
    settings = list(codec(image))
    at_once = max(1, _AT_ONCE // truth.numel())  # small pictures are measured together: fewer, larger operations
    points: Curve = []
    for part in (settings[start : start + at_once] for start in range(0, len(settings), at_once)):
        files = [saved for _, saved in part]
        pictures = torch.from_numpy(np.stack([saved.picture for saved in files])).float().div(255)
        sizes, bare = [saved.bytes for saved in files], [saved.bare for saved in files]
        measures = columns(pictures, truth.expand_as(pictures), sizes, bare, weight)
        points += [
            {"setting": setting, **{name: float(column[k]) for name, column in measures.items()}}
            for k, (setting, _) in enumerate(part)
        ]
    return points


def model_curve(model: Any, image: NDArray[np.uint8], weight: float) -> Curve:
    """The qualities of a model of the output kind "code" on an image (C, H, W)."""
    return [
        {"setting": f"quality {quality + 1}", **model_point(model, image, quality, weight)}
        for quality in range(model.prior.qualities)
    ]


def model_point(model: Any, image: NDArray[np.uint8], quality: int, weight: float) -> dict[str, float]:
    """The measures of a model's file of one quality (from 0)."""
    truth = torch.from_numpy(image.copy())[None].float().div(255).to(model.normalize.mean.device)
    coded = encoded(model, truth, quality, identity=bytes(4))  # only the length of the file counts
    measures = columns(coded.pixels, truth, [len(coded.files[0])], coded.bare, weight)
    return {name: float(column[0]) for name, column in measures.items()}


def curve_gain(ours: Curve, theirs: Curve, rate: str = "bpp") -> float:
    """Decibels by which one codec is ahead of another on an image, as a mean over equal rates from 0.2 to 1 bit per pixel.

    Only rates that both curves reach count; NaN where there are none. Between settings, PSNR is linear in the log of the rate.

    >>> low, high = {"bpp": 0.1, "psnr": 20.0}, {"bpp": 2.0, "psnr": 40.0}
    >>> round(curve_gain([low, high], [{**low, "psnr": 19.0}, {**high, "psnr": 39.0}]), 6)
    1.0
    """
    gap = np.array([value_at(ours, rate, bits) - value_at(theirs, rate, bits) for bits in _RATES])
    defined = np.isfinite(gap)
    return float(gap[defined].mean()) if defined.any() else float("nan")


def value_at(curve: Curve, rate: str, bits: float, measure: str = "psnr") -> float:
    """A measure in dB at a rate in bits per pixel; NaN outside the range of the settings.

    MS-SSIM is taken as −10·log₁₀(1 − MS-SSIM). A setting that costs more than another and is no better is left out.

    >>> value_at([{"bpp": 0.1, "psnr": 20.0}, {"bpp": 1.0, "psnr": 40.0}], "bpp", 0.1**0.5)
    30.0
    """
    best: list[tuple[float, float]] = []  # rate and value, both rising
    read = decibels if measure == "ms_ssim" else float
    for spent, value in sorted((point[rate], read(point[measure])) for point in curve):
        if not best or value > best[-1][1]:
            best.append((spent, value))
    rates, values = np.array(best).T
    return float(np.interp(np.log(bits), np.log(rates), values, left=np.nan, right=np.nan))


def decibels(similarity: float) -> float:
    """MS-SSIM on a scale that spreads values near 1.

    >>> decibels(0.99)
    20.0
    """
    return round(float(-10 * np.log10(max(1 - similarity, 1e-6))), 12)
