# SPDX-License-Identifier: Apache-2.0
"""The runs that a command is of: those that it names, or those below runs/."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from pellucid.errors import RunError
from pellucid.run import Run

__all__ = ["newest", "opened", "runs_below"]


def runs_below() -> Sequence[Path]:
    """The runs below runs/, the newest last.

    Raises:
        RunError: there are none.
    """
    records = sorted(Path("runs").glob("**/run.json"), key=lambda file: file.stat().st_mtime)
    if not records:
        raise RunError("run=None: there is no run below runs/; name one, or train one with `pellucid train`.")
    return [record.parent for record in records]


def newest() -> Path:
    """The newest run below runs/."""
    return runs_below()[-1]


def opened(path: Path, model: str | None, task: str | None) -> Run | Path:
    """A run with what is given again of its model and task, or its folder."""
    return path if model is None and task is None else Run(path, model=model, task=task)
