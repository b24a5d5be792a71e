# SPDX-License-Identifier: Apache-2.0
"""Images as a user gives them (files, folders, globs, arrays, Pillow images), as named images."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, final

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from pellucid.data.dataset import Images, Pixels, Split
from pellucid.data.decoding import Files, Source, decode, from_pillow, in_parallel, remember_faults, scan
from pellucid.data.decoding.deep import DEEP
from pellucid.data.named_files import NamedFile, image_files, is_litter, names_of
from pellucid.data.scales import Bits, Levels, Scale, natural, unfit
from pellucid.errors import DataError, UsageError

__all__ = ["Arrays", "Encoded", "UserImages", "decodable", "gather", "named"]

_NOISE = 0.5  # by which noise takes floats out of [0, 1], at most


@final
class Arrays(Images):
    """Images in memory, each (C, H, W) uint8 or uint16 at its own size."""

    def __init__(self, arrays: Sequence[NDArray[Any]], scale: Scale | None = None) -> None:
        self.arrays = arrays
        self._scale = scale

    def __len__(self) -> int:
        return len(self.arrays)

    @property
    def sizes(self) -> NDArray[np.int32]:
        return np.array([array.shape[1:] for array in self.arrays], np.int32).reshape(-1, 2)

    @property
    def channels(self) -> int:
        return max(int(array.shape[0]) for array in self.arrays)

    @property
    def digests(self) -> Sequence[bytes]:
        return [digest for array in self.arrays for digest in Pixels(array[None]).digests]

    def select(self, index: Sequence[int] | NDArray[np.int64]) -> Arrays:
        return Arrays([self.arrays[int(i)] for i in index], self._scale)

    @property
    def levels(self) -> Levels:
        return Levels.joined([Pixels(array[None]).levels for array in self.arrays]) if self.arrays else Levels.none(0)

    @property
    def scale(self) -> Scale | None:
        return self._scale

    def scaled(self, scale: Scale) -> Arrays:
        return Arrays(self.arrays, scale)

    def read(self, index: int, channels: int, bits: Bits = 8) -> NDArray[Any]:
        return Pixels(self.arrays[index][None], self._scale).read(0, channels, bits)


@final
@dataclass(frozen=True)
class Encoded:
    """An image file's bytes under a name, as an upload has them; nothing is written to the disk."""

    name: str
    content: bytes = field(repr=False)


@final
@dataclass(frozen=True)
class UserImages:
    """The images of a user with their names, in the order given."""

    names: Sequence[str]  # of all of them, those that cannot be read included
    split: Split  # all but the floating-point arrays
    places: Sequence[int]  # position in the order given of each image of `split`
    floats: dict[int, Tensor] = field(default_factory=dict)  # position -> (C, H, W) in [0, 1], never rounded
    faults: dict[int, str] = field(default_factory=dict)  # position -> why the image cannot be read
    scales: dict[int, Scale] = field(default_factory=dict)  # position -> black and white of more than 8 bits
    pages: dict[int, int] = field(
        default_factory=dict
    )  # position -> pages of a file that has several; the first is read

    def only(self, places: Iterable[int]) -> UserImages:
        """Those at some positions, under the positions and names that they have."""
        wanted = set(places)
        rows = [row for row, place in enumerate(self.places) if place in wanted]
        floats = {place: image for place, image in self.floats.items() if place in wanted}
        return replace(self, split=self.split.select(rows), places=[self.places[row] for row in rows], floats=floats)

    def by_channels(self) -> dict[int, UserImages]:
        """The grey and the colour images apart, each under its number of channels."""
        stored = self.split.images
        if isinstance(stored, Files):
            own = dict(zip(self.places, stored.scanned.channels.tolist(), strict=True))
        else:
            own = {place: stored.select([row]).channels for row, place in enumerate(self.places)}
        own |= {place: len(image) for place, image in self.floats.items()}
        return {count: self.only(place for place in own if own[place] == count) for count in sorted({*own.values()})}


