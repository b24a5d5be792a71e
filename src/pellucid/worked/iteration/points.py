# SPDX-License-Identifier: Apache-2.0
"""Fixed points and cycles of a function, and whether they attract."""

from __future__ import annotations

import decimal
from dataclasses import dataclass
from decimal import Decimal

import numpy as np
from numpy.typing import NDArray

from pellucid.worked.iteration.function import DIGITS, GRID, LONGEST_CYCLE, Function

__all__ = ["Cycle", "FixedPoint", "classify", "cycles_of", "fixed_points"]


@dataclass(frozen=True)
class FixedPoint:
    """Where f(x) = x.

    Args:
        x: the point.
        left: the slope just left of it.
        right: the slope just right of it.
        kind: `attracts`, `repels`, or `attracts from the left` or `right` and repels on the other side.
        jump: on which side f does not come to the point's own value: there the steps decide, and the slope tells nothing.
    """

    x: Decimal
    left: Decimal
    right: Decimal
    kind: str
    jump: str = ""


@dataclass(frozen=True)
class Cycle:
    """Points that f leads round.

    Args:
        points: in the order in which f visits them, the smallest first.
        multiplier: the product of the slopes, the slope of f composed as often as there are points; |·| < 1 attracts.
    """

    points: tuple[float, ...]
    multiplier: float


def fixed_points(f: Function) -> tuple[list[Decimal], tuple[tuple[float, float], ...]]:
    """Where f(x) − x changes its sign or is 0, and the intervals where it is 0 throughout.

    >>> points, intervals = fixed_points(Function("x^2"))
    >>> print(*points)
    0 1
    """
    difference = f.values(GRID) - GRID
    zero = difference == 0
    plateaus: list[tuple[float, float]] = []
    found: list[Decimal] = []
    k = 0
    while k < len(GRID):
        if zero[k]:
            end = k
            while end + 1 < len(GRID) and zero[end + 1]:
                end += 1
            # a formula may round to x near a point where it only comes close: 60 digits tell
            truly = [n for n in range(k, end + 1) if f.exact(Decimal(float(GRID[n]))) == Decimal(float(GRID[n]))]
            if len(truly) > 3:
                plateaus.append((float(GRID[truly[0]]), float(GRID[truly[-1]])))
            else:
                found += [Decimal(float(GRID[n])) for n in truly]
            k = end + 1
            continue
        if k + 1 < len(GRID) and not zero[k + 1] and difference[k] * difference[k + 1] < 0:
            root = _bisected(f, Decimal(float(GRID[k])), Decimal(float(GRID[k + 1])))
            if root is not None:
                found.append(root)
        k += 1
    # beside a jump f may come as near to x as one likes and still be elsewhere at the very point
    return [x for x in sorted(set(map(_tidy, found))) if _stays(f, x)], tuple(plateaus)


def _bisected(f: Function, low: Decimal, high: Decimal) -> Decimal | None:
    """The fixed point between, or None where f jumps across the diagonal."""
    with decimal.localcontext() as context:
        context.prec = DIGITS
        below = f.exact(low) - low > 0
        for _ in range(180):
            middle = (low + high) / 2
            value = f.exact(middle) - middle
            if value == 0:
                return middle
            if (value > 0) == below:
                low = middle
            else:
                high = middle
        return low if _stays(f, low) else None


def _stays(f: Function, x: Decimal) -> bool:
    """Whether f(x) = x, up to the digits that are kept of a root."""
    with decimal.localcontext() as context:
        context.prec = DIGITS
        return bool(abs(f.exact(x) - x) < Decimal("1e-30") * (1 + abs(x)))


def _tidy(x: Decimal) -> Decimal:
    """40 digits of a number, which brings back a short one: 0.6875 from 0.68749…9."""
    with decimal.localcontext() as context:
        context.prec = 40
        short = +x
        return short.normalize() if abs(short) > Decimal("1e-40") else Decimal(0)


def classify(f: Function, x: Decimal) -> FixedPoint:
    """A fixed point with its slopes, and what becomes of points close by.

    >>> classify(Function("x/2"), Decimal(0)).kind
    'attracts'
    """
    slopes = [f.slope(x, side) for side in (-1, 1)]
    draws = [_draws(f, x, side) for side in (-1, 1)]
    if all(draws):
        kind = "attracts"
    elif not any(draws):
        kind = "repels"
    else:
        kind = f"attracts from the {'left' if draws[0] else 'right'} alone"
    gaps = [abs(f.exact(x + side * Decimal("1e-20")) - x) > Decimal("1e-9") for side in (-1, 1)]
    jump = {(True, False): "on the left", (False, True): "on the right", (True, True): "on both sides"}.get(
        (gaps[0], gaps[1]), ""
    )
    return FixedPoint(x, slopes[0], slopes[1], kind, jump)


def _draws(f: Function, x: Decimal, side: int) -> bool:
    """Whether points close by on one side come closer, after two steps, so that a slope of −1 is judged as well."""
    with decimal.localcontext() as context:
        context.prec = DIGITS
        for distance in (Decimal("1e-6"), Decimal("1e-8")):
            after = f.exact(f.exact(x + side * distance))
            if after.is_nan() or not abs(after - x) < distance:
                return False
        return True


def cycles_of(f: Function, end: NDArray[np.float64]) -> tuple[Cycle, ...]:
    """The attracting cycles that the orbits have come to."""
    settled = np.unique(end[np.isfinite(end)].round(9))
    found: dict[tuple[float, ...], Cycle] = {}
    orbit = [settled]
    for _ in range(LONGEST_CYCLE):
        orbit.append(f.values(orbit[-1]))
    for k, start in enumerate(settled):
        if len(found) >= 16:
            break
        path = np.array([each[k] for each in orbit])
        back = np.flatnonzero(np.abs(path[1:] - start) <= 1e-7 * max(1.0, abs(start)))
        if not len(back) or back[0] == 0:
            continue
        period = int(back[0]) + 1
        points = path[:period]
        points = np.roll(points, -int(points.argmin()))
        key = tuple(points.round(6))
        if key not in found and np.ptp(points) > 1e-6:
            slope = np.prod([float(f.slope(Decimal(float(p)), 1)) for p in points])
            found[key] = Cycle(tuple(float(p) for p in points), float(slope))
    return tuple(cycle for cycle in found.values() if abs(cycle.multiplier) < 1)
