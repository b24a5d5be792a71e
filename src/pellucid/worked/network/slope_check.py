# SPDX-License-Identifier: Apache-2.0
"""One derivative against central differences along a line, and the cause if the two disagree.

For a smooth φ the central difference C(h) = (φ(h) − φ(−h))/2h has two errors: h²φ‴/6 from curvature, which shrinks with h, and about
ε/h from rounding, which grows as h shrinks, where ε is the noise of φ. A kink between −h and h adds half the jump of the slope, weighted
by its nearness, and this error vanishes as soon as h is smaller than the distance of the kink. A wrong derivative disagrees at every h.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import numpy as np

__all__ = ["SlopeCheck", "Verdict", "central_difference", "check_slope", "estimate_noise", "find_kink"]

Line = Callable[[float], float]
Verdict = Literal["right", "kink", "rounding", "curvature", "bug"]

_SAFETY = 8.0  # a difference of two values may be off by so many times the noise
_CELLS = 8  # parts into which the search for a kink divides an interval


@dataclass(frozen=True)
class SlopeCheck:
    """The result for one derivative.

    Args:
        verdict: `right`; `kink`, `rounding` or `curvature` if the derivative is right and the step is not; `bug`.
        numeric: the most reliable central difference.
        error: |C − g| at the requested step, relative to the largest of |C|, |g| and the resolution.
        step: the step of `numeric`.
        kink_at: the position of a kink along the line, if there is one within the step.
    """

    verdict: Verdict
    numeric: float
    error: float
    step: float
    kink_at: float | None = None


def central_difference(line: Line, h: float) -> float:
    """(φ(h) − φ(−h))/2h.

    >>> central_difference(lambda t: (3 + t) ** 2, 0.5)
    6.0
    """
    return (line(h) - line(-h)) / (2 * h)


def estimate_noise(line: Line, epsilon: float) -> float:
    """The rounding error of φ, from its fourth differences at points so close that φ itself hardly changes.

    Differences of order k of independent errors of size ε have the mean square ε²(2k)!/(k!)², and those of a smooth function
    vanish (Hamming 1973, ch. 6; Moré and Wild 2011, eq. 2.6).

    >>> 1e-17 < estimate_noise(lambda t: 1 + t * t, 2.0**-52) < 1e-14
    True

    Args:
        line: φ.
        epsilon: the machine precision, scaled to the argument of φ.
    """
    spacing = 64 * epsilon
    values = np.array([line(k * spacing) for k in range(-4, 5)])
    fourth = np.diff(values, n=4)
    noise = float(np.sqrt(np.mean(fourth**2) / 70))  # 8!/(4!)² = 70
    return max(noise, epsilon * float(np.abs(values).max()))  # at least one rounding of the value itself


def find_kink(line: Line, h: float, error: float) -> tuple[float, float] | None:
    """The position of a kink of φ between −h and h, and the jump of the slope there; None if φ is smooth.

    The interval is divided, and the neighbourhood of the largest change of slope is divided again. For a smooth function this
    change shrinks with the interval, at a kink it stays.

    >>> at, jump = find_kink(lambda t: abs(t - 0.3), 1.0, 1e-16)
    >>> round(at, 2), round(jump, 2)
    (0.3, 2.0)
    >>> find_kink(lambda t: t**3, 1.0, 1e-16) is None
    True

    Args:
        line: φ.
        h: half the length of the interval.
        error: the noise of φ.
    """
    low, high = -h, h
    first: float | None = None
    candidate: tuple[float, float] | None = None
    for _ in range(6):
        points = np.linspace(low, high, _CELLS + 1)
        cell = float(points[1] - points[0])
        if cell <= 0 or not np.isfinite(cell):
            break
        slopes = np.diff([line(float(point)) for point in points]) / cell
        changes = np.abs(np.diff(slopes))
        # a kink inside a cell splits its jump between the changes on either side
        pairs = changes[:-1] + changes[1:]
        place = int(pairs.argmax())
        jump = float(pairs[place])
        if jump <= 2 * _SAFETY * error / cell:
            break  # any change left is rounding
        first = jump if first is None else first
        if jump < 0.3 * first:
            return None
        candidate = (float(points[place] + points[place + 3]) / 2, jump)
        low, high = float(points[place]), float(points[place + 3])
    # a single round finds any change of slope; only a second one, closer up, tells a jump from curvature
    narrowed = high - low < 2 * h * (3 / _CELLS) ** 1.5
    return candidate if narrowed else None


def check_slope(
    line: Line, slope: float, *, step: float | None, unit: float, scale: float, tolerance: float, epsilon: float
) -> SlopeCheck:
    """Check whether `slope` is φ′(0); if the central difference at the step disagrees, find out why.

    >>> about = dict(unit=1.0, scale=1.0, tolerance=1e-6, epsilon=2.0**-52)
    >>> [check_slope(np.tanh, slope, step=None, **about).verdict for slope in (1.0, 1.1)]
    ['right', 'bug']
    >>> check_slope(np.exp, 1.0, step=1e-13, **about).verdict
    'rounding'
    >>> check_slope(lambda t: max(t - 1e-4, 0.0), 0.0, step=1e-3, **about).verdict
    'kink'

    Args:
        line: φ, the function along a line through the point of interest.
        slope: g, the derivative φ′(0) to check.
        step: h of the central difference; by default unit · ∛ε, which balances rounding and curvature.
        unit: the size of the parameter along the line, at least 1.
        scale: the size of the derivatives that matter; of much smaller ones the last digits are not checked.
        tolerance: the relative error allowed.
        epsilon: the machine precision.
    """
    # rounding ε/h and curvature h² are equal at h = ∛ε
    balanced = unit * epsilon ** (1 / 3)
    h = balanced if step is None else step
    numeric = central_difference(line, h)
    resolution = _SAFETY * epsilon * abs(line(0.0)) / balanced  # no step resolves smaller derivatives

    def size(difference: float) -> float:
        return float(max(abs(difference), abs(slope), 1e-3 * scale, resolution / tolerance, np.finfo(float).tiny))

    error = abs(numeric - slope) / size(numeric)
    if error <= tolerance:
        return SlopeCheck("right", numeric, error, h)
    if not np.isfinite(slope) or not np.isfinite(numeric):
        return SlopeCheck("bug", numeric, float("inf"), h)

    # the requested step disagrees: try others, and trust those whose rounding error is small enough
    noise = estimate_noise(line, epsilon * unit)
    corner = find_kink(line, h, noise)
    # next to a kink only small steps are usable, and these are less precise
    roughest = 0.01 if corner is not None else 10 * tolerance
    steps = [balanced * 4.0**k for k in range(5, -9, -1)]
    trusted = []  # (step, difference, bound of its rounding error)
    for candidate in steps:
        rounding = _SAFETY * noise / candidate
        difference = central_difference(line, candidate)
        if rounding <= roughest * max(abs(difference), abs(slope), 1e-3 * scale):
            trusted.append((candidate, difference, rounding))
    agreeing = [(s, d) for s, d, rounding in trusted if abs(d - slope) <= tolerance * size(d) + rounding]
    if agreeing:  # the derivative is right, so the requested step was not
        at, difference = min(agreeing, key=lambda pair: abs(np.log(pair[0] / balanced)))
        if corner is not None:
            return SlopeCheck("kink", difference, error, at, corner[0])
        if step is None:
            return SlopeCheck("right", difference, abs(difference - slope) / size(difference), at)
        return SlopeCheck("rounding" if at > h else "curvature", difference, error, at)
    if not trusted:
        return SlopeCheck("rounding", numeric, error, h)
    at, difference, rounding = min(trusted, key=lambda candidate: _uncertainty(candidate, trusted))
    near = find_kink(line, at, noise)
    if near is not None:
        # a kink nearer than any usable step: by convention every slope between left and right is a derivative there
        left, right = (line(0.0) - line(-at)) / at, (line(at) - line(0.0)) / at
        slack = 2 * tolerance * size(difference) + 2 * rounding
        if min(left, right) - slack <= slope <= max(left, right) + slack and abs(near[0]) < at / 2:
            return SlopeCheck("kink", difference, error, at, near[0])
    return SlopeCheck("bug", difference, abs(difference - slope) / size(difference), at)


def _uncertainty(candidate: tuple[float, float, float], trusted: list[tuple[float, float, float]]) -> float:
    """The rounding error of a difference plus its change at the next finer step, smallest for the best step."""
    step, difference, rounding = candidate
    finer = [d for s, d, _ in trusted if s < step]
    return rounding + (abs(difference - finer[0]) if finer else abs(difference))
