# SPDX-License-Identifier: Apache-2.0
"""`report`: one self-contained page about a run, which opens without a network and prints."""

from __future__ import annotations

import shlex
from datetime import datetime
from importlib.resources import files
from pathlib import Path
from typing import Any

from pellucid import _catalog
from pellucid.comparison.table import duration
from pellucid.data.dataset import Dataset
from pellucid.errors import PellucidError, UsageError
from pellucid.files import write_atomically
from pellucid.lenses import Subject
from pellucid.looking.looking import subject_of, without_images
from pellucid.models import _building
from pellucid.reporting import formatting
from pellucid.reporting import measures as told
from pellucid.reporting import pictures as drawn
from pellucid.reporting.links import links
from pellucid.run import Run
from pellucid.training.snapshots import over_time

__all__ = ["report"]


def report(run: Run | str | Path, out: str | Path | None = None, *, maps: int = 8) -> Path:
    """Write a page about a run: what was asked, the data, curves, measures, examples, layers, and how to do it again.

    A cell of the confusion matrix leads to its images, an image to its nearest neighbours and to its maps; pictures that
    lenses have made of the run stand on the page with their words. What has not been measured yet, or makes no sense for the
    run, is left out, and said.

    Args:
        run: the run, or its folder.
        out: the file to write; by default report.html in the run's folder.
        maps: of how many images there are maps (occlusion, attribution), which take most of the time.

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
    world = Environment(
        loader=PackageLoader("pellucid"), autoescape=select_autoescape(), trim_blocks=True, lstrip_blocks=True
    )
    world.filters |= {
        "title": formatting.title,
        "number": formatting.number,
        "interval": formatting.interval,
        "words": shlex.split,
        "quote": shlex.quote,
    }
    page = world.get_template("report.html").render(
        css=files("pellucid").joinpath("templates/report.css").read_text(), **_content(run, maps)
    )
    with write_atomically(path) as draft:
        draft.write_text(page, encoding="utf-8")
    return path


def _content(run: Run, maps: int) -> dict[str, Any]:
    info, metrics = run.info, run.metrics
    try:
        data: Dataset | None = run.data()
        trouble = ""
    except PellucidError as fault:
        data, trouble = None, str(fault)
    subject = _sight(run, data)
    rows, plot = told.results(metrics) if metrics else ([], None)
    columns, common = told.columns(rows)
    examples = drawn.answers(run, data) if metrics and data is not None else []
    return {
        "run": run,
        "info": info,
        "name": f"{info['task']['name']} {Path(info['data']['what']).name} with {info['model']['name']}",
        "started": datetime.fromisoformat(info["started"]).strftime("%-d %B %Y, %H:%M UTC"),
        "duration": duration(info["seconds"]),
        "metrics": metrics,
        "headline": told.headline(metrics),
        "results": rows,
        "plot": plot,
        "columns": columns,
        "common": common,
        "same": (metrics or {}).get("on_same_images"),
        "data_trouble": trouble,
        "sheet": drawn.sheet(data),
        "asked": told.asked(run),
        "counts": told.counts(info["data"]),
        "curves": _curves(subject),
        "links": links(run, subject, examples, maps),
        "looks": drawn.looks(run),
        "pictures": drawn.pictures(run, metrics),
        "progress": [
            {"epoch": epoch, "picture": drawn.inline(file.read_bytes(), "png")} for epoch, file in over_time(run.path)
        ],
        "tables": told.tables((metrics or {}).get("details", {})),
        "examples": examples,
        "layers": _building.layer_table(_building.build(info["model"], fetch=False), run.size),
        "environment": info["environment"],
        "evaluate": f"pellucid evaluate {run.path}",
    }


def _sight(run: Run, data: Dataset | None) -> Subject:
    """What the lenses see; without the data or the weights the history and the records are left."""
    try:
        if data is not None:
            return subject_of(run)
    except PellucidError:
        pass
    return without_images(run)


def _curves(subject: Subject) -> dict[str, str] | None:
    """The curves with their verdict, or nothing before the first epoch."""
    try:
        view = _catalog.find("lenses", "curves")().look(subject)
    except UsageError:
        return None
    return {"words": view.words, "picture": drawn.svg(view.figure)}
