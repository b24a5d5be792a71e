# SPDX-License-Identifier: Apache-2.0
"""A picture's own known part as training images: patches of it, some of which are kept for validation and testing."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from pellucid.data.dataset import Dataset, Pixels, Split
from pellucid.data.decoding import decode
from pellucid.data.splitting import finish
from pellucid.errors import UsageError

__all__ = ["cut", "patches"]

_SIDES = (64, 48, 32, 24, 16)  # px: the largest of which there are enough patches
_LEAST = 200  # places of patches to train on
_MOST = 1000  # patches to train on
_SHARES = {"test": 0.15, "val": 0.05}  # of the picture's area in patches that are kept from training, at most

Hole = NDArray[np.bool_]


def patches(data: Dataset, mask: str) -> Dataset:
    """The patches of a data set's single picture that have no missing pixel, as a data set with three splits.

    Args:
        data: a data set of one picture.
        mask: the file of its mask, white where a pixel is missing.

    Raises:
        UsageError: there are several pictures, the mask is none of this picture, or too little of it is known.
    """
    images = [(split.images, row) for split in data.splits.values() for row in range(len(split))]
    if len(images) != 1:
        raise UsageError(
            f"on_image={mask!r}: goes with a single picture, and data={data.name!r} has {len(images):,} images; "
            "give --data PICTURE.png, or leave --on-image out."
        )
    file = Path(mask).expanduser()
    if not file.is_file():
        raise UsageError(f"on_image={mask!r}: is not a file; name an image that is white where a pixel is missing.")
    owner, row = images[0]
    picture, hole = owner.read(row, owner.channels), decode(file, 1)[0] > 127
    if hole.shape != picture.shape[1:]:
        raise UsageError(
            f"on_image={mask!r}: is {hole.shape[0]}×{hole.shape[1]} px, and the picture is {picture.shape[1]}×{picture.shape[2]} "
            "(height × width); give a mask of the same size."
        )
    if not hole.any():
        raise UsageError(f"on_image={mask!r}: leaves nothing missing; mark at least one pixel.")
    for side in _SIDES:
        places = cut(hole, side)
        if len(places["train"]) >= _LEAST and len(places["test"]) > 1 and len(places["val"]):
            splits = {part: _split(picture, own, side) for part, own in places.items()}
            note = f"Patches of {side}×{side} px from the known part of a single picture."
            return finish(data.name, splits, data.problems, notes=(*data.notes, note))
    raise UsageError(
        f"on_image={mask!r}: leaves fewer than {_LEAST} places for patches of {_SIDES[-1]}×{_SIDES[-1]} px without a missing pixel; "
        "give a larger picture, or train on other images."
    )


def cut(hole: Hole, side: int) -> dict[str, list[tuple[int, int]]]:
    """The upper left corners of patches without a missing pixel, by split; no pixel of test or val is in train or in each other.

    >>> hole = np.zeros((200, 300), bool); hole[50:90, 100:150] = True
    >>> {part: len(places) for part, places in cut(hole, 32).items()}
    {'train': 1000, 'val': 3, 'test': 9}

    Args:
        hole: (H, W), True where a pixel is missing.
        side: of the patches in px.
    """
    rng = np.random.default_rng(0)
    taken = hole.copy()
    found: dict[str, list[tuple[int, int]]] = {"train": [], "val": [], "test": []}
    for part, share in _SHARES.items():
        # at most a share of the picture, and where it is small two patches, of which one measure can be compared
        for _ in range(max(2, round(share * hole.size / side**2))):
            free = np.argwhere(_free(taken, side))
            if not len(free):
                break
            y, x = (int(k) for k in free[rng.integers(len(free))])
            found[part].append((y, x))
            taken[y : y + side, x : x + side] = True
    free = np.argwhere(_free(taken, side))
    chosen = np.sort(rng.choice(len(free), min(_MOST, len(free)), replace=False))
    found["train"] = [(int(y), int(x)) for y, x in free[chosen]]
    return found


def _free(taken: Hole, side: int) -> Hole:
    """Where a patch may begin: (H - side + 1, W - side + 1), True where none of its pixels is taken."""
    if min(taken.shape) < side:
        return np.zeros((0, 0), bool)
    sums = np.pad(taken.astype(np.int64), ((1, 0), (1, 0))).cumsum(0).cumsum(1)
    return np.asarray(sums[side:, side:] - sums[:-side, side:] - sums[side:, :-side] + sums[:-side, :-side] == 0)


def _split(picture: NDArray[np.uint8], places: list[tuple[int, int]], side: int) -> Split:
    parts = np.stack([picture[:, y : y + side, x : x + side] for y, x in places])
    return Split(Pixels(parts), {}, [f"{y},{x}" for y, x in places])
