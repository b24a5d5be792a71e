# SPDX-License-Identifier: Apache-2.0
"""Fixed points and cycles of a function, and their stability."""

from __future__ import annotations

import decimal
from dataclasses import dataclass
from decimal import Decimal

import numpy as np
from numpy.typing import NDArray

from pellucid.worked.iteration.function import DIGITS, GRID, LONGEST_CYCLE, Function

__all__ = ["Cycle", "FixedPoint", "cycles_of", "fixed_points", "with_stability"]


@dataclass(frozen=True)
class FixedPoint:
    """A point with f(x) = x.

    Args:
        x: the point.
        left: the slope just left of it.
        right: the slope just right of it.
        stability: `attracts`, `repels`, or `attracts from the left alone` or `right alone`.
        jump: the side on which f is not continuous there; the slope says nothing about stability then.
    """

    x: Decimal
    left: Decimal
    right: Decimal
    stability: str
    jump: str = ""


@dataclass(frozen=True)
class Cycle:
    """A cycle of f.

    Args:
        points: in the order of f, starting with the smallest.
        multiplier: the product of the slopes at the points, by the chain rule the slope of fⁿ; it attracts if |·| < 1.
    """

    points: tuple[float, ...]
    multiplier: float


def fixed_points(f: Function) -> tuple[list[Decimal], tuple[tuple[float, float], ...]]:
    """The points where f(x) − x is 0 or changes its sign, and the intervals where it is 0 throughout.

    >>> points, intervals = fixed_points(Function("x^2"))
    >>> print(*points)
    0 1
    """
    difference = f.values(GRID) - GRID
    zero = difference == 0
    plateaus: list[tuple[float, float]] = []
    roots: list[Decimal] = []
    k = 0
    while k < len(GRID):
        if zero[k]:
            end = k
            while end + 1 < len(GRID) and zero[end + 1]:
                end += 1
            # f(x) may round to x in float64 where it only comes close: decide with 60 digits
            exact = [n for n in range(k, end + 1) if f.exact(Decimal(float(GRID[n]))) == Decimal(float(GRID[n]))]
            if len(exact) > 3:
                plateaus.append((float(GRID[exact[0]]), float(GRID[exact[-1]])))
            else:
                roots += [Decimal(float(GRID[n])) for n in exact]
            k = end + 1
            continue
        if k + 1 < len(GRID) and not zero[k + 1] and difference[k] * difference[k + 1] < 0:
            root = _bisect(f, Decimal(float(GRID[k])), Decimal(float(GRID[k + 1])))
            if root is not None:
                roots.append(root)
        k += 1
    # next to a jump f comes arbitrarily near to x and may still be elsewhere at the point itself
    return [x for x in sorted(set(map(_shortest, roots))) if _is_fixed(f, x)], tuple(plateaus)


def _bisect(f: Function, low: Decimal, high: Decimal) -> Decimal | None:
    """The fixed point between two points, or None if f jumps across the diagonal."""
    with decimal.localcontext() as context:
        context.prec = DIGITS
        below = f.exact(low) - low > 0
        for _ in range(180):  # 2⁻¹⁸⁰ is 10⁻⁵⁴ of the interval
            middle = (low + high) / 2
            value = f.exact(middle) - middle
            if value == 0:
                return middle
            if (value > 0) == below:
                low = middle
            else:
                high = middle
        return low if _is_fixed(f, low) else None


def _is_fixed(f: Function, x: Decimal) -> bool:
    """Whether f(x) = x to 30 digits."""
    with decimal.localcontext() as context:
        context.prec = DIGITS
        return bool(abs(f.exact(x) - x) < Decimal("1e-30") * (1 + abs(x)))


def _shortest(x: Decimal) -> Decimal:
    """A root rounded to 40 digits, which restores a short number: 0.6875 from 0.68749…9."""
    with decimal.localcontext() as context:
        context.prec = 40
        short = +x
        return short.normalize() if abs(short) > Decimal("1e-40") else Decimal(0)


def with_stability(f: Function, x: Decimal) -> FixedPoint:
    """A fixed point with its slopes and its stability.

    >>> with_stability(Function("x/2"), Decimal(0)).stability
    'attracts'
    """
    slopes = [f.slope(x, side) for side in (-1, 1)]
    attracts = [_attracts_from(f, x, side) for side in (-1, 1)]
    if all(attracts):
        stability = "attracts"
    elif not any(attracts):
        stability = "repels"
    else:
        stability = f"attracts from the {'left' if attracts[0] else 'right'} alone"
    beside = [f.exact(x + side * Decimal("1e-20")) for side in (-1, 1)]
    gaps = [near.is_nan() or abs(near - x) > Decimal("1e-9") for near in beside]
    jump = {(True, False): "on the left", (False, True): "on the right", (True, True): "on both sides"}.get(
        (gaps[0], gaps[1]), ""
    )
    return FixedPoint(x, slopes[0], slopes[1], stability, jump)


def _attracts_from(f: Function, x: Decimal, side: int) -> bool:
    """Whether points on one side come closer in two steps: one step cannot decide for a negative slope, which changes sides."""
    # the slope alone is not enough: at |slope| = 1 or at a jump the steps themselves decide
    with decimal.localcontext() as context:
        context.prec = DIGITS
        for distance in (Decimal("1e-6"), Decimal("1e-8")):
            after = f.exact(f.exact(x + side * distance))
            if after.is_nan() or not abs(after - x) < distance:
                return False
        return True


def cycles_of(f: Function, end: NDArray[np.float64]) -> tuple[Cycle, ...]:
    """The attracting cycles among the end points of orbits."""
    settled = np.unique(end[np.isfinite(end)].round(9))
    cycles: dict[tuple[float, ...], Cycle] = {}
    orbits = [settled]  # 64 further steps of each end point
    for _ in range(LONGEST_CYCLE):
        orbits.append(f.values(orbits[-1]))
    for k, start in enumerate(settled):
        if len(cycles) >= 16:
            break
        path = np.array([step[k] for step in orbits])
        back = np.flatnonzero(np.abs(path[1:] - start) <= 1e-7 * max(1.0, abs(start)))
        if not len(back) or back[0] == 0:  # never back, or a fixed point
            continue
        period = int(back[0]) + 1
        points = path[:period]
        points = np.roll(points, -int(points.argmin()))
        key = tuple(points.round(6))  # the same cycle is met from each of its points
        if key not in cycles and np.ptp(points) > 1e-6:
            slope = np.prod([float(f.slope(Decimal(float(p)), 1)) for p in points])
            cycles[key] = Cycle(tuple(float(p) for p in points), float(slope))
    return tuple(cycle for cycle in cycles.values() if abs(cycle.multiplier) < 1)
