# SPDX-License-Identifier: Apache-2.0
"""Basins of attraction: where the orbit of every starting point ends up, and the single points that are exceptions."""

from __future__ import annotations

import itertools
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pellucid.worked.iteration.function import GRID, Function, number_text, orbit
from pellucid.worked.iteration.points import Cycle, FixedPoint

__all__ = ["Basin", "Limits", "basins_of", "exceptions_of"]

_MANY = 24  # at most so many intervals and exceptions are listed


@dataclass(frozen=True)
class Basin:
    """An interval of starting points with the same limit.

    Args:
        low: its lower end.
        high: its upper end.
        limit: `→ 1`, `→ the cycle of 2 (…)`, `→ ∞`, or that there is none.
        after: the smallest and the largest value of f applied n times, over starting points well inside.
        closed: whether its lower and its upper end belong to it.
    """

    low: float
    high: float
    limit: str
    after: tuple[float, float]
    closed: tuple[bool, bool] = (False, False)


class Limits:
    """The limits of orbits as codes: the number of an attractor, one of the codes below, or −10 − k for repelling point k."""

    UP, DOWN, NO_VALUE, UNDECIDED = -1, -2, -3, -4

    def __init__(self, f: Function, fixed: tuple[FixedPoint, ...], cycles: tuple[Cycle, ...]) -> None:
        self.f, self.fixed, self.cycles = f, fixed, cycles
        self.attractors: list[tuple[str, NDArray[np.float64], float]] = []
        for point in fixed:
            if point.stability.startswith("attracts"):
                x = float(point.x)
                self.attractors.append((f"→ {number_text(x)}", np.array([x]), self._radius(point)))
        for cycle in cycles:
            points = np.array(cycle.points)
            words = ", ".join(number_text(float(p)) for p in points[:8]) + (", …" if len(points) > 8 else "")
            self.attractors.append((f"→ the cycle of {len(points)} ({words})", points, 1e-6))

    def _radius(self, point: FixedPoint) -> float:
        """A distance within which all points converge: every one is closer after two steps."""
        x = float(point.x)
        for size in (0.1, 0.03, 0.01, 1e-3, 1e-4, 1e-5):
            offsets = np.linspace(0.02, 1, 50) * size
            near = x + np.concatenate([-offsets, offsets])
            if (np.abs(self.f.values(self.f.values(near)) - x) < np.abs(near - x)).all():
                return size
        return 1e-7

    def of(self, x: NDArray[np.float64]) -> NDArray[np.int64]:
        """The codes of starting points."""
        end = orbit(self.f, x, 4096)
        codes = np.full(len(x), self.UNDECIDED)
        for number, (_, points, size) in enumerate(self.attractors):
            codes[np.abs(end[:, None] - points).min(axis=1) <= size] = number  # (starts, points of the attractor)
        codes[np.isnan(end)] = self.NO_VALUE
        codes[end > 1e12] = self.UP
        codes[end < -1e12] = self.DOWN
        # a start that hits a repelling fixed point exactly stays there
        for k, point in enumerate(self.fixed):
            if point.stability == "repels":
                codes[end == float(point.x)] = -10 - k
        return codes

    def words(self, code: int) -> str:
        """A code in words."""
        if code >= 0:
            return self.attractors[code][0]
        if code <= -10:
            return f"→ {number_text(float(self.fixed[-10 - code].x))}"
        return {
            self.UP: "→ ∞",
            self.DOWN: "→ −∞",
            self.NO_VALUE: "has no value after some steps",
        }.get(code, "settles on no fixed point and no cycle of at most 64 points")


