# SPDX-License-Identifier: Apache-2.0
"""iterate: an iterated function: fixed points, stability, cycles and basins of attraction."""

from __future__ import annotations

from dataclasses import KW_ONLY, dataclass
from pathlib import Path
from typing import final

from pellucid.errors import UsageError
from pellucid.worked.forms.command import terminal_width
from pellucid.worked.forms.contract import Form
from pellucid.worked.iteration.iteration import Study, study
from pellucid.worked.iteration.study import page

__all__ = ["Iterate"]


@final
@dataclass(frozen=True)
class Iterate(Form):
    """Iterate a function: fixed points, stability, cycles, basins of attraction, and a cobweb plot."""

    topic = "functions and derivatives"
    question = "Where does a function lead when it is applied again and again?"

    function: str = "2*tanh(x)"
    """of one variable, as in "piecewise(1 if x > 1, -1 if x < -1, exp(x) - exp(-x) otherwise)\""""
    _: KW_ONLY
    times: int = 1000
    """number of iterations, 1 to 100000"""
    start: tuple[float, ...] = ()
    """starting points of the cobweb; by default one in each of the first basins"""
    out: Path | None = None
    """PNG file of the cobweb; by default it is not drawn"""

    @staticmethod
    def build(function: str, times: int = 1000) -> Study:
        """The study of an iterated function.

        >>> [point.stability for point in Iterate.build("2*tanh(x)", 100).fixed]
        ['attracts', 'repels', 'attracts']

        Args:
            function: of one variable, in the notation of worksheets.
            times: the number of iterations, 1 to 100,000.

        Raises:
            UsageError: not a function of one variable, or a number of iterations out of range.
        """
        return study(function, times)

    def text(self) -> str:
        """The study; draws the cobweb if a file for it is named."""
        if self.out is not None and self.out.suffix.lower() != ".png":
            raise UsageError(f"out={str(self.out)!r}: the cobweb is a picture; end the name with .png.")
        result = self.build(self.function, self.times)
        drawn = "" if self.out is None else f"\n\ncobweb: {result.draw(self.out, [*self.start] or None)}"
        return f"{page(result, terminal_width())}{drawn}"
