# SPDX-License-Identifier: Apache-2.0
"""Names and numbers as a page shows them, a number to the digits that its interval supports."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

__all__ = ["interval", "number", "signed", "title"]

# What the titles of measures would otherwise be: their keys with spaces.
_TITLES = {
    "psnr": "PSNR",
    "ssim": "SSIM",
    "mae": "mean absolute error",
    "psnr_before": "PSNR before",
    "ssim_before": "SSIM before",
    "f1": "F1",
    "elbo": "ELBO",
    "nll": "−log p",
    "frechet_over_floor": "Fréchet distance / floor",
    "D_real": "D(x)",
    "energy": "energy score",
    "nmi": "NMI",
    "ari": "ARI",
    "ms_ssim": "MS-SSIM",
    "bpp_bare": "bpp without header",
    "gain_over_jpeg": "PSNR over JPEG at equal size",
    "gain_over_jpeg_bare": "PSNR over JPEG without headers",
}


def title(name: str) -> str:
    """The name of a measure, an option or a column, as a heading.

    >>> title("psnr"), title("top_2_accuracy")
    ('PSNR', 'top 2 accuracy')
    """
    return _TITLES.get(name, name.replace("_", " "))


def number(measure: Any) -> str:
    """A bare number, or a measure's value to the digits that its interval supports; "–" for a value that is missing.

    >>> number(12345), number(0.123456), number({"value": -87.21, "low": -88.73, "high": -85.94})
    ('12,345', '0.1235', '−87.2')
    """
    if isinstance(measure, Mapping):
        value, digits = measure["value"], _digits(measure)
        return "–" if value is None else _minus(f"{value:.4g}" if digits is None else f"{value:.{digits}f}")
    if isinstance(measure, float):
        return _minus(f"{measure:.4g}")
    return f"{measure:,}" if isinstance(measure, int) else str(measure)


def interval(measure: Any) -> str:
    """The interval of a measure, to the digits of its value; "" for a bare number.

    >>> interval({"value": 0.9587, "low": 0.9368, "high": 0.978})
    '0.937 to 0.978'
    """
    digits = _digits(measure) if isinstance(measure, Mapping) else None
    return "" if digits is None else " to ".join(_minus(f"{measure[end]:.{digits}f}") for end in ("low", "high"))


def signed(value: float, low: float, high: float) -> tuple[str, str, str]:
    """A difference and the ends of its interval, with their signs and to the same digits.

    >>> signed(-0.0302, -0.0495, -0.0137)
    ('−0.030', '−0.050', '−0.014')
    """
    digits = _digits({"value": value, "low": low, "high": high})
    form = "+.4g" if digits is None else f"+.{digits}f"
    return _minus(f"{value:{form}}"), _minus(f"{low:{form}}"), _minus(f"{high:{form}}")


def _minus(number: str) -> str:
    """A number with a minus sign instead of a hyphen."""
    return f"−{number[1:]}" if number.startswith("-") else number


def _digits(measure: Mapping[str, Any]) -> int | None:
    """How many decimals the width of the interval supports; None without an interval."""
    low, high = measure.get("low"), measure.get("high")
    if measure["value"] is None or low is None or high is None or high - low <= 1e-9 * max(abs(low), abs(high)):
        return None
    return int(np.clip(1 - np.floor(np.log10(high - low)), 0, 6))
