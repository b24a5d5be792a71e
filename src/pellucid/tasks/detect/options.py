# SPDX-License-Identifier: Apache-2.0
"""Options of `predict` for detection."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal, final

from pellucid.data.annotations.converting import WRITERS
from pellucid.errors import UsageError, check_choice
from pellucid.tasks._answering import PredictOptions

__all__ = ["DetectOptions"]

_LEAST = 16  # px of a tile's side


@final
@dataclass(frozen=True)
class DetectOptions(PredictOptions):
    """From which score detections are answered, how large images are seen, and what is written of them.

    >>> DetectOptions(tile=True, tile_size=(480,)).sides
    (480, 480)
    """

    threshold: float | None = None
    """score from which a detection is answered, 0 to 1; by default the one that was chosen on the validation images"""
    tile: bool = False
    """see each image at its own size, in overlapping tiles as large as the training images: for far larger ones"""
    tile_size: tuple[int, ...] = ()
    """height and width of a tile in px, or one number for both; by default the training images' median size"""
    tile_overlap: float | None = None
    """share of a tile that the next one sees too, below 1; by default that of the larger ones of the training objects"""
    save_as: tuple[Literal["coco", "voc", "yolo"], ...] = ()
    """also write the images with their detections as a dataset in that form, into a folder of that name"""

    def __post_init__(self) -> None:
        if self.threshold is not None and not (_is_number(self.threshold) and 0 <= self.threshold <= 1):
            raise UsageError(f"threshold={self.threshold!r}: is a score; give a number from 0 to 1.")
        for name, value in (("tile_size", self.tile_size), ("tile_overlap", self.tile_overlap)):
            if value not in ((), None) and not self.tile:
                raise UsageError(f"{name}={value!r}: is of the tiles, and images are seen whole; add --tile.")
        if not 1 <= len(self._sizes) <= 2 and self.tile_size != ():
            raise UsageError(
                f"tile_size={self.tile_size!r}: must be one or two numbers; give a height and a width in px."
            )
        for side in self._sizes:
            if not isinstance(side, int) or isinstance(side, bool) or side < _LEAST:
                raise UsageError(
                    f"tile_size={side!r}: must be a whole number of at least {_LEAST} px; give a larger one."
                )
        if self.tile_overlap is not None and not (_is_number(self.tile_overlap) and 0 <= self.tile_overlap < 1):
            raise UsageError(
                f"tile_overlap={self.tile_overlap!r}: is a share; give a number from 0 up to, but not including, 1."
            )
        for form in self.forms:
            check_choice("save_as", form, WRITERS)

    @property
    def forms(self) -> Sequence[str]:
        """The forms to write, each once."""
        given: Any = self.save_as
        return list(dict.fromkeys([given] if isinstance(given, str) else given))

    @property
    def sides(self) -> tuple[int, int] | None:
        """(H, W) of a tile in px; None where it is that of the training images."""
        return (self._sizes[0], self._sizes[-1]) if self._sizes else None

    @property
    def _sizes(self) -> Sequence[int]:
        return self.tile_size if isinstance(self.tile_size, (tuple, list)) else (self.tile_size,)


def _is_number(value: object) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)
