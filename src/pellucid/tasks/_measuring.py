# SPDX-License-Identifier: Apache-2.0
"""How the images of a batch are measured: from the answers alone, with the model itself, or by what takes longer than an answer."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol, runtime_checkable

from torch import nn

from pellucid.tasks._contract import AnyTask

__all__ = ["MeasuresSlowly", "MeasuresWithModel", "measured"]


@runtime_checkable
class MeasuresWithModel(Protocol):
    """The measures of an image need the model itself, as a likelihood does, and not only its answer."""

    def measure(self, model: nn.Module, input: Any, truth: Any) -> dict[str, Any]:
        """The records of a batch, instead of `score`'s."""


@runtime_checkable
class MeasuresSlowly(Protocol):
    """Some measures of an image cost more than the answer: `evaluate` computes them, the validation after each epoch does not."""

    def measure_slowly(self, input: Any, prediction: Any, truth: Any) -> dict[str, Any]:
        """Records of a batch beside `score`'s; fewer where this machine lacks what they need."""

    @property
    def unmeasured(self) -> Sequence[str]:
        """What this machine cannot measure, and how it could: a sentence each."""


def measured(task: AnyTask, model: nn.Module, input: Any, truth: Any, quickly: bool = False) -> dict[str, Any]:
    """The records of a batch: columns with B rows; quickly: without those that cost more than the answer."""
    if isinstance(task, MeasuresWithModel):
        return task.measure(model, input, truth)
    prediction = task.predict(model, input)
    records = task.score(input, prediction, truth)
    if isinstance(task, MeasuresSlowly) and not quickly:
        records |= task.measure_slowly(input, prediction, truth)
    return records
