# SPDX-License-Identifier: Apache-2.0
"""A derivative against central differences along a line, and why the two disagree where they do.

For a smooth φ the central difference C(h) = (φ(h) − φ(−h))/2h errs by h²φ‴/6 from curvature, which shrinks with h, and by about
ε/h from rounding, which grows as h shrinks; ε is the noise of φ. A kink between −h and h adds half the jump of the slope, weighted
with its nearness, and vanishes at once when h is smaller than its distance. A wrong derivative disagrees at every step.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import numpy as np

__all__ = ["SlopeCheck", "Verdict", "central_difference", "check_slope", "estimate_noise", "find_kink"]

Line = Callable[[float], float]
Verdict = Literal["right", "kink", "rounding", "curvature", "bug"]

_SAFETY = 8.0  # how many times the noise a difference of two values may be off
_CELLS = 8  # parts that an interval is cut into when a kink is searched


@dataclass(frozen=True)
class SlopeCheck:
    """What became of one derivative.

    Args:
        verdict: `right`; `kink`, `rounding` and `curvature` where the derivative is right and the step is not; `bug`.
        numeric: the best central difference that was found.
        error: |C − g| over the larger of |C|, |g| and the scale below which nothing is told, at the step that was asked for.
        step: the step at which `numeric` was found.
        kink_at: where along the line the slope jumps, if it does within the step asked for.
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
    """How far off the values of φ are from rounding, told from fourth differences at points too close for anything else.

    The differences of order k of independent errors of size ε have the mean square ε²(2k)!/(k!)², those of a smooth function
    vanish (Hamming 1973, ch. 6; Moré and Wild 2011, eq. 2.6).

    >>> 1e-17 < estimate_noise(lambda t: 1 + t * t, 2.0**-52) < 1e-14
    True

    Args:
        line: φ.
        epsilon: the machine's relative precision, at the scale of the line's argument.
    """
    spacing = 64 * epsilon
    values = np.array([line(k * spacing) for k in range(-4, 5)])
    fourth = np.diff(values, n=4)
    found = float(np.sqrt(np.mean(fourth**2) / 70))  # 8!/(4!)² = 70
    return max(found, epsilon * float(np.abs(values).max()))


def find_kink(line: Line, h: float, error: float) -> tuple[float, float] | None:
    """Where between −h and h the slope of φ jumps, and by how much; None where it does not.

    The interval is cut into parts and the neighbourhood of the largest change of slope is cut again: a smooth function's change
    shrinks with the interval, a kink's stays.

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
    found: tuple[float, float] | None = None
    for _ in range(6):
        points = np.linspace(low, high, _CELLS + 1)
        cell = float(points[1] - points[0])
        if cell <= 0 or not np.isfinite(cell):
            break
        slopes = np.diff([line(float(point)) for point in points]) / cell
        changes = np.abs(np.diff(slopes))
        # a kink within a cell shares its jump between two neighbouring changes
        pairs = changes[:-1] + changes[1:]
        place = int(pairs.argmax())
        jump = float(pairs[place])
        if jump <= 2 * _SAFETY * error / cell:
            break  # rounding hides what is left
        first = jump if first is None else first
        if jump < 0.3 * first:
            return None
        found = (float(points[place] + points[place + 3]) / 2, jump)
        low, high = float(points[place]), float(points[place + 3])
    # one look tells a change of slope and no more: it takes a second, finer one to tell a jump
    narrowed = high - low < 2 * h * (3 / _CELLS) ** 1.5
    return found if narrowed else None


def check_slope(
    line: Line, slope: float, *, step: float | None, unit: float, scale: float, tolerance: float, epsilon: float
) -> SlopeCheck:
    """Whether `slope` is φ′(0), and if the central difference at the step disagrees, why.

    >>> about = dict(unit=1.0, scale=1.0, tolerance=1e-6, epsilon=2.0**-52)
    >>> [check_slope(np.tanh, slope, step=None, **about).verdict for slope in (1.0, 1.1)]
    ['right', 'bug']
    >>> check_slope(np.exp, 1.0, step=1e-13, **about).verdict
    'rounding'
    >>> check_slope(lambda t: max(t - 1e-4, 0.0), 0.0, step=1e-3, **about).verdict
    'kink'

    Args:
        line: φ, the function along a line through the point in question.
        slope: g, the derivative φ′(0) that is claimed.
        step: h of the central difference; by default the one that balances rounding and curvature, unit · ∛ε.
        unit: the size of the parameter along the line, at least 1.
        scale: the size of derivatives that matter; a much smaller one is not held to its own last digits.
        tolerance: the relative error that is allowed.
        epsilon: the machine's relative precision.
    """
    balanced = unit * epsilon ** (1 / 3)
    h = balanced if step is None else step
    numeric = central_difference(line, h)
    finest = _SAFETY * epsilon * abs(line(0.0)) / balanced  # nothing below is told at any step

    def size(difference: float) -> float:
        return float(max(abs(difference), abs(slope), 1e-3 * scale, finest / tolerance, np.finfo(float).tiny))

    error = abs(numeric - slope) / size(numeric)
    if error <= tolerance:
        return SlopeCheck("right", numeric, error, h)
    if not np.isfinite(slope) or not np.isfinite(numeric):
        return SlopeCheck("bug", numeric, float("inf"), h)

    off = estimate_noise(line, epsilon * unit)
    corner = find_kink(line, h, off)
    # a kink close by leaves only small steps to judge by, and those are rough
    roughest = 0.01 if corner is not None else 10 * tolerance
    steps = [balanced * 4.0**k for k in range(5, -9, -1)]
    trusted = []  # (step, difference, how far it may be off by rounding)
    for each in steps:
        rounding = _SAFETY * off / each
        difference = central_difference(line, each)
        if rounding <= roughest * max(abs(difference), abs(slope), 1e-3 * scale):
            trusted.append((each, difference, rounding))
    agreeing = [(s, d) for s, d, rounding in trusted if abs(d - slope) <= tolerance * size(d) + rounding]
    if agreeing:
        at, difference = min(agreeing, key=lambda found: abs(np.log(found[0] / balanced)))
        if corner is not None:
            return SlopeCheck("kink", difference, error, at, corner[0])
        if step is None:
            return SlopeCheck("right", difference, abs(difference - slope) / size(difference), at)
        return SlopeCheck("rounding" if at > h else "curvature", difference, error, at)
    if not trusted:
        return SlopeCheck("rounding", numeric, error, h)
    at, difference, rounding = min(trusted, key=lambda found: _unsteadiness(found, trusted))
    near = find_kink(line, at, off)
    if near is not None:
        # the kink is nearer than any step can tell: every slope between the left and the right one is a derivative by convention
        left, right = (line(0.0) - line(-at)) / at, (line(at) - line(0.0)) / at
        slack = 2 * tolerance * size(difference) + 2 * rounding
        if min(left, right) - slack <= slope <= max(left, right) + slack and abs(near[0]) < at / 2:
            return SlopeCheck("kink", difference, error, at, near[0])
    return SlopeCheck("bug", difference, abs(difference - slope) / size(difference), at)


def _unsteadiness(found: tuple[float, float, float], trusted: list[tuple[float, float, float]]) -> float:
    """How far a difference is from its neighbour at the next finer step, and from certainty: smallest at the best step."""
    step, difference, rounding = found
    finer = [d for s, d, _ in trusted if s < step]
    return rounding + (abs(difference - finer[0]) if finer else abs(difference))
