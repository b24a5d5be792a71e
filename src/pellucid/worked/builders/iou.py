# SPDX-License-Identifier: Apache-2.0
"""iou: intersection over union and its relatives, of two boxes, two masks or counts."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import KW_ONLY, dataclass, replace
from random import Random
from typing import Any, final

import numpy as np

from pellucid.errors import UsageError
from pellucid.worked.builders.box_measures import BoxMeasures
from pellucid.worked.builders.counted_measures import CountedMeasures
from pellucid.worked.builders.mask_measures import MaskMeasures
from pellucid.worked.forms.contract import Builder
from pellucid.worked.showing.grids import Grid
from pellucid.worked.worksheet.solution import Solution
from pellucid.worked.worksheet.worksheet import Worksheet

__all__ = ["IoU"]


@final
@dataclass(frozen=True)
class IoU(Builder):
    """Work intersection over union, recall, specificity and precision by hand, from two boxes, two masks or counts."""

    topic = "detection and segmentation"
    question = "How well do two boxes or masks agree: IoU, recall (TPR), specificity (TNR), precision (PPV)?"
    keeps = ("gradient",)

    truth: str = "2 2 8 7"
    """a box as "left top right bottom" in pixels, or a mask in rows, as in "0 1 1; 0 1 0\""""
    prediction: str = "4 1 10 6"
    """the predicted box or mask; a mask may hold probabilities"""
    _: KW_ONLY
    counts: tuple[int, ...] = ()
    """TP, FP, FN and optionally TN, instead of truth and prediction"""
    image: tuple[int, ...] = ()
    """width and height of the image in pixels, for the specificity of boxes"""
    threshold: float = 0.5
    """probability from which on a pixel of a mask counts as predicted"""
    gradient: bool = False
    """work out the derivative of IoU by each side of the predicted box too"""

    @staticmethod
    def build(truth: Any, prediction: Any, **options: Any) -> Worksheet:
        """The worksheet of two boxes, four numbers each, or of two masks, rows of numbers.

        >>> print(IoU.build([0, 0, 4, 4], [2, 2, 6, 6]).solve().value("IoU"))
        1/7
        >>> print(IoU.build([[1, 1], [0, 0]], [[1, 0], [0, 0]]).solve().value("IoU"))
        1/2

        Args:
            truth: as for `box_measures` or `mask_measures`.
            prediction: as for `box_measures` or `mask_measures`.
            options: of `box_measures` or `mask_measures`.

        Raises:
            UsageError: boxes or masks that do not fit.
        """
        # four numbers in a row are a box, rows are a mask
        kind = MaskMeasures if np.ndim(truth) > 1 else BoxMeasures
        return kind.build(truth, prediction, **options)

    def worksheet(self) -> Worksheet:
        """The worksheet of the options."""
        return self._measures().worksheet()

    def grids(self, solution: Solution) -> Sequence[Grid]:
        """Of masks, how each pixel counts."""
        return self._measures().grids(solution)

    def draw(self, random: Random) -> IoU:
        """Two boxes that overlap, with whole numbers from 0 to 9, of which neither contains the other."""
        # of the three, boxes have the most to work out
        boxes = BoxMeasures().draw(random)
        return replace(self, truth=boxes.truth, prediction=boxes.prediction)

    def _measures(self) -> Builder:
        """The builder for what was typed."""
        if self.counts:
            if len(self.counts) not in (3, 4):
                typed = " ".join(map(str, self.counts))
                raise UsageError(f"counts={typed}: must be TP FP FN, and TN if known; give 3 or 4.")
            return CountedMeasures(*self.counts[:3], *(self.counts[3:] or [None]))
        # several rows are a mask
        if ";" in self.truth or self.truth.strip().startswith("[["):
            if self.image or self.gradient:
                raise UsageError("image, gradient: belong to boxes; leave them out for masks.")
            return MaskMeasures(self.truth, self.prediction, threshold=self.threshold)
        return BoxMeasures(self.truth, self.prediction, image=self.image, gradient=self.gradient)
