# SPDX-License-Identifier: Apache-2.0
"""Masks in picture files, read when they are needed: the class of every pixel by one table for all of them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any, final

import numpy as np
import xxhash
from numpy.typing import NDArray

from pellucid.data.annotations.mask_raw import Raw, raw_of
from pellucid.data.decoding import Source, fault_sentence
from pellucid.data.decoding.pictures import upright
from pellucid.data.masks import VOID, MaskSource
from pellucid.errors import DataError

__all__ = ["Joined", "MaskFile", "Table", "colour_name"]


@final
@dataclass(frozen=True)
class Table:
    """Which class each value of a data set's masks is."""

    numbers: Mapping[int, int]  # value -> class
    colours: bool = False  # whether values are colours
    white: int = 1  # the value of the ones of a mask with 1 bit
    step: int = 1  # between the numbers of masks with 2 or 4 bits

    @cached_property
    def _sorted(self) -> tuple[NDArray[np.int64], NDArray[np.uint8]]:
        keys = np.array(sorted(self.numbers), np.int64)
        return keys, np.array([self.numbers[int(key)] for key in keys], np.uint8)

    @cached_property
    def _direct(self) -> NDArray[np.int16]:
        """(256,) the class of each small value, -1 for none."""
        direct = np.full(256, -1, np.int16)
        for value, number in self.numbers.items():
            if value < 256:
                direct[value] = number
        return direct

    def classes(self, array: NDArray[Any]) -> NDArray[np.uint8]:
        """The classes (H, W) of values (H, W).

        Raises:
            KeyError: a value that the table lacks.
        """
        if array.dtype == np.uint8 and not self.colours:
            found = self._direct[array]
            if (found < 0).any():
                raise KeyError(int(array[found < 0][0]))
            small: NDArray[np.uint8] = found.astype(np.uint8)
            return small
        keys, numbers = self._sorted
        place = np.searchsorted(keys, array).clip(0, len(keys) - 1)
        strange = keys[place] != array
        if strange.any():
            raise KeyError(int(array[strange][0]))
        classes: NDArray[np.uint8] = numbers[place]
        return classes


@final
@dataclass(frozen=True)
class MaskFile(MaskSource):
    """A mask in a picture file, or a file's bytes."""

    source: Source
    name: str
    shape: tuple[int, int]  # (H, W) as it is read
    content: bytes  # a hash of the file
    table: Table
    orientation: int = 1  # an EXIF orientation of its image that it has yet to go through

    @property
    def size(self) -> tuple[int, int]:
        return self.shape

    @cached_property
    def digest(self) -> bytes:
        table = (
            sorted(self.table.numbers.items()),
            self.table.colours,
            self.table.white,
            self.table.step,
            self.orientation,
        )
        return xxhash.xxh3_128_digest(self.content + repr(table).encode())

    def read(self) -> NDArray[np.uint8]:
        try:
            raw = raw_of(self.source)
        except Exception as fault:  # whatever a decoder raises
            raise DataError(fault_sentence(self.source, self.name, fault)) from fault
        try:
            mask = self.table.classes(_on_scale(raw, self.table))
        except KeyError as fault:
            value = colour_name(fault.args[0]) if self.table.colours else fault.args[0]
            raise DataError(
                f"mask={self.name!r}: holds the value {value}, which it did not hold when the data were opened; open them again."
            ) from None
        return np.ascontiguousarray(upright(mask[None], self.orientation)[0])


@final
@dataclass(frozen=True)
class Joined(MaskSource):
    """Several masks of one image, as of several objects: what one of them marks is marked."""

    masks: tuple[MaskSource, ...]  # of one size

    @property
    def size(self) -> tuple[int, int]:
        return self.masks[0].size

    @cached_property
    def digest(self) -> bytes:
        return xxhash.xxh3_128_digest(b"".join(own.digest for own in self.masks))

    def read(self) -> NDArray[np.uint8]:
        first, *others = (own.read() for own in self.masks)
        for other in others:
            first = np.where((other > 0) & (other < VOID), other, first)
        return first


def colour_name(colour: int) -> str:
    """A colour as it is written in web pages.

    >>> colour_name(0x8000FF)
    '#8000ff'
    """
    return f"#{colour:06x}"


def _on_scale(raw: Raw, table: Table) -> NDArray[Any]:
    """The values of a mask in the units of the table."""
    if not table.colours:
        if raw.kind == "bilevel":
            return raw.array * np.uint8(table.white)
        return raw.array // np.uint8(table.step) if table.step > 1 else raw.array
    if raw.kind == "bilevel":
        return raw.array.astype(np.int32) * 0xFFFFFF
    if raw.palette is not None:
        colours: NDArray[np.int32] = raw.palette[raw.array]
        return colours
    return raw.array if raw.kind == "colour" else raw.array.astype(np.int32) * 0x010101
