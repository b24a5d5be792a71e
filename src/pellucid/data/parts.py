# SPDX-License-Identifier: Apache-2.0
"""Photographs as parts of one size, side by side, so that a training sees all of them and not their middles alone."""

from __future__ import annotations

import threading
from collections import OrderedDict
from typing import Any, final

import numpy as np
from numpy.typing import NDArray

from pellucid.data.cropping import Crops
from pellucid.data.dataset import Images, Split
from pellucid.data.scales import Bits

__all__ = ["MOST", "Parts", "in_parts", "places"]

MOST = 8
"""Parts of an image along a side, at most: a photograph of 12 megapixels would otherwise weigh as much as hundreds of small ones."""

_KEPT = 4  # images that stay decoded while their parts are read: threads that read side by side are at one or two


@final
class Parts(Crops):
    """Parts of images, all of one size; an image is decoded once for parts that are read one after the other.

    >>> from pellucid.data.dataset import Pixels
    >>> whole = Pixels(np.arange(16, dtype=np.uint8).reshape(1, 1, 4, 4))
    >>> parts = Parts(whole, *places(whole.sizes, (2, 2)))
    >>> len(parts), parts.read(3, 1)[0].tolist()
    (4, [[10, 11], [14, 15]])
    """

    def __init__(self, images: Images, corners: NDArray[np.int64], owners: NDArray[np.int64] | None = None) -> None:
        super().__init__(images, corners, owners)
        self._lock = threading.Lock()
        self._decoded: OrderedDict[tuple[int, int, int], NDArray[Any]] = OrderedDict()

    def whole(self, owner: int, channels: int, bits: Bits) -> NDArray[Any]:
        """An image that parts are taken of, (channels, H, W); the last few stay decoded."""
        key = owner, channels, int(bits)
        with self._lock:
            found = self._decoded.get(key)
        if found is None:
            found = super().whole(owner, channels, bits)
            with self._lock:
                self._decoded[key] = found
                while len(self._decoded) > _KEPT:
                    self._decoded.popitem(last=False)
        return found


def places(sizes: NDArray[np.integer[Any]], size: tuple[int, int]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """The corners x0, y0, x1, y1 of each part in px, (P, 4), and which image it is of, (P,).

    As many parts as fit side by side, spread from edge to edge; of an image that holds only one along a side, the middle.

    >>> places(np.array([[5, 9], [4, 4]]), (4, 4))
    (array([[0, 0, 4, 4],
           [5, 0, 9, 4],
           [0, 0, 4, 4]]), array([0, 0, 1]))

    Args:
        sizes: heights and widths of the images (N, 2), px.
        size: height and width of the parts, px.
    """
    owners, corners = [], []
    for owner, own in enumerate(sizes.tolist()):
        tops, lefts = (_begins(side, want) for side, want in zip(own, size, strict=True))
        corners += [(left, top, left + size[1], top + size[0]) for top in tops for left in lefts]
        owners += [owner] * (len(tops) * len(lefts))
    return np.array(corners, np.int64).reshape(-1, 4), np.array(owners, np.int64)


def _begins(side: int, want: int) -> list[int]:
    count = min(MOST, side // want)
    if count < 2:
        return [int((side - want) / 2)]  # towards zero, as where a smaller image is padded
    begins: list[int] = np.linspace(0, side - want, count).round().astype(int).tolist()
    return begins


def in_parts(split: Split, size: tuple[int, int]) -> Split:
    """A split whose images are parts of this size.

    It is the split itself where no image holds more than one, or where there are targets other than a label.

    >>> from pellucid.data.dataset import Pixels
    >>> photographs = Split(Pixels(np.zeros((2, 1, 90, 70), np.uint8)))
    >>> len(in_parts(photographs, (32, 32))), in_parts(photographs, (64, 64)) is photographs
    (8, True)
    """
    if not len(split) or set(split.targets) - {"label", "text"}:
        return split
    corners, owners = places(split.images.sizes, size)
    if len(owners) == len(split):
        return split
    others = Split(split.images, split.targets, split.names, (), split.fit).select(owners)
    return Split(Parts(split.images, corners, owners), others.targets, others.names, (), split.fit)
