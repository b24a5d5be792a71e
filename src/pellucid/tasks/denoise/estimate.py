# SPDX-License-Identifier: Apache-2.0
"""How strong is the noise of an image? Estimated from the image alone, and compared with what a run was trained for."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

__all__ = ["remarks", "sigma"]

# the high-pass filter of the wavelet db2 (Daubechies 1992, table 6.1): constant and linear brightness give 0
_DB2 = (-0.12940952255092145, -0.22414386804185735, 0.836516303737469, -0.48296291314469025)
_LEAST = 8  # px a side: the median of 25 coefficients or more
_NONE = 1e-6  # coefficients below are those of flat areas, where an image was clipped or drawn
_TOLERANCE = 1.25  # factor by which an estimate may lie outside; on photographs it is off by 3 % on average at σ = 25/255, by 12 % at most


def sigma(image: Tensor) -> float | None:
    """The standard deviation of white noise in an image (C, H, W), in [0, 1] units; None below 8×8 px.

    The median of the absolute diagonal wavelet coefficients at the finest scale, over the 0.6745 that it is for standard normal
    numbers (Donoho & Johnstone 1994, section 5), as scikit-image's `estimate_sigma` without PyWavelets, and at every pixel instead
    of every other one. Each plane by itself: grey images stored as colour keep their noise. The mean over the planes.

    Fine texture counts as noise: on clean photographs it finds 2.8/255 on average, 10/255 on grass. Noise that was clipped at black
    or white, or smoothed by JPEG or a camera, counts as less.

    >>> noise = 0.1 * torch.randn(1, 64, 64, generator=torch.Generator().manual_seed(0))
    >>> round(sigma(0.5 + noise), 2)
    0.1
    """
    if min(image.shape[1:]) < _LEAST:
        return None
    filters = torch.tensor(_DB2, device=image.device)
    down = F.conv2d(image.float()[:, None], filters.view(1, 1, 4, 1))
    coefficients = F.conv2d(down, filters.view(1, 1, 1, 4)).abs().flatten(1)  # (C, (H - 3)·(W - 3))
    found = []
    for own in coefficients:
        varying = own[own > _NONE]
        found.append(float(varying.median()) / 0.6745 if len(varying) else 0.0)
    return sum(found) / len(found)


def remarks(rows: Sequence[Mapping[str, Any]], levels: tuple[float, float]) -> list[str]:
    """A warning where images seem to have other noise than a run was trained for; [] where none has.

    >>> print(*remarks([{"name": "a.png", "noise": 0.2}, {"name": "b.png", "noise": 0.1}], (0.1, 0.1)))
    noise: 1 of 2 images seems to have other noise than the level 0.1 that this run was trained for, first a.png with about 0.2; ...
    """
    least, most = levels
    known = [row for row in rows if row.get("noise") is not None]
    outside = [row for row in known if not least / _TOLERANCE <= row["noise"] <= most * _TOLERANCE]
    if not outside:
        return []
    trained = f"the level {least:.3g}" if least == most else f"the levels {least:.3g} to {most:.3g}"
    seem = "images seem" if len(outside) > 1 else "image seems" if len(known) == 1 else "images seems"
    low, high = (edge(row["noise"] for row in outside) for edge in (min, max))
    return [
        f"noise: {len(outside)} of {len(known)} {seem} to have other noise than {trained} that this run was trained for, first "
        f"{outside[0]['name']} with about {outside[0]['noise']:.3g}; weaker noise costs detail, stronger noise stays in part, and "
        f"a run for all of it has --level {min(low, least):.3g} {max(high, most):.3g}."
    ]
