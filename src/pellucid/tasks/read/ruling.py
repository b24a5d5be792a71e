# SPDX-License-Identifier: Apache-2.0
"""The base line of each line of a page, and how tall its capitals and small letters are: by the letters that are known by their shapes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from pellucid.tasks.read.crops import Look
from pellucid.tasks.read.ink import Inked
from pellucid.tasks.read.parting import Found, Pieced, parted, pieced
from pellucid.tasks.read.parts import Parts
from pellucid.tasks.read.placing import USUAL, Places, Ruled

__all__ = ["capital_height", "placed", "ruled"]

_ASCENDERS = (
    (1.2, 1.8),
    0.1,
)  # heights of the usual ones where these are small letters, and the least share of the parts that are so
_SURE = 0.6  # probability of a letter by which a line is ruled
_BASE = 0.08  # of a capital's height: what is as near to the base line stands on it
_HIGH, _SMALL = (0.93, 1.1), (0.6, 0.85)  # tops of capitals and the like, and of small letters
_AWAY = 0.08  # of a capital's height: letters farther off the base line count less
_MANY, _CURVED = 3, 12  # letters from which a line has a slope of its own, and a curve
_FIRST_LOW = 0.33  # of a capital's height, below which nothing is a letter before lines are ruled
_CUT_OFF = 6.0  # log-odds against a mark that hangs on a letter: a serif's end is no full stop
_OTHER = 0.1  # of its look-alikes' probability, what a letter gets at least before its place decides
_RANGE = (0.5, 0.85)  # that small letters' heights are kept to, as shares of capitals'

Floats = NDArray[np.float64]


def capital_height(heights: NDArray[np.int64], tall: float) -> float:
    """How tall capitals are in px, where the usual parts, `tall` px high, may be small letters: then others stand out above or below."""
    (least, most), share = _ASCENDERS
    near = heights[(heights > 0.5 * tall) & (heights < most * tall)]
    longer = near[near > least * tall]
    return float(np.median(longer)) if len(longer) >= max(2, share * len(near)) else tall


def placed(
    look: Look, page: Inked, found: Parts, members: Sequence[list[int]], tall: float, places: Places
) -> tuple[list[list[Found]], list[Ruled]]:
    """The letters of each line by their shapes and places, and how lines are ruled.

    First what letters may be by their shapes alone; those rule the lines, and then the division is sought again.

    Args:
        look: the network.
        page: its ink.
        found: its parts.
        members: the parts of each line.
        tall: how tall capitals are, px.
        places: those of the alphabet.
    """
    least = max(0.6 * places.smallest, 0.5 * page.pen / tall)
    seen = [pieced(look, page, found, line, tall, least, fine=True) for line in members]
    merged = [None if one is None else places.merged(one.shares) for one in seen]
    first = [
        []
        if one is None or own is None
        else parted(one, tall, own.max(1), _FIRST_LOW, gapped=places.gapped[own.argmax(1)])
        for one, own in zip(seen, merged, strict=True)
    ]
    lines = ruled(first, places, tall)
    letters = [
        [] if one is None or own is None else _again(one, own, places, rule)
        for one, own, rule in zip(seen, merged, lines, strict=True)
    ]
    return letters, lines


def _again(seen: Pieced, merged: NDArray[np.float32], places: Places, line: Ruled) -> list[Found]:
    odds = places.odds(seen.boxes, line)  # (n, K)
    odds[np.ix_(~seen.whole, places.marks)] -= _CUT_OFF
    likeliest = (merged * np.exp(odds)).max(1)
    own = ((1 - _OTHER) * seen.shares[:, :-1] + _OTHER * merged) * np.exp(odds - odds.max(1, keepdims=True))
    none = seen.shares[:, -1:]
    answers = np.concatenate([own / np.maximum(own.sum(1, keepdims=True), 1e-9) * (1 - none), none], 1)
    return parted(
        seen, line.tall, likeliest.astype(np.float32), 0.0, answers.astype(np.float32), places.gapped[own.argmax(1)]
    )


def ruled(lines: Sequence[Sequence[Found]], places: Places, tall: float) -> list[Ruled]:
    """How each line is ruled; what a line does not show is that of the page.

    Args:
        lines: letters by their shapes.
        places: those of the alphabet.
        tall: how tall capitals seem to be, px.
    """
    based = [_base(letters, places, tall) for letters in lines]
    heights = [_heights(letters, base, places) for letters, base in zip(lines, based, strict=True)]
    own = [float(np.median(high)) if len(high) >= 2 else np.nan for high, _ in heights]
    every = np.concatenate([*(high for high, _ in heights), np.zeros(0)])
    usual = float(np.median(every)) if len(every) >= 2 else tall
    small = [float(np.median(low)) if len(low) >= 2 else np.nan for _, low in heights]
    shares = np.array(small) / np.array(own) if lines else np.zeros(0)
    share = float(np.nanmedian(shares)) if np.isfinite(shares).any() else USUAL
    share = float(np.clip(share, *_RANGE))
    found = []
    for base, high, low in zip(based, own, small, strict=True):
        height = high if np.isfinite(high) else low / share if np.isfinite(low) else usual
        found.append(Ruled(base, float(height), share))
    return [replace(one, tall=usual) if abs(one.tall / usual - 1) < 0.1 else one for one in found]


def _known(letters: Sequence[Found], places: Places) -> tuple[Floats, NDArray[np.int64], NDArray[np.bool_]]:
    """Boxes (n, 4), the likeliest classes (n,) by their shapes, and which of them are sure (n,)."""
    shares = np.stack([letter.shares for letter in letters])
    return (
        np.array([letter.box for letter in letters]),
        shares[:, :-1].argmax(1),
        places.merged(shares).max(1) > _SURE,
    )


def _base(letters: Sequence[Found], places: Places, tall: float) -> Floats:
    """The polynomial of a base line, by the letters that stand on it, as small and as capital ones."""
    if not letters:
        return np.zeros(2)
    boxes, classes, sure = _known(letters, places)
    bottoms = np.nan_to_num(places.bottoms, nan=1.0)
    either = np.abs(np.where(places.alike > 0, bottoms, 0)).max(1)  # (K,) of a letter and of those that look like it
    stands = sure & (either[classes] < _BASE)
    x, y = boxes[:, [0, 2]].mean(1), boxes[:, 3]
    if not stands.any():
        hangs = np.where(np.isfinite(places.bottoms[classes]), np.nan_to_num(places.bottoms[classes]), 0.0)
        return np.array([0.0, float(np.median(y + hangs * tall))])
    x, y = x[stands], y[stands]
    degree = 0 if len(x) < _MANY else 1 if len(x) < _CURVED else 2
    middle = x.mean()
    weights = np.ones(len(x))
    line = np.array([float(np.median(y))])
    for _ in range(5):  # those far off the line count less
        line = np.polyfit(x - middle, y, degree, w=weights) if degree else line
        weights = 1 / (1 + ((y - np.polyval(line, x - middle)) / (_AWAY * tall)) ** 2)
    return (
        np.asarray(np.poly1d(line)(np.poly1d([1, -middle])).coeffs, np.float64) if degree else np.array([0.0, line[0]])
    )


def _heights(letters: Sequence[Found], base: Floats, places: Places) -> tuple[Floats, Floats]:
    """The heights in px of capitals, by those and the like, and of small letters, by letters of shapes of their own."""
    if not letters:
        return np.zeros(0), np.zeros(0)
    boxes, classes, sure = _known(letters, places)
    tops = np.nan_to_num(places.tops[classes])
    own = np.stack([letter.shares for letter in letters])[np.arange(len(letters)), classes]
    sure &= places.shaped[classes] & (own > _SURE)
    above = np.polyval(base, boxes[:, [0, 2]].mean(1)) - boxes[:, 1]
    high = sure & (tops > _HIGH[0]) & (tops < _HIGH[1])
    low = sure & (tops > _SMALL[0]) & (tops < _SMALL[1])
    return above[high] / tops[high], above[low]
