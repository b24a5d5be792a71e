# SPDX-License-Identifier: Apache-2.0
"""Parts into lines: how far a page is askew, lines that follow slopes and gentle curves, words by gaps, and columns."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

__all__ = ["columns", "lines", "skew", "upright", "word_starts"]

Floats = NDArray[np.float64]

_MOST = 20.0  # degrees that a page may be askew
_REACH = 0.62  # of the letters' height: how far a letter's middle may be from its line

_TWO, _MANY = 0.82, 12  # share of the gaps' variance that tells two kinds of them apart, where there are many


def skew(middles: Floats, tall: float) -> float:
    """How far lines fall to the right, in degrees: the angle along which the parts' middles (n, 2) crowd most."""
    if len(middles) < 5:
        return 0.0
    centred = middles - middles.mean(0)

    def crowding(degrees: float) -> float:
        angle = np.deg2rad(degrees)
        height = centred[:, 1] * np.cos(angle) - centred[:, 0] * np.sin(angle)
        along = centred[:, 0] * np.cos(angle) + centred[:, 1] * np.sin(angle)
        apart = np.abs(height[:, None] - height) / (0.25 * tall)
        near = np.abs(along[:, None] - along) < 12 * tall  # lines may bend
        return float((np.exp(-(apart**2)) * near).sum())

    if len(middles) > 400:
        keep = np.random.default_rng(0).permutation(len(middles))[:400]
        centred = centred[keep]
    coarse = np.arange(-_MOST, _MOST + 0.1, 1.0)
    scores = np.array([crowding(angle) for angle in coarse])
    best = float(coarse[int(scores.argmax())])
    if scores.max() < 1.1 * crowding(0.0):
        return 0.0
    fine = best + np.arange(-0.8, 0.81, 0.2)
    return float(fine[int(np.argmax([crowding(angle) for angle in fine]))])


def upright(boxes: NDArray[np.int64]) -> float:
    """Whether boxes (n, 4) stand in rows, 1, or in columns, −1: the direction of each one's nearest neighbour, on average.

    >>> row = np.array([[0, 0, 8, 10], [10, 0, 18, 10], [20, 0, 28, 10]])
    >>> upright(row), upright(row[:, [1, 0, 3, 2]])
    (1.0, -1.0)
    """
    if len(boxes) < 2:
        return 0.0
    own = boxes[:400]
    low, high = own[:, None, :2], own[:, None, 2:]  # (n, 1, 2) x, y
    gaps = np.maximum(0, np.maximum(low - own[None, :, 2:], own[None, :, :2] - high)).astype(np.float64)  # (n, n, 2)
    away = np.hypot(gaps[:, :, 0], gaps[:, :, 1])
    np.fill_diagonal(away, np.inf)
    nearest = away.argmin(1)
    middles = (own[:, :2] + own[:, 2:]) / 2
    across = np.abs(middles[nearest] - middles)
    return float(np.sign(across[:, 0] - across[:, 1]).mean())


def lines(boxes: NDArray[np.int64], tall: float) -> list[list[int]]:
    """The boxes (n, 4) of each line, from left to right, and the lines from top to bottom.

    A line goes on with the box that is nearest to where its last ones lead; fragments that continue each other are joined.
    """
    middles = np.stack([boxes[:, [0, 2]].mean(1), boxes[:, [1, 3]].mean(1)], 1)
    begun: list[list[int]] = []
    for i in np.argsort(middles[:, 0], kind="stable").tolist():
        x, y = middles[i]
        best, chosen = np.inf, None
        for line in begun:
            gap = boxes[i, 0] - boxes[line[-1], 2]
            if gap > 6 * tall:
                continue
            away = abs(y - _led(middles[line[-6:]], x, tall)) / tall
            overlap = min(boxes[i, 3], boxes[line[-1], 3]) - max(boxes[i, 1], boxes[line[-1], 1])
            if away > _REACH and overlap < 0.5 * min(
                boxes[i, 3] - boxes[i, 1], boxes[line[-1], 3] - boxes[line[-1], 1]
            ):
                continue
            cost = away + 0.05 * max(0.0, float(gap)) / tall
            if away < 1.0 and cost < best:
                best, chosen = cost, line
        if chosen is None:
            begun.append([i])
        else:
            chosen.append(i)
    joined = True
    while joined:
        joined = False
        for a in range(len(begun)):
            for b in range(len(begun)):
                if a != b and _continues(boxes, middles, begun[a], begun[b], tall):
                    begun[a] = sorted(begun[a] + begun[b], key=lambda i: middles[i, 0])
                    del begun[b]
                    joined = True
                    break
            if joined:
                break
    return sorted(begun, key=lambda line: float(np.median(middles[line, 1])))


