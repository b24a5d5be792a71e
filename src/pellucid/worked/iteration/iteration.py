# SPDX-License-Identifier: Apache-2.0
"""A function applied again and again: fixed points, stability, cycles, basins, and what n times does to every real x.

Values and slopes are found with 60 digits, so that neither cancellation nor the slowness of a weak attraction misleads; orbits of
many starting points are followed in float64 at once.
"""

from __future__ import annotations

from pellucid.errors import UsageError
from pellucid.worked.iteration.basins import Fates, basins_of, exceptions_of
from pellucid.worked.iteration.function import GRID, Function, orbit
from pellucid.worked.iteration.points import cycles_of, fixed_points, judged
from pellucid.worked.iteration.reach import reaches_of
from pellucid.worked.iteration.showing import Study

__all__ = ["Study", "study"]


def study(text: str, times: int = 1000) -> Study:
    """What a function applied again and again does.

    >>> found = study("2*tanh(x)")
    >>> [(round(float(point.x), 6), point.kind) for point in found.fixed]
    [(-1.915008, 'attracts'), (0.0, 'repels'), (1.915008, 'attracts')]

    Args:
        text: the function of one variable, in the notation of worksheets.
        times: n, how often it is applied; 1 to 100,000.

    Raises:
        UsageError: no function of one variable, or a number of times that is out of range.
    """
    if not 1 <= times <= 100_000:
        raise UsageError(f"times={times}: a function is applied 1 to 100,000 times; give a number between.")
    f = Function(text)
    points, plateaus = fixed_points(f)
    fixed = tuple(judged(f, x) for x in points)
    end = orbit(f, GRID, 6000)
    cycles = cycles_of(f, end)
    fate = Fates(f, fixed, cycles)
    exceptions = exceptions_of(f, fixed)
    basins = basins_of(f, fate, times, [x for x, _ in exceptions])
    return Study(f, times, fixed, cycles, basins, exceptions, reaches_of(f, fixed, cycles, times), plateaus)
