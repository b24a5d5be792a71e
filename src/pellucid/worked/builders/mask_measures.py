# SPDX-License-Identifier: Apache-2.0
"""mask_measures: intersection over union, recall, specificity and precision of two masks, pixel by pixel."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import KW_ONLY, dataclass, replace
from fractions import Fraction
from random import Random
from typing import final

from pellucid.worked.builders._counts import mask_map, masks, put_rates
from pellucid.worked.expressions.expression import Expr, Index, Name, Sum, as_expr
from pellucid.worked.forms.contract import Builder
from pellucid.worked.forms.exercise import by_hand
from pellucid.worked.forms.numbers import read_tensor, typed
from pellucid.worked.showing.grids import Grid
from pellucid.worked.worksheet.solution import Solution
from pellucid.worked.worksheet.tensors import Numbers, as_tensor, define
from pellucid.worked.worksheet.worksheet import Worksheet

__all__ = ["MaskMeasures"]


@final
@dataclass(frozen=True)
class MaskMeasures(Builder):
    """Work intersection over union, recall, specificity and precision of two masks by hand."""

    topic = "detection and segmentation"
    question = "How well does a mask fit another, pixel by pixel?"

    truth: str = "0 1 1; 0 1 0"
    """the true mask, rows of 0 and 1"""
    prediction: str = "0 0.9 0.4; 0.7 0.6 0.1"
    """the predicted mask, rows of 0 and 1 or of probabilities"""
    _: KW_ONLY
    threshold: float = 0.5
    """probability from which on a pixel counts as predicted"""

    @staticmethod
    def build(truth: Numbers, prediction: Numbers, *, threshold: float | Fraction = Fraction(1, 2)) -> Worksheet:
        """The worksheet of two masks: pixels counted, then IoU, recall, specificity and precision.

        >>> solution = MaskMeasures.build([[1, 1], [0, 0]], [[0.9, 0.2], [0.7, 0.1]]).solve(exact=True)
        >>> print(solution.value("IoU"), solution.value("precision"))
        1/3 1/2

        Args:
            truth: rows of 0 and 1.
            prediction: rows of 0 and 1, or of probabilities.
            threshold: the probability from which on a pixel counts as predicted.

        Raises:
            UsageError: shapes that differ, or a truth other than 0 and 1.
        """
        t, p = masks(truth, prediction, threshold)
        sheet = Worksheet()
        # (H·W,): masks are counted, and where a pixel is does not matter
        define(sheet, "t", as_tensor(t.reshape(-1), "truth"))
        define(sheet, "p", as_tensor(p.reshape(-1), "prediction"))
        if t.ndim == 2:
            sheet.remark("Pixels are numbered row by row; t is the truth, p the prediction.")
        body = (Index("t", (Name("i"),)), Index("p", (Name("i"),)))
        pixels = [(Name(f"t_{n}"), Name(f"p_{n}")) for n in range(1, t.size + 1)]
        for name, true, predicted in (
            ("TP", True, True),
            ("FP", False, True),
            ("FN", True, False),
            ("TN", False, False),
        ):
            # the sum is shown with its index, and worked out from its terms
            first, *terms = (_counted(*pair, true, predicted) for pair in (body, *pixels))
            sheet[name] = Sum(first, "i", as_expr(1), as_expr(t.size), tuple(terms))
        sheet.ask("TP", "FP", "FN", "TN")
        put_rates(sheet)
        return sheet

    def worksheet(self) -> Worksheet:
        """The worksheet of the options."""
        truth, prediction = read_tensor(self.truth, "truth"), read_tensor(self.prediction, "prediction")
        return self.build(truth, prediction, threshold=self.threshold)

    def grids(self, solution: Solution) -> Sequence[Grid]:
        """Both masks, and how each pixel counts."""
        truth, prediction = read_tensor(self.truth, "truth"), read_tensor(self.prediction, "prediction")
        return [mask_map(truth, prediction, threshold=self.threshold)]

    def draw(self, random: Random) -> MaskMeasures:
        """Two masks of 3×3 pixels with at least one pixel of every kind."""

        def draw() -> MaskMeasures:
            truth, prediction = ([[random.randint(0, 1) for _ in range(3)] for _ in range(3)] for _ in range(2))
            return replace(self, truth=typed(truth), prediction=typed(prediction))

        # else some measure would have no value
        def every_kind(solution: Solution) -> bool:
            return all(Fraction(solution.value(name)) > 0 for name in ("TP", "FP", "FN", "TN"))

        return by_hand(draw, every_kind)


def _counted(t: Expr, p: Expr, true: bool, predicted: bool) -> Expr:
    """1 for a pixel of this kind, else 0."""
    # of numbers 0 and 1 the product is their "and"
    return (t if true else 1 - t) * (p if predicted else 1 - p)
