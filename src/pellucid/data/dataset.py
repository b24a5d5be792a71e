# SPDX-License-Identifier: Apache-2.0
"""A dataset: images with targets, split into train / val / test, with a content fingerprint."""

from __future__ import annotations

import hashlib
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, final

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from pellucid.data.colour import bytes_to_channels
from pellucid.data.fits import Fit
from pellucid.data.scales import Bits, Levels, Scale, natural, unfit
from pellucid.data.targets import Label, Target

if TYPE_CHECKING:
    from pellucid.data.annotations.records import Annotated

__all__ = ["Batch", "Dataset", "Images", "Pixels", "Split"]

_BLOCK = 1024  # images whose values are scaled at a time


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

    @property
    def hashes(self) -> NDArray[np.uint64]:
        """(N,) difference hashes: near-copies differ in a few of 64 bits."""
        from pellucid.data.decoding.scanning import difference_hash

        looks = [difference_hash(self.read(i, self.channels)) for i in range(len(self))]
        return np.frombuffer(b"".join(looks), ">u8").astype(np.uint64)

    @property
    def levels(self) -> Levels:
        """The smallest and the largest values of images with more than 8 bits."""
        return Levels.none(len(self))

    @property
    def scale(self) -> Scale | None:
        """What is black and white in images with more than 8 bits."""
        return None

    def scaled(self, scale: Scale) -> Images:
        """The same images on this scale; those of 8 bits stay as they are."""
        return self

    @abstractmethod
    def select(self, index: Sequence[int] | NDArray[np.int64]) -> Images:
        """The images at these positions."""

    @abstractmethod
    def read(self, index: int, channels: int, bits: Bits = 8) -> NDArray[Any]:
        """One image decoded at its own size, (channels, H, W) uint8 or uint16; raises `DataError` naming it if it is corrupt."""


@final
class Pixels(Images):
    """Images in memory, all of one size: (N, C, H, W) uint8, or numbers of any other type, which a scale makes uint8."""

    def __init__(self, array: NDArray[Any], scale: Scale | None = None) -> None:
        self.array = array
        self._scale = scale
        self._levels: Levels | None = None

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
        # of floats in [0, 1], the first 8 bits count: rounding errors make no new image
        rounded = self.array.dtype.kind == "f" and natural(self.levels) is not None
        images = np.rint(self.array * 255.0).astype(np.uint8) if rounded else self.array
        return [hashlib.blake2b(image.tobytes(), digest_size=16).digest() for image in images]

    @property
    def levels(self) -> Levels:
        if self.array.dtype == np.uint8:
            return Levels.none(len(self))
        if self._levels is None:
            inner = tuple(range(1, self.array.ndim))
            lows, highs = (end(self.array, axis=inner).astype(np.float64) for end in (np.min, np.max))
            self._levels = Levels(lows, highs, np.full(len(self), self.array.dtype.kind == "f"))
        return self._levels

    @property
    def scale(self) -> Scale | None:
        return self._scale

    def scaled(self, scale: Scale) -> Pixels:
        return Pixels(self.array, scale)

    def select(self, index: Sequence[int] | NDArray[np.int64]) -> Pixels:
        return Pixels(self.array[np.asarray(index, np.int64)], self._scale)

    def read(self, index: int, channels: int, bits: Bits = 8) -> NDArray[Any]:
        return bytes_to_channels(self._seen(self.array[index], bits), channels)

    def _seen(self, image: NDArray[Any], bits: Bits) -> NDArray[Any]:
        """Values (…, H, W) as levels of black to white."""
        if image.dtype == np.uint8:
            return image if bits == 8 else image.astype(np.uint16) * 257
        scale = self._scale or natural(self.levels)
        if scale is None:
            raise unfit("images", self.levels)
        levels: NDArray[Any] = scale.levels(image, bits)
        return levels

    def seen(self, bits: Bits = 8) -> NDArray[Any]:
        """All images as levels of black to white, (N, C, H, W) uint8 or uint16, some at a time; 8 bits without a copy."""
        if self.array.dtype == np.uint8 and bits == 8:
            return self.array
        levels = np.empty(self.array.shape, np.uint8 if bits == 8 else np.uint16)
        for start in range(0, len(self), _BLOCK):
            levels[start : start + _BLOCK] = self._seen(self.array[start : start + _BLOCK], bits)
        return levels


@final
@dataclass(frozen=True)
class Split:
    """Part of a dataset: images, their targets, and their names."""

    images: Images
    targets: Mapping[str, Target] = field(default_factory=dict)  # "label" "picture" "boxes" "mask" "points" "text"
    names: Sequence[str] = ()
    annotations: Sequence[
        Annotated
    ] = ()  # of each image as mended, in px of the upright image; () where none were read
    fit: Fit = "squash"  # how its images come to one size, as the task asks for it

    def __len__(self) -> int:
        return len(self.images)

    def select(self, index: Sequence[int] | NDArray[np.int64]) -> Split:
        """The rows at these positions, as a split."""
        rows = [int(i) for i in index]
        targets = {kind: target[rows] for kind, target in self.targets.items()}
        names = [self.names[i] for i in rows] if self.names else ()
        annotations = [self.annotations[i] for i in rows] if self.annotations else ()
        return Split(self.images.select(rows), targets, names, annotations, self.fit)


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
    notes: tuple[str, ...] = ()  # one sentence each: how the images are read
    cut: str = ""  # the rule by which missing splits were cut from train; "" if none was missing
    mask_classes: tuple[str, ...] = ()  # the name of each number in the masks
    point_names: tuple[str, ...] = ()  # of each keypoint; () where nothing names them
    skeleton: tuple[tuple[int, int], ...] = ()  # pairs of keypoints that a line joins, from 0
    mask_colours: tuple[int, ...] = ()  # of each number in the masks, 0xRRGGBB; () where the data do not tell

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
    def scale(self) -> Scale | None:
        """What is black and white in images with more than 8 bits; None where all have 8."""
        return next((split.images.scale for split in self.splits.values() if split.images.scale is not None), None)

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

    @property
    def record(self) -> dict[str, Any]:
        """What run.json says of it."""
        scale = self.scale
        return {
            "what": self.name,
            "fingerprint": self.fingerprint,
            "cut": self.cut,
            "classes": list(self.classes),
            "counts": self.counts,
            "images": {name: len(split) for name, split in self.splits.items()},
            "channels": self.channels,
            "range": None if scale is None else [scale.low, scale.high],
            "floats": scale is not None and scale.floats,
            "problems": list(self.problems),
        }

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
