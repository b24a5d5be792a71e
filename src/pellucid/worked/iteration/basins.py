# SPDX-License-Identifier: Apache-2.0
"""Where the orbits of all starting points end, and the single points that differ from those around them."""

from __future__ import annotations

import itertools
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pellucid.worked.iteration.function import GRID, Function, number_text, orbit
from pellucid.worked.iteration.points import Cycle, FixedPoint

__all__ = ["Basin", "Limits", "basins_of", "exceptions_of"]

_MANY = 24  # intervals and exceptions that are listed


@dataclass(frozen=True)
class Basin:
    """An open interval of starting points with one fate.

    Args:
        low: its lower end.
        high: its upper end.
        fate: `→ 1`, `→ cycle of 2 (…)`, `→ ∞`, or that it is undecided.
        after: the smallest and the largest value that f applied n times has at starting points well inside.
    """

    low: float
    high: float
    fate: str
    after: tuple[float, float]


class Limits:
    """Where a starting point ends: the number of an attractor, or one of the codes below."""

    UP, DOWN, NOWHERE, OPEN = -1, -2, -3, -4

    def __init__(self, f: Function, fixed: tuple[FixedPoint, ...], cycles: tuple[Cycle, ...]) -> None:
        self.f, self.fixed, self.cycles = f, fixed, cycles
        self.attractors: list[tuple[str, NDArray[np.float64], float]] = []
        for point in fixed:
            if point.kind.startswith("attracts"):
                self.attractors.append(
                    (f"→ {number_text(float(point.x))}", np.array([float(point.x)]), self._trap(point))
                )
        for cycle in cycles:
            points = np.array(cycle.points)
            words = ", ".join(number_text(float(p)) for p in points[:8]) + (", …" if len(points) > 8 else "")
            self.attractors.append((f"→ the cycle of {len(points)} ({words})", points, 1e-6))

    def _trap(self, point: FixedPoint) -> float:
        """How near is near enough: all points within come closer with every step or two."""
        x = float(point.x)
        for size in (0.1, 0.03, 0.01, 1e-3, 1e-4, 1e-5):
            offsets = np.linspace(0.02, 1, 50) * size
            near = x + np.concatenate([-offsets, offsets])
            if (np.abs(self.f.values(self.f.values(near)) - x) < np.abs(near - x)).all():
                return size
        return 1e-7

    def of(self, x: NDArray[np.float64]) -> NDArray[np.int64]:
        end = orbit(self.f, x, 4096)
        fate = np.full(len(x), self.OPEN)
        # a fixed point that repels keeps the starts that fall upon it exactly
        for number, (_, points, size) in enumerate(self.attractors):
            fate[np.abs(end[:, None] - points).min(axis=1) <= size] = number
        fate[np.isnan(end)] = self.NOWHERE
        fate[end > 1e12] = self.UP
        fate[end < -1e12] = self.DOWN
        for k, point in enumerate(self.fixed):
            if point.kind == "repels":
                fate[end == float(point.x)] = -10 - k
        return fate

    def words(self, fate: int) -> str:
        if fate >= 0:
            return self.attractors[fate][0]
        if fate <= -10:
            return f"→ {number_text(float(self.fixed[-10 - fate].x))}"
        return {
            self.UP: "→ ∞",
            self.DOWN: "→ −∞",
            self.NOWHERE: "has no value after some steps",
        }.get(fate, "comes to no rest and no cycle of at most 64 points")


def basins_of(f: Function, fates: Limits, times: int, exceptions: list[float]) -> tuple[Basin, ...]:
    """The intervals of one fate, their ends found by bisection; single points between two are the exceptions."""
    # starts off the round numbers, which might be exceptions themselves
    starts = np.unique(np.concatenate([GRID[1:] * 0.4142135 + GRID[:-1] * 0.5857865, GRID[[0, -1]]]))
    fate = fates.of(starts)
    edges = np.flatnonzero(fate[1:] != fate[:-1])
    cuts = [-np.inf]
    for k in edges[:_MANY]:
        low, high = float(starts[k]), float(starts[k + 1])
        for _ in range(9):  # each time the place where the fate changes is one in 64
            between = np.linspace(low, high, 65)
            other = np.flatnonzero(fates.of(between) != fate[k])
            if not len(other) or other[0] == 0 or not between[other[0] - 1] < between[other[0]]:
                break
            low, high = float(between[other[0] - 1]), float(between[other[0]])
        edge = (low + high) / 2
        # float64 rounds a formula near a point where orbits part: the point itself is known to more digits
        cuts.append(min(exceptions, key=lambda x: abs(x - edge), default=edge))
        cuts[-1] = cuts[-1] if abs(cuts[-1] - edge) <= 1e-9 * max(1.0, abs(edge)) else edge
    cuts.append(np.inf)
    found = []
    for n, (low, high) in enumerate(itertools.pairwise(cuts)):
        inside = starts[(starts > low) & (starts < high)]
        first = edges[n] if n < len(edges) else len(starts) - 1
        open_end = n == len(cuts) - 2 and len(edges) > _MANY
        words = "fates alternate in ever finer intervals" if open_end else fates.words(int(fate[first]))
        kept = inside[len(inside) // 8 : len(inside) - len(inside) // 8] if len(inside) > 8 else inside
        after = orbit(f, kept, times)
        spread = (float(np.nanmin(after)), float(np.nanmax(after))) if np.isfinite(after).any() else (np.nan, np.nan)
        found.append(Basin(float(low), float(high), words, spread))
    return tuple(found)


def exceptions_of(f: Function, fixed: tuple[FixedPoint, ...]) -> tuple[tuple[float, str], ...]:
    """Points that do not share the fate of those around them: repelling fixed points and what is mapped upon them."""
    found: dict[float, str] = {}
    for point in fixed:
        if point.kind != "repels":
            continue
        x = float(point.x)
        found[x] = "stays, for it is a fixed point"
        difference = f.values(GRID) - x
        for k in np.flatnonzero(difference[:-1] * difference[1:] < 0):
            root = _solved(f, x, float(GRID[k]), float(GRID[k + 1]))
            if root is not None and abs(root - x) > 1e-9:
                found.setdefault(root, f"is mapped to {number_text(x)} in one step")
        for exact in GRID[(difference == 0) & (np.abs(GRID - x) > 1e-9)][:8]:
            found.setdefault(float(exact), f"is mapped to {number_text(x)} in one step")
    return tuple(sorted(found.items()))[:_MANY]


def _solved(f: Function, target: float, low: float, high: float) -> float | None:
    value = f.values(np.array([low]))[0] - target
    for _ in range(100):
        middle = (low + high) / 2
        now = f.values(np.array([middle]))[0] - target
        if (now > 0) == (value > 0):
            low = middle
        else:
            high = middle
    return low if abs(f.values(np.array([low]))[0] - target) < 1e-9 else None
