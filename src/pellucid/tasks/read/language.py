# SPDX-License-Identifier: Apache-2.0
"""Which of look-alikes a letter is, by its neighbours: words are of letters or of digits, and may be in a list."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import final

import numpy as np
from numpy.typing import NDArray

from pellucid.tasks.read.alphabet import character

__all__ = ["Words", "chosen", "neighbourly"]

_MIXED = 3.0  # log-odds by which a word must speak for letters and digits in one
_LEAST = 1e-4  # probability of any class, at least: one blotted letter decides nothing
_CHANGE = 4.0  # log-odds that a word of the list may cost for each letter that it changes


def neighbourly(shares: NDArray[np.float32], classes: Sequence[str]) -> NDArray[np.int64]:
    """The classes (n,) of a word's letters from their probabilities (n, K).

    A word that mixes letters and digits is read as all letters or all digits, unless that makes it much less probable.

    >>> shares = np.array([[0.9, 0.1, 0.0], [0.3, 0.2, 0.5]], np.float32)  # L for sure, then I or 1
    >>> neighbourly(shares, ["L", "I", "1"]).tolist()
    [0, 0]
    """
    logs = np.log(np.maximum(shares, _LEAST))
    free: NDArray[np.int64] = shares.argmax(1)
    kinds = np.array(
        ["d" if character(name).isdigit() else "l" if character(name).isalpha() else "" for name in classes]
    )
    if len(shares) < 2 or len(set(kinds[free]) - {""}) < 2:
        return free
    best, answer = float(logs.max(1).sum()) - _MIXED, free
    for kind in ("l", "d"):
        allowed = np.where((kinds == kind) | (kinds == ""), logs, -np.inf)
        score = float(allowed.max(1).sum())
        if score > best:
            best, answer = score, allowed.argmax(1)
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
