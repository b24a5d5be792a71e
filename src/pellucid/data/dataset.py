# SPDX-License-Identifier: Apache-2.0
"""A dataset: images with targets, split into train / val / test, with a content fingerprint."""

from __future__ import annotations

import hashlib
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, final

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from pellucid.data.colour import bytes_to_channels
from pellucid.data.targets import Label, Target

__all__ = ["Batch", "Dataset", "Images", "Pixels", "Split"]


class Images(ABC):
    """A sequence of images, which may not be decoded yet."""

    @abstractmethod
    def __len__(self) -> int: ...

    @property
    @abstractmethod
    def sizes(self) -> NDArray[np.int32]:
        """(N, 2) heights and widths in pixels, EXIF rotation applied."""

    @property
    @abstractmethod
    def channels(self) -> int:
        """1 if every image is grey, else 3."""

    @property
    @abstractmethod
    def digests(self) -> Sequence[bytes]:
        """N content hashes: equal bytes (a file's, or an array's pixels) give equal digests."""

    @abstractmethod
    def select(self, index: Sequence[int] | NDArray[np.int64]) -> Images:
        """The images at these positions."""

    @abstractmethod
    def read(self, index: int, channels: int) -> NDArray[np.uint8]:
        """One image decoded at its own size, (channels, H, W) uint8; raises `DataError` naming it if it is corrupt."""


@final
class Pixels(Images):
    """Images in memory, all of one size: (N, C, H, W) uint8."""

    def __init__(self, array: NDArray[np.uint8]) -> None:
        self.array = array

    def __len__(self) -> int:
        return len(self.array)

    @property
    def sizes(self) -> NDArray[np.int32]:
        return np.tile(np.array(self.array.shape[2:], np.int32), (len(self), 1))

    @property
    def channels(self) -> int:
        return int(self.array.shape[1])

    @property
    def digests(self) -> Sequence[bytes]:
        return [hashlib.blake2b(image.tobytes(), digest_size=16).digest() for image in self.array]

    def select(self, index: Sequence[int] | NDArray[np.int64]) -> Pixels:
        return Pixels(self.array[np.asarray(index, np.int64)])

    def read(self, index: int, channels: int) -> NDArray[np.uint8]:
        return bytes_to_channels(self.array[index], channels)


@final
@dataclass(frozen=True)
class Split:
    """Part of a dataset: images, their targets, and their names."""

    images: Images
    targets: Mapping[str, Target] = field(default_factory=dict)  # "label" "picture" "boxes" "mask" "points" "text"
    names: Sequence[str] = ()

    def __len__(self) -> int:
        return len(self.images)

    def select(self, index: Sequence[int] | NDArray[np.int64]) -> Split:
        """The rows at these positions, as a split."""
        rows = [int(i) for i in index]
        targets = {kind: target[rows] for kind, target in self.targets.items()}
        return Split(self.images.select(rows), targets, [self.names[i] for i in rows] if self.names else ())


@final
@dataclass(frozen=True)
class Dataset:
    """What `pellucid.data.open` returns.

    >>> from pellucid.data import open
    >>> digits = open("digits")
    >>> digits.channels, digits.size, len(digits.classes), sorted(digits.splits)
    (1, (8, 8), 10, ['test', 'train', 'val'])
    """

    name: str  # as the user gave it: "digits", a path, a hub id
    splits: Mapping[str, Split]  # "train", "val", "test"; a split may be empty, none is missing
    classes: tuple[str, ...] = ()
    problems: tuple[str, ...] = ()  # one sentence each: corrupt files, duplicates across splits, …
    fingerprint: str = ""  # hexadecimal hash of contents, targets and splits; set by `open`
    cut: str = ""  # the rule by which missing splits were cut from train; "" if none was missing

    @property
    def channels(self) -> int:
        """1 if every image is grey, else 3."""
        return max(split.images.channels for split in self.splits.values() if len(split))

    @property
    def size(self) -> tuple[int, int] | None:
        """(H, W) in pixels if all images share one size, else None."""
        sizes = np.concatenate([split.images.sizes for split in self.splits.values() if len(split)])
        same = bool((sizes == sizes[0]).all())
        return (int(sizes[0, 0]), int(sizes[0, 1])) if same else None

    @property
    def counts(self) -> dict[str, dict[str, int]]:
        """Images per split and class; {} for a dataset without labels."""
        counts: dict[str, dict[str, int]] = {}
        for name, split in self.splits.items():
            label = split.targets.get("label")
            if isinstance(label, Label):
                tally = np.bincount(label.index.numpy(), minlength=len(self.classes))
                counts[name] = {c: int(n) for c, n in zip(self.classes, tally, strict=True)}
        return counts

    def __getitem__(self, split: str) -> Split:
        return self.splits[split]

    def replace(self, **changes: Any) -> Dataset:
        """A copy with some fields changed."""
        return replace(self, **changes)


@final
@dataclass(frozen=True)
class Batch:
    """Images of one size with their targets, on one device."""

    images: Tensor  # (B, C, H, W) uint8
    targets: Mapping[str, Target]
    index: Tensor  # (B,) int64 positions in the split

    def __len__(self) -> int:
        return len(self.images)
