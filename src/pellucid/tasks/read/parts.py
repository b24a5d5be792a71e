# SPDX-License-Identifier: Apache-2.0
"""Connected parts of the ink, how tall letters are among them, and what is no letter: rules of the paper, specks, borders."""

from __future__ import annotations

from dataclasses import dataclass
from typing import final

import numpy as np
from numpy.typing import NDArray

__all__ = ["Parts", "letter_height", "parts", "without_rules"]


@final
@dataclass(frozen=True)
class Parts:
    """Connected parts of a mask; `labels` numbers them from 1, and row i of the others is of the number i + 1."""

    labels: NDArray[np.int32]  # (H, W), 0 where there is no ink
    boxes: NDArray[np.int64]  # (n, 4): x0, y0, x1, y1 in px
    areas: NDArray[np.int64]  # (n,) px

    @property
    def heights(self) -> NDArray[np.int64]:
        """(n,) px."""
        return self.boxes[:, 3] - self.boxes[:, 1]

    @property
    def widths(self) -> NDArray[np.int64]:
        """(n,) px."""
        return self.boxes[:, 2] - self.boxes[:, 0]

    @property
    def middles(self) -> NDArray[np.float64]:
        """(n, 2) x, y."""
        return np.stack([self.boxes[:, [0, 2]].mean(1), self.boxes[:, [1, 3]].mean(1)], 1)


def parts(mask: NDArray[np.bool_]) -> Parts:
    """The parts of a mask, which are connected along sides and corners."""
    import cv2

    _, labels, found, _ = cv2.connectedComponentsWithStats(mask.astype(np.uint8), connectivity=8)
    stats = np.asarray(found, np.int64)[1:]  # (n, 5): left, top, width, height, area
    corners = np.concatenate([stats[:, :2], stats[:, :2] + stats[:, 2:4]], 1)
    return Parts(np.asarray(labels, np.int32), corners, stats[:, 4])


def letter_height(found: Parts, pen: float) -> float:
    """How tall letters are in px: the height about which most of the parts' heights lie; 0 where nothing can be one.

    Each part votes with a bell of a quarter of its own height, so that scattered specks do not outvote a few alike letters.
    """
    page_h, page_w = found.labels.shape
    heights, widths = found.heights.astype(np.float64), found.widths.astype(np.float64)
    longer = np.maximum(heights, widths)
    density = found.areas / np.maximum(1, heights * widths)
    fit = (longer >= max(7.0, 2.2 * pen)) & (heights < 0.97 * page_h) & (widths < 0.6 * page_w)
    fit &= (heights > 1.5 * pen) & (widths / np.maximum(heights, 1) < 4)
    fit &= (density < 0.9) | (fit.sum() == 1)  # bars are no letters, unless there is but one
    if not fit.any():
        return 0.0
    logs = np.log(heights[fit])
    weights = np.minimum(heights[fit], 12 * max(pen, 3.0))
    grid = np.linspace(logs.min(), logs.max(), 80)
    votes = (weights * np.exp(-(((grid[:, None] - logs) / 0.25) ** 2))).sum(1)
    return float(np.exp(grid[int(votes.argmax())]))


def without_rules(mask: NDArray[np.bool_], tall: float, pen: float) -> NDArray[np.bool_]:
    """The mask without the lines and squares of the paper, which are straight, level or upright, and far longer than letters.

    What crosses them stays: only as much of a line is taken as has no ink on either side of it.
    """
    import cv2

    ink = mask.astype(np.uint8)
    long = round(max(4.5 * tall, 40))
    taken = np.zeros_like(mask)
    for across in (True, False):
        side = mask.shape[1] if across else mask.shape[0]
        if long >= side:
            continue
        joined = cv2.morphologyEx(ink, cv2.MORPH_CLOSE, np.ones((3, 5) if across else (5, 3), np.uint8))
        rules = cv2.morphologyEx(joined, cv2.MORPH_OPEN, np.ones((1, long) if across else (long, 1), np.uint8))
        if not rules.any():
            continue
        # a rule is thin: what goes on beyond it belongs to a letter
        thick = max(2, round(1.6 * pen) + 1)
        wide = cv2.morphologyEx(ink, cv2.MORPH_OPEN, np.ones((thick, 1) if across else (1, thick), np.uint8))
        grown = cv2.dilate(rules, np.ones((3, 3), np.uint8))
        taken |= np.asarray(grown, bool) & ~np.asarray(wide, bool)
    kept: NDArray[np.bool_] = mask & ~taken
    return kept
