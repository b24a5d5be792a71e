# SPDX-License-Identifier: Apache-2.0
"""A photographed page into text: ink, parts, letters, lines, words, and all that was found on the way."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import final

import numpy as np
from numpy.typing import NDArray

from pellucid.tasks.read import lines as by_lines
from pellucid.tasks.read.believing import is_text
from pellucid.tasks.read.crops import Look, crop, looked
from pellucid.tasks.read.ink import Inked, inked, pen_of
from pellucid.tasks.read.parting import Found, line_height, parted, pieced
from pellucid.tasks.read.parts import Parts, letter_height, parts, without_rules
from pellucid.tasks.read.placing import Places
from pellucid.tasks.read.ruling import capital_height, placed

__all__ = ["Line", "Reading", "read"]

_WORK = 1600  # px of the longer side where letters are sought first
_SMALL, _FINE = 22, 34  # px: letters lower than this are seen at a finer scale, at about that height
_CLOSER = 2.2  # times nearer, where nothing was seen
_LARGEST = 3.0  # by which a page is enlarged, at most
_SAMPLE = 60  # parts whose turn is looked at
_SHARE, _LONG = 0.4, 4  # of the parts as large as letters that are some, at least, or else letters of a line
_SINGLE, _FEW = (
    1.3,
    5,
)  # of the letters' height: longer parts are several letters, and are not looked at where others are enough
_DOUBT, _SIDEWAYS = (
    1.8,
    2.0,
)  # log-odds that a turn takes, and how many more where letters stand side by side as they lie
_BODY, _SMALL_BODY = 0.42, 0.5  # of the letters' height: what makes lines; quotation marks do not
_MARK = 0.4  # of a capital's height: what is lower is no letter by whose strokes a page is judged
_ALONG = 4.0  # how much farther a mark may stand from its line's parts along the line than across
_ASKEW = 0.6  # degrees from which a page is turned back

Box = tuple[float, float, float, float]


@final
@dataclass(frozen=True)
class Line:
    """A line's letters from left to right, and where its words begin."""

    letters: list[Found]
    starts: list[int]  # positions of the first letter of each word


@final
@dataclass
class Reading:
    """What was found on a page; coordinates of letters are those of the seen page until `back` moves them."""

    lines: list[Line]
    pen: float = 0.0  # px of the page itself, as are the others
    tall: float = 0.0
    low: float = 0.0  # height of small letters, where the alphabet has some
    light: bool = False  # light strokes on something dark
    turned: int = 0  # quarter turns counter-clockwise that righted the page
    skew: float = 0.0  # degrees by which lines fell to the right
    seen: Inked | None = None  # upright and level, as it was searched
    parts: Parts | None = None
    doubted: int = 0  # parts that may be letters, where too little speaks for a text
    matrix: NDArray[np.float64] = field(default_factory=lambda: np.eye(2, 3))  # from the seen page to the page's own px

    def back(self, box: Box) -> Box:
        """A box of the seen page, in px of the page as it was given."""
        x0, y0, x1, y1 = box
        corners = np.array([(x0, y0, 1), (x1, y0, 1), (x1, y1, 1), (x0, y1, 1)]) @ self.matrix.T
        low, high = corners.min(0), corners.max(0)
        return (float(low[0]), float(low[1]), float(high[0]), float(high[1]))


