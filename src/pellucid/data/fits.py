# SPDX-License-Identifier: Apache-2.0
"""The ways in which an image comes to a size, and the sides that it then has."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, TypeAlias

__all__ = ["Filling", "Fit", "inside", "middle", "scaled"]

Fit: TypeAlias = Literal["squash", "crop", "pad"]
Filling: TypeAlias = Literal["squash", "crop"]
"""Those by which an image fills its size; padding is done around them."""


def inside(have: Sequence[int], size: tuple[int, int]) -> tuple[int, int]:
    """The largest (h, w) of an image's shape that fits into a size.

    >>> inside((300, 400), (100, 100))
    (75, 100)
    """
    scale = min(want / side for side, want in zip(have, size, strict=True))
    height, width = (min(want, max(1, round(scale * side))) for side, want in zip(have, size, strict=True))
    return height, width


def middle(have: Sequence[int], size: tuple[int, int]) -> tuple[float, float, float, float]:
    """The largest part of an image (h, w) with a size's proportions, in its middle: left, top, right, bottom in px.

    >>> middle((300, 400), (100, 100))
    (50.0, 0.0, 350.0, 300.0)
    """
    scale = max(want / side for side, want in zip(have, size, strict=True))
    height, width = (min(side, want / scale) for side, want in zip(have, size, strict=True))
    left, top = (have[1] - width) / 2, (have[0] - height) / 2
    return left, top, left + width, top + height


def scaled(have: Sequence[int], size: tuple[int, int], fit: Filling) -> tuple[float, float]:
    """(h, w) of an image as a whole once its part, or all of it, has a size.

    >>> scaled((300, 400), (90, 90), "crop"), scaled((300, 400), (90, 90), "squash")
    ((90.0, 120.0), (90.0, 90.0))
    """
    if fit == "squash":
        return float(size[0]), float(size[1])
    scale = max(want / side for side, want in zip(have, size, strict=True))
    return scale * have[0], scale * have[1]
