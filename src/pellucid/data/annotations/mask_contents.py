# SPDX-License-Identifier: Apache-2.0
"""What masks hold: which values, how many pixels of each, and how many of them lie within regions."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from pellucid.data.annotations.mask_cache import recalled, remembered
from pellucid.data.annotations.mask_raw import Kind, Raw, raw_of
from pellucid.data.decoding import Scan, Source, in_parallel

__all__ = ["Contents", "contents_of", "looked_at"]

_MOST = 300  # values of a mask that are kept: more are no classes
_NEAR = 2  # levels to the neighbour on the right that a smooth picture may differ


class Contents(NamedTuple):
    """What one mask holds."""

    kind: Kind  # "bilevel": 1 bit; "depth": numbers that are no whole ones, or colours of more than 8 bits
    lossy: bool  # saved by a method that changes values
    values: tuple[int, ...]  # in ascending order, at most `_MOST`: numbers, or colours as 0xRRGGBB
    counts: tuple[int, ...]  # pixels of each value
    inner: tuple[int, ...]  # of these, pixels whose neighbours to the right and below have the same value
    near: float  # share of pixels that differ little from the next
    palette: tuple[int, ...] = ()  # the colour of each value
    more: bool = False  # there are more than `_MOST` values
    glass: bool = False  # it has half-transparent pixels
    step: int = 1  # from one number to the next where 2 or 4 bits are spread over 0 to 255

    @property
    def flat(self) -> float:
        """The share of pixels within regions of one value."""
        return sum(self.inner) / max(1, sum(self.counts))


def contents_of(source: Source) -> Contents:
    """What one mask holds.

    >>> import io
    >>> from PIL import Image
    >>> file = io.BytesIO()
    >>> Image.fromarray(np.array([[0, 0, 3], [0, 0, 3]], np.uint8)).save(file, "PNG")
    >>> contents_of(file.getvalue())[:5]
    ('number', False, (0, 3), (4, 2), (2, 2))
    """
    raw = raw_of(source)
    array = raw.array
    if raw.kind == "depth" or not array.size:
        return Contents(raw.kind, raw.lossy, (), (), (), 0.0)
    same = np.ones(array.shape, np.bool_)
    same[:, :-1] &= array[:, 1:] == array[:, :-1]
    same[:-1] &= array[1:] == array[:-1]
    if array.dtype == np.uint8:
        counts = np.bincount(array.reshape(-1), minlength=256)
        inner = np.bincount(array[same], minlength=256)
        found = np.flatnonzero(counts)
        counts, inner = counts[found], inner[found]
    else:
        found, counts, inner = _tallied(array, same)
    palette = () if raw.palette is None else tuple(raw.palette[found].tolist())
    own = [tuple(part[:_MOST].tolist()) for part in (found, counts, inner)]
    more = len(found) > _MOST
    return Contents(raw.kind, raw.lossy, own[0], own[1], own[2], _near(raw), palette[:_MOST], more, raw.glass, raw.step)


def _tallied(array: NDArray[Any], same: NDArray[np.bool_]) -> tuple[NDArray[Any], NDArray[Any], NDArray[Any]]:
    """Values of an array (H, W) with their pixels, and those that are inner ones; runs of equal values are counted at once."""
    flat = array.reshape(-1)
    starts = np.flatnonzero(np.r_[True, flat[1:] != flat[:-1]])
    lengths = np.diff(np.r_[starts, len(flat)])
    inner = np.add.reduceat(same.reshape(-1).astype(np.int64), starts)
    found, place = np.unique(flat[starts], return_inverse=True)
    totals = [np.bincount(place.reshape(-1), weights, len(found)).astype(np.int64) for weights in (lengths, inner)]
    return found, totals[0], totals[1]


def _near(raw: Raw) -> float:
    array = raw.array.astype(np.int64)
    planes = [array >> 16, array >> 8 & 255, array & 255] if raw.kind == "colour" else [array]
    steps = [np.abs(np.diff(plane, axis=1)) <= _NEAR for plane in planes]
    return float(np.logical_and.reduce(steps).mean()) if array.shape[1] > 1 else 1.0


def looked_at(sources: Sequence[Source], scanned: Scan) -> list[Contents | None]:
    """What masks hold, in parallel; None for one that cannot be read. What was seen before is cached by content.

    Args:
        sources: the files.
        scanned: a scan of them.
    """
    known = recalled(scanned.digests)

    def one(i: int) -> Contents | None:
        if i in scanned.problems:
            return None
        stored = known.get(scanned.digests[i], ())
        if len(stored) == len(Contents._fields):
            return Contents._make(tuple(part) if isinstance(part, list) else part for part in stored)
        try:
            return contents_of(sources[i])
        except Exception:  # as a broken file that the scan did not find
            return None

    contents = in_parallel(one, len(sources))
    fresh = {
        digest: list(own)
        for digest, own in zip(scanned.digests, contents, strict=True)
        if own is not None and len(known.get(digest, ())) != len(own)
    }
    remembered(fresh)
    return contents
