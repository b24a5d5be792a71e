# SPDX-License-Identifier: Apache-2.0
"""Which of look-alikes a letter is, by its neighbours: words are of letters or of digits, and may be in a list."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from itertools import pairwise
from typing import final

import numpy as np
from numpy.typing import NDArray

from pellucid.tasks.read.alphabet import character

__all__ = ["Words", "chosen", "neighbourly"]

_MIXED = 3.0  # log-odds by which a word must speak for letters and digits in one
_LEAST = 1e-4  # probability of any class, at least: one blotted letter decides nothing
_APOSTROPHES = "'’"
_BEGINS, _FIRST = (
    3.0,
    0.7,
)  # log-odds against a small letter at the beginning of a sentence, and against a capital elsewhere
_CHANGE = 4.0  # log-odds that a word of the list may cost for each letter that it changes


def neighbourly(shares: NDArray[np.float32], classes: Sequence[str], begins: bool = False) -> NDArray[np.int64]:
    """The classes (n,) of a word's letters from their probabilities (n, K).

    A word that mixes letters and digits is read as all letters or all digits, unless that makes it much less probable. With small
    letters in the alphabet, the same goes for what is neither small, nor capital, nor small after one capital, between marks.

    >>> shares = np.array([[0.9, 0.1, 0.0], [0.3, 0.2, 0.5]], np.float32)  # L for sure, then I or 1
    >>> neighbourly(shares, ["L", "I", "1"]).tolist()
    [0, 0]

    Args:
        shares: probabilities.
        classes: names of the letters.
        begins: the word is the first of a sentence.
    """
    logs = np.log(np.maximum(shares, _LEAST))
    free: NDArray[np.int64] = shares.argmax(1)
    kinds = np.array([_kind(character(name)) for name in classes])
    if "l" in kinds:
        joins = [k for k, own in enumerate(free) if character(classes[own]) in _APOSTROPHES]
        return _in_runs(logs, free, kinds, joins, begins)
    if len(shares) < 2 or len(set(kinds[free]) - {""}) < 2:
        return free
    best, answer = float(logs.max(1).sum()) - _MIXED, free
    for kind in ("u", "d"):
        allowed = np.where((kinds == kind) | (kinds == ""), logs, -np.inf)
        score = float(allowed.max(1).sum())
        if score > best:
            best, answer = score, allowed.argmax(1)
    return answer


def _kind(one: str) -> str:
    """d for digits, l for small letters, u for others, and nothing for what is none of these."""
    return "d" if one.isdigit() else "l" if one.islower() else "u" if one.isalpha() else ""


def _in_runs(
    logs: NDArray[np.float32], free: NDArray[np.int64], kinds: NDArray[np.str_], joins: Sequence[int], begins: bool
) -> NDArray[np.int64]:
    """The likeliest classes where each run of letters and digits between marks, but for those at `joins`, is of one pattern."""
    answer = free.copy()
    places = np.flatnonzero(kinds[free] != "")
    ends = np.flatnonzero([any(b not in joins for b in range(one + 1, other)) for one, other in pairwise(places)])
    for run in np.split(places, ends + 1) if len(places) else []:
        own = logs[run].copy()  # (m, K)
        if begins and run[0] == places[0]:  # as in "It"; "let" goes on
            own[0, kinds == "l"] -= _BEGINS
        else:
            own[0, kinds == ("l" if len(places) == 1 else "u")] -= _FIRST  # "I" is a word
        best, chosen = float(own.max(1).sum()) - _MIXED, own.argmax(1)
        for first, rest in (("l", "l"), ("u", "l"), ("u", "u"), ("d", "d")):
            wanted = np.array([first] + [rest] * (len(run) - 1))
            allowed = np.where(kinds == wanted[:, None], own, -np.inf)
            score = float(allowed.max(1).sum())
            if score > best:
                best, chosen = score, allowed.argmax(1)
        answer[run] = chosen
    return answer


@final
class Words:
    """A list of words, by length, in the classes of an alphabet.

    >>> words = Words(["have", "cat"], ["A", "E", "H", "U", "V"])
    >>> words.by_length[4].tolist()
    [[2, 0, 4, 1]]
    """

    def __init__(self, words: Iterable[str], classes: Sequence[str]) -> None:
        places: dict[str, int] = {}
        for place, name in enumerate(classes):
            places.setdefault(character(name), place)
        found: dict[int, set[tuple[int, ...]]] = {}
        for word in words:
            own = [places.get(one, places.get(one.upper(), places.get(one.lower(), -1))) for one in word.strip()]
            if own and min(own) >= 0:
                found.setdefault(len(own), set()).add(tuple(own))
        self.by_length: Mapping[int, NDArray[np.int64]] = {
            length: np.array(sorted(rows), np.int64) for length, rows in found.items()
        }


def chosen(shares: NDArray[np.float32], read: NDArray[np.int64], words: Words | None) -> NDArray[np.int64]:
    """The word of the list that is nearly as probable as what was read (n,), else what was read.

    >>> shares = np.array([[0, 0, 1, 0, 0], [1, 0, 0, 0, 0], [0, 0, 0, 0.8, 0.2], [0, 1, 0, 0, 0]], np.float32)
    >>> chosen(shares, shares.argmax(1), Words(["have"], ["A", "E", "H", "U", "V"])).tolist()
    [2, 0, 4, 1]
    """
    candidates = None if words is None else words.by_length.get(len(read))
    if candidates is None:
        return read
    logs = np.log(np.maximum(shares, _LEAST))
    places = np.arange(len(read))
    scores = logs[places, candidates].sum(1)  # (words,)
    best = int(scores.argmax())
    changed = int((candidates[best] != read).sum())
    cost = float(logs[places, read].sum() - scores[best])
    return candidates[best] if cost <= _CHANGE * changed and 2 * changed < len(read) + 1 else read
