# SPDX-License-Identifier: Apache-2.0
"""`compare` and `sweep`: runs side by side, and whether a difference between them is more than chance."""

from __future__ import annotations

import csv
import hashlib
import itertools
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, final, get_origin

import numpy as np
from rich.console import Group
from rich.table import Table

from pellucid import _catalog
from pellucid.data.dataset import Dataset
from pellucid.difference import Difference, paired, unpaired
from pellucid.errors import PellucidError, TrainingError, UnknownNameError, UsageError
from pellucid.files import write_atomically
from pellucid.inference import evaluate
from pellucid.models import building
from pellucid.run import Run
from pellucid.settings import Settings
from pellucid.sidebyside import figure
from pellucid.tasks import Measure
from pellucid.training import train

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["Comparison", "Row", "compare", "sweep"]

_LEVEL = 0.95


@final
@dataclass(frozen=True)
class Row:
    """One run in a comparison."""

    name: str  # the shortest end of its path that no other has
    run: Run
    asked: Mapping[str, Any]  # the options in which the runs differ
    metrics: Mapping[str, Any] | None  # None: it could not be measured
    difference: Difference | None = None  # of the main measure to the best run of the same task; None for that run

    @property
    def main(self) -> str:
        """The measure that decides."""
        return self.run.task.main

    @property
    def measure(self) -> Measure | None:
        """The main measure on the test images."""
        return Measure(**self.metrics["model"][self.main]) if self.metrics else None


@final
@dataclass(frozen=True)
class Comparison:
    """Runs side by side; printed by rich as a table."""

    rows: tuple[Row, ...]
    notes: tuple[str, ...]
    figure: Figure = field(repr=False)
    files: tuple[Path, ...] = ()

    def __rich__(self) -> Group:
        tables = [
            self._table([row for row in self.rows if row.run.info["task"]["name"] == name]) for name in self._tasks
        ]
        lines = [*self.notes, *(f"written to {file}" for file in self.files)]
        return Group(*tables, *(line.replace("[", "\\[") for line in lines))

    @property
    def _tasks(self) -> list[str]:
        return list(dict.fromkeys(row.run.info["task"]["name"] for row in self.rows))

    def _table(self, rows: Sequence[Row]) -> Table:
        measured = [row.metrics for row in rows if row.metrics]
        units = {name: m["unit"] for metrics in measured[::-1] for name, m in metrics["model"].items()}
        asked = list(dict.fromkeys(name for row in rows for name in row.asked))
        about = f"{rows[0].run.info['task']['name']}: measures on the test images, with 95 % intervals"
        table = Table(title=about, title_justify="left", box=None, pad_edge=False, header_style="bold")
        for title in ("run", *asked):
            table.add_column(title)
        for title in ("parameters", "time", *(f"{n}{f' [{u}]' if u else ''}" for n, u in units.items())):
            table.add_column(title.replace("[", "\\["), justify="right")
        table.add_column(f"{rows[0].main} minus the best's", justify="right")
        table.add_column("")
        for row in rows:
            found = row.metrics["model"] if row.metrics else {}
            best = row.metrics is not None and row.difference is None
            said = (
                "best"
                if best
                else "–"
                if row.difference is None
                else "real"
                if row.difference.real
                else "may be chance"
            )
            table.add_row(
                row.name,
                *(_text(row.asked.get(name)) for name in asked),
                f"{row.run.info['parameters']:,}",
                _duration(row.run.info["seconds"]),
                *(str(Measure(**found[name])) if name in found else "–" for name in units),
                str(row.difference) if row.difference else "",
                said,
                style="bold" if best else "",
            )
        return table


