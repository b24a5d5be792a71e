# SPDX-License-Identifier: Apache-2.0
"""Names and numbers as a page shows them: a number to the digit that its interval leaves a meaning."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pellucid._digits import interval_digits

__all__ = ["interval", "number", "title"]

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
}


def title(name: str) -> str:
    """A key of the metrics as a heading.

    >>> title("psnr"), title("top_2_accuracy")
    ('PSNR', 'top 2 accuracy')
    """
    return _TITLES.get(name, name.replace("_", " "))


def number(measure: Any) -> str:
    """A number, or a measure's value with as many digits as its interval leaves a meaning."""
    if not isinstance(measure, Mapping):
        return (
            f"{measure:.4g}"
            if isinstance(measure, float)
            else f"{measure:,}"
            if isinstance(measure, int)
            else str(measure)
        )
    value, digits = measure["value"], _digits(measure)
    return "–" if value is None else f"{value:.4g}" if digits is None else f"{value:.{digits}f}"


def interval(measure: Any) -> str:
    """The interval of a measure, to the digits of its value; "" for a bare number."""
    digits = _digits(measure) if isinstance(measure, Mapping) else None
    return "" if digits is None else f"{measure['low']:.{digits}f} to {measure['high']:.{digits}f}"


def _digits(measure: Mapping[str, Any]) -> int | None:
    """How many decimals the width of the interval leaves a meaning; None without an interval."""
    low, high = measure.get("low"), measure.get("high")
    if measure["value"] is None or low is None or high is None or high <= low:
        return None
    return interval_digits(low, high)