def gather(images: Any, scale: Scale | None = None, noisy: bool = False) -> UserImages:
    """Collect images from whatever was given.

    >>> given = gather([np.zeros((4, 6), np.uint8), np.ones((4, 6, 3))])
    >>> list(given.names), given.split.images.sizes.tolist(), given.floats[1].shape
    (['image_0', 'image_1'], [[4, 6]], torch.Size([3, 4, 6]))

    Args:
        images: a file, folder or glob; an array (H, W), (H, W, C) or (N, H, W, C) or a tensor (H, W), (C, H, W) or
            (N, C, H, W), uint8, whole numbers of more bits, or float in [0, 1]; a Pillow image; a list of any of these; or a
            list of files' bytes (`Encoded`). What is gathered already stays as it is.
        scale: black and white of images with more than 8 bits, that of a training; by default their natural one, together.
        noisy: floats may leave [0, 1] by up to 0.5, as noise makes them do.

    Raises:
        UsageError: a path or glob without images, an array that is not an image, or no images at all.
    """
    if isinstance(images, UserImages):
        return images
    files: list[NamedFile] = []
    arrays: list[NDArray[Any]] = []
    several = images if isinstance(images, (list, tuple)) else [images]
    encoded = [one for one in several if isinstance(one, Encoded)]
    if encoded and len(encoded) == len(several):
        return named([one.name for one in encoded], [one.content for one in encoded], scale)
    for one in several:
        if isinstance(one, (str, Path)):
            if len(several) > 1 and is_litter(Path(one).name):  # of a glob that the shell has resolved
                continue
            files += image_files(str(one))
        else:
            arrays += _arrays(one, scale, noisy)
    if files and arrays:
        raise UsageError("images=[…]: mixes files and arrays; give one or the other.")
    if not files and not arrays:
        raise UsageError("images=[]: is empty; give files, folders, globs, arrays or Pillow images.")
    if files:
        return named(names_of(files), [file.path for file in files], scale)
    return _given_arrays(arrays, scale)


def decodable(given: UserImages, channels: int | None = None, size: tuple[int, int] | None = None) -> UserImages:
    """The same images, with damage that only decoding finds among the faults; for use after decoding some has failed.

    Args:
        given: the images.
        channels: with which they are read, 1 or 3; by default their own.
        size: (H, W) in px at which they are read; by default their own.
    """
    stored = given.split.images
    if not isinstance(stored, Files):
        return given

    def fault(row: int) -> str:
        try:
            decode(stored.sources[row], channels, stored.names[row] if stored.names else "", size, stored.scale)
        except DataError as fault:
            return str(fault)
        return ""

    found = {row: sentence for row, sentence in enumerate(in_parallel(fault, len(stored))) if sentence}
    remember_faults(stored.sources, found)
    good = [row for row in range(len(stored)) if row not in found]
    places = [given.places[row] for row in good]
    faults = {**given.faults, **{given.places[row]: sentence for row, sentence in found.items()}}
    return replace(given, split=given.split.select(good), places=places, faults=faults)


def named(
    names: Sequence[str], sources: Sequence[Source], scale: Scale | None = None, lost: Mapping[int, str] | None = None
) -> UserImages:
    """Files, or their bytes, under names; those that could not be read are `lost`, by position, each with a sentence on why.

    >>> named(["a.png"], [b""], lost={0: "image='a.png': cannot be read, because the server is away; …"}).faults
    {0: "image='a.png': cannot be read, because the server is away; …"}
    """
    titles = [name if isinstance(source, bytes) else "" for name, source in zip(names, sources, strict=True)]
    given = _scanned(
        names,
        Files(sources, titles, scan(sources, titles, quick=all(isinstance(one, bytes) for one in sources))),
        scale,
    )
    return given if not lost else replace(given, faults={**given.faults, **lost})


def _scanned(names: Sequence[str], images: Files, scale: Scale | None) -> UserImages:
    faults = dict(images.scanned.problems)
    good = [place for place in range(len(images)) if place not in faults]
    pages = {place: int(count) for place, count in enumerate(images.scanned.pages) if count > 1}
    return replace(_on_scale(names, images, good, faults, scale), pages=pages)


