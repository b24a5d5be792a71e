# SPDX-License-Identifier: Apache-2.0
"""What an error is divided by, so that large and small faces count alike; each has its own name, as they differ."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from pellucid.errors import UsageError
from pellucid.tasks.landmarks.faces import LEFT_PUPIL, OUTER_EYES, RIGHT_PUPIL

__all__ = ["BOX", "NAMED", "Normaliser", "distances", "normaliser_of", "of_face", "title"]

Floats: TypeAlias = NDArray[np.float64]
Normaliser: TypeAlias = str | tuple[int, int]
"""A name, or two points by their numbers from 0."""

BOX = "box"
NAMED: dict[str, str] = {
    "outer_eyes": "distance of the outer eye corners",
    "pupils": "distance of the pupils",
    BOX: "diagonal of the box around the points",
}
_LEAST = 1e-6  # of the box's diagonal: rounding makes no distance of a profile's eyes


def of_face(normaliser: Normaliser) -> bool:
    """Whether a normaliser is known for the 68 points of a face alone."""
    return normaliser in ("outer_eyes", "pupils")


def normaliser_of(asked: Sequence[str]) -> Normaliser | None:
    """The normaliser that words ask for; None where there are none.

    >>> normaliser_of(["box"]), normaliser_of(["3", "7"]), normaliser_of([])
    ('box', (2, 6), None)

    Raises:
        UsageError: they are neither a known name nor two different numbers from 1.
    """
    if not asked:
        return None
    if len(asked) == 1 and asked[0] in NAMED:
        return asked[0]
    numbers = [int(word) for word in asked if word.isdecimal() and int(word) > 0]
    if len(asked) == len(numbers) == 2 and numbers[0] != numbers[1]:
        return numbers[0] - 1, numbers[1] - 1
    raise UsageError(
        f"normaliser={' '.join(asked)!r}: is not known; give {', '.join(NAMED)}, or the numbers of two points, e.g. 37 46."
    )


def title(normaliser: Normaliser) -> str:
    """A normaliser in words.

    >>> title((2, 6))
    'distance of points 3 and 7'
    """
    if isinstance(normaliser, str):
        return NAMED[normaliser]
    return f"distance of points {normaliser[0] + 1} and {normaliser[1] + 1}"


def distances(normaliser: Normaliser, xy: NDArray[np.floating]) -> Floats:
    """The normaliser of each image (N,) in px, from its true points (N, K, 2); 0 where it has none.

    A pupil is the middle of the six points around its eye. A distance is 0 where a point is missing, or where two points are in
    one place, as the eyes of a profile may be.

    >>> distances("box", np.array([[[0, 0], [3, 4], [np.nan, np.nan]]])).tolist()
    [5.0]
    """
    places = np.asarray(xy, np.float64)
    low, high = (
        end(places, 1, initial=start, where=~np.isnan(places)) for end, start in ((np.min, np.inf), (np.max, -np.inf))
    )
    diagonal = np.linalg.norm(np.where(high >= low, high - low, 0.0), axis=1)  # (N,)
    if normaliser == BOX:
        return np.asarray(diagonal, np.float64)
    if normaliser == "pupils":
        one, other = places[:, list(RIGHT_PUPIL)].mean(1), places[:, list(LEFT_PUPIL)].mean(1)
    else:
        first, second = OUTER_EYES if isinstance(normaliser, str) else normaliser
        one, other = places[:, first], places[:, second]
    apart = np.linalg.norm(one - other, axis=1)
    return np.where(apart > _LEAST * diagonal, apart, 0.0)  # false for NaN
