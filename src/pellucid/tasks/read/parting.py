# SPDX-License-Identifier: Apache-2.0
"""Which parts of a line are one letter, and where a part is several: the division that the network is surest of."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from typing import final

import numpy as np
from numpy.typing import NDArray

from pellucid.tasks.read.crops import Look, crop, looked
from pellucid.tasks.read.ink import Inked
from pellucid.tasks.read.parts import Parts

__all__ = ["Found", "Pieced", "line_height", "parted", "pieced"]

_TOGETHER = 6  # pieces of one letter, at most
_WIDE = 1.15  # of the letters' height: wider parts may be several letters
_BRIDGES = 0.25  # of the letters' height: how far thin places are from one another, at least
_FINE_WIDE, _FINE_APART = 0.7, 0.13  # the same two where letters are small and round
_BAR = 0.3  # of the letters' height: lower parts are dashes, and whole
_WORST = -7.0  # log-probability below which evidence is not counted
_NOISE = -2.2  # of a small piece that is no letter
_NOTHING = -4.5  # of a large one
_APART = -1.0  # of joining what has a gap, and of parting what lies above itself
_THIN = 2.6  # pens of ink in a column where a part may be cut: two bars that meet, as in ZZ
_BROAD, _BROADER = 1.4, 6.0  # width by height from which a letter is unlikely, and how fast it becomes so
_SHORT = 0.12  # of the letters' height: bridges that are longer may be a letter's foot
_BRIDGE = -0.3  # of a bridge that is no part of a letter
_LEAST, _LOW = 0.4, 0.5  # of the letters' height: the longer side of what may be a letter, and what is too low for one
_GAP = 0.04  # of the letters' height: nearer parts nearly touch
_WHOLE = 1.2  # of joining parts side by side where they are one character
_CUT = -0.8  # of ending a letter where its part goes on


@final
@dataclass(frozen=True)
class Found:
    """A letter on the page's ink."""

    box: tuple[float, float, float, float]  # x0, y0, x1, y1
    crop: NDArray[np.float32]  # as the network is given it
    shares: NDArray[np.float32]  # (K + 1,) probabilities; the last is that of no letter


@final
@dataclass(frozen=True)
class _Piece:
    """A part, or some columns of one."""

    part: int
    span: tuple[int, int] | None
    box: tuple[int, int, int, int]
    bridge: bool = False  # where the part is thin: the end of a letter, or what joins two


@final
@dataclass(frozen=True)
class Pieced:
    """A line's pieces, the runs of them that may be letters, and what the network says of each."""

    pieces: list[_Piece]
    groups: list[tuple[int, int]]  # start and end of each run
    crops: list[NDArray[np.float32]]
    shares: NDArray[np.float32]  # (n, K + 1)

    @property
    def boxes(self) -> NDArray[np.float64]:
        """(n, 4) of the runs."""
        return np.array([_around(self.pieces[a:b]) for a, b in self.groups])

    @property
    def whole(self) -> NDArray[np.bool_]:
        """(n,): whether a run has no part that was cut."""
        return np.array([all(piece.span is None for piece in self.pieces[a:b]) for a, b in self.groups])


def pieced(
    look: Look, page: Inked, found: Parts, line: list[int], tall: float, least: float = _LEAST, fine: bool = False
) -> Pieced | None:
    """What a line's letters may be; None where there is nothing.

    Args:
        look: the network.
        page: its ink.
        found: its parts.
        line: those of the line.
        tall: how tall letters are, px.
        least: how long the smallest letter is, as a share of that.
        fine: letters are small and round, and touch where they are not thinnest.
    """
    pieces = [piece for i in line for piece in _pieces(page, found, i, tall, fine)]
    pieces.sort(key=lambda piece: (piece.box[0] + piece.box[2], piece.box[1]))
    groups = _candidates(pieces, tall, least)
    if not groups:
        return None
    crops = [crop(page, found, *_seen(pieces[a:b])) for a, b in groups]
    return Pieced(pieces, groups, crops, looked(look, crops))


def line_height(found: Parts, line: list[int], tall: float) -> float:
    """How tall the letters of a line are, px: a heading may be larger than the page's usual letters."""
    heights = found.heights[line]
    own = heights[heights > 0.6 * tall]
    return float(np.median(own)) if own.size >= 3 else tall


def parted(
    seen: Pieced,
    tall: float,
    likeliest: NDArray[np.float32] | None = None,
    low: float = _LOW,
    answers: NDArray[np.float32] | None = None,
    gapped: NDArray[np.bool_] | None = None,
) -> list[Found]:
    """The letters of a line, from left to right: the division of which the network is surest.

    Args:
        seen: what the letters may be.
        tall: how tall letters are, px.
        likeliest: (n,) the probability of each run's likeliest letter; by default that of the network.
        low: of the letters' height, below which a letter is unlikely.
        answers: (n, K + 1) probabilities to give the letters; by default those of the network.
        gapped: (n,) runs that would be letters of parts side by side; parts of others are above one another. By default parts that
            nearly touch may be one letter.
    """
    pieces, groups = seen.pieces, seen.groups
    if likeliest is None:
        likeliest = seen.shares[:, :-1].max(1)
    at = {group: k for k, group in enumerate(groups)}
    # the best division of the first n pieces: its score, where its last letter begins, and whether that is noise
    best: list[tuple[float, int, bool]] = [(0.0, 0, False)]
    for end in range(1, len(pieces) + 1):
        options = [(best[end - 1][0] + _noise(pieces[end - 1], tall), end - 1, True)]
        for start in range(max(0, end - _TOGETHER), end):
            if (start, end) in at:
                k = at[start, end]
                whole = gapped is not None and bool(gapped[k])
                gap = _GAP * tall if gapped is None else 0.0
                score = _score(float(likeliest[k]), pieces[start:end], pieces, end, tall, low, np.inf if whole else gap)
                options.append((best[start][0] + score, start, False))
        best.append(max(options))
    letters: list[Found] = []
    end = len(pieces)
    while end:
        _, start, noise = best[end]
        if not noise:
            k = at[start, end]
            shares = seen.shares[k] if answers is None else answers[k]
            letters.append(Found(_around(pieces[start:end]), seen.crops[k], shares))
        end = start
    return letters[::-1]


