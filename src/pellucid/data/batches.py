# SPDX-License-Identifier: Apache-2.0
"""Images decoded once, in parallel, into a store of 8 or 16 bits, from which batches are taken whole."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise
from typing import Any, Literal, TypeAlias, final

import numpy as np
import psutil
import torch
from numpy.typing import NDArray
from torch import Tensor

from pellucid._launched import on_this_machine
from pellucid.data.cropping import Crops
from pellucid.data.dataset import Batch, Images, Pixels, Split
from pellucid.data.decoding import Files, decode, in_parallel, remember_faults, workers
from pellucid.data.decoding.pictures import resize
from pellucid.data.disk import Kept, free_disk
from pellucid.data.fits import Filling, Fit, inside
from pellucid.data.fitting import border, fit_array, framed, placements
from pellucid.data.scales import Bits
from pellucid.data.targets import Boxes, Frames, Target
from pellucid.errors import DataError

__all__ = ["Store", "Way", "own_size_batches", "resize", "store"]

Way: TypeAlias = Fit | Literal["middle", "letter"]
"""How images come to a size: as options say, or without scaling, or as letters of `read` do."""
_STATISTICS = 10_000  # images for the mean and the standard deviation
_FEW, _SMALL = 64, 4_000  # files, and bytes of each, that one thread decodes
_PIXELS = 2_000_000  # of a batch of images at their own size: a U-Net takes 0.7 GB a megapixel


@final
class Store:
    """A split's images at one size, uint8 or uint16, with their targets moved along.

    `kind` is "memory", "mapped" (a file in the user's cache) or "stream" (decoded batch by batch, for a split that fits
    neither in memory nor on the disk).
    """

    def __init__(
        self,
        images: Tensor | None,
        split: Split,
        size: tuple[int, int],
        channels: int,
        fit: Way,
        kind: str,
        bits: Bits = 8,
        check: Callable[[NDArray[np.int64]], None] | None = None,
    ) -> None:
        self.size, self.channels, self.kind, self.bits = size, channels, kind, bits
        self._images, self._split, self._fit, self._check = images, split, fit, check
        self._targets = _move_targets(split, size, fit)

    def __len__(self) -> int:
        return len(self._split)

    def batch(self, index: Tensor, device: torch.device | str = "cpu") -> Batch:
        """The images at positions `index` (B,), with their targets, on a device."""
        if self._check is not None:
            self._check(index.numpy())
        images = self._read(index) if self._images is None else self._images.index_select(0, index)
        targets = {kind: target[index] for kind, target in self._targets.items()}
        if torch.device(device).type != "cpu":
            images, targets = images.to(device), {kind: target.to(device) for kind, target in targets.items()}
        return Batch(images, targets, index)

    def batches(
        self,
        size: int,
        device: torch.device | str = "cpu",
        chosen: range | None = None,
        groups: NDArray[np.int64] | None = None,
    ) -> Iterator[Batch]:
        """All images in their order, `size` at a time; or those of the batches with the chosen numbers.

        With the groups (N,) of images, none of two are in one batch.
        """
        ends = [0, len(self)] if groups is None else [0, *(np.flatnonzero(np.diff(groups)) + 1).tolist(), len(self)]
        parts = [(at, min(at + size, end)) for first, end in pairwise(ends) for at in range(first, end, size)]
        for start, end in parts if chosen is None else [parts[number] for number in chosen]:
            yield self.batch(torch.arange(start, end), device)

    def statistics(self) -> tuple[Tensor, Tensor]:
        """Mean and standard deviation of each channel, (C,) in [0, 1] units, over at most 10,000 evenly spread images."""
        index = torch.arange(0, len(self), max(1, len(self) // _STATISTICS))[:_STATISTICS]
        levels = 2**self.bits
        counts = torch.zeros(self.channels, levels, dtype=torch.float64)  # of each grey level
        for start in range(0, len(index), 1000):
            images = self.batch(index[start : start + 1000]).images
            for channel in range(self.channels):  # histograms are exact, and need no floating-point copy of the images
                pixels = images[:, channel].contiguous().numpy().reshape(-1)
                counts[channel] += torch.from_numpy(np.bincount(pixels, minlength=levels))
        values = torch.arange(levels, dtype=torch.float64) / (levels - 1)
        share = counts / counts.sum(1, keepdim=True)
        mean = share @ values
        return mean.float(), (share @ values**2 - mean**2).clamp_min(0).sqrt().float()

    def _read(self, index: Tensor) -> Tensor:
        """A batch (B, C, H, W) decoded now."""
        images = np.empty((len(index), self.channels, *self.size), np.uint8 if self.bits == 8 else np.uint16)
        _fill(images, self._split.images.select(index.numpy()), self.channels, self._fit)
        return torch.from_numpy(images)


def store(
    split: Split,
    size: tuple[int, int],
    channels: int,
    *,
    fit: Way | None = None,
    deep: bool = False,
    memory_share: float = 0.25,
    disk_share: float = 0.5,
    fingerprint: str = "",
) -> Store:
    """Bring a split's images to one size; the result is cached, so that the same call does it only once.

    >>> grey = Split(Pixels(np.zeros((5, 1, 8, 8), np.uint8)))
    >>> kept = store(grey, (4, 4), 3)
    >>> kept.kind, kept.batch(torch.tensor([0, 2])).images.shape
    ('memory', torch.Size([2, 3, 4, 4]))

    Args:
        split: the images and their targets.
        size: (H, W) in px.
        channels: 1 or 3.
        deep: keep images of more than 8 bits as uint16.
        fit: "squash" scales height and width apart, antialiased; "crop" scales both alike, so that the size is filled, and takes the
            middle; "pad" scales both alike, so that all fits, and adds what is missing in the median colour of the border, which
            "letter" takes before scaling; "middle" takes the centre without scaling, and pads smaller images by their edges. By
            default what the split says.
        memory_share: share of the free memory that a store in memory may take, divided among the processes on this machine.
        disk_share: share of the free disk space that a store in the cache may take; larger ones are decoded batch by batch.
        fingerprint: identifies the images in the cache, together with size, channels and fit; "" caches nothing.

    Raises:
        DataError: a file cannot be decoded; the sentence names it.
    """
    bits, fit = bits_of(split, deep), fit or split.fit
    if isinstance(split.images, Pixels) and split.images.array.shape[1:] == (channels, *size):
        return Store(_as_tensor(split.images.seen(bits)), split, size, channels, fit, "memory", bits)
    shape = (len(split), channels, *size)
    needed = int(np.prod(shape, dtype=np.int64)) * bits // 8
    in_memory = needed <= memory_share * psutil.virtual_memory().available / on_this_machine()
    dtype = np.uint8 if bits == 8 else np.uint16

    def fill(into: NDArray[Any], start: int) -> None:
        whole = len(into) == len(split)
        part = split.images if whole else split.images.select(range(start, start + len(into)))
        _fill(into, part, channels, fit)

    decoded = isinstance(split.images, Pixels)  # cheap to resize again: not worth a file
    if fingerprint and not decoded and needed <= disk_share * free_disk():
        scale = split.images.scale
        key = [4, fingerprint, shape, fit, bits, None if scale is None else [scale.low, scale.high]]
        kept = Kept.made(key, shape, dtype, fill)
        if kept is not None:
            if in_memory:
                kept.read_ahead()
            kind = "memory" if in_memory else "mapped"
            return Store(_as_tensor(kept.array), split, size, channels, fit, kind, bits, kept.check)
    if not in_memory:
        return Store(None, split, size, channels, fit, "stream", bits)
    images = np.empty(shape, dtype)
    _fill(images, split.images, channels, fit)
    return Store(torch.from_numpy(images), split, size, channels, fit, "memory", bits)


def bits_of(split: Split, deep: bool) -> Bits:
    """16 where deep images are asked for and there are any, else 8."""
    return 16 if deep and bool(split.images.levels.deep.any()) else 8


def own_size_batches(
    split: Split,
    channels: int,
    batch_size: int,
    device: torch.device | str = "cpu",
    *,
    deep: bool = False,
    groups: NDArray[np.int64] | None = None,
) -> Iterator[Batch]:
    """All images at their own size, in batches of equal sizes; `index` tells their positions.

    With `deep`, images of more than 8 bits are uint16. With the groups (N,) of images, none of two are in one batch.

    A batch has at most `batch_size` images, and at most two megapixels unless a single image is larger, which bounds the
    memory that a model takes for a folder of photographs.
    """
    sizes, bits = split.images.sizes, bits_of(split, deep)
    own = np.zeros(len(split), np.int64) if groups is None else groups
    keys = np.column_stack([own, sizes])  # (N, 3)
    order = np.lexsort((np.arange(len(split)), *keys.T[::-1]))  # by group, then height, then width, then position
    with ThreadPoolExecutor(workers()) as pool:
        start = 0
        while start < len(order):
            end = start + 1
            most = min(batch_size, max(1, _PIXELS // max(1, int(sizes[order[start]].prod(dtype=np.int64)))))
            while end < len(order) and end - start < most and (keys[order[end]] == keys[order[start]]).all():
                end += 1
            rows = order[start:end]
            if isinstance(split.images, Pixels) and split.images.channels == channels:
                images = split.images.select(rows).seen(bits)
            else:
                images = np.stack(list(pool.map(lambda i: _read(split.images, int(i), channels, bits), rows)))
            index = torch.from_numpy(rows)
            targets = {kind: target[index].loaded().to(device) for kind, target in split.targets.items()}
            yield Batch(torch.from_numpy(images).to(device), targets, index)
            start = end


def _read(images: Images, place: int, channels: int, bits: Bits) -> NDArray[Any]:
    return images.read(place, channels) if bits == 8 else images.read(place, channels, bits)


def _middle(image: NDArray[Any], size: tuple[int, int]) -> NDArray[Any]:
    """The centre (H', W') of an image, padded by its edges where it is smaller."""
    short = [max(0, want - have) for want, have in zip(size, image.shape[1:], strict=True)]
    if any(short):
        image = np.pad(image, ((0, 0), *((gap // 2, gap - gap // 2) for gap in short)), mode="edge")
    top, left = ((have - want) // 2 for have, want in zip(image.shape[1:], size, strict=True))
    return image[:, top : top + size[0], left : left + size[1]]


def _letter(image: NDArray[Any], size: tuple[int, int]) -> NDArray[Any]:
    """All of an image (C, H, W) in the middle of (H', W'), on the median of its border."""
    return framed(resize(image, inside(image.shape[1:], size)), size, border(image))


def _fitted(image: NDArray[Any], size: tuple[int, int], fit: Way) -> NDArray[Any]:
    if fit == "middle":
        return _middle(image, size)
    return _letter(image, size) if fit == "letter" else fit_array(image, size, fit)


def _fill(into: NDArray[Any], images: Images, channels: int, fit: Way) -> None:
    """Decode and fit every image into its row, in parallel; files that cannot be decoded are named."""
    size = (into.shape[2], into.shape[3])
    bits: Bits = 8 if into.dtype == np.uint8 else 16
    sizes = images.sizes.tolist() if fit == "pad" else []

    def one(i: int) -> str | None:
        try:
            if isinstance(images, Files) and fit not in ("middle", "letter"):  # a JPEG may be decoded at a smaller size
                name = images.names[i] if images.names else ""
                shape = inside(sizes[i], size) if fit == "pad" else size
                how: Filling = "crop" if fit == "crop" else "squash"
                image = decode(images.sources[i], channels, name, shape, images.scale, bits, how)
            else:
                image = _read(images, i, channels, bits)
        except DataError as fault:
            return str(fault)
        into[i] = _fitted(image, size, fit)
        return None

    faults = {i: fault for i, fault in enumerate(in_parallel(one, len(images), _threads(images))) if fault}
    if faults:
        if isinstance(images, Files):
            remember_faults(images.sources, faults)
        elif isinstance(images, Crops) and isinstance(images.images, Files):
            faults = {int(images.owners[part]): fault for part, fault in faults.items()}
            remember_faults(images.images.sources, faults)
        sentences = list(faults.values())
        more = f" ({len(sentences) - 3} more cannot be read.)" if len(sentences) > 3 else ""
        raise DataError(" ".join(sentences[:3]) + more + " Give the same command again to train without them.")


def _threads(images: Images) -> int | None:
    """One for a few small files in memory, which are decoded before a second one has started."""
    if not isinstance(images, Files) or len(images) > _FEW:
        return None
    return 1 if all(isinstance(one, bytes) and len(one) < _SMALL for one in images.sources) else None


def _as_tensor(array: NDArray[Any]) -> Tensor:
    """A tensor that shares the array's memory; nothing writes to it, so torch's warning about read-only arrays is moot."""
    import warnings

    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="The given NumPy array is not writable")
        return torch.from_numpy(array)


def _move_targets(split: Split, size: tuple[int, int], fit: Way) -> Mapping[str, Target]:
    """Boxes, points, masks and pictures as they are after the images were fitted to a size."""
    if not split.targets or all(kind in ("label", "text") for kind in split.targets) or not len(split):
        return split.targets
    sizes = torch.from_numpy(split.images.sizes.astype(np.float32))  # (N, 2) height, width
    wanted = torch.tensor(size, dtype=torch.float32)
    if bool((sizes == wanted).all()):
        return {kind: target.loaded() for kind, target in split.targets.items()}
    # sizes are (H, W), a target's coordinates (x, y)
    if fit == "middle":
        scale, offset = torch.ones_like(sizes), torch.trunc((wanted - sizes) / 2).flip(1)
    else:
        scale, offset = map(torch.from_numpy, placements(split.images.sizes, size, "pad" if fit == "letter" else fit))
    moved: dict[str, Target] = {kind: target.resized(scale, offset, size) for kind, target in split.targets.items()}
    if fit == "middle":
        return {kind: target.clipped(size) for kind, target in moved.items()}
    if fit in ("crop", "pad") and isinstance(moved.get("boxes"), Boxes):
        moved["frame"] = Frames.of(scale, offset, sizes.flip(1))
    return moved
