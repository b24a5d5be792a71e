# SPDX-License-Identifier: Apache-2.0
"""To which size images are brought for a training, where they have sizes of their own."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from pellucid.data.dataset import Dataset

__all__ = ["training_size"]

_LARGEST = 256  # px: larger images are brought down unless a size is asked for
_CROP, _RESIZED = 128, 224  # px


def training_size(dataset: Dataset, asked: Sequence[int], crops: bool) -> tuple[int, int]:
    """(H, W) in px to which the training images are brought.

    Asked for (one number: a square), or the images' own if they share one of at most 256 px; else, for crops, a square of at
    most 128 px that fits the smallest image, and for resizing the median height and width, brought down to 224 px on the
    longer side.

    >>> from pellucid.data import open
    >>> training_size(open("digits"), (), crops=False), training_size(open("digits"), (12, 16), crops=False)
    ((8, 8), (12, 16))
    """
    if asked:
        return asked[0], asked[-1]
    own = dataset.size
    if own is not None and max(own) <= _LARGEST:
        return own
    sizes = np.concatenate([split.images.sizes for split in dataset.splits.values() if len(split)])
    if crops:
        side = int(min(_CROP, sizes.min()))
        return side, side
    height, width = np.median(sizes, axis=0)
    scale = min(1.0, _RESIZED / max(height, width))
    return max(1, round(height * scale)), max(1, round(width * scale))
