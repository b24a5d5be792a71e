# SPDX-License-Identifier: Apache-2.0
"""Escape from a repelling fixed point: how near a start may be to get away in n steps, in exact arithmetic and in float64."""

from __future__ import annotations

import decimal
from dataclasses import dataclass
from decimal import Decimal

import numpy as np

from pellucid.worked.iteration.function import DIGITS, Function
from pellucid.worked.iteration.points import Cycle, FixedPoint

__all__ = ["Escape", "escapes_of"]


@dataclass(frozen=True)
class Escape:
    """The smallest distance from a repelling fixed point at which a start escapes in n steps.

    Args:
        x: the fixed point.
        side: −1 for starts below it, 1 above.
        exact: the distance in exact arithmetic.
        float64: the distance in float64, with the formula as it is written; None if no start escapes.
        away: the distance that counts as escaped.
    """

    x: Decimal
    side: int
    exact: Decimal
    float64: float | None
    away: Decimal


def escapes_of(f: Function, fixed: tuple[FixedPoint, ...], cycles: tuple[Cycle, ...], times: int) -> tuple[Escape, ...]:
    """The escape distances on either side of every repelling fixed point.

    >>> from pellucid.worked.iteration.points import with_stability
    >>> f = Function("2*x")
    >>> [round(float(escape.exact) * 2**11, 6) for escape in escapes_of(f, (with_stability(f, Decimal(0)),), (), 10)]
    [1.0, 1.0]

    Args:
        f: the function.
        fixed: its fixed points.
        cycles: its cycles; half the way to the nearest of either counts as escaped.
        times: n, the number of steps.
    """
    escapes = []
    for point in fixed:
        elsewhere = [other.x for other in fixed] + [Decimal(p) for cycle in cycles for p in cycle.points]
        others = [abs(x - point.x) for x in elsewhere if x != point.x]
        away = min([*others, Decimal(1)]) / 2
        for side, slope in ((-1, point.left), (1, point.right)):
            if point.stability == "repels" and not slope.is_nan() and abs(slope) > 1:
                exact = _exact_distance(f, point.x, side, abs(slope), away, times)
                if exact is not None:
                    float64 = _float64_distance(f, float(point.x), side, float(away), times)
                    escapes.append(Escape(point.x, side, exact, float64, away))
    return tuple(escapes)


def _exact_distance(f: Function, x: Decimal, side: int, slope: Decimal, away: Decimal, times: int) -> Decimal | None:
    """The last steps are followed exactly; before them each step multiplies the tiny distance by the slope."""
    with decimal.localcontext() as context:
        context.prec, context.Emin = DIGITS, decimal.MIN_EMIN

        def escapes(distance: Decimal, steps: int) -> bool:
            at = x + side * distance
            for _ in range(steps):
                at = f.exact(at)
                if at.is_nan() or abs(at - x) > away:
                    return not at.is_nan()
            return False

        followed = min(times, 200, max(1, int(Decimal(24) / slope.log10())))  # down to a distance of about 1e-24
        low, high = away * slope ** (-followed) / 1000, away * 2
        if not escapes(high, followed):
            return None
        for _ in range(60):  # bisection in the logarithm, as the distance spans many magnitudes
            middle = (low * high).sqrt()
            low, high = (low, middle) if escapes(middle, followed) else (middle, high)
        return high * slope ** -(times - followed)


def _float64_distance(f: Function, x: float, side: int, away: float, times: int) -> float | None:
    """The smallest distance at which a start escapes in float64, to 2.5 %."""
    # from the smallest subnormal number on, 100 distances a decade
    distances = np.concatenate([[5e-324], np.logspace(-323.3, np.log10(away), 33_000)])
    starts = x + side * distances
    at, escaped = starts, np.zeros(len(starts), bool)
    for _ in range(times):
        at = f.values(at)
        now = np.abs(at - x) > away
        if escaped.all() or (np.array_equal(now | escaped, escaped) and (at[~escaped] == x).all()):
            break
        escaped |= now
    held = np.flatnonzero(~escaped)
    first = held[-1] + 1 if len(held) else 0  # from here on every start escapes
    return float(abs(starts[first] - x)) if first < len(starts) else None
