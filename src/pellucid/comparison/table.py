# SPDX-License-Identifier: Apache-2.0
"""Runs side by side: a table for the terminal, a CSV file and a figure."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, final

from rich.console import Group
from rich.table import Table
from rich.text import Text

from pellucid import files
from pellucid._notebooks import as_html, frame_of
from pellucid.comparison.difference import Difference
from pellucid.run import Run
from pellucid.tasks import Measure, Records

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from pandas import DataFrame

__all__ = ["AGREEMENT", "Comparison", "Row", "draw", "write_csv"]

# Okabe & Ito 2008: colours that the colour-blind can tell apart; further runs repeat them with another line style
COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#555555")
LINES = ("-", "--", ":", "-.")
AGREEMENT = "agreement of seeds"
_ABREAST = 4  # most runs shown in columns of their own


@final
@dataclass(frozen=True)
class Row:
    """One run in a comparison."""

    name: str  # the shortest end of its path that is unique among the runs
    run: Run
    options: Mapping[str, Any]  # the options in which the runs differ
    metrics: Mapping[str, Any] | None  # None: it could not be measured
    records: Records = field(default_factory=dict, repr=False)  # of each test image
    best: bool = False  # the best of its task
    difference: Difference | None = None  # its main measure minus that of the best run
    agreement: float | None = None  # with the runs of other seeds, without labels

    @property
    def task(self) -> str:
        """The task's name."""
        return str(self.run.info["task"]["name"])

    @property
    def measures(self) -> dict[str, Measure]:
        """The measures on the test images; {} if the run was not evaluated."""
        return {name: Measure(**numbers) for name, numbers in self.metrics["model"].items()} if self.metrics else {}

    @property
    def measure(self) -> Measure | None:
        """The main measure."""
        return self.measures.get(self.run.main.key)

    @property
    def verdict(self) -> str:
        """Its difference to the best run: "best", "real", "may be chance", or "–" if there is nothing to compare."""
        if self.best:
            return "best"
        return "–" if self.difference is None else "real" if self.difference.real else "may be chance"


@final
@dataclass(frozen=True)
class Comparison:
    """Runs side by side; rich prints one table per task."""

    rows: tuple[Row, ...]
    notes: tuple[str, ...]
    figure: Figure = field(repr=False)
    files: tuple[Path, ...] = ()

    def __rich__(self) -> Group:
        tables = [_table([row for row in self.rows if row.task == task]) for task in _tasks(self.rows)]
        lines = [*self.notes, *(f"written to {file}" for file in self.files)]
        return Group(*tables, *(_plain(line) for line in lines))

    @property
    def frame(self) -> DataFrame:
        """A row a run, as in comparison.csv: options, parameters, seconds, measures with intervals, difference and verdict."""
        return frame_of(_lines(self.rows))

    def _repr_html_(self) -> str:
        return as_html(self)


def _table(rows: Sequence[Row]) -> Table:
    """For a few runs a column each and all measures; for many runs a row each and the main measure."""
    units = {name: measure.unit for row in rows for name, measure in row.measures.items()}
    # leave out measures that are the same for all runs, such as the PSNR before denoising
    units = {name: unit for name, unit in units.items() if len({row.measures.get(name) for row in rows}) > 1}
    main, many = rows[0].run.main.key, len(rows) > _ABREAST
    lines: dict[str, list[str]] = {
        name: [text(row.options.get(name)) for row in rows]
        for name in _options(rows)
        if any(name in row.options for row in rows)
    }
    lines["parameters"] = [f"{row.run.info['parameters']:,}" for row in rows]
    lines["time"] = [duration(row.run.info["seconds"]) for row in rows]
    for name in [main] if many else units:
        unit = units.get(name, "")
        lines[f"{name} [{unit}]" if unit else name] = [str(row.measures.get(name, "–")) for row in rows]
    if any(row.agreement is not None for row in rows):
        lines[AGREEMENT] = ["–" if row.agreement is None else f"{row.agreement:.3f}" for row in rows]
    lines[f"{main} minus the best"] = [str(row.difference or "") for row in rows]
    lines["difference"] = [row.verdict for row in rows]
    left = f" (all {len(units)} measures are in comparison.csv)" if many and len(units) > 1 else ""
    title = f"{rows[0].task}: measures on the test images, with 95 % intervals{left}"
    table = Table(title=title, title_justify="left", box=None, pad_edge=False, header_style="bold")
    if many:
        for name in ("run", *lines):
            table.add_column(_plain(name.replace(" minus", "\nminus")), justify="left" if name == "run" else "right")
        for place, row in enumerate(rows):
            cells = [_two_lines(own[place]) for own in lines.values()]
            table.add_row(_plain(row.name), *map(_plain, cells), style="bold" if row.best else "")
    else:
        table.add_column("")
        for row in rows:
            table.add_column(_plain(row.name), justify="right", style="bold" if row.best else "")
        for name, own in lines.items():
            table.add_row(_plain(name), *(_plain(cell) for cell in own))
    return table


