# SPDX-License-Identifier: Apache-2.0
"""What a sweep returns and writes: a table for the terminal, a CSV file, and a page with the figure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, final

from rich.console import Group
from rich.table import Table
from rich.text import Text

from pellucid import files
from pellucid._notebooks import as_html
from pellucid.comparison.table import AGREEMENT, Comparison, Row, duration, text
from pellucid.files import write_atomically
from pellucid.sweeping.points import Point

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["Sweep", "write"]


@final
@dataclass(frozen=True)
class Sweep:
    """The runs of a sweep side by side, and the deciding measure against the swept number.

    rich prints a row for each combination, over its seeds; with one seed, the comparison of the runs.
    """

    comparison: Comparison = field(repr=False)
    points: tuple[Point, ...]
    axis: str | None  # the swept number
    caption: str
    figure: Figure | None = field(repr=False)  # None where no run could be measured
    written: tuple[Path, ...] = ()

    @property
    def rows(self) -> tuple[Row, ...]:
        """The runs, in the order of the sweep."""
        return self.comparison.rows

    @property
    def notes(self) -> tuple[str, ...]:
        """What to know about single runs."""
        return self.comparison.notes

    @property
    def files(self) -> tuple[Path, ...]:
        """Everything that was written beside the runs."""
        return (*self.comparison.files, *self.written)

    def _repr_html_(self) -> str:
        return as_html(self)

    def __rich__(self) -> Group:
        lines = [Text(f"written to {file}") for file in self.written]
        if not any(len(point.values) > 1 or point.baseline for point in self.points):
            return Group(self.comparison, *lines)
        failed = [Text(note) for note in self.notes if "failed" in note or "could not be measured" in note]
        return Group(_table(self.points, self.axis, self.caption), *failed, *lines)


def _cells(point: Point) -> list[str]:
    seeds = f"{len(point.values)}"
    seconds = "" if point.seconds is None else duration(point.seconds)
    agreement = "" if point.agreement is None else f"{point.agreement:.3f}"
    return [point.line, text(point.place), point.shown, point.shown_spread or "–", agreement, seeds, seconds]


def _titles(points: Sequence[Point], axis: str | None) -> list[str]:
    measure = points[0].measure
    title = measure.title + (f" [{measure.unit}]" if measure.unit else "")
    return ["", (axis or "").replace("_", " "), f"{title}, 95 % interval", "spread", AGREEMENT, "seeds", "training"]


def _shown(points: Sequence[Point], axis: str | None) -> list[int]:
    """The columns that say something."""
    empty = {1: not axis, 4: all(point.agreement is None for point in points)}
    return [place for place in range(7) if not empty.get(place)]


def _table(points: Sequence[Point], axis: str | None, caption: str) -> Table:
    table = Table(title=Text(caption), title_justify="left", box=None, pad_edge=False, header_style="bold")
    kept = _shown(points, axis)
    for place in kept:
        table.add_column(Text(_titles(points, axis)[place]), justify="left" if place == 0 else "right")
    line = ""
    for point in points:
        cells = _cells(point)
        shown = ["" if place == 0 and point.line == line else cells[place] for place in kept]
        table.add_row(*map(Text, shown), style="dim" if point.baseline else "")
        line = point.line
    return table


def write(points: Sequence[Point], axis: str | None, caption: str, figure: Figure, folder: Path) -> tuple[Path, ...]:
    """Write sweep.csv, sweep.png and sweep.md, a page with both, into a folder."""
    table, picture, page = folder / "sweep.csv", folder / "sweep.png", folder / "sweep.md"
    files.write_csv(table, [_record(point, axis) for point in points])
    with write_atomically(picture) as draft:
        figure.savefig(draft, format="png", facecolor="white")
    with write_atomically(page) as draft:
        draft.write_text(_page(points, axis, caption), encoding="utf-8")
    return table, picture, page


def _record(point: Point, axis: str | None) -> dict[str, Any]:
    swept = {axis: text(point.place)} if axis else {}
    measure = point.measure
    return {
        "line": point.line, **swept, "kind": "baseline" if point.baseline else "model", "measure": measure.title,
        "mean": measure.value, "low": measure.low, "high": measure.high, "spread": point.spread,
        "agreement": point.agreement, "seeds": " ".join(map(str, point.values)),
        "values": " ".join(f"{value:.6g}" for value in point.values.values()),
        "test_images": point.n, "seconds": point.seconds,
    }  # fmt: skip


def _page(points: Sequence[Point], axis: str | None, caption: str) -> str:
    titles = _titles(points, axis)
    kept = _shown(points, axis)
    rows = [[titles[place] for place in kept], ["---" if place == 0 else "---:" for place in kept]]
    rows += [[_cells(point)[place] for place in kept] for point in points]
    table = "\n".join("| " + " | ".join(cell.replace("|", "\\|") for cell in row) + " |" for row in rows)
    return (
        f"# Sweep\n\n![{caption}](sweep.png)\n\n{caption}\n\n{table}\n\n"
        "The interval is that of the mean over the seeds, over the choice of test images; the spread is the standard deviation "
        "of single seeds, each of which draws its own training images and first weights.\n"
    )
