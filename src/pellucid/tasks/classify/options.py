# SPDX-License-Identifier: Apache-2.0
"""Options of `predict` for classification."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal, final

from pellucid.errors import UsageError
from pellucid.tasks._answering import PredictOptions

__all__ = ["ClassifyOptions"]


@final
@dataclass(frozen=True)
class ClassifyOptions(PredictOptions):
    """From which probability on the positive one of two classes is answered.

    >>> ClassifyOptions(threshold=1.2)
    Traceback (most recent call last):
    pellucid.errors.UsageError: threshold=1.2: is a probability; give a number from 0 to 1.
    """

    threshold: float | Literal["chosen"] | None = None
    """of two classes, the probability from which the positive one is answered, 0 to 1, or "chosen": the threshold that the training
    chose on the validation images; by default the most probable class is answered"""

    def __post_init__(self) -> None:
        value = self.threshold
        if value is None or value == "chosen":
            return
        if (
            isinstance(value, bool)
            or not isinstance(value, (int, float))
            or not (math.isfinite(value) and 0 <= value <= 1)
        ):
            raise UsageError(f"threshold={value!r}: is a probability; give a number from 0 to 1.")