def _given_arrays(arrays: list[NDArray[Any]], scale: Scale | None) -> UserImages:
    names = [f"image_{place}" for place in range(len(arrays))]
    good = [place for place, array in enumerate(arrays) if array.dtype.kind != "f"]
    given = _on_scale(names, Arrays(arrays), good, {}, scale)
    floats = {place: torch.from_numpy(array) for place, array in enumerate(arrays) if array.dtype.kind == "f"}
    return replace(given, floats=floats)


def _on_scale(
    names: Sequence[str], images: Files | Arrays, good: Sequence[int], faults: dict[int, str], scale: Scale | None
) -> UserImages:
    """The images at these positions on a scale; one with values outside it is refused, as a model never saw such values."""
    levels = images.levels
    deep = [place for place in good if levels.deep[place]]
    if deep:
        own = levels.select(deep)
        used = scale or natural(own)
        for place in deep:
            low, high = float(levels.lows[place]), float(levels.highs[place])
            if used is None:
                faults[place] = str(unfit(f"image={names[place]!r}", levels.select([place])))
            elif not used.holds(low, high):
                faults[place] = (
                    f"image={names[place]!r}: has values from {low:g} to {high:g}, and the model was trained on {used}; "
                    "train with a --range that holds them, or rescale the image."
                )
        if used is not None:
            images = images.scaled(used)
    left = [place for place in good if place not in faults]
    split = Split(images.select(left), names=[names[place] for place in left])
    scales = {} if images.scale is None else {place: images.scale for place in left if levels.deep[place]}
    return UserImages(names, split, left, faults=faults, scales=scales)


def _arrays(one: Any, scale: Scale | None, noisy: bool) -> list[NDArray[Any]]:
    """An array, tensor or Pillow image as a list of (C, H, W) arrays: uint8, whole numbers of more bits, or float32 in [0, 1]."""
    from PIL import Image

    if isinstance(one, Image.Image):
        return [from_pillow(one)] if one.mode not in DEEP else _arrays(np.asarray(one), scale, noisy)
    if isinstance(one, Tensor):
        array = one.detach().cpu().numpy()
        array = np.moveaxis(array, -3, -1) if array.ndim >= 3 else array
    else:
        array = np.asarray(one)
    shape = f"images of shape {array.shape}"
    if array.ndim == 2:
        array = array[..., None]
    if array.ndim == 3:
        array = array[None]
    if array.ndim != 4 or array.shape[-1] not in (1, 3):
        raise UsageError(f"{shape}: are not images; give (H, W), (H, W, C) or (N, H, W, C) with C = 1 or 3.")
    if array.dtype.kind in "iu":
        low, high = array.min(initial=0), array.max(initial=0)
        if low >= 0 and high <= 65535 and array.dtype != np.uint8:
            # whole numbers of any type are 8 bits where these hold them; uint16 says that there are more
            array = array.astype(np.uint8 if high <= 255 and array.dtype != np.uint16 else np.uint16)
        return [np.ascontiguousarray(image.transpose(2, 0, 1)) for image in array]
    if not np.issubdtype(array.dtype, np.floating) and array.dtype != np.bool_:
        raise UsageError(f"{shape}: have type {array.dtype}; give whole numbers, or floats in [0, 1].")
    floats = array.astype(np.float32)
    if not np.isfinite(floats).all():
        raise UsageError(f"{shape}: contain NaN or infinite pixels; give finite ones.")
    own = scale if scale is not None and scale.floats else Scale(0, 1, floats=True)
    low, high = (float(floats.min()), float(floats.max())) if floats.size else (own.low, own.high)
    slack = _NOISE * (own.high - own.low) if noisy else 0
    if not own.holds(low + slack, high - slack):
        raise UsageError(
            f"{shape}: range from {low:.4g} to {high:.4g}, but floats must lie in [{own.low:g}, {own.high:g}]; "
            "rescale or clip them, or give whole numbers."
        )
    if (own.low, own.high) != (0, 1):
        floats = (floats - np.float32(own.low)) / np.float32(own.high - own.low)
    return [np.ascontiguousarray(image.transpose(2, 0, 1)) for image in floats]