def write_csv(rows: Sequence[Row], path: Path) -> None:
    """Write one row per run with plain numbers: seconds, and every measure with its interval."""
    files.write_csv(path, _lines(rows))


def _lines(rows: Sequence[Row]) -> list[dict[str, Any]]:
    names = list(dict.fromkeys(name for row in rows for name in row.measures))
    agree = any(row.agreement is not None for row in rows)
    lines = []
    for row in rows:
        line: dict[str, Any] = {"run": row.name, "path": str(row.run.path), "task": row.task}
        line |= {name: text(row.options.get(name)) for name in _options(rows)}
        line |= {"status": row.run.status, "parameters": row.run.info["parameters"], "seconds": row.run.info["seconds"]}
        for name in names:
            measure = row.measures.get(name)
            for key in ("value", "low", "high"):
                line[name if key == "value" else f"{name}_{key}"] = getattr(measure, key, None)
        for key in ("value", "low", "high", "paired"):
            title = "difference" if key == "value" else f"difference_{key}"
            line[title] = getattr(row.difference, key, None)
        lines.append(line | {"verdict": row.verdict} | ({"agreement": row.agreement} if agree else {}))
    return lines


def draw(rows: Sequence[Row]) -> Figure:
    """Draw the learning curves of all runs, and their main measure, parameters and training time, a block of panels per task."""
    from matplotlib.figure import Figure

    tasks = _tasks(rows)
    longest = max(sum(row.task == task for row in rows) for task in tasks)
    bars = 0.32 * longest + 0.9
    figure = Figure(figsize=(10.5, (3.1 + bars) * len(tasks)), dpi=150)
    figure.set_layout_engine("constrained", w_pad=0.08, h_pad=0.06)
    parts = figure.subfigures(2 * len(tasks), 1, squeeze=False, height_ratios=[3.1, bars] * len(tasks))[:, 0]
    for task, top, bottom in zip(tasks, parts[::2], parts[1::2], strict=True):
        chosen = [row for row in rows if row.task == task]
        _curves(top.subplots(1, 2), chosen)
        _bars(bottom.subplots(1, 3, sharey=True), chosen)
        if len(tasks) > 1:
            top.suptitle(task, fontsize=11, weight="bold", x=0.01, ha="left")
    return figure


