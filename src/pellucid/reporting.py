# SPDX-License-Identifier: Apache-2.0
"""`report`: one self-contained page about a run, which opens without a network and prints."""

from __future__ import annotations

import base64
import dataclasses
import io
import json
import shlex
from collections.abc import Mapping, Sequence
from datetime import datetime
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray

from pellucid import _catalog, wording
from pellucid.data.dataset import Dataset, Split
from pellucid.data.inspection import contact_sheet
from pellucid.errors import DataError, PellucidError, UsageError
from pellucid.files import write_atomically
from pellucid.inference import examples
from pellucid.lenses import Sight
from pellucid.looking import sight_of, without_images
from pellucid.models import building
from pellucid.recipe import Recipe
from pellucid.run import Run
from pellucid.sidebyside import duration
from pellucid.snapshots import over_time

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["report"]

_WORST, _BEST = 8, 4  # examples shown
_NOTHING = {"value": None, "low": None, "high": None, "unit": "", "better": "neither"}


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
    world.filters |= {
        "title": wording.title,
        "number": wording.number,
        "interval": wording.interval,
        "words": shlex.split,
        "quote": shlex.quote,
    }
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
    sight = _sight(run, data)
    curves = _view("curves", run, sight)
    rows, plot = _results(metrics) if metrics else ([], None)
    columns, common = _columns(rows)
    return {
        "run": run,
        "info": info,
        "name": f"{info['task']['name']} {Path(info['data']['what']).name} with {info['model']['name']}",
        "started": datetime.fromisoformat(info["started"]).strftime("%-d %B %Y, %H:%M UTC"),
        "duration": duration(info["seconds"]),
        "metrics": metrics,
        "headline": _headline(metrics),
        "results": rows,
        "plot": plot,
        "columns": columns,
        "common": common,
        "same": (metrics or {}).get("on_same_images"),
        "data_trouble": trouble,
        "sheet": _sheet(data),
        "asked": _asked(run),
        "counts": _counts(info["data"]),
        "curves": curves,
        "views": [v for name in ("confusion", "occlusion") if (v := _view(name, run, sight)) is not None],
        "pictures": _pictures(run, metrics),
        "progress": [
            {"epoch": epoch, "picture": _inline(file.read_bytes(), "png")} for epoch, file in over_time(run.path)
        ],
        "tables": _tables((metrics or {}).get("details", {})),
        "examples": _examples(run, data) if metrics and data is not None else [],
        "layers": building.layer_table(building.build(info["model"], fetch=False), run.size),
        "environment": info["environment"],
        "evaluate": f"pellucid evaluate {run.path}",
    }


# -- what was asked


def _asked(run: Run) -> list[dict[str, Any]]:
    """The options of the task, the model and the training: those that differ from their default, and the others."""
    info = run.info
    recipe = Recipe(**info["recipe"])
    model = {name: default for name, (_, default, _) in building.options(info["model"]["name"]).items()}
    owners = [
        ("Task", info["task"]["name"], info["task"]["options"], _defaults(run.task)),
        ("Model", info["model"]["name"], model | info["model"]["options"], model),
        ("Training", "", info["recipe"], _defaults(recipe)),
    ]
    found = []
    for title, name, options, defaults in owners:
        # a rate that was left to the optimiser is told as the rate that it took
        shown = {k: _option(v) if (k, v) != ("lr", None) else f"{recipe.peak:g}" for k, v in options.items()}
        changed = [k for k, v in options.items() if k not in defaults or _option(v) != _option(defaults[k])]
        found.append(
            {
                "title": title,
                "name": name,
                "changed": [(wording.title(k), shown[k]) for k in changed],
                "defaults": [(wording.title(k), shown[k]) for k in options if k not in changed],
            }
        )
    return found


def _defaults(owner: Any) -> dict[str, Any]:
    return {
        field.name: field.default if field.default_factory is dataclasses.MISSING else field.default_factory()
        for field in dataclasses.fields(owner)
    }


def _option(value: Any) -> str:
    if value is None:
        return "–"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, (list, tuple)):
        return ", ".join(map(_option, value))
    return f"{value:.4g}" if isinstance(value, float) else json.dumps(value) if isinstance(value, dict) else str(value)


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
    for row in rows:  # what is measured of the model as a whole has no counterpart
        row["measures"] = {name: row["measures"].get(name, _NOTHING) for name in metrics["model"]}
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


def _columns(rows: Sequence[Mapping[str, Any]]) -> tuple[list[str], list[tuple[str, Any]]]:
    """The measures that tell the answers apart, and those that are the same for all, such as the noise before denoising."""
    if not rows:
        return [], []
    names = list(rows[0]["measures"])
    same = [
        name
        for name in names
        if len(rows) > 1 and all(row["measures"][name] == rows[0]["measures"][name] for row in rows)
    ]
    return [name for name in names if name not in same], [(name, rows[0]["measures"][name]) for name in same]


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
    axes.set_ylim(-0.6, len(rows) - 0.4)
    unit = rows[0]["measures"][main]["unit"]
    axes.set_xlabel(wording.title(main) + (f", {unit}" if unit else "") + "  (95 % interval)", fontsize=8.5)
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
            found.append({"title": wording.title(name), "columns": list(rows[0]), "rows": rows})
    return found


# -- pictures


def _sight(run: Run, data: Dataset | None) -> Sight:
    """What the lenses see; without the data or the weights the history and the records are left."""
    try:
        if data is not None:
            return sight_of(run)
    except PellucidError:
        pass
    return without_images(run)


def _view(lens: str, run: Run, sight: Sight) -> dict[str, str] | None:
    """What a lens shows of the run, or nothing where it lacks something that it needs."""
    if lens == "occlusion" and getattr(sight.model, "output", None) not in ("vector", "dense"):
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


def _pictures(run: Run, metrics: Mapping[str, Any] | None) -> list[dict[str, str]]:
    """What was drawn of the model as a whole when it was measured."""
    found = []
    for each in (metrics or {}).get("pictures", ()):
        file = run.figures / f"{each['name']}.png"
        if file.exists():
            found.append({**each, "picture": _inline(file.read_bytes(), "png")})
    return found


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


def _drawn(run: Run, split: Split, places: NDArray[np.int64]) -> list[str]:
    """Pictures of the answers; where one below the other would be tall, halves that stand side by side."""
    figures = _figures(run, split, places)
    if len(places) > 1 and any(tall > 1.2 * wide for wide, tall in (figure.get_size_inches() for figure in figures)):
        half = -(-len(places) // 2)
        figures = _figures(run, split, places[:half]) + _figures(run, split, places[half:])
    return [_png(figure) for figure in figures]


def _figures(run: Run, split: Split, places: NDArray[np.int64]) -> list[Figure]:
    found = examples(run, split, places, torch.device("cpu"))
    return [run.task.draw(input, prediction, target, names, run.classes) for input, prediction, target, names in found]


def _sheet(data: Dataset | None) -> str | None:
    if data is None:
        return None
    import tempfile

    with tempfile.TemporaryDirectory() as folder:
        try:
            return _inline(
                contact_sheet(data, Path(folder) / "sheet.png", columns=16, rows=10, side=64).read_bytes(), "png"
            )
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
