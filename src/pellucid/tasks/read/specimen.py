# SPDX-License-Identifier: Apache-2.0
"""A page made of a data set's own letters, for data that have no pages."""

from __future__ import annotations

import unicodedata
from collections.abc import Sequence
from itertools import groupby

import numpy as np
from numpy.typing import NDArray

from pellucid._spread import evenly_spread
from pellucid.data.batches import own_size_batches
from pellucid.data.dataset import Split
from pellucid.data.targets import Label, target_of
from pellucid.tasks.read.alphabet import character
from pellucid.tasks.read.placing import places_of
from pellucid.tasks.read.preparing import SHARE, prepared

__all__ = ["laid_out", "specimen"]

_SIDE = 40  # px of a letter's picture
_LEAST, _MOST = 12, 60  # letters on the page
_WORD, _LINE = 5, 3  # letters of a word, and words of a line, at most
_GAP, _SPACE, _PITCH = 0.26, 0.9, 1.9  # of the letters' height: between letters, between words, from line to line
_PAPER, _INK = 0.86, 0.7
_CHOICE = 12  # images of a class among which one is taken


def specimen(split: Split, classes: Sequence[str], seed: int) -> tuple[NDArray[np.uint8], str]:
    """A page (H, W) with a letter of each class, and its text; which images of the letters are taken follows from the seed.

    Of a few images of each class, the one is taken whose strokes are about as wide as the others', as if one pen had written all.

    Args:
        split: images of letters, each with its label.
        classes: their names.
        seed: of the choice.
    """
    labels = target_of(split.targets, "label", Label).index.numpy()
    words = laid_out(np.unique(labels).tolist(), classes)
    rng = np.random.default_rng([seed, 17])
    drawn = [
        rng.permutation(np.flatnonzero(labels == index))[:_CHOICE] for line in words for word in line for index in word
    ]
    pictures = _pictures(split, np.concatenate(drawn).tolist())
    widths = {place: _pen(ink) for place, ink in pictures.items()}
    usual = float(np.median([widths[int(place)] for own in drawn for place in own]))
    wanted = [min(own.tolist(), key=lambda place: abs(widths[place] - usual)) for own in drawn]
    tall = SHARE * _SIDE
    places = places_of(classes)
    rows = []  # of each line, its letters' left ends, tops and pictures
    at = 0
    for line in words:
        x, row = tall, []
        for word in line:
            for index in word:
                ink = _trimmed(pictures[wanted[at]])
                lift = -ink.shape[0] / 2  # of its top below the line's middle
                if places is not None and np.isfinite(places.tops[index]):
                    top, bottom = places.tops[index] * tall, places.bottoms[index] * tall
                    ink, lift = _scaled(ink, top - bottom), tall / 2 - top
                row.append((round(x), lift, ink))
                x += ink.shape[1] + _GAP * tall
                at += 1
            x += (_SPACE - _GAP) * tall
        rows.append(row)
    width = max(left + ink.shape[1] for row in rows for left, _, ink in row) + round(tall)
    page = np.zeros((round(tall * (1.1 + _PITCH * len(rows))) + 1, width), np.float32)
    for number, row in enumerate(rows):
        middle = tall * (1 + _PITCH * number) + tall / 2
        for left, lift, ink in row:
            top = round(middle + lift)
            page[top : top + ink.shape[0], left : left + ink.shape[1]] = ink
    text = "\n".join(" ".join("".join(character(classes[index]) for index in word) for word in line) for line in words)
    return ((_PAPER - _INK * page) * 255).round().astype(np.uint8), text


def laid_out(present: Sequence[int], classes: Sequence[str]) -> list[list[list[int]]]:
    """The classes of the letters of each word of each line: every class once, evenly spread ones of many, digits apart.

    >>> [["".join("AB12345"[k] for k in word) for word in line] for line in laid_out(range(7), "AB12345")]
    [['AB', '12345', 'AB'], ['12345']]
    """
    chosen = [present[place] for place in evenly_spread(_MOST, len(present))]
    chosen *= max(1, -(-_LEAST // len(chosen)))  # of few classes several letters each
    words = []
    for _, group in groupby(chosen, key=lambda index: unicodedata.category(character(classes[index])[0])):
        own = list(group)
        words += [own[start : start + _WORD] for start in range(0, len(own), _WORD)]
    return [words[start : start + _LINE] for start in range(0, len(words), _LINE)]


def _pictures(split: Split, wanted: Sequence[int]) -> dict[int, NDArray[np.float32]]:
    """The ink of letters by their positions, (40, 40) each, bright on black."""
    places = sorted(set(wanted))
    found: dict[int, NDArray[np.float32]] = {}
    for batch in own_size_batches(split.select(places), 1, len(places)):
        ink = prepared(batch.images.float() / 255, (_SIDE, _SIDE))[:, 0]
        found |= {places[int(i)]: one.numpy() for i, one in zip(batch.index, ink, strict=True)}
    return found


def _pen(ink: NDArray[np.float32]) -> float:
    """How wide the strokes of a letter's picture are, in px: across a stroke, the distance to its edge is w / 4 + 1 / 2 on average."""
    import cv2

    depth = cv2.distanceTransform((ink > 0.5).astype(np.uint8), cv2.DIST_L2, 5)
    return 4 * float(depth[depth > 0].mean()) - 2 if (depth > 0).any() else 0.0


def _scaled(ink: NDArray[np.float32], tall: float) -> NDArray[np.float32]:
    """A letter's picture at a height in px."""
    import cv2

    sides = max(1, round(ink.shape[1] * tall / ink.shape[0])), max(1, round(tall))
    return np.asarray(cv2.resize(ink, sides, interpolation=cv2.INTER_AREA), np.float32)


def _trimmed(ink: NDArray[np.float32]) -> NDArray[np.float32]:
    """A letter's picture without the empty space around it."""
    there = ink > 0.15
    rows, columns = (np.flatnonzero(there.any(axis)) for axis in (1, 0))
    if not len(rows):
        return ink
    return ink[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
