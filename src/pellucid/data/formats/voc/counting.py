# SPDX-License-Identifier: Apache-2.0
"""Whether boxes count pixels from 0 or from 1, which the form defines and not every writer keeps to."""

from __future__ import annotations

import math
from collections.abc import Sequence

from pellucid.data.annotations.records import Corners, Instance
from pellucid.data.annotations.writing.sheets import tidy
from pellucid.data.formats.voc.files import Written
from pellucid.files import as_text

__all__ = ["edges", "from_one"]


def from_one(every: Sequence[Written]) -> tuple[bool, str]:
    """Whether the boxes of a whole data set count from 1, and the sentence that says why; "" without any box.

    A number below 1 shows that they count from 0. Otherwise they count from 1, as the form defines: the first pixel is 1,
    and the last one of a row of W pixels is W. One number cannot tell this for its own image, but all together do.
    """
    least, where, touching, total = math.inf, "", 0, 0
    noted = sum(content.noted for content in every)
    for content in every:
        if content.noted:
            continue
        height, width = content.size or (0, 0)
        for one in content.instances:
            if one.box is None or not _has_area(one.box):
                continue
            total += 1
            left, right = sorted(one.box[::2])
            top, bottom = sorted(one.box[1::2])
            touching += right == width or bottom == height
            if min(left, top) < least:
                least, where = min(left, top), content.source
    if noted:
        return not least < 1, "Boxes count from 1, as a note in the files says."
    if not total:
        return False, ""
    if least < 1:
        return False, f"Boxes count from 0: the least of their numbers is {least:g} ({as_text(where)})."
    if touching:
        verb = "box touches" if touching == 1 else "boxes touch"
        return True, f"Boxes count from 1: no number is below 1, and {touching:,} {verb} the last column or row."
    return True, "Boxes count from 1, as Pascal VOC defines: no number is below 1, and nothing else decides."


def edges(one: Instance, first: bool, noted: bool = False) -> Instance:
    """An object with the edges of its box instead of the numbers of its first and last pixels, where these count from 1.

    >>> edges(Instance(box=(1, 1, 200, 100)), True).box
    (0, 0, 200, 100)

    Args:
        one: as written.
        first: whether the first pixel is 1.
        noted: whether a note says so, of a box that may be narrower than a pixel.
    """
    if noted and one.box is not None:
        left, top, right, bottom = one.box
        return one.replace(box=(tidy(left - 1), tidy(top - 1), right, bottom))
    # a box whose corners coincide has no area, by everyone's reading; as one pixel it would get some
    if not first or one.box is None or not _has_area(one.box):
        return one
    x0, y0, x1, y1 = one.box
    (x0, x1), (y0, y1) = _wider(x0, x1), _wider(y0, y1)
    return one.replace(box=(x0, y0, x1, y1))


def _wider(start: float, end: float) -> tuple[float, float]:
    return (start - 1, end) if start < end else (start, end - 1)  # exchanged corners stay so, and are named


def _has_area(box: Corners) -> bool:
    return all(map(math.isfinite, box)) and box[0] != box[2] and box[1] != box[3]