def _led(places: Floats, x: float, tall: float) -> float:
    """Where a line of these middles (n, 2) leads at x: its slope is trusted as far as it is long."""
    if len(places) < 3:
        return float(places[-2:, 1].mean())
    spread = float(np.ptp(places[:, 0]))
    slope = np.polyfit(places[:, 0], places[:, 1], 1)[0] * spread / (spread + 3 * tall)
    return float(places[:, 1].mean() + slope * (x - places[:, 0].mean()))


def _continues(
    boxes: NDArray[np.int64], middles: Floats, left: Sequence[int], right: Sequence[int], tall: float
) -> bool:
    """Whether a line begins where another one ends, or fills its gaps, at the same height."""
    if boxes[right[0], 0] < boxes[left[0], 0]:
        return False
    inside = [i for i in right if any(_within(boxes[i], boxes[j]) for j in left)]
    if len(inside) > 0.2 * len(right):
        return False
    start = middles[right[0]]
    near = sorted(left, key=lambda i: abs(middles[i, 0] - start[0]))[:6]
    near = sorted(near, key=lambda i: middles[i, 0])
    ends = middles[list(right)[:4]]
    forth = abs(start[1] - _led(middles[near], start[0], tall))
    back = abs(middles[near[-1], 1] - _led(ends, middles[near[-1], 0], tall))
    return bool(min(forth, back) < 0.5 * tall and max(forth, back) < 0.9 * tall)


def _within(one: NDArray[np.int64], other: NDArray[np.int64]) -> bool:
    """Whether two boxes are above one another, by more than half of the narrower one."""
    shared = min(one[2], other[2]) - max(one[0], other[0])
    return bool(shared > 0.5 * min(one[2] - one[0], other[2] - other[0]))


def word_starts(gaps: Sequence[Sequence[float]], heights: Sequence[float]) -> list[list[int]]:
    """The positions of the letters that begin a word, from each line's gaps between neighbours in px and the height of its letters.

    Gaps within words and those between them are told apart over the whole page, as shares of the letters' height and beside the
    gaps next to them; a line whose own gaps leave a far wider void elsewhere has a limit of its own.
    """
    spaces = [_beside(np.array(line, np.float64) / tall) for line, tall in zip(gaps, heights, strict=True)]
    page, _ = _jump(np.sort(np.concatenate([*spaces, np.zeros(0)])))
    found = []
    for own in spaces:
        limit = page
        if len(own) >= 5:
            here, void = _jump(np.sort(own))
            limit = here if void > 0.6 and not here - void / 2 < page < here + void / 2 else page
        found.append([0, *[k + 1 for k, space in enumerate(own.tolist()) if space > limit]])
    return found


def _beside(gaps: Floats) -> Floats:
    """Gaps, less a share of those beside them: where letters stand apart, a word begins after more than that."""
    known = np.pad(np.clip(gaps, 0, 0.9), 1, constant_values=np.nan)
    around = np.stack([known[:-2], known[2:]])
    there = ~np.isnan(around)
    mean = np.where(there, around, 0).sum(0) / np.maximum(1, there.sum(0))
    return np.asarray(gaps - 0.35 * mean, np.float64)


