# SPDX-License-Identifier: Apache-2.0
"""What writers share: the records that they get, and numbers that readers turn into the same floats."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import final

from pellucid.data.annotations.records import Annotated, Instance

__all__ = ["KINDS", "Sheet", "attributes", "digits", "extent", "lost", "of_image", "plain", "tidy"]

KINDS = {
    "crowd": ("crowd or difficult object", "crowds or difficult objects"),
    "no box": ("object without a box", "objects without a box"),
    "outline": ("outline that differs from its box", "outlines that differ from their boxes"),
    "runs": ("region as run lengths", "regions as run lengths"),
    "points": ("set of keypoints", "sets of keypoints"),
    "text": ("text", "texts"),
    "attribute": ("attribute of an object", "attributes of objects"),
    "label": ("class of a whole image", "classes of whole images"),
    "image text": ("text of a whole image", "texts of whole images"),
    "mask": ("mask that is not of objects", "masks that are not of objects"),
}
"""What a form may lack, one of it and several."""

_NOTHING = frozenset({"", "0", "unspecified", "unknown", "false"})  # attributes that say no more than their absence
_SHORT = 1e-10  # px: what computing with shares of a large image rounds away


@final
@dataclass(frozen=True)
class Sheet:
    """Annotated images as they are to be written."""

    classes: tuple[str, ...]  # the unused ones too
    parts: Mapping[str, Sequence[Annotated]]  # by split, in px, each with its size; `file` is a name without folders
    point_names: tuple[str, ...] = ()
    skeleton: tuple[tuple[int, int], ...] = ()  # pairs of keypoints, from 0
    mirror: tuple[int, ...] = ()  # the keypoint that each becomes in a mirror

    @property
    def instances(self) -> list[Instance]:
        """All objects."""
        return [one for own in self.parts.values() for record in own for one in record.instances]

    @property
    def points(self) -> int:
        """The largest number of keypoints of an object."""
        return max((len(one.points) for one in self.instances if one.points is not None), default=0)


def tidy(value: float) -> float:
    """A number without the errors of computing: the nearest one of six decimals, if it lies within 1e-10.

    >>> tidy(10.099999999999998), tidy(1 / 3)
    (10.1, 0.3333333333333333)
    """
    short = round(value, 6) if math.isfinite(value) else value
    return short if abs(short - value) < _SHORT else value


def plain(value: float) -> int | float:
    """A number as JSON should have it: whole ones without a point.

    >>> plain(10.0), plain(10.099999999999998)
    (10, 10.1)
    """
    value = tidy(value)
    return int(value) if value.is_integer() else value


def digits(value: float) -> str:
    """A number as text without an exponent, from which the same float is read.

    >>> digits(1e-7), digits(10.0), digits(0.1 + 0.2)
    ('0.0000001', '10', '0.30000000000000004')
    """
    if value.is_integer():
        return str(int(value))
    return f"{Decimal(repr(value)):f}"


def extent(start: float, end: float) -> float:
    """The length of a side: of six decimals at most, if that is what it is, or else what gives `end` when it is added.

    >>> extent(10.1, 30.3), 30.3 - 10.1
    (20.2, 20.200000000000003)
    """
    whole = tidy(end - start)
    if round(whole, 6) == whole:
        return whole
    return next((short for places in range(7, 17) if start + (short := round(whole, places)) == end), whole)


def attributes(one: Instance) -> dict[str, str | int | float | bool]:
    """What only some forms have of an object, as far as it is text or a number."""
    return {
        key: value
        for key, value in (one.more or {}).items()
        if isinstance(value, (str, int, float))
        and not (isinstance(value, float) and not math.isfinite(value))
        and str(value).strip().lower() not in _NOTHING
    }


def of_image(record: Annotated) -> list[str]:
    """The kinds of things that an image has as a whole, for `lost`."""
    has = {"label": record.label, "image text": record.text, "mask": record.mask}
    return [kind for kind, value in has.items() if value is not None]


def lost(form: str, kinds: Iterable[str]) -> list[str]:
    """A sentence on what a form cannot hold.

    >>> lost("YOLO", ["crowd", "crowd", "text"])
    ['YOLO cannot hold 2 crowds or difficult objects and 1 text: they are left out.']

    Args:
        form: its name.
        kinds: a key of `KINDS` for each thing that is left out.
    """
    tally = Counter(kinds)
    if not tally:
        return []
    phrases = [f"{n:,} {KINDS[kind][n > 1]}" for kind, n in tally.items()]
    listed = phrases[0] if len(phrases) == 1 else f"{', '.join(phrases[:-1])} and {phrases[-1]}"
    return [f"{form} cannot hold {listed}: {'it is' if sum(tally.values()) == 1 else 'they are'} left out."]