def _pieces(page: Inked, found: Parts, part: int, tall: float, fine: bool) -> list[_Piece]:
    """A part as it is, or cut where it is thin if it is wider than a letter."""
    x0, y0, x1, y1 = (int(v) for v in found.boxes[part])
    if x1 - x0 <= (_FINE_WIDE if fine else _WIDE) * tall or (fine and y1 - y0 < _BAR * tall):
        return [_Piece(part, None, (x0, y0, x1, y1))]
    own = found.labels[y0:y1, x0:x1] == part + 1
    profile = own.sum(0).astype(np.float64)  # px of ink in each column
    rows = np.arange(y0, y1)[:, None]
    apart = (_FINE_APART if fine else _BRIDGES) * tall
    reach = max(3, round(apart))
    bridges: list[tuple[int, int]] = []  # columns from, to, where the part is thin
    thin = np.array([profile[x] <= profile[max(0, x - reach) : x + reach + 1].min() for x in range(len(profile))])
    thin &= profile <= _THIN * page.pen
    thin[:reach] = thin[len(thin) - reach :] = False
    x = 0
    while x < len(thin):
        if not thin[x]:
            x += 1
            continue
        end = x + 1
        while end < len(thin) - reach and profile[end] <= profile[x] + 1:
            end += 1
        if not bridges or x - bridges[-1][1] > apart:
            bridges.append((x, end))
        x = end
    starts, ends = [0, *[end for _, end in bridges]], [*[begin for begin, _ in bridges], x1 - x0]
    # a foot of L is as thin as a bridge: a long one is a piece that either of its neighbours may have, a short one is in none
    long = [(begin, end, True) for begin, end in bridges if end - begin > _SHORT * tall]
    pieces = []
    for left, right, bridge in sorted([*((a, b, False) for a, b in zip(starts, ends, strict=True)), *long]):
        inside = own[:, left:right]
        if inside.any():
            high = rows[:, 0][inside.any(1)]
            broad = np.flatnonzero(inside.any(0)) + x0 + left
            box = (int(broad[0]), int(high[0]), int(broad[-1]) + 1, int(high[-1]) + 1)
            pieces.append(_Piece(part, (x0 + left, x0 + right), box, bridge))
    return pieces


def _candidates(pieces: list[_Piece], tall: float, least: float) -> list[tuple[int, int]]:
    """Runs of pieces that may be one letter, as start and end."""
    found = []
    for start in range(len(pieces)):
        for end in range(start + 1, min(len(pieces), start + _TOGETHER) + 1):
            x0, y0, x1, y1 = _around(pieces[start:end])
            if end > start + 1:
                gap = pieces[end - 1].box[0] - max(piece.box[2] for piece in pieces[start : end - 1])
                own = pieces[end - 1].part in [piece.part for piece in pieces[start : end - 1]]
                if (gap > 0.2 * tall and not own) or x1 - x0 > 1.7 * tall or y1 - y0 > 1.7 * tall:
                    break
            if max(x1 - x0, y1 - y0) >= least * tall:
                found.append((start, end))
    return found


def _seen(pieces: list[_Piece]) -> tuple[list[int], tuple[int, int] | None]:
    """The parts of some pieces, and the columns that are seen of them."""
    members = list(dict.fromkeys(piece.part for piece in pieces))
    if all(piece.span is None for piece in pieces):
        return members, None
    spans = [piece.span or (piece.box[0], piece.box[2]) for piece in pieces]
    return members, (min(span[0] for span in spans), max(span[1] for span in spans))


def _around(pieces: list[_Piece]) -> tuple[float, float, float, float]:
    boxes = np.array([piece.box for piece in pieces])
    return (float(boxes[:, 0].min()), float(boxes[:, 1].min()), float(boxes[:, 2].max()), float(boxes[:, 3].max()))


def _noise(piece: _Piece, tall: float) -> float:
    """The score of taking a piece for none of a letter."""
    if piece.bridge:
        return _BRIDGE
    x0, y0, x1, y1 = piece.box
    return _NOISE if max(x1 - x0, y1 - y0) < 0.45 * tall else _NOTHING


def _score(
    probability: float, own: list[_Piece], pieces: list[_Piece], end: int, tall: float, low: float, gap: float
) -> float:
    """How well pieces are one letter: the log of its probability, once for each piece."""
    x0, y0, x1, y1 = _around(own)
    score = max(_WORST, float(np.log(max(1e-9, probability)))) * len(own)
    for one, other in pairwise(own):
        if one.part != other.part and other.box[0] - one.box[2] > gap:
            score += _APART
    if end < len(pieces):  # what lies above one another belongs together
        after = pieces[end].box
        if pieces[end].part == own[-1].part:
            score += _CUT
        shared = min(x1, after[2]) - max(x0, after[0])
        if shared > 0.5 * min(x1 - x0, after[2] - after[0]):
            score += _APART
    if y1 - y0 < low * tall:
        score += 3 * _APART
    if gap == np.inf and len(own) > 1:  # its parts look like letters too: " like two '
        score += _WHOLE
    score -= _BROADER * max(0.0, (x1 - x0) / tall - _BROAD)
    return score
