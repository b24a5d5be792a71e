# SPDX-License-Identifier: Apache-2.0
"""How near to a repelling fixed point a start may lie and still escape: in exact arithmetic, and in float64."""

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
    """How near to a repelling fixed point a start may lie and still escape in n steps.

    Args:
        x: the fixed point.
        side: −1 below it, 1 above it.
        exact: the smallest distance in exact arithmetic.
        float64: the smallest distance in float64, the formula evaluated as it is written; None where none escapes.
        away: how far away counts as escaped.
    """

    x: Decimal
    side: int
    exact: Decimal
    float64: float | None
    away: Decimal


def escapes_of(f: Function, fixed: tuple[FixedPoint, ...], cycles: tuple[Cycle, ...], times: int) -> tuple[Escape, ...]:
    """The reach on either side of every fixed point that repels.

    >>> from pellucid.worked.iteration.points import classify
    >>> f = Function("2*x")
    >>> [round(float(reach.exact) * 2**11, 6) for reach in escapes_of(f, (classify(f, Decimal(0)),), (), 10)]
    [1.0, 1.0]

    Args:
        f: the function.
        fixed: its fixed points.
        cycles: its cycles; half the way to the nearest of either counts as escaped.
        times: how often f is applied.
    """
    found = []
    for point in fixed:
        elsewhere = [other.x for other in fixed] + [Decimal(p) for cycle in cycles for p in cycle.points]
        others = [abs(x - point.x) for x in elsewhere if x != point.x]
        away = min([*others, Decimal(1)]) / 2
        for side, slope in ((-1, point.left), (1, point.right)):
            if point.kind == "repels" and abs(slope) > 1:
                exact = _exact_reach(f, point.x, side, abs(slope), away, times)
                if exact is not None:
                    found.append(
                        Escape(point.x, side, exact, _float_reach(f, float(point.x), side, float(away), times), away)
                    )
    return tuple(found)


def _exact_reach(f: Function, x: Decimal, side: int, slope: Decimal, away: Decimal, times: int) -> Decimal | None:
    """Near the point a step multiplies the distance by the slope: the last steps are followed, those before are a power."""
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
        for _ in range(60):
            middle = (low * high).sqrt()
            low, high = (low, middle) if escapes(middle, followed) else (middle, high)
        return high * slope ** -(times - followed)


def _float_reach(f: Function, x: float, side: int, away: float, times: int) -> float | None:
    """The smallest distance, to 1 %, from which float64 escapes."""
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
    first = held[-1] + 1 if len(held) else 0
    return float(abs(starts[first] - x)) if first < len(starts) else None
