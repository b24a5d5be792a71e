# SPDX-License-Identifier: Apache-2.0
"""Letters cut out of a page's ink, without their neighbours, and what the network says of them."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from pellucid.tasks.read.ink import Inked
from pellucid.tasks.read.parts import Parts

__all__ = ["Look", "crop", "looked"]

_SIDE = 56  # px of a crop
_EDGE = 4  # px of paper around the letter
_FULL = 1.25  # by which ink is strengthened, up to full: thin strokes are paler than others
_AT_ONCE = 512

Look = Callable[[Tensor], Tensor]
"""Crops (n, 1, 56, 56) in [0, 1], dark on light, to probabilities (n, K + 1); the last is that of no letter."""


def crop(page: Inked, found: Parts, members: Sequence[int], span: tuple[int, int] | None = None) -> NDArray[np.float32]:
    """The ink of some parts alone, (56, 56), dark on light; the longer side fills the crop but for an edge of paper.

    Args:
        page: its ink.
        found: the parts.
        members: positions of the parts that are the letter.
        span: columns x0, x1 of the page that are seen; by default all of the parts.
    """
    import cv2

    boxes = found.boxes[list(members)]
    x0, y0, x1, y1 = int(boxes[:, 0].min()), int(boxes[:, 1].min()), int(boxes[:, 2].max()), int(boxes[:, 3].max())
    if span is not None:
        x0, x1 = max(x0, span[0]), min(x1, span[1])
    more = max(1, round(0.3 * page.pen))  # strokes are softer than the mask
    height, width = page.mask.shape
    a, b, c, d = max(0, x0 - more), max(0, y0 - more), min(width, x1 + more), min(height, y1 + more)
    labels = found.labels[b:d, a:c]
    own = labels == members[0] + 1
    for member in members[1:]:
        own |= labels == member + 1
    if span is not None:
        own[:, : max(0, x0 - a)] = False
        own[:, x1 - a :] = False
    if not own.any():
        return np.ones((_SIDE, _SIDE), np.float32)
    rows, columns = np.flatnonzero(own.any(1)), np.flatnonzero(own.any(0))
    seen = cv2.dilate(own.astype(np.uint8), np.ones((2 * more + 1, 2 * more + 1), np.uint8)).astype(bool)
    ink = np.clip(_FULL * page.contrast[b:d, a:c], 0, 1) * seen
    top, bottom = max(0, rows[0] - more), rows[-1] + 1 + more
    left, right = max(0, columns[0] - more), columns[-1] + 1 + more
    ink = ink[top:bottom, left:right]
    scale = (_SIDE - 2 * _EDGE) / max(ink.shape)
    sides = max(1, round(ink.shape[1] * scale)), max(1, round(ink.shape[0] * scale))
    small = cv2.resize(ink, sides, interpolation=cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR)
    picture = np.ones((_SIDE, _SIDE), np.float32)
    down, along = (_SIDE - small.shape[0]) // 2, (_SIDE - small.shape[1]) // 2
    picture[down : down + small.shape[0], along : along + small.shape[1]] -= small
    return picture


def looked(look: Look, crops: Sequence[NDArray[np.float32]]) -> NDArray[np.float32]:
    """Probabilities (n, K + 1) for crops, some at a time."""
    found = []
    for start in range(0, len(crops), _AT_ONCE):
        some = torch.from_numpy(np.stack(crops[start : start + _AT_ONCE]))[:, None]
        found.append(look(some).cpu().numpy())
    return np.concatenate(found)
