# SPDX-License-Identifier: Apache-2.0
"""Simple methods in the network's place, on letters prepared as for it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import numpy as np
import torch

from pellucid.data.batches import own_size_batches
from pellucid.data.dataset import Pixels, Split
from pellucid.tasks._records import Records
from pellucid.tasks.classify import Classify
from pellucid.tasks.read.preparing import prepared

__all__ = ["measured", "seen"]

_SIDE = 24  # px: letters are seen as small pictures
_AT_ONCE = 512


def measured(train: Split, test: Split, seed: int) -> Mapping[str, Records]:
    """The records of the majority class, nearest neighbours and logistic regression."""
    if not len(train):
        return {}
    return Classify().baselines(seen(train), seen(test), (_SIDE, _SIDE), seed)


def seen(split: Split) -> Split:
    """The same letters as pictures of their ink, (1, 24, 24)."""
    pictures = np.zeros((len(split), 1, _SIDE, _SIDE), np.uint8)
    for batch in own_size_batches(split, 1, _AT_ONCE):
        ink = prepared(batch.images.float() / 255, (_SIDE, _SIDE))
        pictures[batch.index.numpy()] = (ink * 255).round().to(torch.uint8).numpy()
    return replace(split, images=Pixels(pictures))