def _jump(gaps: Floats) -> tuple[float, float]:
    """The limit that best parts sorted gaps into those within and those between words, and how wide the void around it is."""
    # wider gaps say no more, least of all where a letter between two was not seen
    inside = np.clip(gaps, -0.2, np.clip(2.5 * np.quantile(gaps, 0.6), 0.8, 1.7) if len(gaps) else 1.7)
    best, answer = 0.0, (0.7, 0.0)
    if len(inside):
        answer = (max(0.7, 1.6 * float(np.median(inside)) + 0.25), 0.0)
    for k in range(1, len(inside)):
        limit = (inside[k - 1] + inside[k]) / 2
        below, above = inside[:k], inside[k:]
        apart = above.mean() - below.mean()
        void = float(inside[k] - inside[k - 1])
        between = k * (len(inside) - k) / len(inside) ** 2 * apart**2  # Otsu 1979, eq. 18
        share = between / max(
            float(inside.var()), 1e-9
        )  # a single normal crowd has up to 2/π, an even spread up to 3/4
        clear = share > _TWO and len(inside) >= _MANY
        if not (0.1 if clear else 0.2) <= limit <= 1.8 or apart < 0.22 or not (clear or apart >= 0.4 or void >= 0.1):
            continue
        score = share + 0.6 * min(void, 0.3)
        if score > best:
            best, answer = score, (float(limit), void)
    return answer


def columns(found: Sequence[Sequence[int]], boxes: NDArray[np.int64], tall: float) -> list[list[int]]:
    """Lines in reading order, cut where white strips separate columns.

    A strip is as high as several lines that all have a gap there, far wider than a space, and text on both of its sides.
    """
    cuts: list[tuple[float, float, int]] = []  # gap's left, right, line
    for number, line in enumerate(found):
        for one, other in pairwise(line):
            if boxes[other, 0] - boxes[one, 2] > 2.2 * tall:
                cuts.append((float(boxes[one, 2]), float(boxes[other, 0]), number))
    chosen: list[float] = []
    for left, right, _ in sorted(cuts, key=lambda cut: cut[1] - cut[0]):
        middle = (left + right) / 2
        if any(left <= place <= right for place in chosen):
            continue
        crossing = [cut for cut in cuts if cut[0] + 0.4 * tall < middle < cut[1] - 0.4 * tall]
        lefts = [sum(boxes[i, 2] <= middle for i in found[cut[2]]) for cut in crossing]
        rights = [sum(boxes[i, 0] >= middle for i in found[cut[2]]) for cut in crossing]
        if len({cut[2] for cut in crossing}) >= 2 and np.mean(lefts) >= 3 and np.mean(rights) >= 3:
            chosen.append(middle)
    if not chosen:
        return [list(line) for line in found]
    bounds = [-np.inf, *sorted(chosen), np.inf]
    pieces: list[tuple[float, int, list[int]]] = []  # top, column, its boxes
    for line in found:
        groups: dict[int, list[int]] = {}
        spans = [k for k, place in enumerate(bounds[1:-1]) if any(boxes[i, 0] < place < boxes[i, 2] for i in line)]
        gapless = [
            k
            for k, place in enumerate(bounds[1:-1])
            if not any(c[0] < place < c[1] for c in cuts if found[c[2]] is line)
        ]
        for i in line:
            middle = (boxes[i, 0] + boxes[i, 2]) / 2
            column = int(np.searchsorted(bounds, middle)) - 1
            groups.setdefault(column, []).append(i)
        whole = len(groups) > 1 and (spans or len(gapless) == len(chosen))
        if whole:
            groups = {-1: list(line)}  # a heading over all columns
        pieces += [(float(boxes[rows, 1].mean()), column, rows) for column, rows in groups.items()]
    ordered: list[list[int]] = []
    block: list[tuple[float, int, list[int]]] = []
    for piece in sorted(pieces, key=lambda piece: piece[0]):
        if piece[1] == -1:
            ordered += [rows for _, _, rows in sorted(block, key=lambda one: (one[1], one[0]))]
            ordered.append(piece[2])
            block = []
        else:
            block.append(piece)
    return ordered + [rows for _, _, rows in sorted(block, key=lambda one: (one[1], one[0]))]
