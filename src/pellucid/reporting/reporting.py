# SPDX-License-Identifier: Apache-2.0
"""`report`: one self-contained page about a run, which opens offline and prints."""

from __future__ import annotations

import glob
import shlex
from datetime import datetime
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pellucid import _catalog, viewing
from pellucid._memory import collecting_seldom
from pellucid.comparison.table import duration
from pellucid.data.dataset import Dataset
from pellucid.errors import PellucidError, RunError, UsageError
from pellucid.files import check_space, remove_drafts, write_atomically
from pellucid.looking.subjects import Subject, of_run
from pellucid.models import _building
from pellucid.reporting import formatting, frozen, measures, pictures
from pellucid.reporting.headline import headline
from pellucid.reporting.links import links
from pellucid.reporting.way import way
from pellucid.run import Run
from pellucid.training.snapshots import over_time

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["report"]

_SIZE = 4 << 20  # bytes: room for a page, which is known to be there before the work begins


@collecting_seldom()  # each figure makes thousands of objects
def report(run: Run | str | Path, out: str | Path | None = None, *, maps: int = 8) -> Path:
    """Write a page about a run: how it compares with simpler answers, its options, data, curves, measures, examples and layers.

    A cell of the confusion matrix links to its images, and an image to its nearest neighbours and maps. Pictures from
    earlier looks through lenses are included with their captions. The page says what is missing and why.

    Args:
        run: the run, or its folder.
        out: the file to write; by default report.html in the run's folder.
        maps: number of images with maps (occlusion and attribution), which take most of the time.

    Returns:
        The file.

    Raises:
        UsageError: maps is negative.
        RunError: there is no such run.
    """
    from jinja2 import Environment, PackageLoader, select_autoescape

    if maps < 0:
        raise UsageError(f"maps={maps}: must not be negative; give another number of images.")
    run = run if isinstance(run, Run) else Run(run)
    path = Path(out) if out is not None else run.path / "report.html"
    remove_drafts(path.parent, glob.escape(path.name))
    check_space(path, _SIZE)
    environment = Environment(
        loader=PackageLoader("pellucid"), autoescape=select_autoescape(), trim_blocks=True, lstrip_blocks=True
    )
    environment.filters |= {
        "title": formatting.title,
        "number": formatting.number,
        "interval": formatting.interval,
        "words": shlex.split,
        "quote": shlex.quote,
    }
    page = environment.get_template("report.html").render(
        css=files("pellucid").joinpath("templates/report.css").read_text(), **_content(run, maps)
    )
    with write_atomically(path) as draft:
        draft.write_text(page, encoding="utf-8", errors="backslashreplace")  # a path need not be UTF-8
    return path


def _content(run: Run, maps: int) -> dict[str, Any]:
    info = run.info
    metrics: dict[str, Any] | None = run.metrics
    try:
        data: Dataset | None = run.data()
        trouble = ""
    except PellucidError as fault:
        data, trouble = None, str(fault)
    subject = of_run(run)
    rows = measures.results(metrics, run.task.floors) if metrics else []
    examples = pictures.answers(run, data) if metrics and data is not None else []
    tables = measures.tables((metrics or {}).get("details", {}))
    figures = pictures.figures(run, metrics)
    for figure in figures:  # a table with the title of a figure goes below it
        figure["tables"] = [table for table in tables if table["title"].lower() == figure["title"].lower()]
    return {
        "run": run,
        "info": info,
        "name": f"{info['task']['name']} {Path(info['data']['what']).name} with {info['model']['name']}",
        "started": datetime.fromisoformat(info["started"]).strftime("%-d %B %Y, %H:%M UTC"),
        "duration": duration(info["seconds"]),
        "metrics": metrics,
        "doubt": run.doubt,
        "views": viewing.said(several) if (several := viewing.found(run)) else "",
        "headline": headline(run, metrics) if metrics else None,
        "results": rows,
        "plot": measures.interval_plot(rows, metrics["main"]) if metrics and len(rows) > 1 else None,
        "columns": measures.columns(rows, metrics["main"]) if metrics else {},
        "same": (metrics or {}).get("on_same_images"),
        "data_trouble": trouble,
        "sheet": pictures.sheet(data),
        "batch": pictures.batch(run),
        "options": measures.options(run),
        "counts": measures.counts(info["data"], info["recipe"]),
        "selects": run.task.selects_checkpoint,
        "curves": _curves(subject),
        "links": links(run, subject, examples, maps),
        "way": way(run, subject),
        "looks": pictures.looks(run),
        "figures": figures,
        "progress": [
            {"epoch": epoch, "picture": pictures.inline(file.read_bytes(), "png")}
            for epoch, file in over_time(run.path)
        ],
        "tables": [table for table in tables if not any(table in figure["tables"] for figure in figures)],
        "examples": examples,
        "layers": _building.layer_table(_building.build(info["model"], fetch=False), run.size),
        "frozen": frozen.section(run),
        "environment": info["environment"],
        "evaluate": f"pellucid evaluate {run.path}",
    }


def _narrow(figure: Figure) -> str:
    """Curves for a phone."""
    return pictures.narrow(figure) if len(figure.axes) > 1 else pictures.svg(figure)


def _curves(subject: Subject) -> dict[str, str] | None:
    """The learning curves and their verdict; None before the first epoch."""
    try:
        view = subject.look(_catalog.find("lenses", "curves")())
    except RunError:  # a damaged history
        raise
    except UsageError:
        return None
    return {"words": view.words, "picture": pictures.svg(view.figure), "narrow": _narrow(view.figure)}
