# SPDX-License-Identifier: Apache-2.0
"""Images as a user gives them (files, folders, globs, arrays, Pillow images), as named images."""

from __future__ import annotations

import glob
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, final

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from pellucid.data.dataset import Images, Pixels, Split
from pellucid.data.decoding import SUFFIXES, Files, from_pillow, scan
from pellucid.errors import UsageError

__all__ = ["Arrays", "UserImages", "gather"]


@final
class Arrays(Images):
    """Images in memory, each (C, H, W) uint8 at its own size."""

    def __init__(self, arrays: Sequence[NDArray[np.uint8]]) -> None:
        self.arrays = arrays

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
        return Arrays([self.arrays[int(i)] for i in index])

    def read(self, index: int, channels: int) -> NDArray[np.uint8]:
        return Pixels(self.arrays[index][None]).read(0, channels)


@final
@dataclass(frozen=True)
class UserImages:
    """The images of a user with their names, in the order given."""

    names: Sequence[str]  # of all of them, those that cannot be read included
    split: Split  # the 8-bit ones
    places: Sequence[int]  # position in the order given of each image of `split`
    floats: dict[int, Tensor] = field(default_factory=dict)  # position -> (C, H, W) in [0, 1], never rounded
    faults: dict[int, str] = field(default_factory=dict)  # position -> why the file cannot be read


def gather(images: Any) -> UserImages:
    """Collect images from whatever was given.

    >>> given = gather([np.zeros((4, 6), np.uint8), np.ones((4, 6, 3))])
    >>> list(given.names), given.split.images.sizes.tolist(), given.floats[1].shape
    (['image_0', 'image_1'], [[4, 6]], torch.Size([3, 4, 6]))

    Args:
        images: a file, folder or glob; an array (H, W), (H, W, C) or (N, H, W, C) or a tensor (H, W), (C, H, W) or
            (N, C, H, W), uint8 or float in [0, 1]; a Pillow image; or a list of any of these.

    Raises:
        UsageError: a path or glob without images, an array that is not an image, or no images at all.
    """
    paths: list[Path] = []
    arrays: list[NDArray[Any]] = []
    for one in images if isinstance(images, (list, tuple)) else [images]:
        if isinstance(one, (str, Path)):
            paths += _paths(str(one))
        else:
            arrays += _arrays(one)
    if paths and arrays:
        raise UsageError("images=[…]: mixes files and arrays; give one or the other.")
    if not paths and not arrays:
        raise UsageError("images=[]: is empty; give files, folders, globs, arrays or Pillow images.")
    return _given_files(paths) if paths else _given_arrays(arrays)


def _given_files(paths: list[Path]) -> UserImages:
    scanned = scan(paths)
    good = [place for place in range(len(paths)) if place not in scanned.problems]
    names = _names(paths)
    split = Split(Files([paths[place] for place in good]), names=[names[place] for place in good])
    return UserImages(names, split, good, faults=dict(scanned.problems))


def _given_arrays(arrays: list[NDArray[Any]]) -> UserImages:
    names = [f"image_{place}" for place in range(len(arrays))]
    good = [place for place, array in enumerate(arrays) if array.dtype == np.uint8]
    split = Split(Arrays([arrays[place] for place in good]), names=[names[place] for place in good])
    floats = {place: torch.from_numpy(array) for place, array in enumerate(arrays) if array.dtype != np.uint8}
    return UserImages(names, split, good, floats=floats)


def _paths(text: str) -> list[Path]:
    """The image files of a path or a glob, sorted by name."""
    path = Path(text).expanduser()
    if path.is_dir():
        files = sorted(file for file in path.rglob("*") if file.suffix.lower() in SUFFIXES and file.is_file())
        if not files:
            raise UsageError(
                f"images={text!r}: contains no images; give a folder with {', '.join(sorted(SUFFIXES))} files."
            )
        return files
    if path.is_file():
        return [path]
    files = sorted(Path(name) for name in glob.glob(str(path), recursive=True) if Path(name).is_file())
    if not files:
        raise UsageError(f"images={text!r}: is neither a file nor a folder and matches nothing; check the spelling.")
    return files


def _names(paths: list[Path]) -> list[str]:
    """File names, with as many parent folders as make them unique."""
    for depth in range(1, max(len(path.parts) for path in paths) + 1):
        names = ["/".join(path.parts[-depth:]) for path in paths]
        if len(set(names)) == len(set(paths)):
            return names
    return [str(path) for path in paths]


def _arrays(one: Any) -> list[NDArray[Any]]:
    """An array, tensor or Pillow image as a list of (C, H, W) arrays, uint8 or float32."""
    from PIL import Image

    if isinstance(one, Image.Image):
        return [from_pillow(one)]
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
    if array.dtype == np.uint8:
        return [np.ascontiguousarray(image.transpose(2, 0, 1)) for image in array]
    if not np.issubdtype(array.dtype, np.floating) and array.dtype != np.bool_:
        raise UsageError(f"{shape}: have type {array.dtype}; give uint8, or floats in [0, 1].")
    floats = array.astype(np.float32)
    if not np.isfinite(floats).all():
        raise UsageError(f"{shape}: contain NaN or infinite pixels; give finite ones.")
    if np.abs(floats).max(initial=0) > 8:
        raise UsageError(
            f"{shape}: reach {np.abs(floats).max():.4g}, but floats must lie in [0, 1]; divide by 255, or give uint8."
        )
    return [np.ascontiguousarray(image.transpose(2, 0, 1)) for image in floats]
