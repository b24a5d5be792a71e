# SPDX-License-Identifier: Apache-2.0
"""What batch and layer normalisation share: a scale and a shift for each feature, and numbers whose variance is a square."""

from __future__ import annotations

from math import isqrt
from random import Random
from typing import Any

from pellucid.errors import UsageError
from pellucid.worked.builders._quantities import shape_of
from pellucid.worked.worksheet.worksheet import Worksheet

__all__ = ["put_per_feature", "with_square_variance"]


def put_per_feature(sheet: Worksheet, name: str, value: Any, features: int | None) -> None:
    """Write down a number for each feature; one number stands for all."""
    if value is None:
        return
    shape = shape_of(name, value)
    if shape == ():
        sheet[name] = [value] * features if features else value
    elif shape == (features,):
        sheet[name] = value
    else:
        raise UsageError(
            f"{name}: has {shape[0]} numbers for {features or 1} features; give one for each, or one for all."
        )


def with_square_variance(random: Random) -> list[int]:
    """Four whole numbers with at least three different values, a whole mean, and a variance that is a square."""
    while True:
        x = [random.randint(-6, 9) for _ in range(4)]
        # N²·v = N·Σx² − (Σx)² in whole numbers
        spread = 4 * sum(number**2 for number in x) - sum(x) ** 2  # 16 times the variance
        if sum(x) % 4 == 0 and spread > 0 and isqrt(spread) ** 2 == spread and isqrt(spread) % 4 == 0 and len({*x}) > 2:
            return x
