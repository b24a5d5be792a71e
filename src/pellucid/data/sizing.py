# SPDX-License-Identifier: Apache-2.0
"""The size at which images are trained on."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from pellucid.data.dataset import Dataset

__all__ = ["training_size"]

_LARGEST = 256  # px: larger images are scaled down unless a size is given
_CROP = 128  # px of a side


def training_size(dataset: Dataset, asked: Sequence[int], crops: bool, longest: int = 224) -> tuple[int, int]:
    """(H, W) in px of the images that a model is trained on.

    This is the size asked for (a single number means a square), or the images' own size if all share one of at most 256 px,
    or of at most `longest`. Otherwise it is, for crops, the largest square that fits in the smallest image, of at most 128 px;
    for resizing, the median height and width, scaled down to at most `longest` px on the longer side.

    >>> from pellucid.data import open
    >>> training_size(open("digits"), (), crops=False), training_size(open("digits"), (12, 16), crops=False)
    ((8, 8), (12, 16))
    """
    if asked:
        return asked[0], asked[-1]
    own = dataset.size
    if own is not None and max(own) <= max(_LARGEST, longest):
        return own
    sizes = np.concatenate([split.images.sizes for split in dataset.splits.values() if len(split)])
    if crops:
        side = int(min(_CROP, sizes.min()))
        return side, side
    height, width = np.median(sizes, axis=0)
    scale = min(1.0, longest / max(height, width))
    return max(1, round(height * scale)), max(1, round(width * scale))