def compare(runs: Sequence[Run | str | Path], out: str | Path | None = None) -> Comparison:
    """Set runs side by side: parameters, time, measures with intervals, and whether a difference is real.

    Each run stands against the best one of its task. Where both saw the same test images, the difference is bootstrapped
    image by image; else it comes from the two intervals. The intervals of the differences are widened so that all of
    them together hold at 95 % (Bonferroni). A run that was not evaluated yet is, without its baselines.

    >>> import tempfile
    >>> folder = tempfile.TemporaryDirectory()
    >>> options = {"data": "digits", "model": "mlp", "progress": False}
    >>> runs = [train(out=f"{folder.name}/{n}", hidden=(8,), epochs=n, **options) for n in (1, 9)]
    >>> found = compare(runs)
    >>> [(row.name, row.difference.real if row.difference else "best") for row in found.rows]
    [('1', True), ('9', 'best')]
    >>> [file.name for file in found.files]
    ['comparison.csv', 'comparison.png']
    >>> folder.cleanup()

    Args:
        runs: two or more runs, or their folders.
        out: the folder for comparison.csv and comparison.png; by default comparison/ beside the first run.

    Raises:
        UsageError: fewer than two runs.
        RunError: a folder that is no run.
    """
    unique = {run.path.resolve(): run for run in (r if isinstance(r, Run) else Run(r) for r in runs)}
    if len(unique) < 2:
        raise UsageError(f"runs={[str(path) for path in unique]}: a comparison needs two runs or more; name another.")
    chosen = list(unique.values())
    notes: list[str] = []
    rows = [
        Row(name, run, asked, _metrics(run, name, notes))
        for run, name, asked in zip(chosen, _names(chosen), _asked(chosen), strict=True)
    ]
    for task in dict.fromkeys(row.run.info["task"]["name"] for row in rows):
        places = [i for i, row in enumerate(rows) if row.run.info["task"]["name"] == task]
        for place, row in zip(places, _judged([rows[i] for i in places], notes), strict=True):
            rows[place] = row
    drawn = figure([(row.name, row.run, row.measure) for row in rows])
    folder = Path(out) if out is not None else chosen[0].path.parent / "comparison"
    comparison = Comparison(tuple(rows), tuple(dict.fromkeys(notes)), drawn)
    return replace(comparison, files=_written(comparison, folder))


def _metrics(run: Run, name: str, notes: list[str]) -> Mapping[str, Any] | None:
    """What `evaluate` found, or finds now; None, with the reason, for a run that has nothing to measure."""
    if run.status == "failed":
        notes.append(f"{name} failed: {run.info.get('failure', 'see its run.json')}")
        return None
    if run.status != "finished":
        notes.append(f"{name} is {run.status} at epoch {(run.history or [{'epoch': 0}])[-1]['epoch']:g}.")
    found = run.metrics
    if found is None:
        try:
            return evaluate(run, baselines=False)
        except PellucidError as fault:
            notes.append(f"{name} was not measured: {fault}")
    return found


def _judged(rows: list[Row], notes: list[str]) -> list[Row]:
    """The rows of one task, each with its difference to the best of them."""
    candidates = [row for row in rows if row.measure is not None and row.measure.value is not None]
    if len(candidates) < 2:
        return rows
    better = candidates[0].measure.better  # type: ignore[union-attr]
    sign = {"lower": -1, "neither": 0}.get(better, 1)
    best = max(candidates, key=lambda row: sign * row.measure.value)  # type: ignore[union-attr]
    level = 1 - (1 - _LEVEL) / (len(candidates) - 1)
    others = [row for row in candidates if row is not best]
    columns = {row.name: _pair(row, best) for row in others}
    together = [row for row in others if columns[row.name] is not None]
    found: dict[str, Difference] = {}
    if together:
        reference = best.run.records()[best.main]
        matched = paired([columns[row.name] for row in together], reference, level)  # type: ignore[misc]
        found = dict(zip([row.name for row in together], matched, strict=True))
        notes.append(
            f"{_few([row.name for row in together])} against {best.name}: paired bootstrap over the same {len(reference):,} images."
        )
    for row in others:
        if row.name not in found:
            found[row.name] = unpaired(row.metrics["model"][row.main], best.metrics["model"][best.main], level)  # type: ignore[index]
            notes.append(
                f"{row.name} against {best.name}: unpaired, from the two intervals, since {_why_unpaired(row, best)}."
            )
    if len(others) > 1:
        notes.append(
            f"The intervals of the {len(others)} differences hold together at 95 % (each at {100 * level:.1f} %)."
        )
    return [replace(row, difference=found.get(row.name)) for row in rows]


def _why_unpaired(row: Row, best: Row) -> str | None:
    """Why two runs cannot be compared image by image; None where they can."""
    assert row.metrics is not None
    assert best.metrics is not None
    if row.run.info["data"]["fingerprint"] != best.run.info["data"]["fingerprint"]:
        return "their data differ"
    if (row.metrics["split"], row.metrics["n"]) != (best.metrics["split"], best.metrics["n"]):
        return "they were measured on different splits"
    for each in (row, best):
        if len(each.run.records().get(each.main, ())) != each.metrics["n"]:
            return f"{each.name} has no {each.main} of each image"
    return None


def _pair(row: Row, best: Row) -> np.ndarray[Any, Any] | None:
    return row.run.records()[row.main] if _why_unpaired(row, best) is None else None
