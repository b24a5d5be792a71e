# SPDX-License-Identifier: Apache-2.0
"""Iterated functions: fixed points and their stability, cycles, basins of attraction, and f applied n times for every real x.

Fixed points and slopes are computed with 60 digits, so that neither cancellation nor slow convergence misleads. The orbits of many
starting points are followed in float64, all at once.
"""

from __future__ import annotations

from pellucid.errors import UsageError
from pellucid.worked.iteration.basins import Limits, basins_of, exceptions_of
from pellucid.worked.iteration.escape import escapes_of
from pellucid.worked.iteration.function import GRID, Function, orbit
from pellucid.worked.iteration.points import cycles_of, fixed_points, with_stability
from pellucid.worked.iteration.study import Study

__all__ = ["Study", "study"]


def study(text: str, times: int = 1000) -> Study:
    """Study what happens when a function is applied again and again.

    >>> [(round(float(point.x), 6), point.stability) for point in study("2*tanh(x)").fixed]
    [(-1.915008, 'attracts'), (0.0, 'repels'), (1.915008, 'attracts')]

    Args:
        text: a function of one variable, in the notation of worksheets.
        times: n, the number of iterations, 1 to 100,000.

    Raises:
        UsageError: not a function of one variable, or a number of iterations out of range.
    """
    if not 1 <= times <= 100_000:
        raise UsageError(f"times={times}: must be from 1 to 100,000; choose a number in this range.")
    f = Function(text)
    points, plateaus = fixed_points(f)
    fixed = tuple(with_stability(f, x) for x in points)
    end = orbit(f, GRID, 6000)  # long enough for all but the weakest attraction
    cycles = cycles_of(f, end)
    limits = Limits(f, fixed, cycles)
    exceptions = exceptions_of(f, fixed)
    basins, single = basins_of(f, limits, times, [x for x, _ in exceptions])
    exceptions = tuple(sorted((*exceptions, *single)))
    return Study(f, times, fixed, cycles, basins, exceptions, escapes_of(f, fixed, cycles, times), plateaus)
