# SPDX-License-Identifier: Apache-2.0
"""What a page says of a run in words and numbers: what was asked, and what was measured beside the simpler answers."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from pellucid._options import options_of
from pellucid.models import _building
from pellucid.reporting import formatting
from pellucid.reporting.pictures import svg
from pellucid.run import Run
from pellucid.training.recipe import Recipe

__all__ = ["asked", "columns", "counts", "headline", "results", "tables"]

_NOTHING = {"value": None, "low": None, "high": None, "unit": "", "better": "neither"}


def asked(run: Run) -> list[dict[str, Any]]:
    """The options of the task, the model and the training: those that differ from their default, and the others."""
    info = run.info
    recipe = Recipe(**info["recipe"])
    model = {name: default for name, (_, default, _) in _building.options(info["model"]["name"]).items()}
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
                "changed": [(formatting.title(k), shown[k]) for k in changed],
                "defaults": [(formatting.title(k), shown[k]) for k in options if k not in changed],
            }
        )
    return found


def _defaults(owner: Any) -> dict[str, Any]:
    return {name: option.default for name, option in options_of(type(owner)).items()}


def _option(value: Any) -> str:
    if value is None:
        return "–"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, (list, tuple)):
        return ", ".join(map(_option, value))
    return f"{value:.4g}" if isinstance(value, float) else json.dumps(value) if isinstance(value, dict) else str(value)


def headline(metrics: Mapping[str, Any] | None) -> dict[str, Any] | None:
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


def results(metrics: Mapping[str, Any]) -> tuple[list[dict[str, Any]], str | None]:
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


def columns(rows: Sequence[Mapping[str, Any]]) -> tuple[list[str], list[tuple[str, Any]]]:
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
    axes.set_xlabel(formatting.title(main) + (f", {unit}" if unit else "") + "  (95 % interval)", fontsize=8.5)
    axes.tick_params(axis="x", labelsize=8)
    axes.tick_params(axis="y", length=0)
    axes.spines[["top", "right", "left"]].set_visible(False)
    axes.grid(axis="x", alpha=0.3, lw=0.6)
    return svg(figure)


def tables(details: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The details that are lists of rows; matrices have lenses of their own."""
    found = []
    for name, rows in details.items():
        if isinstance(rows, list) and rows and isinstance(rows[0], Mapping):
            found.append({"title": formatting.title(name), "columns": list(rows[0]), "rows": rows})
    return found


def counts(data: Mapping[str, Any]) -> dict[str, Any]:
    """Images per split, and per class where there are at most forty."""
    counts = data["counts"]
    classes = data["classes"]
    per_class = (
        [[c, *(counts[split].get(c, 0) for split in counts)] for c in classes] if counts and len(classes) <= 40 else []
    )
    return {"images": data["images"], "splits": list(counts), "per_class": per_class}
