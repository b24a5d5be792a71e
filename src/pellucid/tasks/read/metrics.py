# SPDX-License-Identifier: Apache-2.0
"""What is measured of read pages: errors in characters and words, letters missed and invented, and words out of order."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pellucid.tasks._metrics import Floats, Metric, Weights
from pellucid.tasks._records import Ragged, Records
from pellucid.tasks.read.alphabet import character, comparable
from pellucid.tasks.read.answers import Page

__all__ = ["METRICS", "aligned", "columns", "details"]


def aligned(truth: Sequence[Any], read: Sequence[Any]) -> list[tuple[int, int]]:
    """Pairs of positions in two sequences along the fewest edits (Levenshtein 1966); −1 where one of them has nothing.

    >>> aligned("LIST", "LST")
    [(0, 0), (1, -1), (2, 1), (3, 2)]
    """
    codes = {value: k for k, value in enumerate(dict.fromkeys([*truth, *read]))}
    one, other = (np.array([codes[value] for value in side], np.int64) for side in (truth, read))
    steps = np.arange(len(other) + 1)
    table = np.empty((len(one) + 1, len(other) + 1), np.int32)
    table[0] = steps
    for i, value in enumerate(one, 1):
        row = table[i]
        row[0] = i
        row[1:] = np.minimum(table[i - 1, :-1] + (other != value), table[i - 1, 1:] + 1)
        row[:] = np.minimum.accumulate(row - steps) + steps  # and what is read beside it
    pairs = []
    i, j = len(one), len(other)
    while i or j:
        if i and j and table[i, j] == table[i - 1, j - 1] + (one[i - 1] != other[j - 1]):
            i, j = i - 1, j - 1
            pairs.append((i, j))
        elif i and table[i, j] == table[i - 1, j] + 1:
            i -= 1
            pairs.append((i, -1))
        else:
            j -= 1
            pairs.append((-1, j))
    return pairs[::-1]


def _longest_common(one: Sequence[str], other: Sequence[str]) -> int:
    """How many words two sequences share in the same order, at most."""
    row = np.zeros(len(other) + 1, np.int64)
    for word in one:
        same = np.array([word == second for second in other], np.int64)
        row[1:] = np.maximum.accumulate(np.maximum(row[1:], row[:-1] + same))
    return int(row[-1])


def columns(pages: Sequence[Page], texts: Sequence[str], classes: Sequence[str]) -> dict[str, Any]:
    """The records of pages: edits, lengths, and the pairs of true and read letters, −1 where one has none.

    Characters that the alphabet lacks do not count, nor does how words are spread over lines.
    """
    places = {character(name): k for k, name in reversed(list(enumerate(classes)))}
    rows: list[tuple[int, ...]] = []
    confused: list[NDArray[np.int64]] = []
    for page, text in zip(pages, texts, strict=True):
        true, read = comparable(text, classes), " ".join(page.lines(classes))
        pairs = aligned(true, read)
        edits = sum(a < 0 or b < 0 or true[a] != read[b] for a, b in pairs)
        true_words, read_words = true.split(), read.split()
        word_pairs = aligned(true_words, read_words)
        word_edits = sum(a < 0 or b < 0 or true_words[a] != read_words[b] for a, b in word_pairs)
        in_order = _longest_common(true_words, read_words)
        shared = sum((Counter(true_words) & Counter(read_words)).values())
        letters = [
            (places[true[a]] if a >= 0 else -1, places[read[b]] if b >= 0 else -1)
            for a, b in (
                (a if a >= 0 and true[a] != " " else -1, b if b >= 0 and read[b] != " " else -1) for a, b in pairs
            )
            if a >= 0 or b >= 0
        ]
        own = np.array(letters, np.int64).reshape(-1, 2)
        confused.append(own)
        missed, false = int((own[:, 1] < 0).sum()), int((own[:, 0] < 0).sum())
        counts = (missed, false, int((own[:, 0] >= 0).sum()), len(own) - missed, max(0, shared - in_order))
        rows.append((edits, len(true), word_edits, len(true_words), *counts))
    names = ("edits", "length", "word_edits", "words", "missed", "false", "letters", "read", "misplaced")
    table = np.array(rows, np.int64).reshape(-1, len(names))
    return {**{name: table[:, k] for k, name in enumerate(names)}, "pairs": Ragged.of(confused)}


def _rate(part: str, whole: str) -> Any:
    def over(records: Records, weights: Weights) -> Floats:
        """The sum over pages of one column by that of another; 0 errors in nothing are none, and any are all."""
        parts, wholes = weights @ records[part].astype(float), weights @ records[whole].astype(float)
        return np.asarray(np.where(wholes > 0, parts / np.maximum(wholes, 1), np.minimum(parts, 1.0)), np.float64)

    return over


METRICS = (
    Metric("cer", "character error rate", better="lower", over=_rate("edits", "length"), needs=("edits",), limits=(0, np.inf)),
    Metric("wer", "word error rate", better="lower", over=_rate("word_edits", "words"), needs=("word_edits",), limits=(0, np.inf)),
    Metric("missed", "letters missed", better="lower", over=_rate("missed", "letters"), needs=("missed",), limits=(0, 1)),
    Metric("false", "letters invented", better="lower", over=_rate("false", "read"), needs=("false",), limits=(0, 1)),
    Metric("misplaced", "words out of order", better="lower", over=_rate("misplaced", "words"), needs=("misplaced",), limits=(0, 1)),
)  # fmt: skip


def details(records: Records, classes: Sequence[str]) -> dict[str, Any]:
    """How many letters and words there were, and which letters were taken for which others, the most frequent first."""
    counts = Counter(tuple(pair) for pair in records["pairs"].values.tolist())
    names = [*classes, "none"]  # −1 is the last
    mistakes = [{"true": names[a], "read": names[b], "n": n} for (a, b), n in counts.most_common() if a != b]
    totals = {name: int(records[name].sum()) for name in ("letters", "read", "missed", "false", "words", "misplaced")}
    return {"pages": len(records["edits"]), **totals, "mistakes": mistakes[:40]}
