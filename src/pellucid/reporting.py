# SPDX-License-Identifier: Apache-2.0
"""`report`: one self-contained page about a run, which opens without a network and prints."""

from __future__ import annotations

import base64
import io
import json
from collections.abc import Mapping, Sequence
from datetime import datetime
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray

from pellucid import _catalog
from pellucid.data.dataset import Dataset
from pellucid.data.inspection import contact_sheet
from pellucid.errors import DataError, PellucidError, UsageError
from pellucid.files import write_atomically
from pellucid.inference import examples
from pellucid.looking import sight_of
from pellucid.models import building
from pellucid.run import Run

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["report"]

_WORST, _BEST = 8, 4  # examples shown
_TITLES = {
    "psnr": "PSNR",
    "ssim": "SSIM",
    "mae": "mean absolute error",
    "psnr_before": "PSNR before",
    "ssim_before": "SSIM before",
    "f1": "F1",
}


def report(run: Run | str | Path, out: str | Path | None = None) -> Path:
    """Write a page about a run: what was asked, the data, curves, measures, examples, layers, and how to do it again.

    What has not been measured yet is left out, and said.

    Args:
        run: the run, or its folder.
        out: the file to write; by default report.html in the run's folder.

    Returns:
        The file.
    """
    from jinja2 import Environment, PackageLoader, select_autoescape

    run = run if isinstance(run, Run) else Run(run)
    path = Path(out) if out is not None else run.path / "report.html"
    world = Environment(
        loader=PackageLoader("pellucid"), autoescape=select_autoescape(), trim_blocks=True, lstrip_blocks=True
    )
    world.filters |= {"title": _title, "number": _number, "options": _options}
    page = world.get_template("report.html").render(
        css=files("pellucid").joinpath("templates/report.css").read_text(), **_content(run)
    )
    with write_atomically(path) as draft:
        draft.write_text(page, encoding="utf-8")
    return path


def _content(run: Run) -> dict[str, Any]:
    info, metrics = run.info, run.metrics
    try:
        data: Dataset | None = run.data()
        trouble = ""
    except PellucidError as fault:
        data, trouble = None, str(fault)
    sight = sight_of(run) if data is not None else None
    curves = _view("curves", run, sight)
    rows, plot = _results(metrics) if metrics else ([], None)
    return {
        "run": run,
        "info": info,
        "name": f"{info['task']['name']} {Path(info['data']['what']).name} with {info['model']['name']}",
        "started": datetime.fromisoformat(info["started"]).strftime("%-d %B %Y, %H:%M UTC"),
        "duration": _duration(info["seconds"]),
        "metrics": metrics,
        "headline": _headline(metrics),
        "results": rows,
        "plot": plot,
        "columns": list(metrics["model"]) if metrics else [],
        "same": (metrics or {}).get("on_same_images"),
        "data_trouble": trouble,
        "sheet": _sheet(data),
        "counts": _counts(info["data"]),
        "curves": curves,
        "views": [v for name in ("confusion", "occlusion") if (v := _view(name, run, sight)) is not None],
        "tables": _tables((metrics or {}).get("details", {})),
        "examples": _examples(run, data) if metrics and data is not None else [],
        "layers": building.layer_table(run.model(), run.size),
        "environment": info["environment"],
        "evaluate": f"pellucid evaluate {run.path}",
    }


# -- what was measured


def _headline(metrics: Mapping[str, Any] | None) -> dict[str, Any] | None:
    """The deciding measure, and the best of the simpler answers beside it."""
    if not metrics:
        return None
    main = metrics["main"]
    mine = metrics["model"][main]
    sign = -1 if mine["better"] == "lower" else 1
    rivals = {name: m[main] for name, m in metrics["baselines"].items() if m.get(main) and m[main]["value"] is not None}
    best = max(rivals, key=lambda name: sign * rivals[name]["value"]) if rivals else None
    return {
        "name": main,
        "measure": mine,
        "rival": best,
        "rival_measure": rivals[best] if best else None,
        "n": metrics["n"],
    }


def _results(metrics: Mapping[str, Any]) -> tuple[list[dict[str, Any]], str | None]:
    """Table rows, the best value of each column marked, and a plot of the deciding measure with its intervals."""
    rows = [{"name": "this model", "measures": metrics["model"], "own": True}]
    if metrics.get("on_same_images"):
        same = metrics["on_same_images"]
        rows.append({"name": f"this model on the {same['n']:,} images below", "measures": same["model"], "own": True})
    rows += [{"name": name, "measures": m, "own": False} for name, m in metrics["baselines"].items()]
    for name, first in metrics["model"].items():
        if first["better"] == "neither":
            continue
        sign = -1 if first["better"] == "lower" else 1
        values = [sign * row["measures"][name]["value"] for row in rows if row["measures"][name]["value"] is not None]
        for row in rows:
            measure = row["measures"][name]
            row.setdefault("best", set())
            if measure["value"] is not None and sign * measure["value"] == max(values):
                row["best"].add(name)
    return rows, _interval_plot(rows, metrics["main"]) if len(rows) > 1 else None


