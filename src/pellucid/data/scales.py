# SPDX-License-Identifier: Apache-2.0
"""Which values of images deeper than 8 bits are read as black and as white: one scale for a whole data set."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Literal, Self, final

import numpy as np
from numpy.typing import NDArray

from pellucid.errors import DataError, UsageError

__all__ = ["FORMER", "Bits", "Levels", "Scale", "natural", "recorded_scale", "unfit"]

Bits = Literal[8, 16]
_SPREAD = 0.25  # share of the values that their bits could hold; where images use less, their own range is taken


@final
@dataclass(frozen=True)
class Scale:
    """The value that is black and the value that is white; both belong to the images, in their own units.

    >>> twelve = Scale(0, 4095)
    >>> twelve.levels(np.array([0, 2048, 4095], np.uint16)).tolist()
    [0, 128, 255]
    >>> twelve.values(np.array([0.0, 0.5, 1.0])).tolist()
    [0, 2048, 4095]

    Raises:
        UsageError: the values are not finite, or not in ascending order.
    """

    low: float
    high: float
    floats: bool = False  # of floating-point images; their values are not written back

    def __post_init__(self) -> None:
        if not (math.isfinite(self.low) and math.isfinite(self.high) and self.low < self.high):
            raise UsageError(
                f"range=({self.low:g}, {self.high:g}): is not a range; give the value that is black and a larger one that is white."
            )

    def __str__(self) -> str:
        return f"{_number(self.low)} to {_number(self.high)}"

    def levels(self, array: NDArray[Any], bits: Bits = 8) -> NDArray[Any]:
        """Values as uint8 or uint16 from black to white; values outside are black or white."""
        levels: NDArray[Any] = _table(self, bits)[array] if array.dtype == np.uint16 else _rounded(array, self, bits)
        return levels

    def values(self, unit: NDArray[np.floating[Any]]) -> NDArray[np.uint16]:
        """Numbers in [0, 1] as whole values on this scale; on the whole of 16 bits where those cannot hold its values."""
        fits = not self.floats and self.low >= 0 and self.high <= 65535
        low, high = (self.low, self.high) if fits else (0.0, 65535.0)
        return np.rint(low + np.clip(unit.astype(np.float64), 0, 1) * (high - low)).astype(np.uint16)

    def holds(self, low: float, high: float) -> bool:
        """Whether a range lies within this one."""
        return self.low <= low and high <= self.high


@lru_cache(maxsize=8)
def _table(scale: Scale, bits: Bits) -> NDArray[Any]:
    """The levels of all 65,536 values: looking them up is several times faster than computing them."""
    return _rounded(np.arange(65536), scale, bits)


def _rounded(array: NDArray[Any], scale: Scale, bits: Bits) -> NDArray[Any]:
    top = 2**bits - 1
    levels = np.rint((array.astype(np.float64) - scale.low) * (top / (scale.high - scale.low)))
    clipped: NDArray[Any] = np.clip(levels, 0, top).astype(np.uint8 if bits == 8 else np.uint16)
    return clipped


FORMER = Scale(0, 65535)
"""The scale of runs whose record names none."""


def recorded_scale(data: Mapping[str, Any]) -> Scale | None:
    """The scale in a run's record of its data; version 0.1.0 recorded none, and read all images of 16 bits as 0 to 65,535.

    >>> recorded_scale({"range": [0, 4095]}), recorded_scale({"range": None}), recorded_scale({}) == FORMER
    (Scale(low=0, high=4095, floats=False), None, True)
    """
    if "range" not in data:
        return FORMER
    if data["range"] is None:
        return None
    low, high = data["range"]
    return Scale(low, high, floats=bool(data.get("floats")))


@final
@dataclass(frozen=True)
class Levels:
    """The smallest and the largest value of each image deeper than 8 bits; NaN for images of 8 bits."""

    lows: NDArray[np.float64]  # (N,)
    highs: NDArray[np.float64]  # (N,)
    floats: NDArray[np.bool_]  # (N,) of floating-point images

    @classmethod
    def none(cls, count: int) -> Self:
        """Those of images of 8 bits."""
        return cls(np.full(count, np.nan), np.full(count, np.nan), np.zeros(count, np.bool_))

    @classmethod
    def joined(cls, parts: Sequence[Levels]) -> Self:
        """Those of several sequences of images, one after the other."""
        lows, highs, floats = zip(*((part.lows, part.highs, part.floats) for part in parts), strict=True)
        return cls(np.concatenate(lows), np.concatenate(highs), np.concatenate(floats))

    def select(self, rows: Sequence[int]) -> Self:
        """Those of the images at these positions."""
        return type(self)(self.lows[rows], self.highs[rows], self.floats[rows])

    @property
    def deep(self) -> NDArray[np.bool_]:
        """(N,): whether an image has more than 8 bits."""
        return ~np.isnan(self.lows)

    @property
    def low(self) -> float:
        """The smallest value of all."""
        return float(self.lows[self.deep].min())

    @property
    def high(self) -> float:
        """The largest value of all."""
        return float(self.highs[self.deep].max())

    def outside(self, scale: Scale) -> int:
        """The number of images with values that the scale does not hold."""
        return int(((self.lows < scale.low) | (self.highs > scale.high)).sum())


def natural(levels: Levels) -> Scale | None:
    """The scale that images deeper than 8 bits have by themselves; None for floats outside [0, 1] and for negative numbers.

    Whole numbers go from 0 to the largest number of as many bits as they need: 4,095 for a camera of 12 bits. So one bright
    pixel, or new images of the same camera, change nothing. Only values that fill less than a quarter of that are read from
    their smallest to their largest.

    >>> natural(Levels(np.array([3.0, 90.0]), np.array([2100.0, 3900.0]), np.zeros(2, bool)))
    Scale(low=0, high=4095, floats=False)
    """
    low, high, floats = levels.low, levels.high, bool(levels.floats.any())
    if floats:
        return Scale(0, 1, floats=True) if low >= 0 and high <= 1 else None
    if low < 0:
        return None
    full = max(255, 2 ** int(high).bit_length() - 1) if high > 1 else 1
    return Scale(0, full) if high - low >= _SPREAD * full or full <= 255 or low == high else Scale(low, high)


def unfit(where: str, levels: Levels) -> DataError:
    """The error for values that have no scale by themselves."""
    low, high = levels.low, levels.high
    ends = f"{low:g} {high:g}" if low < high else f"{low:g} {low + 1:g}"
    kind, rule = (
        ("floating-point pixels", ", not in [0, 1]")
        if levels.floats.any()
        else ("pixels", ", negative ones among them")
    )
    return DataError(
        f"{where}: has {kind} from {low:g} to {high:g}{rule}; say which values are black and white, as in --range {ends}."
    )


def _number(value: float) -> str:
    return f"{value:,.0f}" if float(value).is_integer() else f"{value:g}"