def read(image: NDArray[np.uint8], look: Look, places: Places | None = None) -> Reading:
    """Read a page.

    Args:
        image: (H, W) grey.
        look: the network.
        places: where the alphabet's characters stand on a line, if that tells them apart.
    """
    scale = min(1.0, _WORK / max(image.shape))
    page, found, tall = _seen(_resized(image, scale))
    if not tall and scale < 1:  # letters may be too small to be seen
        scale = min(1.0, _CLOSER * scale)
        page, found, tall = _seen(_resized(image, scale))
    if not tall:
        return Reading([])
    wanted = min(_LARGEST, scale * _FINE / tall)
    if tall < _SMALL and wanted > 1.2 * scale:
        scale = wanted
        page, found, tall = _seen(_resized(image, scale))
        if not tall:
            return Reading([])
    fit = _letterlike(found, tall)
    turned = _turn(look, page, found, fit, tall)
    height, width = page.mask.shape
    matrix = np.array([[1.0, 0, 0], [0, 1, 0], [0, 0, 1]])  # from the seen page to that before it
    if turned:
        page = Inked(
            np.ascontiguousarray(np.rot90(page.contrast, turned)),
            np.ascontiguousarray(np.rot90(page.mask, turned)),
            page.pen,
            page.light,
        )
        matrix = _quarter(turned, height, width)
        found = parts(page.mask)
        tall = letter_height(found, page.pen)
        fit = _letterlike(found, tall)
    askew = by_lines.skew(found.middles[fit], tall)
    if abs(askew) >= _ASKEW:
        page, level = _levelled(page, askew)
        matrix = matrix @ level
        found = parts(page.mask)
        tall = letter_height(found, page.pen) or tall
    mask = without_rules(page.mask, tall, page.pen)
    if not np.array_equal(mask, page.mask):
        page = Inked(page.contrast, mask, page.pen, page.light)
        found = parts(mask)
        tall = letter_height(found, page.pen) or tall
    if places is not None:
        tall = capital_height(found.heights[_letterlike(found, tall)], tall)
    read_lines, tall, low, doubted = _lines(look, page, found, tall, places)
    sides = image.shape[1] / _sides(image, scale)[0], image.shape[0] / _sides(image, scale)[1]
    matrix = np.diag([sides[0], sides[1], 1.0]) @ matrix
    return Reading(
        read_lines, page.pen / scale, tall / scale, low / scale, page.light, turned, askew, page, found, doubted, matrix[:2]
    )  # fmt: skip


def _sides(image: NDArray[np.uint8], scale: float) -> tuple[int, int]:
    return max(1, round(image.shape[1] * scale)), max(1, round(image.shape[0] * scale))


def _resized(image: NDArray[np.uint8], scale: float) -> NDArray[np.float32]:
    import cv2

    kind = cv2.INTER_AREA if scale < 1 else cv2.INTER_CUBIC
    small = image if scale == 1 else cv2.resize(image, _sides(image, scale), interpolation=kind)
    return small.astype(np.float32) / np.float32(255)


def _seen(grey: NDArray[np.float32]) -> tuple[Inked, Parts, float]:
    """The ink of a page, its parts, and how tall letters are; 0 where there are none."""
    import cv2

    pen, light = pen_of(grey)
    page = inked(grey, pen, light)
    depth = cv2.distanceTransform(page.mask.astype(np.uint8), cv2.DIST_L2, 3)
    if page.mask.any():  # across a stroke the distance to its edge is a quarter of its width on average
        pen = float(np.clip(4 * depth[page.mask].mean() - 2, 1.0, 2 * pen))
    page = Inked(page.contrast, page.mask, pen, light)
    found = parts(page.mask)
    return page, found, letter_height(found, pen)


def _letterlike(found: Parts, tall: float) -> NDArray[np.int64]:
    """Positions of the parts that are about as large as letters."""
    heights, widths = found.heights, found.widths
    fit = (heights > 0.45 * tall) & (heights < 2.0 * tall) & (widths < 2.2 * tall)
    return np.flatnonzero(fit)