def _interval_plot(rows: Sequence[Mapping[str, Any]], main: str) -> str:
    from matplotlib.figure import Figure

    figure = Figure(figsize=(7.4, 0.3 * len(rows) + 0.6), layout="constrained")
    axes = figure.subplots()
    for place, row in enumerate(reversed(rows)):
        measure = row["measures"][main]
        if measure["value"] is None:
            continue
        colour = "#d1662b" if row["own"] else "#4a6fa5"
        axes.plot(
            [measure["low"], measure["high"]], [place, place], color=colour, lw=3, alpha=0.45, solid_capstyle="round"
        )
        axes.plot(measure["value"], place, "o", color=colour, ms=5.5)
    axes.set_yticks(range(len(rows)), [row["name"] for row in reversed(rows)], fontsize=8.5)
    unit = rows[0]["measures"][main]["unit"]
    axes.set_xlabel(_title(main) + (f", {unit}" if unit else "") + "  (95 % interval)", fontsize=8.5)
    axes.tick_params(axis="x", labelsize=8)
    axes.tick_params(axis="y", length=0)
    axes.spines[["top", "right", "left"]].set_visible(False)
    axes.grid(axis="x", alpha=0.3, lw=0.6)
    return _svg(figure)


def _tables(details: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The details that are lists of rows; matrices have lenses of their own."""
    found = []
    for name, rows in details.items():
        if isinstance(rows, list) and rows and isinstance(rows[0], Mapping):
            found.append({"title": _title(name), "columns": list(rows[0]), "rows": rows})
    return found


# -- pictures


def _view(lens: str, run: Run, sight: Any) -> dict[str, str] | None:
    """What a lens shows of the run, or nothing where it lacks something that it needs."""
    if sight is None or (lens == "occlusion" and run.model().output != "vector"):
        return None
    try:
        view = _catalog.find("lenses", lens)().look(sight)
    except UsageError:
        return None
    return {
        "name": lens,
        "words": view.words,
        "picture": _png(view.figure) if lens == "occlusion" else _svg(view.figure),
    }


def _examples(run: Run, data: Dataset) -> list[dict[str, Any]]:
    """The worst and the best answers, by the task's own ranking."""
    metrics, records = run.metrics, run.records()
    assert metrics is not None
    ranking = run.task.ranking(records)
    order = np.argsort(np.nan_to_num(ranking, nan=-np.inf), kind="stable")
    split = data.splits[metrics["split"]]
    if len(order) != len(split):
        return []
    chosen = {
        "The worst answers": order[: min(_WORST, len(order))],
        "The best answers": order[::-1][: min(_BEST, len(order))],
    }
    return [{"title": title, "pictures": _drawn(run, split, places)} for title, places in chosen.items()]


def _drawn(run: Run, split: Any, places: NDArray[np.int64]) -> list[str]:
    drawn = []
    for input, prediction, target, names in examples(run, split, places, torch.device("cpu")):
        drawn.append(_png(run.task.draw(input, prediction, target, names, run.classes)))
    return drawn


def _sheet(data: Dataset | None) -> str | None:
    if data is None:
        return None
    import tempfile

    with tempfile.TemporaryDirectory() as folder:
        try:
            return _inline(contact_sheet(data, Path(folder) / "sheet.png", rows=10).read_bytes(), "png")
        except DataError:
            return None


def _png(figure: Figure) -> str:
    out = io.BytesIO()
    figure.savefig(out, format="png", bbox_inches="tight", facecolor="white")
    return _inline(out.getvalue(), "png")


def _svg(figure: Figure) -> str:
    import matplotlib

    out = io.BytesIO()
    with matplotlib.rc_context({"svg.fonttype": "path", "svg.hashsalt": "pellucid"}):
        figure.savefig(out, format="svg", bbox_inches="tight", metadata={"Date": None})
    return _inline(out.getvalue(), "svg+xml")


def _inline(content: bytes, kind: str) -> str:
    return f"data:image/{kind};base64,{base64.b64encode(content).decode()}"


# -- words and numbers


def _counts(data: Mapping[str, Any]) -> dict[str, Any]:
    """Images per split, and per class where there are at most forty."""
    counts = data["counts"]
    classes = data["classes"]
    per_class = (
        [[c, *(counts[split].get(c, 0) for split in counts)] for c in classes] if counts and len(classes) <= 40 else []
    )
    return {"images": data["images"], "splits": list(counts), "per_class": per_class}


def _title(name: str) -> str:
    return _TITLES.get(name, name.replace("_", " "))


def _number(measure: Any) -> str:
    """A measure with as many digits as its interval leaves a meaning, and the interval."""
    if not isinstance(measure, Mapping):
        return (
            f"{measure:.4g}"
            if isinstance(measure, float)
            else f"{measure:,}"
            if isinstance(measure, int)
            else str(measure)
        )
    value, low, high = (measure.get(key) for key in ("value", "low", "high"))
    if value is None:
        return "–"
    if low is None or high is None or high <= low:
        return f"{value:.4g}"
    digits = int(np.clip(1 - np.floor(np.log10(high - low)), 0, 6))
    return f"{value:.{digits}f} [{low:.{digits}f}, {high:.{digits}f}]"


def _options(options: Mapping[str, Any]) -> list[tuple[str, str]]:
    return [
        (
            _title(name),
            "–"
            if value is None
            else json.dumps(value)
            if isinstance(value, (list, bool))
            else f"{value:.4g}"
            if isinstance(value, float)
            else str(value),
        )
        for name, value in options.items()
    ]


def _duration(seconds: float) -> str:
    if seconds < 90:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes} min" if hours else f"{minutes} min {rest} s"
