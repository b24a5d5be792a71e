# SPDX-License-Identifier: Apache-2.0
"""The runs that are served, by name."""

from __future__ import annotations

import contextlib
import copy
import re
from collections.abc import Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any, Final, final

from pellucid import _catalog
from pellucid.errors import PellucidError
from pellucid.lenses import Network, Pages, parts_of
from pellucid.run import Run
from pellucid.serving.uploads import FILES, OPTIONS
from pellucid.tasks import AnswersOptions, Measure

__all__ = ["Served", "named"]

_NEIGHBOURS: Final = "neighbours"


@final
class Served:
    """A run under the name by which it is asked.

    Args:
        name: one part of an address.
        run: the run.
        example: whether the server has trained it itself.
    """

    def __init__(self, name: str, run: Run, example: bool = False) -> None:
        self.name, self.run, self.example = name, run, example

    @property
    def now(self) -> Run:
        """The run with its record as it is now: it may be in training."""
        now = copy.copy(self.run)
        now.info = self.run.reread()
        return now

    @property
    def report(self) -> Path | None:
        """The page about the run; None where none was written."""
        path = self.run.path / "report.html"
        return path if path.is_file() else None

    @cached_property
    def options(self) -> Mapping[str, Any]:
        """The fields of the options that the task adds to `predict`, with their defaults."""
        task = self.run.task
        kind = task.predict_options if isinstance(task, AnswersOptions) else None
        return {} if kind is None else {name: field.default for name, field in kind.__dataclass_fields__.items()}

    @cached_property
    def lenses(self) -> Sequence[str]:
        """The lenses of an image that need the model alone, and the images' neighbours in its data; of a detector also its proposals."""
        wanted = Pages if self.run.info["task"]["name"] == "read" else Network
        found = {name: parts_of(_catalog.find("lenses", name)) for name in _catalog.names("lenses")}
        fit = [name for name, parts in found.items() if [kind for kind, _ in parts] == [wanted]]
        fit += [_NEIGHBOURS] if wanted is Network else []
        return [name for name in fit if name != "proposals" or self.run.info["task"]["name"] == "detect"]

    @staticmethod
    def measured(run: Run) -> dict[str, str] | None:
        """The measure that decides, with its interval; None where there is none of the present weights."""
        with contextlib.suppress(PellucidError):  # of damaged files: a run is served without them
            metrics = run.metrics
            if metrics is not None and run.main.key in metrics["model"]:
                measure = Measure(**metrics["model"][run.main.key])
                return {"title": measure.title, "unit": measure.unit, "text": str(measure), "split": metrics["split"]}
        return None

    def described(self) -> dict[str, Any]:
        """What a page shows of it."""
        run = self.now
        info = run.info
        return {
            "name": self.name,
            "task": info["task"]["name"],
            "model": info["model"]["name"],
            "data": Path(str(info["data"]["what"])).name,
            "size": list(run.size),
            "classes": list(run.classes),
            "lenses": list(self.lenses),
            "options": sorted(OPTIONS.keys() & self.options.keys()),
            "files": sorted(FILES.keys() & self.options.keys()),
            "example": self.example,
            "report": self.report is not None,
            "status": run.status,
            "measured": self.measured(run),
        }


def named(runs: Sequence[Run]) -> dict[str, Served]:
    """The runs by the names of their folders; equal ones are numbered.

    A name has only letters, digits and `-_.`, so that it is one part of an address.
    """
    shelf: dict[str, Served] = {}
    for run in runs:
        plain = re.sub(r"[^A-Za-z0-9._-]+", "-", run.path.resolve().name).strip(".-") or "run"
        name, number = plain, 1
        while name in shelf:
            number += 1
            name = f"{plain}-{number}"
        shelf[name] = Served(name, run)
    return shelf
