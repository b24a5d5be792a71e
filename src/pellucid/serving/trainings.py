# SPDX-License-Identifier: Apache-2.0
"""How a run was trained, also while it is: its curves and measures, and those of several runs side by side."""

from __future__ import annotations

import contextlib
import tempfile
from collections.abc import Sequence
from typing import Any

from pellucid.comparison.comparison import compare
from pellucid.comparison.table import text
from pellucid.errors import PellucidError
from pellucid.files import plain
from pellucid.run import Run
from pellucid.serving.limits import Refused
from pellucid.serving.shelf import Served
from pellucid.tasks import Measure

__all__ = ["compared", "course"]


def course(served: Served) -> dict[str, Any]:
    """The curves of a run so far, its measures and those of its baselines with intervals.

    Raises:
        RunError: its record or its history is damaged.
    """
    run = served.now
    info, main = run.info, run.main
    metrics: Any = None
    with contextlib.suppress(PellucidError):  # damaged measures are as good as none; `evaluate` says what is wrong
        metrics = run.metrics
    owners = {} if metrics is None else {"model": metrics["model"], **metrics["baselines"]}
    found: dict[str, Any] = plain(
        {
            "run": served.name,
            "task": info["task"]["name"],
            "status": run.status,
            "epochs": info["recipe"]["epochs"],
            "parameters": info["parameters"],
            "seconds": info.get("seconds"),
            "best": info.get("best"),
            "main": {"key": main.key, "title": main.title, "unit": main.unit, "better": main.better},
            "history": [*run.history],
            "measures": [
                {"of": owner, "measures": {_titled(one): str(Measure(**one)) for one in measures.values()}}
                for owner, measures in owners.items()
            ],
            "split": None if metrics is None else metrics["split"],
            "images": None if metrics is None else metrics["n"],
        }
    )
    return found


def _titled(measure: dict[str, Any]) -> str:
    return f"{measure['title']} [{measure['unit']}]" if measure["unit"] else str(measure["title"])


def compared(several: Sequence[Served]) -> dict[str, Any]:
    """Runs of one task side by side, as `compare` sets them; nothing is written into them.

    Args:
        several: two or more.

    Raises:
        Refused: they answer different tasks, or fewer than two have measures of their present weights.
    """
    runs = {served.run.path.resolve(): (served.name, served.now) for served in several}
    tasks = sorted({run.info["task"]["name"] for _, run in runs.values()})
    if len(tasks) > 1:
        raise Refused(400, f"run: those named are of {' and '.join(tasks)}; name runs of one task.")
    notes = [
        f"{name} has no measures of its present weights; `pellucid evaluate` makes them."
        for name, run in runs.values()
        if not _is_measured(run)
    ]
    measured = [run for _, run in runs.values() if _is_measured(run)]
    if len(measured) < 2:
        words = " ".join(notes) or "a comparison needs two runs or more"
        raise Refused(422, f"run: {words.rstrip('.')}; name two runs that are measured.")
    with tempfile.TemporaryDirectory() as folder:
        found = compare(measured, folder)
    names = {path: name for path, (name, _) in runs.items()}
    rows = [
        {
            "run": names[row.run.path.resolve()],
            "options": {name: text(value) for name, value in row.options.items()},
            "parameters": row.run.info["parameters"],
            "seconds": row.run.info["seconds"],
            "measure": str(row.measure or "–"),
            "difference": str(row.difference or ""),
            "verdict": row.verdict,
        }
        for row in found.rows
    ]
    main = measured[0].main
    titled = _titled({"title": main.title, "unit": main.unit})
    return plain({"task": tasks[0], "measure": titled, "rows": rows, "notes": [*notes, *found.notes]})  # type: ignore[no-any-return]


def _is_measured(run: Run) -> bool:
    """Whether a run has measures; one without any would be measured by `compare`, which writes that down in its folder."""
    with contextlib.suppress(PellucidError):
        return run.status != "failed" and run.metrics is not None
    return False
