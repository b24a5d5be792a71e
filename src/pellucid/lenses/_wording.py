# SPDX-License-Identifier: Apache-2.0
"""Names and numbers as the lenses write them."""

from __future__ import annotations

__all__ = ["clipped", "clipped_start", "percent"]


def clipped(text: str, longest: int) -> str:
    """A text of at most so many letters, cut at its end.

    >>> clipped("African elephant", 8), clipped("cat", 8)
    ('African…', 'cat')
    """
    return text if len(text) <= longest else f"{text[: longest - 1]}…"


def clipped_start(text: str, longest: int) -> str:
    """The same, cut at its start: of paths and layers the end says more.

    >>> clipped_start("features.3.block.conv", 8)
    '…ck.conv'
    """
    return text if len(text) <= longest else f"…{text[1 - longest :]}"


def percent(share: float, bare: bool = False) -> str:
    """A share as a percentage, with a decimal below ten per cent; `bare` leaves the sign out.

    >>> percent(0.083), percent(0.5), percent(0.0004), percent(0.0), percent(1.0, bare=True)
    ('8.3 %', '50 %', '<0.1 %', '0 %', '100')
    """
    value = 100 * share
    number = f"{value:.0f}" if value >= 9.95 or value == 0 else f"{value:.1f}" if value >= 0.05 else "<0.1"
    return number if bare else f"{number} %"
