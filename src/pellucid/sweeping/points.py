# SPDX-License-Identifier: Apache-2.0
"""What came of a sweep: the deciding measure of each line at each value of the swept number, over the seeds."""

from __future__ import annotations

import math
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, final

from pellucid._digits import interval_digits
from pellucid.comparison.table import Row
from pellucid.errors import PellucidError
from pellucid.sweeping.grid import Training
from pellucid.tasks import Measure, Metric, Records, averaged, rows_of

__all__ = ["Point", "points"]


@final
@dataclass(frozen=True)
class Point:
    """The deciding measure of the runs that differ in their seed alone."""

    line: str  # the case or model, with the options that differ; or the name of a baseline
    place: Any  # the value of the swept number; None where none is swept
    baseline: bool
    values: Mapping[int, float]  # by seed
    measure: Measure  # the mean over the seeds, with its interval over the test images
    n: int  # test images
    seconds: float | None  # of training, all seeds together; None for a baseline
    agreement: float | None = None  # of the seeds' answers, without labels; None where the task has none

    @property
    def spread(self) -> float | None:
        """The standard deviation over the seeds; None for one seed."""
        return statistics.stdev(self.values.values()) if len(self.values) > 1 else None

    @property
    def shown(self) -> str:
        """The mean with its interval, to the digits that the interval leaves meaningful."""
        return str(self.measure)

    @property
    def shown_spread(self) -> str:
        """The spread to the digits of the mean; "" for one seed."""
        if self.spread is None:
            return ""
        return f"{self.spread:.{interval_digits(self.measure.low, self.measure.high)}f}"


def points(trainings: Sequence[Training], rows: Sequence[Row], axis: str | None) -> list[Point]:
    """The points of each line, in the order of the sweep, and after them those of the baselines that were measured.

    Args:
        trainings: the combinations.
        rows: their runs, as `compare` gives them.
        axis: the swept number.
    """
    by_name = {row.run.path.name: row for row in rows}
    models: dict[tuple[str, Any], dict[int, tuple[Row, Records]]] = {}
    rivals: dict[tuple[str, Any], dict[int, tuple[Row, Records]]] = {}
    for training in trainings:
        row = by_name.get(training.name)
        if row is None or row.metrics is None:
            continue
        place, seed = training.varied.get(axis) if axis else None, int(row.run.info["seed"])
        if row.records:
            models.setdefault((training.line(axis), place), {})[seed] = row, row.records
        for name in row.metrics["baselines"]:
            own = rivals.setdefault((name, place), {})
            # the simple methods of two lines differ in nothing but the size of the images
            if seed not in own and (records := _rival(row, name)):
                own[seed] = row, records
    found = [_point(key, own, False) for key, own in models.items()]
    found += [_point(key, own, True) for key, own in rivals.items()]
    lines = [*dict.fromkeys(point.line for point in found)]
    return sorted(found, key=lambda point: (lines.index(point.line), _rank(point)))


def _rival(row: Row, name: str) -> Records:
    try:
        records: Records = row.run.records(f"baselines/{name}")
    except PellucidError:  # damaged: `compare` has said so
        return {}
    return records if row.metrics is not None and "index" not in records else {}


def _point(key: tuple[str, Any], own: Mapping[int, tuple[Row, Records]], baseline: bool) -> Point:
    rows, tables = [row for row, _ in own.values()], [records for _, records in own.values()]
    metric: Metric = rows[0].run.main
    seconds = None if baseline else sum(float(row.run.info["seconds"]) for row in rows)
    values = {seed: metric.value(records) for seed, (_, records) in own.items()}
    agreed = [row.agreement for row in rows if row.agreement is not None and not baseline]
    return Point(
        key[0], key[1], baseline, values, averaged(metric, tables), rows_of(tables[0]), seconds,
        statistics.mean(agreed) if agreed else None,
    )  # fmt: skip


def _rank(point: Point) -> float:
    return float(point.place) if isinstance(point.place, (int, float)) else -math.inf
