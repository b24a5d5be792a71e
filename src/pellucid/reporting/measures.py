# SPDX-License-Identifier: Apache-2.0
"""The tables of a page: the options of a run, its data, and the measures of the model and the baselines."""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping, Sequence
from typing import Any

import numpy as np

from pellucid import _catalog
from pellucid._colours import MODEL, OTHER, SIMPLE
from pellucid._options import options_of
from pellucid.models import _building
from pellucid.reporting import formatting
from pellucid.reporting.pictures import svg
from pellucid.run import Run
from pellucid.training.recipe import Recipe

__all__ = ["columns", "counts", "interval_plot", "options", "results", "tables"]

_MISSING = {"value": None, "low": None, "high": None, "unit": "", "better": "neither"}
_WIDTH = 3.6  # inches: of the plot, which a phone shows whole
_SQUEEZED = 3  # the axis of the plot leaves out baselines that would make it this many times as long


def options(run: Run) -> list[dict[str, Any]]:
    """The options of the task, the model and the training, those that differ from their defaults apart from the others."""
    info = run.info
    recipe = Recipe.recorded(info["recipe"])
    own = run.own("task")
    # of a family of tasks, the one that has the options
    task: Any = own.kind if own is not None else _catalog.find("tasks", info["task"]["name"])
    plain = {name: default for name, (_, default, _) in _building.options(run.model_name).items()}
    model = plain | task.model_defaults(info["model"]["name"])
    training = _defaults(Recipe) | task.defaults(info["model"]["name"])
    owners = [
        ("Task", info["task"]["name"], info["task"]["options"], _defaults(task)),
        ("Model", info["model"]["name"], plain | info["model"]["options"], model),
        ("Training", "", info["recipe"], training),
    ]
    groups = _own_parts(info)
    for title, name, values, defaults in owners:
        # no learning rate was given: show the one that the optimiser takes by default
        shown = {k: _option(v) if (k, v) != ("lr", None) else f"{recipe.peak:g}" for k, v in values.items()}
        changed = [k for k, v in values.items() if k not in defaults or _option(v) != _option(defaults[k])]
        groups.append(
            {
                "title": title,
                "name": name,
                "changed": [(formatting.title(k), shown[k]) for k in changed],
                "defaults": [(formatting.title(k), shown[k]) for k in values if k not in changed],
            }
        )
    return groups


def _own_parts(info: Mapping[str, Any]) -> list[dict[str, Any]]:
    """A line for each class or function of the user's own: its name, its file and the digest of its source, which run.json has."""
    hooks = info.get("hooks", {})
    named = {part: info[part]["own"] for part in ("task", "model") if "own" in info[part]}
    named |= {name: hooks[name] for name in ("augment", "callback") if name in hooks}
    named |= {f"measure {name}": one for name, one in hooks.get("measures", {}).items()}
    lines = []
    for part, one in named.items():
        place = f" of {one['file']}" if one.get("file") else ""
        told = f", source {one['digest'][:12]}" if one["digest"] else ", whose source is not known"
        lines.append((formatting.title(part), f"{one.get('class') or one['name']}{place}{told}"))
    return [{"title": "Own parts", "name": "", "changed": lines, "defaults": []}] if lines else []


def _defaults(owner: type[Any]) -> dict[str, Any]:
    return {name: option.default for name, option in options_of(owner).items()}


def _option(value: Any) -> str:
    if value is None:
        return "–"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, (list, tuple)):
        return ", ".join(map(_option, value))
    return f"{value:.4g}" if isinstance(value, float) else json.dumps(value) if isinstance(value, dict) else str(value)


def results(metrics: Mapping[str, Any], floors: Collection[str] = ()) -> list[dict[str, Any]]:
    """A row for the model and for each baseline, with the measures in which it is best.

    Args:
        metrics: the content of metrics.json.
        floors: baselines that bound a measure rather than compete with the model.
    """
    rows = [{"name": "this model", "measures": metrics["model"], "own": True}]
    if metrics.get("on_same_images"):
        same = metrics["on_same_images"]
        rows.append({"name": f"this model on the {same['n']:,} images below", "measures": same["model"], "own": True})
    for name, measures in metrics["baselines"].items():
        label = f"{name} (the floor)" if name in floors else name
        rows.append({"name": label, "measures": measures, "own": False, "floor": name in floors})
    for row in rows:  # baselines lack what is measured of the model as a whole
        row["measures"] = {name: row["measures"].get(name, _MISSING) for name in metrics["model"]}
        row["best"] = set()
    for name, measure in metrics["model"].items():
        if measure["better"] == "neither":
            continue
        sign = -1 if measure["better"] == "lower" else 1
        values = [
            (sign * v, row)
            for row in rows
            if (v := row["measures"][name]["value"]) is not None and not row.get("floor")
        ]
        top = max((value for value, _ in values), default=None)
        for value, row in values:
            if value == top and len(values) > 1:
                row["best"].add(name)
    return rows


