# SPDX-License-Identifier: Apache-2.0
"""counted_measures: intersection over union, recall, specificity and precision from counts of hits and misses."""

from __future__ import annotations

from dataclasses import dataclass, replace
from random import Random
from typing import final

from pellucid.errors import UsageError
from pellucid.worked.builders._counts import put_rates
from pellucid.worked.forms.contract import Builder
from pellucid.worked.worksheet.worksheet import Worksheet

__all__ = ["CountedMeasures"]


@final
@dataclass(frozen=True)
class CountedMeasures(Builder):
    """Work intersection over union, recall, specificity and precision by hand, from counts of hits and misses."""

    topic = "detection and segmentation"
    question = "What are IoU, recall (TPR), specificity (TNR) and precision (PPV) of counts?"

    tp: int = 8
    """true positives: predicted and true"""
    fp: int = 2
    """false positives: predicted and not true"""
    fn: int = 4
    """false negatives: true and not predicted"""
    tn: int | None = 6
    """true negatives: neither; None leaves the specificity out"""

    @staticmethod
    def build(tp: int, fp: int, fn: int, tn: int | None = None) -> Worksheet:
        """The worksheet of counts of hits and misses.

        >>> print(CountedMeasures.build(8, 2, 4, 6).solve().value("precision"))
        4/5

        Args:
            tp: predicted and true.
            fp: predicted and not true.
            fn: true and not predicted.
            tn: neither; without it the specificity is left out.

        Raises:
            UsageError: a count below 0.
        """
        sheet = Worksheet()
        for name, count in (("TP", tp), ("FP", fp), ("FN", fn), ("TN", tn)):
            if count is not None and count < 0:
                raise UsageError(f"{name}={count}: is a count; give a number from 0 on.")
            if count is not None:
                sheet[name] = count
        put_rates(sheet)
        return sheet

    def worksheet(self) -> Worksheet:
        """The worksheet of the options."""
        return self.build(self.tp, self.fp, self.fn, self.tn)

    def draw(self, random: Random) -> CountedMeasures:
        """Counts from 1 to 9."""
        # from 1 on, so that every measure has a value
        tp, fp, fn, tn = (random.randint(1, 9) for _ in range(4))
        return replace(self, tp=tp, fp=fp, fn=fn, tn=tn)
