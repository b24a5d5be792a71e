# SPDX-License-Identifier: Apache-2.0
"""Masks that are made when they are needed: from picture files, outlines and run lengths, of images of any sizes."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import final

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from pellucid.data.decoding.parallel import in_parallel
from pellucid.data.targets import VOID, Mask, Move, Target

__all__ = ["VOID", "MaskSource", "Masks"]


class MaskSource(ABC):
    """Where one image's mask comes from."""

    @property
    @abstractmethod
    def size(self) -> tuple[int, int]:
        """(H, W) in px, known without making it."""

    @property
    @abstractmethod
    def digest(self) -> bytes:
        """A hash of what it is made from: equal digests give equal masks."""

    @abstractmethod
    def read(self) -> NDArray[np.uint8]:
        """The mask (H, W); raises `DataError` naming the file that cannot be read."""


@final
@dataclass(frozen=True)
class Masks(Target):
    """One class per pixel, as `Mask`, made when it is read.

    >>> class Grey(MaskSource):
    ...     size, digest = (4, 4), b""
    ...     def read(self):
    ...         return np.eye(4, dtype=np.uint8)
    >>> Masks([Grey(), Grey()]).loaded().classes.shape
    torch.Size([2, 4, 4])
    """

    sources: list[MaskSource]  # N

    def loaded(self) -> Mask:
        """The masks of images of one size."""
        return Mask(torch.from_numpy(np.stack(in_parallel(lambda i: self.sources[i].read(), len(self)))))

    def resized(self, scale: Tensor, offset: Tensor, size: tuple[int, int]) -> Mask:
        """The masks after their images became one size: each pixel takes the class of its nearest source."""
        classes = torch.empty(len(self), *size, dtype=torch.uint8)

        def one(i: int) -> None:
            own = Mask(torch.from_numpy(self.sources[i].read())[None])
            classes[i] = own.resized(scale[i : i + 1], offset[i : i + 1], size).classes[0]

        in_parallel(one, len(self))
        return Mask(classes)

    def moved(self, matrix: Tensor, move: Move) -> Masks:
        raise TypeError("masks are moved once they are made: move what loaded() or resized() returns")
