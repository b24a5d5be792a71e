# SPDX-License-Identifier: Apache-2.0
"""Parts of images: squares around boxes, cut as the images are read, and what is beyond the edge repeats it."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from pellucid.data.dataset import Images
from pellucid.data.scales import Bits, Levels, Scale

__all__ = ["LEAST", "Crops", "cropped", "squares"]

LEAST = 2
"""px: the side of the smallest box that shows something."""


class Crops(Images):
    """A rectangular part of each image, or several of some, which may go beyond its edges.

    >>> from pellucid.data.dataset import Pixels
    >>> whole = Pixels(np.arange(16, dtype=np.uint8).reshape(1, 1, 4, 4))
    >>> Crops(whole, np.array([[2, -1, 4, 1]])).read(0, 1)[0].tolist()
    [[2, 3], [2, 3]]

    Args:
        images: that parts are taken of.
        corners: x0, y0, x1, y1 of the parts in px, (P, 4).
        owners: the position of the image that each part is of, (P,); by default each image has one.
    """

    def __init__(self, images: Images, corners: NDArray[np.int64], owners: NDArray[np.int64] | None = None) -> None:
        self.images, self.corners = images, np.asarray(corners, np.int64).reshape(-1, 4)
        self.owners = np.arange(len(images)) if owners is None else owners

    def __len__(self) -> int:
        return len(self.owners)

    @property
    def sizes(self) -> NDArray[np.int32]:
        return (self.corners[:, 2:] - self.corners[:, :2])[:, ::-1].astype(np.int32)

    @property
    def channels(self) -> int:
        return self.images.channels

    @property
    def digests(self) -> Sequence[bytes]:
        whole = self.images.digests
        return [
            hashlib.blake2b(whole[owner] + corners.tobytes(), digest_size=16).digest()
            for owner, corners in zip(self.owners.tolist(), self.corners, strict=True)
        ]

    @property
    def levels(self) -> Levels:
        return self.images.levels.select(self.owners.tolist())

    @property
    def scale(self) -> Scale | None:
        return self.images.scale

    def scaled(self, scale: Scale) -> Self:
        return type(self)(self.images.scaled(scale), self.corners, self.owners)

    def select(self, index: Sequence[int] | NDArray[np.int64]) -> Self:
        rows = np.asarray(index, np.int64)
        return type(self)(self.images, self.corners[rows], self.owners[rows])

    def read(self, index: int, channels: int, bits: Bits = 8) -> NDArray[Any]:
        return cropped(self.whole(int(self.owners[index]), channels, bits), self.corners[index])

    def whole(self, owner: int, channels: int, bits: Bits) -> NDArray[Any]:
        """An image that parts are taken of, decoded, (channels, H, W)."""
        return self.images.read(owner, channels) if bits == 8 else self.images.read(owner, channels, bits)


def cropped(image: NDArray[Any], corners: NDArray[np.int64]) -> NDArray[Any]:
    """The part of an image (C, H, W) within x0, y0, x1, y1, whole px; beyond the edge its last row or column repeats."""
    x0, y0, x1, y1 = (int(end) for end in corners)
    rows = np.arange(y0, y1).clip(0, image.shape[1] - 1)
    columns = np.arange(x0, x1).clip(0, image.shape[2] - 1)
    return np.ascontiguousarray(image[:, rows[:, None], columns[None, :]])


def squares(boxes: NDArray[np.floating[Any]], around: float) -> NDArray[np.int64]:
    """Squares (N, 4) of whole px around the middles of boxes (N, 4).

    >>> squares(np.array([[10.0, 20, 30, 24]]), around=0.25).tolist()
    [[5, 7, 35, 37]]

    Args:
        boxes: x0, y0, x1, y1 in px.
        around: how much is added on each side, in shares of the longer side.
    """
    boxes = np.asarray(boxes, np.float64).reshape(-1, 4)
    side = np.maximum(np.round((boxes[:, 2:] - boxes[:, :2]).max(1) * (1 + 2 * around)), 1)  # (N,)
    start = np.round((boxes[:, :2] + boxes[:, 2:]) / 2 - side[:, None] / 2)
    return np.concatenate([start, start + side[:, None]], 1).astype(np.int64)
