# SPDX-License-Identifier: Apache-2.0
"""entropy: the entropy of a source, the mean length of a prefix code, and how near they are (Shannon 1948; Huffman 1952)."""

from __future__ import annotations

import heapq
from collections.abc import Sequence
from dataclasses import KW_ONLY, dataclass, replace
from fractions import Fraction
from random import Random
from typing import Final, final

from pellucid.errors import UsageError
from pellucid.worked.builders._quantities import exact
from pellucid.worked.expressions.expression import Const, Expr, Name, as_expr
from pellucid.worked.forms.contract import Builder
from pellucid.worked.forms.exercise import by_hand
from pellucid.worked.forms.numbers import read_vector, typed
from pellucid.worked.notation.operations import log, total
from pellucid.worked.showing.grids import Grid, Table
from pellucid.worked.worksheet.solution import Solution
from pellucid.worked.worksheet.worksheet import Worksheet

__all__ = ["Entropy"]

_MOST: Final = 40  # symbols that a person can work


@final
@dataclass(frozen=True)
class Entropy(Builder):
    """Work the entropy of a code by hand: information of each symbol, entropy, mean length, redundancy, bits per pixel."""

    topic = "autoencoders and compression"
    question = "How many bits does a symbol need at least, and how many does a code take?"
    keeps = ("pixels",)

    counts: str = "8 4 2 1 1"
    """how often each symbol occurs, or its probability"""
    _: KW_ONLY
    code: str | None = None
    """a word for each symbol, as "0 10 110 1110 1111"; by default a Huffman code"""
    pixels: int | None = None
    """pixels of the image that these symbols describe; with them bits per pixel are worked out"""

    @staticmethod
    def build(
        counts: Sequence[float | Fraction], code: Sequence[str] | None = None, pixels: int | None = None
    ) -> Worksheet:
        """The worksheet of the entropy of a source and of a prefix code for it.

            p_i = n_i/N,  I_i = −log₂ p_i,  H = Σ p_i·I_i,  l = Σ p_i·l_i,  r = l − H,  Kraft: Σ 2^(−l_i) ≤ 1

        >>> solution = Entropy.build([2, 1, 1]).solve()
        >>> [f"{float(solution.value(name)):.3f}" for name in ("H", "l", "K")]
        ['1.500', '1.500', '1.000']

        Args:
            counts: of each symbol, or its probability; above 0.
            code: a word of 0 and 1 for each symbol, none of which begins another; by default Huffman's.
            pixels: that the symbols describe.

        Raises:
            UsageError: fewer than two symbols, a count that is not positive, or words that are no prefix code.
        """
        numbers = [exact(number) for number in counts]
        if not 2 <= len(numbers) <= _MOST or min(numbers) <= 0:
            raise UsageError(f"counts: must be 2 to {_MOST} numbers above 0, one a symbol; change them.")
        words = _huffman(numbers) if code is None else list(code)
        _check_code(words, len(numbers))
        if pixels is not None and pixels < 1:
            raise UsageError(f"pixels={pixels}: must be at least 1; give the pixels of the image.")
        sheet = Worksheet()
        sheet.n = numbers
        sheet.N = total(sheet.n)
        sheet.p = sheet.n / sheet.N
        # a worksheet's own logarithm is the natural one
        sheet.I = -log(sheet.p) / log(as_expr(2))
        sheet.H = total(sheet.p * sheet.I)
        lengths = [f"l_{i}" for i in range(1, len(numbers) + 1)]
        for name, word in zip(lengths, words, strict=True):
            sheet[name] = len(word)
        products: list[Expr] = [sheet[f"p_{i}"] * sheet[name] for i, name in enumerate(lengths, 1)]
        sheet["l"] = total(*products)
        sheet.r = sheet["l"] - sheet.H
        sheet.K = total(*(as_expr(2) ** -sheet[name] for name in lengths))
        sheet.B = sheet.N * sheet["l"]
        sheet.remark(
            "p_i is the share of symbol i, I_i its information in bits, l_i the length of its word, l their mean, r the redundancy."
        )
        sheet.remark("No prefix code has a mean length below H; K ≤ 1 for each of them (Kraft 1949).", hint=True)
        sheet.ask(*sheet.components("I"), "H", "l", "r", "K", "B")
        if pixels is not None:
            sheet.P = pixels
            sheet.R = sheet.B / sheet.P
            sheet.remark("B is the length of all words together, R the rate in bits per pixel.")
            sheet.ask("R")
        else:
            sheet.remark("B is the length of all words together.")
        return sheet

    def worksheet(self) -> Worksheet:
        """The worksheet of the options."""
        code = None if self.code is None else self.code.replace(",", " ").split()
        return self.build(read_vector(self.counts, "counts"), code, self.pixels)

    def grids(self, solution: Solution) -> Sequence[Grid]:
        """The code."""
        numbers = read_vector(self.counts, "counts")
        words = _huffman(numbers) if self.code is None else self.code.replace(",", " ").split()
        rows = [
            (str(i), Const(solution.value(f"p_{i}")), Const(solution.value(f"I_{i}")), word, str(len(word)))
            for i, word in enumerate(words, 1)
        ]
        title = (
            "a Huffman code: the two rarest symbols are merged until one is left" if self.code is None else "the code"
        )
        return [Table(title, ("symbol", Name("p"), Name("I"), "word", "length"), tuple(rows))]

    def draw(self, random: Random) -> Entropy:
        """Four or five symbols whose counts sum to 16 or 20, with the words of a Huffman code."""

        def draw() -> Entropy:
            counts = [random.randint(1, 9) for _ in range(random.choice([4, 5]))]
            if sum(counts) not in (10, 16, 20):
                return draw()
            return replace(self, counts=typed(counts), code=" ".join(_huffman([Fraction(n) for n in counts])))

        return by_hand(draw)


def _huffman(counts: Sequence[Fraction]) -> list[str]:
    """The words of a Huffman code; of equally frequent symbols those that were made first merge first."""
    heap = [(count, i, [i]) for i, count in enumerate(counts)]
    words = [""] * len(counts)
    heapq.heapify(heap)
    while len(heap) > 1:
        rare, rarer = heapq.heappop(heap), heapq.heappop(heap)
        # the more frequent of the two gets the 0
        for bit, (_, _, members) in (("1", rare), ("0", rarer)):
            for member in members:
                words[member] = bit + words[member]
        heapq.heappush(heap, (rare[0] + rarer[0], len(counts) + len(words[0]) + len(heap), rare[2] + rarer[2]))
    return words


def _check_code(words: Sequence[str], count: int) -> None:
    if len(words) != count or not all(word and set(word) <= {"0", "1"} for word in words):
        raise UsageError(f"code={' '.join(words)!r}: must be {count} words of 0 and 1, one a symbol; correct it.")
    for i, word in enumerate(words):
        for j, other in enumerate(words):
            if i != j and other.startswith(word):
                raise UsageError(
                    f"code: {word} begins {other}, so that a reader cannot tell them apart; change one of them."
                )
