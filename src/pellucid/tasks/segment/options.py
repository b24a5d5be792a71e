# SPDX-License-Identifier: Apache-2.0
"""Options of `predict` for segmentation: further forms of an answer, and the objects in it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import final

from pellucid.errors import UnknownNameError, UsageError, check_choice
from pellucid.tasks._answering import PredictOptions
from pellucid.tasks.segment.objects import NECK, TOUCHING, Touching

__all__ = ["FORMS", "SegmentOptions"]

FORMS = {"overlay": ".overlay.png", "probabilities": ".npz", "rle": ".rle.json", "polygons": ".geojson"}
"""The forms beside the mask, with the ending of each one's files."""
_ALL = "all"


@final
@dataclass(frozen=True)
class SegmentOptions(PredictOptions):
    """What `predict` writes beside a mask.

    >>> SegmentOptions(objects=("all",)).chosen(["background", "cell", "nucleus"])
    [1, 2]
    """

    also: tuple[str, ...] = ()
    """further forms of each answer: overlay (a picture of it on the image), probabilities (.npz), rle (COCO's run lengths), polygons (GeoJSON)"""  # noqa: E501
    objects: tuple[str, ...] = ()
    """classes whose objects are told apart, counted and measured in objects.csv; all for every class but the background"""
    touching: Touching = "distance"
    """with objects: part touching ones by a watershed on the distance to their border, or on the probability, or leave them joined"""
    neck: float = NECK
    """with objects parted by distance: how narrow the neck between two is, as a share of the narrower one's width; more parts more"""
    least: int = 20
    """with objects: px that an object has at least; smaller ones are left out"""
    pixel_size: float | None = None
    """with objects: side of a pixel in µm; areas and lengths are then given in µm too"""

    def __post_init__(self) -> None:
        for name in ("also", "objects"):  # also a single name
            given = getattr(self, name)
            object.__setattr__(self, name, (given,) if isinstance(given, str) else tuple(given))
        for form in self.also:
            check_choice("also", form, tuple(FORMS))
        check_choice("touching", self.touching, TOUCHING)
        if not 0 < self.neck < 1:
            raise UsageError(f"neck={self.neck!r}: must lie between 0 and 1; give e.g. {NECK}.")
        if self.least < 1:
            raise UsageError(f"least={self.least}: must be at least 1 px; give a larger number.")
        if self.pixel_size is not None and not 0 < self.pixel_size < float("inf"):
            raise UsageError(f"pixel_size={self.pixel_size!r}: must be above 0; give the side of a pixel in µm.")
        if self.pixel_size is not None and not self.objects:
            raise UsageError(
                f"pixel_size={self.pixel_size!r}: is for the table of objects; name their classes with --objects, or all."
            )

    def chosen(self, classes: Sequence[str]) -> list[int]:
        """The numbers of the classes whose objects are asked for.

        Raises:
            UnknownNameError: there is no class of that name.
        """
        found: list[int] = []
        for name in self.objects:
            if name in classes:
                found.append(list(classes).index(name))
            elif name == _ALL:
                found += range(int(tuple(classes[:1]) == ("background",)), len(classes))
            else:
                raise UnknownNameError("class", name, [*classes, _ALL])
        return sorted(set(found))
