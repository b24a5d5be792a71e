# SPDX-License-Identifier: Apache-2.0
"""Where characters stand on their line and how tall they are there, which tells c from C, and a comma from an apostrophe."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import final

import numpy as np
from numpy.typing import NDArray

from pellucid.tasks.read.alphabet import character

__all__ = ["USUAL", "Places", "Ruled", "places_of"]

_FONT = "DejaVuSans"  # it has Latin, Greek, Cyrillic, and more
_FINE = 500  # px of the font where it is measured
_LOW = 0.75  # height of its x for its H
_SMALL = 0.5  # of a capital's height: lower characters are marks
_ALIKE = 0.75  # cosine of two characters' pictures, from which their places tell them apart better
_SIDE = 24  # px of these pictures
_LOOSE = 0.11  # standard deviation of where characters begin and end, of a capital's height
_FAR = 3.5  # standard deviations beyond which a place counts no worse
USUAL = 0.68  # height of small letters for that of capitals, where a page has none of both

Floats = NDArray[np.float64]


@final
@dataclass(frozen=True)
class Ruled:
    """A line's base, and how tall its letters are."""

    base: Floats  # (2,) or (3,): polynomial of y in px by x, highest power first
    tall: float  # px: of capitals
    low: float  # of small letters without ascender, as a share of that

    def at(self, x: float) -> float:
        """The base line's y at x, px."""
        return float(np.polyval(self.base, x))


@final
@dataclass(frozen=True)
class Places:
    """The places of an alphabet's characters on a line, above the base, in heights of a capital."""

    tops: Floats  # (K,), NaN where unknown
    bottoms: Floats  # (K,)
    alike: NDArray[np.float32]  # (K, K): 1 for a character and itself, its other case, and one that looks like it
    gapped: NDArray[np.bool_]  # (K,): characters of parts side by side, as a quotation mark
    shaped: NDArray[np.bool_]  # (K,): characters of a shape that no other one has at another place

    @property
    def smallest(self) -> float:
        """How long the smallest character is, in heights of a capital."""
        return float(np.nanmin(self.tops - self.bottoms))

    @property
    def marks(self) -> NDArray[np.bool_]:
        """(K,): characters lower than half of a capital."""
        return np.asarray(self.tops - self.bottoms < _SMALL)

    def merged(self, shares: NDArray[np.float32]) -> NDArray[np.float32]:
        """Probabilities (n, K) of a character or one that looks like it, from probabilities (n, K + 1) of each and of none."""
        return np.asarray(shares[:, :-1] @ self.alike, np.float32)

    def odds(self, boxes: Floats, line: Ruled) -> Floats:
        """How probable each class (n, K) is by the places of boxes (n, 4): the log of a normal density's ratio to its peak."""
        base = np.polyval(line.base, (boxes[:, 0] + boxes[:, 2]) / 2)
        tops, bottoms = (base - boxes[:, 1]) / line.tall, (base - boxes[:, 3]) / line.tall  # (n,)
        odds = np.zeros((len(boxes), len(self.tops)))
        for seen, known in ((tops, self.tops), (bottoms, self.bottoms)):
            away = np.abs(seen[:, None] - _scaled(known, line.low)) / _LOOSE
            odds -= 0.5 * np.minimum(np.nan_to_num(away), _FAR) ** 2
        return odds


def places_of(names: Sequence[str]) -> Places | None:
    """The places of classes by their names; None where they tell nothing, as among capitals and digits alone.

    >>> places = places_of(["c", "C", ".", "p"])
    >>> places.tops.round(1).tolist(), places.alike[0].tolist(), places.shaped.tolist()
    ([0.8, 1.0, 0.2, 0.8], [1.0, 1.0, 0.0, 0.0], [False, False, True, True])
    >>> places_of(["A", "B", "0", "1"]) is None
    True
    """
    return _places(tuple(character(name) for name in names))


@lru_cache(maxsize=8)
def _places(characters: tuple[str, ...]) -> Places | None:
    from pellucid.data.embedded import glyphs

    _, top, _, bottom = glyphs.extent("H", _FONT, _FINE)
    unit = bottom - top
    tops, bottoms = np.full((2, len(characters)), np.nan)
    for k, one in enumerate(characters):
        left, top, right, bottom = glyphs.extent(one, _FONT, _FINE) if len(one) == 1 else (0, 0, 0, 0)
        if right > left:
            tops[k], bottoms[k] = -top / unit, -bottom / unit
    if not (tops - bottoms < _SMALL).any() and not _of_two_heights(characters):
        return None
    known = np.flatnonzero(~np.isnan(tops))
    pictures = glyphs.filling(_FONT, [characters[k] for k in known])  # (n, 96, 96)
    away = np.abs(np.subtract.outer(tops, tops)) + np.abs(np.subtract.outer(bottoms, bottoms))
    alike, shaped = _alike(pictures, characters, known, away > _LOOSE)
    gapped = np.zeros(len(characters), bool)
    gapped[known] = [bool((np.diff(np.flatnonzero(picture.any(0))) > 1).any()) for picture in pictures]
    return Places(tops, bottoms, alike, gapped, shaped)


def _of_two_heights(characters: Sequence[str]) -> bool:
    """Whether some letters are there as small ones, with or without their capitals."""
    return any(one.islower() for one in characters)


def _alike(
    pictures: NDArray[np.float32], characters: Sequence[str], known: NDArray[np.int64], apart: NDArray[np.bool_]
) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
    """Which characters (K, K) are one letter in two sizes, or look so when brought to one size, and which (K,) look like none.

    Args:
        pictures: (n, H, W) of the known ones.
        characters: all of them.
        known: (n,) places of those in a font.
        apart: (K, K) those whose places differ.
    """
    import torch

    from pellucid.tasks.read.preparing import prepared

    seen = prepared(torch.from_numpy(pictures)[:, None], (_SIDE, _SIDE)).flatten(1)
    seen = seen / seen.norm(dim=1, keepdim=True).clamp_min(1e-6)
    near = (seen @ seen.T).numpy() > _ALIKE
    folded = np.array([characters[k].casefold() for k in known])
    own = np.ix_(known, known)
    answer = np.eye(len(characters), dtype=np.float32)
    answer[own] = near | (folded[:, None] == folded)
    shaped = np.zeros(len(characters), bool)
    shaped[known] = ~(near & apart[own]).any(1)
    return answer, shaped


def _scaled(heights: Floats, low: float) -> Floats:
    """Heights above the base in the font, as they are where small letters are `low` times as tall as capitals."""
    above = heights - _LOW
    return np.where(
        above > 0, low + above * (1 - low) / (1 - _LOW), np.where(heights > 0, heights * low / _LOW, heights)
    )