def _turn(look: Look, page: Inked, found: Parts, fit: NDArray[np.int64], tall: float) -> int:
    """By how many quarter turns counter-clockwise the page must be turned for its letters to be upright.

    All letters of the page decide together; a page of a few is turned only if they leave no doubt.
    """
    if not len(fit):
        return 0
    upright = by_lines.upright(found.boxes[fit])
    longer = np.maximum(found.heights[fit], found.widths[fit])
    if (single := longer < _SINGLE * tall).sum() >= _FEW:  # letters that touch look like others when they are turned
        fit = fit[single]
    areas = found.areas[fit]
    chosen = fit[np.argsort(-areas, kind="stable")[: 3 * _SAMPLE]]
    if len(chosen) > _SAMPLE:
        chosen = chosen[np.linspace(0, len(chosen) - 1, _SAMPLE).astype(int)]
    crops = [crop(page, found, [int(i)]) for i in chosen]
    turned = [np.ascontiguousarray(np.rot90(one, quarter)) for quarter in range(4) for one in crops]
    shares = looked(look, turned).reshape(4, len(crops), -1)
    evidence = np.log(np.maximum(shares[:, :, :-1].max(2), 1e-4)).mean(1)  # (4,)
    best = int(evidence.argmax())
    surplus = float(evidence[best] - evidence[0]) * min(len(crops), 12)
    return best if surplus > _DOUBT + _SIDEWAYS * (upright if best % 2 else 0.0) else 0


def _quarter(turns: int, height: int, width: int) -> NDArray[np.float64]:
    """From a page after np.rot90 to that before it, (height, width) px: x, y, 1."""
    matrix = np.eye(3)
    for _ in range(turns):
        # counter-clockwise: a place (x, y) of the turned one was at (width − y, x)
        matrix = matrix @ np.array([[0.0, -1, width], [1, 0, 0], [0, 0, 1]])
        height, width = width, height
    return matrix


def _levelled(page: Inked, degrees: float) -> tuple[Inked, NDArray[np.float64]]:
    """The page turned so that its lines are level, and the way back (3, 3)."""
    import cv2

    height, width = page.mask.shape
    angle = np.deg2rad(degrees)
    cos, sin = np.cos(angle), np.sin(angle)
    new = round(width * abs(cos) + height * abs(sin)), round(width * abs(sin) + height * abs(cos))
    there = np.array([[cos, sin, 0.0], [-sin, cos, 0.0]])
    middle = there @ np.array([width / 2, height / 2, 0])
    there[:, 2] = np.array(new) / 2 - middle
    contrast = np.asarray(cv2.warpAffine(page.contrast, there, new, flags=cv2.INTER_LINEAR), np.float32)
    mask = cv2.warpAffine(page.mask.astype(np.float32), there, new, flags=cv2.INTER_LINEAR) > 0.5
    back = np.linalg.inv(np.concatenate([there, [[0, 0, 1.0]]]))
    return Inked(contrast, mask, page.pen, page.light), back


def _lines(
    look: Look, page: Inked, found: Parts, tall: float, places: Places | None
) -> tuple[list[Line], float, float, int]:
    """The lines with their letters, in reading order; none where too little speaks for a text.

    Also how tall capitals and small letters are in px, and how many letters a text would have that is not believed.
    """
    heights, widths = found.heights, found.widths
    possible = (heights < 2.3 * tall) & (widths < 9 * tall) & (found.areas >= max(4, 0.2 * page.pen**2))
    least = (_BODY if places is None else _SMALL_BODY) * tall
    body = np.flatnonzero(possible & (heights > least))
    if not len(body):
        return [], tall, 0.0, 0
    rows = by_lines.lines(found.boxes[body], tall)
    members = [[int(body[i]) for i in row] for row in rows]
    small = np.flatnonzero(possible & (heights <= least) & (np.maximum(heights, widths) > 0.5 * page.pen))
    if places is None:
        for i in small.tolist():
            _join(found, members, i, tall)
    else:
        _join_marks(found, members, small.tolist(), tall)
    letters, tall, low = _letters(look, page, found, members, tall, places)
    letters = [[letter for letter in line if letter.shares[-1] < 0.5] for line in letters]
    kept = [line for line in letters if line and _believed(line, places)]
    if sum(len(line) for line in kept) < _SHARE * len(
        body
    ):  # a thing here and there looks like a letter on any photograph
        kept = [line for line in kept if len(line) >= _LONG]
    every = [letter for line in kept for letter in line]
    judged = every if places is None else [one for one in every if one.box[3] - one.box[1] > _MARK * tall]
    if not judged or not is_text(page, judged):
        return [], tall, low, sum(len(line) for line in letters)
    boxes = np.array([letter.box for letter in every])
    numbers, start = [], 0
    for line in kept:
        numbers.append(list(range(start, start + len(line))))
        start += len(line)
    ordered = by_lines.columns(numbers, boxes, tall)
    gaps = [[float(boxes[b, 0] - boxes[a, 2]) for a, b in pairwise(line)] for line in ordered]
    own_heights = [float(np.median(boxes[line, 3] - boxes[line, 1])) if places is None else tall for line in ordered]
    starts = by_lines.word_starts(gaps, own_heights)
    return [Line([every[i] for i in line], begin) for line, begin in zip(ordered, starts, strict=True)], tall, low, 0