def _curves(panels: Any, rows: Sequence[Row]) -> None:
    main = rows[0].run.main.key
    for i, row in enumerate(rows):
        style: dict[str, Any] = {"color": _colour(i), "ls": LINES[i // len(COLOURS) % len(LINES)], "lw": 1.5}
        val, train = ([r for r in row.run.history if r["split"] == split] for split in ("val", "train"))
        for axes, name in zip(panels, ("loss", main), strict=True):
            course = [(r["epoch"], r[name]) for r in val if r.get(name) is not None]
            points = {"marker": "o", "ms": 3} if len(course) < 20 else {}
            if course:
                axes.plot(*zip(*course, strict=True), **style, **points, label=row.name)
        inner = [(r["epoch"], r["loss"]) for r in train if r.get("loss") is not None]
        if inner:
            panels[0].plot(*zip(*inner, strict=True), **{**style, "lw": 0.8}, alpha=0.4)
    losses = [r["loss"] for row in rows for r in row.run.history if r.get("loss") is not None]
    if losses and min(losses) > 0:
        panels[0].set_yscale("log")
        panels[0].yaxis.set_major_formatter("{x:.3g}")
        panels[0].yaxis.set_minor_formatter("{x:.2g}" if max(losses) < 10 * min(losses) else "")
    panels[0].set_title("validation loss (thin: training loss)", fontsize=9)
    panels[1].set_title(f"validation {main}", fontsize=9)
    for axes in panels:
        axes.set_xlabel("epoch", fontsize=8)
        axes.set_xlim(panels[0].get_xlim())
        axes.locator_params(axis="x", integer=True, min_n_ticks=1)
        _tidy(axes, "both")
    if len(rows) <= 12:
        panels[0].legend(frameon=False, fontsize=7.5, ncols=-(-len(rows) // 6))


def _bars(panels: Any, rows: Sequence[Row]) -> None:
    places = range(len(rows))[::-1]  # the first run on top
    colours = [_colour(i) for i in range(len(rows))]
    unit = next((row.measure.unit for row in rows if row.measure), "")
    main = rows[0].run.main.key + (f", {unit}" if unit else "")
    for place, row, colour in zip(places, rows, colours, strict=True):
        if (measure := row.measure) and measure.value is not None:
            ends = [measure.low, measure.high]
            panels[0].plot(ends, [place, place], color=colour, lw=5, alpha=0.35, solid_capstyle="butt")
            panels[0].plot(measure.value, place, "o", color=colour, ms=5)
            panels[0].annotate(f"{measure.value:.4g}", (measure.value, place), (0, 6), textcoords="offset points",
                               ha="center", fontsize=7)  # fmt: skip
    figures: tuple[tuple[str, Callable[[float], str]], ...] = (("parameters", "{:,.0f}".format), ("seconds", duration))
    for axes, (key, shown) in zip(panels[1:], figures, strict=True):
        values = [row.run.info[key] for row in rows]
        drawn = axes.barh(places, values, color=colours, height=0.6, alpha=0.85)
        axes.bar_label(drawn, [f" {shown(value)}" for value in values], fontsize=7)
        axes.margins(x=0.25)
        axes.xaxis.set_major_formatter("{x:,.12g}")
    panels[0].set_yticks(places, [row.name for row in rows], fontsize=8)
    panels[0].margins(x=0.15)
    panels[0].set_ylim(-0.7, len(rows) - 0.3)
    for axes, title in zip(
        panels, (f"{main} on the test images, 95 % interval", "parameters", "training time, s"), strict=True
    ):
        axes.set_title(title, fontsize=9)
        axes.tick_params(axis="y", length=0)
        axes.locator_params(axis="x", nbins=5)
        _tidy(axes, "x")


def _tidy(axes: Axes, grid: Any) -> None:
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(axis=grid, alpha=0.25, lw=0.6)
    axes.set_axisbelow(True)
    axes.tick_params(axis="x", labelsize=7.5)
    if grid == "both":
        axes.tick_params(axis="y", labelsize=7.5, which="both")


def _colour(place: int) -> str:
    return COLOURS[place % len(COLOURS)]


def _tasks(rows: Sequence[Row]) -> list[str]:
    return list(dict.fromkeys(row.task for row in rows))


def _options(rows: Sequence[Row]) -> list[str]:
    return list(dict.fromkeys(name for row in rows for name in row.options))


def _two_lines(number: object) -> str:
    """A number above its interval, which keeps a table of many runs narrow."""
    return str(number).replace(" (", "\n(")


def _plain(words: str) -> Text:
    """A text that rich prints as it is: brackets and colons are no markup."""
    return Text(words)


def text(value: Any) -> str:
    """The value of an option: 64,32 for a sequence, – for None."""
    if isinstance(value, (list, tuple)):
        return ",".join(map(text, value))
    return "–" if value is None else f"{value:g}" if isinstance(value, float) else str(value)


def duration(seconds: float) -> str:
    """A duration to a sensible precision.

    >>> duration(4.21), duration(754), duration(8000)
    ('4.2 s', '12 min 34 s', '2 h 13 min')
    """
    if seconds < 90:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes} min" if hours else f"{minutes} min {rest} s"
