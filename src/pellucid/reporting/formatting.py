# SPDX-License-Identifier: Apache-2.0
"""Names and numbers as a page shows them, a number to the digits that its interval supports."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pellucid._digits import interval_digits

__all__ = ["interval", "number", "signed", "title"]


def title(name: str) -> str:
    """The name of an option or a column, as a heading; measures have titles of their own.

    >>> title("batch_size")
    'batch size'
    """
    return name.replace("_", " ")


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
    return interval_digits(low, high)
