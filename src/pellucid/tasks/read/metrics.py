# SPDX-License-Identifier: Apache-2.0
"""What is measured of read pages: errors in characters and words, letters found, missed, mistaken and invented, and order."""

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

__all__ = ["METRICS", "aligned", "columns", "columns_of_texts", "details"]

_SPACE = -2  # beside the numbers of the classes


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


def _longest_common(one: Sequence[Any], other: Sequence[Any]) -> int:
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
    places = _places(classes)
    read = []
    for page in pages:
        words = [
            tuple(places[character(classes[letter.index])] for letter in word) for line in page.words() for word in line
        ]
        read.append([word for word in words if word])
    return _columns(read, texts, classes)


def columns_of_texts(read: Sequence[str], texts: Sequence[str], classes: Sequence[str]) -> dict[str, Any]:
    """The same of texts that another program read, which is held to the same alphabet."""
    return _columns([_words(text, classes) for text in read], texts, classes)


def _places(classes: Sequence[str]) -> dict[str, int]:
    """The number of each character; of several classes with one character, that of the first."""
    return {character(name): k for k, name in reversed(list(enumerate(classes)))}


def _words(text: str, classes: Sequence[str]) -> list[tuple[int, ...]]:
    """The words of a text as numbers of classes."""
    places = _places(classes)
    return [tuple(places[one] for one in word) for word in comparable(text, classes).split()]


def _letters(words: Sequence[tuple[int, ...]]) -> list[int]:
    """The numbers of all words, with a space between two."""
    return [number for k, word in enumerate(words) for number in ((_SPACE, *word) if k else word)]


def _columns(read: Sequence[list[tuple[int, ...]]], texts: Sequence[str], classes: Sequence[str]) -> dict[str, Any]:
    rows: list[tuple[int, ...]] = []
    confused: list[NDArray[np.int64]] = []
    numbers: list[NDArray[np.int64]] = []
    for words, text in zip(read, texts, strict=True):
        true_words = _words(text, classes)
        true, own = _letters(true_words), _letters(words)
        pairs = aligned(true, own)
        edits = sum(a < 0 or b < 0 or true[a] != own[b] for a, b in pairs)
        word_edits = sum(a < 0 or b < 0 or true_words[a] != words[b] for a, b in aligned(true_words, words))
        in_order = _longest_common(true_words, words)
        shared = sum((Counter(true_words) & Counter(words)).values())
        at = np.cumsum([number != _SPACE for number in own]) - 1  # the place of each letter among the letters
        found = []
        for a, b in pairs:
            one, other = (
                max(-1, side[k]) if k >= 0 else -1 for side, k in ((true, a), (own, b))
            )  # a space is no letter
            if max(one, other) >= 0:
                found.append((one, other, int(at[b]) if other >= 0 else -1))
        table = np.array(found, np.int64).reshape(-1, 3)
        confused.append(table[:, :2])
        numbers.append(table[:, 2])
        missed, false = int((table[:, 1] < 0).sum()), int((table[:, 0] < 0).sum())
        mistaken = int(((table[:, :2] >= 0).all(1) & (table[:, 0] != table[:, 1])).sum())
        letters = int((table[:, 0] >= 0).sum())
        counts = (letters, letters - missed, missed, mistaken, false, len(table) - missed, max(0, shared - in_order))
        rows.append((edits, len(true), word_edits, len(true_words), *counts))
    names = ("edits", "length", "word_edits", "words", "letters", "found", "missed", "mistaken", "false", "read", "misplaced")  # fmt: skip
    counted = np.array(rows, np.int64).reshape(-1, len(names))
    return {
        **{name: counted[:, k] for k, name in enumerate(names)},
        "confused": Ragged.of(confused),  # true and read class
        "place": Ragged.of(numbers),  # of the read letter among those of its page, −1 for a missed one
    }


def _rate(part: str, whole: str, nothing: float = 0.0) -> Any:
    def over(records: Records, weights: Weights) -> Floats:
        """The sum over pages of one column by that of another; 0 errors in nothing are none, and any are all."""
        parts, wholes = weights @ records[part].astype(float), weights @ records[whole].astype(float)
        empty = np.maximum(nothing, np.minimum(parts, 1.0))
        return np.asarray(np.where(wholes > 0, parts / np.maximum(wholes, 1), empty), np.float64)

    return over


METRICS = (
    Metric("cer", "character error rate", better="lower", over=_rate("edits", "length"), needs=("edits",), limits=(0, np.inf)),
    Metric("wer", "word error rate", better="lower", over=_rate("word_edits", "words"), needs=("word_edits",), limits=(0, np.inf)),
    Metric("found", "letters found", over=_rate("found", "letters", 1.0), needs=("found",), limits=(0, 1)),
    Metric("missed", "letters missed", better="lower", over=_rate("missed", "letters"), needs=("missed",), limits=(0, 1)),
    Metric("mistaken", "letters taken for others", better="lower", over=_rate("mistaken", "found"), needs=("mistaken",), limits=(0, 1)),
    Metric("false", "letters invented", better="lower", over=_rate("false", "read"), needs=("false",), limits=(0, 1)),
    Metric("misplaced", "words out of order", better="lower", over=_rate("misplaced", "words"), needs=("misplaced",), limits=(0, 1)),
)  # fmt: skip


def details(records: Records, classes: Sequence[str]) -> dict[str, Any]:
    """How many letters and words there were, and which letters were taken for which others, the most frequent first."""
    counts = Counter(tuple(pair) for pair in records["confused"].values.tolist())
    names = [*classes, "none"]  # −1 is the last
    mistakes = [{"true": names[a], "read": names[b], "n": n} for (a, b), n in counts.most_common() if a != b]
    totals = {
        name: int(records[name].sum())
        for name in ("letters", "read", "found", "missed", "mistaken", "false", "words", "misplaced")
    }
    return {"pages": len(records["edits"]), **totals, "mistakes": mistakes[:40]}
