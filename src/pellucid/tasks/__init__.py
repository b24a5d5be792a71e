# SPDX-License-Identifier: Apache-2.0
"""Tasks: one question about images each. The file or folder `denoise` contains the task `denoise`."""

from pellucid.tasks._contract import (
    AnswersOptions,
    AnyTask,
    KnowsChance,
    MeasuresModel,
    MeasuresWithModel,
    ModelMeasures,
    MultiPlayer,
    NamedFigure,
    PredictOptions,
    Snapshots,
    Task,
    TaskFamily,
    UpdatesBuffers,
    lr_factors_of,
    measured,
    players_of,
    steps_of,
)
from pellucid.tasks._metrics import Measure, Metric, bounds, differences, gaps, summarise
from pellucid.tasks._planes import through_planes
from pellucid.tasks._records import Ragged, Records, as_arrays, from_arrays, joined, rows_of, taken

__all__ = [
    "AnswersOptions",
    "AnyTask",
    "KnowsChance",
    "Measure",
    "MeasuresModel",
    "MeasuresWithModel",
    "Metric",
    "ModelMeasures",
    "MultiPlayer",
    "NamedFigure",
    "PredictOptions",
    "Ragged",
    "Records",
    "Snapshots",
    "Task",
    "TaskFamily",
    "UpdatesBuffers",
    "as_arrays",
    "bounds",
    "differences",
    "from_arrays",
    "gaps",
    "joined",
    "lr_factors_of",
    "measured",
    "players_of",
    "rows_of",
    "steps_of",
    "summarise",
    "taken",
    "through_planes",
]