def _join_marks(found: Parts, members: list[list[int]], small: list[int], tall: float) -> None:
    """Put small parts with the lines that they are on or near, from the nearest on: a dash or dots go on from one another."""
    left = list(small)
    begun = [list(line) for line in members]
    while left:
        before = len(left)
        for i in list(left):
            x0, y0, x1, y1 = found.boxes[i]
            best, chosen = np.inf, -1
            for number, line in enumerate(members):
                boxes = found.boxes[line]
                across = np.maximum(0, np.maximum(boxes[:, 0] - x1, x0 - boxes[:, 2]))
                down = np.maximum(0, np.maximum(boxes[:, 1] - y1, y0 - boxes[:, 3]))
                near = np.argsort(across, kind="stable")[:3]
                body = found.boxes[begun[number]]
                beside = body[np.argsort(np.abs(body[:, [0, 2]].mean(1) - (x0 + x1) / 2), kind="stable")[:3]]
                off = max(0.0, float(beside[:, 1].min() - y1), float(y0 - beside[:, 3].max()))
                away = min(float(np.hypot(across, down).min()), float(across[near].min()) / _ALONG + off)
                if away < best:
                    best, chosen = away, number
            if chosen >= 0 and best < 0.35 * tall:
                members[chosen].append(i)
                left.remove(i)
        if len(left) == before:
            return


def _letters(
    look: Look, page: Inked, found: Parts, members: list[list[int]], tall: float, places: Places | None
) -> tuple[list[list[Found]], float, float]:
    """The letters of each line by their shapes, or by their places too, and how tall capitals and small letters are, px."""
    if places is not None:
        letters, rules = placed(look, page, found, members, tall, places)
        shown = [rule for rule, line in zip(rules, letters, strict=True) if line]
        tall = float(np.median([rule.tall for rule in shown])) if shown else tall
        return letters, tall, tall * shown[0].low if shown else 0.0
    letters = []
    for line in members:
        own = line_height(found, line, tall)
        seen = pieced(look, page, found, line, own)
        letters.append([] if seen is None else parted(seen, own))
    return letters, tall, 0.0


def _join(found: Parts, members: list[list[int]], small: int, tall: float) -> None:
    """Put a small part with the line of the letter that it is nearest to, if it is near one: a dot, a crossbar, an end of a stroke."""
    x0, y0, x1, y1 = found.boxes[small]
    best, chosen = 0.35 * tall, -1
    for number, line in enumerate(members):
        boxes = found.boxes[line]
        across = np.maximum(0, np.maximum(boxes[:, 0] - x1, x0 - boxes[:, 2]))
        down = np.maximum(0, np.maximum(boxes[:, 1] - y1, y0 - boxes[:, 3]))
        away = float(np.hypot(across, down).min())
        if away < best:
            best, chosen = away, number
    if chosen >= 0:
        members[chosen].append(small)


def _believed(line: Sequence[Found], places: Places | None) -> bool:
    """Whether a line shows letters rather than things that look a little like some."""
    shares = np.stack([letter.shares[:-1] for letter in line])
    sure = shares.max(1) if places is None else np.sort(shares, 1)[:, -2:].sum(1)  # l and I stay undecided
    return bool(np.exp(np.log(np.maximum(sure, 1e-4)).mean()) > 0.45)
