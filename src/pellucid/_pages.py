# SPDX-License-Identifier: Apache-2.0
"""The steps by which a page was read, from its ink to each letter as the network saw it; lenses show them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, final

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

__all__ = ["UNSURE", "PageSteps", "ReadLetter"]

UNSURE = 0.6
"""The probability below which a letter is marked as unsure."""

Box = tuple[float, float, float, float]


@final
@dataclass(frozen=True)
class ReadLetter:
    """A letter that was read on a page."""

    box: Box  # x0, y0, x1, y1 in px of the page
    place: Box  # the same in px of the ink, on which the page is upright and its lines are level
    seen: Tensor  # (C, h, w) as the network takes it
    shares: NDArray[np.float32]  # (K + 1,) probabilities of the classes and, last, of no letter
    index: int  # the class that it was read as
    line: int
    word: int  # within the line
    decided: str  # by "evidence", "neighbours" or "words"

    @property
    def probability(self) -> float:
        """That of its class."""
        return float(self.shares[self.index])


@final
@dataclass(frozen=True)
class PageSteps:
    """What was found of a page on the way from its ink to its text.

    >>> page = PageSteps(("A", "B", "no letter"), (), None, None, np.eye(2, 3), 0.0, 0.0, False, 0, 0.0)
    >>> page.lines
    []
    """

    names: tuple[str, ...]  # (K + 1,) the classes as characters, and what no letter is called
    letters: tuple[ReadLetter, ...]  # in reading order
    contrast: NDArray[np.float32] | None  # (h, w) ink, 1 for the strokes' usual one; None: nothing as large as letters
    parts: NDArray[np.int32] | None  # (h, w) numbers of the connected parts of the ink, 0 where there is none
    matrix: NDArray[np.float64]  # (2, 3) from the ink's px to the page's
    pen: float  # px: how wide strokes are
    tall: float  # px: how tall letters are
    light: bool  # light strokes on something dark
    turned: int  # degrees clockwise by which the page lay turned
    skew: float  # degrees by which lines fall to the right
    answer: Any = None  # the task's own

    @property
    def lines(self) -> list[str]:
        """The text, line by line."""
        found: list[str] = []
        last = (-1, 0)
        for letter in self.letters:
            if letter.line != last[0]:
                found.append("")
            elif letter.word != last[1]:
                found[-1] += " "
            found[-1] += self.names[letter.index]
            last = letter.line, letter.word
        return found
