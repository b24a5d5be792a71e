# SPDX-License-Identifier: Apache-2.0
"""iterate: a function applied again and again: fixed points, stability, cycles and basins."""

from __future__ import annotations

from dataclasses import KW_ONLY, dataclass
from pathlib import Path
from typing import final

from pellucid.worked.forms.contract import Form
from pellucid.worked.iteration.iteration import Study, study

__all__ = ["Iterate"]


@final
@dataclass(frozen=True)
class Iterate(Form):
    """Apply a function again and again: fixed points, stability, cycles, basins, and the cobweb as a picture."""

    function: str = "2*tanh(x)"
    """of one variable, as in "piecewise(1 if x > 1, -1 if x < -1, exp(x) - exp(-x) otherwise)\""""
    _: KW_ONLY
    times: int = 1000
    """how often it is applied, 1 to 100000"""
    start: tuple[float, ...] = ()
    """points at which the cobweb begins; by default some that show the basins"""
    out: Path | None = None
    """the cobweb's PNG file; by default none is drawn"""

    @staticmethod
    def build(function: str, times: int = 1000) -> Study:
        """The study of a function that is applied again and again.

        >>> [point.kind for point in Iterate.build("2*tanh(x)", 100).fixed]
        ['attracts', 'repels', 'attracts']

        Args:
            function: of one variable, in the notation of worksheets.
            times: how often it is applied; 1 to 100,000.

        Raises:
            UsageError: not a function of one variable, or a number of times that is out of range.
        """
        return study(function, times)

    def text(self) -> str:
        """What becomes of every real x; draws the cobweb if a file for it is named."""
        result = self.build(self.function, self.times)
        drawn = "" if self.out is None else f"\n\ncobweb: {result.draw(self.out, [*self.start] or None)}"
        return f"{result}{drawn}"