def basins_of(
    f: Function, limits: Limits, times: int, exceptions: list[float]
) -> tuple[tuple[Basin, ...], tuple[tuple[float, str], ...]]:
    """The intervals of starting points with one limit, and the ends that belong to neither side; found by bisection.

    Args:
        f: the function.
        limits: of its orbits.
        times: n, for the values after n steps.
        exceptions: points where intervals may meet, known to full precision.
    """
    # starts between the grid's round numbers, which may be exceptions themselves
    starts = np.unique(np.concatenate([GRID[1:] * 0.4142135 + GRID[:-1] * 0.5857865, GRID[[0, -1]]]))
    codes = limits.of(starts)
    edges = np.flatnonzero(codes[1:] != codes[:-1])
    cuts = [-np.inf]
    for k in edges[:_MANY]:
        low, high = float(starts[k]), float(starts[k + 1])
        for _ in range(9):  # each round narrows the change of limit to 1/64
            between = np.linspace(low, high, 65)
            other = np.flatnonzero(limits.of(between) != codes[k])
            if not len(other) or other[0] == 0 or not between[other[0] - 1] < between[other[0]]:
                break
            low, high = float(between[other[0] - 1]), float(between[other[0]])
        edge = (low + high) / 2
        # where orbits part, rounding blurs the edge: snap to the exception, which is known to more digits
        cuts.append(min(exceptions, key=lambda x: abs(x - edge), default=edge))
        cuts[-1] = cuts[-1] if abs(cuts[-1] - edge) <= 1e-9 * max(1.0, abs(edge)) else edge
    cuts.append(np.inf)
    basins = []
    # of every end: the code of the points at it, None where it is an exception already or cannot be told
    ends = [_code_at(limits, cut, int(codes[k]), int(codes[k + 1])) for cut, k in zip(cuts[1:-1], edges, strict=False)]
    told = [
        None if any(abs(x - cut) <= 1e-12 for x in exceptions) else end
        for cut, end in zip(cuts[1:-1], ends, strict=True)
    ]
    belongs = [None, *(end and end[1] for end in told), None]
    cuts[1:-1] = [end[0] if end else cut for cut, end in zip(cuts[1:-1], told, strict=True)]
    for n, (low, high) in enumerate(itertools.pairwise(cuts)):
        inside = starts[(starts > low) & (starts < high)]
        first = edges[n] if n < len(edges) else len(starts) - 1
        open_end = n == len(cuts) - 2 and len(edges) > _MANY
        words = "limits alternate in ever finer intervals" if open_end else limits.words(int(codes[first]))
        # without an eighth at either end, where convergence is slowest
        kept = inside[len(inside) // 8 : len(inside) - len(inside) // 8] if len(inside) > 8 else inside
        after = orbit(f, kept, times)
        spread = (float(np.nanmin(after)), float(np.nanmax(after))) if np.isfinite(after).any() else (np.nan, np.nan)
        own = int(codes[first])
        closed = (belongs[n] == own, belongs[n + 1] == own)
        basins.append(Basin(float(low), float(high), words, spread, closed))
    single: list[tuple[float, str]] = []
    for cut, code, left, right in zip(cuts[1:-1], belongs[1:-1], basins, basins[1:], strict=False):
        if code is None and not any(abs(x - cut) <= 1e-12 for x in exceptions):
            single.append((cut, "is an edge that is no short number, so its own limit is not told"))
        elif code is not None and not left.closed[1] and not right.closed[0]:
            single.append((cut, limits.words(code)))
    return tuple(basins), (*single, *_holes(limits, basins, [*exceptions, *cuts]))


def _holes(limits: Limits, basins: list[Basin], known: list[float]) -> list[tuple[float, str]]:
    """Round numbers inside a basin with another limit than its points, such as the pole of 1/x."""
    round_ones = np.array([n / 10 for n in range(-80, 81)])
    codes, at = limits.of(round_ones), round_ones
    for _ in range(64):
        after = limits.f.values(at)
        codes[np.isinf(after) & (np.abs(at) < 1e6)] = limits.NO_VALUE  # NumPy divides by 0 and gets ∞
        at = after
    holes = []
    for x, code in zip(round_ones, codes, strict=True):
        inside = next((basin for basin in basins if basin.low < x < basin.high), None)
        if inside and limits.words(int(code)) != inside.limit and min(np.abs(np.array(known) - x)) > 1e-9:
            holes.append((float(x), limits.words(int(code))))
    return holes[:_MANY]


def _code_at(limits: Limits, cut: float, left: int, right: int) -> tuple[float, int] | None:
    """The end of two basins as a short number, and the limit of that very point; None if no short number is the end."""
    short = float(f"{cut:.12g}")
    near = 1e-11 * max(1.0, abs(short))
    codes = limits.of(np.array([short - near, short, short + near]))
    if (int(codes[0]), int(codes[2])) != (left, right):
        return None
    return short, int(codes[1])


def exceptions_of(f: Function, fixed: tuple[FixedPoint, ...]) -> tuple[tuple[float, str], ...]:
    """Points with another limit than their neighbours: repelling fixed points, and the points that f maps to them."""
    exceptions: dict[float, str] = {}
    for point in fixed:
        if point.stability != "repels":
            continue
        x = float(point.x)
        exceptions[x] = "stays: it is a fixed point"
        difference = f.values(GRID) - x
        # the preimages of x: sign changes of f − x, and grid points that f maps to it exactly
        for k in np.flatnonzero(difference[:-1] * difference[1:] < 0):
            root = _solve(f, x, float(GRID[k]), float(GRID[k + 1]))
            if root is not None and abs(root - x) > 1e-9:
                exceptions.setdefault(root, f"is mapped to {number_text(x)} in one step")
        for exact in GRID[(difference == 0) & (np.abs(GRID - x) > 1e-9)][:8]:
            exceptions.setdefault(float(exact), f"is mapped to {number_text(x)} in one step")
    return tuple(sorted(exceptions.items()))[:_MANY]


def _solve(f: Function, target: float, low: float, high: float) -> float | None:
    """The point between with f(x) = target, by bisection; None if f jumps across it."""
    value = f.values(np.array([low]))[0] - target
    for _ in range(100):
        middle = (low + high) / 2
        now = f.values(np.array([middle]))[0] - target
        if (now > 0) == (value > 0):
            low = middle
        else:
            high = middle
    return low if abs(f.values(np.array([low]))[0] - target) < 1e-9 else None