def columns(rows: Sequence[Mapping[str, Any]], main: str) -> dict[str, list[str]]:
    """The measures by where the page shows them.

    Returns:
        "table": those that differ between the rows; "same": those that are the same for all, such as the noise before
        denoising; "alone": those that no baseline has. What no row has is nowhere.
    """
    found: dict[str, list[str]] = {"table": [], "same": [], "alone": []}
    for name in rows[0]["measures"]:
        measures = [row["measures"][name] for row in rows]
        if name != main and all(measure["value"] is None for measure in measures):
            continue  # of objects that these images do not have
        rivals = [row["measures"][name]["value"] for row in rows if not row["own"]]
        if name == main or not rivals:
            found["table"].append(name)
        elif all(value is None for value in rivals):
            found["alone"].append(name)
        else:
            found["same" if all(measure == measures[0] for measure in measures) else "table"].append(name)
    return found


def interval_plot(rows: Sequence[Mapping[str, Any]], main: str) -> str:
    """The deciding measure of each row with its interval; baselines that are far behind are drawn at the edge with their value."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(_WIDTH, 0.42 * len(rows) + 0.6), layout="constrained")
    axes = figure.subplots()
    across = axes.get_yaxis_transform()
    left, right = _limits(rows, main)
    best = _best_rival(rows, main)
    for place, row in enumerate(reversed(rows)):
        measure = row["measures"][main]
        axes.text(0, place + 0.28, row["name"], transform=across, fontsize=8.5, va="center", parse_math=False)
        if measure["value"] is None:
            continue
        colour = MODEL if row["own"] else SIMPLE if row is best else OTHER
        if not left <= measure["value"] <= right:
            edge, marker, side, pad = (left, "<", "left", 8) if measure["value"] < left else (right, ">", "right", -8)
            axes.plot(edge, place, marker, color=colour, ms=5.5, alpha=0.6)
            axes.annotate(formatting.number(measure), (edge, place), (pad, 0), textcoords="offset points", ha=side,
                          va="center", fontsize=8, color="0.35")  # fmt: skip
            continue
        ends = [measure["value"] if measure[end] is None else measure[end] for end in ("low", "high")]
        axes.plot(ends, [place, place], color=colour, lw=3, alpha=0.45, solid_capstyle="round")
        axes.plot(measure["value"], place, "o", color=colour, ms=5.5)
    margin = 0.03 * (right - left)
    axes.set_xlim(left - margin, right + margin)
    axes.set_yticks([])
    axes.set_ylim(-0.4, len(rows) - 0.4)
    unit = rows[0]["measures"][main]["unit"]
    axes.set_xlabel(
        rows[0]["measures"][main]["title"] + (f", {unit}" if unit else "") + " (95 % interval)", fontsize=8.5
    )
    axes.tick_params(axis="x", labelsize=8)
    axes.spines[["top", "right", "left"]].set_visible(False)
    axes.grid(axis="x", alpha=0.3, lw=0.6)
    return svg(figure)


def _best_rival(rows: Sequence[Mapping[str, Any]], main: str) -> Mapping[str, Any] | None:
    """The simpler answer that the model has to beat, if there is one."""
    sign = -1 if rows[0]["measures"][main]["better"] == "lower" else 1
    rivals = [row for row in rows if not row["own"] and not row.get("floor")]
    measured = [row for row in rivals if row["measures"][main]["value"] is not None]
    return max(measured, key=lambda row: sign * float(row["measures"][main]["value"]), default=None)


def _limits(rows: Sequence[Mapping[str, Any]], main: str) -> tuple[float, float]:
    """The ends of the axis: the intervals of the model and the better half, then of the next best that do not squeeze them."""
    sign = -1 if rows[0]["measures"][main]["better"] == "lower" else 1
    measured = [row for row in rows if row["measures"][main]["value"] is not None]
    measured.sort(key=lambda row: (not row["own"], -sign * row["measures"][main]["value"]))
    spans = [
        [value for end in ("value", "low", "high") if (value := row["measures"][main][end]) is not None]
        for row in measured
    ]
    near = spans[: 1 + len(spans) // 2]
    left, right = min(map(min, near)), max(map(max, near))
    longest = _SQUEEZED * (right - left) or np.inf
    for span in spans[len(near) :]:
        if max(right, *span) - min(left, *span) > longest:
            break
        left, right = min(left, *span), max(right, *span)
    return left, right


def tables(details: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The details that are lists of rows; matrices have lenses of their own."""
    return [
        {"title": formatting.title(name), "columns": list(rows[0]), "rows": rows}
        for name, rows in details.items()
        if isinstance(rows, list) and rows and isinstance(rows[0], Mapping)
    ]


def counts(data: Mapping[str, Any], recipe: Mapping[str, Any]) -> dict[str, Any]:
    """Images per split, how many of the training images were used, and images per class for at most forty classes."""
    per_split, classes = data["counts"], data["classes"]
    listed = bool(per_split) and len(classes) <= 40
    each = recipe.get("limit_per_class")
    limit = each * len(classes) if each is not None else recipe.get("limit")
    return {
        "images": data["images"],
        "used": limit if limit is not None and limit < data["images"]["train"] else None,
        "splits": list(per_split),
        "per_class": [[c, *(per_split[split].get(c, 0) for split in per_split)] for c in classes] if listed else [],
    }
