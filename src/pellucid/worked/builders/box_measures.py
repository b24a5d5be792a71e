# SPDX-License-Identifier: Apache-2.0
"""box_measures: intersection over union, recall, specificity and precision of two boxes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import KW_ONLY, dataclass, replace
from fractions import Fraction
from random import Random
from typing import Any, Final, final

from pellucid.errors import UsageError
from pellucid.worked.builders._counts import put_rates
from pellucid.worked.builders._quantities import exact
from pellucid.worked.forms.contract import Builder
from pellucid.worked.forms.exercise import by_hand
from pellucid.worked.forms.numbers import read_vector, typed
from pellucid.worked.notation.operations import maximum, minimum
from pellucid.worked.worksheet.solution import Solution
from pellucid.worked.worksheet.tensors import as_tensor
from pellucid.worked.worksheet.worksheet import Worksheet

__all__ = ["BoxMeasures"]

_SIDES: Final = ("left", "top", "right", "bottom")


@final
@dataclass(frozen=True)
class BoxMeasures(Builder):
    """Work intersection over union, recall, specificity and precision of two boxes by hand."""

    topic = "detection and segmentation"
    question = "How well does a box fit another: IoU, recall (TPR), specificity (TNR), precision (PPV)?"
    keeps = ("gradient",)

    truth: str = "2 2 8 7"
    """the true box, as "left top right bottom" in pixels"""
    prediction: str = "4 1 10 6"
    """the predicted box"""
    _: KW_ONLY
    image: tuple[int, ...] = ()
    """width and height of the image in pixels; with them the specificity is worked out"""
    gradient: bool = False
    """work out the derivative of IoU by each side of the predicted box too"""

    @staticmethod
    def build(
        truth: Sequence[Any], prediction: Sequence[Any], *, image: Sequence[Any] | None = None, gradient: bool = False
    ) -> Worksheet:
        """The worksheet of two boxes: their intersection and union, IoU, recall and precision.

        >>> solution = BoxMeasures.build((0, 0, 4, 4), (2, 2, 6, 6), image=(10, 10)).solve(exact=True)
        >>> print(solution.value("IoU"), solution.value("recall"), solution.value("specificity"))
        1/7 1/4 6/7

        Args:
            truth: left, top, right, bottom in pixels; right and bottom are the far edges.
            prediction: the predicted box, in the same form.
            image: width and height in pixels; with them the specificity is worked out.
            gradient: ask for the derivative of IoU by each side of the prediction too.

        Raises:
            UsageError: not four numbers, an empty box, or a box outside the image.
        """
        sheet = Worksheet()
        for letter, box, what in (("t", truth, "truth"), ("p", prediction, "prediction")):
            numbers = [exact(number) for number in as_tensor(box, what, 1)]
            if len(numbers) != 4 or numbers[0] >= numbers[2] or numbers[1] >= numbers[3]:
                raise UsageError(
                    f"{what}={_listed(numbers)}: must be left, top, right, bottom with left < right, top < bottom; correct it."
                )
            for side, number in zip(_SIDES, numbers, strict=True):
                sheet[f"{side}_{letter}"] = number
        w = sheet
        # boxes that do not overlap have no width or no height in common, and no negative area
        w["width"] = maximum(0, minimum(w.right_t, w.right_p) - maximum(w.left_t, w.left_p))
        w["height"] = maximum(0, minimum(w.bottom_t, w.bottom_p) - maximum(w.top_t, w.top_p))
        w["A_t"] = (w.right_t - w.left_t) * (w.bottom_t - w.top_t)
        w["A_p"] = (w.right_p - w.left_p) * (w.bottom_p - w.top_p)
        w["TP"] = w.width * w.height
        # what either box has outside the other is a miss
        w["FP"] = w.A_p - w.TP
        w["FN"] = w.A_t - w.TP
        if image is not None:
            size = [exact(number) for number in as_tensor(image, "image", 1)]
            # the background is what neither box covers, so both must be in the image
            edges = [exact(number) for box in (truth, prediction) for number in as_tensor(box, "box", 1)]
            if len(size) != 2 or min(edges) < 0 or max(edges[0::2]) > size[0] or max(edges[1::2]) > size[1]:
                raise UsageError(
                    f"image={_listed(size)}: must be width and height, and hold both boxes; give its size."
                )
            w["W"], w["H"] = size
            w["TN"] = w.W * w.H - w.TP - w.FP - w.FN
        sheet.remark("TP is the area of the intersection, TP + FP + FN that of the union.")
        put_rates(sheet)
        if gradient:
            sheet.ask(*(f"dIoU/d{side}_p" for side in _SIDES))
        return sheet

    def worksheet(self) -> Worksheet:
        """The worksheet of the options."""
        truth, prediction = read_vector(self.truth, "truth"), read_vector(self.prediction, "prediction")
        return self.build(truth, prediction, image=self.image or None, gradient=self.gradient)

    def draw(self, random: Random) -> BoxMeasures:
        """Two boxes that overlap, with whole numbers from 0 to 9, of which neither contains the other."""

        def draw() -> BoxMeasures:
            boxes = []
            for _ in range(2):
                # sides of 2 to 4: areas stay small, and two boxes often overlap
                left, top = random.randint(0, 5), random.randint(0, 5)
                boxes.append(typed([left, top, left + random.randint(2, 4), top + random.randint(2, 4)]))
            return replace(self, truth=boxes[0], prediction=boxes[1])

        def overlap(solution: Solution) -> bool:
            return all(Fraction(solution.value(name)) > 0 for name in ("TP", "FP", "FN"))

        return by_hand(draw, overlap)


def _listed(numbers: Sequence[Fraction]) -> str:
    return " ".join(f"{float(number):g}" for number in numbers)
