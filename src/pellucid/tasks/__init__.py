# SPDX-License-Identifier: Apache-2.0
"""Tasks: one question a file, told in order. `tasks/denoise.py` is the task `denoise`."""

from pellucid.tasks._contract import Asking, Measure, Records, Shown, Survey, Task

__all__ = ["Asking", "Measure", "Records", "Shown", "Survey", "Task"]
