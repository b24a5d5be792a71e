# SPDX-License-Identifier: Apache-2.0
"""The 68 points of a face as iBUG 300-W numbers them (Sagonas et al. 2013), from 0: its parts, its eyes, its lines."""

from __future__ import annotations

from itertools import pairwise
from typing import Final

__all__ = ["LEFT_PUPIL", "LINES", "OUTER_EYES", "PARTS", "RIGHT_PUPIL"]

PARTS: Final = {
    "jaw": range(17),
    "eyebrows": range(17, 27),
    "nose": range(27, 36),
    "eyes": range(36, 48),
    "mouth": range(48, 68),
}
"""The points of each part."""

OUTER_EYES: Final = (36, 45)
"""The outer corners of the eyes."""

RIGHT_PUPIL: Final = range(36, 42)
LEFT_PUPIL: Final = range(42, 48)
"""The points around each eye, in whose middle its pupil is taken to be; right and left are the person's."""

_OPEN = (range(17), range(17, 22), range(22, 27), range(27, 31), range(31, 36))
_CLOSED = (range(36, 42), range(42, 48), range(48, 60), range(60, 68))

LINES: Final = tuple(
    pair for run in (*map(list, _OPEN), *([*ring, ring[0]] for ring in _CLOSED)) for pair in pairwise(run)
)
"""Pairs of points that a line joins."""
