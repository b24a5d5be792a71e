# SPDX-License-Identifier: Apache-2.0
"""Copies of one picture: exact ones in files of any format; near ones, compressed, scaled or brightened, by how they look."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from pellucid.data.batches import resize
from pellucid.data.dataset import Split
from pellucid.data.decoding import Files
from pellucid.data.problems import counted, few

__all__ = ["near_copies", "near_pairs", "picture_digests"]

_BITS = 3  # of 64, by which the hashes of near-copies differ at most
_SIDE = 32  # px at which two images are compared
_ALIKE = 0.99  # correlation of two near-copies at that size
_PAIRS = 3_000_000_000  # hashes compared at most, which takes about ten seconds
_COMPARED = 20_000  # pairs of images compared at most
_SMALLEST = 16  # px of the shorter side; below, different drawings of one thing look alike
_ROWS = 64


def picture_digests(
    splits: Mapping[str, Split], digests: Mapping[str, list[bytes]] | None = None
) -> dict[str, list[bytes]]:
    """N digests for each split, which are equal where the decoded pixels are, whatever the files' formats.

    Where all files are JPEGs, what they code is hashed, without comments and other metadata: nothing need be decoded for it.

    Args:
        splits: the splits.
        digests: those of the contents, where they are known already.
    """
    files = {part: split.images for part, split in splits.items() if isinstance(split.images, Files)}
    coded = all(one.coded for images in files.values() for one in images.scanned.seen)
    found = {}
    for part, split in splits.items():
        if part not in files:
            found[part] = list(split.images.digests if digests is None else digests[part])
        elif coded:
            found[part] = [one.coded for one in files[part].scanned.seen]
        else:
            known = all(one.pixels for one in files[part].scanned.seen)
            scanned = files[part].scanned if known else files[part].decoded
            found[part] = [one.pixels or one.digest for one in scanned.seen]
    return found


def near_pairs(
    ours: NDArray[np.uint64], others: NDArray[np.uint64], most: int = _BITS, limit: int | None = None
) -> NDArray[np.int64]:
    """The pairs of hashes that differ in few bits, as positions (P, 2), in the order of `ours`.

    >>> near_pairs(np.array([0, 255], np.uint64), np.array([1, 2**63], np.uint64)).tolist()
    [[0, 0], [0, 1]]

    Args:
        ours: (N,) hashes of 64 bits.
        others: (M,) hashes of 64 bits.
        most: bits by which two of a pair differ at most.
        limit: pairs after which the search ends.
    """
    found, count = [np.zeros((0, 2), np.int64)], 0
    for start in range(0, len(ours), _ROWS):  # a block of (64, M) at a time
        differing = np.bitwise_count(ours[start : start + _ROWS, None] ^ others[None])
        found.append(np.argwhere(differing <= most) + np.array([start, 0]))
        count += len(found[-1])
        if limit is not None and count >= limit:
            break
    return np.concatenate(found)[:limit]


def near_copies(
    splits: Mapping[str, Split], hashes: Mapping[str, NDArray[np.uint64]], copies: Mapping[str, list[bytes]]
) -> list[str]:
    """A sentence for each pair of splits that share pictures, though not the same pixels.

    Images whose hashes nearly agree are compared themselves, at 32×32 px: of drawings on an empty ground many look alike to
    a hash.

    Args:
        splits: train, val and test.
        hashes: (N,) perceptual hashes of each split's images.
        copies: N digests of each split's pixels; equal ones are exact copies, which are named elsewhere.
    """
    sentences = []
    parts = [part for part in splits if len(splits[part])]
    for i, one in enumerate(parts):
        for other in parts[i + 1 :]:
            if len(splits[one]) * len(splits[other]) > _PAIRS:
                sentences.append(
                    f"Near-copies between {one} and {other} were not looked for: there are too many images."
                )
                continue
            pairs = near_pairs(hashes[other], hashes[one], limit=_COMPARED)
            cut = len(pairs) == _COMPARED
            exact = set(copies[one])
            pairs = pairs[[copies[other][int(j)] not in exact for j in pairs[:, 0]]]
            alike = _alike(splits[other], splits[one], pairs)
            places = list(dict.fromkeys(alike[:, 0].tolist()))
            if places:
                names = few([splits[other].names[j] for j in places])
                sentences.append(
                    f"{'At least ' if cut else ''}{counted(len(places))} of {other} nearly {'equals' if len(places) == 1 else 'equal'} "
                    f"one of {one} ({names}; the first looks like {splits[one].names[alike[0, 1]]}): measures on {other} may be "
                    "too optimistic."
                )
            elif cut:
                sentences.append(
                    f"Near-copies between {one} and {other}: only the first {_COMPARED:,} pairs of similar images were compared; "
                    "none of these is a copy."
                )
    return sentences


def _alike(ours: Split, others: Split, pairs: NDArray[np.int64]) -> NDArray[np.int64]:
    """The pairs of images that show the same picture, up to brightness and contrast."""
    large = [split.images.sizes.min(1) >= _SMALLEST for split in (ours, others)]
    pairs = pairs[large[0][pairs[:, 0]] & large[1][pairs[:, 1]]]
    if not len(pairs):
        return pairs
    sides = []
    for split, column in ((ours, pairs[:, 0]), (others, pairs[:, 1])):
        unique, place = np.unique(column, return_inverse=True)
        small = np.stack([resize(split.images.read(int(i), 1), (_SIDE, _SIDE))[0].ravel() for i in unique])
        centred = small.astype(np.float64) - small.mean(1, keepdims=True)
        centred /= np.linalg.norm(centred, axis=1, keepdims=True) + 1e-9
        sides.append(centred[place])  # (P, 1024), each of length 1
    same: NDArray[np.bool_] = (sides[0] * sides[1]).sum(1) >= _ALIKE
    return pairs[same]
