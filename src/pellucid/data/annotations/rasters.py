# SPDX-License-Identifier: Apache-2.0
"""The class of every pixel, from the outlines of an image's instances."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import final

import numpy as np
import xxhash
from faster_coco_eval import mask as run_lengths
from numpy.typing import NDArray

from pellucid.data.annotations.mending import decoded_runs
from pellucid.data.annotations.records import Annotated, Instance
from pellucid.data.masks import VOID, MaskSource

__all__ = ["Outlined", "region"]


def region(one: Instance, size: tuple[int, int]) -> NDArray[np.bool_]:
    """The pixels (H, W) of an instance: inside its outline by COCO's rule, or in its box where it has none.

    >>> square = np.array([[1.0, 1], [3, 1], [3, 3], [1, 3]])
    >>> region(Instance(polygons=(square,)), (4, 4)).sum().item()
    4
    """
    if one.polygons:
        parts = run_lengths.frPyObjects([part.reshape(-1).tolist() for part in one.polygons], *size)
        inside: NDArray[np.bool_] = run_lengths.decode(run_lengths.merge(parts)).astype(np.bool_)
        return inside
    if one.runs is not None:
        return decoded_runs(one.runs).astype(np.bool_)
    filled = np.zeros(size, np.bool_)
    if one.box is not None:
        left, top, right, bottom = (round(side) for side in one.box)
        filled[top:bottom, left:right] = True
    return filled


@final
@dataclass(frozen=True)
class Outlined(MaskSource):
    """A mask painted from outlines: 0 for the background, larger objects below smaller ones, crowds void."""

    image: Annotated  # mended
    shape: tuple[int, int]  # (H, W)
    numbers: Mapping[str, int]  # the number of each category

    @property
    def size(self) -> tuple[int, int]:
        return self.shape

    @cached_property
    def digest(self) -> bytes:
        total = xxhash.xxh3_128(repr((self.shape, sorted(self.numbers.items()))).encode())
        for one in self.image.instances:
            total.update(repr((one.category, one.crowd, one.box, one.runs)).encode(errors="surrogatepass"))
            for part in one.polygons:
                total.update(np.ascontiguousarray(part).tobytes())
        return total.digest()

    def read(self) -> NDArray[np.uint8]:
        mask = np.zeros(self.shape, np.uint8)
        regions = [(region(one, self.shape), one) for one in self.image.instances]
        # crowds first, so that an object within one keeps its class
        for inside, one in sorted(regions, key=lambda pair: (not pair[1].crowd, -int(pair[0].sum()))):
            mask[inside] = VOID if one.crowd else self.numbers[one.category]
        return mask
