# SPDX-License-Identifier: Apache-2.0
"""Tasks: one question a file, told in order. `tasks/denoise.py` is the task `denoise`."""

from pellucid.tasks._contract import Measure, ModelMeasures, NamedFigure, PredictOptions, Records, Task

__all__ = ["Measure", "ModelMeasures", "NamedFigure", "PredictOptions", "Records", "Task"]
