# SPDX-License-Identifier: Apache-2.0
"""What run.json says of a task and of a model, before there is a run."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pellucid.data.dataset import Dataset
from pellucid.models._own import tried
from pellucid.own.parts import find, is_own, take
from pellucid.tasks import AnyTask, DecidesByThreshold, TaskFamily

__all__ = ["described", "task_name"]


def task_name(task: str | AnyTask | TaskFamily) -> str:
    """A task's name in the catalogue, or that of one of the user's own, which is kept under it."""
    if isinstance(task, str):
        return task if is_own(task) else task.replace("-", "_")
    home = type(task).__module__.split(".")
    if home[:2] == ["pellucid", "tasks"]:  # pellucid.tasks.NAME, or pellucid.tasks.NAME.file where the task is a folder
        return home[2]
    return str(take("tasks", type(task)).name)


def described(
    name: str,
    task: AnyTask,
    named: str,
    dataset: Dataset,
    size: tuple[int, int],
    options: Mapping[str, Any],
    channels: int | None = None,
) -> dict[str, Any]:
    """The description from which `models._building.build` makes a model; one of the user's own is tried on a batch.

    Args:
        name: the model's.
        task: what it answers, after it has read the data.
        named: the task's name.
        dataset: as the task has read it.
        size: (H, W) in px of its images.
        options: of the model.
        channels: of its images, 1 or 3; by default those of the data.

    Raises:
        UsageError: a model of the user's own cannot take the images, or its output has another shape than the task needs.
    """
    description: dict[str, Any] = {
        "name": name,
        "channels": (channels or dataset.channels) + task.extra_planes,
        "outputs": task.outputs(dataset, size),
        "size": list(size),
        "options": dict(options),
    }
    own = find("models", name)
    if own is not None:
        known = tried(own, description, task.accepts, named, isinstance(task, DecidesByThreshold))
        description["own"] = {**own.record, **known}
    return description
