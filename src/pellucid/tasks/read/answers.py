# SPDX-License-Identifier: Apache-2.0
"""What was read of a page: its letters in lines and words, in px of the page, with all that the network says of each."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import final

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from pellucid.data.targets import Target
from pellucid.tasks.read.alphabet import character
from pellucid.tasks.read.language import Words, chosen, neighbourly
from pellucid.tasks.read.page import Reading

__all__ = ["Letter", "Lettered", "Page", "Pages", "page_of"]

_ENDS = (".", "!", "?")  # of sentences


@final
@dataclass(frozen=True)
class Lettered(Target):
    """Which letter each image shows."""

    index: Tensor  # (N,) int64
    probabilities: Tensor  # (N, K) float32, of the classes; rows sum to 1
    nothing: Tensor  # (N,): the probability that an image shows no letter


@final
@dataclass(frozen=True)
class Letter:
    """A letter on a page."""

    box: tuple[float, float, float, float]  # x0, y0, x1, y1 in px of the page
    index: int  # its class
    shares: NDArray[np.float32]  # (K,) probabilities of the classes, with what is left for no letter
    line: int
    word: int  # within the line
    decided: str  # by what: "evidence", "neighbours", or "words"

    @property
    def probability(self) -> float:
        """That of its class."""
        return float(self.shares[self.index])


@final
@dataclass(frozen=True)
class Page:
    """What was read of a page, and what was estimated from it."""

    letters: tuple[Letter, ...]  # in reading order
    pen: float = 0.0  # px: width of strokes
    tall: float = 0.0  # px: height of letters
    light: bool = False  # light letters on something dark
    turned: int = 0  # degrees clockwise by which the page lay turned
    skew: float = 0.0  # degrees by which lines fall to the right
    low: float = 0.0  # px: height of small letters, where the alphabet has some
    doubted: int = 0  # parts that may be letters, on a page that is not taken for text

    def words(self) -> list[list[list[Letter]]]:
        """The letters of each word of each line."""
        found: list[list[list[Letter]]] = []
        for letter in self.letters:
            while len(found) <= letter.line:
                found.append([])
            line = found[letter.line]
            while len(line) <= letter.word:
                line.append([])
            line[letter.word].append(letter)
        return found

    def lines(self, classes: Sequence[str]) -> list[str]:
        """The text, line by line."""
        names = [character(name) for name in classes]
        return [" ".join("".join(names[own.index] for own in word) for word in line) for line in self.words()]


@final
@dataclass(frozen=True)
class Pages(Target):
    """What was read of each image."""

    pages: list[Page]


def page_of(reading: Reading, classes: Sequence[str], words: Words | None = None) -> Page:
    """A page from what was found on it.

    Args:
        reading: lines of letters.
        classes: their names.
        words: a list that decides between look-alikes.
    """
    letters: list[Letter] = []
    names = [character(name) for name in classes]
    for number, line in enumerate(reading.lines):
        for place, start in enumerate(line.starts):
            end = line.starts[place + 1] if place + 1 < len(line.starts) else len(line.letters)
            own = line.letters[start:end]
            shares = np.stack([letter.shares for letter in own])[:, :-1]  # (n, K)
            plain = shares.argmax(1)
            begins = not letters or names[letters[-1].index] in _ENDS
            beside = neighbourly(shares, classes, begins)
            final_ = chosen(shares, beside, words)
            for letter, given, one, two, three in zip(own, shares, plain, beside, final_, strict=True):
                by = "evidence" if three == one else "neighbours" if three == two else "words"
                letters.append(Letter(reading.back(letter.box), int(three), given, number, place, by))
    # np.rot90 by k quarter turns rights a page that lay turned clockwise by as many
    turned = 90 * reading.turned
    return Page(
        tuple(letters), reading.pen, reading.tall, reading.light, turned, reading.skew, reading.low, reading.doubted
    )
