# SPDX-License-Identifier: Apache-2.0
"""The runs that are served, by name, and their models in memory."""

from __future__ import annotations

import re
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, final

from pellucid import _catalog
from pellucid.errors import UsageError
from pellucid.lenses import Network, Pages, parts_of
from pellucid.measures import WEIGHTS
from pellucid.predicting import prepared
from pellucid.run import Run
from pellucid.serving.limits import Refused
from pellucid.serving.uploads import OPTIONS
from pellucid.tasks import AnswersOptions

if TYPE_CHECKING:
    from torch import nn

__all__ = ["Models", "Served", "named"]


@final
class Served:
    """A run under the name by which it is asked."""

    def __init__(self, name: str, run: Run) -> None:
        self.name, self.run = name, run

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
        """The lenses that need an image and the model, and nothing of the training's data; of a detector also its proposals."""
        wanted = Pages if self.run.info["task"]["name"] == "read" else Network
        found = {name: parts_of(_catalog.find("lenses", name)) for name in _catalog.names("lenses")}
        fit = [name for name, parts in found.items() if [kind for kind, _ in parts] == [wanted]]
        return [name for name in fit if name != "proposals" or self.run.info["task"]["name"] == "detect"]

    def described(self) -> dict[str, Any]:
        """What a page shows of it."""
        info, run = self.run.info, self.run
        return {
            "name": self.name,
            "task": info["task"]["name"],
            "model": info["model"]["name"],
            "data": Path(str(info["data"]["what"])).name,
            "size": list(run.size),
            "classes": list(run.classes),
            "lenses": list(self.lenses),
            "options": sorted(OPTIONS.keys() & self.options.keys()),
            "report": self.report is not None,
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


@final
class Models:
    """Models in memory, one a run; those that were asked longest ago make room for others.

    Not safe for several threads: one thread answers.

    Args:
        room: bytes that their weights may take together.
    """

    def __init__(self, room: int) -> None:
        if room <= 0:
            raise UsageError(f"memory={room / (1 << 30):g}: must be above 0 GiB; give another value.")
        self.room = room
        self.held = 0  # bytes
        self._kept: OrderedDict[str, tuple[nn.Module, int]] = OrderedDict()

    @property
    def names(self) -> Sequence[str]:
        """The runs whose models are in memory, the last asked one last."""
        return [*self._kept]

    def of(self, served: Served) -> nn.Module:
        """The model of a run, read if it is not in memory.

        Raises:
            Refused: it takes more than all the room.
        """
        if served.name in self._kept:
            self._kept.move_to_end(served.name)
            return self._kept[served.name][0]
        file = served.run.path / WEIGHTS["best"]
        self._make_room(served.name, file.stat().st_size if file.exists() else 0)
        model = prepared(served.run)
        size = sum(tensor.nbytes for tensor in (*model.parameters(), *model.buffers()))
        self._make_room(served.name, size)
        self._kept[served.name] = model, size
        self.held += size
        return model

    def _make_room(self, name: str, size: int) -> None:
        if size > self.room:
            need, have = size / (1 << 30), self.room / (1 << 30)
            raise Refused(
                507, f"run={name!r}: its model takes {need:.3g} GiB, and --memory is {have:.3g}; serve it with more."
            )
        while self.held + size > self.room:
            _, (_, freed) = self._kept.popitem(last=False)
            self.held -= freed
