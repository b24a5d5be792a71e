# SPDX-License-Identifier: Apache-2.0
"""Outlines of what annotation tools let people draw: turned boxes, ellipses, painted patches."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from pellucid.data.annotations.reading import Fault, number, numbers, shown
from pellucid.data.annotations.records import Corners, RunLengths

__all__ = ["around", "corners_of", "ellipse", "pairs", "patch", "size_of", "turned"]

_VERTICES = 64  # of the polygon that stands for an ellipse
_LARGEST = 10**9  # px that no side of an image has


def turned(points: NDArray[np.float64], degrees: float, pivot: tuple[float, float]) -> NDArray[np.float64]:
    """Points (k, 2) turned clockwise about a pivot, as seen in the image, where y points down.

    >>> turned(np.array([[300.0, 0.0]]), 90, (0, 0)).tolist()
    [[0.0, 300.0]]
    """
    quarter, rest = divmod(degrees, 90)
    # whole quarters are exact: no box reaches 1e-14 px beyond its image
    cos, sin = (
        ((1, 0), (0, 1), (-1, 0), (0, -1))[int(quarter) % 4]
        if rest == 0
        else (math.cos(math.radians(degrees)), math.sin(math.radians(degrees)))
    )
    x, y = (points - pivot).T
    return np.stack([cos * x - sin * y, sin * x + cos * y], 1) + pivot


def corners_of(box: Corners) -> NDArray[np.float64]:
    """The four corners (4, 2) of a box, clockwise from the upper left one."""
    x0, y0, x1, y1 = box
    return np.array([[x0, y0], [x1, y0], [x1, y1], [x0, y1]], np.float64)


def around(points: NDArray[np.float64]) -> Corners:
    """The smallest upright box around points (k, 2).

    >>> around(np.array([[1.0, 2], [5, 2], [3, 7]]))
    (1.0, 2.0, 5.0, 7.0)
    """
    return (*points.min(0).tolist(), *points.max(0).tolist())


def ellipse(
    centre: tuple[float, float], radii: tuple[float, float], degrees: float = 0.0
) -> tuple[NDArray[np.float64], Corners]:
    """A polygon (64, 2) of an ellipse's area, and the exact upright box around the ellipse.

    >>> ellipse((50, 40), (20, 10), 90)[1]
    (40.0, 20.0, 60.0, 60.0)

    Args:
        centre: as (x, y).
        radii: along x and along y before it is turned.
        degrees: how far it is turned about its centre, clockwise.
    """
    (x, y), (rx, ry) = centre, (abs(radii[0]), abs(radii[1]))
    angles = np.arange(_VERTICES) * (2 * math.pi / _VERTICES)
    wider = math.sqrt(2 * math.pi / _VERTICES / math.sin(2 * math.pi / _VERTICES))  # the polygon has the ellipse's area
    upright = np.stack([x + wider * rx * np.cos(angles), y + wider * ry * np.sin(angles)], 1)
    axes = turned(np.array([[rx, 0.0], [0.0, ry]]), degrees, (0, 0))
    half = np.hypot(*axes).tolist()
    return turned(upright, degrees, centre), (x - half[0], y - half[1], x + half[0], y + half[1])


def pairs(written: object) -> NDArray[np.float64]:
    """Points (k, 2) from a list of pairs.

    >>> pairs([[1, 2], ["3", 4.5]]).tolist()
    [[1.0, 2.0], [3.0, 4.5]]

    Raises:
        Fault: it is none.
    """
    if not isinstance(written, list):
        raise Fault(f"its points are {shown(written)}, not a list")
    found = [numbers(pair, "a point") for pair in written]
    if any(len(pair) != 2 for pair in found):
        raise Fault("a point has not exactly two numbers")
    return np.array(found, np.float64).reshape(-1, 2)


def patch(inside: NDArray[np.bool_], left: int, top: int, size: tuple[int, int]) -> RunLengths:
    """A painted patch (h, w) at a place of its image as run lengths; what lies beyond the image is cut off.

    >>> patch(np.array([[True, True]]), 1, 0, (2, 3))
    RunLengths(size=(2, 3), counts=(2, 1, 1, 1, 1))
    """
    height, width = size
    rows, columns = np.nonzero(inside)
    rows, columns = rows + top, columns + left
    within = (rows >= 0) & (rows < height) & (columns >= 0) & (columns < width)
    flat = np.sort(columns[within] * height + rows[within])  # column by column
    if not len(flat):
        return RunLengths(size, (height * width,))
    breaks = np.flatnonzero(np.diff(flat) != 1)
    starts = flat[np.concatenate([[0], breaks + 1])]
    ends = flat[np.concatenate([breaks, [len(flat) - 1]])] + 1
    edges = np.stack([starts, ends], 1).reshape(-1)
    return RunLengths(size, tuple(np.diff([0, *edges.tolist(), height * width]).tolist()))


def size_of(height: object, width: object) -> tuple[int, int] | None:
    """(H, W) as annotations state it, None where they do not.

    >>> size_of("480", 640.0), size_of(None, 3), size_of(0, 0)
    ((480, 640), None, None)

    Raises:
        Fault: it is no size.
    """
    if height is None or width is None:
        return None
    sides = {"height": number(height, "height"), "width": number(width, "width")}
    if not any(sides.values()):
        return None
    for title, side in sides.items():
        if not (side.is_integer() and 0 < side <= _LARGEST):
            raise Fault(f"the image's {title} is {side:g}, not a number of px")
    return int(sides["height"]), int(sides["width"])
