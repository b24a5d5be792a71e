# SPDX-License-Identifier: Apache-2.0
"""Splits put together as one."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, final

import numpy as np
from numpy.typing import NDArray

from pellucid.data.dataset import Images, Split
from pellucid.data.scales import Bits, Levels, Scale

__all__ = ["put_together"]


@final
class _Several(Images):
    """Images of several sequences in any order."""

    def __init__(self, parts: Sequence[Images], places: NDArray[np.int64]) -> None:
        self._parts, self._places = parts, places  # places count through all parts

    def __len__(self) -> int:
        return len(self._places)

    @property
    def sizes(self) -> NDArray[np.int32]:
        sizes: NDArray[np.int32] = np.concatenate([part.sizes for part in self._parts])[self._places]
        return sizes

    @property
    def channels(self) -> int:
        return max(part.channels for part in self._parts)

    @property
    def digests(self) -> Sequence[bytes]:
        every = [digest for part in self._parts for digest in part.digests]
        return [every[place] for place in self._places]

    @property
    def levels(self) -> Levels:
        return Levels.joined([part.levels for part in self._parts]).select(self._places.tolist())

    @property
    def scale(self) -> Scale | None:
        return next((part.scale for part in self._parts if part.scale is not None), None)

    def scaled(self, scale: Scale) -> Images:
        return _Several([part.scaled(scale) for part in self._parts], self._places)

    def select(self, index: Sequence[int] | NDArray[np.int64]) -> Images:
        return _Several(self._parts, self._places[np.asarray(index, np.int64)])

    def read(self, index: int, channels: int, bits: Bits = 8) -> NDArray[Any]:
        place = int(self._places[index])
        for part in self._parts:
            if place < len(part):
                return part.read(place, channels, bits)
            place -= len(part)
        raise IndexError(index)


def put_together(splits: Sequence[Split]) -> Split:
    """One split of several with the same kinds of targets, its images in the natural order of their names.

    >>> from pellucid.data import open
    >>> digits = open("digits")
    >>> whole = put_together([*digits.splits.values()])
    >>> len(whole) == sum(map(len, digits.splits.values())), len(whole.targets["label"]) == len(whole)
    (True, True)
    """
    from pellucid.data.splitting import order

    full = [split for split in splits if len(split)]
    count = sum(map(len, full))
    names = [name for split in full for name in split.names]
    annotations = [one for split in full for one in split.annotations]
    places = order(names) if len(names) == count else np.arange(count)
    kinds = full[0].targets.items()
    return Split(
        _Several([split.images for split in full], places),
        {kind: type(own).cat([split.targets[kind] for split in full])[places.tolist()] for kind, own in kinds},
        [names[i] for i in places] if names else (),
        [annotations[i] for i in places] if len(annotations) == count else (),
    )
